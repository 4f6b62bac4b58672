//! From a failing run to a small one that fails too: fewer steps, fewer requests, fewer features.
use super::options::{Feature, Setup};
use super::run::{Failure, run};

/// How many runs shrinking may take.
const ATTEMPTS: usize = 120;

/// The smallest failing run that was found.
#[derive(Clone, Debug)]
pub struct Small {
    /// The seed and the features of the run.
    pub setup: Setup,
    /// How it fails, which may differ from the first failure.
    pub failure: Failure,
    /// How many runs it took to find.
    pub attempts: usize,
}

/// Looks for a smaller failing run in a bounded number of tries.
pub fn shrink(setup: &Setup, failure: &Failure) -> Small {
    let first = Setup { steps: setup.steps.min(failure.step + 1), ..setup.clone() };
    let mut small = Small { setup: setup.clone(), failure: failure.clone(), attempts: 0 };
    small.attempt(first);
    for feature in Feature::ALL {
        let without = small.setup.without.and(*feature);
        small.attempt(Setup { without, ..small.setup.clone() });
    }
    small.drop_requests();
    for feature in Feature::ALL.iter().filter(|f| !small.setup.without.has(**f)).collect::<Vec<_>>() {
        let without = small.setup.without.and(*feature);
        small.attempt(Setup { without, ..small.setup.clone() });
    }
    small
}

impl Small {
    /// Keeps the setup if it fails, too.
    fn attempt(&mut self, setup: Setup) -> bool {
        if self.attempts >= ATTEMPTS || setup == self.setup {
            return false;
        }
        self.attempts += 1;
        match run(&setup) {
            Ok(_) => false,
            Err(failure) => {
                let steps = setup.steps.min(failure.step + 1);
                self.setup = Setup { steps, ..setup };
                self.failure = failure;
                true
            }
        }
    }

    /// Leaves out ever smaller parts of the requests (Zeller and Hildebrandt, 2002).
    fn drop_requests(&mut self) {
        // An upper bound of the requests that the turns of these steps can have made.
        let requests_max = (self.setup.steps as usize).saturating_mul(2) + 20;
        let mut kept: Vec<usize> = self.setup.only.clone().unwrap_or_else(|| (0..requests_max).collect());
        let mut part = kept.len().div_ceil(2);
        while part > 0 && self.attempts < ATTEMPTS {
            let mut start = 0;
            while start < kept.len() && kept.len() > 1 {
                let mut fewer = kept.clone();
                fewer.drain(start..kept.len().min(start + part));
                if !fewer.is_empty()
                    && self.attempt(Setup { only: Some(fewer.clone()), ..self.setup.clone() })
                {
                    kept = fewer;
                } else {
                    start += part;
                }
            }
            part = if part == 1 { 0 } else { part.div_ceil(2) };
        }
    }
}
