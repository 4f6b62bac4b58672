//! `POST /v1/responses`: what comes after a list of items, as clients of OpenAI's newer API ask for
//! it. No response is kept: a body brings the whole conversation.
//!
//! * `input`: a body in the names of chat, whose reader reads it. `output`: answers. `items`: what
//!   they are made of.
mod input;
mod items;
mod output;
#[cfg(test)]
mod tests;

use super::answer;
use super::answer::parsed::ParsedBody;
use super::answer::writer::{AnswerWriter, Head};
use super::chat::Chat;
use super::dialect::Dialect;
use super::fields::Fields;
use super::limits::Reading;
use super::parameters::{Endpoints, RESPONSES};
use crate::serve::error::ApiError;
use crate::serve::events::Framing;
use crate::serve::exchange::Exchange;
use output::Response;
use serde_json::{Map, Value, json};

/// The dialect of this endpoint.
#[derive(Clone, Copy, Debug)]
pub struct Responses;

/// Generates and answers, whole or as events.
pub fn handle(exchange: &mut Exchange<'_>) -> Result<(), ApiError> {
    answer::generate(&Responses, exchange)
}

impl Dialect for Responses {
    fn endpoint(&self) -> Endpoints {
        RESPONSES
    }

    fn parse(&self, fields: &Fields<'_>, reading: Reading<'_>) -> Result<ParsedBody, ApiError> {
        let parsed = input::translate(fields)?.read(&Chat, reading)?;
        let input = repeated(fields, &parsed);
        Ok(ParsedBody { input, ..parsed })
    }

    fn id_prefix(&self) -> &'static str {
        "resp_"
    }

    fn framing(&self) -> Framing {
        Framing::NamedSse
    }

    fn writer<'a>(&self, head: Head<'a>) -> Box<dyn AnswerWriter + 'a> {
        Box::new(Response::new(head))
    }
}

/// What an answer repeats of its request, with the defaults where the request says nothing.
fn repeated(fields: &Fields<'_>, parsed: &ParsedBody) -> Value {
    let mut map = Map::new();
    let mut or = |name: &str, default: Value| {
        map.insert(name.to_owned(), fields.get(name).cloned().unwrap_or(default));
    };
    or("instructions", Value::Null);
    or("max_output_tokens", Value::Null);
    or("metadata", json!({}));
    or("parallel_tool_calls", json!(true));
    or("reasoning", json!({"effort": null, "summary": null}));
    or("text", json!({"format": {"type": "text"}}));
    or("tool_choice", json!("auto"));
    or("tools", json!([]));
    or("top_logprobs", json!(0));
    or("user", Value::Null);
    if let Some(request) = parsed.requests.first() {
        map.insert("temperature".to_owned(), answer::tokens::number(request.params.temperature));
        map.insert("top_p".to_owned(), answer::tokens::number(request.params.top_p));
    }
    Value::Object(map)
}
