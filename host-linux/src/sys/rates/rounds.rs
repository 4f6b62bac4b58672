//! Work of all workers, timed; the best of several rounds counts, for other users of a machine only
//! slow it down.
use std::time::Instant;
use verbatim_core::pool::{Phase, Pool};

/// Operations a second of `each(worker)` run on all workers, the best of the rounds; `operations`
/// is one worker's.
pub(super) fn best_of(rounds: usize, pool: &dyn Pool, operations: f64, each: &(dyn Fn(usize) + Sync)) -> f64 {
    let mut rate = 0.0_f64;
    for _ in 0..rounds {
        let start = Instant::now();
        pool.run(Phase::Load, pool.workers(), &|task, _| each(task));
        rate = rate.max(operations * pool.workers() as f64 / start.elapsed().as_secs_f64());
    }
    rate
}
