//! What holds of every plan and after every step. Texts, salts, waits and the order of sequences
//! are kept by bookkeeping of our own rather than asked of the engine.
//!
//! **Waiting.** When a sequence begins to wait (it came, it was preempted, or it had a row and
//! wants another), *queued rows* are those that could be ahead of it: what all live sequences have
//! left to compute up to their full length, its own included; later all of each newcomer of greater
//! priority, as long as its head start lasts ([`PRIORITY_ROWS`] for each step of priority), and,
//! once for each other sequence, what it loses to a preemption. It has its next row before the
//! engine has computed 4 × as many rows; since each step computes as many rows as its budget, the
//! sequences and their blocks allow, that is 4 × (queued rows / rows of a step) steps. Rows of
//! draft tokens do not count. The factor leaves room for what preemption computes twice.
//!
//! **Order.** Sequences run, and are let in, in the order of their arrival in rows, less the head
//! start of their priority; but those behind may go before one whose text begins as a running
//! one's.
//!
//! **Sharing.** Sequences that hold one block hold it for the same text with the same salt.
//!
//! **Draft tokens** leave a full step [`PREFILL_ROWS_MIN`] rows for prompts that have as many left.
use std::collections::{BTreeMap, BTreeSet, HashMap};
use verbatim_core::cache::BLOCK;
use verbatim_core::engine::request::PRIORITY_ROWS;
use verbatim_core::engine::{Engine, Event, EventKind, PREFILL_ROWS_MIN, PlannedRow, RequestId, Status};

/// A choice of a request: the request's id and the choice's number.
pub type Key = (RequestId, u32);

/// How many times the queued rows a sequence may wait for.
pub const WAIT_FACTOR: u64 = 4;

#[derive(Clone, Debug)]
struct Live {
    end_len: u64,
    computed: u64,
    priority: i8,
    /// The key by which sequences are ordered: smaller ones run first.
    order: i64,
    is_running: bool,
    wait: Wait,
}

/// How long a sequence may wait: for its first row if it is not running, for the next one if it is.
#[derive(Clone, Debug)]
struct Wait {
    since_rows: u64,
    queued_rows: u64,
    /// The sequences whose loss by preemption was added already.
    requeued: BTreeSet<Key>,
}

/// Who is live, how far it has come, and how long it has waited.
#[derive(Debug, Default)]
pub struct Waiting {
    live: BTreeMap<Key, Live>,
    /// Rows computed so far, without those of draft tokens.
    rows: u64,
    draft_rows: u64,
    /// The longest wait, in hundredths of what is allowed.
    pub worst_percent: u64,
}

impl Waiting {
    /// The number of live sequences.
    pub fn live_count(&self) -> usize {
        self.live.len()
    }

    /// Rows that all live sequences have left up to their full length.
    pub fn rows_left(&self) -> u64 {
        self.live.values().map(|live| live.end_len - live.computed.min(live.end_len)).sum()
    }

    /// Notes that a sequence was submitted.
    pub fn submitted(&mut self, key: Key, end_len: usize, priority: i8) {
        for other in self.live.values_mut().filter(|other| other.priority < priority) {
            let head_start = (i64::from(priority) - i64::from(other.priority)) as u64 * PRIORITY_ROWS;
            if self.rows < other.wait.since_rows + head_start {
                other.wait.queued_rows += end_len as u64;
            }
        }
        let order = (self.rows + self.draft_rows) as i64 - i64::from(priority) * PRIORITY_ROWS as i64;
        let wait = Wait { since_rows: 0, queued_rows: 0, requeued: BTreeSet::new() };
        let end_len = end_len as u64;
        self.live.insert(key, Live { end_len, computed: 0, priority, order, is_running: false, wait });
        self.begins_to_wait(key);
    }

    fn begins_to_wait(&mut self, key: Key) {
        let wait = Wait { since_rows: self.rows, queued_rows: self.rows_left(), requeued: BTreeSet::new() };
        if let Some(live) = self.live.get_mut(&key) {
            live.wait = wait;
        }
    }

    /// Notes that a choice ended or was cancelled.
    pub fn cancelled(&mut self, key: Key) {
        self.live.remove(&key);
    }

    /// Notes that a step of the served model was executed.
    pub fn stepped(&mut self, rows: &[PlannedRow]) {
        for row in rows {
            if row.drafted > 0 {
                self.draft_rows += 1;
                continue;
            }
            self.rows += 1;
            if let Some(live) = self.live.get_mut(&(row.request, row.choice)) {
                live.computed = row.position as u64 + 1;
            }
        }
        let keys: BTreeSet<Key> = rows.iter().map(|row| (row.request, row.choice)).collect();
        for key in keys {
            self.begins_to_wait(key);
        }
    }

    /// Checks that the sequence which a plan admitted was the first of those that waited. Sequences
    /// that wait for a prefix which another one computes may be passed.
    pub fn check_admissions(&self, before: &Running, now: &Running, texts: &Texts) -> Result<(), String> {
        for key in now.keys.difference(&before.keys) {
            let passed = self.first_waiting(now, texts).filter(|first| self.place(first) < self.place(key));
            if let Some(first) = passed {
                return Err(format!("{key:?} is let in, but {first:?} is ahead of it"));
            }
        }
        Ok(())
    }

    /// Checks that the draft tokens of a plan leave rows to prompts that run or could run; `rows`
    /// is the row budget of the step.
    pub fn check_drafts(
        &self,
        (rows, rows_max): (&[PlannedRow], usize),
        before: &Running,
        now: &Running,
        texts: &Texts,
    ) -> Result<(), String> {
        let drafts = rows.iter().filter(|row| row.drafted > 0).count();
        if drafts == 0 || rows.len() < rows_max {
            return Ok(());
        }
        let (mut left, mut planned) = (0, 0);
        for key in &now.keys {
            let (Some(text), Some(live)) = (texts.get(key), self.live.get(key)) else { continue };
            let own = rows.iter().filter(|row| (row.request, row.choice) == *key && row.drafted == 0);
            let pending = match own.clone().next() {
                Some(first) => text.ids.len() - first.position,
                None => text.ids.len() - live.computed as usize,
            };
            // A sequence that begins now takes prefill rows, even if only one is left to compute.
            if pending > 1 || !before.keys.contains(key) {
                left += pending;
                planned += own.count();
            }
        }
        // A sequence that waits for none of these: a slot, blocks, one that was just preempted.
        if now.keys.len() < now.sequences
            && now.preemptions == before.preemptions
            && let Some(first) = self.first_waiting(now, texts)
            && let tokens = texts[&first].ids.len()
            && tokens.div_ceil(BLOCK) < now.free_blocks
        {
            left += tokens;
        }
        if planned >= left.min(PREFILL_ROWS_MIN) {
            return Ok(());
        }
        Err(format!("{drafts} draft tokens in a full step, but of {left} rows of prompts only {planned}"))
    }

    fn place(&self, key: &Key) -> Option<(i64, Key)> {
        Some((self.live.get(key)?.order, *key))
    }

    /// The first waiting sequence, not counting those whose tokens begin as a running one's: they
    /// may wait for its blocks.
    fn first_waiting(&self, now: &Running, texts: &Texts) -> Option<Key> {
        let may_share = |key: &Key| {
            let Some(text) = texts.get(key) else { return true };
            let mut running = now.keys.iter().filter_map(|other| texts.get(other));
            running.any(|other| other.salt == text.salt && other.ids.first() == text.ids.first())
        };
        let waiting = self.live.keys().filter(|key| !now.keys.contains(key) && !may_share(key));
        waiting.min_by_key(|key| self.place(key)).copied()
    }

    /// Takes an event of the engine into account.
    pub fn event(&mut self, event: &Event<'_>) -> Result<(), String> {
        let key = (event.request, event.choice);
        let Some(live) = self.live.get_mut(&key) else {
            return Err(format!("an event of a sequence that is gone: {event:?}"));
        };
        match event.kind {
            EventKind::Admitted { cached_tokens } => {
                if live.is_running {
                    return Err(format!("admitted without waiting: {event:?}"));
                }
                live.is_running = true;
                live.computed = live.computed.max(cached_tokens as u64);
            }
            EventKind::Preempted => {
                if !live.is_running {
                    return Err(format!("preempted while waiting: {event:?}"));
                }
                live.is_running = false;
                let lost = std::mem::take(&mut live.computed);
                for other in self.live.values_mut() {
                    if other.wait.requeued.insert(key) {
                        other.wait.queued_rows += lost;
                    }
                }
                self.begins_to_wait(key);
            }
            EventKind::Finished(_) => {
                self.live.remove(&key);
            }
            EventKind::Token { .. } | EventKind::PromptLogprob { .. } => {
                if !live.is_running {
                    return Err(format!("an output while waiting: {event:?}"));
                }
            }
        }
        Ok(())
    }

    /// Checks that no sequence has waited too long.
    pub fn check(&mut self) -> Result<(), String> {
        for (key, live) in &self.live {
            let wait = &live.wait;
            let waited = self.rows - wait.since_rows;
            let allowed = WAIT_FACTOR * wait.queued_rows;
            self.worst_percent = self.worst_percent.max(100 * waited / allowed.max(1));
            if waited > allowed {
                return Err(format!(
                    "{key:?} has had no row for {waited}; {} were queued when it began, and {WAIT_FACTOR} times as many are allowed",
                    wait.queued_rows
                ));
            }
        }
        Ok(())
    }
}

/// What an engine says of itself: which sequences run, how many may run, how many blocks are free,
/// and how many preemptions there were.
#[derive(Clone, Debug)]
pub struct Running {
    keys: BTreeSet<Key>,
    sequences: usize,
    free_blocks: usize,
    preemptions: u64,
}

impl Running {
    /// Reads the engine's tables as they are now.
    pub fn of(engine: &Engine<'_>) -> Self {
        let keys = engine.tables().map(|(request, choice, _)| (request, choice)).collect();
        let Status { free_blocks, preemptions, .. } = engine.status();
        Self { keys, sequences: engine.limits().sequences, free_blocks, preemptions }
    }
}

/// What a sequence computes, and among whom it may share it.
#[derive(Clone, Debug)]
pub struct Text {
    /// The cache salt of its request.
    pub salt: u64,
    /// Prompt and output so far.
    pub ids: Vec<u32>,
}

/// The tokens and salts of the live sequences.
pub type Texts = HashMap<Key, Text>;

/// Checks that sequences run in order, and that only equal prefixes with equal salts share blocks.
pub fn check_tables(engine: &Engine<'_>, waiting: &Waiting, texts: &Texts) -> Result<(), String> {
    let mut last = None;
    let mut holders: HashMap<u32, (usize, Key)> = HashMap::new();
    for (request, choice, table) in engine.tables() {
        let key = (request, choice);
        let (Some(live), Some(text)) = (waiting.live.get(&key), texts.get(&key)) else {
            return Err(format!("{key:?} runs, but is not live"));
        };
        let place = Some((live.order, key));
        if place < last {
            return Err(format!("{key:?} runs after {last:?}, but is ahead of it"));
        }
        last = place;
        for (at, block) in table.iter().enumerate() {
            let Some((other_at, other)) = holders.insert(*block, (at, key)) else { continue };
            let of = &texts[&other];
            let end = ((at + 1) * BLOCK).min(text.ids.len()).min(of.ids.len());
            if at != other_at || text.salt != of.salt || text.ids[..end] != of.ids[..end] {
                return Err(format!("{key:?} and {other:?} share block {block}, but differ in salt or text"));
            }
        }
    }
    Ok(())
}

/// Checks the engine's blocks and guards, and that it counts as many sequences as we do.
pub fn check_engine(engine: &Engine<'_>, waiting: &Waiting) -> Result<(), String> {
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
