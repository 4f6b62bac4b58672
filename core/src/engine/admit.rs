//! Admission of waiting sequences: how much of a sequence's beginning is in the cache already, and
//! which sequence waits for another one's blocks.
//!
//! 1. **Full blocks** from the prefix index, as far as they go.
//! 2. **One block more**, in part, from a running sequence that has computed the same tokens beyond
//!    them (another choice of the same prompt above all), or from the index where the tokens end
//!    with the block. It is shared until somebody writes into it, who copies it first.
//! 3. If a running sequence ahead of it is about to compute more of the same tokens, the sequence
//!    waits: others behind it may go first, but what it will need, a slot and blocks beyond those
//!    tokens, is left to it. It does not wait for a sequence that is behind it, which may itself be
//!    held up by everybody between them.
use super::Engine;
use super::event::{Record, RecordKind};
use super::sequence::Standing;
use crate::cache::{BLOCK, BlockId, Found};

/// The part of its beginning that a sequence could take from the cache.
#[derive(Clone, Copy, Default)]
struct Prefix {
    /// Blocks that stand in its table and are not held yet: full ones, and perhaps a last one of
    /// which only a part is used.
    blocks: usize,
    /// How many of these are full and came from the index.
    indexed: usize,
    /// Positions that need not be computed.
    tokens: usize,
    /// The sequence's last token is the last of a cached block. Its row is computed again for its
    /// logits, in a copy of the block.
    ends_with_block: bool,
    /// Its last token is the last of a cached block, but no block was free to copy that one into.
    is_cut: bool,
    /// The next block has the right ids, but after a parent that is gone.
    is_stale: bool,
}

impl Prefix {
    /// Drops the block in which the tokens end, which is then computed again.
    fn cut(&mut self) {
        self.blocks -= 1;
        self.tokens = self.blocks * BLOCK;
        (self.ends_with_block, self.is_cut) = (false, true);
    }
}

/// A block of a running sequence that holds a part of another one's tokens.
#[derive(Clone, Copy)]
struct Donor {
    block: BlockId,
    /// Tokens in common from the beginning, up to the end of the block at most.
    tokens: usize,
}

/// What became of an attempt to admit a sequence.
enum Admission {
    Admitted,
    /// It waits for a prefix that another sequence computes, and will then need `blocks` blocks.
    Deferred {
        blocks: usize,
    },
    /// There are too few free blocks for it; sequences behind it must not take those either.
    Blocked,
}

impl Engine<'_> {
    /// Admits waiting sequences in order, those ahead of `before` or all, and plans their first
    /// rows; returns how many.
    pub(super) fn admit(&mut self, rows_max: usize, before: Option<u32>) -> usize {
        let (mut at, mut admitted) = (0, 0);
        // Blocks that are left to deferred sequences; these are the first `at` of the queue.
        let mut claimed_blocks = 0;
        while at < self.state.waiting.len()
            && self.state.rows.len() < rows_max
            && self.state.running.len() + at < self.limits.sequences
        {
            let slot = self.state.waiting.as_slice()[at];
            let key = |slot: u32| self.state.sequences[slot as usize].key();
            if before.is_some_and(|before| key(before) < key(slot)) {
                break;
            }
            match self.try_admit(slot, claimed_blocks) {
                Admission::Admitted => {
                    let pending = self.state.sequences[slot as usize].pending();
                    let wanted = pending.min(rows_max - self.state.rows.len());
                    let reserved = self.reserve(slot, wanted);
                    self.add_rows(slot, reserved);
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
        // Where there is no block to copy the last one into, that one is computed again. Otherwise
        // a prompt that fills the KV cache would wait for ever.
        if prefix.ends_with_block && self.blocks_for(slot, &prefix) > room {
            prefix.cut();
        }
        if self.blocks_for(slot, &prefix) > room {
            return Admission::Blocked;
        }
        self.begin(slot, &prefix);
        // All at once, so that a prompt that was begun is not stuck for blocks.
        self.reserve(slot, tokens - prefix.tokens);
        Admission::Admitted
    }

    /// Makes a waiting sequence a running one that holds the blocks of its prefix.
    fn begin(&mut self, slot: u32, prefix: &Prefix) {
        for block in &self.state.tables.of(slot)[..prefix.blocks] {
            let was_cached = self.state.blocks.share(*block);
            self.counters.revivals += u64::from(was_cached);
        }
        self.state.waiting.remove(slot);
        self.state.running.insert(slot, self.state.sequences);
        self.assign_lane(slot);
        let sequence = &mut self.state.sequences[slot as usize];
        sequence.standing = Standing::Running;
        sequence.block_count = prefix.blocks as u32;
        sequence.computed = prefix.tokens as u32;
        sequence.indexed = prefix.indexed as u32;
        let sequence = *sequence;
        self.count_prefix(slot, prefix);
        self.push_event(Record {
            position: prefix.tokens as u32,
            ..Record::of(&sequence, RecordKind::Admitted)
        });
    }

    /// Free blocks that a sequence takes if it begins with this prefix, for all its tokens: cached
    /// ones that it revives, and new ones.
    fn blocks_for(&self, slot: u32, prefix: &Prefix) -> usize {
        let found = &self.state.tables.of(slot)[..prefix.blocks];
        let revived = found.iter().filter(|block| self.state.blocks.references(**block) == 0).count();
        // A block that is shared in part takes one more, into which it is copied.
        let tokens = self.state.sequences[slot as usize].token_count as usize;
        revived + tokens.div_ceil(BLOCK) - prefix.tokens / BLOCK
    }

    /// Writes the blocks with which a sequence could begin into its table, without holding them.
    fn find_prefix(&mut self, slot: u32) -> Prefix {
        let mut prefix = self.find_full_blocks(slot);
        prefix.indexed = prefix.tokens / BLOCK;
        if !prefix.ends_with_block
            && let Some(donor) = self.find_donor(slot, prefix.tokens)
        {
            self.state.tables.of_mut(slot)[prefix.blocks] = donor.block;
            prefix.blocks += 1;
            prefix.tokens = donor.tokens;
        }
        prefix
    }

    /// The part of a prefix that the index knows.
    fn find_full_blocks(&mut self, slot: u32) -> Prefix {
        let sequence = self.state.sequences[slot as usize];
        let reusable = sequence.reusable() as usize;
        let (tokens, table) = (self.state.tokens.of(slot), self.state.tables.of_mut(slot));
        let mut prefix = Prefix::default();
        // The block in which the tokens end is of use too, though its last row has to be computed
        // again.
        while (prefix.blocks + 1) * BLOCK <= reusable + 1 {
            let i = prefix.blocks;
            let before = i.checked_sub(1).map(|before| table[before]);
            let key = self.state.blocks.key(before, sequence.salt, &tokens[i * BLOCK..][..BLOCK]);
            match self.state.blocks.find(&key) {
                Found::Block(block) => table[i] = block,
                missing => {
                    prefix.is_stale = missing == Found::Orphan;
                    break;
                }
            }
            let end = (i + 1) * BLOCK;
            prefix.blocks = i + 1;
            prefix.tokens = end.min(reusable);
            prefix.ends_with_block = end > reusable;
        }
        prefix
    }

    /// The running sequence that has computed more of a sequence's tokens beyond the first `from`
    /// than all others, within the block that holds position `from`.
    fn find_donor(&self, slot: u32, from: usize) -> Option<Donor> {
        let receiver = &self.state.sequences[slot as usize];
        let wanted = &self.state.tokens_of(slot)[..receiver.reusable() as usize];
        let mut best: Option<Donor> = None;
        for donor in self.state.running.as_slice() {
            let sequence = &self.state.sequences[*donor as usize];
            let computed = sequence.computed as usize;
            if sequence.salt != receiver.salt || computed <= from {
                continue;
            }
            let common = common_len(wanted, &self.state.tokens_of(*donor)[..computed]);
            let tokens = common.min((from / BLOCK + 1) * BLOCK);
            let block = self.state.table_of(*donor)[from / BLOCK];
            // A block that is yet to be copied into holds nothing.
            let has_more = tokens > from && !self.state.blocks.awaits_copy(block);
            if has_more && best.is_none_or(|best| tokens > best.tokens) {
                best = Some(Donor { block, tokens });
            }
        }
        best
    }

    /// How many of a sequence's tokens a running sequence ahead of it is about to compute, if these
    /// are more than `there` by a block or more, or belong to another choice's prompt.
    fn is_being_computed(&self, slot: u32, there: usize) -> Option<usize> {
        let sequence = &self.state.sequences[slot as usize];
        let wanted = &self.state.tokens_of(slot)[..sequence.reusable() as usize];
        let common = self.state.running.as_slice().iter().filter_map(|slot| {
            let other = &self.state.sequences[*slot as usize];
            if other.salt != sequence.salt || other.pending() <= 1 || other.key() > sequence.key() {
                return None;
            }
            let common = common_len(wanted, self.state.tokens_of(*slot));
            let gain_min = if other.request == sequence.request { 1 } else { BLOCK };
            (common >= there + gain_min && (other.computed as usize) < common).then_some(common)
        });
        common.max()
    }

    /// Gives a sequence its part of the draft model's own cache, if that has one.
    fn assign_lane(&mut self, slot: u32) {
        let state = &mut self.state;
        let Some(own) = state.drafting.as_mut().and_then(|drafting| drafting.own.as_mut()) else { return };
        let is_taken = |lane: u32| {
            let mut others = state.running.as_slice().iter().filter(|other| **other != slot);
            others.any(|other| state.sequences[*other as usize].lane == lane)
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
        // Its rows yield something, so it does not use the cache; would it have found anything?
        let whole = sequence.token_count as usize - 1;
        if (sequence.reusable() as usize) < whole && whole >= BLOCK && sequence.delivered == 0 {
            let first = &self.state.tokens_of(slot)[..BLOCK];
            let found = self.state.blocks.find(&self.state.blocks.key(None, sequence.salt, first));
            self.counters.warm_echoes += u64::from(matches!(found, Found::Block(_)));
        }
    }
}

/// How many ids two lists have in common from the beginning.
fn common_len(a: &[u32], b: &[u32]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}
