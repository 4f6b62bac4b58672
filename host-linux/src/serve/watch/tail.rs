//! The end of what the server tells: its latest requests and notices, for those who watch. It is
//! kept whatever the log does, with no word of prompts and answers.
use super::log::{clipped, is_probe, request_fields};
use crate::serve::notice::Notice;
use crate::serve::observe::{Observer, Record};
use serde_json::{Map, Value};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

/// Lines that are kept.
pub const LINES_MAX: usize = 256;
/// Bytes of a message.
const MESSAGE_BYTES: usize = 500;

/// For whom a line is, besides those who may see everything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Audience {
    /// Everybody: it concerns all requests.
    All,
    /// Whoever holds a key of this owner.
    Owner(Arc<str>),
    /// Nobody else than those.
    Operator,
}

/// Something that the server told.
#[derive(Clone, Debug)]
pub struct TailLine {
    /// Its number, from 1.
    pub number: u64,
    /// When, in milliseconds since the epoch.
    pub time_ms: u64,
    /// Whether the operator may have to do something about it.
    pub is_trouble: bool,
    /// The id of the request whose end it tells; none for notices.
    pub request_id: Option<String>,
    /// What it says, one line.
    pub message: String,
    /// The figures of a request.
    pub fields: Map<String, Value>,
    /// For whom it is.
    pub audience: Audience,
}

/// The latest lines, 256 at most.
#[derive(Debug, Default)]
pub struct Tail(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    lines: VecDeque<Arc<TailLine>>,
    count: u64,
}

impl Tail {
    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many lines there were so far: the number of the latest one.
    pub fn count(&self) -> u64 {
        self.kept().count
    }

    /// The lines after that of a number which are still there, oldest first.
    pub fn since(&self, number: u64) -> Vec<Arc<TailLine>> {
        let kept = self.kept();
        let first = kept.lines.partition_point(|line| line.number <= number);
        kept.lines.range(first..).cloned().collect()
    }

    fn add(&self, line: TailLine) {
        let time = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let time_ms = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let mut kept = self.kept();
        kept.count += 1;
        let line = TailLine { number: kept.count, time_ms, ..line };
        if kept.lines.len() == LINES_MAX {
            kept.lines.pop_front();
        }
        kept.lines.push_back(Arc::new(line));
    }

    fn add_request(&self, record: &Record) {
        let route = record.route.unwrap_or("a path with nothing there");
        let (request_id, fields) = request_fields(record);
        self.add(TailLine {
            number: 0,
            time_ms: 0,
            is_trouble: record.status >= 500,
            request_id: Some(request_id),
            message: format!("{route} {}", record.status),
            fields,
            audience: record.owner.clone().map_or(Audience::Operator, Audience::Owner),
        });
    }

    fn add_notice(&self, notice: &Notice) {
        let audience = match notice {
            Notice::Engine(_) | Notice::Stopping => Audience::All,
            _ => Audience::Operator,
        };
        self.add(TailLine {
            number: 0,
            time_ms: 0,
            is_trouble: notice.is_trouble(),
            request_id: None,
            message: clipped(&notice.to_string(), MESSAGE_BYTES).into_owned(),
            fields: Map::new(),
            audience,
        });
    }
}

/// An observer that keeps the end of what another one is told.
#[derive(Debug)]
pub struct Tailed {
    inner: Arc<dyn Observer>,
    tail: Arc<Tail>,
}

impl Tailed {
    /// Keeps the end of what `inner` is told from now on in `tail`.
    pub fn new(inner: Arc<dyn Observer>, tail: &Arc<Tail>) -> Self {
        Self { inner, tail: Arc::clone(tail) }
    }
}

impl Observer for Tailed {
    fn request_ended(&self, record: &Record) {
        self.inner.request_ended(record);
        if !is_probe(record) {
            self.tail.add_request(record);
        }
    }

    fn notice(&self, notice: &Notice) {
        self.inner.notice(notice);
        self.tail.add_notice(notice);
    }

    fn reopen(&self) {
        self.inner.reopen();
    }

    fn lost_lines(&self) -> u64 {
        self.inner.lost_lines()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::serve::observe::{RecordedError, Usage};

    #[derive(Debug)]
    struct Deaf;

    impl Observer for Deaf {
        fn request_ended(&self, _: &Record) {}

        fn notice(&self, _: &Notice) {}
    }

    #[test]
    fn the_latest_lines_are_kept_and_no_more() {
        let tail = Arc::new(Tail::default());
        let tailed = Tailed::new(Arc::new(Deaf), &tail);
        let record = |id: usize| Record {
            request_id: format!("req-{id}"),
            key: Some("ann".into()),
            owner: Some("name ann".into()),
            route: Some("/v1/completions"),
            status: 200,
            usage: Usage { prompt_tokens: 3, ..Usage::default() },
            ..Record::default()
        };
        (0..LINES_MAX + 10).for_each(|id| tailed.request_ended(&record(id)));
        let probe = Record { route: Some("/health"), status: 200, ..Record::default() };
        tailed.request_ended(&probe);
        let count = LINES_MAX as u64 + 10;
        let lines = tail.since(0);
        assert_eq!((tail.count(), lines.len(), lines[0].number), (count, LINES_MAX, 11));
        let last = tail.since(count - 1);
        assert_eq!((last.len(), last[0].request_id.as_deref()), (1, Some("req-265")));
        assert_eq!(last[0].audience, Audience::Owner("name ann".into()));
        assert_eq!((last[0].message.as_str(), last[0].is_trouble), ("/v1/completions 200", false));
        assert!(tail.since(count).is_empty());
        let error = RecordedError { kind: "server_error", param: None };
        tailed.request_ended(&Record { status: 500, error: Some(error), ..Record::default() });
        tailed.notice(&Notice::UnknownParameter("x".repeat(2000)));
        tailed.notice(&Notice::Stopping);
        let lines = tail.since(count);
        assert!(lines[0].is_trouble && lines[0].fields["error"] == "server_error");
        assert!(lines[1].message.len() < MESSAGE_BYTES + 9 && lines[1].audience == Audience::Operator);
        assert_eq!((lines[2].audience.clone(), lines[2].request_id.clone()), (Audience::All, None));
    }
}
