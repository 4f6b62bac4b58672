//! What is told of a request after its answer has ended: the place for metrics and logs.
use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

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
    /// The path of its route; none where no route matched.
    pub route: Option<&'static str>,
    /// The HTTP status of the answer. That of a stream is 200, whatever its last event says.
    pub status: u16,
    /// Time from the request's arrival at its handler to the end of the answer.
    pub duration: Duration,
    /// Tokens that it took and made.
    pub usage: Usage,
    /// Names of parameters in its body that mean nothing here.
    pub ignored: Vec<String>,
}

/// Told of each request once, on the thread that answered it.
pub trait Observer: Send + Sync + std::fmt::Debug {
    /// Takes note of a request.
    fn observe(&self, record: &Record);
}

/// Unknown parameters that are named; a client that draws names must not fill the log.
const NOTES_MAX: usize = 100;

/// The log on standard error: it names each unknown parameter once.
#[derive(Debug, Default)]
pub struct Log {
    named: Mutex<BTreeSet<String>>,
}

impl Log {
    /// The note for a name, if it is to be written.
    fn note(&self, name: &str) -> Option<String> {
        let mut named = self.named.lock().unwrap_or_else(PoisonError::into_inner);
        let is_new = named.len() < NOTES_MAX && named.insert(name.to_owned());
        is_new.then(|| format!("note: ignoring the unknown parameter {name:?}"))
    }
}

impl Observer for Log {
    fn observe(&self, record: &Record) {
        for note in record.ignored.iter().filter_map(|name| self.note(name)) {
            eprintln!("{note}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_parameter_is_named_once_and_not_without_end() {
        let log = Log::default();
        assert_eq!(log.note("a\nb").as_deref(), Some("note: ignoring the unknown parameter \"a\\nb\""));
        assert_eq!(log.note("a\nb"), None);
        let count = (0..2 * NOTES_MAX).filter_map(|i| log.note(&i.to_string())).count();
        assert_eq!(count, NOTES_MAX - 1);
    }
}
