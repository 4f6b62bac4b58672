//! The scheduler: it decides which rows the next step has.
//!
//! A step of the served model:
//!
//! 1. **Decode**: one row of each running sequence that has a single token pending, in order, and
//!    the rows of its draft tokens as far as rows reach ([`draft`](super::draft)). Draft tokens
//!    leave [`PREFILL_ROWS_MIN`] rows to prompts that have as many to compute.
//! 2. **Prefill**: the pending tokens of running sequences, in order, as far as rows reach.
//! 3. **Admission**: waiting sequences, in order, while there are slots, rows, and blocks for all
//!    their tokens ([`admit`](super::admit)). Those that are ahead of a running sequence go before
//!    its prefill: a long prompt that was let past a sequence which had to wait for another, or
//!    that is of lower priority, does not keep it waiting to its end.
//!
//! Before it there may be steps of the draft model: one token of each sequence that wants one.
//!
//! The order is that of arrival, priorities being head starts. A decoding sequence without a free
//! block for its last token takes those of the last running one, which goes back to the queue with
//! its tokens and is computed again later, to the same bits. The first is never preempted and can
//! always hold its whole context (`submit` saw to that), so it ends, and so does everyone in turn.
use super::Engine;
use super::sequence::Standing;
use crate::cache::BLOCK;
pub use crate::model::StepKind;
use crate::model::{Row, RowOutput};

/// Rows that prompts get beside draft tokens, at least: drafting is a matter of speed, but a prompt
/// without a row makes no progress.
pub const PREFILL_ROWS_MIN: usize = 4;

/// The size that a host allows the next step, from its measurements. No output bit depends on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    /// The largest number of rows; the engine plans at least one and never more than its limit.
    pub rows: usize,
}

impl Budget {
    /// As many rows as the engine was sized for.
    pub const UNLIMITED: Budget = Budget { rows: usize::MAX };
}

/// A planned step. Only the latest can be executed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlanId {
    pub(super) number: u64,
    /// Which model the step runs.
    pub kind: StepKind,
}

/// The count of preemptions before a plan: a plan that had to preempt admits no sequence.
#[derive(Clone, Copy)]
struct Before {
    preemptions: u64,
}

impl Engine<'_> {
    /// Plans the next step; `None` if no sequence runs or waits. A plan that was not executed is
    /// dropped.
    pub fn plan(&mut self, budget: Budget) -> Option<PlanId> {
        self.planned = None;
        self.state.rows.clear();
        let rows_max = budget.rows.clamp(1, self.limits.rows);
        let before = Before { preemptions: self.counters.preemptions };
        self.decide_drafts(rows_max);
        self.reserve_decodes(rows_max);
        let kind = if self.plan_draft(rows_max) { StepKind::Draft } else { StepKind::Target };
        if kind == StepKind::Target {
            self.plan_decodes(rows_max);
            self.plan_prefills(rows_max, before);
            if self.may_admit(before) {
                self.admit(rows_max, None);
            }
        }
        if self.state.rows.is_empty() {
            return None;
        }
        self.plan_count += 1;
        let id = PlanId { number: self.plan_count, kind };
        self.planned = Some(id);
        Some(id)
    }

    /// Whether waiting sequences may begin: not in a plan that took blocks from a running one.
    fn may_admit(&self, before: Before) -> bool {
        self.counters.preemptions == before.preemptions
    }

    /// Running sequences that have a single token pending.
    pub(super) fn decoding_count(&self) -> usize {
        let running = self.state.running.as_slice().iter();
        running.filter(|slot| self.state.sequences[**slot as usize].pending() == 1).count()
    }

    /// Rows of a step that draft tokens may have: those that no sequence's last token needs, less
    /// [`PREFILL_ROWS_MIN`] for prompts that run or wait for a free slot. Where a waiting one then
    /// finds no blocks, its rows stay empty.
    pub(super) fn rows_for_drafts(&self, rows_max: usize) -> usize {
        let sequence = |slot: &u32| &self.state.sequences[*slot as usize];
        let running = self.state.running.as_slice().iter();
        let begun: usize = running.map(|slot| sequence(slot).pending()).filter(|pending| *pending > 1).sum();
        let free_slots = self.limits.sequences - self.state.running.len();
        let waiting = self.state.waiting.as_slice().iter().take(free_slots);
        let prefill = begun + waiting.map(|slot| sequence(slot).token_count as usize).sum::<usize>();
        let left_to_prompts = prefill.min(PREFILL_ROWS_MIN);
        rows_max.saturating_sub(self.decoding_count() + left_to_prompts)
    }

    /// Finds a block for the last token of each sequence that decodes, before draft tokens take
    /// any. Where there is none, the last running sequence is preempted.
    fn reserve_decodes(&mut self, rows_max: usize) {
        let (mut at, mut count) = (0, 0);
        while at < self.state.running.len() && count < rows_max {
            let slot = self.state.running.as_slice()[at];
            at += 1;
            if self.state.sequences[slot as usize].pending() != 1 {
                continue;
            }
            count += 1;
            while self.reserve(slot, 1) == 0 {
                // The last one was not looked at yet, or is this one.
                let last = self.last_running();
                self.preempt(last);
                if last == slot {
                    break;
                }
            }
        }
    }

    /// Plans the rows of sequences that decode, with draft tokens as far as rows and blocks reach.
    fn plan_decodes(&mut self, rows_max: usize) {
        let mut spare = self.rows_for_drafts(rows_max);
        let mut at = 0;
        while at < self.state.running.len() && self.state.rows.len() < rows_max {
            let slot = self.state.running.as_slice()[at];
            at += 1;
            let sequence = &self.state.sequences[slot as usize];
            if sequence.pending() != 1 {
                continue;
            }
            let drafts = (sequence.draft_count as usize).min(spare);
            let reserved = self.reserve(slot, 1 + drafts);
            spare -= reserved - 1;
            self.state.sequences[slot as usize].draft_count = reserved as u32 - 1;
            self.add_rows(slot, reserved);
        }
    }

    /// Plans the pending tokens of sequences that run, and admits those that are ahead of them.
    fn plan_prefills(&mut self, rows_max: usize, before: Before) {
        let mut at = 0;
        while at < self.state.running.len() && self.state.rows.len() < rows_max {
            let slot = self.state.running.as_slice()[at];
            at += 1;
            let pending = self.state.sequences[slot as usize].pending();
            let has_row = self.state.rows.iter().any(|row| row.sequence == slot);
            if pending == 0 || has_row {
                continue;
            }
            if self.may_admit(before) {
                at += self.admit(rows_max, Some(slot));
            }
            if self.state.rows.len() == rows_max {
                break;
            }
            let wanted = pending.min(rows_max - self.state.rows.len());
            let mut reserved = self.reserve(slot, wanted);
            // With rows planned already, others go on and will give blocks back. Without any,
            // another sequence has to yield.
            while reserved == 0 && self.state.rows.is_empty() {
                let last = self.last_running();
                if last == slot {
                    break;
                }
                self.preempt(last);
                reserved = self.reserve(slot, wanted);
            }
            self.add_rows(slot, reserved);
        }
    }

    /// The running sequence that is last in the order; there is one.
    fn last_running(&self) -> u32 {
        self.state.running.as_slice()[self.state.running.len() - 1]
    }

    /// Takes blocks for up to `count` more positions, and makes the one in which they begin
    /// writable. Returns for how many positions there are blocks.
    pub(super) fn reserve(&mut self, slot: u32, count: usize) -> usize {
        let sequence = &mut self.state.sequences[slot as usize];
        let table = self.state.tables.of_mut(slot);
        let computed = sequence.computed as usize;
        if count > 0 && !computed.is_multiple_of(BLOCK) {
            let first = &mut table[computed / BLOCK];
            let Some(writable) = self.state.blocks.make_writable(*first) else { return 0 };
            self.counters.copies += u64::from(writable != *first);
            *first = writable;
        }
        while (sequence.block_count as usize) * BLOCK < computed + count {
            let Some(block) = self.state.blocks.take() else { break };
            table[sequence.block_count as usize] = block;
            sequence.block_count += 1;
        }
        (sequence.block_count as usize * BLOCK - computed).min(count)
    }

    /// Plans the next `count` rows of a sequence, draft tokens included.
    pub(super) fn add_rows(&mut self, slot: u32, count: usize) {
        let sequence = &mut self.state.sequences[slot as usize];
        sequence.valid = sequence.token_count.min(sequence.computed + count as u32);
        let sequence = *sequence;
        for i in 0..count {
            let position = sequence.computed + i as u32;
            let output =
                if sequence.samples_at(position) { RowOutput::Logits } else { sequence.output_at(position) };
            self.add_row(slot, position, output);
        }
    }

    /// Plans one row of a sequence.
    ///
    /// # Panics
    /// If the step is full: whoever plans rows counts those that are left.
    pub(super) fn add_row(&mut self, slot: u32, position: u32, output: RowOutput) {
        let token = self.state.tokens.of(slot)[position as usize];
        let row = Row { token, position, sequence: slot, output };
        self.state.rows.push(row).expect("a plan has at most as many rows as its budget");
    }

    /// Takes a sequence's blocks; it waits again, at its place in the order.
    fn preempt(&mut self, slot: u32) {
        self.state.release_blocks(slot);
        self.state.running.remove(slot);
        self.state.waiting.insert(slot, self.state.sequences);
        let sequence = &mut self.state.sequences[slot as usize];
        sequence.standing = Standing::Waiting;
        let sequence = *sequence;
        self.counters.preemptions += 1;
        self.preempted(&sequence);
    }
}
