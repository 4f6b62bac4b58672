//! Work of all workers, timed; the best of several rounds counts, for other users of a machine only
//! slow it down.
use std::time::{Duration, Instant};
use verbatim_core::pool::{Phase, Pool};

/// How much is done for one figure.
#[derive(Clone, Copy, Debug)]
pub struct Effort {
    /// Rounds, of which the best counts; the first is always done.
    pub rounds: usize,
    /// No round begins after this time, however few there were.
    pub time: Duration,
    /// About how long a round of arithmetic takes. On a busy machine some short rounds are left in
    /// peace, where all long ones are interrupted.
    pub round: Duration,
}

/// A round that other programs of an idle machine hardly show in.
const LONG_ROUND: Duration = Duration::from_millis(60);

impl Effort {
    /// So many rounds, however long they take.
    pub const fn rounds(rounds: usize) -> Self {
        Self { rounds, time: Duration::MAX, round: LONG_ROUND }
    }
}

/// Operations a second of `each(worker)` run on all workers, the best of the rounds; `operations`
/// is one worker's.
pub(super) fn best_of(
    effort: Effort,
    pool: &dyn Pool,
    operations: f64,
    each: &(dyn Fn(usize) + Sync),
) -> f64 {
    let (mut rate, begun) = (0.0_f64, Instant::now());
    for round in 0..effort.rounds.max(1) {
        if round > 0 && begun.elapsed() > effort.time {
            break;
        }
        let start = Instant::now();
        pool.run(Phase::Load, pool.workers(), &|task, _| each(task));
        rate = rate.max(operations * pool.workers() as f64 / start.elapsed().as_secs_f64());
    }
    rate
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use verbatim_core::pool::Serial;

    #[test]
    fn rounds_end_with_their_time() {
        let count = |effort| {
            let rounds = AtomicUsize::new(0);
            let rate = best_of(effort, &Serial, 1.0, &|_| _ = rounds.fetch_add(1, Ordering::Relaxed));
            assert!(rate > 0.0);
            rounds.into_inner()
        };
        assert_eq!(count(Effort::rounds(3)), 3);
        assert_eq!(count(Effort { rounds: 1_000_000_000, time: Duration::ZERO, round: LONG_ROUND }), 1);
        assert_eq!(count(Effort::rounds(0)), 1);
    }
}
