//! Which rows the next step has.
//!
//! A step of the served model:
//!
//! 1. **Decode**: one row of each running sequence that has a single token pending, in order, and
//!    as far as rows reach the rows of its guesses ([`draft`](super::draft)). Guesses leave
//!    [`PREFILL_ROWS_MIN`] rows to prompts that have as many to compute.
//! 2. **Prefill**: the pending tokens of running sequences, in order, as far as rows reach.
//! 3. **Admission**: waiting sequences, in order, while there are slots, rows, and blocks for all
//!    their tokens ([`admit`](super::admit)). Those that are ahead of a running sequence go before
//!    its prefill: a long prompt that was let past a sequence which had to wait for another, or
//!    that is of lower priority, does not keep it waiting to its end.
//!
//! Before it, there may be steps of the model that drafts: one token of each sequence that wants
//! one.
//!
//! The order is that of arrival, priorities being head starts. A decoding sequence without a free
//! block for its last token takes those of the last running one, which goes back to the queue with
//! its tokens and is computed again later, to the same bits. The first is never preempted and can
//! always hold its whole context (`submit` saw to that), so it ends, and so does everyone in turn.
use super::Engine;
use super::sequence::Standing;
use super::state::retain;
use crate::cache::BLOCK;
use crate::cache::planes::BlockCopy;
pub use crate::model::StepKind;
use crate::model::{Row, RowOutput};

/// Rows that prompts get beside guesses, at least: guesses are a matter of speed, but a prompt
/// without a row makes no progress.
pub const PREFILL_ROWS_MIN: usize = 4;

/// How much a step may do: the host's choice, from what it measured. It cannot change a bit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    /// Rows at most; at least one is planned.
    pub rows: usize,
}

impl Budget {
    /// As much as the engine was sized for.
    pub const UNLIMITED: Budget = Budget { rows: usize::MAX };
}

/// A planned step. Only the latest can be executed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlanId {
    pub(super) number: u64,
    /// What its rows are for.
    pub kind: StepKind,
}

impl Engine<'_, '_> {
    /// Plans the next step; `None` if nobody is live. A plan that was not executed is dropped.
    pub fn plan(&mut self, budget: Budget) -> Option<PlanId> {
        self.planned = None;
        self.row_count = 0;
        let most = budget.rows.clamp(1, self.limits.rows);
        let preempted = self.counters.preemptions;
        self.decide_drafts(most);
        self.reserve_decodes(most);
        let kind = if self.plan_draft(most) { StepKind::Draft } else { StepKind::Target };
        if kind == StepKind::Target {
            self.plan_decodes(most);
            self.plan_prefills(most, preempted);
            if self.counters.preemptions == preempted {
                self.admit(most, None);
            }
        }
        if self.row_count == 0 {
            return None;
        }
        self.plan_count += 1;
        let id = PlanId { number: self.plan_count, kind };
        self.planned = Some(id);
        Some(id)
    }

    /// Running sequences that have a single token pending.
    pub(super) fn decoding_count(&self) -> usize {
        let running = self.state.running.as_slice().iter();
        running.filter(|slot| self.state.sequences[**slot as usize].pending() == 1).count()
    }

    /// Rows of a step that guesses may have: those that nobody's last token needs, less
    /// [`PREFILL_ROWS_MIN`] for prompts that run or wait for a free slot. Where one that waits then
    /// finds no blocks, its rows stay empty.
    pub(super) fn rows_for_guesses(&self, most: usize) -> usize {
        let sequence = |slot: &u32| &self.state.sequences[*slot as usize];
        let running = self.state.running.as_slice().iter();
        let begun: usize = running.map(|slot| sequence(slot).pending()).filter(|pending| *pending > 1).sum();
        let slots = self.limits.sequences - self.state.running.len();
        let waiting = self.state.waiting.as_slice().iter().take(slots);
        let prefill = begun + waiting.map(|slot| sequence(slot).token_count as usize).sum::<usize>();
        let kept = prefill.min(PREFILL_ROWS_MIN);
        most.saturating_sub(self.decoding_count() + kept)
    }

    /// A block for the last token of each sequence that decodes, before guesses take any. Who finds
    /// none takes those of the last one that runs.
    fn reserve_decodes(&mut self, most: usize) {
        let (mut at, mut count) = (0, 0);
        while at < self.state.running.len() && count < most {
            let slot = self.state.running.as_slice()[at];
            at += 1;
            if self.state.sequences[slot as usize].pending() != 1 {
                continue;
            }
            count += 1;
            while self.reserve(slot, 1) == 0 {
                // The last was not looked at yet, or is this one.
                let last = self.state.running.as_slice()[self.state.running.len() - 1];
                self.preempt(last);
                if last == slot {
                    break;
                }
            }
        }
    }

    /// Rows of sequences that decode, with guesses as far as rows and blocks reach.
    fn plan_decodes(&mut self, most: usize) {
        let mut spare = self.rows_for_guesses(most);
        let mut at = 0;
        while at < self.state.running.len() && self.row_count < most {
            let slot = self.state.running.as_slice()[at];
            at += 1;
            let sequence = &self.state.sequences[slot as usize];
            if sequence.pending() != 1 {
                continue;
            }
            let drafts = (sequence.draft_count as usize).min(spare);
            let got = self.reserve(slot, 1 + drafts);
            spare -= got - 1;
            self.state.sequences[slot as usize].draft_count = got as u32 - 1;
            self.add_rows(slot, got);
        }
    }

    /// `preempted`: preemptions before this plan; after one, nobody is admitted.
    fn plan_prefills(&mut self, most: usize, preempted: u64) {
        let mut at = 0;
        while at < self.state.running.len() && self.row_count < most {
            let slot = self.state.running.as_slice()[at];
            at += 1;
            let pending = self.state.sequences[slot as usize].pending();
            let has_row = self.row_count > 0 && self.rows_include(slot);
            if pending == 0 || has_row {
                continue;
            }
            if self.counters.preemptions == preempted {
                at += self.admit(most, Some(slot));
            }
            if self.row_count == most {
                break;
            }
            let wanted = pending.min(most - self.row_count);
            let mut got = self.reserve(slot, wanted);
            // With rows planned already, others go on and will give blocks back. Without, someone
            // has to yield.
            while got == 0 && self.row_count == 0 {
                let last = self.state.running.as_slice()[self.state.running.len() - 1];
                if last == slot {
                    break;
                }
                self.preempt(last);
                got = self.reserve(slot, wanted);
            }
            self.add_rows(slot, got);
        }
    }

    fn rows_include(&self, slot: u32) -> bool {
        self.state.rows[..self.row_count].iter().any(|row| row.sequence == slot)
    }

    /// Takes blocks for up to `count` more positions, and makes the one that they begin in the
    /// sequence's own; returns for how many positions there are blocks.
    pub(super) fn reserve(&mut self, slot: u32, count: usize) -> usize {
        let stride = self.limits.blocks_per_sequence();
        let computed = self.state.sequences[slot as usize].computed as usize;
        if count > 0
            && !computed.is_multiple_of(BLOCK)
            && !self.own_block(slot as usize * stride + computed / BLOCK)
        {
            return 0;
        }
        while (self.state.sequences[slot as usize].block_count as usize) * BLOCK < computed + count {
            let Some(block) = self.state.take_block() else { break };
            let sequence = &mut self.state.sequences[slot as usize];
            self.state.tables[slot as usize * stride + sequence.block_count as usize] = block;
            sequence.block_count += 1;
            self.state.fresh[self.fresh_count] = block;
            self.fresh_count += 1;
        }
        (self.state.sequences[slot as usize].block_count as usize * BLOCK - computed).min(count)
    }

    /// Copy on write: a block that others hold, or may find, is not written into. `false` if there
    /// is no block to copy to.
    fn own_block(&mut self, at: usize) -> bool {
        let from = self.state.tables[at];
        if self.state.blocks.references(from) == 1 && !self.state.index.contains(from) {
            return true;
        }
        let Some(to) = self.state.take_block() else { return false };
        self.state.copies[self.copy_count] = BlockCopy { from, to };
        self.copy_count += 1;
        self.counters.copies += 1;
        self.state.blocks.release(from, self.state.index.contains(from));
        self.state.tables[at] = to;
        true
    }

    /// Plans the next `count` rows of a sequence, guesses included.
    pub(super) fn add_rows(&mut self, slot: u32, count: usize) {
        let sequence = &mut self.state.sequences[slot as usize];
        sequence.valid = sequence.token_count.min(sequence.computed + count as u32);
        let sequence = *sequence;
        let tokens = slot as usize * self.limits.model_len;
        for i in 0..count {
            let position = sequence.computed + i as u32;
            let output =
                if sequence.samples_at(position) { RowOutput::Logits } else { sequence.output_at(position) };
            let token = self.state.tokens[tokens + position as usize];
            self.state.rows[self.row_count] = Row { token, position, sequence: slot, output };
            self.row_count += 1;
        }
    }

    /// Takes a sequence's blocks; it waits again, at its place.
    fn preempt(&mut self, slot: u32) {
        self.drop_block_work_of(slot);
        self.state.release_blocks(slot, &self.limits);
        self.state.running.remove(slot);
        self.state.waiting.insert(slot, &*self.state.sequences);
        let sequence = &mut self.state.sequences[slot as usize];
        sequence.standing = Standing::Waiting;
        let sequence = *sequence;
        self.counters.preemptions += 1;
        self.preempted(&sequence);
    }

    /// Blocks that go back before they were used need no zeroing and no copying into, and may be
    /// handed out again before the next step: a block stands in these lists at most once.
    pub(super) fn drop_block_work_of(&mut self, slot: u32) {
        let stride = self.limits.blocks_per_sequence();
        let held = self.state.sequences[slot as usize].block_count as usize;
        let table = &self.state.tables[slot as usize * stride..][..held];
        let fresh = &mut self.state.fresh[..self.fresh_count];
        self.fresh_count = retain(fresh, |block| !table.contains(block));
        let copies = &mut self.state.copies[..self.copy_count];
        self.copy_count = retain(copies, |copy| !table.contains(&copy.to));
    }
}
