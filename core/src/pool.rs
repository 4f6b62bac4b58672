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
