//! What is asked of whoever answers the lines of a batch.
use serde_json::{Map, Value};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// What a line asks for.
#[derive(Clone, Debug, PartialEq)]
pub struct LineRequest {
    /// What the sender calls it, other than any other line of the batch.
    pub custom_id: String,
    /// The path of the endpoint that it is for.
    pub url: String,
    /// The body of the request.
    pub body: Map<String, Value>,
}

/// What is wrong with a line, so that it is no request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LineError {
    /// What the sender calls it, if that can be told.
    pub custom_id: Option<String>,
    /// A word that programs can compare.
    pub code: &'static str,
    /// What is wrong, in a sentence.
    pub message: String,
    /// The name of the line's field that is to blame, if one is.
    pub param: Option<&'static str>,
}

impl LineError {
    /// An error of a line whose `custom_id` is not known.
    pub fn new(code: &'static str, param: Option<&'static str>, message: impl Into<String>) -> Self {
        Self { custom_id: None, code, message: message.into(), param }
    }
}

/// The answer to a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// The HTTP status that the endpoint would answer with.
    pub status: u16,
    /// The body, which is JSON on one line.
    pub body: Vec<u8>,
}

/// Why a line has no answer, so that the batch cannot go on now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Halt {
    /// Nobody wants it any more, or not now.
    Stopped,
    /// No line of the batch may be answered, now or later.
    Refused {
        /// A word that programs can compare.
        code: &'static str,
        /// Why not, in a sentence.
        message: String,
    },
    /// Nothing can be answered any more, for this reason.
    Failed(String),
}

/// Tells all who work for a batch that it is not wanted any more, or not now; cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Stop {
    all: Arc<AtomicBool>,
    new: Arc<AtomicBool>,
}

impl Stop {
    /// Says that nothing more is wanted.
    pub fn set(&self) {
        self.all.store(true, Ordering::Relaxed);
    }

    /// Whether nothing more is wanted.
    pub fn is_set(&self) -> bool {
        self.all.load(Ordering::Relaxed)
    }

    /// Says that nothing is to be begun any more; what was begun is still wanted.
    pub fn begin_nothing(&self) {
        self.new.store(true, Ordering::Relaxed);
    }

    /// Whether nothing is to be begun any more.
    pub fn begins_nothing(&self) -> bool {
        self.new.load(Ordering::Relaxed) || self.is_set()
    }
}

/// Leave to answer a line, which is given back when this is dropped.
#[derive(Default)]
pub struct Leave(Option<Box<dyn Send>>);

impl Leave {
    /// Leave that holds `place` until it is given back.
    pub fn holding(place: impl Send + 'static) -> Self {
        Self(Some(Box::new(place)))
    }
}

impl std::fmt::Debug for Leave {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Leave").field("holds", &self.0.is_some()).finish()
    }
}

/// What all answers of a batch have in common.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BatchSender {
    /// Who has sent the batch; nobody where no key was demanded.
    pub owner: Option<String>,
    /// When answers say that they were made, in seconds since 1970. It is the same for all of a
    /// batch, so that a line that is answered again has the same bytes.
    pub created: u64,
}

/// Answers lines, many at once. The answer to a line depends on its bytes alone.
pub trait Answerer: Sync {
    /// What a line asks for.
    fn read(&self, line: &[u8]) -> Result<LineRequest, LineError>;

    /// Waits until a batch may ask for another line, however long that takes. It gives up soon
    /// after `stop` says that nothing is to be begun.
    fn leave(&self, _from: &BatchSender, _stop: &Stop) -> Result<Leave, Halt> {
        Ok(Leave::default())
    }

    /// Answers a request; `id` names it in the answer. This may take minutes, and ends soon after
    /// `stop` is set.
    fn answer(&self, id: &str, request: LineRequest, from: &BatchSender, stop: &Stop) -> Result<Reply, Halt>;

    /// The fingerprint of what answers: with another one, the same line may have another answer.
    fn fingerprint(&self) -> &str;
}
