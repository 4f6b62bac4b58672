//! When copies of what the engine does are made for those who watch: at most every
//! [`SHOWN_EVERY`], and so seldom that all of them take less than 1/[`TIMES_LESS`] of the engine's
//! time, however many come and go. It is told the times, and reads no clock.
use std::time::{Duration, Instant};

/// Shortest time between two copies.
const SHOWN_EVERY: Duration = Duration::from_millis(100);
/// The time until the next copy, at least, in times that one usually takes.
const TIMES_LESS: u32 = 400;
/// The time between the first copy and the second, at most. The first one finds cold memory and may
/// have lost its processor, and it alone says nothing of what one usually takes.
const FIRST_PAUSE: Duration = Duration::from_secs(1);

/// When views may be made, whoever watches.
#[derive(Debug, Default)]
pub(super) struct Pace {
    /// When the next one may be made; none if it may be at once.
    due: Option<Instant>,
    /// How long it usually takes to make one.
    usual: Duration,
}

impl Pace {
    /// The time until a view may be made.
    pub(super) fn left(&self, now: Instant) -> Duration {
        self.due.map_or(Duration::ZERO, |due| due.saturating_duration_since(now))
    }

    /// Notes that one was made between these times.
    pub(super) fn note(&mut self, start: Instant, end: Instant) {
        self.usual = usual(self.usual, end - start);
        let pause = SHOWN_EVERY.max(self.usual * TIMES_LESS);
        let pause = if self.due.is_none() { pause.min(FIRST_PAUSE) } else { pause };
        self.due = Some(end + pause);
    }
}

/// How long something usually takes that took `before` and now `took`. A thread that lost its
/// processor meanwhile makes it longer, and nothing makes it shorter.
fn usual(before: Duration, took: Duration) -> Duration {
    if before.is_zero() { took } else { took.min(before + took.saturating_sub(before) / 16) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_long_look_does_not_make_the_next_ones_rare() {
        let us = Duration::from_micros;
        let mut time = usual(Duration::ZERO, us(50));
        assert_eq!((time, usual(time, us(20))), (us(50), us(20)));
        time = usual(time, us(1650));
        assert_eq!(time, us(150), "a sixteenth of what it took longer");
        (0..200).for_each(|_| time = usual(time, us(1000)));
        assert!(time > us(950), "what lasts is learned: {time:?}");
    }

    #[test]
    fn a_first_look_that_took_long_hides_the_engine_for_a_second_at_most() {
        let (ms, start) = (Duration::from_millis, Instant::now());
        let left_after = |first: u64, second: u64| {
            let mut pace = Pace::default();
            let end = start + ms(first);
            pace.note(start, end);
            let before = pace.left(end);
            let (start, end) = (end + before, end + before + ms(second));
            pace.note(start, end);
            (before, pace.left(end))
        };
        assert_eq!(left_after(100, 1), (ms(1000), ms(400)), "it was an accident");
        assert_eq!(left_after(2, 2), (ms(800), ms(800)));
        assert_eq!(left_after(100, 100), (ms(1000), ms(40_000)), "it always takes so long");
    }
}
