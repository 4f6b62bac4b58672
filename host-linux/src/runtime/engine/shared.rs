//! What the engine thread tells all handles at once. Gauges and statistics are read without a lock,
//! so that a reader never waits for the engine.
use super::condition::Condition;
use super::snapshot::{EngineGauges, Snapshot};
use super::stats::EngineStats;
use super::step_clock::StepClock;
use super::view::Views;
use verbatim_core::engine::{Counters, Engine, Status};

/// What the engine thread tells all handles.
#[derive(Debug, Default)]
pub(super) struct Shared {
    gauges: Snapshot,
    /// What was measured of steps and tokens.
    pub(super) stats: EngineStats,
    /// The step that runs now.
    pub(super) steps: StepClock,
    /// Whether the engine runs.
    pub(super) condition: Condition,
    /// What is shown to those who watch.
    pub(super) views: Views,
}

impl Shared {
    /// Stores what an engine does now. What the engines `before` it have done counts as done by it.
    pub(super) fn store_gauges(&self, engine: &Engine<'_>, before: &Counters) {
        self.gauges.store(&gauges_of(engine, before));
    }

    pub(super) fn gauges(&self) -> EngineGauges {
        self.gauges.load()
    }

    /// Stores that nothing runs or waits, since the engine is gone; returns what was done so far.
    pub(super) fn close_gauges(&self) -> Counters {
        let mut gauges = self.gauges();
        let Status { running, waiting, free_blocks, blocks, .. } = &mut gauges.status;
        (*running, *waiting, *free_blocks) = (0, 0, *blocks);
        self.gauges.store(&gauges);
        self.views.close(&gauges);
        gauges.counters
    }
}

/// What an engine does now. What the engines `before` it have done counts as done by it.
pub(super) fn gauges_of(engine: &Engine<'_>, before: &Counters) -> EngineGauges {
    let counters = engine.counters().plus(before);
    let mut status = engine.status();
    (status.steps, status.preemptions) = (counters.steps, counters.preemptions);
    EngineGauges { status, counters }
}
