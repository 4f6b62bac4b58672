//! The futex pool: threads that run the core's tasks.
//!
//! A run gives each worker a contiguous range of the tasks, so that each reads one forward stream
//! of weights; a worker takes from the front of its own range and, when that is empty, from the
//! back of another's. Results do not depend on who runs what. The caller is worker 0.
//!
//! Waiting, for work or for the end of a run, is a bounded spin (tens of µs, the time between two
//! phases of a step) and then a futex: an idle pool costs no CPU. A job that panics is caught where
//! it ran, the other tasks are run, and the panic goes on in the caller.
//!
//! Memory order: everything that a run needs is written before `generation` is released and read
//! after it is acquired; everything that jobs write is written before `pending` is released and
//! read after the caller acquired 0.
mod futex;
mod ranges;

use ranges::Ranges;
use std::any::Any;
use std::cell::{Cell, UnsafeCell};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use verbatim_core::pool::{Phase, Pool};

/// How long to spin before sleeping: longer than the gap between two phases of a step, shorter than
/// anyone notices.
const SPIN: Duration = Duration::from_micros(50);

type Job<'a> = dyn Fn(usize, usize) + Sync + 'a;

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
    running: Mutex<()>,
}

struct Shared {
    /// Counts runs; workers wait for it to change.
    generation: AtomicU32,
    /// Workers that have not finished the current run; the caller waits for 0.
    pending: AtomicU32,
    /// Workers that sleep, or are about to.
    sleeping: AtomicU32,
    stop: AtomicBool,
    ranges: Ranges,
    /// The job of the current run, its lifetime erased.
    job: UnsafeCell<Option<&'static Job<'static>>>,
    panic: Mutex<Option<Box<dyn Any + Send>>>,
}

// SAFETY: `job` is written by the caller of a run while no worker looks at it (all have left the
// run before, as `pending` says), and read by workers between acquiring `generation` and releasing
// `pending`.
unsafe impl Sync for Shared {}
// SAFETY: as above; the rest is Send.
unsafe impl Send for Shared {}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").field("generation", &self.generation).finish_non_exhaustive()
    }
}

impl FutexPool {
    /// A pool of `workers`, at least 1, the calling thread among them.
    pub fn new(workers: usize) -> std::io::Result<Self> {
        let workers = workers.max(1);
        let shared = Arc::new(Shared {
            generation: AtomicU32::new(0),
            pending: AtomicU32::new(0),
            sleeping: AtomicU32::new(0),
            stop: AtomicBool::new(false),
            ranges: Ranges::new(workers),
            job: UnsafeCell::new(None),
            panic: Mutex::new(None),
        });
        let mut pool = Self { shared, threads: Vec::new(), running: Mutex::new(()) };
        for worker in 1..workers {
            let shared = Arc::clone(&pool.shared);
            let thread = std::thread::Builder::new()
                .name(format!("verbatim-{worker}"))
                .spawn(move || shared.serve(worker))?;
            pool.threads.push(thread);
        }
        Ok(pool)
    }
}

impl Drop for FutexPool {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        self.shared.generation.fetch_add(1, Ordering::Release);
        futex::wake_all(&self.shared.generation);
        for thread in self.threads.drain(..) {
            // A worker catches what jobs do, so it does not panic; if it did there is nothing left
            // to save.
            let _ = thread.join();
        }
    }
}

// SAFETY: `Ranges` gives each task to exactly one worker; a worker is one thread and runs one task
// at a time; `run` returns after `pending` reached 0, which each worker releases after its last
// task.
unsafe impl Pool for FutexPool {
    fn workers(&self) -> usize {
        self.threads.len() + 1
    }

    fn run(&self, _phase: Phase, tasks: usize, job: &Job<'_>) {
        assert!(!IN_JOB.get(), "a job cannot run tasks on a pool");
        assert!(u32::try_from(tasks).is_ok(), "more tasks than a range can count");
        let _running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        let shared = &*self.shared;
        if self.threads.is_empty() || tasks <= 1 {
            shared.check_float_control();
            for task in 0..tasks {
                shared.run_task(job, task, 0);
            }
        } else {
            // SAFETY: only the lifetime changes. The reference is not used after this function: it
            // waits for every worker below, and nothing between here and there unwinds (jobs are
            // caught).
            let erased = unsafe { std::mem::transmute::<&Job<'_>, &'static Job<'static>>(job) };
            // SAFETY: no run is in progress, so no worker reads it.
            unsafe { *shared.job.get() = Some(erased) };
            shared.ranges.deal(tasks);
            shared.pending.store(self.threads.len() as u32, Ordering::Relaxed);
            shared.generation.fetch_add(1, Ordering::SeqCst);
            // Paired with the count in `wait_for_run`: either this sees the sleeper, or the sleeper
            // sees the new generation (both sides write before they read, sequentially consistent).
            if shared.sleeping.load(Ordering::SeqCst) > 0 {
                futex::wake_all(&shared.generation);
            }
            shared.work(erased, 0);
            wait(&shared.pending, |left| left == 0, || {});
        }
        let panic = shared.panic.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(panic) = panic {
            drop(_running);
            resume_unwind(panic);
        }
    }
}

/// Spins, then sleeps, until `word` satisfies `done`; returns its value.
fn wait(word: &AtomicU32, done: impl Fn(u32) -> bool, before_sleep: impl Fn()) -> u32 {
    let mut start = None;
    let mut announced = false;
    loop {
        for _ in 0..64 {
            let value = word.load(Ordering::Acquire);
            if done(value) {
                return value;
            }
            std::hint::spin_loop();
        }
        let started = *start.get_or_insert_with(Instant::now);
        if started.elapsed() < SPIN {
            // With more workers than free CPUs, whoever we wait for may need this one.
            std::thread::yield_now();
            continue;
        }
        if !announced {
            before_sleep();
            announced = true;
        }
        let value = word.load(Ordering::SeqCst);
        if done(value) {
            return value;
        }
        futex::wait(word, value);
    }
}

impl Shared {
    /// A worker's life.
    fn serve(&self, worker: usize) {
        let mut seen = 0;
        loop {
            let slept = Cell::new(false);
            seen = wait(
                &self.generation,
                |value| value != seen,
                || {
                    slept.set(true);
                    self.sleeping.fetch_add(1, Ordering::SeqCst);
                },
            );
            if slept.get() {
                self.sleeping.fetch_sub(1, Ordering::SeqCst);
            }
            if self.stop.load(Ordering::Relaxed) {
                return;
            }
            // SAFETY: the generation was acquired, so the caller's write is visible, and it writes
            // no more until this worker has released `pending`.
            if let Some(job) = unsafe { *self.job.get() } {
                self.work(job, worker);
            }
            if self.pending.fetch_sub(1, Ordering::AcqRel) == 1 {
                futex::wake_all(&self.pending);
            }
        }
    }

    fn work(&self, job: &Job<'_>, worker: usize) {
        self.check_float_control();
        while let Some(task) = self.ranges.next(worker) {
            self.run_task(job, task, worker);
        }
    }

    fn run_task(&self, job: &Job<'_>, task: usize, worker: usize) {
        IN_JOB.set(true);
        let result = catch_unwind(AssertUnwindSafe(|| job(task, worker)));
        IN_JOB.set(false);
        if let Err(panic) = result {
            self.report(panic);
        }
    }

    /// A library that sets flush-to-zero on a thread of ours would change answers; it must not go
    /// unnoticed.
    fn check_float_control(&self) {
        if !float_control_is_default() {
            self.report(Box::new("a worker's floating-point control was changed: answers would differ"));
        }
    }

    /// Keeps the first panic of a run; the others would say the same.
    fn report(&self, panic: Box<dyn Any + Send>) {
        self.panic.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(panic);
    }
}

/// Whether floats round to nearest and subnormals are kept: what every bit rests on.
pub fn float_control_is_default() -> bool {
    let tiny = std::hint::black_box(f32::MIN_POSITIVE);
    let half = std::hint::black_box(0.5_f32);
    let keeps_subnormals = tiny * half != 0.0;
    let one = std::hint::black_box(1.0_f32);
    let up = std::hint::black_box(f32::EPSILON * 0.5) + one == 1.0;
    let down = one - std::hint::black_box(f32::EPSILON * 0.125) == 1.0;
    keeps_subnormals && up && down
}

#[cfg(test)]
mod tests;
