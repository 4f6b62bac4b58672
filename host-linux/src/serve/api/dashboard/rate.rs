//! How fast a count grows, as the mean of about the last second.
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Time over which the mean is taken, where there are readings enough.
const WINDOW: Duration = Duration::from_secs(1);
/// Readings that are kept, at most.
const POINTS_MAX: usize = 16;

/// Readings of a count, the latest ones.
#[derive(Clone, Debug, Default)]
pub(super) struct Rate(VecDeque<(Instant, u64)>);

impl Rate {
    /// Notes what the count was at a time that is not before the last one.
    pub(super) fn note(&mut self, at: Instant, count: u64) {
        self.0.push_back((at, count));
        let is_old = |points: &VecDeque<(Instant, u64)>| {
            points.len() > 2
                && (points.len() > POINTS_MAX || at.saturating_duration_since(points[1].0) >= WINDOW)
        };
        while is_old(&self.0) {
            self.0.pop_front();
        }
    }

    /// By how much it grew in a second; none before two readings at different times.
    pub(super) fn per_second(&self) -> Option<f64> {
        let ((from, before), (to, after)) = (*self.0.front()?, *self.0.back()?);
        let seconds = to.saturating_duration_since(from).as_secs_f64();
        (seconds > 0.0).then(|| after.saturating_sub(before) as f64 / seconds)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_second_counts() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut rate = Rate::default();
        assert_eq!(rate.per_second(), None);
        rate.note(at(0), 100);
        assert_eq!(rate.per_second(), None);
        rate.note(at(0), 101);
        assert_eq!(rate.per_second(), None, "no time has passed");
        rate.note(at(500), 150);
        assert_eq!(rate.per_second(), Some(100.0));
        for i in 1..=8 {
            rate.note(at(500 + 250 * i), 150 + 5 * i);
        }
        assert_eq!(rate.per_second(), Some(20.0), "what came before is forgotten");
        rate.note(at(60_000), 190);
        assert_eq!(rate.0.len(), 2, "two readings are kept, however old");
        for i in 0..1000 {
            rate.note(at(60_000 + i), 190);
        }
        assert!(rate.0.len() <= POINTS_MAX + 1 && rate.per_second() == Some(0.0));
    }
}
