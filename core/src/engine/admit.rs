//! From waiting to running: what of a sequence's beginning is there already, and who waits for
//! whom.
//!
//! 1. **Full blocks** from the prefix index, as far as they go.
//! 2. **One block more**, in part, from a running sequence that has computed the same text beyond
//!    them (another choice of the same prompt above all), or from the index where the text ends
//!    with the block. It is shared until someone writes into it, who copies it first.
//! 3. If a running sequence ahead of it is about to compute more of the same text, the sequence
//!    waits: others behind it may go first, but what it will need, a slot and blocks beyond that
//!    text, is left to it. It does not wait for one that is behind it, which may itself be held up
//!    by everybody between them.
use super::Engine;
use super::event::{Record, RecordKind};
use super::sequence::Standing;
use crate::cache::prefix_index::{Found, Parent};
use crate::cache::{BLOCK, BlockId};

/// What a sequence could begin with.
struct Prefix {
    /// Blocks in its table, not yet held: full ones, and perhaps one in part.
    blocks: usize,
    /// Of these, those from the index.
    indexed: usize,
    /// Positions.
    tokens: usize,
    /// The text is there to its end, which is a block's end.
    ends_with_block: bool,
    /// It did, but there was no block to copy the last one into.
    is_cut: bool,
    is_stale: bool,
}

impl Prefix {
    /// Does without the block in which the text ends.
    fn cut(&mut self) {
        self.blocks -= 1;
        self.tokens = self.blocks * BLOCK;
        (self.ends_with_block, self.is_cut) = (false, true);
    }
}

enum Admission {
    Admitted,
    /// It waits for what another computes, and will then need so many blocks.
    Deferred {
        blocks: usize,
    },
    /// Blocks are lacking, and so they are for everyone behind it.
    Blocked,
}

impl Engine<'_, '_> {
    /// Admits waiting sequences in order, those ahead of `before` or all, and plans their first
    /// rows; returns how many.
    pub(super) fn admit(&mut self, most: usize, before: Option<u32>) -> usize {
        let (mut at, mut admitted) = (0, 0);
        // What is left to those who wait for others; they are the first `at` of the queue.
        let mut claimed_blocks = 0;
        while at < self.state.waiting.len()
            && self.row_count < most
            && self.state.running.len() + at < self.limits.sequences
        {
            let slot = self.state.waiting.as_slice()[at];
            let key = |slot: u32| self.state.sequences[slot as usize].key();
            if before.is_some_and(|before| key(before) < key(slot)) {
                break;
            }
            match self.try_admit(slot, claimed_blocks) {
                Admission::Admitted => {
                    let wanted = self.state.sequences[slot as usize].pending().min(most - self.row_count);
                    let got = self.reserve(slot, wanted);
                    self.add_rows(slot, got);
                    admitted += 1;
                }
                Admission::Deferred { blocks } => {
                    self.counters.deferrals += 1;
                    claimed_blocks += blocks;
                    at += 1;
                }
                Admission::Blocked => break,
            }
        }
        admitted
    }

    fn try_admit(&mut self, slot: u32, claimed_blocks: usize) -> Admission {
        let mut prefix = self.find_prefix(slot);
        let tokens = self.state.sequences[slot as usize].token_count as usize;
        if let Some(common) = self.is_being_computed(slot, prefix.tokens) {
            return Admission::Deferred { blocks: tokens.div_ceil(BLOCK) - common / BLOCK };
        }
        let room = self.state.blocks.free_count().saturating_sub(claimed_blocks);
        // Where there is no block to copy the last one into, that is computed again. Else a text
        // that fills the KV cache would wait for ever.
        if prefix.ends_with_block && self.blocks_for(slot, &prefix) > room {
            prefix.cut();
        }
        if self.blocks_for(slot, &prefix) > room {
            return Admission::Blocked;
        }
        let start = slot as usize * self.limits.blocks_per_sequence();
        for at in start..start + prefix.blocks {
            let was_free = self.state.blocks.share(self.state.tables[at]);
            self.counters.revivals += u64::from(was_free);
        }
        self.state.waiting.remove(slot);
        self.state.running.insert(slot, &*self.state.sequences);
        self.assign_lane(slot);
        let sequence = &mut self.state.sequences[slot as usize];
        sequence.standing = Standing::Running;
        sequence.block_count = prefix.blocks as u32;
        sequence.computed = prefix.tokens as u32;
        sequence.indexed = prefix.indexed as u32;
        let sequence = *sequence;
        self.count_prefix(slot, &prefix);
        self.push_event(Record {
            position: prefix.tokens as u32,
            ..Record::of(&sequence, RecordKind::Admitted)
        });
        // All at once, so that a prompt that was begun is not stuck for blocks.
        self.reserve(slot, tokens - prefix.tokens);
        Admission::Admitted
    }

    /// Free blocks that a sequence takes if it begins so, for all its tokens: cached ones that
    /// nobody holds, and new ones.
    fn blocks_for(&self, slot: u32, prefix: &Prefix) -> usize {
        let start = slot as usize * self.limits.blocks_per_sequence();
        let found = &self.state.tables[start..][..prefix.blocks];
        let revived = found.iter().filter(|block| self.state.blocks.references(**block) == 0).count();
        // A block that is shared in part takes one more, to be copied into.
        let tokens = self.state.sequences[slot as usize].token_count as usize;
        revived + tokens.div_ceil(BLOCK) - prefix.tokens / BLOCK
    }

    /// Writes the blocks with which a sequence could begin into its table.
    fn find_prefix(&mut self, slot: u32) -> Prefix {
        let limits = &self.limits;
        let sequence = self.state.sequences[slot as usize];
        let start = slot as usize * limits.blocks_per_sequence();
        let reusable = sequence.reusable() as usize;
        let mut prefix = Prefix {
            blocks: 0,
            indexed: 0,
            tokens: 0,
            ends_with_block: false,
            is_cut: false,
            is_stale: false,
        };
        loop {
            let i = prefix.blocks;
            let end = (i + 1) * BLOCK;
            // The block in which the text ends is of use too, though its last row has to be
            // computed again.
            if end > reusable + 1 {
                break;
            }
            let parent = match i {
                0 => Parent::NONE,
                _ => Parent::of(self.state.tables[start + i - 1], &self.state.blocks),
            };
            let mut ids = [0; BLOCK];
            ids.copy_from_slice(&self.state.tokens_of(slot, limits)[end - BLOCK..end]);
            match self.state.index.find(parent, sequence.salt, &ids) {
                Found::Block(block) => self.state.tables[start + i] = block,
                missing => {
                    prefix.is_stale = missing == Found::Orphan;
                    break;
                }
            }
            prefix.blocks = i + 1;
            prefix.tokens = end.min(reusable);
            prefix.ends_with_block = end > reusable;
        }
        prefix.indexed = prefix.tokens / BLOCK;
        if !prefix.ends_with_block
            && let Some((block, tokens)) = self.find_donor(slot, prefix.tokens, reusable)
        {
            self.state.tables[start + prefix.blocks] = block;
            prefix.blocks += 1;
            prefix.tokens = tokens;
        }
        prefix
    }

    /// A block of a running sequence that holds the same text as far as `from` and beyond; and how
    /// far, within that block.
    fn find_donor(&self, slot: u32, from: usize, reusable: usize) -> Option<(BlockId, usize)> {
        let limits = &self.limits;
        let salt = self.state.sequences[slot as usize].salt;
        let text = &self.state.tokens_of(slot, limits)[..reusable];
        let block = from / BLOCK;
        let mut best = None;
        for donor in self.state.running.as_slice() {
            let sequence = &self.state.sequences[*donor as usize];
            if sequence.salt != salt || sequence.computed as usize <= from {
                continue;
            }
            let computed = &self.state.tokens_of(*donor, limits)[..sequence.computed as usize];
            let common = common_len(text, computed).min((block + 1) * BLOCK);
            let id = self.state.table_of(*donor, limits)[block];
            // A block that is yet to be copied into holds nothing.
            let is_pending = self.state.copies[..self.copy_count].iter().any(|copy| copy.to == id);
            if common > from && !is_pending && best.is_none_or(|(_, tokens)| common > tokens) {
                best = Some((id, common));
            }
        }
        best
    }

    /// How much of this text a running sequence ahead of it is about to compute, if that is more
    /// than there is by a block or more, or another choice's prompt.
    fn is_being_computed(&self, slot: u32, there: usize) -> Option<usize> {
        let limits = &self.limits;
        let sequence = &self.state.sequences[slot as usize];
        let text = &self.state.tokens_of(slot, limits)[..sequence.reusable() as usize];
        let common = self.state.running.as_slice().iter().filter_map(|other| {
            let of = &self.state.sequences[*other as usize];
            if of.salt != sequence.salt || of.pending() <= 1 || of.key() > sequence.key() {
                return None;
            }
            let common = common_len(text, self.state.tokens_of(*other, limits));
            let least = if of.request == sequence.request { 1 } else { BLOCK };
            (common >= there + least && (of.computed as usize) < common).then_some(common)
        });
        common.max()
    }

    fn assign_lane(&mut self, slot: u32) {
        let state = &mut self.state;
        let Some(own) = state.drafting.as_mut().and_then(|drafting| drafting.own.as_mut()) else { return };
        let is_taken = |lane: u32| {
            let others = state.running.as_slice().iter().filter(|other| **other != slot);
            others.into_iter().any(|other| state.sequences[*other as usize].lane == lane)
        };
        let lane = (0..self.limits.sequences as u32).find(|lane| !is_taken(*lane)).unwrap_or(0);
        state.sequences[slot as usize].lane = lane;
        own.assign(slot, lane, &self.limits);
    }

    fn count_prefix(&mut self, slot: u32, prefix: &Prefix) {
        let counters = &mut self.counters;
        counters.prefix_hits += u64::from(prefix.tokens > 0);
        counters.hit_tokens += prefix.tokens as u64;
        counters.boundary_recomputes += u64::from(prefix.is_cut);
        counters.stale_parents += u64::from(prefix.is_stale);
        let sequence = self.state.sequences[slot as usize];
        let is_whole = prefix.tokens + 1 == sequence.token_count as usize;
        counters.boundary_hits += u64::from(prefix.ends_with_block && is_whole);
        // Its rows yield something, so it does not look; would it have found anything?
        let whole = sequence.token_count as usize - 1;
        if (sequence.reusable() as usize) < whole && whole >= BLOCK && sequence.delivered == 0 {
            let mut ids = [0; BLOCK];
            ids.copy_from_slice(&self.state.tokens_of(slot, &self.limits)[..BLOCK]);
            let found = self.state.index.find(Parent::NONE, sequence.salt, &ids);
            self.counters.warm_echoes += u64::from(matches!(found, Found::Block(_)));
        }
    }
}

/// Tokens that two texts have in common from the beginning.
fn common_len(a: &[u32], b: &[u32]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}
