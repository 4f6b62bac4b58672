//! The seam between the engine and the runner that computes its steps.
//!
//! The engine decides which rows a step has; a [`Runner`] computes them. It holds the weights, the
//! activations and the KV of the served model and of a draft model, so that they may lie in the
//! memory of a device. What crosses the seam, in the order of a step:
//!
//! ```text
//! engine                                   runner
//!   copy_blocks: block ids          ──►      enqueue
//!   layers: rows, block tables      ──►      enqueue            (keys and values of all rows)
//!   head: indices of rows           ──►      enqueue, wait      (the only wait of a step)
//!   logits, hidden states           ◄──      lent until the next call
//! ```
//!
//! The cut is here, and not at the layer operations, because everything between two heads can then
//! be enqueued at once, and because a device fuses operations in its own way. Three calls a step
//! through a trait object cost nothing that can be measured.
//!
//! [`cpu`] is the implementation over a host's memory and threads.
pub mod cpu;

use super::{BlockTables, ForwardLimits, HeadWants, ModelConfig, PackedModel, Row};
use crate::cache::BlockId;
use crate::cache::planes::BlockCopy;
use crate::tensor::Rows;

/// Which model computes the rows of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StepKind {
    /// The draft model. What it writes into the served model's blocks is computed again before it
    /// counts.
    Draft,
    /// The served model, whose draws are the output.
    Target,
}

/// A draft model: its weights, and where its KV lies.
#[derive(Clone, Debug)]
pub struct DraftModel<'w> {
    /// The weights of the draft model.
    pub model: PackedModel<'w>,
    /// Where its keys and values lie.
    pub cache: DraftCache,
}

impl DraftModel<'_> {
    /// The sizes from which memory is planned.
    pub fn size(&self) -> DraftModelSize {
        DraftModelSize { config: *self.model.config(), cache: self.cache }
    }
}

/// Where the keys and values of a draft model lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DraftCache {
    /// In the served model's blocks, past the accepted tokens. The draft model is the served model
    /// in another weight format (self-speculation): it reads the context that the served model
    /// computed, and what it writes is computed again before it counts.
    Shared,
    /// In planes of its own: another, smaller model, which computes the context for itself.
    Own,
}

/// What memory planning needs to know of a draft model.
#[derive(Clone, Copy, Debug)]
pub struct DraftModelSize {
    /// The configuration of the draft model.
    pub config: ModelConfig,
    /// Where its keys and values lie.
    pub cache: DraftCache,
}

/// What a runner's activations and KV are sized for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RunnerLimits {
    /// What the activations of a step are sized for. `workers` is of use to the CPU alone.
    pub forward: ForwardLimits,
    /// KV blocks of the served model.
    pub block_count: usize,
    /// Sequences that run at once.
    pub sequences: usize,
    /// Blocks of one sequence at full length.
    pub blocks_per_sequence: usize,
}

/// Where a runner keeps its activations and KV.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RunnerMemory {
    /// In the engine's arena, beside the engine's tables: [`cpu::CpuRunner`].
    Arena,
    /// In memory of its own, of which the engine plans nothing: a device.
    Own,
}

/// The runner lost its device, and with it every block and every row that it was given.
///
/// Every later call of [`Runner::head`] gives it too. Work that was enqueued and not waited for is
/// not reported apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeviceLost;

impl core::fmt::Display for DeviceLost {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("the device is lost, and with it the keys and values of all running requests")
    }
}

impl core::error::Error for DeviceLost {}

/// What the head yields for the rows that it was asked for, in that order: lent by the runner until
/// its next call.
#[derive(Clone, Copy, Debug)]
pub struct HeadOutput<'r> {
    /// `[rows, vocab]`, at least as many rows as were asked for. It need not hold anything where
    /// none were wanted.
    pub logits: Rows<'r, f32>,
    /// `[rows, hidden]`: hidden states after the last norm. It need not hold anything where none
    /// were wanted.
    pub hidden: Rows<'r, f32>,
}

/// Runs steps of a model whose weights and KV it holds.
///
/// Calls take effect in the order in which they are made. An implementation may return from
/// [`Runner::copy_blocks`] and [`Runner::layers`] before they are done, having copied what it was
/// given; it waits in [`Runner::head`]. All results are those of the CPU, bit for bit, whatever
/// other rows a step has.
///
/// Blocks begin with any contents: each is zeroed (as one of `fresh`) or copied into before a row
/// reads it. The planes of a draft model with [`DraftCache::Own`] begin zeroed.
pub trait Runner {
    /// Where it keeps its activations and KV: the memory plan of an engine over it leaves out what
    /// the runner holds itself.
    fn memory(&self) -> RunnerMemory {
        RunnerMemory::Own
    }

    /// Copies KV blocks of the served model in all layers, one pair after the other.
    fn copy_blocks(&mut self, copies: &[BlockCopy]);

    /// Computes all layers of a step's rows: their keys and values, and what [`Runner::head`] of
    /// that kind reads until the next call for that kind.
    ///
    /// Rows of a sequence stand together, in ascending positions, and `tables` has a block for each
    /// position up to theirs. `fresh` are zeroed first. With a draft model that has a cache of its
    /// own, blocks of [`StepKind::Draft`] are blocks of that cache.
    fn layers(&mut self, kind: StepKind, rows: &[Row], tables: BlockTables<'_>, fresh: &[BlockId]);

    /// Whether all is computed when [`Runner::layers`] returns, so that the time of a step without
    /// a head says how long it takes.
    fn is_synchronous(&self) -> bool {
        false
    }

    /// Computes the last norm and, where logits are wanted, the output head of some rows of the
    /// last step of that kind, named by their index in it, at most [`ForwardLimits::head_rows`] at
    /// a time; waits for them.
    fn head(&mut self, kind: StepKind, rows: &[u32], wants: HeadWants) -> Result<HeadOutput<'_>, DeviceLost>;
}
