//! A question on a terminal.
use std::io::{BufRead, IsTerminal, Write};

/// Whether there is somebody to ask: both the question and the answer need a terminal.
pub(super) fn has_terminal() -> bool {
    std::io::stdin().is_terminal() && std::io::stderr().is_terminal()
}

/// Asks; true if the answer is yes. Anything else, and the end of the input, is no.
pub(super) fn agrees(question: &str) -> bool {
    // Who does not see the question does not agree.
    if write!(std::io::stderr(), "{question} [y/N] ").is_err() {
        return false;
    }
    let mut answer = String::new();
    match std::io::stdin().lock().read_line(&mut answer) {
        Ok(_) => is_yes(&answer),
        Err(_) => false,
    }
}

fn is_yes(answer: &str) -> bool {
    matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_yes_is_yes() {
        assert!(["y\n", "Yes\n", " YES "].into_iter().all(is_yes));
        assert!(!["", "\n", "n\n", "yy\n", "ja\n"].into_iter().any(is_yes));
    }
}
