//! The protocol under `loom`, which runs it in every order that the memory model allows: each task
//! runs once, what tasks write is seen, no thread sleeps for ever.
//!
//! `protocol.rs` and `ranges.rs` are compiled here once more, over `loom`'s atomics. A futex is
//! modelled as the kernel has it: comparing and going to sleep are one step for those who wake.
//! A spin takes the number of turns that the model says, so that both ways of waiting are checked.
//!
//! Mistakes that were planted by hand make the models of an ordinary test run fail: `Relaxed` in
//! `deal`, `claim`, `report` and each acquire of `join`; a caller that does not wait, that sleeps
//! without its bit, or on a word that it made after it looked; a report or a stop that does not
//! wake; a report before the task has run; ranges dealt before the job or the count is written; a
//! claim that is not one step. `loom` treats sequentially consistent operations as acquire and
//! release, so point 6 of the protocol's memory order is argued there, not checked here.

#[allow(clippy::duplicate_mod)] // on purpose, as said above
#[path = "protocol.rs"]
mod protocol;
#[allow(clippy::duplicate_mod)]
#[path = "ranges.rs"]
mod ranges;

mod atomics {
    pub(super) use loom::sync::atomic::{AtomicU32, AtomicU64, Ordering};

    /// `loom` reports a read or write that is not ordered after a write.
    #[derive(Debug)]
    pub(super) struct Slot<T>(loom::cell::UnsafeCell<T>);

    impl<T: Copy> Slot<T> {
        pub(super) fn new(value: T) -> Self {
            Self(loom::cell::UnsafeCell::new(value))
        }

        pub(super) unsafe fn read(&self) -> T {
            // SAFETY: `loom` checks what the caller promises.
            self.0.with(|value| unsafe { *value })
        }

        pub(super) unsafe fn write(&self, new: T) {
            // SAFETY: as above.
            self.0.with_mut(|value| unsafe { *value = new });
        }
    }

    std::thread_local! {
        /// The turns of each spin. `loom` runs all threads of a model on the thread of its test.
        pub(super) static SPIN_TURNS: std::cell::Cell<u32> = const { std::cell::Cell::new(0) };
    }

    #[derive(Debug, Default)]
    pub(super) struct Spin(u32);

    impl Spin {
        pub(super) fn again(&mut self) -> bool {
            self.0 += 1;
            let is_spinning = self.0 <= SPIN_TURNS.get();
            if is_spinning {
                loom::thread::yield_now();
            }
            is_spinning
        }
    }
}

mod futex {
    use loom::sync::atomic::{AtomicU32, Ordering};
    use loom::sync::{Condvar, Mutex};
    use std::collections::HashMap;

    loom::lazy_static! {
        /// How often each word was woken.
        static ref WAKES: (Mutex<HashMap<usize, usize>>, Condvar) = (Mutex::new(HashMap::new()), Condvar::new());
    }

    fn address(word: &AtomicU32) -> usize {
        std::ptr::from_ref(word).addr()
    }

    pub(super) fn wait(word: &AtomicU32, expected: u32) {
        let mut wakes = WAKES.0.lock().unwrap();
        if word.load(Ordering::Relaxed) != expected {
            return;
        }
        let before = wakes.get(&address(word)).copied();
        while wakes.get(&address(word)).copied() == before {
            wakes = WAKES.1.wait(wakes).unwrap();
        }
    }

    pub(super) fn wake(word: &AtomicU32, _count: usize) {
        *WAKES.0.lock().unwrap().entry(address(word)).or_default() += 1;
        WAKES.1.notify_all();
    }
}

use atomics::{SPIN_TURNS, Slot};
use loom::sync::Arc;
use protocol::Protocol;

/// The runs of a caller: in each, task `i` adds to its own sum what all sums were a run before.
struct World {
    protocol: Protocol<usize>,
    /// `[run][task]`; run 0 was before the first.
    sums: Vec<Vec<Slot<usize>>>,
}

impl World {
    fn run_task(&self, run: usize, task: usize) {
        // SAFETY: what the model is to prove; `loom` checks each access.
        unsafe {
            let before: usize = self.sums[run - 1].iter().map(|sum| sum.read()).sum();
            let sum = &self.sums[run][task];
            sum.write(sum.read() + before + 1);
        }
    }

    fn serve(&self, worker: usize, mut seen: u32) {
        while let Some(published) = self.protocol.await_run(seen) {
            seen = published;
            let count = self.protocol.work(worker, |run, task| self.run_task(run, task));
            self.protocol.report(count);
        }
    }
}

/// What a model plays.
#[derive(Clone, Copy)]
struct Play {
    /// The caller among them.
    workers: usize,
    /// Tasks of each run.
    tasks: usize,
    /// For each run, whether sleeping workers are woken.
    wakes: &'static [bool],
    /// Turns of each spin; without any, every wait goes through sleep.
    spin_turns: u32,
    /// How often threads are preempted in an execution. Most mistakes of a protocol show with two
    /// preemptions; each further one takes many times as long.
    preemptions: usize,
}

const TWO_RUNS: Play = Play { workers: 2, tasks: 2, wakes: &[true, true], spin_turns: 0, preemptions: 2 };

impl Play {
    /// Plays in every order.
    fn check(self) {
        SPIN_TURNS.set(self.spin_turns);
        let mut builder = loom::model::Builder::new();
        builder.preemption_bound = Some(self.preemptions);
        builder.check(move || self.run());
    }

    /// Plays once. The last run's number is the first after the wrap-around of `published`.
    fn run(self) {
        let slots = |count| (0..count).map(|_| Slot::new(0)).collect();
        let sums = (0..=self.wakes.len()).map(|run| slots(if run == 0 { 0 } else { self.tasks })).collect();
        let protocol = Protocol::new(self.workers, 0);
        let seen = protocol.skip_runs((1 << 31) - self.wakes.len() as u32);
        let world = Arc::new(World { protocol, sums });
        let threads: Vec<_> = (1..self.workers)
            .map(|worker| {
                let world = Arc::clone(&world);
                loom::thread::spawn(move || world.serve(worker, seen))
            })
            .collect();
        let mut expected = 0;
        for (run, wake) in (1..).zip(self.wakes) {
            // SAFETY: this thread alone calls, and joins below.
            unsafe { world.protocol.publish(run, self.tasks) };
            if *wake && world.protocol.sleeping() > 0 {
                world.protocol.wake(self.workers);
            }
            let own = world.protocol.work(0, |run, task| world.run_task(run, task));
            world.protocol.join(own);
            expected = expected * self.tasks + 1;
            for sum in &world.sums[run] {
                // SAFETY: the run is over.
                let sum = unsafe { sum.read() };
                assert_eq!(sum, expected, "run {run}: each task once, after the run before");
            }
        }
        world.protocol.stop();
        for thread in threads {
            thread.join().unwrap();
        }
    }
}

#[test]
fn a_worker_and_two_runs() {
    TWO_RUNS.check();
}

#[test]
fn a_worker_that_is_not_woken_is_not_waited_for() {
    Play { wakes: &[true, false], ..TWO_RUNS }.check();
}

/// A report between any two steps of the caller's way to sleep: that takes three preemptions.
#[test]
fn a_caller_that_is_about_to_sleep() {
    Play { tasks: 1, wakes: &[true], preemptions: 3, ..TWO_RUNS }.check();
}

#[test]
fn a_caller_that_spins() {
    Play { tasks: 1, wakes: &[true], spin_turns: 1, ..TWO_RUNS }.check();
}

#[test]
#[ignore = "ten seconds and more"]
fn two_workers_and_a_run() {
    Play { workers: 3, tasks: 3, wakes: &[true], ..TWO_RUNS }.check();
}

#[test]
#[ignore = "ten seconds and more"]
fn two_workers_and_two_runs_of_one_task() {
    Play { workers: 3, tasks: 1, preemptions: 1, ..TWO_RUNS }.check();
}
