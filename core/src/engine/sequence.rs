//! A sequence is one choice of a request: its tokens, and its progress.
//!
//! ```text
//! Free ──submit──► Waiting ──admit──► Running ──finish, cancel──► Free
//!                     ▲                  │
//!                     └─────preempt──────┘      keeps its tokens, loses its blocks
//! ```
//!
//! Its row of the token table holds, one after the other: `prompt_len` ids of the prompt, output up
//! to `token_count`, and `draft_count` draft tokens.
use super::draft::length::DraftLength;
use crate::model::RowOutput;
use crate::sampling::SamplingParams;

/// What a slot of the sequence table is used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Standing {
    Free = 0,
    Waiting,
    Running,
}

/// Where a sequence's present draft tokens came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Source {
    Lookup = 0,
    Model,
    /// Whoever runs the engine proposed them.
    Host,
}

/// A slot of the sequence table.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sequence {
    pub(super) standing: Standing,
    pub(super) request: u64,
    pub(super) choice: u32,
    /// Its place in the order of arrival: the rows computed when it came, plus the largest head
    /// start that a priority can give, minus the head start of its own priority. The sequence with
    /// the lowest number goes first.
    pub(super) order: u64,
    pub(super) salt: u64,
    /// Ids of the prompt.
    pub(super) prompt_len: u32,
    /// Ids of prompt and output so far: `prompt_len <= token_count <= end_len`.
    pub(super) token_count: u32,
    /// Positions whose keys and values are in blocks: `computed <= token_count`.
    pub(super) computed: u32,
    /// Positions whose planned rows are known to be computed from the sequence's own tokens. The
    /// rows from here on are those of draft tokens that are not accepted yet.
    pub(super) valid: u32,
    /// Blocks held: `computed <= block_count * BLOCK`.
    pub(super) block_count: u32,
    /// How many of these, from the first on, were published: `indexed * BLOCK <= computed`.
    pub(super) indexed: u32,
    /// The count of tokens at which it ends.
    pub(super) end_len: u32,
    /// The count of tokens before which no stop id is drawn.
    pub(super) stop_from_len: u32,
    /// Prompt rows whose outputs were delivered, or not asked for: computing them again delivers
    /// nothing.
    pub(super) delivered: u32,
    pub(super) prompt_output: RowOutput,
    pub(super) params: SamplingParams,
    pub(super) bias_count: u32,
    pub(super) stop_count: u32,
    /// Draft tokens after `token_count`: `token_count + draft_count < end_len`.
    pub(super) draft_count: u32,
    /// Draft tokens that are wanted before they are verified; [`UNDECIDED`] until the next plan.
    pub(super) draft_goal: u32,
    pub(super) draft_source: Source,
    /// Positions of prompt and output that a draft model has in a cache of its own.
    pub(super) draft_computed: u32,
    /// Which part of that cache the sequence has.
    pub(super) lane: u32,
    pub(super) lookup_length: DraftLength,
    pub(super) model_length: DraftLength,
}

/// The draft goal of a sequence for which it was not decided yet how many draft tokens to make.
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
    /// Tokens of prompt and output that are not computed yet. The last one's row is sampled from,
    /// if there is room for another token.
    pub(super) fn pending(&self) -> usize {
        (self.token_count - self.computed) as usize
    }

    /// Whether the row at `position` is sampled from: that of the last token, and those of the
    /// draft tokens after it.
    pub(super) fn samples_at(&self, position: u32) -> bool {
        let known = self.token_count + self.draft_count;
        (self.token_count..=known).contains(&(position + 1)) && position + 1 < self.end_len
    }

    /// What the row at `position` yields besides a sample.
    pub(super) fn output_at(&self, position: u32) -> RowOutput {
        let is_followed = position + 1 < self.prompt_len;
        match self.prompt_output {
            _ if position >= self.prompt_len => RowOutput::None,
            _ if position < self.delivered => RowOutput::None,
            RowOutput::NextLogprob if !is_followed => RowOutput::None,
            output => output,
        }
    }

    /// Positions that may come from the cache: not the last one, whose row is sampled from, and
    /// none whose row has yet to yield something.
    pub(super) fn reusable(&self) -> u32 {
        let last = self.token_count - 1;
        let yields_more = self.prompt_output != RowOutput::None && self.delivered < self.prompt_len;
        if yields_more { last.min(self.delivered) } else { last }
    }

    /// Forgets the draft tokens, and the decision how many to make.
    pub(super) fn drop_drafts(&mut self) {
        self.draft_count = 0;
        self.draft_goal = UNDECIDED;
    }

    /// The order of running and of waiting sequences: arrival and priority first, then the order of
    /// submission.
    pub(super) fn key(&self) -> (u64, u64, u32) {
        (self.order, self.request, self.choice)
    }

    /// What is known of the source that its present draft tokens came from; of the host's nothing
    /// is to be learnt.
    pub(super) fn draft_length(&mut self) -> Option<&mut DraftLength> {
        match self.draft_source {
            Source::Lookup => Some(&mut self.lookup_length),
            Source::Model => Some(&mut self.model_length),
            Source::Host => None,
        }
    }
}
