//! The one owner of KV blocks: a block's whole life, from taking it to handing it out anew.
//!
//! Two facts make the state of a block: whether a sequence holds it, and whether it can be found in
//! the prefix index. A block that can be found is full, and nobody writes into it.
//!
//! ```text
//!                         3 share, 6 release                  3 share, 6 release
//!                         (while others hold)                 (while others hold)
//!                              ┌──────┐                            ┌──────┐
//!                              │      ▼                            │      ▼
//!  ┌─────────┐   1 take      ┌─┴────────────┐    4 publish     ┌───┴──────────┐
//!  │  EMPTY  ├──────────────►│     HELD     ├─────────────────►│   FINDABLE   │
//!  │ nobody  │   6 release   │ not findable │                  │ held, full   │
//!  │         │◄──────────────┤              │                  │              │
//!  └────▲────┘   (the last)  └──────▲───────┘                  └──┬────────▲──┘
//!       │                           │                   6 release │        │ 3 share
//!       │                           │                  (the last) │        │ (revival)
//!       │                           │   2 take, when           ┌──▼────────┴──┐
//!       │                           └──────────────────────────┤    CACHED    │
//!       │            7 forget           no block is empty      │ nobody, full │
//!       └──────────────────────────────────────────────────────┤              │
//!                                                              └──────────────┘
//! ```
//!
//! 1. [`BlockPool::take`]: an empty block gets its first holder and a new generation. Its bytes are
//!    whatever was there before, so it joins the blocks to zero.
//! 2. [`BlockPool::take`], when no block is empty: the cached block that became free first leaves
//!    the index and starts anew as in 1. Blocks that name it as their parent become orphans, since
//!    its generation is another one.
//! 3. [`BlockPool::share`]: one more sequence holds the block. A cached block comes back to life.
//! 4. [`BlockPool::publish`]: the holder has computed all 16 positions, and the block becomes
//!    findable. If another block with the same key is findable already, the holder gets that one
//!    (3) and releases its own (6).
//! 5. [`BlockPool::make_writable`], copy on write: whoever writes into a block is its only holder,
//!    and it is not findable. Any other block is copied into one that is taken for that (1 or 2),
//!    and released (6).
//! 6. [`BlockPool::release`]: one holder less. The last one leaves the block empty, or cached if it
//!    is findable.
//! 7. [`BlockPool::forget`]: a cached block leaves the index, because a device was lost with its
//!    contents. Simulators do the same to blocks that they draw.
//!
//! The copies and zeroes of 1, 2 and 5 are [`PendingWork`] until the next step, which makes the
//! copies one after the other and then zeroes. A block stands in these lists at most once, and only
//! while it has exactly one holder; it leaves them if that holder releases it first. The source of
//! a copy may be free by then, or even be taken again: it keeps its bytes until the copies are
//! made.
use super::BLOCK;
use super::blocks::{BlockId, Blocks};
use super::planes::BlockCopy;
use super::prefix_index::{BlockKey, Found, Parent, PrefixIndex};
use crate::memory::{ArenaError, Carver, FixedVec};

/// Why the lists of pending work cannot overflow.
const ONCE_EACH: &str = "a block is zeroed or copied into at most once before a step";

/// All blocks of a cache: their holders, the index of those that can be found, and pending work.
#[derive(Debug)]
pub struct BlockPool<'s> {
    blocks: Blocks<'s>,
    index: PrefixIndex<'s>,
    /// Blocks that no sequence holds and that can be found.
    cached_count: usize,
    fresh: FixedVec<'s, BlockId>,
    copies: FixedVec<'s, BlockCopy>,
}

/// What has to happen to the planes before the next step reads or writes them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PendingWork<'p> {
    /// Blocks to copy, in this order and before any block is zeroed.
    pub copies: &'p [BlockCopy],
    /// Blocks to zero: a position that was not written yet must hold finite numbers.
    pub fresh: &'p [BlockId],
}

impl<'s> BlockPool<'s> {
    /// Carves the tables for `count` blocks, all of them empty.
    pub fn carve(carver: &mut impl Carver<'s>, count: usize) -> Result<Self, ArenaError> {
        Ok(Self {
            blocks: Blocks::carve(carver, count)?,
            index: PrefixIndex::carve(carver, count)?,
            cached_count: 0,
            fresh: FixedVec::carve(carver, "fresh blocks", count)?,
            copies: FixedVec::carve(carver, "block copies", count)?,
        })
    }

    /// How many blocks there are in all.
    pub fn count(&self) -> usize {
        self.blocks.count()
    }

    /// How many blocks can be taken: those that are empty or cached.
    pub fn free_count(&self) -> usize {
        self.blocks.free_count()
    }

    /// How many of the free blocks are cached.
    pub fn cached_count(&self) -> usize {
        self.cached_count
    }

    /// How many sequences hold a block.
    pub fn references(&self, block: BlockId) -> u32 {
        self.blocks.references(block)
    }

    /// The token ids of a block that can be found.
    pub fn ids(&self, block: BlockId) -> Option<&[u32; BLOCK]> {
        self.index.ids(block)
    }

    /// Transitions 1 and 2: takes a block for one holder, as an empty one; `None` if all are held.
    pub fn take(&mut self) -> Option<BlockId> {
        let block = self.take_unzeroed()?;
        self.fresh.push(block).expect(ONCE_EACH);
        Some(block)
    }

    /// Takes a block whose bytes the caller will set.
    fn take_unzeroed(&mut self) -> Option<BlockId> {
        let block = self.blocks.take()?;
        self.cached_count -= usize::from(self.index.contains(block));
        self.index.remove(block);
        debug_assert!(!self.has_pending_work(block), "a free block has no pending work");
        Some(block)
    }

    /// The key of the block that holds `tokens` (16 ids) after `before`, which the caller holds or
    /// has just found; `None` at position 0.
    ///
    /// # Panics
    /// If there are not 16 ids.
    pub fn key(&self, before: Option<BlockId>, salt: u64, tokens: &[u32]) -> BlockKey {
        let parent = before.map_or(Parent::NONE, |block| Parent::of(block, &self.blocks));
        let mut ids = [0; BLOCK];
        ids.copy_from_slice(tokens);
        BlockKey::new(parent, salt, ids)
    }

    /// Looks for a findable or cached block.
    pub fn find(&self, key: &BlockKey) -> Found {
        self.index.find(key)
    }

    /// Transition 3: adds a holder to a block that has contents. Returns whether that revived it
    /// from the cached ones.
    pub fn share(&mut self, block: BlockId) -> bool {
        debug_assert!(
            self.references(block) > 0 || self.index.contains(block),
            "an empty block is not shared"
        );
        debug_assert!(!self.has_pending_work(block), "a block with pending work has nothing to share");
        let was_cached = self.blocks.share(block);
        self.cached_count -= usize::from(was_cached);
        was_cached
    }

    /// Transition 4: makes a full block findable under `key`, and returns the block that its holder
    /// uses from now on. That is another one if the key was findable: the bits are equal, and what
    /// follows then hangs on one parent. A block that is findable under another key stays so.
    pub fn publish(&mut self, own: BlockId, key: &BlockKey) -> BlockId {
        debug_assert!(self.references(own) > 0, "only a holder publishes a block");
        debug_assert!(!self.has_pending_work(own), "a block is published after its step has run");
        match self.index.find(key) {
            Found::Block(block) if block != own => {
                self.share(block);
                self.release(own);
                return block;
            }
            Found::Block(_) => {}
            Found::Orphan | Found::Nothing if self.index.contains(own) => {}
            Found::Orphan | Found::Nothing => self.index.insert(own, key),
        }
        own
    }

    /// Transition 5: returns the block into which a holder of `block` may write. That is a new one
    /// if others hold `block` or may find it; `None` if all are held, and `block` then stays as it
    /// is.
    pub fn make_writable(&mut self, block: BlockId) -> Option<BlockId> {
        if self.references(block) == 1 && !self.index.contains(block) {
            return Some(block);
        }
        debug_assert!(!self.has_pending_work(block), "a block with pending work has one holder");
        let to = self.take_unzeroed()?;
        self.copies.push(BlockCopy { from: block, to }).expect(ONCE_EACH);
        self.release(block);
        Some(to)
    }

    /// Transition 6: takes a holder from a block, and its pending work if that was the last one.
    ///
    /// # Panics
    /// If nobody holds the block.
    pub fn release(&mut self, block: BlockId) {
        let is_findable = self.index.contains(block);
        self.blocks.release(block, is_findable);
        if self.references(block) == 0 {
            self.cached_count += usize::from(is_findable);
            // From the end, because a sequence releases its last block first: a long prompt that is
            // cancelled before its step finds each of its blocks at once.
            if let Some(at) = self.fresh.iter().rposition(|fresh| *fresh == block) {
                self.fresh.remove(at);
            } else if let Some(at) = self.copies.iter().rposition(|copy| copy.to == block) {
                self.copies.remove(at);
            }
        }
    }

    /// Transition 7: empties a cached block whatever its age; `false` if it is not cached. By age
    /// alone a block goes after all blocks that follow it; here it may leave orphans behind, which
    /// changes later cache hits but no output.
    pub fn forget(&mut self, block: BlockId) -> bool {
        let is_cached = self.references(block) == 0 && self.index.contains(block);
        if is_cached {
            self.cached_count -= 1;
            self.index.remove(block);
            self.blocks.move_to_front(block);
        }
        is_cached
    }

    /// Whether a block has yet to be copied into: it has no contents before that.
    pub fn awaits_copy(&self, block: BlockId) -> bool {
        self.copies.iter().any(|copy| copy.to == block)
    }

    /// What is to be done to the planes before the next step.
    pub fn pending_work(&self) -> PendingWork<'_> {
        PendingWork { copies: &self.copies, fresh: &self.fresh }
    }

    /// Notes that all pending work is done.
    pub fn finish_work(&mut self) {
        self.copies.clear();
        self.fresh.clear();
    }

    fn has_pending_work(&self, block: BlockId) -> bool {
        self.fresh.contains(&block) || self.awaits_copy(block)
    }

    /// Whether every block has as many holders as `held` says, exactly the others are free, and as
    /// many of them are cached as were counted.
    pub fn are_conserved(&self, held: impl Fn(BlockId) -> usize) -> bool {
        let is_cached = |block: &BlockId| self.references(*block) == 0 && self.index.contains(*block);
        let cached_count = (0..self.count() as BlockId).filter(is_cached).count();
        self.blocks.are_conserved(held) && cached_count == self.cached_count
    }
}

#[cfg(test)]
mod tests;
