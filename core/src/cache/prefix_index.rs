//! Which full blocks hold which tokens, so that a prompt's beginning need not be computed again.
//!
//! A block is known by the block before it (its identity *and* generation, or none), its 16 ids and
//! a salt. By induction that names the whole text up to its end: the parent cannot have become
//! another block without its generation telling. The hash only finds candidates; ids, salt and
//! parent are compared, so that two texts with one hash are two texts.
//!
//! One entry for each block of the cache, chained into as many buckets: nothing is ever allocated,
//! and a block that is handed out anew leaves the index in a few steps.
use super::{BLOCK, BlockId, Blocks};
use crate::memory::{ArenaError, Carver};

/// What comes before a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parent {
    /// The block before, plus one; 0 at the beginning of a text.
    block: u32,
    generation: u32,
}

impl Parent {
    /// Nothing: the text begins here.
    pub const NONE: Parent = Parent { block: 0, generation: 0 };

    /// A block, as what it is now.
    pub fn of(block: BlockId, blocks: &Blocks<'_>) -> Self {
        Self { block: block + 1, generation: blocks.generation(block) }
    }
}

/// What a look into the index found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// The block.
    Block(BlockId),
    /// A block with these ids, but after a block that has become another.
    Orphan,
    /// No such block.
    Nothing,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    salt: u64,
    parent: Parent,
    /// The next block of the bucket, plus one.
    next: u32,
    is_indexed: u32,
    ids: [u32; BLOCK],
}

crate::memory::plain!(Parent { block, generation });
crate::memory::plain!(Entry { salt, parent, next, is_indexed, ids });

/// The index.
#[derive(Debug)]
pub struct PrefixIndex<'s> {
    /// By block.
    entries: &'s mut [Entry],
    /// First block of each bucket, plus one; as many as a power of two.
    buckets: &'s mut [u32],
}

impl<'s> PrefixIndex<'s> {
    /// Carves an empty index for `count` blocks.
    pub fn carve(carver: &mut impl Carver<'s>, count: usize) -> Result<Self, ArenaError> {
        let entries = carver.carve("prefix index", count)?;
        let buckets = carver.carve("prefix index buckets", count.next_power_of_two())?;
        Ok(Self { entries, buckets })
    }

    /// Whether a block can be found.
    pub fn contains(&self, block: BlockId) -> bool {
        self.entries[block as usize].is_indexed != 0
    }

    /// The ids of a block that can be found.
    pub fn ids(&self, block: BlockId) -> Option<&[u32; BLOCK]> {
        self.contains(block).then(|| &self.entries[block as usize].ids)
    }

    /// Looks for the block that holds `ids` after `parent`.
    pub fn find(&self, parent: Parent, salt: u64, ids: &[u32; BLOCK]) -> Found {
        let mut at = self.buckets[self.bucket(parent, salt, ids)];
        let mut found = Found::Nothing;
        while at != 0 {
            let entry = &self.entries[at as usize - 1];
            let same_text = entry.salt == salt && entry.parent.block == parent.block && entry.ids == *ids;
            if same_text && entry.parent.generation == parent.generation {
                return Found::Block(at - 1);
            }
            if same_text {
                found = Found::Orphan;
            }
            at = entry.next;
        }
        found
    }

    /// Makes a block findable; it must not be already.
    pub fn insert(&mut self, block: BlockId, parent: Parent, salt: u64, ids: &[u32; BLOCK]) {
        debug_assert!(!self.contains(block));
        let bucket = self.bucket(parent, salt, ids);
        let next = self.buckets[bucket];
        self.entries[block as usize] = Entry { salt, parent, next, is_indexed: 1, ids: *ids };
        self.buckets[bucket] = block + 1;
    }

    /// Forgets a block, if it was known.
    pub fn remove(&mut self, block: BlockId) {
        let entry = self.entries[block as usize];
        if entry.is_indexed == 0 {
            return;
        }
        let bucket = self.bucket(entry.parent, entry.salt, &entry.ids);
        let mut at = self.buckets[bucket];
        if at == block + 1 {
            self.buckets[bucket] = entry.next;
        }
        while at != 0 {
            let next = self.entries[at as usize - 1].next;
            if next == block + 1 {
                self.entries[at as usize - 1].next = entry.next;
            }
            at = next;
        }
        self.entries[block as usize].is_indexed = 0;
    }

    /// The generation is left out: a block whose parent has become another is in the bucket where
    /// it is looked for, and refused.
    fn bucket(&self, parent: Parent, salt: u64, ids: &[u32; BLOCK]) -> usize {
        let mut hash = salt ^ u64::from(parent.block).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        for id in ids {
            hash = (hash ^ u64::from(*id)).wrapping_mul(0xff51_afd7_ed55_8ccd);
            hash ^= hash >> 32;
        }
        hash as usize & (self.buckets.len() - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::Arena;
    use crate::model::tests::Memory;

    #[test]
    fn a_block_is_known_by_its_ids_its_salt_and_its_parent_as_it_was() {
        let mut memory = Memory::new(1 << 14);
        let mut arena = Arena::new(memory.bytes(1 << 14)).unwrap();
        let mut blocks = Blocks::carve(&mut arena, 3).unwrap();
        let mut index = PrefixIndex::carve(&mut arena, 3).unwrap();
        let (a, b) = ([7; BLOCK], [8; BLOCK]);
        let (first, second) = (blocks.take().unwrap(), blocks.take().unwrap());
        index.insert(first, Parent::NONE, 5, &a);
        let parent = Parent::of(first, &blocks);
        index.insert(second, parent, 5, &b);
        assert_eq!(index.find(Parent::NONE, 5, &a), Found::Block(first));
        assert_eq!(index.find(Parent::NONE, 6, &a), Found::Nothing);
        assert_eq!(index.find(parent, 5, &b), Found::Block(second));
        assert_eq!(index.find(Parent::NONE, 5, &b), Found::Nothing);
        // The first block becomes another; what followed it follows nothing that can be found.
        index.remove(first);
        blocks.release(first, false);
        assert_eq!(blocks.take(), Some(first));
        assert_eq!(index.find(Parent::NONE, 5, &a), Found::Nothing);
        assert_eq!(index.find(Parent::of(first, &blocks), 5, &b), Found::Orphan);
        index.remove(second);
        index.remove(second);
        assert!(!index.contains(second) && index.ids(second).is_none());
    }

    #[test]
    fn blocks_of_one_bucket_come_and_go_in_any_order() {
        let mut memory = Memory::new(1 << 14);
        let mut arena = Arena::new(memory.bytes(1 << 14)).unwrap();
        let mut index = PrefixIndex::carve(&mut arena, 9).unwrap();
        // Few buckets for many blocks: chains of every length.
        index.buckets = &mut index.buckets[..2];
        let ids = |block: u32| [block * 31; BLOCK];
        for round in 0..5 {
            for block in 0..9 {
                index.insert(block, Parent::NONE, 0, &ids(block));
            }
            for i in 0..9 {
                let block = (i * 4 + round) % 9;
                assert_eq!(index.find(Parent::NONE, 0, &ids(block)), Found::Block(block));
                index.remove(block);
                assert_eq!(index.find(Parent::NONE, 0, &ids(block)), Found::Nothing);
            }
        }
    }
}
