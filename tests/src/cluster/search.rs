//! The greatest load at which answers still begin in time, by bisection.
use super::report::Run;
use super::run::{Failure, run};
use super::settings::{SECOND, Settings};

/// Runs that narrow the load down, each to half of the range before.
const ROUNDS: usize = 7;
/// Requests a second of a replica between which is searched, in thousandths.
const RANGE: (u64, u64) = (20, 4000);

/// Whether all requests of a run were answered, and at most one in twenty waited longer than
/// `first_ns` for its first token.
pub fn holds(run: &Run, first_ns: u64) -> bool {
    run.outcome.failed() == 0 && run.outcome.first.per_mille_us(950).saturating_mul(1000) <= first_ns
}

/// Finds the greatest load that [`holds`], and returns that run; the one at the lowest rate of the
/// range if none does. An error if a run fails.
pub fn greatest(settings: &Settings, first_ns: u64) -> Result<Run, Failure> {
    let at = |per_mille: u64| {
        let mut settings = settings.clone();
        settings.load.between_ns = 1000 * SECOND / per_mille / settings.replicas as u64;
        run(&settings).map(|outcome| Run { settings, outcome })
    };
    let (mut low, mut high) = RANGE;
    let mut best = at(low)?;
    if !holds(&best, first_ns) {
        return Ok(best);
    }
    for _ in 0..ROUNDS {
        // In ratios, for a load is as soon tenfold as a tenth.
        let middle = low.saturating_mul(high).isqrt();
        let run = at(middle)?;
        if holds(&run, first_ns) {
            (low, best) = (middle, run);
        } else {
            high = middle;
        }
    }
    Ok(best)
}
