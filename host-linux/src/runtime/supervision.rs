//! How an engine is watched, and how often it may be started again.
use std::time::Duration;

/// The time within which restarts are counted.
pub const RESTART_WINDOW: Duration = Duration::from_secs(60);

/// How an engine is watched, and how often it may be started again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Supervision {
    /// Restarts after a panic within [`RESTART_WINDOW`], at most. One panic more is a failure that
    /// ends the engine for good.
    pub restarts_max: u32,
    /// A step that takes this many times its budget is told of. The budget is that of
    /// [`Options::step_ms`](super::Options::step_ms), or what the machine needs; one second where
    /// there is none.
    pub watchdog_factor: u32,
    /// No step is told of before it has taken this long.
    pub watchdog_min: Duration,
}

impl Default for Supervision {
    fn default() -> Self {
        Self { restarts_max: 5, watchdog_factor: 100, watchdog_min: Duration::from_secs(1) }
    }
}

impl Supervision {
    /// How long a step may take before it is told of, if its budget is `budget`; zero is none.
    pub(super) fn step_limit(&self, budget: Duration) -> Duration {
        let budget = if budget.is_zero() { Duration::from_secs(1) } else { budget };
        budget.saturating_mul(self.watchdog_factor).max(self.watchdog_min)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_may_take_a_hundred_times_its_budget_and_a_second_at_least() {
        let limit = |ms| Supervision::default().step_limit(Duration::from_millis(ms));
        assert_eq!(limit(200), Duration::from_secs(20));
        assert_eq!(limit(2), Duration::from_secs(1));
        assert_eq!(limit(0), Duration::from_secs(100), "without a bound a step may be long");
    }
}
