//! Who has which block.
//!
//! Free blocks are handed out in the order in which they were freed, so what was freed last stays intact longest: a
//! prefix cache can revive it. A block's generation counts how often it was handed out, so that whoever remembers a
//! block can tell that it is another one by now.
use crate::memory::{ArenaError, Carver};

/// Names a block: 16 positions in all layers.
pub type BlockId = u32;

/// Reference counts of blocks, and the queue of free ones.
#[derive(Debug)]
pub struct Blocks<'s> {
    /// Holders of each block; 0 is free.
    references: &'s mut [u32],
    /// How often each block was handed out.
    generations: &'s mut [u32],
    /// A ring of free blocks, the next to hand out at `first`.
    free: &'s mut [BlockId],
    first: usize,
    free_count: usize,
}

impl<'s> Blocks<'s> {
    /// Carves the tables for `count` blocks, all free.
    pub fn carve(carver: &mut impl Carver<'s>, count: usize) -> Result<Self, ArenaError> {
        let references = carver.carve("block references", count)?;
        let generations = carver.carve("block generations", count)?;
        let free: &mut [BlockId] = carver.carve("free blocks", count)?;
        for (id, slot) in free.iter_mut().enumerate() {
            *slot = id as BlockId;
        }
        let free_count = free.len();
        Ok(Self { references, generations, free, first: 0, free_count })
    }

    /// Blocks in all.
    pub fn count(&self) -> usize {
        self.references.len()
    }

    /// Blocks nobody holds.
    pub fn free_count(&self) -> usize {
        self.free_count
    }

    /// How often a block was handed out.
    pub fn generation(&self, block: BlockId) -> u32 {
        self.generations[block as usize]
    }

    /// Hands out the block that has been free longest.
    pub fn take(&mut self) -> Option<BlockId> {
        if self.free_count == 0 {
            return None;
        }
        let block = self.free[self.first];
        self.first = (self.first + 1) % self.free.len();
        self.free_count -= 1;
        debug_assert_eq!(self.references[block as usize], 0);
        self.references[block as usize] = 1;
        self.generations[block as usize] = self.generations[block as usize].wrapping_add(1);
        Some(block)
    }

    /// Another holder for a block that has one.
    ///
    /// # Panics
    /// If it has none.
    pub fn share(&mut self, block: BlockId) {
        assert!(self.references[block as usize] > 0, "only a held block can be shared");
        self.references[block as usize] += 1;
    }

    /// One holder less; free when it was the last.
    ///
    /// # Panics
    /// If it has none.
    pub fn release(&mut self, block: BlockId) {
        let references = &mut self.references[block as usize];
        assert!(*references > 0, "a block is released once for each holder");
        *references -= 1;
        if *references == 0 {
            let end = (self.first + self.free_count) % self.free.len();
            self.free[end] = block;
            self.free_count += 1;
        }
    }

    /// Whether the sum of references is `held` and free blocks are those without any.
    pub fn are_conserved(&self, held: usize) -> bool {
        let references: usize = self.references.iter().map(|n| *n as usize).sum();
        let unheld = self.references.iter().filter(|n| **n == 0).count();
        let ring = (0..self.free_count).map(|i| self.free[(self.first + i) % self.free.len()]);
        references == held
            && unheld == self.free_count
            && ring.into_iter().all(|block| self.references[block as usize] == 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::Arena;
    use crate::model::tests::Memory;

    #[test]
    fn blocks_come_back_in_the_order_in_which_they_were_freed() {
        let mut memory = Memory::new(4096);
        let mut arena = Arena::new(memory.bytes(4096)).unwrap();
        let mut blocks = Blocks::carve(&mut arena, 3).unwrap();
        let taken = [blocks.take().unwrap(), blocks.take().unwrap(), blocks.take().unwrap()];
        assert_eq!((taken, blocks.take()), ([0, 1, 2], None));
        blocks.share(1);
        blocks.release(2);
        blocks.release(1);
        assert_eq!(blocks.free_count(), 1);
        blocks.release(1);
        assert!(blocks.are_conserved(1) && !blocks.are_conserved(2));
        assert_eq!((blocks.take(), blocks.take(), blocks.take()), (Some(2), Some(1), None));
        assert_eq!((blocks.generation(0), blocks.generation(2)), (1, 2));
    }

    #[test]
    #[should_panic(expected = "once for each holder")]
    fn a_block_cannot_be_released_twice() {
        let mut memory = Memory::new(4096);
        let mut arena = Arena::new(memory.bytes(4096)).unwrap();
        let mut blocks = Blocks::carve(&mut arena, 2).unwrap();
        let block = blocks.take().unwrap();
        blocks.release(block);
        blocks.release(block);
    }
}
