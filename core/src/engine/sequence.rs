//! One choice of a request: its tokens, and how far it has come.
//!
//! ```text
//! Free ──submit──► Waiting ──admit──► Running ──finish, cancel──► Free
//!                     ▲                  │
//!                     └─────preempt──────┘      keeps its tokens, loses its blocks
//! ```
//!
//! Its row of the token table holds, one after the other: `prompt_len` ids of the prompt, output up
//! to `token_count`, and `draft_count` guesses.
use super::draft_length::DraftLength;
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

/// Where guesses came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Source {
    Lookup = 0,
    Model,
}

/// A slot of the sequence table.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sequence {
    pub(super) standing: Standing,
    pub(super) request: u64,
    pub(super) choice: u32,
    /// When it came, in rows computed till then and the greatest head start, less the head start of
    /// its priority: who is less goes first.
    pub(super) order: u64,
    pub(super) salt: u64,
    /// Tokens of the prompt.
    pub(super) prompt_len: u32,
    /// Tokens of prompt and output so far: `prompt_len <= token_count <= end_len`.
    pub(super) token_count: u32,
    /// Positions whose keys and values are in blocks: `computed <= token_count`.
    pub(super) computed: u32,
    /// Positions whose planned rows have the tokens that the sequence really has there: those past
    /// it are guesses.
    pub(super) valid: u32,
    /// Blocks held: `computed <= block_count * BLOCK`.
    pub(super) block_count: u32,
    /// Of these, from the first on, those that are in the prefix index: `indexed * BLOCK <=
    /// computed`.
    pub(super) indexed: u32,
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
    /// Guesses after `token_count`: `token_count + draft_count < end_len`.
    pub(super) draft_count: u32,
    /// Guesses that are wanted before they are verified; [`UNDECIDED`] until the next plan.
    pub(super) draft_goal: u32,
    pub(super) draft_source: Source,
    /// Positions that the model that drafts has in its own cache, of the tokens that the sequence
    /// really has.
    pub(super) draft_computed: u32,
    /// Its part of that cache.
    pub(super) lane: u32,
    pub(super) lookup_length: DraftLength,
    pub(super) model_length: DraftLength,
}

/// No decision yet on how many guesses to make.
pub(super) const UNDECIDED: u32 = u32::MAX;

crate::memory::plain_enum!(Standing::Free Source::Lookup);
crate::memory::plain!(Sequence {
    standing,
    request,
    choice,
    order,
    salt,
    prompt_len,
    token_count,
    computed,
    valid,
    block_count,
    indexed,
    end_len,
    stop_from_len,
    delivered,
    prompt_output,
    params,
    bias_count,
    stop_count,
    draft_count,
    draft_goal,
    draft_source,
    draft_computed,
    lane,
    lookup_length,
    model_length
});

impl Sequence {
    /// Tokens not yet computed, guesses aside. The last one's row is sampled from, if there is room
    /// for another.
    pub(super) fn pending(&self) -> usize {
        (self.token_count - self.computed) as usize
    }

    /// Whether the row at `position` is sampled from: the last token's, and those of the guesses
    /// after it.
    pub(super) fn samples_at(&self, position: u32) -> bool {
        let known = self.token_count + self.draft_count;
        (self.token_count..=known).contains(&(position + 1)) && position + 1 < self.end_len
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

    /// Positions that may be taken from the cache: not the last one, whose row is sampled from, and
    /// none that has yet to yield something.
    pub(super) fn reusable(&self) -> u32 {
        let last = self.token_count - 1;
        let yields_more = self.prompt_output != RowOutput::None && self.delivered < self.prompt_len;
        if yields_more { last.min(self.delivered) } else { last }
    }

    /// Forgets its guesses.
    pub(super) fn drop_drafts(&mut self) {
        self.draft_count = 0;
        self.draft_goal = UNDECIDED;
    }

    /// What running sequences and waiting ones are sorted by.
    pub(super) fn key(&self) -> (u64, u64, u32) {
        (self.order, self.request, self.choice)
    }

    pub(super) fn draft_length(&mut self) -> &mut DraftLength {
        match self.draft_source {
            Source::Lookup => &mut self.lookup_length,
            Source::Model => &mut self.model_length,
        }
    }
}
