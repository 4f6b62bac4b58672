//! The greatest load at which answers still begin in time, by bisection.
use super::report::Run;
use super::run::{Failure, run};
use super::settings::{SECOND, Settings};

/// Runs that narrow the load down, each to half of the range before.
const ROUNDS: usize = 7;
/// Requests a second of a replica between which is searched, in thousandths.
const RANGE: (u64, u64) = (20, 4000);

/// Finds the greatest load under which all requests are answered and at most one in twenty waits
/// longer than `first_ns` for its first token. Returns that run; an error if there is none in the
/// range, or if a run fails.
pub fn greatest(settings: &Settings, first_ns: u64) -> Result<Run, Failure> {
    let at = |per_mille: u64| {
        let mut settings = settings.clone();
        settings.load.between_ns = 1000 * SECOND / per_mille / settings.replicas as u64;
        run(&settings).map(|outcome| Run { settings, outcome })
    };
    let holds =
        |run: &Run| run.outcome.failed() == 0 && run.outcome.first.per_mille_us(950) * 1000 <= first_ns;
    let (mut low, mut high) = RANGE;
    let mut best = at(low)?;
    if !holds(&best) {
        let what = format!("even {} requests/s a replica are too many for that", low as f64 / 1e3);
        return Err(Failure { at_ns: 0, what });
    }
    for _ in 0..ROUNDS {
        // In ratios, for a load is as soon tenfold as a tenth.
        let middle = low.saturating_mul(high).isqrt();
        let run = at(middle)?;
        if holds(&run) {
            (low, best) = (middle, run);
        } else {
            high = middle;
        }
    }
    Ok(best)
}
