//! Counters of one name and many labels, which come into being when they are first counted.
use crate::runtime::meters::Counter;
use std::sync::OnceLock;

/// Counters by label: found and counted without a lock, and never more than the places that there
/// are. Labels must come from a set that clients cannot extend.
#[derive(Debug)]
pub struct Labelled<L> {
    places: Vec<(OnceLock<L>, Counter)>,
}

impl<L: Copy + PartialEq> Labelled<L> {
    /// Places for `count` labels. What is counted for further labels is lost.
    pub fn new(count: usize) -> Self {
        Self { places: (0..count).map(|_| Default::default()).collect() }
    }

    /// The counter of a label; none where all places are taken.
    fn at(&self, label: L) -> Option<&Counter> {
        self.places.iter().find_map(|(taken, counter)| {
            // Where two threads take a place at once, one of them finds the other's label in it.
            let _ = taken.get().is_none().then(|| taken.set(label));
            (taken.get() == Some(&label)).then_some(counter)
        })
    }

    /// Makes a label known, so that it is read as 0 before it is first counted.
    pub fn declare(&self, label: L) {
        self.add(label, 0);
    }

    /// Adds to a label's count.
    pub fn add(&self, label: L, count: usize) {
        if let Some(counter) = self.at(label) {
            counter.add(count);
        }
    }

    /// All labels that are known, with their counts.
    pub fn read(&self) -> impl Iterator<Item = (L, u64)> {
        self.places.iter().map_while(|(label, counter)| Some((*label.get()?, counter.get())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_counted_by_many_threads() {
        let counters = Labelled::new(8);
        counters.declare("none");
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..500 {
                        ["a", "b", "c"].into_iter().for_each(|label| counters.add(label, 1));
                    }
                });
            }
        });
        let mut read: Vec<_> = counters.read().collect();
        read.sort_unstable();
        assert_eq!(read, [("a", 2000), ("b", 2000), ("c", 2000), ("none", 0)]);
    }

    #[test]
    fn labels_beyond_the_places_take_no_memory() {
        let counters = Labelled::new(2);
        (0..5).for_each(|label| counters.add(label, 1));
        assert_eq!(counters.read().collect::<Vec<_>>(), [(0, 1), (1, 1)]);
    }
}
