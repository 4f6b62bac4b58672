//! The tables of an engine, carved from its arena, and the operations that change one sequence in
//! several of them at once.
use super::drafting::Drafting;
use super::event::Record;
use super::limits::EngineLimits;
use super::sequence::{Sequence, Standing};
use super::tables::{SlotList, SlotTable};
use crate::cache::{BLOCK, BlockId, BlockPool};
use crate::memory::{ArenaError, Carver, FixedVec};
use crate::model::{BlockTables, DraftModelSize, ModelConfig, Row};
use crate::sampling::TokenLogprob;

/// Everything that changes while an engine runs.
#[derive(Debug)]
pub(super) struct State<'s> {
    /// The runner's KV blocks: every change of who holds one goes through it.
    pub(super) blocks: BlockPool<'s>,
    /// The tables of a draft model, if the engine has one.
    pub(super) drafting: Option<Drafting<'s>>,
    /// The sequence in each slot, `[slots]`.
    pub(super) sequences: &'s mut [Sequence],
    /// `[slots, model_len]`: prompt, output, then draft tokens.
    pub(super) tokens: SlotTable<'s, u32>,
    /// `[slots, blocks_per_sequence]`, of which [`Sequence::block_count`] are held.
    pub(super) tables: SlotTable<'s, BlockId>,
    /// `[slots, logit_bias]`, of which [`Sequence::bias_count`] are in use.
    pub(super) bias: SlotTable<'s, Bias>,
    /// `[slots, stop_ids]`, of which [`Sequence::stop_count`] are in use.
    pub(super) stops: SlotTable<'s, u32>,
    /// Slots of the sequences that run.
    pub(super) running: SlotList<'s>,
    /// Slots of the sequences that wait.
    pub(super) waiting: SlotList<'s>,
    /// Rows of the planned step; those of one sequence stand together, in order of position.
    pub(super) rows: FixedVec<'s, Row>,
    /// Indices of the rows for which the output head runs.
    pub(super) head_rows: FixedVec<'s, u32>,
    /// `[limits.head_rows]`, of the head rows that are computed at a time.
    pub(super) outcomes: &'s mut [Outcome],
    /// Events that the next step will report to its host.
    pub(super) events: FixedVec<'s, Record>,
    /// `[rows, 2, top_logprobs]`: alternatives to the token drawn, then to the prompt's next token.
    pub(super) tops: &'s mut [TokenLogprob],
    /// The workers' [`Scratch::adjusted`](crate::sampling::Scratch), `[workers, vocab]`.
    pub(super) adjusted: &'s mut [f32],
    /// The workers' [`Scratch::weights`](crate::sampling::Scratch), `[workers, vocab]`.
    pub(super) weights: &'s mut [f32],
    /// The workers' [`Scratch::ids`](crate::sampling::Scratch), `[workers, vocab]`.
    pub(super) ids: &'s mut [u32],
    /// The workers' [`Scratch::counts`](crate::sampling::Scratch), `[workers, vocab]`, zero between
    /// draws.
    pub(super) counts: &'s mut [u32],
}

/// An entry of a logit bias.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub(super) struct Bias {
    pub(super) token: u32,
    pub(super) amount: f32,
}

crate::memory::plain!(Bias { token, amount });

/// What became of a row for which the output head ran.
#[derive(Clone, Copy, Debug)]
pub(super) struct Outcome {
    pub(super) kind: OutcomeKind,
    pub(super) token: u32,
    pub(super) logprob: f32,
    pub(super) top_count: u32,
    /// The log-probability of the prompt's token after this row, where it was asked for.
    pub(super) next_logprob: f32,
    /// The place of that token among all, from 1.
    pub(super) next_rank: u32,
    pub(super) next_top_count: u32,
    /// 1 if the token was drawn under a mask, else 0.
    pub(super) has_mask: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum OutcomeKind {
    /// The row is not sampled from.
    Nothing = 0,
    Token,
    NonFinite,
    MaskEmpty,
}

crate::memory::plain_enum!(OutcomeKind::Nothing);
crate::memory::plain!(Outcome {
    kind,
    token,
    logprob,
    top_count,
    next_logprob,
    next_rank,
    next_top_count,
    has_mask
});

impl<'s> State<'s> {
    /// Carves every region. Planning runs this function over a `Layout`, which only counts bytes,
    /// so plan and memory cannot differ.
    pub(super) fn carve(
        carver: &mut impl Carver<'s>,
        config: &ModelConfig,
        draft: Option<&DraftModelSize>,
        limits: &EngineLimits,
    ) -> Result<Self, ArenaError> {
        let slots = limits.slots();
        let times = |region, a: usize, b: usize| a.checked_mul(b).ok_or(ArenaError::TooLarge { region });
        let vocab = times("sampling scratch", limits.workers, config.vocab_size)?;
        Ok(Self {
            blocks: BlockPool::carve(carver, limits.block_count())?,
            drafting: match draft {
                Some(draft) => Some(Drafting::carve(carver, draft.cache, limits)?),
                None => None,
            },
            sequences: carver.carve("sequences", slots)?,
            tokens: SlotTable::carve(carver, "token table", slots, limits.model_len)?,
            tables: SlotTable::carve(carver, "block tables", slots, limits.blocks_per_sequence())?,
            bias: SlotTable::carve(carver, "logit bias", slots, limits.logit_bias)?,
            stops: SlotTable::carve(carver, "stop ids", slots, limits.stop_ids)?,
            running: SlotList::carve(carver, "running", slots)?,
            waiting: SlotList::carve(carver, "waiting", slots)?,
            rows: FixedVec::carve(carver, "rows", limits.rows)?,
            head_rows: FixedVec::carve(carver, "head row indices", limits.rows)?,
            outcomes: carver.carve("outcomes", limits.head_rows)?,
            events: FixedVec::carve(carver, "events", Record::count_max(limits))?,
            tops: carver
                .carve("top log-probabilities", times("tops", 2 * limits.rows, limits.top_logprobs)?)?,
            adjusted: carver.carve("sampling: adjusted logits", vocab)?,
            weights: carver.carve("sampling: weights", vocab)?,
            ids: carver.carve("sampling: ids", vocab)?,
            counts: carver.carve("sampling: counts", vocab)?,
        })
    }

    /// The block tables of all slots, as the model reads them.
    pub(super) fn tables<'t>(tables: &'t [BlockId], limits: &EngineLimits) -> BlockTables<'t> {
        BlockTables { ids: tables, stride: limits.blocks_per_sequence() }
    }

    /// The ids that end a sequence.
    pub(super) fn stops_of(&self, slot: u32) -> &[u32] {
        &self.stops.of(slot)[..self.sequences[slot as usize].stop_count as usize]
    }

    /// The blocks that a sequence holds.
    pub(super) fn table_of(&self, slot: u32) -> &[BlockId] {
        &self.tables.of(slot)[..self.sequences[slot as usize].block_count as usize]
    }

    /// Prompt and output of a sequence so far, without draft tokens.
    pub(super) fn tokens_of(&self, slot: u32) -> &[u32] {
        &self.tokens.of(slot)[..self.sequences[slot as usize].token_count as usize]
    }

    /// Publishes the blocks of a sequence that have become full. Returns how many were merged with
    /// a block that another sequence computed at the same time.
    pub(super) fn publish(&mut self, slot: u32) -> u64 {
        let sequence = &mut self.sequences[slot as usize];
        let (tokens, table) = (self.tokens.of(slot), self.tables.of_mut(slot));
        let mut merged = 0;
        while (sequence.indexed as usize + 1) * BLOCK <= sequence.computed as usize {
            let i = sequence.indexed as usize;
            let before = i.checked_sub(1).map(|before| table[before]);
            let key = self.blocks.key(before, sequence.salt, &tokens[i * BLOCK..][..BLOCK]);
            let block = self.blocks.publish(table[i], &key);
            merged += u64::from(block != table[i]);
            table[i] = block;
            sequence.indexed += 1;
        }
        merged
    }

    /// Gives a sequence's blocks back, the last first: others are likelier to share the beginning
    /// of its tokens, which therefore stays cached longer.
    pub(super) fn release_blocks(&mut self, slot: u32) {
        let sequence = &mut self.sequences[slot as usize];
        for block in self.tables.of(slot)[..sequence.block_count as usize].iter().rev() {
            self.blocks.release(*block);
        }
        sequence.block_count = 0;
        sequence.computed = 0;
        sequence.indexed = 0;
        sequence.draft_computed = 0;
        sequence.drop_drafts();
    }

    /// Ends a sequence: its slot is free again.
    pub(super) fn free(&mut self, slot: u32) {
        self.release_blocks(slot);
        self.running.remove(slot);
        self.waiting.remove(slot);
        self.sequences[slot as usize].standing = Standing::Free;
    }
}
