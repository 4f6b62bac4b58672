//! The items that a response is made of: what the model thought, said and called.
use super::super::answer::tokens::{ListedToken, TokenTexts, number};
use super::super::answer::writer::ChoiceHead;
use super::super::blocks::Block;
use serde_json::{Value, json};
use verbatim_core::sampling::TokenLogprob;

/// How far an item has come, in the words of the API.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Status {
    /// It has begun, and is not whole.
    InProgress,
    /// It is whole, as it was meant.
    Completed,
    /// It was cut off by a limit.
    Incomplete,
}

impl Status {
    /// The word for it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::InProgress => "in_progress",
            Self::Completed => "completed",
            Self::Incomplete => "incomplete",
        }
    }
}

/// The id of an item: that of the response, its kind and its number.
pub(super) fn id(response: &str, block: &Block, at: usize) -> String {
    let kind = match block {
        Block::Reasoning(_) => "rs",
        Block::Text(_) => "msg",
        Block::Call { .. } => "fc",
    };
    let name = response.strip_prefix("resp_").unwrap_or(response);
    format!("{kind}_{name}_{at}")
}

/// The part of a block that has one, with its content; `logprobs` is the list of its tokens'.
pub(super) fn part(block: &Block, logprobs: Value) -> Option<Value> {
    match block {
        Block::Reasoning(text) => Some(json!({"type": "reasoning_text", "text": text})),
        Block::Text(text) => {
            let mut part = json!({"type": "output_text", "text": text, "annotations": []});
            part["logprobs"] = logprobs;
            Some(part)
        }
        Block::Call { .. } => None,
    }
}

/// The item of a block, whose content is `part`; one that has just begun has none yet.
pub(super) fn item(
    id: &str,
    block: &Block,
    part: Option<Value>,
    choice: &ChoiceHead<'_>,
    status: Status,
) -> Value {
    let status = status.name();
    let mut item = match block {
        Block::Reasoning(_) => json!({"id": id, "type": "reasoning", "summary": [], "status": status}),
        Block::Text(_) => json!({"id": id, "type": "message", "role": "assistant", "status": status}),
        Block::Call { call, name, arguments } => {
            return json!({
                "id": id, "type": "function_call", "call_id": choice.call_id_of(*call), "name": name,
                "arguments": arguments, "status": status,
            });
        }
    };
    item["content"] = Value::Array(part.into_iter().collect());
    item
}

/// The log-probabilities of tokens as this API lists them.
pub(super) fn logprobs(texts: TokenTexts<'_>, tokens: &[ListedToken<'_>]) -> Vec<Value> {
    let entry = |at: &TokenLogprob| {
        let (token, bytes) = (texts.text(at.token), texts.bytes(at.token));
        json!({"token": token, "logprob": number(at.logprob), "bytes": bytes})
    };
    let with_top = |at: &ListedToken<'_>| {
        let mut listed = entry(&at.token);
        listed["top_logprobs"] = at.top.iter().map(entry).collect();
        listed
    };
    tokens.iter().map(with_top).collect()
}
