//! How a caller hands out the tasks of a run and learns that they are done.
//!
//! ```text
//!             publish               every task claimed            unfinished = 0
//!   ┌────────┐ job, unfinished, ┌──────┐           ┌──────────┐  (join returns)  ┌────────┐
//!   │ closed │────────────────▶ │ open │─────────▶ │ draining │ ───────────────▶ │ closed │
//!   └────────┘ ranges           └──────┘           └──────────┘                  └────────┘
//!
//!   caller   publish ─▶ work ─▶ join: spin, then sleep on `unfinished`
//!   worker   await_run: spin, then sleep on `published` ─▶ work ─▶ report ─▶ await_run
//! ```
//!
//! There is no joining and no leaving: a worker takes part by claiming a task, and the caller waits
//! for claimed tasks, never for workers. One that is late, asleep or descheduled with no task in
//! its hands finds the ranges empty, or the tasks of the next run. One that is descheduled *with* a
//! task has to be waited for; it holds one at a time, and the caller has taken all others.
//!
//! # Memory order
//!
//! 1. *What a run needs is seen by who runs a task.* The caller writes the job, and `unfinished`,
//!    before it deals the ranges (release). A claim (acquire) reads a dealt word, or one that other
//!    claims made of it: both synchronize with the deal.
//! 2. *The job is not written while it may be read.* A worker reads it between a claim and its
//!    report; until the report `unfinished` is not 0, so the caller is still in `join`.
//! 3. *What tasks write is seen by the caller, and by the next run.* A report is a release on
//!    `unfinished`; the reports of a run form one release sequence, and the caller acquires the 0
//!    at its end. The next run is dealt after that.
//! 4. *A claim never belongs to two runs.* Ranges are dealt while all are empty, and an empty range
//!    is never claimed from, so a stale compare-and-swap fails or claims what is there now.
//! 5. *No wake-up is lost.* A worker counts itself in `sleeping` and then reads `published`; the
//!    caller counts `published` up and then reads `sleeping` (all sequentially consistent): one of
//!    them sees the other. The caller sets a bit of `unfinished` by compare-and-swap before it
//!    sleeps on that very word, so the report that brings it to 0 sees the bit.
use super::atomics::{AtomicBool, AtomicU32, Ordering, Slot, Spin};
use super::futex;
use super::ranges::Ranges;

/// In `unfinished`: the caller sleeps.
const CALLER_SLEEPS: u32 = 1 << 31;

/// Keeps a word out of the cache lines of the others.
#[derive(Debug)]
#[repr(align(128))]
struct Line<T>(T);

/// The state that a caller and its workers share; `J` is what a run's tasks need.
#[derive(Debug)]
pub(super) struct Protocol<J> {
    ranges: Ranges,
    /// Tasks of the run that were not reported, and [`CALLER_SLEEPS`].
    unfinished: Line<AtomicU32>,
    /// Counts published runs, and the stop.
    published: Line<AtomicU32>,
    /// Workers that sleep on `published`, or are about to, or were woken a moment ago.
    sleeping: Line<AtomicU32>,
    is_stopped: AtomicBool,
    job: Slot<J>,
}

impl<J: Copy> Protocol<J> {
    /// A closed run for this many workers, the caller among them.
    pub(super) fn new(workers: usize, job: J) -> Self {
        Self {
            ranges: Ranges::new(workers),
            unfinished: Line(AtomicU32::new(0)),
            published: Line(AtomicU32::new(0)),
            sleeping: Line(AtomicU32::new(0)),
            is_stopped: AtomicBool::new(false),
            job: Slot::new(job),
        }
    }

    /// Opens a run of `tasks`, at least 1 and below 2³¹. Workers that are awake see it; those that
    /// sleep need [`Protocol::wake`].
    ///
    /// # Safety
    /// One thread at a time is between this call and the end of the [`Protocol::join`] that
    /// follows it.
    pub(super) unsafe fn publish(&self, job: J, tasks: usize) {
        debug_assert!(tasks > 0 && tasks < CALLER_SLEEPS as usize);
        // SAFETY: the last run is closed (the caller's promise), so no worker holds a task.
        unsafe { self.job.write(job) };
        self.unfinished.0.store(tasks as u32, Ordering::Relaxed);
        self.ranges.deal(tasks);
        self.published.0.fetch_add(1, Ordering::SeqCst);
    }

    /// How many workers sleep.
    pub(super) fn sleeping(&self) -> usize {
        self.sleeping.0.load(Ordering::SeqCst) as usize
    }

    /// Wakes at most `count` workers.
    pub(super) fn wake(&self, count: usize) {
        futex::wake(&self.published.0, count);
    }

    /// Runs tasks while there are any; returns how many. They are then to be reported: by a
    /// worker with [`Protocol::report`], by the caller with [`Protocol::join`].
    ///
    /// `run` must not unwind: the run would never end.
    pub(super) fn work(&self, worker: usize, mut run: impl FnMut(J, usize)) -> u32 {
        let Some(mut task) = self.ranges.claim(worker) else { return 0 };
        // SAFETY: the claimed task is not reported, so the run is open: its job was written before
        // the claim, and the next one is written after the report (1 and 2 above).
        let job = unsafe { self.job.read() };
        let mut count = 0;
        loop {
            run(job, task);
            count += 1;
            match self.ranges.claim(worker) {
                Some(next) => task = next,
                None => return count,
            }
        }
    }

    /// Reports that a worker has run `count` tasks.
    pub(super) fn report(&self, count: u32) {
        if count == 0 {
            return;
        }
        let before = self.unfinished.0.fetch_sub(count, Ordering::AcqRel);
        if before == count | CALLER_SLEEPS {
            futex::wake(&self.unfinished.0, 1);
        }
    }

    /// Waits for the tasks that others have claimed, after the caller has run `count` itself.
    pub(super) fn join(&self, count: u32) {
        let word = &self.unfinished.0;
        if word.fetch_sub(count, Ordering::AcqRel) == count {
            return;
        }
        let mut spin = Spin::default();
        while spin.again() {
            if word.load(Ordering::Acquire) == 0 {
                return;
            }
        }
        loop {
            let value = word.load(Ordering::Acquire);
            if value & !CALLER_SLEEPS == 0 {
                return;
            }
            let asleep = value | CALLER_SLEEPS;
            if value == asleep
                || word.compare_exchange(value, asleep, Ordering::Relaxed, Ordering::Relaxed).is_ok()
            {
                futex::wait(word, asleep);
            }
        }
    }

    /// Waits for a run other than the one numbered `seen`; returns its number, or `None` if there
    /// will be no more.
    pub(super) fn await_run(&self, seen: u32) -> Option<u32> {
        let word = &self.published.0;
        let mut spin = Spin::default();
        let mut value = word.load(Ordering::Acquire);
        while value == seen && spin.again() {
            value = word.load(Ordering::Acquire);
        }
        if value == seen {
            self.sleeping.0.fetch_add(1, Ordering::SeqCst);
            while word.load(Ordering::SeqCst) == seen {
                futex::wait(word, seen);
            }
            self.sleeping.0.fetch_sub(1, Ordering::SeqCst);
            value = word.load(Ordering::Acquire);
        }
        (!self.is_stopped.load(Ordering::Relaxed)).then_some(value)
    }

    /// Ends all workers, those that sleep too.
    pub(super) fn stop(&self) {
        self.is_stopped.store(true, Ordering::Relaxed);
        self.published.0.fetch_add(1, Ordering::SeqCst);
        self.wake(usize::MAX);
    }
}
