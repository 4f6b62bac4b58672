//! Why a model cannot be opened, an engine not started, a request not taken, or a generation not
//! finished. Each broken rule is a variant with what was found and what was expected. `Display` is
//! one line, and does not know how the caller was asked.
use super::supervision::RESTART_WINDOW;
use crate::load::LoadError;
use crate::text::TextError;
use std::fmt;
use std::io;
use std::path::PathBuf;
use verbatim_core::engine::{MemoryPlanError, Refusal};

/// Why a model cannot be opened.
#[derive(Debug)]
pub enum OpenError {
    /// The worker threads cannot be started.
    Workers {
        /// How many were to be started.
        workers: usize,
        /// What the system said.
        error: io::Error,
    },
    /// The model cannot be loaded.
    Load(LoadError),
    /// The model has no `tokenizer.json`.
    NoTokenizer {
        /// The model's directory or image.
        path: PathBuf,
    },
    /// The tokenizer or the chat template cannot be used.
    Text(TextError),
    /// A limit is out of its range.
    Limit(LimitError),
    /// The draft model cannot be used.
    Draft(DraftError),
    /// The memory of the engine cannot be planned.
    Plan(MemoryPlanError),
}

/// A limit of [`Options`](super::Options).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// The maximal context in tokens, `max_model_len`.
    ModelLen,
    /// Sequences that run at once, `max_seqs`.
    Sequences,
    /// Sequences that wait, `max_queue`.
    Queue,
    /// The KV capacity, `kv_tokens`.
    KvTokens,
    /// Rows of a step, `max_rows`.
    Rows,
    /// The number of worker threads, `workers`.
    Workers,
}

/// A limit that is out of its range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LimitError {
    /// It is too low or too high.
    Range {
        /// Which limit it is.
        limit: Limit,
        /// The value that was asked for.
        found: usize,
        /// The lowest value that is allowed.
        min: usize,
        /// The highest value that is allowed.
        max: usize,
    },
    /// The KV capacity is less than one sequence of the context that was asked for.
    KvBelowContext {
        /// The KV capacity in tokens.
        kv_tokens: usize,
        /// The context that was asked for, in tokens.
        model_len: usize,
        /// Whether the capacity was asked for; otherwise it is what fits in memory.
        is_given: bool,
    },
}

/// Why a draft model cannot be used.
#[derive(Debug)]
pub enum DraftError {
    /// The served model is in int4, and a draft of it would be the same.
    SameFormat,
    /// The served model is an image, which holds it in one format.
    SameImage {
        /// The file of the image.
        path: PathBuf,
    },
    /// The served model cannot be loaded a second time, in int4.
    SameLoad(LoadError),
    /// The draft model cannot be loaded.
    Load(LoadError),
    /// The draft model has another vocabulary.
    Vocabulary {
        /// The draft model, as it was named.
        model: String,
        /// The ids of its vocabulary.
        found: usize,
        /// The ids of the served model's vocabulary.
        expected: usize,
    },
    /// The draft model does not go with the served one.
    Plan(MemoryPlanError),
}

/// Why an engine cannot be started.
#[derive(Debug)]
pub enum EngineError {
    /// There is no memory for it.
    Memory {
        /// The bytes that it takes.
        bytes: usize,
        /// What the system said.
        error: io::Error,
    },
    /// Its memory is not as planned.
    Plan(MemoryPlanError),
    /// The thread cannot be started.
    Thread(io::Error),
    /// The thread ended before the engine was ready.
    Ended,
}

/// Why a running engine ended for good. What a panic said is one bounded line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EngineFailure {
    /// It panicked once more than it may be started again.
    TooManyPanics {
        /// Restarts within [`RESTART_WINDOW`] that were allowed.
        restarts: u32,
        /// What the last panic said.
        panic: String,
    },
    /// It panicked, and another one cannot be made.
    NoNewEngine {
        /// What the panic said.
        panic: String,
        /// Why no other engine can be made.
        error: String,
    },
}

/// Why a request was not taken.
#[derive(Clone, Debug, PartialEq)]
pub enum SubmitError {
    /// The engine refused it.
    Refused(Refusal),
    /// The engine has ended.
    EngineGone,
    /// The engine panicked when it took this request, and was started again. It would again.
    Panicked,
}

/// Why a choice could not be finished.
#[derive(Clone, Debug, PartialEq)]
pub enum GenerationError {
    /// The model gave a logit that is not finite.
    NonFinite {
        /// The position whose logits they are.
        position: usize,
    },
    /// The request allows no token at this place.
    NoTokenAllowed,
    /// The tokens cannot be decoded.
    Text(TextError),
    /// The engine refused it when its turn came, after other choices of its generation.
    Refused(Refusal),
    /// The device that computes was lost. The tokens so far hold.
    DeviceLost,
    /// Nobody wanted the output any more.
    Unwanted,
    /// The engine panicked and was started again. The tokens so far hold.
    EngineRestarted,
    /// The engine has stopped; the reason, if it did not stop as it was told to.
    EngineStopped(Option<EngineFailure>),
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Workers { workers, error } => write!(f, "{workers} workers cannot be started: {error}"),
            Self::Load(error) => error.fmt(f),
            Self::NoTokenizer { path } => write!(f, "{}: no tokenizer.json", path.display()),
            Self::Text(error) => error.fmt(f),
            Self::Limit(error) => error.fmt(f),
            Self::Draft(error) => write!(f, "draft model: {error}"),
            Self::Plan(error) => error.fmt(f),
        }
    }
}

impl Limit {
    /// The limit as messages call it.
    pub fn name(self) -> &'static str {
        match self {
            Self::ModelLen => "tokens of context",
            Self::Sequences => "sequences at once",
            Self::Queue => "waiting sequences",
            Self::KvTokens => "tokens of KV capacity",
            Self::Rows => "rows of a step",
            Self::Workers => "workers",
        }
    }
}

impl fmt::Display for LimitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Range { limit, found, min, max } => {
                write!(f, "{}: found {found}, expected between {min} and {max}", limit.name())
            }
            Self::KvBelowContext { kv_tokens, model_len, is_given } => {
                let of = if is_given { "KV capacity" } else { "memory" };
                write!(f, "{of} for {kv_tokens} tokens, expected at least the context of {model_len}")
            }
        }
    }
}

impl fmt::Display for DraftError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SameFormat => f.write_str("the model is served in int4, and a draft of it would be too"),
            Self::SameImage { path } => {
                write!(f, "{} is an image, which holds the model in one format", path.display())
            }
            Self::SameLoad(error) | Self::Load(error) => error.fmt(f),
            Self::Vocabulary { model, found, expected } => {
                write!(f, "{model}: found a vocabulary of {found} ids, expected the model's {expected}")
            }
            Self::Plan(error) => error.fmt(f),
        }
    }
}

impl fmt::Display for EngineError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Memory { bytes, error } => write!(f, "{bytes} bytes for the engine: {error}"),
            Self::Plan(error) => error.fmt(f),
            Self::Thread(error) => write!(f, "the engine thread cannot be started: {error}"),
            Self::Ended => f.write_str("the engine thread ended before it was ready"),
        }
    }
}

impl fmt::Display for EngineFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooManyPanics { restarts: 0, panic } => write!(f, "the engine panicked: {panic}"),
            Self::TooManyPanics { restarts, panic } => {
                let seconds = RESTART_WINDOW.as_secs();
                write!(f, "the engine panicked after {restarts} restarts within {seconds} s: {panic}")
            }
            Self::NoNewEngine { panic, error } => {
                write!(f, "the engine panicked ({panic}) and cannot be started again: {error}")
            }
        }
    }
}

impl fmt::Display for SubmitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(refusal) => refusal.fmt(f),
            Self::EngineGone => f.write_str("the engine has stopped"),
            Self::Panicked => f.write_str(
                "the engine failed on this request: an internal error was reported on standard error",
            ),
        }
    }
}

impl fmt::Display for GenerationError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NonFinite { position } => {
                write!(f, "the model gave a logit that is not finite at position {position}")
            }
            Self::NoTokenAllowed => f.write_str("no token is allowed here: the request forbids every one"),
            Self::Text(error) => error.fmt(f),
            Self::Refused(refusal) => refusal.fmt(f),
            Self::DeviceLost => f.write_str(
                "the device was lost; the tokens so far hold, and a server with the same fingerprint \
                 resumes the request",
            ),
            Self::Unwanted => f.write_str("the client has left"),
            Self::EngineRestarted => f.write_str(
                "the engine was restarted after an internal error; the tokens so far hold, and the request can \
                 be resumed or sent again",
            ),
            Self::EngineStopped(Some(failure)) => failure.fmt(f),
            Self::EngineStopped(None) => f.write_str("the engine has stopped"),
        }
    }
}

impl std::error::Error for OpenError {}
impl std::error::Error for LimitError {}
impl std::error::Error for DraftError {}
impl std::error::Error for EngineError {}
impl std::error::Error for EngineFailure {}
impl std::error::Error for SubmitError {}
impl std::error::Error for GenerationError {}

impl From<LoadError> for OpenError {
    fn from(error: LoadError) -> Self {
        Self::Load(error)
    }
}

impl From<TextError> for OpenError {
    fn from(error: TextError) -> Self {
        Self::Text(error)
    }
}

impl From<LimitError> for OpenError {
    fn from(error: LimitError) -> Self {
        Self::Limit(error)
    }
}

impl From<DraftError> for OpenError {
    fn from(error: DraftError) -> Self {
        Self::Draft(error)
    }
}

/// Translates a limit of the core into the option that sets it.
impl From<MemoryPlanError> for OpenError {
    fn from(error: MemoryPlanError) -> Self {
        let (field, found, min, max) = match error {
            MemoryPlanError::DraftModel { .. } => return Self::Draft(DraftError::Plan(error)),
            MemoryPlanError::Limit { field, found, min, max } => (field, found, min, max),
            _ => return Self::Plan(error),
        };
        let limit = match field {
            "model_len" => Limit::ModelLen,
            "sequences" => Limit::Sequences,
            "queue" => Limit::Queue,
            "kv_tokens" => Limit::KvTokens,
            "rows" => Limit::Rows,
            "workers" => Limit::Workers,
            _ => return Self::Plan(error),
        };
        Self::Limit(LimitError::Range { limit, found, min, max })
    }
}
