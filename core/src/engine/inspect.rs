//! Accessors for simulators and tests; no host needs them.
use super::Engine;
use super::request::RequestId;
use crate::cache::{BLOCK, BlockId};

impl Engine<'_> {
    /// The blocks that each sequence holds, in order of position: request, choice, blocks.
    pub fn tables(&self) -> impl Iterator<Item = (RequestId, u32, &[BlockId])> {
        self.state.running.as_slice().iter().map(|slot| {
            let sequence = &self.state.sequences[*slot as usize];
            let table = self.state.table_of(*slot);
            (RequestId(sequence.request), sequence.choice, table)
        })
    }

    /// How many sequences hold a block.
    pub fn block_references(&self, block: BlockId) -> u32 {
        self.state.blocks.references(block)
    }

    /// Drops a block that nobody holds from the prefix cache, whatever its age; `false` if it is
    /// not there. Eviction by age drops a block only after all blocks that follow it. Here those
    /// may stay as orphans, which changes later cache hits but no output.
    pub fn forget_block(&mut self, block: BlockId) -> bool {
        self.state.blocks.forget(block)
    }

    /// Checks that blocks are conserved, that the prefix index tells the truth, and that no region
    /// was overrun (in debug builds); names what is wrong.
    pub fn check_invariants(&self) -> Result<(), &'static str> {
        let held =
            |block| self.tables().flat_map(|(_, _, table)| table).filter(|held| **held == block).count();
        if !self.state.blocks.are_conserved(held) {
            return Err("blocks are not conserved");
        }
        for slot in self.state.running.as_slice() {
            let sequence = &self.state.sequences[*slot as usize];
            let table = self.state.table_of(*slot);
            let tokens = self.state.tokens_of(*slot).chunks_exact(BLOCK);
            let mut indexed = table.iter().zip(tokens).take(sequence.indexed as usize);
            if !indexed.all(|(block, ids)| self.state.blocks.ids(*block).is_some_and(|of| of[..] == *ids)) {
                return Err("a block in the prefix index holds other tokens");
            }
        }
        self.guards.check()
    }
}
