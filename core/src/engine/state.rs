//! The tables of an engine, carved from its arena.
use super::event::Record;
use super::limits::EngineLimits;
use super::sequence::{Sequence, Standing};
use crate::memory::{ArenaError, Carver};
use crate::model::ModelConfig;
use crate::model::{BlockTables, Forward, ForwardLimits, Row};
use crate::paging::{BlockId, Blocks, KvCache};
use crate::sampling::TokenLogprob;

/// Everything that changes while an engine runs.
#[derive(Debug)]
pub(super) struct State<'s> {
    pub(super) forward: Forward<'s>,
    pub(super) kv: KvCache<'s>,
    pub(super) blocks: Blocks<'s>,
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
    /// Slots that run, oldest first.
    pub(super) running: SlotList<'s>,
    /// Slots that wait, next first.
    pub(super) waiting: SlotList<'s>,
    /// Rows of the planned step.
    pub(super) rows: &'s mut [Row],
    /// Blocks handed out since the last step.
    pub(super) fresh: &'s mut [BlockId],
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

// SAFETY: numbers.
unsafe impl crate::memory::Plain for Bias {}

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

// SAFETY: numbers, and an enum whose zero is `Nothing`.
unsafe impl crate::memory::Plain for Outcome {}

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

    pub(super) fn push(&mut self, slot: u32) {
        self.slots[self.count] = slot;
        self.count += 1;
    }

    pub(super) fn push_front(&mut self, slot: u32) {
        self.slots.copy_within(..self.count, 1);
        self.slots[0] = slot;
        self.count += 1;
    }

    pub(super) fn pop_front(&mut self) -> Option<u32> {
        let first = *self.as_slice().first()?;
        self.remove(first);
        Some(first)
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
        limits: &EngineLimits,
    ) -> Result<Self, ArenaError> {
        let slots = limits.sequences + limits.queue;
        let times = |region, a: usize, b: usize| a.checked_mul(b).ok_or(ArenaError::TooLarge { region });
        let forward_limits = ForwardLimits {
            rows: limits.rows,
            head_rows: limits.head_rows,
            workers: limits.workers,
            model_len: limits.model_len,
            kv_format: limits.kv_format,
        };
        let vocab = times("sampling scratch", limits.workers, config.vocab_size)?;
        let layout = config.kv_layout(limits.kv_format, limits.block_count());
        Ok(Self {
            kv: KvCache::carve(carver, layout)?,
            forward: Forward::carve(carver, config, &forward_limits)?,
            blocks: Blocks::carve(carver, limits.block_count())?,
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
            head_rows: carver.carve("head row indices", limits.rows)?,
            outcomes: carver.carve("outcomes", limits.head_rows)?,
            // A row yields at most a prompt log-probability, a token and an end; a sequence is preempted once a plan.
            events: carver.carve("events", 3 * limits.rows + 2 * slots)?,
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

    /// Gives a sequence's blocks back.
    pub(super) fn release_blocks(&mut self, slot: u32, limits: &EngineLimits) {
        let sequence = &mut self.sequences[slot as usize];
        let stride = limits.blocks_per_sequence();
        for block in &self.tables[slot as usize * stride..][..sequence.block_count as usize] {
            self.blocks.release(*block);
        }
        sequence.block_count = 0;
        sequence.computed = 0;
    }

    /// Ends a sequence: its slot is free again.
    pub(super) fn free(&mut self, slot: u32, limits: &EngineLimits) {
        self.release_blocks(slot, limits);
        self.running.remove(slot);
        self.waiting.remove(slot);
        self.sequences[slot as usize].standing = Standing::Free;
    }
}
