//! Who has which block.
//!
//! Free blocks form a list, the next to hand out first. A block whose contents may be wanted again
//! goes to its end when its last holder lets go, so that it stays intact longest and a prefix cache
//! can revive it; others go to its front. A block's generation counts how often it was handed out,
//! so that whoever remembers a block can tell that it is another one by now.
use crate::memory::{ArenaError, Carver};

/// Names a block: 16 positions in all layers.
pub type BlockId = u32;

/// Reference counts of blocks, and the list of free ones.
#[derive(Debug)]
pub struct Blocks<'s> {
    /// Holders of each block; 0 is free.
    references: &'s mut [u32],
    /// How often each block was handed out.
    generations: &'s mut [u32],
    /// The free list, linked both ways through one node more than there are blocks: that one closes
    /// the ring.
    next: &'s mut [u32],
    previous: &'s mut [u32],
    free_count: usize,
}

impl<'s> Blocks<'s> {
    /// Carves the tables for `count` blocks, all free.
    pub fn carve(carver: &mut impl Carver<'s>, count: usize) -> Result<Self, ArenaError> {
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

    /// Blocks in all.
    pub fn count(&self) -> usize {
        self.references.len()
    }

    /// Blocks nobody holds.
    pub fn free_count(&self) -> usize {
        self.free_count
    }

    /// Holders of a block.
    pub fn references(&self, block: BlockId) -> u32 {
        self.references[block as usize]
    }

    /// How often a block was handed out.
    pub fn generation(&self, block: BlockId) -> u32 {
        self.generations[block as usize]
    }

    /// Hands out the first free block, as a new one.
    pub fn take(&mut self) -> Option<BlockId> {
        let block = self.next[self.count()];
        if self.free_count == 0 {
            return None;
        }
        self.unlink(block);
        self.references[block as usize] = 1;
        self.generations[block as usize] = self.generations[block as usize].wrapping_add(1);
        Some(block)
    }

    /// Another holder for a block, as what it is: one that is held, or a free one that still has
    /// its contents. Tells whether it was free.
    pub fn share(&mut self, block: BlockId) -> bool {
        let was_free = self.references[block as usize] == 0;
        if was_free {
            self.unlink(block);
        }
        self.references[block as usize] += 1;
        was_free
    }

    /// One holder less; free when it was the last, to be handed out late if its contents are worth
    /// keeping.
    ///
    /// # Panics
    /// If it has none.
    pub fn release(&mut self, block: BlockId, worth_keeping: bool) {
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

    /// Moves a free block to where the next one is taken from.
    pub fn take_next(&mut self, block: BlockId) {
        self.unlink(block);
        self.references[block as usize] = 1;
        self.release(block, false);
    }

    fn unlink(&mut self, block: BlockId) {
        debug_assert_eq!(self.references[block as usize], 0);
        let (next, previous) = (self.next[block as usize], self.previous[block as usize]);
        self.next[previous as usize] = next;
        self.previous[next as usize] = previous;
        self.free_count -= 1;
    }

    /// Whether every block has as many references as `held` says, and the free list holds just
    /// those without any.
    pub fn are_conserved(&self, held: impl Fn(BlockId) -> usize) -> bool {
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
        // 2 comes back as what it is; of the others the worthless one goes first.
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
