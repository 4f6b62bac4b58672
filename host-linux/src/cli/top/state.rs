//! What is known of the server: its newest event, and what of earlier ones is still shown.
use super::event::{self, At, LogLine, Sequence, Step, VERSION};
use serde_json::Value;
use std::collections::VecDeque;

/// Steps that are kept: as many as the widest terminal has columns.
const STEPS_MAX: usize = 512;
/// Lines of the log that are kept.
const LINES_MAX: usize = 200;

/// How it stands with the server.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum Link {
    /// It was asked, and has not answered yet.
    #[default]
    Connecting,
    /// It sends events as they come.
    Live,
    /// It does not, and is asked again.
    Gone(String),
}

/// What the server has sent.
#[derive(Clone, Debug, Default)]
pub(super) enum Update {
    /// The server was reached.
    #[default]
    Reached,
    /// An event, as it was sent.
    Event(Value),
    /// Why nothing comes any more.
    Lost(String),
}

/// What is shown of the server.
#[derive(Clone, Debug, Default)]
pub(super) struct State {
    /// How it stands with it.
    pub(super) link: Link,
    event: Value,
    /// Those that run, then those that wait.
    pub(super) sequences: Vec<Sequence>,
    /// The last steps, oldest first.
    pub(super) steps: VecDeque<Step>,
    /// The last lines of the log, oldest first.
    pub(super) log: VecDeque<LogLine>,
    /// What the cells of the map of KV blocks are used for.
    pub(super) cells: Vec<u8>,
}

impl State {
    /// The newest event, of which the rest is read.
    pub(super) fn event(&self) -> At<'_> {
        At(&self.event)
    }

    /// Whether there is one.
    pub(super) fn has_event(&self) -> bool {
        !self.event.is_null()
    }

    /// Whether the newest event tells what the engine does, which shows itself some time after
    /// somebody has begun to watch.
    pub(super) fn has_engine(&self) -> bool {
        !self.event.pointer("/engine/view_age_ms").is_some_and(Value::is_null)
    }

    /// Takes what the server has sent.
    pub(super) fn take(&mut self, update: Update) {
        match update {
            Update::Reached => self.link = Link::Live,
            Update::Lost(why) => self.link = Link::Gone(why),
            Update::Event(event) => self.newest(event),
        }
    }

    fn newest(&mut self, event: Value) {
        let version = event.get("version").and_then(Value::as_u64);
        if version != Some(VERSION) {
            let found = version.map_or_else(|| "none".to_owned(), |version| version.to_string());
            let why = format!("its events have version {found}, and this program knows {VERSION}");
            self.link = Link::Gone(why);
            return;
        }
        self.link = Link::Live;
        let at = At(&event);
        // A server that was started again counts from the beginning.
        if at.count("/steps/total") < self.event().count("/steps/total") {
            self.steps.clear();
        }
        // The first event of a connection has all lines that are kept, and may have steps that the
        // one before it has told.
        if at.count("/number") == 0 {
            self.log.clear();
        }
        let last = self.steps.back().map_or(0, |step| step.number);
        self.sequences = event::sequences(at);
        self.cells = event::cells(at);
        self.steps.extend(event::steps(at).filter(|step| step.number > last));
        self.log.extend(event::log(at));
        self.event = event;
        self.steps.drain(..self.steps.len().saturating_sub(STEPS_MAX));
        self.log.drain(..self.log.len().saturating_sub(LINES_MAX));
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use serde_json::json;

    /// An event with two sequences, as a server sends it.
    pub(in crate::cli::top) fn sample() -> Value {
        json!({
            "version": 1, "number": 3, "uptime_seconds": 3725.5,
            "server": {"version": "0.1.0", "model": "demo", "fingerprint": "vb-0123", "weights": "int8", "kv": "bf16",
                       "isa": "avx2", "workers": 2, "max_seqs": 8, "max_queue": 64, "phase": "ready", "restarts": 1},
            "rights": {"cancel": "all", "reason": null},
            "engine": {"running": 1, "waiting": 1, "busy": 0.93, "tokens_per_second": 118.2, "preemptions": 4,
                       "step": {"kind": "target", "rows": 64, "age_ms": 12.0, "limit_ms": 20000.0}},
            "sequences": [
                {"id": "0.1.0", "request_id": "req-7", "choice": 0, "route": "/v1/chat/completions", "phase": "decode",
                 "prompt_tokens": 120, "prompt_done": 120, "tokens": 31, "max_tokens": 256, "blocks": 10,
                 "tokens_per_second": 24.1, "waited_seconds": 0.02, "preemptions": 0, "may_cancel": true},
                {"id": "0.2.0", "request_id": null, "choice": 1, "route": null, "phase": "waiting",
                 "prompt_tokens": 500, "prompt_done": 16, "tokens": 0, "max_tokens": 20, "blocks": 1,
                 "tokens_per_second": null, "waited_seconds": 2.5, "preemptions": 2, "may_cancel": false},
            ],
            "sequences_total": 2,
            "kv": {"blocks": 12, "block_tokens": 16, "free": 5, "cached": 3, "held": 4, "shared": 1,
                   "map": {"blocks_per_cell": 1, "cells": 12, "runs": [[2, 3], [3, 1], [1, 3], [0, 5]]}},
            "steps": {"total": 4711, "skipped": 0, "list": [
                {"n": 4710, "kind": "decode", "prefill": 0, "decode": 4, "verify": 2, "draft": 0, "ms": 10.0, "budget_ms": 200.0},
                {"n": 4711, "kind": "prefill", "prefill": 60, "decode": 4, "verify": 0, "draft": 0, "ms": 80.0, "budget_ms": 50.0},
            ]},
            "queue": {"sequences": 1, "tokens": 240, "max_tokens": 100000, "reading": 0},
            "prefix": {"queries": 5120, "hits": 2048},
            "drafts": {"lookup": {"verified": 100, "accepted": 80}, "model": {"verified": 0, "accepted": 0}},
            "memory": {"weights": 1_000_000, "engine": 9_000_000, "kv": 8_000_000, "resident": 30_000_000, "limit": null},
            "connections": {"open": 5, "answering": 3, "watchers": 1},
            "log": {"skipped": 0, "list": [
                {"n": 17, "level": "info", "request_id": "req-6", "message": "POST /v1/completions 200", "fields": {}},
                {"n": 18, "level": "warn", "request_id": null, "message": "it takes \u{1b}[31mlong", "fields": {}},
            ]},
        })
    }

    #[test]
    fn the_newest_event_counts_and_steps_are_kept() {
        let mut state = State::default();
        assert_eq!((state.link.clone(), state.has_event()), (Link::Connecting, false));
        state.take(Update::Event(sample()));
        state.take(Update::Event(sample()));
        assert_eq!((state.steps.len(), state.log.len(), state.sequences.len()), (2, 4, 2), "each step once");
        let mut first = sample();
        first["number"] = json!(0);
        state.take(Update::Event(first));
        assert_eq!((state.steps.len(), state.log.len()), (2, 2), "a new connection tells all lines anew");
        state.take(Update::Lost("gone".to_owned()));
        assert_eq!(state.link, Link::Gone("gone".to_owned()));
        assert!(state.has_event(), "what was known stays");
        let mut anew = sample();
        anew["steps"]["total"] = json!(2);
        anew["steps"]["list"] =
            json!([{"n": 1, "decode": 1}, {"n": 2, "decode": u64::MAX, "prefill": u64::MAX}]);
        state.take(Update::Event(anew));
        assert_eq!((state.steps.len(), &state.link), (2, &Link::Live));
        assert!(state.steps[1].rows.iter().sum::<u64>() > 0, "no number is too large");
        for number in 0..400 {
            let mut event = sample();
            let list = [1, 2].map(|n| json!({"n": 5000 + 2 * number + n, "decode": 1}));
            event["steps"] = json!({"total": 5000 + 2 * number + 2, "list": list});
            state.take(Update::Event(event));
        }
        assert_eq!((state.steps.len(), state.log.len()), (STEPS_MAX, LINES_MAX));
    }

    #[test]
    fn another_version_is_told() {
        let mut state = State::default();
        state.take(Update::Event(json!({"version": 2})));
        assert!(matches!(&state.link, Link::Gone(why) if why.contains("version 2")));
        state.take(Update::Event(json!([])));
        assert!(matches!(&state.link, Link::Gone(why) if why.contains("version none")));
    }
}
