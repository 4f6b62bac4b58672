//! What is told of a server and its requests: the place for metrics and logs.
use super::notice::Notice;
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

/// Receives a record of each request and notices of the server. Whoever starts the server chooses
/// it.
pub trait Observer: Send + Sync + std::fmt::Debug {
    /// Takes note of a request, once after its answer, on the thread that answered it.
    fn request_ended(&self, record: &Record);

    /// Takes note of what happened to the server itself.
    fn notice(&self, notice: &Notice);
}

/// Unknown parameters that are named; a client that draws names must not fill the log.
const NAMES_MAX: usize = 100;

/// An observer that passes notices on, and names each unknown parameter once.
pub struct Log {
    sink: fn(&Notice),
    named: Mutex<BTreeSet<String>>,
}

impl std::fmt::Debug for Log {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Log").field("named", &self.named).finish_non_exhaustive()
    }
}

impl Log {
    /// A log whose lines go to `sink`.
    pub fn new(sink: fn(&Notice)) -> Self {
        Self { sink, named: Mutex::default() }
    }
}

impl Observer for Log {
    fn request_ended(&self, record: &Record) {
        for name in &record.ignored {
            let mut named = self.named.lock().unwrap_or_else(PoisonError::into_inner);
            if named.len() < NAMES_MAX && named.insert(name.clone()) {
                (self.sink)(&Notice::UnknownParameter(name.clone()));
            }
        }
    }

    fn notice(&self, notice: &Notice) {
        (self.sink)(notice);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    static LINES: Mutex<Vec<String>> = Mutex::new(Vec::new());

    #[test]
    fn an_unknown_parameter_is_named_once_and_not_without_end() {
        let log = Log::new(|notice| LINES.lock().unwrap().push(notice.to_string()));
        let told = |names: &[&str]| {
            let ignored = names.iter().map(|name| (*name).to_owned()).collect();
            log.request_ended(&Record { ignored, ..Record::default() });
            std::mem::take(&mut *LINES.lock().unwrap())
        };
        assert_eq!(told(&["a\nb", "a\nb"]), ["ignoring the unknown parameter \"a\\nb\""]);
        assert!(told(&["a\nb"]).is_empty());
        let count: usize = (0..2 * NAMES_MAX).map(|i| told(&[&i.to_string()]).len()).sum();
        assert_eq!(count, NAMES_MAX - 1);
    }
}
