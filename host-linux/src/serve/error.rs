//! Errors in the shape that OpenAI's clients expect.
use crate::runtime::{GenerationError, SubmitError};
use crate::text::TextError;
use crate::text::quote::shorten;
use serde_json::{Value, json};
use verbatim_core::engine::Refusal;

/// Characters of a message. Those that quote a client do so in [`QUOTE_MAX`] characters at most;
/// this bounds whatever forgets to.
///
/// [`QUOTE_MAX`]: crate::text::quote::QUOTE_MAX
const MESSAGE_MAX: usize = 400;
/// The word for a prompt that is too long.
const CONTEXT_EXCEEDED: &str = "context_length_exceeded";
/// The code of an error after which the engine was started again.
const ENGINE_RESTARTED: &str = "engine_restarted";
/// The code of an error for which the engine was told to stop, or its server was.
const ENGINE_STOPPED: &str = "engine_stopped";
/// The code of an error after which the engine, or its device, is gone for good.
const ENGINE_FAILED: &str = "engine_failed";
/// The code of a refusal by a server that waits for its end.
const DRAINING: &str = "draining";
/// The codes of errors after which another server with the same fingerprint can go on with a
/// request from what was told of its answer, or begin it where nothing was.
const RESUMABLE: [&str; 4] = [ENGINE_RESTARTED, ENGINE_STOPPED, ENGINE_FAILED, DRAINING];
/// Characters of the name of a parameter.
const PARAM_MAX: usize = 64;

/// What a client is told about sending its request again. Where nothing is said, clients go by the
/// status.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Retry {
    /// Nothing is said about it.
    #[default]
    Unsaid,
    /// The same request would end the same way.
    Never,
    /// The same request may well succeed after a second.
    Soon,
}

/// What only errors of one kind tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Detail {
    /// The methods that the path takes, where the method is what is wrong.
    Allow(String),
    /// Whole seconds after which the same request may be answered.
    RetryAfter(String),
    /// Tokens, where the context has too few places for them.
    Context {
        /// Tokens of the prompt, or how many it has at least.
        prompt_tokens: usize,
        /// Tokens that a context holds.
        context: usize,
    },
}

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
    /// What only errors of one kind tell.
    pub detail: Option<Box<Detail>>,
    /// The budget that the request would have spent, by the name of its option.
    pub budget: Option<&'static str>,
    /// Whether the request may be sent again.
    pub retry: Retry,
}

impl ApiError {
    /// An error of status 400: the request makes no sense. An empty `param` blames none.
    pub fn invalid(param: &str, message: impl Into<String>) -> Self {
        let param = (!param.is_empty()).then(|| shorten(param, PARAM_MAX));
        Self { param, ..Self::server(400, message) }
    }

    /// The error for a prompt of `prompt_tokens`, or more, in `param`, for which a context of
    /// `context` tokens has no room.
    pub fn context_exceeded(
        param: &str,
        message: impl Into<String>,
        prompt_tokens: usize,
        context: usize,
    ) -> Self {
        let detail = Some(Box::new(Detail::Context { prompt_tokens, context }));
        Self { code: Some(CONTEXT_EXCEEDED), detail, ..Self::invalid(param, message) }
    }

    /// An error that something else than the request is to blame for.
    pub fn server(status: u16, message: impl Into<String>) -> Self {
        let message = shorten(&message.into(), MESSAGE_MAX);
        Self { status, message, param: None, code: None, detail: None, budget: None, retry: Retry::Unsaid }
    }

    /// The error for a request for which the queue has no room: it may come again.
    pub fn queue_full(budget: &'static str, message: impl Into<String>) -> Self {
        Self { code: Some("queue_full"), budget: Some(budget), ..Self::server(429, message) }
    }

    /// The error for a client that has left while its request waited; nobody reads it.
    pub fn client_left() -> Self {
        Self::server(CLIENT_LEFT, "the client has left")
    }

    /// The error for a request that somebody else than its client has ended. It would be ended
    /// again, so clients are told not to come back by themselves.
    pub fn cancelled() -> Self {
        let message = "the request was cancelled by whoever runs this server, or by a holder of its key";
        Self { code: Some("request_cancelled"), retry: Retry::Never, ..Self::server(CLIENT_LEFT, message) }
    }

    /// The error for a request that came when the server was about to end.
    pub fn draining(message: impl Into<String>) -> Self {
        Self { code: Some(DRAINING), retry: Retry::Soon, ..Self::server(503, message) }
    }

    /// The error of a generation that was told to end before it was done.
    pub fn engine_stopped(message: impl Into<String>) -> Self {
        Self { code: Some(ENGINE_STOPPED), retry: Retry::Soon, ..Self::server(503, message) }
    }

    /// The error of a generation whose engine, or its device, is gone.
    fn engine_failed(message: impl Into<String>) -> Self {
        Self { code: Some(ENGINE_FAILED), retry: Retry::Soon, ..Self::server(503, message) }
    }

    /// Whether another server with the same fingerprint can go on with the request from what was
    /// told of its answer: the request is not to blame, and what was told of it holds.
    pub fn is_resumable(&self) -> bool {
        self.code.is_some_and(|code| RESUMABLE.contains(&code))
    }

    /// The error of a request on whose way something panicked: it would again.
    pub fn panicked() -> Self {
        let message = "an internal error was reported on standard error";
        Self { code: Some("internal_error"), retry: Retry::Never, ..Self::server(500, message) }
    }

    /// An error of a text in `param`: the client's, or a library's that panicked on it.
    pub fn text(param: &str, error: &TextError) -> Self {
        match error {
            TextError::Panicked(_) => Self { message: error.to_string(), ..Self::panicked() },
            _ => Self::invalid(param, error.to_string()),
        }
    }

    /// The `type` that OpenAI's API gives errors of this status.
    pub fn kind(&self) -> &'static str {
        match self.status {
            429 => "rate_limit_error",
            500.. => "server_error",
            _ => "invalid_request_error",
        }
    }

    /// The body of the response, which is also the event of an error within a stream. A context
    /// that was exceeded is told in numbers too, in llama-server's names, and programs between
    /// client and server are told where another server can go on.
    pub fn body(&self) -> Value {
        let mut error = json!({
            "message": self.message, "type": self.kind(), "param": self.param, "code": self.code,
        });
        if self.is_resumable() {
            error["resumable"] = json!(true);
        }
        if let Some(Detail::Context { prompt_tokens, context }) = self.detail.as_deref() {
            error["n_prompt_tokens"] = json!(prompt_tokens);
            error["n_ctx"] = json!(context);
        }
        json!({"error": error})
    }

    /// The headers that go with the error. Whoever may come again is told when, be it soon.
    pub fn headers(&self) -> Vec<(&'static str, &str)> {
        let mut headers = Vec::new();
        let soon = (matches!(self.status, 429 | 503) || self.retry == Retry::Soon).then_some("1");
        let (mut seconds, mut methods) = (soon, None);
        match self.detail.as_deref() {
            Some(Detail::RetryAfter(told)) => seconds = Some(told.as_str()),
            Some(Detail::Allow(told)) => methods = Some(told.as_str()),
            Some(Detail::Context { .. }) | None => {}
        }
        headers.extend(seconds.map(|seconds| ("Retry-After", seconds)));
        match self.retry {
            Retry::Unsaid => {}
            Retry::Never => headers.push(("x-should-retry", "false")),
            Retry::Soon => headers.push(("x-should-retry", "true")),
        }
        headers.extend(methods.map(|methods| ("Allow", methods)));
        headers
    }
}

impl From<SubmitError> for ApiError {
    fn from(error: SubmitError) -> Self {
        let message = error.to_string();
        let refusal = match error {
            SubmitError::Refused(refusal) => refusal,
            // Another server, or this one when it is back, may take it.
            SubmitError::EngineGone => return Self::engine_stopped(message),
            SubmitError::Panicked => return Self { message, ..Self::panicked() },
        };
        match refusal {
            Refusal::QueueFull { .. } => Self::queue_full("max-queue", message),
            Refusal::ContextExceeded { prompt_tokens, model_len } => {
                Self::context_exceeded("prompt", message, prompt_tokens, model_len)
            }
            Refusal::KvCapacityExceeded { .. } => {
                Self { code: Some(CONTEXT_EXCEEDED), ..Self::invalid("prompt", message) }
            }
            Refusal::Parameter(error) => Self::invalid(error.name, message),
            Refusal::TokenOutOfRange { field: "generated", .. } => Self::invalid("resume", message),
            Refusal::TooMany { field: "choices", .. } => {
                Self { budget: Some("max-choices"), ..Self::invalid("n", message) }
            }
            Refusal::TokenOutOfRange { field, .. } | Refusal::TooMany { field, .. } => {
                Self::invalid(field, message)
            }
            Refusal::EmptyPrompt => Self::invalid("prompt", message),
            Refusal::NothingAsked => Self::invalid("max_tokens", message),
        }
    }
}

/// The status of a client that has left, as nginx logs it. Nobody reads the answer.
const CLIENT_LEFT: u16 = 499;

impl From<GenerationError> for ApiError {
    fn from(error: GenerationError) -> Self {
        let message = error.to_string();
        match error {
            GenerationError::EngineRestarted => {
                Self { code: Some(ENGINE_RESTARTED), retry: Retry::Soon, ..Self::server(500, message) }
            }
            GenerationError::DeviceLost | GenerationError::EngineStopped(Some(_)) => {
                Self::engine_failed(message)
            }
            GenerationError::EngineStopped(None) => Self::engine_stopped(message),
            GenerationError::Unwanted => Self::server(CLIENT_LEFT, message),
            GenerationError::Refused(refusal) => SubmitError::Refused(refusal).into(),
            // Only what a request asks for can forbid every token.
            GenerationError::NoTokenAllowed => Self::invalid("", message),
            // The same model gives the same logits, and the same ids the same text.
            GenerationError::NonFinite { .. } | GenerationError::Text(_) => {
                Self { retry: Retry::Never, ..Self::server(500, message) }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::EngineFailure;
    use crate::text::TextPart;

    #[test]
    fn clients_are_told_whether_to_send_a_request_again() {
        let soon = vec![("Retry-After", "1"), ("x-should-retry", "true")];
        let never = vec![("x-should-retry", "false")];
        let restarted = ApiError::from(GenerationError::EngineRestarted);
        assert_eq!(restarted.body()["error"]["code"], "engine_restarted");
        assert_eq!(restarted.body()["error"]["type"], "server_error");
        assert_eq!((restarted.status, restarted.headers()), (500, soon.clone()));
        let failure = EngineFailure::TooManyPanics { restarts: 1, panic: "x".to_owned() };
        for (error, code) in [
            (ApiError::from(GenerationError::DeviceLost), "engine_failed"),
            (ApiError::from(GenerationError::EngineStopped(Some(failure))), "engine_failed"),
            (ApiError::from(GenerationError::EngineStopped(None)), "engine_stopped"),
            (ApiError::from(SubmitError::EngineGone), "engine_stopped"),
            (ApiError::draining("later"), "draining"),
        ] {
            assert_eq!((error.status, error.headers()), (503, soon.clone()));
            let body = &error.body()["error"];
            assert_eq!((&body["code"], &body["type"]), (&json!(code), &json!("server_error")));
            assert_eq!(body["resumable"], true, "{body}");
        }
        assert_eq!(restarted.body()["error"]["resumable"], true);
        assert!(ApiError::panicked().body()["error"].get("resumable").is_none());
        let panicked = TextError::Panicked(TextPart::Tokenizer);
        for error in [
            ApiError::from(GenerationError::NonFinite { position: 3 }),
            ApiError::from(GenerationError::Text(panicked.clone())),
            ApiError::from(SubmitError::Panicked),
            ApiError::text("prompt", &panicked),
            ApiError::panicked(),
        ] {
            assert_eq!((error.status, error.headers()), (500, never.clone()), "{error:?}");
        }
        for status in [429, 503] {
            assert_eq!(ApiError::server(status, "busy").headers(), [("Retry-After", "1")]);
        }
        assert_eq!(ApiError::from(GenerationError::Unwanted).status, 499);
        assert_eq!(ApiError::from(GenerationError::NoTokenAllowed).status, 400);
        let wrong = ApiError::text("messages", &TextError::EmptyPrompt);
        assert_eq!((wrong.status, wrong.param.as_deref()), (400, Some("messages")));
        assert!(wrong.headers().is_empty());
    }
}
