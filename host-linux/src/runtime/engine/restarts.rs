//! How often the engine may still be started again.
use std::collections::VecDeque;
use std::time::Duration;

/// Counts restarts within a window of time. It owns no clock.
#[derive(Debug)]
pub(super) struct RestartBudget {
    max: usize,
    window: Duration,
    /// When restarts within the window were, oldest first.
    times: VecDeque<Duration>,
}

impl RestartBudget {
    /// At most `max` restarts within any `window`.
    pub(super) fn new(max: u32, window: Duration) -> Self {
        Self { max: max as usize, window, times: VecDeque::new() }
    }

    /// Asks for a restart at `now`, the time since any fixed moment; `false` if there were too many
    /// within the window before it.
    pub(super) fn take(&mut self, now: Duration) -> bool {
        while self.times.front().is_some_and(|time| now.saturating_sub(*time) >= self.window) {
            self.times.pop_front();
        }
        let is_granted = self.times.len() < self.max;
        if is_granted {
            self.times.push_back(now);
        }
        is_granted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_restarts_are_granted_in_any_window() {
        let at = |seconds| Duration::from_secs(seconds);
        let mut budget = RestartBudget::new(2, at(60));
        assert!(budget.take(at(10)) && budget.take(at(40)));
        assert!(!budget.take(at(69)), "two within the minute before");
        assert!(budget.take(at(70)), "the first is a minute old");
        assert!(!budget.take(at(99)) && budget.take(at(100)));
        assert!(!RestartBudget::new(0, at(60)).take(at(1)), "none is granted at all");
    }
}
