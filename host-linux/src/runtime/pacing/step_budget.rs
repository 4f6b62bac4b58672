//! How many rows a step may have so that running streams wait no longer than they should: from
//! measured steps. It changes when things are computed, never what.
//!
//! A step of `r` rows takes about `a + b r`. The budget `r' = r · target / time` has its fixed
//! point where a step takes the target, comes to it from below without passing it, and needs
//! neither `a` nor `b`. It starts small and at most doubles.
use std::time::Duration;
use verbatim_core::engine::PREFILL_ROWS_MIN;

/// The number of rows that the next step may have.
#[derive(Debug)]
pub(in crate::runtime) struct StepBudget {
    /// The time that a step should take; zero is no bound.
    step: Duration,
    /// The mean time of recent steps in which sequences only decode.
    decode: Duration,
    budget: f64,
}

impl StepBudget {
    /// Rows of the first step: no CPU is so slow that they take long.
    const ROWS_FIRST: usize = 16;
    /// How much longer a step with prefill may take than one without. A stream that is slow by
    /// itself hides the difference.
    const OVER_DECODE: f64 = 1.5;

    pub(in crate::runtime) fn new(step_ms: u64) -> Self {
        Self { step: Duration::from_millis(step_ms), decode: Duration::ZERO, budget: Self::ROWS_FIRST as f64 }
    }

    /// Rows of the next step, at most, while `running` sequences run.
    pub(in crate::runtime) fn rows(&self, running: usize) -> usize {
        if self.step.is_zero() {
            return usize::MAX;
        }
        // A row for each stream, so that none waits for two steps, and some for a long prompt, so
        // that it comes to its end.
        (self.budget.round() as usize).max(running + PREFILL_ROWS_MIN)
    }

    /// The time that a step should take at most on this machine; zero is no bound.
    pub(in crate::runtime) fn target(&self) -> Duration {
        if self.step.is_zero() { self.step } else { self.step.max(self.decode.mul_f64(Self::OVER_DECODE)) }
    }

    /// Notes how long a step of `rows` rows took; `is_decode` if no prompt had a part in it.
    pub(in crate::runtime) fn note(&mut self, rows: usize, is_decode: bool, took: Duration) {
        if is_decode {
            self.decode = if self.decode.is_zero() { took } else { (3 * self.decode + took) / 4 };
        }
        let target = self.step.as_secs_f64().max(self.decode.as_secs_f64() * Self::OVER_DECODE);
        let took = took.as_secs_f64();
        // A step with room left says nothing about a full one, unless it took too long as it was.
        let was_full = rows as f64 >= 0.75 * self.budget;
        if took <= 0.0 || !(was_full || took > target) {
            return;
        }
        self.budget = (rows as f64 * target / took).min(2.0 * self.budget).max(1.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A machine on which a step of `rows` takes `base + each · rows` milliseconds; the budgets and
    /// times of some steps while a long prompt arrives beside `decoding` sequences.
    fn run(step_ms: u64, (base, each): (f64, f64), decoding: usize, steps: usize) -> Vec<(usize, f64)> {
        let mut budget = StepBudget::new(step_ms);
        let time = |rows: usize| base + each * rows as f64;
        let note = |rows: usize, is_decode, budget: &mut StepBudget| {
            budget.note(rows, is_decode, Duration::from_secs_f64(time(rows) / 1e3));
        };
        for _ in 0..if decoding > 0 { 10 } else { 0 } {
            note(decoding, true, &mut budget);
        }
        (0..steps)
            .map(|_| {
                let rows = budget.rows(decoding + 1).min(512);
                note(rows, false, &mut budget);
                (rows, time(rows))
            })
            .collect()
    }

    #[test]
    fn a_step_takes_what_it_should_and_never_much_longer() {
        for (base, each) in [(100.0, 2.0), (10.0, 0.5), (1.0, 0.1), (0.1, 4.0), (150.0, 8.0)] {
            for decoding in [0, 1, 8] {
                let steps = run(200, (base, each), decoding, 60);
                let idle = base + each * decoding as f64;
                let bound = if decoding == 0 { 200.0 } else { f64::max(200.0, 1.5 * idle) };
                let worst = |steps: &[(usize, f64)]| steps.iter().map(|(_, time)| *time).fold(0.0, f64::max);
                // Until the machine is known, the bar; then what is aimed at.
                assert!(worst(&steps[..8]) <= 2.0 * f64::max(200.0, idle), "{base} + {each} rows: {steps:?}");
                assert!(
                    worst(&steps[8..]) <= 1.05 * bound,
                    "{base} + {each} rows beside {decoding}: {steps:?}"
                );
                let (rows, time) = steps[59];
                assert!(time >= 0.9 * bound || rows == 512, "{base} + {each} rows: only {time} ms");
            }
        }
    }

    #[test]
    fn a_machine_slower_than_the_step_still_makes_progress() {
        let steps = run(20, (500.0, 40.0), 4, 40);
        assert!(steps.iter().all(|(rows, _)| *rows >= 5 + PREFILL_ROWS_MIN), "everyone has a row");
        let idle = 500.0 + 40.0 * 4.0;
        assert!(steps.iter().all(|(_, time)| *time <= 2.0 * idle));
    }

    #[test]
    fn small_steps_do_not_shrink_the_budget() {
        let mut budget = StepBudget::new(200);
        for _ in 0..10 {
            let rows = budget.rows(1).min(512);
            budget.note(rows, false, Duration::from_secs_f64(0.01 + rows as f64 * 0.001));
        }
        let before = budget.rows(1);
        assert!(before > 150);
        for _ in 0..100 {
            budget.note(1, true, Duration::from_millis(60));
        }
        assert_eq!(budget.rows(1), before);
        assert_eq!(StepBudget::new(0).rows(3), usize::MAX);
    }
}
