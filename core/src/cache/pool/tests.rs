//! The pool alone, under sequences that begin, share, grow, publish and end in any order, over
//! planes that hold one number for each position.
use super::*;
use crate::memory::Arena;
use crate::model::tests::Memory;
use proptest::prelude::*;
use std::collections::BTreeSet;
use std::vec;
use std::vec::Vec;

/// The states of the drawing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Empty,
    Held,
    Findable,
    Cached,
}
use State::{Cached, Empty, Findable, Held};

/// A change of one block's state, and whether it begins a new generation.
type Transition = (State, State, bool);
const TAKE: [Transition; 2] = [(Empty, Held, true), (Cached, Held, true)];
const SHARE: [Transition; 1] = [(Cached, Findable, false)];
const RELEASE: [Transition; 2] = [(Held, Empty, false), (Findable, Cached, false)];
const PUBLISH: [Transition; 3] = [(Held, Findable, false), (Held, Empty, false), (Cached, Findable, false)];
const MAKE_WRITABLE: [Transition; 3] = [(Empty, Held, true), (Cached, Held, true), (Findable, Cached, false)];
const FORGET: [Transition; 1] = [(Cached, Empty, false)];

/// A sequence as far as its blocks are concerned.
#[derive(Debug)]
struct Sequence {
    salt: u64,
    tokens: Vec<u32>,
    blocks: Vec<BlockId>,
    /// Positions that are written.
    computed: usize,
    /// Positions that the next step will write.
    planned: usize,
    published: usize,
}

/// What stands at the last of these positions: a number that names all tokens up to it.
fn content(salt: u64, tokens: &[u32]) -> u64 {
    tokens.iter().fold(salt + 1, |hash, token| (hash ^ u64::from(*token)).wrapping_mul(0x9e37_79b9_7f4a_7c15))
}

struct World<'s> {
    pool: BlockPool<'s>,
    /// `[blocks][16]`, as the planes would hold them.
    planes: Vec<[u64; BLOCK]>,
    sequences: Vec<Sequence>,
    revivals: usize,
    copies: usize,
    merges: usize,
}

impl<'s> World<'s> {
    fn new(pool: BlockPool<'s>) -> Self {
        let planes = vec![[u64::MAX; BLOCK]; pool.count()];
        World { pool, planes, sequences: vec![], revivals: 0, copies: 0, merges: 0 }
    }

    fn states(&self) -> Vec<(State, u32)> {
        let state = |block| match (self.pool.references(block) > 0, self.pool.ids(block).is_some()) {
            (false, false) => Empty,
            (true, false) => Held,
            (true, true) => Findable,
            (false, true) => Cached,
        };
        (0..self.pool.count() as u32)
            .map(|block| (state(block), self.pool.blocks.generation(block)))
            .collect()
    }

    /// One call of the pool, which may make only these transitions.
    fn call<R>(&mut self, allowed: &[Transition], call: impl FnOnce(&mut BlockPool<'s>) -> R) -> R {
        let before = self.states();
        let result = call(&mut self.pool);
        for (block, (before, after)) in before.into_iter().zip(self.states()).enumerate() {
            let change = (before.0, after.0, after.1 != before.1);
            assert!(before == after || allowed.contains(&change), "block {block}: {change:?}");
            assert!(after.1 == before.1 || after.1 == before.1 + 1);
        }
        result
    }

    /// A new sequence over what of its tokens can be found, and over a part of a block of another
    /// sequence that has computed more of them.
    fn begin(&mut self, salt: u64, tokens: Vec<u32>) {
        let mut blocks: Vec<BlockId> = vec![];
        let mut found = 0;
        for full in tokens.chunks_exact(BLOCK) {
            let key = self.pool.key(blocks.last().copied(), salt, full);
            let Found::Block(block) = self.pool.find(&key) else { break };
            found += BLOCK;
            assert_eq!(self.planes[block as usize][BLOCK - 1], content(salt, &tokens[..found]));
            blocks.push(block);
        }
        let mut computed = found.min(tokens.len() - 1);
        let published = computed / BLOCK;
        let common = |other: &Sequence| {
            let both = tokens.iter().zip(&other.tokens[..other.computed]);
            both.take_while(|(a, b)| a == b).count().min(found + BLOCK).min(tokens.len() - 1)
        };
        let donor = self.sequences.iter().filter(|other| other.salt == salt).find(|other| {
            let block = other.blocks.get(found / BLOCK);
            common(other) > computed && block.is_some_and(|block| !self.pool.awaits_copy(*block))
        });
        if let Some(donor) = donor {
            computed = common(donor);
            blocks.push(donor.blocks[found / BLOCK]);
        }
        for block in &blocks {
            self.revivals += usize::from(self.call(&SHARE, |pool| pool.share(*block)));
        }
        self.sequences.push(Sequence { salt, tokens, blocks, computed, planned: 0, published });
    }

    /// Plans up to `count` more positions of a sequence, as far as there are blocks for them.
    fn plan(&mut self, at: usize, count: usize) {
        let (computed, len) = (self.sequences[at].computed, self.sequences[at].tokens.len());
        let wanted = (computed + count).min(len);
        if wanted == computed {
            return;
        }
        if !computed.is_multiple_of(BLOCK) {
            let own = self.sequences[at].blocks[computed / BLOCK];
            let Some(block) = self.call(&MAKE_WRITABLE, |pool| pool.make_writable(own)) else {
                return assert_eq!(self.pool.free_count(), 0, "a copy has to wait only for a block");
            };
            self.copies += usize::from(block != own);
            self.sequences[at].blocks[computed / BLOCK] = block;
        }
        while self.sequences[at].blocks.len() * BLOCK < wanted {
            let Some(block) = self.call(&TAKE, BlockPool::take) else {
                assert_eq!(self.pool.free_count(), 0, "a block was refused though there are some");
                break;
            };
            assert!(self.pool.pending_work().fresh.contains(&block));
            self.sequences[at].blocks.push(block);
        }
        let sequence = &mut self.sequences[at];
        sequence.planned = wanted.min(sequence.blocks.len() * BLOCK) - computed;
    }

    /// The step: the pending work, what is planned, and the publishing of full blocks.
    fn run(&mut self) {
        let PendingWork { copies, fresh } = self.pool.pending_work();
        for copy in copies {
            self.planes[copy.to as usize] = self.planes[copy.from as usize];
        }
        for block in fresh {
            self.planes[*block as usize] = [0; BLOCK];
        }
        self.pool.finish_work();
        for sequence in &mut self.sequences {
            for position in sequence.computed..sequence.computed + sequence.planned {
                let block = sequence.blocks[position / BLOCK] as usize;
                self.planes[block][position % BLOCK] = content(sequence.salt, &sequence.tokens[..=position]);
            }
            sequence.computed += core::mem::take(&mut sequence.planned);
        }
        for at in 0..self.sequences.len() {
            while (self.sequences[at].published + 1) * BLOCK <= self.sequences[at].computed {
                let sequence = &self.sequences[at];
                let i = sequence.published;
                let before = i.checked_sub(1).map(|before| sequence.blocks[before]);
                let tokens = &sequence.tokens[i * BLOCK..][..BLOCK];
                let key = self.pool.key(before, sequence.salt, tokens);
                let own = sequence.blocks[i];
                let block = self.call(&PUBLISH, |pool| pool.publish(own, &key));
                self.merges += usize::from(block != own);
                self.sequences[at].blocks[i] = block;
                self.sequences[at].published += 1;
            }
        }
        for Sequence { salt, tokens, blocks, computed, .. } in &self.sequences {
            for position in 0..*computed {
                let found = self.planes[blocks[position / BLOCK] as usize][position % BLOCK];
                assert_eq!(found, content(*salt, &tokens[..=position]), "position {position} of {tokens:?}");
            }
        }
    }

    fn end(&mut self, at: usize) {
        let sequence = self.sequences.swap_remove(at);
        for block in sequence.blocks.into_iter().rev() {
            self.call(&RELEASE, |pool| pool.release(block));
        }
    }

    fn check(&self) {
        let held =
            |block| self.sequences.iter().flat_map(|s| &s.blocks).filter(|held| **held == block).count();
        assert!(self.pool.are_conserved(held));
        let PendingWork { copies, fresh } = self.pool.pending_work();
        let pending: Vec<BlockId> = copies.iter().map(|copy| copy.to).chain(fresh.iter().copied()).collect();
        assert_eq!(pending.iter().collect::<BTreeSet<_>>().len(), pending.len(), "twice in the lists");
        assert!(pending.iter().all(|block| self.states()[*block as usize].0 == Held));
        assert!(pending.iter().all(|block| self.pool.references(*block) == 1));
    }
}

#[derive(Clone, Debug)]
enum Operation {
    /// Salt, which of the lists of tokens that share beginnings, and its length.
    Begin(u64, usize, usize),
    /// Which sequence, and positions.
    Plan(usize, usize),
    Run,
    End(usize),
    Forget(u32),
}

fn operation() -> impl Strategy<Value = Operation> {
    let len = prop_oneof![1_usize..60, Just(16), Just(32), Just(48)];
    let salt = prop_oneof![5 => Just(0_u64), 1 => Just(1)];
    prop_oneof![
        4 => (salt, 0_usize..4, len).prop_map(|(salt, variant, len)| Operation::Begin(salt, variant, len)),
        8 => (any::<usize>(), 1_usize..40).prop_map(|(at, count)| Operation::Plan(at, count)),
        6 => Just(Operation::Run),
        3 => any::<usize>().prop_map(Operation::End),
        1 => (0_u32..9).prop_map(Operation::Forget),
    ]
}

/// Token ids, of which two variants have the first 5, 21 or 37 in common.
fn tokens(variant: usize, len: usize) -> Vec<u32> {
    let own = [0, 5, 21, 37][variant];
    (0..len)
        .map(|i| if variant > 0 && i >= own { variant as u32 * 100 + i as u32 } else { i as u32 })
        .collect()
}

fn drive(operations: Vec<Operation>, count: usize) -> [usize; 3] {
    let mut memory = Memory::new(1 << 14);
    let mut arena = Arena::new(memory.bytes(1 << 14)).unwrap();
    let mut world = World::new(BlockPool::carve(&mut arena, count).unwrap());
    for operation in operations {
        let live = world.sequences.len();
        match operation {
            Operation::Begin(salt, variant, len) if live < 5 => world.begin(salt, tokens(variant, len)),
            Operation::Plan(at, count) if live > 0 => world.plan(at % live, count),
            Operation::Run => world.run(),
            Operation::End(at) if live > 0 => world.end(at % live),
            Operation::Forget(block) if (block as usize) < count => {
                world.call(&FORGET, |pool| pool.forget(block));
            }
            _ => {}
        }
        world.check();
    }
    world.run();
    while !world.sequences.is_empty() {
        world.end(0);
    }
    world.check();
    assert_eq!(world.pool.free_count(), count);
    [world.revivals, world.copies, world.merges]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]
    #[test]
    fn a_block_holds_the_tokens_of_all_its_holders_and_moves_only_as_drawn(
        operations in prop::collection::vec(operation(), 0..80), count in 1_usize..9,
    ) {
        drive(operations, count);
    }
}

#[test]
fn revivals_copies_and_merges_are_reached() {
    use Operation::{Begin, End, Plan, Run};
    // Both compute the first two blocks at the same time: the second's are merged with the first's.
    let twice = vec![Begin(0, 0, 40), Begin(0, 0, 40), Plan(0, 40), Plan(1, 40), Run];
    assert_eq!(drive(twice, 8), [0, 0, 2]);
    // The second shares half of the first one's last block, and copies it to go on.
    let copied = vec![Begin(0, 0, 40), Plan(0, 25), Run, Begin(0, 0, 40), Plan(1, 40), Run];
    assert_eq!(drive(copied, 8), [0, 1, 0]);
    // The first is gone; its full blocks are not.
    let revived = vec![Begin(0, 0, 40), Plan(0, 40), Run, End(0), Begin(0, 0, 40), Plan(0, 40), Run];
    assert_eq!(drive(revived, 8), [2, 0, 0]);
}

#[test]
fn an_empty_block_is_taken_before_a_cached_one_and_that_by_age() {
    let mut memory = Memory::new(1 << 14);
    let mut arena = Arena::new(memory.bytes(1 << 14)).unwrap();
    let mut pool = BlockPool::carve(&mut arena, 4).unwrap();
    let taken = [(); 4].map(|()| pool.take().unwrap());
    assert_eq!((taken, pool.take()), ([0, 1, 2, 3], None));
    pool.finish_work();
    let key = |pool: &BlockPool<'_>, id| pool.key(None, 0, &[id; BLOCK]);
    for block in [1, 2] {
        let key = key(&pool, block);
        assert_eq!(pool.publish(block, &key), block);
    }
    for block in [2, 1, 3, 0] {
        pool.release(block);
    }
    // Empty: 0 and 3, the latest first. Cached: 2, then 1.
    let key_of_1 = key(&pool, 1);
    assert_eq!(pool.find(&key_of_1), Found::Block(1));
    assert_eq!([(); 4].map(|()| pool.take().unwrap()), [0, 3, 2, 1]);
    assert_eq!(pool.find(&key_of_1), Found::Nothing);
}

#[test]
fn what_is_released_before_its_step_leaves_no_work_behind() {
    let mut memory = Memory::new(1 << 14);
    let mut arena = Arena::new(memory.bytes(1 << 14)).unwrap();
    let mut pool = BlockPool::carve(&mut arena, 3).unwrap();
    let shared = pool.take().unwrap();
    pool.finish_work();
    pool.share(shared);
    let fresh = pool.take().unwrap();
    let copy = pool.make_writable(shared).unwrap();
    assert_eq!(pool.pending_work().fresh, [fresh]);
    assert_eq!(pool.pending_work().copies, [BlockCopy { from: shared, to: copy }]);
    assert!(pool.awaits_copy(copy) && !pool.awaits_copy(shared));
    // One more holder wants a copy, and there is no block for it: it keeps what it has.
    pool.share(shared);
    assert_eq!((pool.make_writable(shared), pool.references(shared)), (None, 2));
    pool.release(copy);
    pool.release(fresh);
    assert_eq!(pool.pending_work(), PendingWork { copies: &[], fresh: &[] });
}

#[test]
#[cfg(debug_assertions)]
#[should_panic(expected = "an empty block is not shared")]
fn a_block_without_contents_cannot_be_shared() {
    let mut memory = Memory::new(1 << 14);
    let mut arena = Arena::new(memory.bytes(1 << 14)).unwrap();
    BlockPool::carve(&mut arena, 2).unwrap().share(1);
}
