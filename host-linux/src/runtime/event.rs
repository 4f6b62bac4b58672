//! The output of a generation, as its caller reads it.
use super::error::GenerationError;
use verbatim_core::sampling::TokenLogprob;

/// Output of a choice, as it comes out of a [`Generation`](super::Generation).
#[derive(Clone, Debug, PartialEq)]
pub struct TextEvent {
    /// The number of the choice: those of the first request come first, then those of the next.
    pub choice: usize,
    /// What the choice brought.
    pub kind: TextEventKind,
}

/// What a choice brought.
#[derive(Clone, Debug, PartialEq)]
pub enum TextEventKind {
    /// More of its output.
    Delta(Delta),
    /// Its end: once for each choice, and its last event.
    End(Ending),
}

/// The output that a token brought.
#[derive(Clone, Debug, PartialEq)]
pub struct Delta {
    /// Text that may be given out; empty while text is held back, since it may be part of a
    /// character or of a stop string.
    pub text: String,
    /// The token; `None` if this is the text that was held back at the end.
    pub token: Option<TokenLogprob>,
    /// The likeliest tokens at this place, best first.
    pub top: Vec<TokenLogprob>,
}

/// A token of a prompt, and how likely it was there.
#[derive(Clone, Debug, PartialEq)]
pub struct PromptToken {
    /// The token, given those before it.
    pub token: TokenLogprob,
    /// Its place among all tokens, 1 for the likeliest.
    pub rank: u32,
    /// The likeliest tokens at this place, best first.
    pub top: Vec<TokenLogprob>,
}

/// What stopped a choice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StopCause {
    /// The stop string that the text has come to.
    Text(String),
    /// The stop id that was drawn.
    Token(u32),
}

/// What comes out of a generation within a time.
#[derive(Clone, Debug, PartialEq)]
pub enum Heard {
    /// An event of a choice.
    Event(TextEvent),
    /// Nothing happened in that time.
    Silence,
    /// All choices have ended.
    End,
}

/// Why a choice ended.
#[derive(Clone, Debug, PartialEq)]
pub enum Ending {
    /// A token or a string that ends the output.
    Stop,
    /// `max_tokens`, or the end of the context.
    Length,
    /// It could not go on.
    Error(GenerationError),
}
