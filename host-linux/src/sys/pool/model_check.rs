//! The protocol under `loom`, which runs it in every order that the memory model allows: each task
//! once, what tasks write is seen, no thread sleeps for ever.
//!
//! `protocol.rs` and `ranges.rs` are compiled here once more, over `loom`'s atomics. A futex is
//! modelled as the kernel has it: comparing and going to sleep are one step for those who wake.
//! Spins are left out, so every wait takes the way through sleep.
//!
//! `two_workers_and_a_run` takes a minute and is left to `.ci/run full`; the largest model, which may
//! take longer, to whoever changes the protocol (`--ignored`). Threads are preempted a bounded
//! number of times in an execution; `LOOM_MAX_PREEMPTIONS` says otherwise.

#[allow(clippy::duplicate_mod)] // on purpose, as said above
#[path = "protocol.rs"]
mod protocol;
#[allow(clippy::duplicate_mod)]
#[path = "ranges.rs"]
mod ranges;

mod atomics {
    pub(super) use loom::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

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

    #[derive(Debug, Default)]
    pub(super) struct Spin(());

    impl Spin {
        pub(super) fn again(&mut self) -> bool {
            false
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

use atomics::Slot;
use loom::sync::Arc;
use protocol::Protocol;

/// Runs a model in every order with at most that many preemptions of threads.
fn check(preemptions: usize, model: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = builder.preemption_bound.or(Some(preemptions));
    builder.check(model);
}

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

    fn serve(&self, worker: usize) {
        let mut seen = 0;
        while let Some(published) = self.protocol.await_run(seen) {
            seen = published;
            let count = self.protocol.work(worker, |run, task| self.run_task(run, task));
            self.protocol.report(count);
        }
    }
}

/// One caller and its workers; in which runs sleeping workers are woken.
fn play(workers: usize, tasks: usize, wakes: &[bool]) {
    let slots = |count| (0..count).map(|_| Slot::new(0)).collect();
    let sums = (0..=wakes.len()).map(|run| slots(if run == 0 { 0 } else { tasks })).collect();
    let world = Arc::new(World { protocol: Protocol::new(workers, 0), sums });
    let threads: Vec<_> = (1..workers)
        .map(|worker| {
            let world = Arc::clone(&world);
            loom::thread::spawn(move || world.serve(worker))
        })
        .collect();
    let mut expected = 0;
    for (run, wake) in (1..).zip(wakes) {
        // SAFETY: this thread alone calls, and joins below.
        unsafe { world.protocol.publish(run, tasks) };
        if *wake && world.protocol.sleeping() > 0 {
            world.protocol.wake(workers);
        }
        let own = world.protocol.work(0, |run, task| world.run_task(run, task));
        world.protocol.join(own);
        expected = expected * tasks + 1;
        for sum in &world.sums[run] {
            // SAFETY: the run is over.
            assert_eq!(unsafe { sum.read() }, expected, "run {run}: each task once, after the run before");
        }
    }
    world.protocol.stop();
    for thread in threads {
        thread.join().unwrap();
    }
}

#[test]
fn a_worker_and_two_runs() {
    check(2, || play(2, 2, &[true, true]));
}

#[test]
fn a_worker_that_is_not_woken_is_not_waited_for() {
    check(2, || play(2, 2, &[true, false]));
}

#[test]
#[ignore = "a minute"]
fn two_workers_and_a_run() {
    check(2, || play(3, 3, &[true]));
}

#[test]
#[ignore = "minutes"]
fn two_workers_and_two_runs_of_one_task() {
    // With two preemptions it has not ended after four minutes.
    check(1, || play(3, 1, &[true, true]));
}
