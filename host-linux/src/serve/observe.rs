//! What is told of a server and its requests, and to whom.
use super::notice::Notice;
use crate::runtime::ChoiceTimes;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Tokens of a request's prompts and choices.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Tokens of the prompts; a prompt counts once for all its choices.
    pub prompt_tokens: usize,
    /// Tokens of the outputs, those that a resumed stream had before among them.
    pub completion_tokens: usize,
    /// Tokens of the prompts whose keys and values were in the cache.
    pub cached_tokens: usize,
}

/// A request whose answer has ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Record {
    /// The request's id, as its answer's `x-request-id` says it.
    pub request_id: String,
    /// The name of the API key that it came with.
    pub key: Option<Arc<str>>,
    /// Who owns what it leaves behind, also when that key has another name; nobody without a key.
    pub owner: Option<Arc<str>>,
    /// The path of its route; none where no route matched.
    pub route: Option<&'static str>,
    /// The HTTP status of the answer. That of a stream is 200, whatever its last event says.
    pub status: u16,
    /// When it arrived, from which its times are counted.
    pub arrived: Option<Instant>,
    /// Time from the request's arrival at its handler to the end of the answer.
    pub duration: Duration,
    /// Tokens that it took and made.
    pub usage: Usage,
    /// Names of parameters in its body that mean nothing here.
    pub ignored: Vec<String>,
    /// Why it was refused, if it was.
    pub error: Option<RecordedError>,
    /// What was generated for it, if anything was asked for and not refused.
    pub generated: Option<Generated>,
}

/// Why a request was refused: what may be told without a word of its body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordedError {
    /// The error's code, or else its type.
    pub kind: &'static str,
    /// The parameter that is to blame.
    pub param: Option<String>,
}

/// What was generated for a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Generated {
    /// The seed in use, given or drawn.
    pub seed: u64,
    /// Choices of each prompt.
    pub n: usize,
    /// Output tokens that each choice could have, at most.
    pub max_tokens: usize,
    /// Whether the answer was sent as events.
    pub stream: bool,
    /// All choices, prompt by prompt.
    pub choices: Vec<GeneratedChoice>,
    /// The beginnings of prompt and answer, where the server was told to note them.
    pub texts: Option<Texts>,
}

/// The beginnings of a request's first prompt and of its first choice.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Texts {
    /// The prompt, special tokens and all.
    pub prompt: String,
    /// The output, as far as it was given out.
    pub answer: String,
}

/// A choice of a request, at its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GeneratedChoice {
    /// Tokens of its prompt.
    pub prompt_tokens: usize,
    /// Those of them whose keys and values were in the cache.
    pub cached_tokens: usize,
    /// Tokens that were generated here, not those before a stream was resumed.
    pub tokens: usize,
    /// Why it ended, or was ended.
    pub finish: Finish,
    /// When it came how far.
    pub times: ChoiceTimes,
}

/// Why a choice ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finish {
    /// A token or a string that ends the output.
    Stop,
    /// As many tokens as were asked for, or as the context holds.
    Length,
    /// The client had left.
    Abort,
    /// It could not go on.
    Error,
}

impl Finish {
    /// All reasons, in the order of their numbers.
    pub const ALL: [Self; 4] = [Self::Stop, Self::Length, Self::Abort, Self::Error];

    /// The word for it in logs and metrics, as vLLM has it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Stop => "stop",
            Self::Length => "length",
            Self::Abort => "abort",
            Self::Error => "error",
        }
    }
}

/// Receives a record of each request and notices of the server. Whoever starts the server chooses
/// it.
pub trait Observer: Send + Sync + std::fmt::Debug {
    /// Takes note of a request, once after its answer, on the thread that answered it.
    fn request_ended(&self, record: &Record);

    /// Takes note of what happened to the server itself.
    fn notice(&self, notice: &Notice);

    /// Opens its files anew, since they were moved away. Called on SIGHUP.
    fn reopen(&self) {}

    /// Lines that could not be written.
    fn lost_lines(&self) -> u64 {
        0
    }
}
