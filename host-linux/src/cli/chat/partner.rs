//! Whom a conversation is held with: a model in this process, or a server.
use serde_json::{Map, Value};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Ends an answer that is on its way: set by Ctrl-C, and taken back before the next answer.
#[derive(Clone, Debug, Default)]
pub(super) struct Stop(pub(super) Arc<AtomicBool>);

impl Stop {
    /// Whether the answer is not wanted any more.
    pub(super) fn is_set(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }

    /// The answer to come is wanted.
    pub(super) fn clear(&self) {
        self.0.store(false, Ordering::SeqCst);
    }
}

/// What an answer brings, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Piece {
    /// Text that the model writes to itself before it answers.
    Reasoning(String),
    /// Text of the answer.
    Text(String),
}

/// Why an answer has ended, if no error ended it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// The model, or a stop string, has ended it.
    Whole,
    /// It is as long as it may be.
    Length,
    /// Nobody wanted more of it.
    Stopped,
}

/// An answer that has ended.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Told {
    /// Why it has ended.
    pub(super) end: End,
    /// The seed that it was drawn with, as far as that is known.
    pub(super) seed: Option<i64>,
    /// How long it was, and took.
    pub(super) figures: Figures,
}

/// Figures of an answer. Counts of tokens are those that the partner tells.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Figures {
    /// Tokens of the conversation before it.
    pub(super) prompt_tokens: Option<usize>,
    /// Those of them that were in the cache.
    pub(super) cached_tokens: Option<usize>,
    /// Tokens of the answer.
    pub(super) tokens: Option<usize>,
    /// Until its first text came.
    pub(super) first: Duration,
    /// Until it had ended.
    pub(super) whole: Duration,
    /// What else there is to tell, in sentences.
    pub(super) notes: Vec<String>,
}

/// Whom a conversation is held with.
pub(super) trait Partner {
    /// The name of the model that answers.
    fn name(&self) -> &str;

    /// The fingerprint of the model, which decides the bits of answers; none where none is told.
    fn fingerprint(&self) -> Option<&str>;

    /// What is to be known of the model, a line each.
    fn describe(&mut self) -> Result<Vec<String>, String>;

    /// Chooses the model of this name for the answers to come.
    fn choose(&mut self, name: &str) -> Result<(), String>;

    /// Whether any name may be set, since what it means is for a server to say.
    fn takes_any_name(&self) -> bool;

    /// Checks parameters of a body for chat; the error is in the words of the API.
    fn check(&self, parameters: &Map<String, Value>) -> Result<(), String>;

    /// Has a body for chat answered. `tell` gets the answer as it comes, and may end it with an
    /// error; so may `stop`, without one.
    fn answer(
        &mut self,
        body: &Map<String, Value>,
        stop: &Stop,
        tell: &mut dyn FnMut(Piece) -> Result<(), String>,
    ) -> Result<Told, String>;
}
