//! The futex pool: threads that run the core's tasks.
//!
//! A run gives each worker a contiguous range of the tasks, so that each reads one forward stream
//! of weights; a worker takes from the front of its own range and, when that is empty, from the
//! back of another's. Results do not depend on who runs what. The caller is worker 0.
//!
//! The caller waits for tasks that others have claimed, never for workers ([`protocol`], where the
//! states are drawn and the memory order is argued). Where an operation runs is measured:
//!
//! * One that takes less than handing it out costs stays on the calling thread ([`costs`]).
//! * A step runs on the calling thread as a whole while helpers do not pay, which is so when busy
//!   neighbours keep them off the CPUs ([`judge`]).
//! * The operations of a step share one wake-up ([`caller`]): workers spin between them, and those
//!   that fall asleep are left alone unless there is a lot to do.
//!
//! Waiting, for work or for the end of a run, is a bounded spin (tens of µs, the time between two
//! phases of a step) and then a futex: an idle pool costs no CPU. A job that panics is caught where
//! it ran, the other tasks are run, and the panic goes on in the caller.
mod atomics;
mod caller;
mod costs;
mod float_control;
mod futex;
mod judge;
mod protocol;
mod ranges;

#[cfg(test)]
mod model_check;
#[cfg(test)]
mod tests;

pub use float_control::float_control_is_default;

use caller::{Caller, HandedOut};
use protocol::Protocol;
use std::any::Any;
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use verbatim_core::pool::{Phase, Pool};

type Job<'a> = dyn Fn(usize, usize) + Sync + 'a;

/// The maximal number of tasks of a run.
const TASKS_MAX: usize = u32::MAX as usize >> 1;
/// Tries of which the fastest counts as the time of a dispatch.
const DISPATCH_TRIES: usize = 16;
/// A helper that takes no part for this long is busy elsewhere.
const DISPATCH_LIMIT: Duration = Duration::from_micros(100);
/// The time of a dispatch where none could be measured.
const DISPATCH_UNKNOWN: Duration = Duration::from_micros(2);

thread_local! {
    /// Whether this thread is inside a job.
    static IN_JOB: Cell<bool> = const { Cell::new(false) };
}

/// A pool of worker threads.
#[derive(Debug)]
pub struct FutexPool {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
    /// Held for the length of a run: runs from several threads follow one another.
    caller: Mutex<Caller>,
}

/// What the caller and its workers share.
struct Shared {
    /// The job's lifetime is erased.
    protocol: Protocol<Option<&'static Job<'static>>>,
    panic: Mutex<Option<Box<dyn Any + Send>>>,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").finish_non_exhaustive()
    }
}

impl FutexPool {
    /// A pool of `workers`, at least 1, the calling thread among them.
    pub fn new(workers: usize) -> std::io::Result<Self> {
        let workers = workers.max(1);
        let shared = Arc::new(Shared { protocol: Protocol::new(workers, None), panic: Mutex::new(None) });
        let caller = Mutex::new(Caller::new(workers - 1, DISPATCH_UNKNOWN));
        let mut pool = Self { shared, threads: Vec::new(), caller };
        for worker in 1..workers {
            let shared = Arc::clone(&pool.shared);
            let thread = std::thread::Builder::new()
                .name(format!("verbatim-{worker}"))
                .spawn(move || shared.serve(worker))?;
            pool.threads.push(thread);
        }
        let dispatch = pool.measure_dispatch();
        *pool.caller() = Caller::new(workers - 1, dispatch);
        Ok(pool)
    }

    fn caller(&self) -> MutexGuard<'_, Caller> {
        self.caller.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The time from publishing a run to the end of a task that a helper ran.
    fn measure_dispatch(&self) -> Duration {
        let mut fastest = DISPATCH_UNKNOWN;
        for _ in 0..if self.threads.is_empty() { 0 } else { DISPATCH_TRIES } {
            let has_helped = AtomicBool::new(false);
            let start = Instant::now();
            self.hand_out(2, true, &|_, worker| {
                // The caller's task lasts until a helper runs the other one.
                while worker == 0 && !has_helped.load(Ordering::Relaxed) && start.elapsed() < DISPATCH_LIMIT {
                    std::hint::spin_loop();
                }
                has_helped.fetch_or(worker != 0, Ordering::Relaxed);
            });
            if has_helped.into_inner() {
                fastest = fastest.min(start.elapsed());
            }
        }
        fastest
    }

    /// Runs tasks on the calling thread.
    fn run_alone(&self, tasks: usize, job: &Job<'_>) {
        for task in 0..tasks {
            self.shared.run_task(job, task, 0);
        }
    }

    /// Runs tasks on whoever comes, the calling thread in any case; returns how many it ran itself,
    /// and when it had nothing left to do. One thread at a time.
    fn hand_out(&self, tasks: usize, wake: bool, job: &Job<'_>) -> (u32, Instant) {
        let shared = &*self.shared;
        // SAFETY: only the lifetime changes. The reference is used by who holds a task, and this
        // function returns after all tasks were reported; nothing in between unwinds (jobs are
        // caught).
        let erased = unsafe { std::mem::transmute::<&Job<'_>, &'static Job<'static>>(job) };
        // SAFETY: one thread at a time is here, and the join follows.
        unsafe { shared.protocol.publish(Some(erased), tasks) };
        if wake {
            let sleeping = shared.protocol.sleeping();
            if sleeping > 0 {
                shared.protocol.wake(sleeping.min(tasks - 1));
            }
        }
        let own = shared.work(0);
        let done = Instant::now();
        shared.protocol.join(own);
        (own, done)
    }

    /// Runs an operation where it takes the least time, by what is known of it.
    fn run_measured(&self, phase: Phase, tasks: usize, elements: Option<usize>, job: &Job<'_>) {
        assert!(!IN_JOB.get(), "a job cannot run tasks on a pool");
        assert!(tasks <= TASKS_MAX, "{tasks} tasks are more than a run can have, {TASKS_MAX}");
        let mut caller = self.caller();
        self.shared.check_float_control();
        let helpers = self.threads.len().min(tasks.saturating_sub(1));
        if helpers == 0 {
            self.run_alone(tasks, job);
        } else if let Some(elements) = elements {
            let is_own_step = !caller.is_in_step();
            if is_own_step {
                caller.begin(elements);
            }
            self.run_known(&mut caller, (phase, elements), tasks, job);
            if is_own_step {
                caller.end();
            }
        } else if caller.has_helpers() {
            // Of unknown size: a large one, by the callers that there are.
            let start = Instant::now();
            let wake = caller.should_wake(f64::INFINITY);
            let (own, done) = self.hand_out(tasks, wake, job);
            caller.note(&HandedOut {
                alone_ns: (done - start).as_nanos() as f64 * tasks as f64 / f64::from(own.max(1)),
                helped: 1.0 - f64::from(own) / tasks as f64,
                waited: done.elapsed(),
            });
        } else {
            self.run_alone(tasks, job);
        }
        let panic = self.shared.panic.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(panic) = panic {
            drop(caller);
            resume_unwind(panic);
        }
    }

    /// Runs an operation whose size is known, in a step.
    fn run_known(&self, caller: &mut Caller, (phase, elements): (Phase, usize), tasks: usize, job: &Job<'_>) {
        let helpers = self.threads.len().min(tasks - 1);
        let alone_ns = caller.costs.alone_ns(phase, elements);
        if !caller.has_helpers() || !caller.costs.are_worth(alone_ns, helpers) {
            if caller.costs.is_due(phase, elements) {
                let start = Instant::now();
                self.run_alone(tasks, job);
                caller.costs.note(phase, elements, start.elapsed().as_nanos() as f64);
            } else {
                self.run_alone(tasks, job);
            }
            return;
        }
        let start = Instant::now();
        let wake =
            self.shared.protocol.sleeping() > 0 && caller.should_wake(costs::saved_ns(alone_ns, helpers));
        let (own, done) = self.hand_out(tasks, wake, job);
        if own > 0 {
            let took = (done - start).as_nanos() as f64;
            caller.costs.note(phase, elements, took * tasks as f64 / f64::from(own));
        }
        let helped = 1.0 - f64::from(own) / tasks as f64;
        caller.note(&HandedOut { alone_ns, helped, waited: done.elapsed() });
    }
}

impl Drop for FutexPool {
    fn drop(&mut self) {
        self.shared.protocol.stop();
        for thread in self.threads.drain(..) {
            // A worker catches what jobs do, so it does not panic; if it did there is nothing left
            // to save.
            let _ = thread.join();
        }
    }
}

// SAFETY: `Protocol` gives each task to exactly one worker; a worker is one thread (worker 0 is who
// holds `caller`) and runs one task at a time; a run returns after all its tasks were reported.
unsafe impl Pool for FutexPool {
    fn workers(&self) -> usize {
        self.threads.len() + 1
    }

    fn run(&self, phase: Phase, tasks: usize, job: &Job<'_>) {
        self.run_measured(phase, tasks, None, job);
    }

    fn run_sized(&self, phase: Phase, tasks: usize, elements: usize, job: &Job<'_>) {
        self.run_measured(phase, tasks, Some(elements), job);
    }

    fn begin_step(&self, size: usize) {
        if !self.threads.is_empty() {
            self.caller().begin(size);
        }
    }

    fn end_step(&self) {
        if !self.threads.is_empty() {
            self.caller().end();
        }
    }
}

impl Shared {
    /// Takes part in runs until the pool is dropped: the body of a worker thread.
    fn serve(&self, worker: usize) {
        let mut seen = 0;
        while let Some(published) = self.protocol.await_run(seen) {
            seen = published;
            let count = self.work(worker);
            self.protocol.report(count);
        }
    }

    /// Runs tasks while there are any; returns how many, which are to be reported. The caller's
    /// floating-point control was checked before.
    fn work(&self, worker: usize) -> u32 {
        let mut is_checked = worker == 0;
        self.protocol.work(worker, |job, task| {
            if !std::mem::replace(&mut is_checked, true) {
                self.check_float_control();
            }
            if let Some(job) = job {
                self.run_task(job, task, worker);
            }
        })
    }

    fn run_task(&self, job: &Job<'_>, task: usize, worker: usize) {
        IN_JOB.set(true);
        let result = catch_unwind(AssertUnwindSafe(|| job(task, worker)));
        IN_JOB.set(false);
        if let Err(panic) = result {
            self.report_panic(panic);
        }
    }

    /// A library that sets flush-to-zero on a thread of ours would change answers; it must not go
    /// unnoticed.
    fn check_float_control(&self) {
        if !float_control_is_default() {
            let message = "a worker's floating-point control was changed: answers would differ";
            self.report_panic(Box::new(message));
        }
    }

    /// Keeps the first panic of a run; the others would say the same.
    fn report_panic(&self, panic: Box<dyn Any + Send>) {
        self.panic.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(panic);
    }
}
