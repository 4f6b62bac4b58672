//! Errors in the shape that OpenAI's clients expect.
use crate::runtime::SubmitError;
use serde_json::{Value, json};
use verbatim_core::engine::Refusal;

/// An error with its HTTP status.
#[derive(Clone, Debug, PartialEq)]
pub struct ApiError {
    /// The HTTP status code of the answer.
    pub status: u16,
    /// What is wrong, in one sentence.
    pub message: String,
    /// The parameter, if one is to blame.
    pub param: Option<String>,
    /// A word that programs can compare.
    pub code: Option<&'static str>,
    /// The methods that the path takes, where the method is what is wrong.
    pub allow: Option<String>,
}

impl ApiError {
    /// An error of status 400: the request makes no sense. An empty `param` blames none.
    pub fn invalid(param: &str, message: impl Into<String>) -> Self {
        let param = (!param.is_empty()).then(|| param.to_owned());
        Self { status: 400, message: message.into(), param, code: None, allow: None }
    }

    /// An error that something else than the request is to blame for.
    pub fn server(status: u16, message: impl Into<String>) -> Self {
        Self { status, message: message.into(), param: None, code: None, allow: None }
    }

    /// The `type` that OpenAI's API gives errors of this status.
    fn kind(&self) -> &'static str {
        match self.status {
            429 => "rate_limit_error",
            500.. => "server_error",
            _ => "invalid_request_error",
        }
    }

    /// The body of the response, which is also the event of an error within a stream.
    pub fn body(&self) -> Value {
        json!({"error": {
            "message": self.message, "type": self.kind(), "param": self.param, "code": self.code,
        }})
    }

    /// The headers that go with the error.
    pub fn headers(&self) -> Vec<(&'static str, &str)> {
        let mut headers = Vec::new();
        if self.status == 429 {
            headers.push(("Retry-After", "1"));
        }
        if let Some(methods) = &self.allow {
            headers.push(("Allow", methods));
        }
        headers
    }
}

impl From<SubmitError> for ApiError {
    fn from(error: SubmitError) -> Self {
        let message = error.to_string();
        let SubmitError::Refused(refusal) = error else { return Self::server(503, message) };
        match refusal {
            Refusal::QueueFull { .. } => Self::server(429, message),
            Refusal::ContextExceeded { .. } | Refusal::KvCapacityExceeded { .. } => {
                Self { code: Some("context_length_exceeded"), ..Self::invalid("prompt", message) }
            }
            Refusal::Parameter(error) => Self::invalid(error.name, message),
            Refusal::TokenOutOfRange { field: "generated", .. } => Self::invalid("resume", message),
            Refusal::TooMany { field: "choices", .. } => Self::invalid("n", message),
            Refusal::TokenOutOfRange { field, .. } | Refusal::TooMany { field, .. } => {
                Self::invalid(field, message)
            }
            Refusal::EmptyPrompt => Self::invalid("prompt", message),
            Refusal::NothingAsked => Self::invalid("max_tokens", message),
        }
    }
}
