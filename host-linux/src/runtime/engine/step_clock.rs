//! The step that the engine computes now, for whoever watches it.
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use verbatim_core::engine::StepKind;

/// How long the watchdog sleeps where no step runs that it has not told of.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// A step that is being computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RunningStep {
    /// Which model computes it.
    pub kind: StepKind,
    /// How many rows it has.
    pub rows: usize,
    /// How long it has been running.
    pub age: Duration,
    /// How long it may run before it is told of.
    pub limit: Duration,
}

impl RunningStep {
    /// Whether it has run longer than it may.
    pub fn is_overdue(&self) -> bool {
        self.age > self.limit
    }
}

/// When the engine's steps begin and end. The engine thread alone writes it, and nobody who reads
/// it waits. A reader may see the end of one step with the rows of the next: a step that lasts is
/// told right.
#[derive(Debug)]
pub(super) struct StepClock {
    /// The moment from which times are counted, in ns; none of them is 0.
    origin: Instant,
    /// When the running step began; 0 while none runs.
    begun: AtomicU64,
    /// When a step ended last; 0 before the first one.
    ended: AtomicU64,
    /// ns that the running step may take.
    limit: AtomicU64,
    /// Rows of the running step, doubled, and 1 more if the draft model computes it.
    rows: AtomicU64,
    /// When the step began that was told of last.
    told: AtomicU64,
    /// Steps that took longer than they might.
    overdue: AtomicU64,
}

impl Default for StepClock {
    fn default() -> Self {
        let none = || AtomicU64::new(0);
        Self {
            origin: Instant::now(),
            begun: none(),
            ended: none(),
            limit: none(),
            rows: none(),
            told: none(),
            overdue: none(),
        }
    }
}

/// Ends the step when it is dropped, by a panic too.
#[derive(Debug)]
pub(super) struct StepGuard<'c>(&'c StepClock);

impl Drop for StepGuard<'_> {
    fn drop(&mut self) {
        self.0.ended.store(self.0.ns(Instant::now()), Ordering::Relaxed);
        self.0.begun.store(0, Ordering::Release);
    }
}

/// A time as it is stored: more than five hundred years fit.
fn stored(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

impl StepClock {
    fn ns(&self, now: Instant) -> u64 {
        stored(now.saturating_duration_since(self.origin)).max(1)
    }

    /// Notes that a step begins now which may take `limit`.
    pub(super) fn begin(&self, kind: StepKind, rows: usize, limit: Duration) -> StepGuard<'_> {
        self.limit.store(stored(limit), Ordering::Relaxed);
        self.rows.store(2 * rows as u64 + u64::from(kind == StepKind::Draft), Ordering::Relaxed);
        self.begun.store(self.ns(Instant::now()), Ordering::Release);
        StepGuard(self)
    }

    /// When the step that runs at `now` began, in ns, and what it is.
    fn begun(&self, now: Instant) -> Option<(u64, RunningStep)> {
        let begun = self.begun.load(Ordering::Acquire);
        let rows = self.rows.load(Ordering::Relaxed);
        let step = RunningStep {
            kind: if rows % 2 == 1 { StepKind::Draft } else { StepKind::Target },
            rows: (rows / 2) as usize,
            age: Duration::from_nanos(self.ns(now).saturating_sub(begun)),
            limit: Duration::from_nanos(self.limit.load(Ordering::Relaxed)),
        };
        (begun != 0).then_some((begun, step))
    }

    /// The step that runs at `now`.
    pub(super) fn running(&self, now: Instant) -> Option<RunningStep> {
        self.begun(now).map(|(_, step)| step)
    }

    /// How long before `now` a step ended last.
    pub(super) fn since_last(&self, now: Instant) -> Option<Duration> {
        let ended = self.ended.load(Ordering::Relaxed);
        (ended != 0).then(|| Duration::from_nanos(self.ns(now).saturating_sub(ended)))
    }

    /// How many steps took longer than they might.
    pub(super) fn overdue_count(&self) -> u64 {
        self.overdue.load(Ordering::Relaxed)
    }

    /// Looks at the step that runs at `now`. Returns it if it is overdue and was not returned
    /// before, and the time after which to look again. Only the watchdog calls this.
    pub(super) fn look(&self, now: Instant) -> (Option<RunningStep>, Duration) {
        let told = self.told.load(Ordering::Relaxed);
        let Some((begun, step)) = self.begun(now).filter(|(begun, _)| *begun != told) else {
            return (None, LOOK_EVERY);
        };
        if !step.is_overdue() {
            return (None, (step.limit - step.age).max(Duration::from_millis(1)));
        }
        self.told.store(begun, Ordering::Relaxed);
        self.overdue.fetch_add(1, Ordering::Relaxed);
        (Some(step), LOOK_EVERY)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_overdue_step_is_told_once() {
        let clock = StepClock::default();
        let start = Instant::now();
        assert_eq!(clock.look(start), (None, LOOK_EVERY));
        assert_eq!((clock.since_last(start), clock.running(start)), (None, None));
        let limit = Duration::from_secs(3600);
        let guard = clock.begin(StepKind::Target, 7, limit);
        let (told, wait) = clock.look(start + limit / 2);
        assert!(told.is_none() && wait >= limit / 2 && wait <= limit, "{wait:?}");
        let late = start + 2 * limit;
        let step = clock.look(late).0.expect("it is overdue");
        assert_eq!((step.kind, step.rows, step.limit), (StepKind::Target, 7, limit));
        assert!(step.age > limit && step.is_overdue());
        assert_eq!(clock.look(late), (None, LOOK_EVERY), "it was told");
        assert!(clock.running(late).is_some_and(|step| step.is_overdue()));
        drop(guard);
        assert_eq!((clock.running(late), clock.overdue_count()), (None, 1));
        assert!(clock.since_last(late).is_some());
        let _guard = clock.begin(StepKind::Draft, 1, limit);
        assert!(clock.look(late + limit).0.is_some_and(|step| step.kind == StepKind::Draft));
        assert_eq!(clock.overdue_count(), 2);
    }

    #[test]
    fn a_step_that_panics_has_ended() {
        let clock = StepClock::default();
        let panics = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let _guard = clock.begin(StepKind::Target, 1, Duration::ZERO);
            panic!("in a step")
        }));
        assert!(panics.is_err() && clock.running(Instant::now()).is_none());
    }
}
