//! Reference counts of blocks, and the list of free ones. [`BlockPool`](super::BlockPool) is the
//! only caller; a block's whole life is drawn there.
//!
//! Free blocks form a list; the one at its front is handed out next. When the last holder of a
//! block lets go, a block whose contents may be wanted again goes to the end of the list, so that
//! it stays intact longest and the prefix cache can revive it; every other block goes to the front.
//! A block's generation counts how often it was handed out, so that the prefix index can tell
//! whether a block that it remembers has been handed out again since.
use crate::memory::{ArenaError, Carver};

/// The number of a block, from 0: it names the same 16 positions in the planes of all layers.
pub type BlockId = u32;

/// Reference counts, generations and the free list, for a fixed number of blocks.
#[derive(Debug)]
pub(super) struct Blocks<'s> {
    /// How many sequences hold each block; a block that none holds is free.
    references: &'s mut [u32],
    /// How often each block was handed out, modulo 2³².
    generations: &'s mut [u32],
    /// The free list: a ring linked both ways through one node more than there are blocks. The
    /// additional node stands between the end of the list and its front.
    next: &'s mut [u32],
    previous: &'s mut [u32],
    free_count: usize,
}

impl<'s> Blocks<'s> {
    /// Carves the tables for `count` blocks, all free.
    pub(super) fn carve(carver: &mut impl Carver<'s>, count: usize) -> Result<Self, ArenaError> {
        let references = carver.carve("block references", count)?;
        let generations = carver.carve("block generations", count)?;
        let next: &mut [u32] = carver.carve("free blocks", count + 1)?;
        let previous: &mut [u32] = carver.carve("free blocks, back", count + 1)?;
        let nodes = next.len() as u32;
        for id in 0..nodes {
            next[id as usize] = (id + 1) % nodes;
            previous[id as usize] = (id + nodes - 1) % nodes;
        }
        let free_count = references.len();
        Ok(Self { references, generations, next, previous, free_count })
    }

    /// How many blocks there are, free or held.
    pub(super) fn count(&self) -> usize {
        self.references.len()
    }

    /// How many blocks no sequence holds, whether or not their contents can still be found.
    pub(super) fn free_count(&self) -> usize {
        self.free_count
    }

    /// How many sequences hold a block.
    pub(super) fn references(&self, block: BlockId) -> u32 {
        self.references[block as usize]
    }

    /// How often a block was handed out, modulo 2³².
    pub(super) fn generation(&self, block: BlockId) -> u32 {
        self.generations[block as usize]
    }

    /// Hands out the block at the front of the free list, in a new generation; `None` if all are
    /// held.
    pub(super) fn take(&mut self) -> Option<BlockId> {
        let block = self.next[self.count()];
        if self.free_count == 0 {
            return None;
        }
        self.unlink(block);
        self.references[block as usize] = 1;
        self.generations[block as usize] = self.generations[block as usize].wrapping_add(1);
        Some(block)
    }

    /// Adds a holder to a block without changing its generation: the block is held already, or it
    /// is free and still has its contents. Returns whether it was free.
    pub(super) fn share(&mut self, block: BlockId) -> bool {
        let was_free = self.references[block as usize] == 0;
        if was_free {
            self.unlink(block);
        }
        self.references[block as usize] += 1;
        was_free
    }

    /// Takes a holder from a block. If that was the last one the block becomes free: it is handed
    /// out after all others if it is `worth_keeping`, before them otherwise.
    ///
    /// # Panics
    /// If nobody holds the block.
    pub(super) fn release(&mut self, block: BlockId, worth_keeping: bool) {
        let references = &mut self.references[block as usize];
        assert!(*references > 0, "a block is released once for each holder");
        *references -= 1;
        if *references == 0 {
            let ring = self.count() as u32;
            let after = if worth_keeping { self.previous[ring as usize] } else { ring };
            let before = self.next[after as usize];
            (self.next[block as usize], self.previous[block as usize]) = (before, after);
            self.next[after as usize] = block;
            self.previous[before as usize] = block;
            self.free_count += 1;
        }
    }

    /// Moves a free block to the front of the free list.
    pub(super) fn move_to_front(&mut self, block: BlockId) {
        self.unlink(block);
        self.references[block as usize] = 1;
        self.release(block, false);
    }

    /// Takes a free block out of the free list.
    fn unlink(&mut self, block: BlockId) {
        debug_assert_eq!(self.references[block as usize], 0);
        let (next, previous) = (self.next[block as usize], self.previous[block as usize]);
        self.next[previous as usize] = next;
        self.previous[next as usize] = previous;
        self.free_count -= 1;
    }

    /// Whether every block has as many references as `held` says, and the free list consists of
    /// exactly the blocks without any.
    pub(super) fn are_conserved(&self, held: impl Fn(BlockId) -> usize) -> bool {
        let ring = self.count() as u32;
        let (mut at, mut listed) = (self.next[ring as usize], 0);
        while at != ring && listed <= self.count() {
            if self.references[at as usize] != 0 || self.previous[self.next[at as usize] as usize] != at {
                return false;
            }
            (at, listed) = (self.next[at as usize], listed + 1);
        }
        let unheld = self.references.iter().filter(|n| **n == 0).count();
        listed == self.free_count
            && unheld == listed
            && (0..ring).all(|block| self.references[block as usize] as usize == held(block))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::Arena;
    use crate::model::tests::Memory;

    #[test]
    fn what_is_worth_keeping_is_handed_out_last_and_can_be_had_again() {
        let mut memory = Memory::new(4096);
        let mut arena = Arena::new(memory.bytes(4096)).unwrap();
        let mut blocks = Blocks::carve(&mut arena, 4).unwrap();
        let taken = [(); 4].map(|()| blocks.take().unwrap());
        assert_eq!((taken, blocks.take()), ([0, 1, 2, 3], None));
        assert!(!blocks.share(1));
        blocks.release(2, true);
        blocks.release(1, true);
        assert_eq!(blocks.free_count(), 1);
        blocks.release(1, true);
        blocks.release(3, false);
        assert!(blocks.are_conserved(|block| usize::from(block == 0)) && !blocks.are_conserved(|_| 0));
        // Block 2 is revived with its contents; of the others, the one that is not worth keeping
        // goes first.
        assert!(blocks.share(2));
        assert_eq!((blocks.take(), blocks.take(), blocks.take()), (Some(3), Some(1), None));
        assert_eq!((0..4).map(|block| blocks.generation(block)).max(), Some(2));
        assert_eq!((blocks.generation(2), blocks.generation(3), blocks.references(2)), (1, 2, 1));
    }

    #[test]
    #[should_panic(expected = "once for each holder")]
    fn a_block_cannot_be_released_twice() {
        let mut memory = Memory::new(4096);
        let mut arena = Arena::new(memory.bytes(4096)).unwrap();
        let mut blocks = Blocks::carve(&mut arena, 2).unwrap();
        let block = blocks.take().unwrap();
        blocks.release(block, true);
        blocks.release(block, true);
    }
}
