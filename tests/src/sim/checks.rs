//! What holds after every step, kept by bookkeeping of our own rather than asked of the engine.
//!
//! **Waiting.** When a sequence begins to wait (it came, or it was preempted), *queued rows* are those that could be ahead of
//! it: what all live sequences have left to compute up to their full length, its own included; later all of each newcomer
//! of greater priority, as long as its head start lasts ([`PRIORITY_ROWS`] for each step of priority), and, once for each other
//! sequence, what it loses to a preemption. It is admitted before the
//! engine has computed 4 × as many rows; since each step computes as many rows as its budget, the sequences and their blocks
//! allow, that is 4 × (queued rows / rows of a step) steps. Rows of guesses do not count. The factor leaves room for what
//! preemption computes twice.
use std::collections::{BTreeMap, BTreeSet};
use verbatim_core::engine::request::PRIORITY_ROWS;
use verbatim_core::engine::{Engine, Event, EventKind, PlannedRow, RequestId};

/// One choice of one request.
pub type Key = (RequestId, u32);

/// The allowance over what is queued.
pub const WAIT_FACTOR: u64 = 4;

#[derive(Clone, Debug)]
struct Live {
    end_len: u64,
    computed: u64,
    priority: i8,
    waits: Option<Wait>,
}

#[derive(Clone, Debug)]
struct Wait {
    since_rows: u64,
    queued_rows: u64,
    /// Whose preemptions were counted.
    requeued: BTreeSet<Key>,
}

/// Who is live, how far it has come, and how long it has waited.
#[derive(Debug, Default)]
pub struct Waiting {
    live: BTreeMap<Key, Live>,
    rows: u64,
    /// The longest wait, in hundredths of what is allowed.
    pub worst_percent: u64,
}

impl Waiting {
    /// Live sequences.
    pub fn live_count(&self) -> usize {
        self.live.len()
    }

    /// Rows that all live sequences have left up to their full length.
    pub fn rows_left(&self) -> u64 {
        self.live.values().map(|live| live.end_len - live.computed.min(live.end_len)).sum()
    }

    /// A sequence came.
    pub fn submitted(&mut self, key: Key, end_len: usize, priority: i8) {
        for other in self.live.values_mut().filter(|other| other.priority < priority) {
            let head_start = (i64::from(priority) - i64::from(other.priority)) as u64 * PRIORITY_ROWS;
            if let Some(wait) = &mut other.waits
                && self.rows < wait.since_rows + head_start
            {
                wait.queued_rows += end_len as u64;
            }
        }
        self.live.insert(key, Live { end_len: end_len as u64, computed: 0, priority, waits: None });
        self.begins_to_wait(key);
    }

    fn begins_to_wait(&mut self, key: Key) {
        if let Some(live) = self.live.get_mut(&key) {
            live.computed = 0;
        }
        let wait = Wait { since_rows: self.rows, queued_rows: self.rows_left(), requeued: BTreeSet::new() };
        if let Some(live) = self.live.get_mut(&key) {
            live.waits = Some(wait);
        }
    }

    /// A request left.
    pub fn cancelled(&mut self, request: RequestId) {
        self.live.retain(|key, _| key.0 != request);
    }

    /// A step of the served model was executed.
    pub fn stepped(&mut self, rows: &[PlannedRow]) {
        for row in rows.iter().filter(|row| row.drafted == 0) {
            self.rows += 1;
            if let Some(live) = self.live.get_mut(&(row.request, row.choice)) {
                live.computed = row.position as u64 + 1;
            }
        }
    }

    /// An event came.
    pub fn event(&mut self, event: &Event<'_>) -> Result<(), String> {
        let key = (event.request, event.choice);
        let Some(live) = self.live.get_mut(&key) else {
            return Err(format!("an event of a sequence that is gone: {event:?}"));
        };
        match event.kind {
            EventKind::Admitted { cached_tokens } => {
                if live.waits.take().is_none() {
                    return Err(format!("admitted without waiting: {event:?}"));
                }
                live.computed = cached_tokens as u64;
            }
            EventKind::Preempted => {
                if live.waits.is_some() {
                    return Err(format!("preempted while waiting: {event:?}"));
                }
                let lost = live.computed;
                for wait in self.live.values_mut().filter_map(|other| other.waits.as_mut()) {
                    if wait.requeued.insert(key) {
                        wait.queued_rows += lost;
                    }
                }
                self.begins_to_wait(key);
            }
            EventKind::Finished(_) => {
                self.live.remove(&key);
            }
            EventKind::Token { .. } | EventKind::PromptLogprob { .. } => {
                if live.waits.is_some() {
                    return Err(format!("an output while waiting: {event:?}"));
                }
            }
        }
        Ok(())
    }

    /// Nobody has waited too long.
    pub fn check(&mut self) -> Result<(), String> {
        for (key, live) in &self.live {
            let Some(wait) = &live.waits else { continue };
            let waited = self.rows - wait.since_rows;
            let most = WAIT_FACTOR * wait.queued_rows;
            self.worst_percent = self.worst_percent.max(100 * waited / most.max(1));
            if waited > most {
                return Err(format!(
                    "{key:?} has waited for {waited} rows; {} were queued when it began, and {WAIT_FACTOR} times as many are allowed",
                    wait.queued_rows
                ));
            }
        }
        Ok(())
    }
}

/// Blocks and guards, and that the engine counts as many sequences as we do.
pub fn check_engine(engine: &Engine<'_, '_>, waiting: &Waiting) -> Result<(), String> {
    engine.check_invariants().map_err(|what| format!("an invariant of the engine is broken: {what}"))?;
    let status = engine.status();
    let mut held = vec![0_u32; status.blocks];
    for (_, _, table) in engine.tables() {
        table.iter().for_each(|block| held[*block as usize] += 1);
    }
    for (block, held) in held.iter().enumerate() {
        let counted = engine.block_references(block as u32);
        if counted != *held {
            return Err(format!("block {block} is held by {held} sequences, but counted {counted} times"));
        }
    }
    let free = held.iter().filter(|held| **held == 0).count();
    if free != status.free_blocks {
        return Err(format!("{free} blocks are in no table, but {} are free", status.free_blocks));
    }
    let live = status.running + status.waiting;
    if live != waiting.live_count() {
        return Err(format!("the engine has {live} sequences, but {} are live", waiting.live_count()));
    }
    if live == 0 && status.free_blocks != status.blocks {
        return Err(format!(
            "nobody is live, but {} of {} blocks are free",
            status.free_blocks, status.blocks
        ));
    }
    Ok(())
}
