//! Events of `/dashboard/events` as far as they are shown. What a server leaves out, or has in
//! another shape, is not known, and the rest is shown all the same.
use crate::text::quote::shorten;
use serde_json::Value;

/// The version of the events that is understood.
pub(super) const VERSION: u64 = 1;
/// Sequences of an event that are kept, at most.
const SEQUENCES_MAX: usize = 256;
/// Steps of an event that are kept, at most: as many as a server sends.
const STEPS_MAX: usize = 256;
/// Rows of a kind in a step, at most; no engine has more.
const ROWS_MAX: u64 = 1 << 32;
/// Lines of the log of an event that are kept, at most.
const LINES_MAX: usize = 256;
/// Cells of the map of KV blocks that are kept, at most.
const CELLS_MAX: usize = 8192;
/// Characters of a text that are kept.
const TEXT_MAX: usize = 200;

/// A value at a path, such as `/engine/running`, of an object.
#[derive(Clone, Copy, Debug)]
pub(super) struct At<'v>(pub(super) &'v Value);

impl<'v> At<'v> {
    /// A number at a path.
    pub(super) fn number(self, path: &str) -> Option<f64> {
        self.0.pointer(path)?.as_f64()
    }

    /// A count; 0 if it is unknown.
    pub(super) fn count(self, path: &str) -> u64 {
        self.0.pointer(path).and_then(Value::as_u64).unwrap_or(0)
    }

    /// A text in one line, in which nothing is left that a terminal obeys.
    pub(super) fn text(self, path: &str) -> Option<String> {
        self.0.pointer(path)?.as_str().map(|text| shorten(text, TEXT_MAX))
    }

    /// The elements of a list.
    pub(super) fn list(self, path: &str) -> impl Iterator<Item = At<'v>> {
        self.0.pointer(path).and_then(Value::as_array).into_iter().flatten().map(At)
    }
}

/// A sequence that runs or waits.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Sequence {
    /// Names it as long as it lives.
    pub(super) id: String,
    /// As its request came with it, for cancelling; none where it is another's.
    pub(super) request: Option<String>,
    /// The request as people read it, with the number of its choice.
    pub(super) name: String,
    /// The route of its request.
    pub(super) route: String,
    /// What it does: `waiting`, `prefill`, `decode` or `preempted`.
    pub(super) phase: String,
    /// Tokens of its prompt that are computed, or came from the cache.
    pub(super) prompt_done: u64,
    /// Tokens of its prompt.
    pub(super) prompt_tokens: u64,
    /// Tokens of its output so far.
    pub(super) tokens: u64,
    /// Tokens of its output, at most.
    pub(super) max_tokens: u64,
    /// KV blocks that it holds.
    pub(super) blocks: u64,
    /// Tokens of output in a second, if that is known.
    pub(super) rate: Option<f64>,
    /// Seconds in the queue.
    pub(super) waited: f64,
    /// How often it was preempted.
    pub(super) preemptions: u64,
    /// Whether whoever watches may end its request.
    pub(super) may_cancel: bool,
}

/// The kinds of rows of a step, in the order in which they are stacked.
pub(super) const KINDS: [&str; 4] = ["prefill", "decode", "verify", "draft"];

/// A step that the engine has made.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Step {
    /// Its number among all of them, from 1.
    pub(super) number: u64,
    /// Rows by kind, as in [`KINDS`].
    pub(super) rows: [u64; 4],
    /// Milliseconds that it took.
    pub(super) ms: f64,
    /// Milliseconds that it should have taken at most, if there is a bound.
    pub(super) budget_ms: Option<f64>,
}

/// A line of the log.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct LogLine {
    /// How much it matters: `info`, `warn` or `error`.
    pub(super) level: String,
    /// The id of the request that it is about; empty where it is about none.
    pub(super) request: String,
    /// What has happened, in words.
    pub(super) message: String,
}

/// The sequences of an event.
pub(super) fn sequences(event: At<'_>) -> Vec<Sequence> {
    event.list("/sequences").take(SEQUENCES_MAX).map(sequence).collect()
}

fn sequence(of: At<'_>) -> Sequence {
    let id = of.text("/id").unwrap_or_default();
    let name = of.text("/request_id").unwrap_or_else(|| format!("({id})"));
    let choice = of.count("/choice");
    Sequence {
        name: if choice > 0 { format!("{name} #{choice}") } else { name },
        request: of.0.get("request_id").and_then(Value::as_str).map(str::to_owned),
        id,
        route: of.text("/route").unwrap_or_default(),
        phase: of.text("/phase").unwrap_or_default(),
        prompt_done: of.count("/prompt_done"),
        prompt_tokens: of.count("/prompt_tokens"),
        tokens: of.count("/tokens"),
        max_tokens: of.count("/max_tokens"),
        blocks: of.count("/blocks"),
        rate: of.number("/tokens_per_second"),
        waited: of.number("/waited_seconds").unwrap_or(0.0),
        preemptions: of.count("/preemptions"),
        may_cancel: of.0.get("may_cancel").and_then(Value::as_bool).unwrap_or(false),
    }
}

/// The steps of an event, oldest first.
pub(super) fn steps(event: At<'_>) -> impl Iterator<Item = Step> {
    event.list("/steps/list").take(STEPS_MAX).map(|of| Step {
        number: of.count("/n"),
        rows: KINDS.map(|kind| of.count(&format!("/{kind}")).min(ROWS_MAX)),
        ms: of.number("/ms").unwrap_or(0.0),
        budget_ms: of.number("/budget_ms"),
    })
}

/// The lines of the log that an event brings, oldest first.
pub(super) fn log(event: At<'_>) -> impl Iterator<Item = LogLine> {
    event.list("/log/list").take(LINES_MAX).map(|of| LogLine {
        level: of.text("/level").unwrap_or_default(),
        request: of.text("/request_id").unwrap_or_default(),
        message: of.text("/message").unwrap_or_default(),
    })
}

/// What the cells of the map of KV blocks are used for, in order: 0 free, 1 cached, more are held.
pub(super) fn cells(event: At<'_>) -> Vec<u8> {
    let mut cells = Vec::new();
    for run in event.list("/kv/map/runs") {
        let (state, count) = (run.count("/0").min(255) as u8, run.count("/1"));
        let room = (CELLS_MAX - cells.len()) as u64;
        cells.extend(std::iter::repeat_n(state, count.min(room) as usize));
    }
    cells
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_is_odd_is_unknown() {
        let odd = json!({"sequences": [5, {"id": "a\u{1b}[2J", "tokens": "x", "choice": 2}], "steps": {"list": 3},
            "log": {"list": [{"message": "two\nlines"}]}, "kv": {"map": {"runs": [[7], "x", [300, 2], [1, 1e30], [2, u64::MAX]]}}});
        let event = At(&odd);
        let found = sequences(event);
        assert_eq!(found[0], Sequence { name: "()".to_owned(), ..Sequence::default() });
        assert_eq!(found[1].name, "(a\\u{1b}[2J) #2");
        assert_eq!(
            (steps(event).count(), log(event).next().expect("a line").message),
            (0, "two\\nlines".to_owned())
        );
        let cells = cells(event);
        assert_eq!((cells[..2].to_vec(), cells[2], cells.len()), (vec![255, 255], 2, CELLS_MAX));
        assert!(sequences(At(&json!(null))).is_empty());
    }
}
