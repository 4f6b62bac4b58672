//! The loss of a device: with it, the contents of all KV blocks are lost.
use super::Engine;
use super::event::{Record, RecordKind};
use crate::cache::BlockId;

impl Engine<'_> {
    /// Ends all sequences that run and forgets the contents of all blocks, so that the next step
    /// may have another runner. Sequences that wait hold no blocks, and are as they were.
    pub(super) fn lose_device(&mut self) {
        while let Some(slot) = self.state.running.as_slice().first().copied() {
            let sequence = self.state.sequences[slot as usize];
            self.push_event(Record::of(&sequence, RecordKind::DeviceLost));
            self.state.free(slot);
        }
        for block in 0..self.state.blocks.count() as BlockId {
            self.forget_block(block);
        }
        self.drafts_in_a_row = 0;
    }
}
