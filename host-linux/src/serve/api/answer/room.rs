//! How much memory the lists of tokens in an answer take: they are what makes a short request a
//! large answer. An answer is a JSON tree before it is text.
use super::parsed::ParsedBody;
use super::writer::Listed;
use crate::runtime::Delta;

/// Bytes of one token in lists of logprobs: its name, its bytes as numbers, and its logprob, which
/// completions list again by its text, as JSON values and as text.
const LOGPROB_BYTES: usize = 1100;
/// Bytes of one id in a list of ids.
const ID_BYTES: usize = 96;

/// Bytes of a token of the output, where these lists are kept.
pub(super) fn delta_bytes(kept: Listed, delta: &Delta) -> usize {
    let logprobs = if kept.logprobs { (1 + delta.top.len()) * LOGPROB_BYTES } else { 0 };
    logprobs + if kept.ids { ID_BYTES } else { 0 }
}

/// Bytes of all prompts, which each choice repeats, where these lists are kept.
pub(super) fn prompt_bytes(kept: Listed, parsed: &ParsedBody) -> usize {
    let top = parsed.prompt_logprobs.filter(|_| kept.logprobs);
    let listed = top.map_or(0, |top| (1 + top).saturating_mul(LOGPROB_BYTES));
    let a_token = listed + if kept.ids { ID_BYTES } else { 0 };
    let tokens = parsed.requests.iter().map(|of| of.prompt.len().saturating_mul(of.choices as usize));
    tokens.fold(0, usize::saturating_add).saturating_mul(a_token)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::serve::api::answer::writer::Brought;
    use crate::text::parts::Part;
    use serde_json::json;

    /// Its object, its list, its text, and what it brought.
    #[test]
    fn a_listed_token_is_no_larger_than_it_is_counted() {
        let value = size_of::<serde_json::Value>();
        let bytes = b"token".map(|byte| json!(byte));
        // Three members, each with a value, a hash, a name on the heap, and a place in the table; a
        // string; five numbers.
        let tree = 3 * (value + size_of::<String>() + 32) + 8 + bytes.len() * value;
        let text = json!({"token": "token", "logprob": -12.345_678, "bytes": bytes}).to_string().len();
        let brought = size_of::<Brought>() + size_of::<Part>() + "token".len();
        let by_text = size_of::<String>() + "token".len() + value + 32 + "\"token\":-12.345678,".len();
        assert!(tree + text + brought + by_text <= LOGPROB_BYTES, "{tree}, {text}, {brought} and {by_text}");
    }
}
