//! The engine: requests in, rows planned, steps executed, events out. It owns no clock and no
//! thread.
//!
//! A step computes **rows**: one token of one sequence at one position each. Which rows a step has
//! is the only thing that batching, chunked prefill, preemption, resuming and speculation differ
//! in, and no result depends on it.
//!
//! ```text
//! let id = engine.submit(&request)?;               // commands: submit, cancel
//! while let Some(plan) = engine.plan(budget) {     // which rows the next step has
//!     for row in engine.rows(plan) { … }           // the host may make masks for rows that sample
//!     for event in engine.execute(plan, masks, &pool, &mut observer)? { … }
//! }
//! ```
//!
//! The engine is made of several small machines: [`request`] (what was asked), [`memory_plan`] and
//! [`limits`] (memory), `sequence` (one choice's tokens and standing), `tables` and `state` (what
//! is kept of all of them), `submit` (who is let in), [`schedule`] (rows of the next step) with
//! `admit` (who begins, and with what of the cache) and `draft` (draft tokens: [`speculate`],
//! `draft/lookup`, `draft/length`, `drafting`), [`step`] (running them) with `draw` (the output
//! head) and `conclude` (what follows), [`event`] (what came of it), [`counters`] (how often), and
//! [`generate`] (a loop over it). Who holds which KV block is [`cache::pool`](crate::cache::pool)'s
//! alone.
pub mod counters;
pub mod event;
pub mod generate;
pub mod limits;
pub mod memory_plan;
pub mod request;
pub mod schedule;
pub mod speculate;
pub mod step;

mod admit;
mod conclude;
mod draft;
mod drafting;
mod draw;
mod sequence;
mod state;
mod submit;
mod tables;

pub use counters::{Counters, DraftCounters};
pub use event::{Event, EventKind, Events, FinishReason};
pub use generate::GenerateError;
pub use limits::EngineLimits;
pub use memory_plan::{MemoryPlan, MemoryPlanError};
pub use request::{Refusal, Request, RequestId};
pub use schedule::{Budget, PREFILL_ROWS_MIN, PlanId, StepKind};
pub use speculate::{DraftCache, DraftModel, Speculation, SpeculationMode};
pub use step::{Masks, Observer, PlannedRow, StepError};

use crate::cache::{BLOCK, BlockId};
use crate::isa::Isa;
use crate::memory::{Arena, Guards};
use crate::model::PackedModel;
use state::State;

/// Serves requests of one model, in memory that was lent to it.
#[derive(Debug)]
pub struct Engine<'w, 's> {
    model: PackedModel<'w>,
    draft_model: Option<DraftModel<'w>>,
    limits: EngineLimits,
    isa: Isa,
    state: State<'s>,
    guards: Guards<'s>,
    /// The plan that may be executed.
    planned: Option<PlanId>,
    next_request: u64,
    plan_count: u64,
    counters: Counters,
    speculation: Speculation,
    /// Steps of the draft model since the last of the served one.
    drafts_in_a_row: usize,
    last_row_count: usize,
}

/// What an engine is doing: cheap to read after every step.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// Sequences that hold blocks and take part in steps.
    pub running: usize,
    /// Sequences that hold no blocks, new ones and preempted ones.
    pub waiting: usize,
    /// KV blocks that no sequence holds, whether empty or cached.
    pub free_blocks: usize,
    /// KV blocks in all.
    pub blocks: usize,
    /// Steps of the served model that were executed.
    pub steps: u64,
    /// Rows of the last step.
    pub last_rows: usize,
    /// Times that a sequence lost its blocks to others.
    pub preemptions: u64,
}

impl<'w, 's> Engine<'w, 's> {
    /// An engine in `arena`: at least [`MemoryPlan::total_bytes`], from a multiple of 64.
    pub fn new(
        model: PackedModel<'w>,
        limits: EngineLimits,
        isa: Isa,
        arena: &'s mut [u8],
    ) -> Result<Self, MemoryPlanError> {
        Self::with_drafter(model, None, limits, isa, arena)
    }

    /// The same with a model that drafts, in at least the bytes of [`MemoryPlan::with_drafter`].
    pub fn with_drafter(
        model: PackedModel<'w>,
        draft_model: Option<DraftModel<'w>>,
        limits: EngineLimits,
        isa: Isa,
        arena: &'s mut [u8],
    ) -> Result<Self, MemoryPlanError> {
        let drafter = draft_model.as_ref().map(|draft| (draft.model.config(), draft.cache));
        MemoryPlan::with_drafter(model.config(), &limits, drafter)?;
        let mut arena = Arena::new(arena)?;
        let state = State::carve(&mut arena, model.config(), &limits, drafter)?;
        let guards = arena.finish();
        Ok(Self {
            model,
            draft_model,
            limits,
            isa,
            state,
            guards,
            planned: None,
            next_request: 0,
            plan_count: 0,
            counters: Counters::default(),
            speculation: Speculation::OFF,
            drafts_in_a_row: 0,
            last_row_count: 0,
        })
    }

    /// The model.
    pub fn model(&self) -> &PackedModel<'w> {
        &self.model
    }

    /// What it was sized for.
    pub fn limits(&self) -> &EngineLimits {
        &self.limits
    }

    /// What it is doing.
    pub fn status(&self) -> Status {
        Status {
            running: self.state.running.len(),
            waiting: self.state.waiting.len(),
            free_blocks: self.state.blocks.free_count(),
            blocks: self.state.blocks.count(),
            steps: self.counters.steps,
            last_rows: self.last_row_count,
            preemptions: self.counters.preemptions,
        }
    }

    /// What has happened so far.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Says where draft tokens come from, from the next plan on. It cannot change a bit.
    pub fn set_speculation(&mut self, speculation: Speculation) {
        self.speculation = speculation;
    }

    /// Every byte of keys and values, for tests that fill blocks with NaN before they are used.
    pub fn kv_bytes_mut(&mut self) -> &mut [u8] {
        self.state.kv.bytes_mut()
    }

    /// The blocks that each sequence holds, in order of position: request, choice, blocks.
    pub fn tables(&self) -> impl Iterator<Item = (RequestId, u32, &[BlockId])> {
        self.state.running.as_slice().iter().map(|slot| {
            let sequence = &self.state.sequences[*slot as usize];
            let table = self.state.table_of(*slot);
            (RequestId(sequence.request), sequence.choice, table)
        })
    }

    /// How many sequences hold a block.
    pub fn block_references(&self, block: BlockId) -> u32 {
        self.state.blocks.references(block)
    }

    /// Drops a block that nobody holds from the prefix cache, whatever its age; `false` if it is
    /// not there. By age alone a block goes after all that follow it; here it may leave them
    /// behind, which changes what is found but no answer.
    pub fn forget_block(&mut self, block: BlockId) -> bool {
        self.state.blocks.forget(block)
    }

    /// Checks that blocks are conserved, that the prefix index tells the truth, and that no region
    /// was overrun (in debug builds); names what is wrong.
    pub fn check_invariants(&self) -> Result<(), &'static str> {
        let held =
            |block| self.tables().flat_map(|(_, _, table)| table).filter(|held| **held == block).count();
        if !self.state.blocks.are_conserved(held) {
            return Err("blocks are not conserved");
        }
        for slot in self.state.running.as_slice() {
            let sequence = &self.state.sequences[*slot as usize];
            let table = self.state.table_of(*slot);
            let tokens = self.state.tokens_of(*slot).chunks_exact(BLOCK);
            let mut indexed = table.iter().zip(tokens).take(sequence.indexed as usize);
            if !indexed.all(|(block, ids)| self.state.blocks.ids(*block).is_some_and(|of| of[..] == *ids)) {
                return Err("a block in the prefix index holds other tokens");
            }
        }
        self.guards.check()
    }
}

#[cfg(test)]
mod tests;
