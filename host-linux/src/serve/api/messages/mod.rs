//! `POST /v1/messages` and `/v1/messages/count_tokens`: a conversation's next message, as
//! Anthropic's clients ask for it.
//!
//! * `input`: a body in the names of chat, whose reader reads it. `output`: answers.
mod input;
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
use super::parameters::{COUNT_TOKENS, Endpoints, MESSAGES};
use crate::serve::error::ApiError;
use crate::serve::error_shape;
use crate::serve::events::Framing;
use crate::serve::exchange::Exchange;
use output::Message;
use serde_json::{Value, json};

/// The dialect of `/v1/messages`.
#[derive(Clone, Copy, Debug)]
pub struct Messages;

/// As [`Messages`], of a body whose tokens are counted and which has no `max_tokens`.
#[derive(Clone, Copy, Debug)]
pub struct Counted;

/// Generates and answers, whole or as events.
pub fn handle(exchange: &mut Exchange<'_>) -> Result<(), ApiError> {
    answer::generate(&Messages, exchange)
}

/// Answers with the number of tokens that the prompt of a body has.
pub fn count_tokens(exchange: &mut Exchange<'_>) -> Result<(), ApiError> {
    let parsed = answer::reading::read(&Counted, exchange)?;
    let tokens: usize = parsed.requests.iter().map(|request| request.prompt.len()).sum();
    exchange.send_json(200, &json!({"input_tokens": tokens}), &[]);
    Ok(())
}

impl Dialect for Messages {
    fn endpoint(&self) -> Endpoints {
        MESSAGES
    }

    fn parse(&self, fields: &Fields<'_>, reading: Reading<'_>) -> Result<ParsedBody, ApiError> {
        if fields.get("max_tokens").is_none() {
            return Err(ApiError::invalid("max_tokens", "max_tokens is missing"));
        }
        let mut translation = input::translate(fields, reading.model)?;
        translation.carry(fields, "max_tokens", "max_tokens");
        translation.read(&Chat, reading)
    }

    fn id_prefix(&self) -> &'static str {
        "msg_"
    }

    fn framing(&self) -> Framing {
        Framing::NamedSse
    }

    fn error(&self, error: &ApiError) -> Value {
        error_shape::anthropic(error)
    }

    fn writer<'a>(&self, head: Head<'a>) -> Box<dyn AnswerWriter + 'a> {
        Box::new(Message::new(head))
    }
}

impl Dialect for Counted {
    fn endpoint(&self) -> Endpoints {
        COUNT_TOKENS
    }

    fn parse(&self, fields: &Fields<'_>, reading: Reading<'_>) -> Result<ParsedBody, ApiError> {
        input::translate(fields, reading.model)?.read(&Chat, reading)
    }

    fn id_prefix(&self) -> &'static str {
        Messages.id_prefix()
    }

    fn error(&self, error: &ApiError) -> Value {
        error_shape::anthropic(error)
    }

    fn writer<'a>(&self, head: Head<'a>) -> Box<dyn AnswerWriter + 'a> {
        Messages.writer(head)
    }
}
