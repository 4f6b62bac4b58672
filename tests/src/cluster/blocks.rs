//! The KV blocks of one replica: those of running sequences, and prefixes that are kept.
//!
//! A sequence begins with a *system chain*, the blocks of a system prompt that many conversations
//! share, and goes on with the *conversation chain*. A chain keeps blocks from its start. Chains
//! that a running sequence holds are pinned; of the others the one that was used longest ago loses
//! its last blocks first. A system chain is unpinned after the conversations behind it, so it is
//! never evicted before them.
use std::collections::{BTreeMap, HashMap};

/// Names a chain within a fingerprint: a system prompt or a conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Chain {
    /// A system prompt, by number.
    System(u32),
    /// A conversation, by number.
    Conversation(u32),
}

#[derive(Debug, Default)]
struct Kept {
    blocks: u32,
    pins: u32,
    /// When it was used last; its place in the order.
    tick: u64,
}

/// The blocks of one replica. `own + kept <= capacity` always.
#[derive(Debug)]
pub(super) struct Blocks {
    capacity: u32,
    /// Blocks that running sequences hold for themselves.
    own: u32,
    /// Blocks of all chains.
    kept: u32,
    chains: HashMap<Chain, Kept>,
    /// Chains that nobody pins, by when they were used.
    order: BTreeMap<u64, Chain>,
    tick: u64,
}

impl Blocks {
    /// So many blocks, all free.
    pub(super) fn new(capacity: u32) -> Self {
        Self { capacity, own: 0, kept: 0, chains: HashMap::new(), order: BTreeMap::new(), tick: 0 }
    }

    /// The blocks that a chain keeps now.
    pub(super) fn held(&self, chain: Chain) -> u32 {
        self.chains.get(&chain).map_or(0, |kept| kept.blocks)
    }

    /// Holds a chain, so that it loses no block until [`Blocks::unpin`].
    pub(super) fn pin(&mut self, chain: Chain) {
        let kept = self.chains.entry(chain).or_default();
        kept.pins += 1;
        self.order.remove(&kept.tick);
    }

    /// Lets a chain go; it is now the one that was used last.
    pub(super) fn unpin(&mut self, chain: Chain) {
        let Some(kept) = self.chains.get_mut(&chain) else { return };
        kept.pins = kept.pins.saturating_sub(1);
        if kept.pins > 0 {
            return;
        }
        if kept.blocks == 0 {
            self.chains.remove(&chain);
            return;
        }
        self.tick += 1;
        kept.tick = self.tick;
        self.order.insert(self.tick, chain);
    }

    /// Takes blocks for a sequence, free ones and then evicted ones. Takes none and says `false`
    /// if there are not so many.
    pub(super) fn take(&mut self, count: u32) -> bool {
        let free = self.capacity - self.own - self.kept;
        if count > free && !self.evict(count - free) {
            return false;
        }
        self.own += count;
        true
    }

    /// Gives a sequence's own blocks back.
    pub(super) fn give(&mut self, count: u32) {
        self.own = self.own.saturating_sub(count);
    }

    /// Lets a pinned chain keep `blocks` blocks, from a sequence's own. Returns how many of the
    /// sequence's own became the chain's: none where it has them from somebody else.
    pub(super) fn publish(&mut self, chain: Chain, blocks: u32) -> u32 {
        let Some(kept) = self.chains.get_mut(&chain) else { return 0 };
        let moved = blocks.saturating_sub(kept.blocks);
        kept.blocks += moved;
        self.kept += moved;
        self.own -= moved;
        moved
    }

    /// What is in use by sequences, and in all: for checks.
    pub(super) fn in_use(&self) -> (u32, u32) {
        (self.own, self.own + self.kept)
    }

    /// How many there are.
    pub(super) fn capacity(&self) -> u32 {
        self.capacity
    }

    /// Frees this many blocks of chains that nobody pins, or none and says `false`.
    fn evict(&mut self, count: u32) -> bool {
        let (mut rest, mut last) = (count, None);
        for (tick, chain) in &self.order {
            rest = rest.saturating_sub(self.chains[chain].blocks);
            last = Some(*tick);
            if rest == 0 {
                break;
            }
        }
        let (Some(last), 0) = (last, rest) else { return count == 0 };
        let mut rest = count;
        while let Some(entry) = self.order.first_entry().filter(|entry| *entry.key() <= last) {
            let kept = self.chains.get_mut(entry.get()).expect("the order names chains");
            let lost = rest.min(kept.blocks);
            kept.blocks -= lost;
            self.kept -= lost;
            rest -= lost;
            if kept.blocks > 0 {
                break;
            }
            self.chains.remove(&entry.remove());
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_unused_chain_loses_its_tail() {
        let mut blocks = Blocks::new(10);
        for conversation in 0..2 {
            let chain = Chain::Conversation(conversation);
            blocks.pin(chain);
            assert!(blocks.take(4));
            assert_eq!(blocks.publish(chain, 4), 4);
            blocks.unpin(chain);
        }
        assert_eq!(blocks.in_use(), (0, 8));
        // Two are free; three more are taken from the end of the older chain.
        assert!(blocks.take(5));
        assert_eq!((blocks.held(Chain::Conversation(0)), blocks.held(Chain::Conversation(1))), (1, 4));
        // A pinned chain is not touched, and a request that cannot be met takes nothing.
        blocks.pin(Chain::Conversation(1));
        assert!(!blocks.take(2));
        assert_eq!(blocks.in_use(), (5, 10));
        assert!(blocks.take(1));
        blocks.give(6);
        assert_eq!(blocks.in_use(), (0, 4));
    }

    #[test]
    fn a_chain_that_is_there_already_takes_nothing_from_the_sequence() {
        let mut blocks = Blocks::new(8);
        let chain = Chain::System(1);
        blocks.pin(chain);
        blocks.pin(chain);
        assert!(blocks.take(3) && blocks.take(3));
        assert_eq!((blocks.publish(chain, 3), blocks.publish(chain, 3)), (3, 0));
        blocks.give(3);
        blocks.unpin(chain);
        assert!(!blocks.take(6), "one sequence still pins the chain");
        blocks.unpin(chain);
        assert!(blocks.take(6));
        assert_eq!((blocks.held(chain), blocks.in_use()), (2, (6, 8)));
    }
}
