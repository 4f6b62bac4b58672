//! The engine: requests in, rows planned, steps executed, events out. It owns no clock and no
//! thread.
//!
//! A step computes **rows**, each of which is one token of one sequence at one position. Batching,
//! chunked prefill, preemption, resuming and speculation differ only in which rows a step has, and
//! no result depends on that.
//!
//! ```text
//! let id = engine.submit(&request)?;               // commands: submit, cancel
//! while let Some(plan) = engine.plan(budget) {     // which rows the next step has
//!     for row in engine.rows(plan) { … }           // the host may make masks for rows that sample
//!     for event in engine.execute(plan, masks, &mut runner, &pool, &mut observer)? { … }
//! }
//! ```
//!
//! A [`Runner`](crate::model::Runner), the CPU's or a device's, computes the steps; the engine
//! itself touches neither weights nor KV.
//!
//! The engine's parts are [`request`] (what a caller asks for), [`memory_plan`] and [`limits`]
//! (memory), `sequence` (one choice's tokens and progress), `tables` and `state` (the tables of all
//! sequences), `submit` (checking and queueing requests), [`schedule`] (rows of the next step) with
//! `admit` (starting sequences, from cached prefixes) and `draft` (draft tokens: [`speculate`],
//! `draft/lookup`, `draft/length`, `drafting`), [`step`] (handing the rows to the runner) with
//! `head` (running the output head), `sampler` (drawing tokens from logits), `conclude` (advancing
//! sequences) and `loss` (ending them if the runner loses its device), [`event`] (what the host is
//! told), [`counters`] (statistics), `view` (what watchers see), [`generate`] (a loop over all of
//! it for one request), and `inspect` (accessors for tests). [`cache::pool`](crate::cache::pool)
//! alone records who holds which KV block.
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
mod head;
mod inspect;
mod loss;
mod sampler;
mod sequence;
mod state;
mod submit;
mod tables;
mod view;

pub use counters::{Counters, DraftCounters};
pub use draft::AUTO_ROWS_MAX;
pub use event::{Event, EventKind, Events, FinishReason};
pub use generate::GenerateError;
pub use limits::EngineLimits;
pub use memory_plan::{MemoryPlan, MemoryPlanError};
pub use request::{Refusal, Request, RequestId};
pub use schedule::{Budget, PREFILL_ROWS_MIN, PlanId, StepKind};
pub use speculate::{DraftCache, DraftModel, Speculation, SpeculationMode};
pub use step::{Masks, Observer, PlannedRow, StepError};
pub use view::SequenceView;

use crate::isa::Isa;
use crate::memory::{Arena, Guards};
use crate::model::runner::cpu::CpuMemory;
use crate::model::{CpuRunner, DraftModelSize, ModelConfig, PackedModel, RunnerMemory};
use crate::pool::Pool;
use state::State;

/// Serves requests of one model, in memory that was lent to it. Its steps are computed by a
/// [`Runner`](crate::model::Runner), which holds the weights and the KV.
#[derive(Debug)]
pub struct Engine<'s> {
    config: ModelConfig,
    /// Bytes of weights that a step of each [`StepKind`] multiplies a row with, for the pool to
    /// tell steps of different lengths apart.
    row_bytes: [usize; 2],
    limits: EngineLimits,
    /// The instruction set that samples; steps are computed with the runner's own.
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

/// A summary of an engine's sequences and blocks, cheap to read after every step.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// Sequences that hold blocks and take part in steps.
    pub running: usize,
    /// Sequences that hold no blocks, new ones and preempted ones.
    pub waiting: usize,
    /// KV blocks that no sequence holds, whether empty or cached.
    pub free_blocks: usize,
    /// Those of them that are cached.
    pub cached_blocks: usize,
    /// KV blocks in all.
    pub blocks: usize,
    /// Steps of the served model that were executed.
    pub steps: u64,
    /// Rows of the last step.
    pub last_rows: usize,
    /// Times that a sequence lost its blocks to others.
    pub preemptions: u64,
}

impl<'s> Engine<'s> {
    /// An engine and the CPU's runner of its steps, on the threads of `pool`, in one arena of at
    /// least [`MemoryPlan::total_bytes`] from a multiple of 64.
    pub fn on_cpu(
        model: PackedModel<'s>,
        limits: EngineLimits,
        isa: Isa,
        pool: &'s dyn Pool,
        arena: &'s mut [u8],
    ) -> Result<(Self, CpuRunner<'s>), MemoryPlanError> {
        Self::on_cpu_with_draft_model(model, None, limits, isa, pool, arena)
    }

    /// An engine and the CPU's runner with a draft model, in an arena of at least the bytes of
    /// [`MemoryPlan::with_draft_model`].
    pub fn on_cpu_with_draft_model(
        model: PackedModel<'s>,
        draft_model: Option<DraftModel<'s>>,
        limits: EngineLimits,
        isa: Isa,
        pool: &'s dyn Pool,
        arena: &'s mut [u8],
    ) -> Result<(Self, CpuRunner<'s>), MemoryPlanError> {
        let draft = draft_model.as_ref().map(DraftModel::size);
        let config = *model.config();
        MemoryPlan::with_draft_model(&config, draft.as_ref(), &limits)?;
        let (found, min, max) = (limits.workers, pool.workers(), memory_plan::WORKERS_MAX);
        if found < min {
            return Err(MemoryPlanError::Limit { field: "workers", found, min, max });
        }
        let mut arena = Arena::new(arena)?;
        let memory = CpuMemory::carve(&mut arena, &config, draft.as_ref(), &limits.runner())?;
        let engine = Self::carve(&config, draft.as_ref(), limits, isa, arena)?;
        Ok((engine, CpuRunner::new(memory, model, draft_model, isa, pool)))
    }

    /// An engine over a runner that keeps weights, activations and KV in memory of its own, and was
    /// made for the same models and for [`EngineLimits::runner`]. `isa` is the one that samples;
    /// `arena` has at least the bytes of [`MemoryPlan::for_runner`], from a multiple of 64.
    pub fn over_device(
        config: &ModelConfig,
        draft: Option<&DraftModelSize>,
        limits: EngineLimits,
        isa: Isa,
        arena: &'s mut [u8],
    ) -> Result<Self, MemoryPlanError> {
        MemoryPlan::beside(RunnerMemory::Own, config, draft, &limits)?;
        Self::carve(config, draft, limits, isa, Arena::new(arena)?)
    }

    fn carve(
        config: &ModelConfig,
        draft: Option<&DraftModelSize>,
        limits: EngineLimits,
        isa: Isa,
        mut arena: Arena<'s>,
    ) -> Result<Self, MemoryPlanError> {
        let state = State::carve(&mut arena, config, draft, &limits)?;
        let mut row_bytes = [config.row_weight_bytes(); 2];
        if let Some(draft) = draft {
            row_bytes[StepKind::Draft as usize] = draft.config.row_weight_bytes();
        }
        Ok(Self {
            config: *config,
            row_bytes,
            limits,
            isa,
            state,
            guards: arena.finish(),
            planned: None,
            next_request: 0,
            plan_count: 0,
            counters: Counters::default(),
            speculation: Speculation::OFF,
            drafts_in_a_row: 0,
            last_row_count: 0,
        })
    }

    /// The served model's configuration.
    pub fn config(&self) -> &ModelConfig {
        &self.config
    }

    /// The limits that the engine's memory was sized for.
    pub fn limits(&self) -> &EngineLimits {
        &self.limits
    }

    /// What the engine is doing now.
    pub fn status(&self) -> Status {
        Status {
            running: self.state.running.len(),
            waiting: self.state.waiting.len(),
            free_blocks: self.state.blocks.free_count(),
            cached_blocks: self.state.blocks.cached_count(),
            blocks: self.state.blocks.count(),
            steps: self.counters.steps,
            last_rows: self.last_row_count,
            preemptions: self.counters.preemptions,
        }
    }

    /// Counts of what has happened since the engine was made.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Sets where draft tokens come from, beginning with the next plan. No output bit depends on
    /// it.
    pub fn set_speculation(&mut self, speculation: Speculation) {
        self.speculation = speculation;
    }
}

#[cfg(test)]
mod tests;
