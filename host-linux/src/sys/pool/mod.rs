//! The futex pool: threads that run the core's tasks.
//!
//! A run gives each worker a contiguous range of the tasks, so that each worker reads one forward
//! stream of weights. A worker takes from the front of its own range and, when that is empty, from
//! the back of another's. Results do not depend on who runs what. The caller is worker 0.
//!
//! ```text
//!   a run        closed ─▶ open ─▶ draining ─▶ closed        drawn in full in `protocol`
//!
//!   an operation ──▶ step alone? ──no──▶ worth a dispatch? ──yes──▶ publish, work, join
//!                     │ yes (judge)       │ no (costs)
//!                     └───────────────────┴──▶ runs on the calling thread
//!
//!   steps        Together ◀── a trial was faster, or the machine is quiet ──▶ Alone      (judge)
//! ```
//!
//! Where an operation runs is measured, never assumed:
//!
//! * An operation that takes less time than handing it out stays on the calling thread ([`costs`]).
//! * A whole step runs on the calling thread while helpers do not pay. That is so when busy
//!   neighbours keep the helpers off the CPUs ([`judge`]).
//! * The operations of a step share one wake-up ([`caller`]). Workers spin between operations, and
//!   those that fall asleep are woken again only for a large operation.
//!
//! # What the caller can wait for
//!
//! 1. *In one run: one task of each helper.* The caller waits for claimed tasks, never for workers
//!    ([`protocol`], where the memory order is argued). When it starts to wait no task is
//!    unclaimed, and a worker holds one task at a time. The wait therefore ends when the slowest of
//!    at most `workers - 1` tasks ends, including the time for which its thread is descheduled.
//! 2. *Over many steps: a small share of the time.* A system with busy neighbours can deschedule a
//!    worker for whole time slices in every run. The pool then runs steps alone, and tries helpers
//!    again only after 40 to 80 times what the last trial took ([`judge`]).
//!
//! Waiting, for work or for the end of a run, is a spin of at most 50 µs, the time between two
//! phases of a step, and then sleep on a futex: an idle pool costs no CPU.
//!
//! A panic of a job is caught where it ran. The other tasks are still run, and the first panic
//! goes on in the caller.
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

#[cfg(all(feature = "faults", debug_assertions))]
use crate::faults::{self, Point};
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

/// The maximum number of tasks of a run: a bit of the word that counts them is taken.
const TASKS_MAX: usize = u32::MAX as usize >> 1;
/// The dispatch time is the fastest of this many tries.
const DISPATCH_TRIES: usize = 16;
/// How long a try waits for a helper; one that has not come by then is busy elsewhere.
const DISPATCH_LIMIT: Duration = Duration::from_micros(100);
/// The time that a dispatch is taken to last where no try succeeded.
const DISPATCH_UNKNOWN: Duration = Duration::from_micros(2);
/// A dispatch that was measured as longer than this was held up by neighbours: machines of several
/// sockets need a few microseconds.
const DISPATCH_MAX: Duration = Duration::from_micros(20);

thread_local! {
    /// Whether this thread runs a job of any pool.
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

/// What the caller and the workers share.
struct Shared {
    /// The job's lifetime is erased; [`FutexPool::hand_out`] outlives all uses of it.
    protocol: Protocol<Option<&'static Job<'static>>>,
    panic: Mutex<Option<Box<dyn Any + Send>>>,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").finish_non_exhaustive()
    }
}

impl FutexPool {
    /// Starts a pool of `workers`, the calling thread among them; 0 is taken for 1. There may be
    /// more workers than CPUs.
    ///
    /// # Errors
    /// The system's, if a thread cannot be started.
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

    /// Measures the time from publishing a run to the end of a task that a helper ran.
    fn measure_dispatch(&self) -> Duration {
        let mut fastest: Option<Duration> = None;
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
                let took = start.elapsed();
                fastest = Some(fastest.map_or(took, |fastest| fastest.min(took)));
            }
        }
        fastest.unwrap_or(DISPATCH_UNKNOWN).min(DISPATCH_MAX)
    }

    /// Runs all tasks on the calling thread.
    fn run_alone(&self, tasks: usize, job: &Job<'_>) {
        for task in 0..tasks {
            self.shared.run_task(job, task, 0);
        }
    }

    /// Runs tasks on the calling thread and on all workers that come; returns how many the calling
    /// thread ran, and when it had nothing left to do. Whoever calls this holds `caller`, or has
    /// the pool for itself.
    fn hand_out(&self, tasks: usize, wake: bool, job: &Job<'_>) -> (u32, Instant) {
        let shared = &*self.shared;
        // SAFETY: only the lifetime changes. The reference is used by threads that hold a task, and
        // this function returns after all tasks were reported. Nothing in between unwinds: jobs'
        // panics are caught, and no payload is dropped here.
        let erased = unsafe { std::mem::transmute::<&Job<'_>, &'static Job<'static>>(job) };
        // SAFETY: one thread at a time calls this function, and the join follows.
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

    /// Runs an operation where it takes the least time, as far as that is known. Without `elements`
    /// it is taken for a large one.
    fn run_measured(&self, phase: Phase, tasks: usize, elements: Option<usize>, job: &Job<'_>) {
        assert!(!IN_JOB.get(), "a job cannot run tasks on a pool");
        assert!(tasks <= TASKS_MAX, "{tasks} tasks are more than a run can have, {TASKS_MAX}");
        #[cfg(all(feature = "faults", debug_assertions))]
        let job = &|task, worker| {
            faults::point(if phase == Phase::Sample { Point::Sampling } else { Point::Job });
            job(task, worker);
        };
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

    /// Runs an operation whose size is known, inside a step.
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
            // A worker catches the panics of jobs, so it does not panic itself; if it did, nothing
            // would be left to save.
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
        assert!(!IN_JOB.get(), "a job cannot begin a step of a pool");
        if !self.threads.is_empty() {
            self.caller().begin(size);
        }
    }

    fn end_step(&self) {
        assert!(!IN_JOB.get(), "a job cannot end a step of a pool");
        if !self.threads.is_empty() {
            self.caller().end();
        }
    }
}

impl Shared {
    /// Runs tasks of all runs, as `worker`, until the pool stops.
    fn serve(&self, worker: usize) {
        let mut seen = 0;
        while let Some(published) = self.protocol.await_run(seen) {
            seen = published;
            let count = self.work(worker);
            self.protocol.report(count);
        }
    }

    /// Runs tasks while there are any; returns how many, which are then to be reported. A worker's
    /// floating-point control is checked at its first task, the caller's was checked before.
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

    /// Runs one task and keeps its panic; never unwinds.
    fn run_task(&self, job: &Job<'_>, task: usize, worker: usize) {
        IN_JOB.set(true);
        let result = catch_unwind(AssertUnwindSafe(|| job(task, worker)));
        IN_JOB.set(false);
        if let Err(panic) = result {
            self.report_panic(panic);
        }
    }

    /// Reports a panic if this thread flushes subnormals or rounds otherwise than to nearest, as
    /// some libraries make the threads that call them do: answers would change.
    fn check_float_control(&self) {
        if !float_control_is_default() {
            let message = "a worker's floating-point control was changed: answers would differ";
            self.report_panic(Box::new(message));
        }
    }

    /// Keeps the first panic of a run for the caller. Later ones are leaked: dropping a payload can
    /// panic, and a worker that unwinds would never report its task.
    fn report_panic(&self, panic: Box<dyn Any + Send>) {
        let mut first = self.panic.lock().unwrap_or_else(PoisonError::into_inner);
        if first.is_none() {
            *first = Some(panic);
        } else {
            std::mem::forget(panic);
        }
    }
}
