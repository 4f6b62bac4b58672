//! Switches each planted bug on in turn and looks for the run that sees it: a simulator that finds
//! none of them would prove nothing by finding none in what is served. This module is only in the
//! build that `crate::mutants::build` makes.
use super::options::Setup;
use super::run::{Failure, run};
use verbatim_core::mutants::{Mutant, set};

/// How a bug was found.
#[derive(Clone, Debug)]
pub struct Found {
    /// The run that found it.
    pub setup: Setup,
    /// The failure that it saw.
    pub failure: Failure,
    /// How many runs it took, this one included.
    pub seeds: u64,
    /// Steps of all these runs together.
    pub steps: u64,
}

/// Runs `seeds` seeds from `setup`'s on with the bug switched on, until one fails.
pub fn hunt(mutant: Mutant, setup: &Setup, seeds: u64) -> Option<Found> {
    let was = set(Some(mutant));
    let mut steps = 0;
    let mut found = None;
    for i in 0..seeds {
        let setup = Setup { seed: setup.seed.wrapping_add(i), ..setup.clone() };
        match run(&setup) {
            Ok(outcome) => steps += outcome.steps,
            Err(failure) => {
                found = Some(Found { setup, steps: steps + failure.step, failure, seeds: i + 1 });
                break;
            }
        }
    }
    set(was);
    found
}

/// The bug of that name.
pub fn by_name(name: &str) -> Option<Mutant> {
    Mutant::ALL.iter().copied().find(|mutant| mutant.name() == name)
}
