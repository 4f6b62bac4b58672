//! What the calling side of a pool knows: how long operations take, whether helpers pay, and which
//! step is open.
use super::costs::Costs;
use super::judge::{Judge, Mode, StepTimes};
use std::thread::ThreadId;
use std::time::{Duration, Instant};

/// Sleeping workers are woken once a step, and again only for an operation that they shorten by
/// this many ns: several times the time until a woken worker runs.
const WAKE_AGAIN_NS: f64 = 200e3;

/// The state of the calling side. Threads that call one pool take turns and share it.
#[derive(Debug)]
pub(super) struct Caller {
    pub(super) costs: Costs,
    judge: Judge,
    step: Option<OpenStep>,
}

/// A step that has begun and not ended. It belongs to the thread that began it: while it is open,
/// steps of other threads are not judged, and their runs count as outside of any step.
#[derive(Debug)]
struct OpenStep {
    owner: ThreadId,
    /// 1, and 1 more for each step that was begun inside this one; those are parts of it.
    depth: usize,
    size: usize,
    mode: Mode,
    start: Instant,
    has_woken: bool,
    times: StepTimes,
}

/// Where the time of a run that was handed out went.
#[derive(Clone, Copy, Debug)]
pub(super) struct HandedOut {
    /// ns that all its tasks take on one thread.
    pub(super) alone_ns: f64,
    /// The share of tasks that helpers ran.
    pub(super) helped: f64,
    /// The time for which the caller waited for tasks of helpers.
    pub(super) waited: Duration,
}

impl Caller {
    /// The state for a pool with this many workers besides the caller.
    pub(super) fn new(helpers: usize, dispatch: Duration) -> Self {
        Self { costs: Costs::new(dispatch), judge: Judge::new(helpers), step: None }
    }

    /// The open step, if it is one of the calling thread.
    fn own_step(&mut self) -> Option<&mut OpenStep> {
        self.step.as_mut().filter(|step| step.owner == std::thread::current().id())
    }

    /// Begins a step of this size, or a part of the one that this thread has open.
    pub(super) fn begin(&mut self, size: usize) {
        if let Some(step) = self.own_step() {
            step.depth += 1;
            return;
        }
        if self.step.is_some() {
            return;
        }
        let owner = std::thread::current().id();
        let mode = self.judge.mode(size);
        let times = StepTimes::default();
        let start = Instant::now();
        self.step = Some(OpenStep { owner, depth: 1, size, mode, start, has_woken: false, times });
    }

    /// Ends the step, or the part of it, that this thread began last.
    pub(super) fn end(&mut self) {
        let Some(step) = self.own_step() else { return };
        step.depth -= 1;
        if step.depth == 0 {
            step.times.wall = step.start.elapsed().as_nanos() as f64;
            let (size, times) = (step.size, step.times);
            self.judge.note(size, &times);
            self.step = None;
        }
    }

    /// Whether a step of the calling thread is open.
    pub(super) fn is_in_step(&mut self) -> bool {
        self.own_step().is_some()
    }

    /// Whether a step of any thread is open.
    #[cfg(test)]
    pub(super) fn has_open_step(&self) -> bool {
        self.step.is_some()
    }

    /// Whether runs may be handed out now: outside a step, and in steps that run together.
    pub(super) fn has_helpers(&mut self) -> bool {
        self.own_step().is_none_or(|step| step.mode == Mode::Together)
    }

    /// Whether to wake sleeping workers for an operation that they shorten by `saved_ns`.
    pub(super) fn should_wake(&mut self, saved_ns: f64) -> bool {
        match self.own_step() {
            Some(step) => !std::mem::replace(&mut step.has_woken, true) || saved_ns > WAKE_AGAIN_NS,
            None => true,
        }
    }

    /// Adds a run that was handed out to the times of the open step.
    pub(super) fn note(&mut self, run: &HandedOut) {
        if let Some(step) = self.own_step() {
            step.times.waited += run.waited.as_nanos() as f64;
            step.times.shared += run.alone_ns;
            step.times.helped += run.alone_ns * run.helped;
        }
    }
}
