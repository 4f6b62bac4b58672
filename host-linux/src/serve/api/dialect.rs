//! What differs between the endpoints that generate: how a body is read, and how an answer is
//! written. `docs/adding.md` says what a new one needs.
use super::answer::parsed::ParsedBody;
use super::answer::writer::{AnswerWriter, Head};
use super::fields::Fields;
use super::limits::Reading;
use super::parameters::endpoint::Endpoints;
use crate::serve::error::ApiError;
use crate::serve::events::Framing;
use serde_json::Value;

/// An endpoint that generates.
pub trait Dialect: Sync {
    /// The endpoint, by whose rows of the table of parameters a body is checked.
    fn endpoint(&self) -> Endpoints;

    /// Reads the fields of a request's body.
    fn parse(&self, fields: &Fields<'_>, reading: Reading<'_>) -> Result<ParsedBody, ApiError>;

    /// What ids of answers begin with, before the request's id.
    fn id_prefix(&self) -> &'static str;

    /// How the events of streamed answers are framed.
    fn framing(&self) -> Framing {
        Framing::Sse
    }

    /// The body of an error, which is also its event within a stream.
    fn error(&self, error: &ApiError) -> Value {
        error.body()
    }

    /// A writer for one answer.
    fn writer<'a>(&self, head: Head<'a>) -> Box<dyn AnswerWriter + 'a>;
}
