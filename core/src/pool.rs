//! How a host lends its threads.
//!
//! The core cuts a phase of a step into tasks whose results do not depend on who runs them, in
//! which order, or how many workers there are. A pool only has to run each of them once. [`Serial`]
//! does it on the calling thread; `host-linux` has a futex pool; the tests have one that permutes
//! everything.
//!
//! The core has no clock, so it does not decide what is worth waking a thread for. It says how
//! large an operation is ([`Pool::run_sized`]) and which operations belong to one step ([`Step`]),
//! and the pool, which can measure, decides where the tasks run.
#![allow(unsafe_code)]

use crate::tensor::Shared;

/// What a run of tasks is for. It names a span in a trace, lets a test count products, and lets a
/// pool keep times for each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // the names are the documentation
pub enum Phase {
    Load,
    CopyBlocks,
    Embed,
    Quantize,
    AttentionNorm,
    Qkv,
    RopeAndCache,
    Attention,
    AttentionMerge,
    AttentionOutput,
    FeedForwardNorm,
    GateUp,
    Down,
    HeadNorm,
    Head,
    Sample,
}

impl Phase {
    /// How many phases there are; `phase as usize` is below it.
    pub const COUNT: usize = Self::Sample as usize + 1;
}

/// Runs tasks on some number of workers.
///
/// # Safety
///
/// The implementation promises what the core's shared outputs and per-worker scratch rest on, for
/// `run` and `run_sized` alike:
/// * `job(task, worker)` is called exactly once for each `task` in `0..tasks`;
/// * `worker < self.workers()`, and no two calls with the same `worker` overlap in time;
/// * all calls have returned when `run` returns, and what they wrote is visible to the caller.
///
/// A job that panics must not be lost: `run` panics on the calling thread after the others have
/// ended.
pub unsafe trait Pool: Sync {
    /// How many workers there are, at least 1.
    fn workers(&self) -> usize;

    /// Runs `job(task, worker)` for every task.
    fn run(&self, phase: Phase, tasks: usize, job: &(dyn Fn(usize, usize) + Sync));

    /// Runs the tasks of an operation that reads or multiplies about `elements` numbers.
    ///
    /// A pool that knows what waking a worker costs may run a small operation on the calling
    /// thread alone. Where the tasks run changes no result.
    fn run_sized(&self, phase: Phase, tasks: usize, elements: usize, job: &(dyn Fn(usize, usize) + Sync)) {
        let _ = elements;
        self.run(phase, tasks, job);
    }

    /// The caller's next runs belong to one step, until [`Pool::end_step`]. Steps of about the
    /// same `size`, in any unit, do about the same work: a pool can compare their times. Use
    /// [`Step`], which ends the step on every way out.
    fn begin_step(&self, size: usize) {
        let _ = size;
    }

    /// Ends the step that was begun last.
    fn end_step(&self) {}
}

/// A step of the engine, as a pool sees it: runs that follow one another closely and share one
/// wake-up of the workers. The step ends when this is dropped.
#[must_use = "a step ends when its guard is dropped"]
pub struct Step<'p>(&'p dyn Pool);

impl<'p> Step<'p> {
    /// Begins a step; see [`Pool::begin_step`] for `size`.
    pub fn begin(pool: &'p dyn Pool, size: usize) -> Self {
        pool.begin_step(size);
        Self(pool)
    }
}

impl Drop for Step<'_> {
    fn drop(&mut self) {
        self.0.end_step();
    }
}

impl core::fmt::Debug for Step<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_tuple("Step").field(&self.0.workers()).finish()
    }
}

/// Runs every task on the calling thread, in order.
#[derive(Clone, Copy, Debug, Default)]
pub struct Serial;

// SAFETY: a plain loop: each task once, one worker, everything done and visible on return.
unsafe impl Pool for Serial {
    fn workers(&self) -> usize {
        1
    }

    fn run(&self, _phase: Phase, tasks: usize, job: &(dyn Fn(usize, usize) + Sync)) {
        for task in 0..tasks {
            job(task, 0);
        }
    }
}

/// A buffer cut into parts of equal length, numbered from 0: one for each task of a run, or one for
/// each worker.
#[derive(Debug)]
pub(crate) struct Parts<'a, T> {
    data: Shared<'a, T>,
    len: usize,
}

impl<'a, T> Parts<'a, T> {
    /// Cuts `data` into parts of `len` elements.
    pub(crate) fn new(data: &'a mut [T], len: usize) -> Self {
        Self { data: Shared::new(data), len }
    }
}

/// Buffers that [`run_apart`] cuts: [`Parts`] of one, or of several whose parts belong together.
///
/// # Safety
///
/// Parts with different numbers share no memory.
pub(crate) unsafe trait Apart: Sync {
    /// A part while a task has it.
    type Part<'p>;

    /// The part with a number, counted from 0.
    ///
    /// # Safety
    /// While the returned part lives, the buffer stays borrowed, and no other call takes the part
    /// with this number.
    ///
    /// # Panics
    /// If the buffer has no such part.
    unsafe fn part<'p>(&self, number: usize) -> Self::Part<'p>;
}

// SAFETY: the parts are consecutive ranges of one slice; a product that overflows is refused.
unsafe impl<T: Send + 'static> Apart for Parts<'_, T> {
    type Part<'p> = &'p mut [T];

    unsafe fn part<'p>(&self, number: usize) -> &'p mut [T] {
        let start = number.checked_mul(self.len).expect("a part's index fits in usize");
        // SAFETY: the caller takes each part once at a time, parts do not overlap, and the slice is
        // borrowed for as long as the part lives.
        unsafe {
            let part = self.data.part(start, self.len);
            core::slice::from_raw_parts_mut(part.as_mut_ptr(), part.len())
        }
    }
}

// SAFETY: both buffers keep the promise, and no slice can lie in both.
unsafe impl<A: Apart, B: Apart> Apart for (A, B) {
    type Part<'p> = (A::Part<'p>, B::Part<'p>);

    unsafe fn part<'p>(&self, number: usize) -> Self::Part<'p> {
        // SAFETY: the caller's promise holds for both.
        unsafe { (self.0.part(number), self.1.part(number)) }
    }
}

/// A run of tasks, as [`Pool::run_sized`] takes it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Work {
    pub(crate) phase: Phase,
    pub(crate) tasks: usize,
    /// Numbers that all tasks together read or multiply, about.
    pub(crate) elements: usize,
}

/// Runs `job(task, output, scratch)` for every task: each task has its part of `outputs` to itself,
/// and each worker its part of `scratch`.
///
/// # Panics
/// If `outputs` has fewer parts than there are tasks, or `scratch` fewer than there are workers.
pub(crate) fn run_apart<O: Apart, W: Apart>(
    pool: &dyn Pool,
    work: Work,
    outputs: O,
    scratch: W,
    job: impl for<'p> Fn(usize, O::Part<'p>, W::Part<'p>) + Sync,
) {
    pool.run_sized(work.phase, work.tasks, work.elements, &|task, worker| {
        // SAFETY: a pool calls each task once, and no two calls of one worker overlap in time. The
        // parts end with the call, since `job` takes them for any lifetime; buffers outlive it.
        let (output, scratch) = unsafe { (outputs.part(task), scratch.part(worker)) };
        job(task, output, scratch);
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_task_has_its_part_and_each_worker_its_scratch() {
        let (mut a, mut b, mut scratch) = ([0; 6], [0; 4], [0; 2]);
        let outputs = (Parts::new(&mut a, 2), Parts::new(&mut b, 1));
        run_apart(
            &Serial,
            Work { phase: Phase::Sample, tasks: 3, elements: 3 },
            outputs,
            Parts::new(&mut scratch, 2),
            |task, (a, b), scratch| {
                scratch[1] += task + 1;
                a.fill(task);
                b[0] = scratch[1];
            },
        );
        assert_eq!((a, b, scratch), ([0, 0, 1, 1, 2, 2], [1, 3, 6, 0], [0, 6]));
    }

    #[test]
    #[should_panic(expected = "outside its output")]
    fn a_task_without_a_part_is_refused() {
        let (mut outputs, mut scratch) = ([0; 4], [0; 1]);
        let (outputs, scratch) = (Parts::new(&mut outputs, 2), Parts::new(&mut scratch, 1));
        let work = Work { phase: Phase::Sample, tasks: 3, elements: 3 };
        run_apart(&Serial, work, outputs, scratch, |_, _, _| {});
    }
}
