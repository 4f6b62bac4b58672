//! One choice of a request: its tokens, and how far it has come.
//!
//! ```text
//! Free ──submit──► Waiting ──admit──► Running ──finish, cancel──► Free
//!                     ▲                  │
//!                     └─────preempt──────┘      keeps its tokens, loses its blocks
//! ```
use crate::model::RowOutput;
use crate::sampling::SamplingParams;

/// Where a sequence stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Standing {
    Free = 0,
    Waiting,
    Running,
}

/// A slot of the sequence table.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sequence {
    pub(super) standing: Standing,
    pub(super) request: u64,
    pub(super) choice: u32,
    /// Tokens of the prompt.
    pub(super) prompt_len: u32,
    /// Tokens of prompt and output so far: `prompt_len <= token_count <= end_len`.
    pub(super) token_count: u32,
    /// Positions whose keys and values are in blocks: `computed <= token_count`.
    pub(super) computed: u32,
    /// Blocks held: `computed <= block_count * BLOCK`.
    pub(super) block_count: u32,
    /// Tokens at which it ends.
    pub(super) end_len: u32,
    /// Tokens before which no stop id is drawn.
    pub(super) stop_from_len: u32,
    /// Prompt rows whose outputs were delivered, so that recomputing does not deliver them again.
    pub(super) delivered: u32,
    pub(super) prompt_output: RowOutput,
    pub(super) params: SamplingParams,
    pub(super) bias_count: u32,
    pub(super) stop_count: u32,
}

// SAFETY: numbers, and enums whose zeros are `Free` and `None`.
unsafe impl crate::memory::Plain for Sequence {}

impl Sequence {
    /// Tokens not yet computed. The last one's row is sampled from, if there is room for another.
    pub(super) fn pending(&self) -> usize {
        (self.token_count - self.computed) as usize
    }

    /// Whether the row at `position` is sampled from.
    pub(super) fn samples_at(&self, position: u32) -> bool {
        position + 1 == self.token_count && self.token_count < self.end_len
    }

    /// What the row at `position` yields besides a sample.
    pub(super) fn output_at(&self, position: u32) -> RowOutput {
        let followed = position + 1 < self.prompt_len;
        match self.prompt_output {
            _ if position < self.delivered || position >= self.prompt_len => RowOutput::None,
            RowOutput::NextLogprob if !followed => RowOutput::None,
            output => output,
        }
    }
}
