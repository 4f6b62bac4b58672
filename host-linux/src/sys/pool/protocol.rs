//! How a caller hands out the tasks of a run, and how it learns that they are done.
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
//! A worker takes part in a run by claiming a task; nobody registers for a run. The caller waits
//! for claimed tasks, never for workers. A worker that comes late, sleeps or is descheduled while
//! it holds no task finds the ranges empty, or finds the tasks of the next run. The caller has to
//! wait for a worker that is descheduled while it holds a task. A worker holds one task at a time,
//! and the caller has run all unclaimed ones before it waits.
//!
//! # Memory order
//!
//! 1. *Whoever runs a task sees what the run needs.* The caller writes the job and `unfinished`
//!    before it deals the ranges (release). A claim (acquire) reads a dealt word, or a word that
//!    other claims made of it. Both synchronize with the deal.
//! 2. *The job is not written while it may be read.* A worker reads the job between a claim and
//!    the report of that claim. Until the report `unfinished` is not 0, so the caller is in `join`.
//! 3. *The caller and the next run see what tasks write.* A report is a release on `unfinished`.
//!    The reports of a run form one release sequence, and the caller acquires the 0 at its end.
//!    The next run is dealt after that.
//! 4. *A claim never belongs to two runs.* Ranges are dealt while all are empty, and nobody claims
//!    from an empty range. A stale compare-and-swap fails, or claims what the range holds now.
//! 5. *The caller is always woken.* It sets a bit of `unfinished` by compare-and-swap before it
//!    sleeps on that word, so the report that brings the count to 0 sees the bit.
//! 6. *A worker is woken for a run, as a rule, and for the stop, always.* A worker counts itself in
//!    `sleeping` and then reads `published`; the caller counts `published` up and then reads
//!    `sleeping`. All four are sequentially consistent, so one of the two sees the other. No run
//!    depends on it: a worker that misses a run costs time only. The stop wakes without asking.
//!
//! `published` wraps around. A worker that missed exactly 2³¹ runs sleeps through one more; it
//! cannot miss the stop, because the stop has a bit of its own.
use super::atomics::{AtomicU32, Ordering, Slot, Spin};
use super::futex;
use super::ranges::Ranges;

/// The bit of `unfinished` that says that the caller sleeps.
const CALLER_SLEEPS: u32 = 1 << 31;
/// The bit of `published` that says that there will be no more runs.
const STOPPED: u32 = 1;
/// What a run adds to `published`.
const ONE_RUN: u32 = 2;

/// Keeps a word out of the cache lines of the others.
#[derive(Debug)]
#[repr(align(128))]
struct Line<T>(T);

/// The state that a caller and its workers share; `J` is what a run's tasks need.
#[derive(Debug)]
pub(super) struct Protocol<J> {
    ranges: Ranges,
    /// Counts the tasks of the run that were not reported yet, and [`CALLER_SLEEPS`].
    unfinished: Line<AtomicU32>,
    /// Counts published runs in [`ONE_RUN`]s, and [`STOPPED`].
    published: Line<AtomicU32>,
    /// Counts the workers that sleep on `published`, are about to, or were woken a moment ago.
    sleeping: Line<AtomicU32>,
    job: Slot<J>,
}

impl<J: Copy> Protocol<J> {
    /// The state before the first run, for this many workers, the caller among them.
    pub(super) fn new(workers: usize, job: J) -> Self {
        Self {
            ranges: Ranges::new(workers),
            unfinished: Line(AtomicU32::new(0)),
            published: Line(AtomicU32::new(0)),
            sleeping: Line(AtomicU32::new(0)),
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
        self.published.0.fetch_add(ONE_RUN, Ordering::SeqCst);
    }

    /// How many workers sleep.
    pub(super) fn sleeping(&self) -> usize {
        self.sleeping.0.load(Ordering::SeqCst) as usize
    }

    /// Wakes at most `count` workers.
    pub(super) fn wake(&self, count: usize) {
        futex::wake(&self.published.0, count);
    }

    /// Claims tasks and runs them while there are any; returns how many it ran. A worker then
    /// reports that count with [`Protocol::report`], the caller with [`Protocol::join`].
    ///
    /// `run` must not unwind, since its tasks would never be reported.
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

    /// Subtracts the `count` tasks that a worker has run, and wakes the caller if they were the
    /// last ones.
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

    /// Waits until `published` is other than `seen`, which is 0 before the first run; returns what
    /// it is, or `None` after [`Protocol::stop`].
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
        (value & STOPPED == 0).then_some(value)
    }

    /// Tells all workers to end, and wakes those that sleep. No run may follow.
    pub(super) fn stop(&self) {
        self.published.0.fetch_or(STOPPED, Ordering::SeqCst);
        self.wake(usize::MAX);
    }

    /// Counts `runs` that nobody saw, so that a test need not run billions; returns the number that
    /// a worker has seen after them.
    #[cfg(test)]
    pub(super) fn skip_runs(&self, runs: u32) -> u32 {
        let added = runs.wrapping_mul(ONE_RUN);
        self.published.0.fetch_add(added, Ordering::SeqCst).wrapping_add(added)
    }
}
