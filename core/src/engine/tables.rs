//! The shapes of the engine's tables: one row for each slot, and lists of slots in order.
//!
//! A *slot* is an index into the table of sequences, and names the same row in every other table
//! and in the block tables that the model reads. Tables whose length changes are
//! [`FixedVec`]s.
use super::sequence::Sequence;
use crate::memory::{ArenaError, Carver, FixedVec, Plain};

/// A table with one row of cells for each slot: `[slots, stride]`.
#[derive(Debug)]
pub(super) struct SlotTable<'s, T> {
    cells: &'s mut [T],
    stride: usize,
}

impl<'s, T: Plain> SlotTable<'s, T> {
    /// Carves a table of zeros.
    pub(super) fn carve(
        carver: &mut impl Carver<'s>,
        region: &'static str,
        slots: usize,
        stride: usize,
    ) -> Result<Self, ArenaError> {
        let count = slots.checked_mul(stride).ok_or(ArenaError::TooLarge { region })?;
        Ok(Self { cells: carver.carve(region, count)?, stride })
    }

    /// The row of a slot, `[stride]`.
    pub(super) fn of(&self, slot: u32) -> &[T] {
        &self.cells[slot as usize * self.stride..][..self.stride]
    }

    /// The row of a slot, to be written.
    pub(super) fn of_mut(&mut self, slot: u32) -> &mut [T] {
        &mut self.cells[slot as usize * self.stride..][..self.stride]
    }

    /// All rows, one after the other.
    pub(super) fn cells(&self) -> &[T] {
        self.cells
    }
}

/// Slots of running or of waiting sequences, in the order of [`Sequence::key`].
#[derive(Debug)]
pub(super) struct SlotList<'s> {
    slots: FixedVec<'s, u32>,
}

impl<'s> SlotList<'s> {
    /// Carves an empty list with room for every slot.
    pub(super) fn carve(
        carver: &mut impl Carver<'s>,
        region: &'static str,
        slots: usize,
    ) -> Result<Self, ArenaError> {
        Ok(Self { slots: FixedVec::carve(carver, region, slots)? })
    }

    pub(super) fn as_slice(&self) -> &[u32] {
        &self.slots
    }

    pub(super) fn len(&self) -> usize {
        self.slots.len()
    }

    /// Inserts a slot at the place that its sequence's key gives it.
    pub(super) fn insert(&mut self, slot: u32, sequences: &[Sequence]) {
        let key = sequences[slot as usize].key();
        let at = self.slots.partition_point(|other| sequences[*other as usize].key() < key);
        self.slots.insert(at, slot).expect("a slot stands in a list at most once");
    }

    /// Takes a slot out, if it is there.
    pub(super) fn remove(&mut self, slot: u32) {
        self.slots.retain(|other| *other != slot);
    }
}
