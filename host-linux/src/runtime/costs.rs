//! What a guess costs on this machine, from measured steps: the engine, which has no clock, weighs it against what guesses bring.
use std::time::Duration;
use verbatim_core::engine::{Speculation, StepKind};

/// Running means of step times.
#[derive(Debug, Default)]
pub struct Costs {
    /// Seconds of a step of one row.
    one: Mean,
    /// Seconds that each further row adds to it.
    row: Mean,
    /// Seconds of a step of the model that drafts, for one sequence.
    draft: Mean,
}

/// A mean in which the latest values count most.
#[derive(Debug, Default)]
struct Mean(Option<f64>);

impl Mean {
    const WEIGHT: f64 = 0.1;

    fn add(&mut self, value: f64) {
        self.0 = Some(self.0.map_or(value, |mean| mean + Self::WEIGHT * (value - mean)));
    }
}

impl Costs {
    /// Steps of more rows than this are not what guesses make.
    const ROWS_MOST: usize = 64;

    /// A step of decoding sequences and their guesses took so long.
    pub fn note(&mut self, kind: StepKind, rows: usize, took: Duration) {
        let took = took.as_secs_f64();
        match (kind, rows, self.one.0) {
            (StepKind::Target, 1, _) => self.one.add(took),
            (StepKind::Target, 2..=Self::ROWS_MOST, Some(one)) => {
                self.row.add((took - one).max(0.0) / (rows - 1) as f64);
            }
            // A draft of several sequences is one of one and some rows.
            (StepKind::Draft, 1..=Self::ROWS_MOST, _) => {
                let more = self.row_cost().unwrap_or(0.0) * (rows - 1) as f64;
                self.draft.add(took / (1.0 + more));
            }
            _ => {}
        }
    }

    /// In steps of one row.
    fn row_cost(&self) -> Option<f64> {
        Some(self.row.0? / self.one.0.filter(|one| *one > 0.0)?)
    }

    /// The same speculation with what is known of its costs.
    pub fn of(&self, speculation: Speculation) -> Speculation {
        let row_cost = self.row_cost().map_or(speculation.row_cost, |cost| cost as f32);
        let draft_cost = match (self.draft.0, self.one.0) {
            (Some(draft), Some(one)) if one > 0.0 => (draft / one) as f32,
            _ => speculation.draft_cost,
        };
        Speculation { row_cost, draft_cost, ..speculation }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn costs_are_found_from_steps_of_several_sizes() {
        let mut costs = Costs::default();
        assert_eq!(costs.of(Speculation::AUTO), Speculation::AUTO, "nothing is known");
        let ms = |ms: f64| Duration::from_secs_f64(ms / 1e3);
        for _ in 0..50 {
            costs.note(StepKind::Target, 1, ms(10.0));
            costs.note(StepKind::Target, 9, ms(18.0));
            costs.note(StepKind::Draft, 1, ms(4.0));
            costs.note(StepKind::Draft, 6, ms(6.0));
            costs.note(StepKind::Target, 512, ms(900.0));
        }
        let found = costs.of(Speculation::AUTO);
        assert!((found.row_cost - 0.1).abs() < 1e-3, "{found:?}");
        assert!((found.draft_cost - 0.4).abs() < 1e-2, "{found:?}");
    }
}
