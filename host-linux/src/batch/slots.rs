//! Places for lines that are answered at once. Batches that run side by side share them: the next
//! place is that of the batch which has the fewest, so that none keeps another from going on.
use super::answerer::Stop;
use std::collections::BTreeMap;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How often a line that waits for a place asks whether it is still wanted.
const ASK_EVERY: Duration = Duration::from_millis(100);

/// The places of all lanes.
#[derive(Debug)]
pub struct Slots {
    max: usize,
    state: Mutex<State>,
    /// Told when a place is free, or a line gives up waiting for one.
    freed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// Places that are taken.
    taken: usize,
    lanes: BTreeMap<usize, Use>,
    next_lane: usize,
}

/// What a lane has, and wants.
#[derive(Clone, Copy, Debug, Default)]
struct Use {
    held: usize,
    waiting: usize,
}

/// A batch that shares places with others.
#[derive(Debug)]
pub struct Lane<'s> {
    slots: &'s Slots,
    number: usize,
}

/// A place; dropping it frees it.
#[derive(Debug)]
pub struct Slot<'l> {
    lane: &'l Lane<'l>,
}

impl Slots {
    /// So many places, at least one.
    pub fn new(max: usize) -> Self {
        Self { max: max.max(1), state: Mutex::default(), freed: Condvar::new() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A lane for one batch more.
    pub fn lane(&self) -> Lane<'_> {
        let mut state = self.state();
        let number = state.next_lane;
        state.next_lane += 1;
        state.lanes.insert(number, Use::default());
        Lane { slots: self, number }
    }
}

impl State {
    fn of(&mut self, lane: usize) -> &mut Use {
        self.lanes.entry(lane).or_default()
    }

    /// Whether no lane that waits has fewer places than this one.
    fn is_next(&self, lane: usize) -> bool {
        let held = self.lanes.get(&lane).map_or(0, |own| own.held);
        self.lanes.values().filter(|other| other.waiting > 0).all(|other| held <= other.held)
    }
}

impl Lane<'_> {
    /// The places that it has where no other batch runs.
    pub fn max(&self) -> usize {
        self.slots.max
    }

    /// Waits for a place; none if nothing more is wanted.
    pub fn take(&self, stop: &Stop) -> Option<Slot<'_>> {
        let mut state = self.slots.state();
        state.of(self.number).waiting += 1;
        let max = self.slots.max;
        while !(stop.is_set() || state.taken < max && state.is_next(self.number)) {
            let waited = self.slots.freed.wait_timeout(state, ASK_EVERY);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        let own = state.of(self.number);
        own.waiting -= 1;
        let is_wanted = !stop.is_set();
        if is_wanted {
            own.held += 1;
            state.taken += 1;
        }
        drop(state);
        // Another lane may be the one with the fewest now.
        self.slots.freed.notify_all();
        is_wanted.then(|| Slot { lane: self })
    }
}

impl Drop for Slot<'_> {
    fn drop(&mut self) {
        let Lane { slots, number } = self.lane;
        let mut state = slots.state();
        state.of(*number).held -= 1;
        state.taken -= 1;
        drop(state);
        slots.freed.notify_all();
    }
}

impl Drop for Lane<'_> {
    fn drop(&mut self) {
        self.slots.state().lanes.remove(&self.number);
        self.slots.freed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_free_place_is_for_the_lane_that_has_the_fewest() {
        let (slots, stop) = (Slots::new(3), Stop::default());
        let (many, few) = (slots.lane(), slots.lane());
        let mut held: Vec<_> = (0..3).map(|_| many.take(&stop).expect("it is wanted")).collect();
        std::thread::scope(|scope| {
            let waits = |lane, is_it| {
                while (slots.state().of(lane).waiting > 0) != is_it {
                    std::thread::yield_now();
                }
            };
            let more = scope.spawn(|| many.take(&stop).is_some());
            waits(0, true);
            let first = scope.spawn(|| few.take(&stop).map(std::mem::forget).is_some());
            waits(1, true);
            held.pop();
            assert!(first.join().expect("no panic"), "it came later and has none");
            let waiting = slots.state().of(0).waiting;
            assert_eq!((waiting, slots.state().taken), (1, 3));
            stop.set();
            assert!(!more.join().expect("no panic"), "it is not wanted any more");
        });
        drop(held);
        assert_eq!(slots.state().taken, 1);
    }
}
