//! How long operations take, and whether handing one out saves time.
//!
//! An operation that takes `t` on one thread takes about `t / (h + 1)` with `h` helpers, and one
//! dispatch. It is handed out if that saves [`MARGIN`] times the dispatch. Both are measured: the
//! dispatch when the pool starts, `t` as a running mean for each phase and each power of two of the
//! size. Nothing here depends on the model, its formats or the machine.
use std::time::Duration;
use verbatim_core::pool::Phase;

/// How much time handing out must save, in dispatches.
const MARGIN: f64 = 2.0;
/// ns for an element of an operation that was never timed: about those of a small product.
const ELEMENT_NS: f64 = 0.1;
/// The number of sizes told apart, one for each highest bit.
const SIZES: usize = usize::BITS as usize;
/// One in this many runs on the calling thread is timed: reading the clock costs as much as a
/// small norm.
const TIMED_EVERY: u32 = 16;
/// The weight of a new time in its mean.
const NEW: f64 = 1.0 / 8.0;

/// The running means of operations' times, and the time of a dispatch.
#[derive(Debug)]
pub(super) struct Costs {
    dispatch_ns: f64,
    /// ns an element on one thread, `[phase][size]`; 0 is unknown.
    element_ns: Vec<[f32; SIZES]>,
    turn: u32,
}

fn size_of(elements: usize) -> usize {
    elements.max(1).ilog2() as usize
}

impl Costs {
    /// Knows only the time of a dispatch to a worker that spins.
    pub(super) fn new(dispatch: Duration) -> Self {
        Self {
            dispatch_ns: dispatch.as_nanos() as f64,
            element_ns: vec![[0.0; SIZES]; Phase::COUNT],
            turn: 0,
        }
    }

    /// Estimates how many ns an operation takes on one thread.
    pub(super) fn alone_ns(&self, phase: Phase, elements: usize) -> f64 {
        let known = f64::from(self.element_ns[phase as usize][size_of(elements)]);
        elements as f64 * if known > 0.0 { known } else { ELEMENT_NS }
    }

    /// Whether `helpers` save more than handing the operation to them costs.
    pub(super) fn are_worth(&self, alone_ns: f64, helpers: usize) -> bool {
        saved_ns(alone_ns, helpers) > MARGIN * self.dispatch_ns
    }

    /// Whether the next run on the calling thread alone should be timed.
    pub(super) fn is_due(&mut self, phase: Phase, elements: usize) -> bool {
        self.turn = self.turn.wrapping_add(1);
        self.turn.is_multiple_of(TIMED_EVERY) || self.element_ns[phase as usize][size_of(elements)] == 0.0
    }

    /// Notes what an operation took, or would have taken, on one thread.
    pub(super) fn note(&mut self, phase: Phase, elements: usize, alone_ns: f64) {
        let mean = &mut self.element_ns[phase as usize][size_of(elements)];
        let new = alone_ns / elements.max(1) as f64;
        let old = f64::from(*mean);
        // A thread that was descheduled did not work longer, so a time counts as at most twice the
        // mean.
        *mean = if old == 0.0 { new } else { old + NEW * (new.min(2.0 * old) - old) } as f32;
    }
}

/// ns that `helpers` take off an operation, before what it costs to hand it out.
pub(super) fn saved_ns(alone_ns: f64, helpers: usize) -> f64 {
    alone_ns * helpers as f64 / (helpers + 1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_operations_stay_and_large_ones_go_out() {
        let mut costs = Costs::new(Duration::from_nanos(500));
        let (small, large) = (costs.alone_ns(Phase::Down, 1000), costs.alone_ns(Phase::Down, 1 << 20));
        assert!(!costs.are_worth(small, 1) && costs.are_worth(large, 1));
        assert!(!costs.are_worth(large, 0), "nobody is there");
        // It turns out that a large one takes 1 µs: not worth it. Its neighbours in size are known
        // by their own times.
        costs.note(Phase::Down, 1 << 20, 1000.0);
        assert!(!costs.are_worth(costs.alone_ns(Phase::Down, 1 << 20), 63));
        assert!(costs.are_worth(costs.alone_ns(Phase::Down, 1 << 21), 1));
        assert!(costs.are_worth(costs.alone_ns(Phase::Head, 1 << 20), 1));
    }

    #[test]
    fn a_pause_of_the_machine_is_not_an_operations_time() {
        let mut costs = Costs::new(Duration::from_nanos(500));
        (0..100).for_each(|_| costs.note(Phase::Qkv, 1000, 2000.0));
        costs.note(Phase::Qkv, 1000, 1e9);
        assert!(costs.alone_ns(Phase::Qkv, 1000) < 2300.0);
        (0..100).for_each(|_| costs.note(Phase::Qkv, 1000, 4000.0));
        assert!((3900.0..4100.0).contains(&costs.alone_ns(Phase::Qkv, 1000)), "but a change is learned");
    }
}
