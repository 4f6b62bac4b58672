//! A vector over a carved region: its capacity is the region's, its length is its own.
//!
//! The core never allocates, so every table is as long as it can ever become. How much of it is in
//! use belongs to the table, not to whoever fills it: a [`FixedVec`] knows its length, shows only
//! what was put in, and gives a value back that it has no room for. Nothing is dropped silently.
use super::{ArenaError, Carver, Plain};
use core::ops::{Deref, DerefMut};

/// A vector of at most as many items as its region holds; derefs to the slice of those in use.
#[derive(Debug)]
pub struct FixedVec<'s, T> {
    items: &'s mut [T],
    len: usize,
}

impl<'s, T: Plain> FixedVec<'s, T> {
    /// Carves an empty vector with room for `capacity` items.
    pub fn carve(
        carver: &mut impl Carver<'s>,
        region: &'static str,
        capacity: usize,
    ) -> Result<Self, ArenaError> {
        Ok(Self { items: carver.carve(region, capacity)?, len: 0 })
    }

    /// Puts an item at the end; gives it back if the vector is full.
    pub fn push(&mut self, item: T) -> Result<(), T> {
        let Some(place) = self.items.get_mut(self.len) else { return Err(item) };
        *place = item;
        self.len += 1;
        Ok(())
    }

    /// Puts an item before the one at `index` (at most the length) and keeps the order of the
    /// others; gives it back if the vector is full.
    ///
    /// # Panics
    /// If `index` is beyond the length.
    pub fn insert(&mut self, index: usize, item: T) -> Result<(), T> {
        assert!(index <= self.len, "an index beyond the end of a vector");
        self.push(item)?;
        self[index..].rotate_right(1);
        Ok(())
    }

    /// Takes out the item at `index`; the order of the others stays.
    ///
    /// # Panics
    /// If there is no such item.
    pub fn remove(&mut self, index: usize) -> T {
        let item = self[index];
        self.items.copy_within(index + 1..self.len, index);
        self.len -= 1;
        item
    }

    /// Keeps the items for which `keep` holds, in their order.
    pub fn retain(&mut self, keep: impl Fn(&T) -> bool) {
        let mut kept = 0;
        for i in 0..self.len {
            if keep(&self.items[i]) {
                self.items[kept] = self.items[i];
                kept += 1;
            }
        }
        self.len = kept;
    }

    /// Drops all elements; the room stays.
    pub fn clear(&mut self) {
        self.len = 0;
    }

    /// Empties the vector and lends what it held, which stays in place until the next push.
    pub fn take(&mut self) -> &mut [T] {
        let len = core::mem::take(&mut self.len);
        &mut self.items[..len]
    }
}

impl<T> Deref for FixedVec<'_, T> {
    type Target = [T];

    #[inline(always)]
    fn deref(&self) -> &[T] {
        &self.items[..self.len]
    }
}

impl<T> DerefMut for FixedVec<'_, T> {
    #[inline(always)]
    fn deref_mut(&mut self) -> &mut [T] {
        &mut self.items[..self.len]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::Arena;
    use crate::model::tests::Memory;
    use proptest::prelude::*;
    use std::vec::Vec;

    #[derive(Clone, Debug)]
    enum Operation {
        Push(u32),
        Insert(usize, u32),
        Remove(usize),
        RetainOdd,
        Take,
        Clear,
    }

    fn operation() -> impl Strategy<Value = Operation> {
        prop_oneof![
            4 => any::<u32>().prop_map(Operation::Push),
            4 => (0_usize..6, any::<u32>()).prop_map(|(index, item)| Operation::Insert(index, item)),
            2 => (0_usize..6).prop_map(Operation::Remove),
            1 => Just(Operation::RetainOdd),
            1 => Just(Operation::Take),
            1 => Just(Operation::Clear),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200))]
        #[test]
        fn it_does_what_a_growing_vector_does_until_it_is_full(
            operations in prop::collection::vec(operation(), 0..60), capacity in 0_usize..6,
        ) {
            let mut memory = Memory::new(1024);
            let mut arena = Arena::new(memory.bytes(1024)).unwrap();
            let mut fixed = FixedVec::<u32>::carve(&mut arena, "numbers", capacity).unwrap();
            let mut grown = Vec::new();
            for operation in operations {
                let is_full = grown.len() == capacity;
                match operation {
                    Operation::Push(item) if is_full => prop_assert_eq!(fixed.push(item), Err(item)),
                    Operation::Push(item) => {
                        prop_assert_eq!(fixed.push(item), Ok(()));
                        grown.push(item);
                    }
                    Operation::Insert(index, item) => {
                        let index = index.min(grown.len());
                        let inserted = fixed.insert(index, item);
                        prop_assert_eq!(inserted, if is_full { Err(item) } else { Ok(()) });
                        if !is_full {
                            grown.insert(index, item);
                        }
                    }
                    Operation::Remove(index) if index < grown.len() => {
                        prop_assert_eq!(fixed.remove(index), grown.remove(index));
                    }
                    Operation::Remove(_) => {}
                    Operation::RetainOdd => {
                        fixed.retain(|item| item % 2 == 1);
                        grown.retain(|item| item % 2 == 1);
                    }
                    Operation::Take => prop_assert_eq!(&fixed.take()[..], &core::mem::take(&mut grown)[..]),
                    Operation::Clear => {
                        fixed.clear();
                        grown.clear();
                    }
                }
                prop_assert_eq!(&fixed[..], &grown[..]);
            }
        }
    }
}
