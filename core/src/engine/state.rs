//! The tables of an engine, carved from its arena.
use super::drafting::Drafting;
use super::event::Record;
use super::limits::EngineLimits;
use super::sequence::{Sequence, Standing};
use crate::cache::planes::BlockCopy;
use crate::cache::prefix_index::{Found, Parent};
use crate::cache::{BLOCK, BlockId, Blocks, PrefixIndex};
use crate::memory::{ArenaError, Carver};
use crate::model::{BlockTables, DraftModelSize, ModelConfig, Row};
use crate::sampling::TokenLogprob;

/// Everything that changes while an engine runs.
#[derive(Debug)]
pub(super) struct State<'s> {
    pub(super) blocks: Blocks<'s>,
    pub(super) index: PrefixIndex<'s>,
    /// What is kept for a draft model, if there is one.
    pub(super) drafting: Option<Drafting<'s>>,
    /// `[slots]`
    pub(super) sequences: &'s mut [Sequence],
    /// `[slots, model_len]`
    pub(super) tokens: &'s mut [u32],
    /// `[slots, blocks_per_sequence]`
    pub(super) tables: &'s mut [BlockId],
    /// `[slots, logit_bias]`, ids and amounts.
    pub(super) bias: &'s mut [Bias],
    /// `[slots, stop_ids]`
    pub(super) stops: &'s mut [u32],
    /// Slots that run, in the order of [`Sequence::key`].
    pub(super) running: SlotList<'s>,
    /// Slots that wait, likewise.
    pub(super) waiting: SlotList<'s>,
    /// Rows of the planned step.
    pub(super) rows: &'s mut [Row],
    /// Blocks handed out since the last step, to be zeroed.
    pub(super) fresh: &'s mut [BlockId],
    /// Blocks to be copied, before any is zeroed.
    pub(super) copies: &'s mut [BlockCopy],
    /// Indices of rows for which the head runs.
    pub(super) head_rows: &'s mut [u32],
    pub(super) outcomes: &'s mut [Outcome],
    pub(super) events: &'s mut [Record],
    /// `[rows, top_logprobs]`
    pub(super) tops: &'s mut [TokenLogprob],
    /// `[workers, vocab]` each.
    pub(super) adjusted: &'s mut [f32],
    pub(super) weights: &'s mut [f32],
    pub(super) ids: &'s mut [u32],
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

/// What became of a row for which the head ran.
#[derive(Clone, Copy, Debug)]
pub(super) struct Outcome {
    pub(super) kind: OutcomeKind,
    pub(super) token: u32,
    pub(super) logprob: f32,
    pub(super) top_count: u32,
    /// The prompt's log-probability at this row, where it was asked for.
    pub(super) next_logprob: f32,
    pub(super) next_top_count: u32,
    /// The row was drawn under a mask.
    pub(super) has_mask: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum OutcomeKind {
    /// Not sampled from.
    Nothing = 0,
    Token,
    NonFinite,
    MaskEmpty,
}

crate::memory::plain_enum!(OutcomeKind::Nothing);
crate::memory::plain!(Outcome { kind, token, logprob, top_count, next_logprob, next_top_count, has_mask });

/// Slot numbers in order.
#[derive(Debug)]
pub(super) struct SlotList<'s> {
    slots: &'s mut [u32],
    count: usize,
}

impl SlotList<'_> {
    pub(super) fn as_slice(&self) -> &[u32] {
        &self.slots[..self.count]
    }

    pub(super) fn len(&self) -> usize {
        self.count
    }

    /// Puts a slot where its key says.
    pub(super) fn insert(&mut self, slot: u32, sequences: &[Sequence]) {
        let key = sequences[slot as usize].key();
        let at = self.as_slice().partition_point(|other| sequences[*other as usize].key() < key);
        self.slots.copy_within(at..self.count, at + 1);
        self.slots[at] = slot;
        self.count += 1;
    }

    pub(super) fn remove(&mut self, slot: u32) {
        if let Some(at) = self.as_slice().iter().position(|s| *s == slot) {
            self.slots.copy_within(at + 1..self.count, at);
            self.count -= 1;
        }
    }
}

impl<'s> State<'s> {
    /// Names and sizes every region: the plan and the carving are this one function.
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
            blocks: Blocks::carve(carver, limits.block_count())?,
            index: PrefixIndex::carve(carver, limits.block_count())?,
            drafting: match draft {
                Some(draft) => Some(Drafting::carve(carver, draft.cache, limits)?),
                None => None,
            },
            sequences: carver.carve("sequences", slots)?,
            tokens: carver.carve("token table", times("token table", slots, limits.model_len)?)?,
            tables: carver
                .carve("block tables", times("block tables", slots, limits.blocks_per_sequence())?)?,
            bias: carver.carve("logit bias", times("logit bias", slots, limits.logit_bias)?)?,
            stops: carver.carve("stop ids", times("stop ids", slots, limits.stop_ids)?)?,
            running: SlotList { slots: carver.carve("running", slots)?, count: 0 },
            waiting: SlotList { slots: carver.carve("waiting", slots)?, count: 0 },
            rows: carver.carve("rows", limits.rows)?,
            fresh: carver.carve("fresh blocks", limits.block_count())?,
            copies: carver.carve("block copies", limits.block_count())?,
            head_rows: carver.carve("head row indices", limits.rows)?,
            outcomes: carver.carve("outcomes", limits.head_rows)?,
            // A row yields at most a prompt log-probability, a token and an end; a sequence is
            // preempted and admitted by plans, and ends without a row of its own if the runner is
            // lost.
            events: carver.carve("events", 3 * limits.rows + 3 * slots)?,
            tops: carver
                .carve("top log-probabilities", times("tops", 2 * limits.rows, limits.top_logprobs)?)?,
            adjusted: carver.carve("sampling: adjusted logits", vocab)?,
            weights: carver.carve("sampling: weights", vocab)?,
            ids: carver.carve("sampling: ids", vocab)?,
            counts: carver.carve("sampling: counts", vocab)?,
        })
    }

    pub(super) fn stops_of(&self, slot: u32, limits: &EngineLimits) -> &[u32] {
        &self.stops[slot as usize * limits.stop_ids..][..self.sequences[slot as usize].stop_count as usize]
    }

    pub(super) fn tables<'t>(tables: &'t [BlockId], limits: &EngineLimits) -> BlockTables<'t> {
        BlockTables { ids: tables, stride: limits.blocks_per_sequence() }
    }

    /// A block with nothing in it that anyone could want.
    pub(super) fn take_block(&mut self) -> Option<BlockId> {
        let block = self.blocks.take()?;
        self.index.remove(block);
        Some(block)
    }

    /// The blocks of a sequence.
    pub(super) fn table_of(&self, slot: u32, limits: &EngineLimits) -> &[BlockId] {
        let start = slot as usize * limits.blocks_per_sequence();
        &self.tables[start..][..self.sequences[slot as usize].block_count as usize]
    }

    /// The tokens of a sequence, guesses aside.
    pub(super) fn tokens_of(&self, slot: u32, limits: &EngineLimits) -> &[u32] {
        &self.tokens[slot as usize * limits.model_len..][..self.sequences[slot as usize].token_count as usize]
    }

    /// Makes the blocks of a sequence that have become full findable. Where another sequence
    /// computed the same block at the same time, that one is used from now on: the bits are the
    /// same, and what follows hangs on one parent. Returns how often.
    pub(super) fn publish(&mut self, slot: u32, limits: &EngineLimits) -> u64 {
        let start = slot as usize * limits.blocks_per_sequence();
        let mut merged = 0;
        loop {
            let Sequence { indexed, computed, salt, .. } = self.sequences[slot as usize];
            let i = indexed as usize;
            if (i + 1) * BLOCK > computed as usize {
                return merged;
            }
            let parent = match i {
                0 => Parent::NONE,
                _ => Parent::of(self.tables[start + i - 1], &self.blocks),
            };
            let tokens = &self.tokens[slot as usize * limits.model_len + i * BLOCK..];
            let mut ids = [0; BLOCK];
            ids.copy_from_slice(&tokens[..BLOCK]);
            let own = self.tables[start + i];
            match self.index.find(parent, salt, &ids) {
                Found::Block(block) if block != own => {
                    self.blocks.share(block);
                    self.release_block(own);
                    self.tables[start + i] = block;
                    merged += 1;
                }
                Found::Block(_) => {}
                _ if self.index.contains(own) => {}
                _ => self.index.insert(own, parent, salt, &ids),
            }
            self.sequences[slot as usize].indexed += 1;
        }
    }

    fn release_block(&mut self, block: BlockId) {
        self.blocks.release(block, self.index.contains(block));
    }

    /// Gives a sequence's blocks back, the last first: the beginning of a text is what others may
    /// share.
    pub(super) fn release_blocks(&mut self, slot: u32, limits: &EngineLimits) {
        let start = slot as usize * limits.blocks_per_sequence();
        for i in (0..self.sequences[slot as usize].block_count as usize).rev() {
            self.release_block(self.tables[start + i]);
        }
        let sequence = &mut self.sequences[slot as usize];
        sequence.block_count = 0;
        sequence.computed = 0;
        sequence.indexed = 0;
        sequence.draft_computed = 0;
        sequence.drop_drafts();
    }

    /// Ends a sequence: its slot is free again.
    pub(super) fn free(&mut self, slot: u32, limits: &EngineLimits) {
        self.release_blocks(slot, limits);
        self.running.remove(slot);
        self.waiting.remove(slot);
        self.sequences[slot as usize].standing = Standing::Free;
    }
}

/// Moves the items to keep to the front; returns how many.
pub(super) fn retain<T: Copy>(items: &mut [T], keep: impl Fn(&T) -> bool) -> usize {
    let mut kept = 0;
    for i in 0..items.len() {
        if keep(&items[i]) {
            items[kept] = items[i];
            kept += 1;
        }
    }
    kept
}
