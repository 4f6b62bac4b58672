//! Work that takes turns: at most so many at once, the others in the order in which they came.
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::Thread;
use std::time::Duration;

/// How often someone who waits is asked whether it still wants to.
const ASK_EVERY: Duration = Duration::from_millis(100);

/// Turns that are free, and who waits for one.
#[derive(Debug)]
pub struct Turns(Mutex<State>);

#[derive(Debug)]
struct State {
    free: usize,
    /// Whoever came first is in front. While someone waits, no turn is free.
    waiting: VecDeque<Arc<Waiter>>,
}

#[derive(Debug)]
struct Waiter {
    thread: Thread,
    has_turn: AtomicBool,
}

/// A turn; dropping it passes it on.
#[derive(Debug)]
pub struct Turn<'t>(&'t Turns);

impl Turns {
    /// So many turns at once.
    pub fn new(count: usize) -> Self {
        Self(Mutex::new(State { free: count, waiting: VecDeque::new() }))
    }

    /// Waits for a turn; `None` if `is_wanted` says first that it is not wanted any more.
    pub fn wait(&self, is_wanted: impl Fn() -> bool) -> Option<Turn<'_>> {
        let waiter = {
            let mut state = self.state();
            if state.free > 0 {
                state.free -= 1;
                return Some(Turn(self));
            }
            let thread = std::thread::current();
            let waiter = Arc::new(Waiter { thread, has_turn: AtomicBool::new(false) });
            state.waiting.push_back(Arc::clone(&waiter));
            waiter
        };
        loop {
            std::thread::park_timeout(ASK_EVERY);
            if waiter.has_turn.load(Ordering::Acquire) {
                return Some(Turn(self));
            }
            if !is_wanted() {
                self.state().waiting.retain(|other| !Arc::ptr_eq(other, &waiter));
                // Nobody passes a turn to it from now on; one that came in the meantime goes on.
                if waiter.has_turn.load(Ordering::Acquire) {
                    drop(Turn(self));
                }
                return None;
            }
        }
    }

    /// How many wait for a turn now.
    pub fn waiting(&self) -> usize {
        self.state().waiting.len()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let next = {
            let mut state = self.0.state();
            match state.waiting.pop_front() {
                Some(waiter) => {
                    waiter.has_turn.store(true, Ordering::Release);
                    Some(waiter)
                }
                None => {
                    state.free += 1;
                    None
                }
            }
        };
        if let Some(waiter) = next {
            waiter.thread.unpark();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicUsize;

    /// Waits until `count` wait, which is seconds away at most.
    fn until_waiting(turns: &Turns, count: usize) {
        while turns.waiting() != count {
            std::thread::yield_now();
        }
    }

    #[test]
    fn whoever_came_first_goes_first() {
        let turns = Turns::new(1);
        let order = Mutex::new(Vec::new());
        std::thread::scope(|scope| {
            let first = turns.wait(|| true);
            assert!(first.is_some());
            for i in 0..5 {
                let (turns, order) = (&turns, &order);
                scope.spawn(move || {
                    let turn = turns.wait(|| true);
                    order.lock().unwrap().push(i);
                    drop(turn);
                });
                until_waiting(turns, i + 1);
            }
        });
        assert_eq!(*order.lock().unwrap(), [0, 1, 2, 3, 4]);
    }

    #[test]
    fn at_most_so_many_have_a_turn_and_those_who_leave_lose_none() {
        let turns = Turns::new(3);
        let (now, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
        std::thread::scope(|scope| {
            let all = [turns.wait(|| true), turns.wait(|| true), turns.wait(|| true)];
            // It leaves while it waits.
            assert!(turns.wait(|| false).is_none());
            assert_eq!(turns.waiting(), 0);
            for i in 0..40 {
                let (turns, now, most) = (&turns, &now, &most);
                scope.spawn(move || {
                    // Half of them may leave at any time.
                    let Some(_turn) = turns.wait(|| i % 2 == 0) else { return };
                    most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                    std::thread::yield_now();
                    now.fetch_sub(1, Ordering::SeqCst);
                });
            }
            drop(all);
        });
        assert!(most.load(Ordering::SeqCst) <= 3);
        assert_eq!(turns.waiting(), 0);
        assert_eq!(turns.state().free, 3, "every turn came back");
    }
}
