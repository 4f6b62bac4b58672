//! How a host lends its threads.
//!
//! The core cuts a phase of a step into tasks whose results do not depend on who runs them, in
//! which order, or how many workers there are. A pool only has to run each of them once. [`Serial`]
//! does it on the calling thread; `host-linux` has a futex pool; the tests have one that permutes
//! everything.

/// What a run of tasks is for: names a span in a trace, and lets a test count products.
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

/// Runs tasks on some number of workers.
///
/// # Safety
///
/// The implementation promises what the core's shared outputs and per-worker scratch rest on:
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
