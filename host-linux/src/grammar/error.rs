//! Why an output cannot be constrained as a client asks.
use std::fmt;

/// Characters of a library's message that are told at most.
#[cfg(feature = "structured-output")]
const PROBLEM_MAX: usize = 240;

/// Why a grammar was not compiled. `Display` is one line that follows the name of a parameter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GrammarError {
    /// It is longer than is read.
    TooLong {
        /// Bytes that it has.
        bytes: usize,
        /// Bytes that are read.
        max: usize,
    },
    /// It makes no sense, or uses a feature that is not supported; the text names it.
    Invalid(String),
    /// Compiling it would take more time or memory than a client gets.
    TooComplex(String),
    /// It can be satisfied by no text, or not with the tokens of the model.
    Unsatisfiable,
    /// The library failed on it.
    Failed,
    /// This build has no structured output.
    NotBuilt,
    /// Others are compiled, or there is no thread to compile it on; later there may be.
    Busy,
}

impl GrammarError {
    /// Whether the same grammar would be refused again, whenever it comes.
    #[cfg(feature = "structured-output")]
    pub(super) fn is_final(&self) -> bool {
        !matches!(self, Self::Failed | Self::NotBuilt | Self::Busy)
    }

    /// From what the library says of a grammar: its first line, shortened.
    #[cfg(feature = "structured-output")]
    pub(super) fn told(message: &str) -> Self {
        if message.starts_with("panic:") {
            return Self::Failed;
        }
        let lines = message.lines().map(str::trim).filter(|line| !line.is_empty());
        let line = lines.clone().find(|line| !line.starts_with('<')).unwrap_or("it cannot be compiled");
        let line = crate::text::quote::shorten(line, PROBLEM_MAX);
        let words = ["fuel", "too large", "too complex", "limits", "level exceeded", "too many"];
        match words.iter().any(|word| line.contains(word)) {
            true => Self::TooComplex(line),
            false => Self::Invalid(line),
        }
    }
}

impl fmt::Display for GrammarError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong { bytes, max } => write!(f, "has {bytes} bytes, but at most {max} are compiled"),
            Self::Invalid(problem) => write!(f, "cannot be compiled: {problem}"),
            Self::TooComplex(problem) => write!(f, "is too complex: {problem}"),
            Self::Unsatisfiable => f.write_str("allows no output at all"),
            Self::Failed => f.write_str("cannot be compiled: the compiler failed on it"),
            Self::NotBuilt => {
                f.write_str("is not supported by this build, which was made without structured output")
            }
            Self::Busy => f.write_str("cannot be compiled now, because the server is busy with others"),
        }
    }
}

impl std::error::Error for GrammarError {}

#[cfg(all(test, feature = "structured-output"))]
mod tests {
    use super::*;

    #[test]
    fn a_message_of_the_library_is_told_in_one_short_line() {
        let told = GrammarError::told("Unimplemented keys: [\"not\"]\n<state>\nmuch\n</state>");
        assert_eq!(told, GrammarError::Invalid("Unimplemented keys: [\"not\"]".into()));
        assert_eq!(GrammarError::told("panic: at a place\n<backtrace>"), GrammarError::Failed);
        assert!(matches!(GrammarError::told("fuel exhausted"), GrammarError::TooComplex(_)));
        let long = GrammarError::told(&"x".repeat(10_000)).to_string();
        assert!(long.chars().count() < 300, "{long}");
    }
}
