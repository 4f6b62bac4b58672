//! Tokens as answers list them: with their texts, bytes and log-probabilities.
use crate::runtime::{Delta, PromptToken};
use crate::text::Tokenizer;
use serde_json::{Value, json};
use verbatim_core::sampling::TokenLogprob;

/// What stands for the logarithm of 0.
const LOG_ZERO: f32 = -9999.0;

/// A token of an output, as it may be listed.
#[derive(Clone, Copy, Debug)]
pub struct ListedToken<'d> {
    /// The token that was drawn.
    pub token: TokenLogprob,
    /// The likeliest tokens in its place, best first.
    pub top: &'d [TokenLogprob],
}

/// The tokens among `deltas`, each with `count` alternatives; one that is only text held back until
/// the end has none.
pub fn listed_tokens(deltas: &[Delta], count: usize) -> Vec<ListedToken<'_>> {
    let mut listed = Vec::with_capacity(deltas.len());
    for Delta { token, top, .. } in deltas {
        listed.extend(token.map(|token| ListedToken { token, top: best(top, count) }));
    }
    listed
}

/// The tokens of a prompt, each with `count` alternatives.
pub fn listed_prompt(tokens: &[PromptToken], count: usize) -> Vec<ListedToken<'_>> {
    tokens
        .iter()
        .map(|PromptToken { token, top, .. }| ListedToken { token: *token, top: best(top, count) })
        .collect()
}

fn best(top: &[TokenLogprob], count: usize) -> &[TokenLogprob] {
    &top[..top.len().min(count)]
}

/// The ids of tokens, as answers list them.
pub fn token_ids(tokens: &[ListedToken<'_>]) -> Value {
    tokens.iter().map(|at| at.token.token).collect()
}

/// Single tokens as text.
#[derive(Clone, Copy, Debug)]
pub struct TokenTexts<'m> {
    /// The tokenizer of the model.
    pub tokenizer: &'m Tokenizer,
    /// Whether lists name tokens by their ids.
    pub as_ids: bool,
}

impl TokenTexts<'_> {
    /// The bytes that a token adds to the output.
    pub fn bytes(self, token: u32) -> Vec<u8> {
        self.tokenizer.bytes(token)
    }

    /// The text of a token alone; bytes that are only a part of a character become U+FFFD.
    pub fn text(self, token: u32) -> String {
        String::from_utf8_lossy(&self.tokenizer.bytes(token)).into_owned()
    }

    /// The name of a token in a list: its text, or its id.
    pub fn name(self, token: u32) -> String {
        if self.as_ids { format!("token_id:{token}") } else { self.text(token) }
    }

    /// A token as an entry of a list: its name, its log-probability and its bytes.
    pub fn entry(self, at: &TokenLogprob) -> Value {
        json!({"token": self.name(at.token), "logprob": number(at.logprob), "bytes": self.bytes(at.token)})
    }

    /// The number of characters in [`TokenTexts::text`].
    pub fn char_count(self, token: u32) -> usize {
        self.text(token).chars().count()
    }
}

/// An f32 as the shortest decimal that reads back to it. Widening it would print digits that it
/// never had. JSON has no infinities: the logarithm of 0 is told as other servers tell it.
pub fn number(x: f32) -> Value {
    let x = if x == f32::NEG_INFINITY { LOG_ZERO } else { x };
    x.to_string().parse::<f64>().map_or(Value::Null, |x| json!(x))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_has_no_digits_that_it_never_had() {
        assert_eq!(number(0.1).to_string(), "0.1");
        assert_eq!(number(-1.5e-7).to_string(), "-1.5e-7");
    }

    #[test]
    fn the_logarithm_of_nothing_is_a_number_all_the_same() {
        assert_eq!(number(f32::NEG_INFINITY), json!(-9999.0));
        assert_eq!(number(f32::NAN), Value::Null);
    }
}
