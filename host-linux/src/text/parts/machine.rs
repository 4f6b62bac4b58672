//! What reads a call, a character at a time.
//!
//! Every reader of this folder takes single characters and keeps all it knows between them, so how
//! an answer is cut into pieces cannot matter.
use super::sink::Sink;
use std::fmt::Debug;

/// What a character did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// It was taken, and more must follow.
    More,
    /// It was taken, and what is read is complete.
    Done,
    /// It does not belong here and was not taken.
    Wrong,
}

/// Reads one call, or a list of them. It tells the sink of a call once its name is known and its
/// arguments have begun; before that, whoever runs it keeps the characters as a candidate.
pub(super) trait Machine: Debug + Send {
    /// Takes the next character.
    fn push(&mut self, c: char, sink: &mut Sink) -> Step;
}

/// Blanks as JSON has them.
pub(super) fn is_blank(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\n' | '\r')
}

/// Whether a function may have this name: what other servers' models call theirs is let through.
pub(super) fn is_name(name: &str) -> bool {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.');
    (1..=64).contains(&name.len()) && name.bytes().all(is_allowed)
}
