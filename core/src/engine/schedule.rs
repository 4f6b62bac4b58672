//! Which rows the next step has.
//!
//! 1. **Decode**: one row of each running sequence that has a single token pending, oldest first.
//! 2. **Prefill**: the pending tokens of running sequences, oldest first, as far as rows and blocks reach.
//! 3. **Admission**: waiting sequences, in order, while there are slots, rows, and blocks for all their tokens.
//!
//! A decoding sequence without a free block takes those of the youngest running one, which goes back to the head of the
//! queue with its tokens and is computed again later, to the same bits. The oldest is never preempted and can
//! always hold its whole context (`submit` saw to that), so it ends, and so does everyone in turn.
use super::Engine;
use super::event::{Record, RecordKind};
use super::sequence::Standing;
use crate::model::{Row, RowOutput};
use crate::paging::BLOCK;

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

/// What the rows of a plan are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StepKind {
    /// Guesses, whose keys and values the target's will replace.
    Draft,
    /// The model's own tokens.
    Target,
}

/// A planned step. Only the latest can be executed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlanId {
    pub(super) number: u64,
    /// What its rows are for.
    pub kind: StepKind,
}

impl Engine<'_, '_> {
    /// Plans the next step; `None` if there is nothing to do. A plan that was not executed is dropped.
    pub fn plan(&mut self, budget: Budget) -> Option<PlanId> {
        self.planned = None;
        self.row_count = 0;
        let most = budget.rows.clamp(1, self.limits.rows);
        let preempted = self.counters.preemptions;
        self.plan_decodes(most);
        self.plan_prefills(most);
        if self.counters.preemptions == preempted {
            self.admit(most);
        }
        if self.row_count == 0 {
            return None;
        }
        self.plan_count += 1;
        let id = PlanId { number: self.plan_count, kind: StepKind::Target };
        self.planned = Some(id);
        Some(id)
    }

    fn plan_decodes(&mut self, most: usize) {
        let mut at = 0;
        while at < self.state.running.len() && self.row_count < most {
            let slot = self.state.running.as_slice()[at];
            at += 1;
            if self.state.sequences[slot as usize].pending() != 1 {
                continue;
            }
            while self.reserve(slot, 1) == 0 {
                // The youngest was not looked at yet, or is this one: no planned row is lost.
                let youngest = self.state.running.as_slice()[self.state.running.len() - 1];
                self.preempt(youngest);
                if youngest == slot {
                    break;
                }
            }
            if self.state.sequences[slot as usize].standing == Standing::Running {
                self.add_rows(slot, 1);
            }
        }
    }

    fn plan_prefills(&mut self, most: usize) {
        let mut at = 0;
        while at < self.state.running.len() && self.row_count < most {
            let slot = self.state.running.as_slice()[at];
            at += 1;
            let pending = self.state.sequences[slot as usize].pending();
            let has_row = self.row_count > 0 && self.rows_include(slot);
            if pending == 0 || has_row {
                continue;
            }
            let wanted = pending.min(most - self.row_count);
            let mut got = self.reserve(slot, wanted);
            // With rows planned already, others go on and will give blocks back. Without, someone has to yield.
            while got == 0 && self.row_count == 0 {
                let youngest = self.state.running.as_slice()[self.state.running.len() - 1];
                if youngest == slot {
                    break;
                }
                self.preempt(youngest);
                got = self.reserve(slot, wanted);
            }
            self.add_rows(slot, got);
        }
    }

    fn admit(&mut self, most: usize) {
        while self.row_count < most && self.state.running.len() < self.limits.sequences {
            let Some(slot) = self.state.waiting.as_slice().first().copied() else { return };
            let tokens = self.state.sequences[slot as usize].token_count as usize;
            if tokens.div_ceil(BLOCK) > self.state.blocks.free_count() {
                return;
            }
            self.state.waiting.pop_front();
            // Oldest first: a preempted sequence takes its place before those that came later.
            self.state.running.push(slot);
            self.state.sequences[slot as usize].standing = Standing::Running;
            let wanted = tokens.min(most - self.row_count);
            let got = self.reserve(slot, wanted);
            self.add_rows(slot, got);
        }
    }

    fn rows_include(&self, slot: u32) -> bool {
        self.state.rows[..self.row_count].iter().any(|row| row.sequence == slot)
    }

    /// Takes blocks for up to `count` more positions; returns for how many there are.
    fn reserve(&mut self, slot: u32, count: usize) -> usize {
        let stride = self.limits.blocks_per_sequence();
        let sequence = &mut self.state.sequences[slot as usize];
        let computed = sequence.computed as usize;
        while (sequence.block_count as usize) * BLOCK < computed + count {
            let Some(block) = self.state.blocks.take() else { break };
            self.state.tables[slot as usize * stride + sequence.block_count as usize] = block;
            sequence.block_count += 1;
            self.state.fresh[self.fresh_count] = block;
            self.fresh_count += 1;
        }
        (sequence.block_count as usize * BLOCK - computed).min(count)
    }

    fn add_rows(&mut self, slot: u32, count: usize) {
        let sequence = self.state.sequences[slot as usize];
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

    fn preempt(&mut self, slot: u32) {
        self.drop_fresh_of(slot);
        self.state.release_blocks(slot, &self.limits);
        self.state.running.remove(slot);
        self.state.waiting.push_front(slot);
        let sequence = &mut self.state.sequences[slot as usize];
        sequence.standing = Standing::Waiting;
        self.counters.preemptions += 1;
        let record = Record {
            request: sequence.request,
            choice: sequence.choice,
            kind: RecordKind::Preempted,
            token: 0,
            position: 0,
            logprob: 0.0,
            top_start: 0,
            top_count: 0,
        };
        self.push_event(record);
    }

    /// Blocks that go back before they were used need no zeroing, and may be handed out again before the next step:
    /// a block stands in the list of fresh ones at most once.
    pub(super) fn drop_fresh_of(&mut self, slot: u32) {
        let stride = self.limits.blocks_per_sequence();
        let held = self.state.sequences[slot as usize].block_count as usize;
        let table = &self.state.tables[slot as usize * stride..][..held];
        let mut kept = 0;
        for i in 0..self.fresh_count {
            let block = self.state.fresh[i];
            if !table.contains(&block) {
                self.state.fresh[kept] = block;
                kept += 1;
            }
        }
        self.fresh_count = kept;
    }
}
