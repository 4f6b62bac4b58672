//! Which full blocks hold which tokens, so that the beginning of a prompt need not be computed
//! again.
//!
//! A block is known by its [`BlockKey`]: the block before it (its number *and* generation, or none
//! at position 0), its 16 token ids, and a salt. By induction the key names all tokens up to the
//! block's end, since a parent that was handed out anew has another generation. The hash only finds
//! candidates; ids, salt and parent are compared, so two prefixes with one hash stay apart.
//!
//! There is one entry for each block of the cache, chained into about as many buckets: nothing is
//! ever allocated, and a block leaves the index in as many steps as its bucket has entries.
use super::BLOCK;
use super::blocks::{BlockId, Blocks};
use crate::memory::{ArenaError, Carver};

/// What comes before a block: another block as it is now, or nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Parent {
    /// The number of the block before, plus one; 0 where the block begins at position 0.
    block: u32,
    generation: u32,
}

impl Parent {
    /// The parent of a block that begins at position 0.
    pub(super) const NONE: Parent = Parent { block: 0, generation: 0 };

    /// A block in its present generation.
    pub(super) fn of(block: BlockId, blocks: &Blocks<'_>) -> Self {
        Self { block: block + 1, generation: blocks.generation(block) }
    }
}

/// What a full block is known by: two blocks with equal keys hold the same keys and values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockKey {
    salt: u64,
    parent: Parent,
    ids: [u32; BLOCK],
}

impl BlockKey {
    /// The key of the block that holds `ids` after `parent`, among sequences with this salt.
    pub(super) fn new(parent: Parent, salt: u64, ids: [u32; BLOCK]) -> Self {
        Self { salt, parent, ids }
    }
}

/// What a look into the index found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// The block with that key.
    Block(BlockId),
    /// A block with these ids, but its parent has been handed out anew since: its keys and values
    /// belong to other tokens before it.
    Orphan,
    /// No block holds these ids there.
    Nothing,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    key: BlockKey,
    /// The number of the next block in the bucket, plus one; 0 at the end of the chain.
    next: u32,
    /// 1 if the block can be found, else 0: the rest of the entry then means nothing.
    is_indexed: u32,
}

crate::memory::plain!(Parent { block, generation });
crate::memory::plain!(BlockKey { salt, parent, ids });
crate::memory::plain!(Entry { key, next, is_indexed });

/// The index over all blocks of a cache.
#[derive(Debug)]
pub(super) struct PrefixIndex<'s> {
    /// One entry for each block of the cache, `[blocks]`.
    entries: &'s mut [Entry],
    /// The number of the first block of each bucket, plus one, or 0; their count is a power of two.
    buckets: &'s mut [u32],
}

impl<'s> PrefixIndex<'s> {
    /// Carves an empty index for `count` blocks.
    pub(super) fn carve(carver: &mut impl Carver<'s>, count: usize) -> Result<Self, ArenaError> {
        let entries = carver.carve("prefix index", count)?;
        let buckets = carver.carve("prefix index buckets", count.next_power_of_two())?;
        Ok(Self { entries, buckets })
    }

    /// Whether a block can be found.
    pub(super) fn contains(&self, block: BlockId) -> bool {
        self.entries[block as usize].is_indexed != 0
    }

    /// The token ids of a block that can be found.
    pub(super) fn ids(&self, block: BlockId) -> Option<&[u32; BLOCK]> {
        self.contains(block).then(|| &self.entries[block as usize].key.ids)
    }

    /// Looks for the block with a key.
    pub(super) fn find(&self, key: &BlockKey) -> Found {
        let mut at = self.buckets[self.bucket(key)];
        let mut found = Found::Nothing;
        while at != 0 {
            let entry = &self.entries[at as usize - 1];
            let has_ids = entry.key.ids == key.ids;
            let is_alike =
                has_ids && entry.key.salt == key.salt && entry.key.parent.block == key.parent.block;
            if is_alike && entry.key.parent.generation == key.parent.generation {
                return Found::Block(at - 1);
            }
            if is_alike {
                found = Found::Orphan;
            }
            at = entry.next;
        }
        found
    }

    /// Makes a block findable that is not so yet.
    pub(super) fn insert(&mut self, block: BlockId, key: &BlockKey) {
        debug_assert!(!self.contains(block), "a block has one entry in the prefix index");
        let bucket = self.bucket(key);
        let next = self.buckets[bucket];
        self.entries[block as usize] = Entry { key: *key, next, is_indexed: 1 };
        self.buckets[bucket] = block + 1;
    }

    /// Takes a block out of the index, if it is there.
    pub(super) fn remove(&mut self, block: BlockId) {
        let entry = self.entries[block as usize];
        if entry.is_indexed == 0 {
            return;
        }
        let bucket = self.bucket(&entry.key);
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

    /// The bucket of a key. The parent's generation is left out, so that a block whose parent was
    /// handed out anew stands in the bucket where it is looked for, and is told apart as an orphan.
    fn bucket(&self, key: &BlockKey) -> usize {
        let mut hash = key.salt ^ u64::from(key.parent.block).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        for id in key.ids {
            hash = (hash ^ u64::from(id)).wrapping_mul(0xff51_afd7_ed55_8ccd);
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
        let (first, second) = (blocks.take().unwrap(), blocks.take().unwrap());
        let first_key = BlockKey::new(Parent::NONE, 5, [7; BLOCK]);
        index.insert(first, &first_key);
        let parent = Parent::of(first, &blocks);
        let second_key = BlockKey::new(parent, 5, [8; BLOCK]);
        index.insert(second, &second_key);
        assert_eq!(index.find(&first_key), Found::Block(first));
        assert_eq!(index.find(&BlockKey { salt: 6, ..first_key }), Found::Nothing);
        assert_eq!(index.find(&second_key), Found::Block(second));
        assert_eq!(index.find(&BlockKey { parent: Parent::NONE, ..second_key }), Found::Nothing);
        // The first block is handed out anew; the second then follows a block that is gone.
        index.remove(first);
        blocks.release(first, false);
        assert_eq!(blocks.take(), Some(first));
        assert_eq!(index.find(&first_key), Found::Nothing);
        let parent = Parent::of(first, &blocks);
        assert_eq!(index.find(&BlockKey { parent, ..second_key }), Found::Orphan);
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
        let key = |block: u32| BlockKey::new(Parent::NONE, 0, [block * 31; BLOCK]);
        for round in 0..5 {
            for block in 0..9 {
                index.insert(block, &key(block));
            }
            for i in 0..9 {
                let block = (i * 4 + round) % 9;
                assert_eq!(index.find(&key(block)), Found::Block(block));
                index.remove(block);
                assert_eq!(index.find(&key(block)), Found::Nothing);
            }
        }
    }
}
