//! What a draft token costs on this machine, from measured steps: the engine, which has no clock,
//! weighs it against what draft tokens bring.
use std::time::Duration;
use verbatim_core::engine::{Engine, PlanId, Speculation, StepKind};

/// The rows of a planned step by what they are for.
#[derive(Clone, Copy, Debug)]
pub struct StepRows {
    /// Whose step it is.
    pub kind: StepKind,
    /// All rows of the step.
    pub count: usize,
    /// The rows from which a token is drawn.
    pub samples: usize,
    /// The rows of draft tokens.
    pub drafted: usize,
    /// The sequences that have draft tokens in the step.
    pub drafts: usize,
}

impl StepRows {
    /// Counts the rows of a plan that was not executed yet.
    pub fn of(engine: &Engine<'_>, plan: PlanId) -> Self {
        let mut rows = Self { kind: plan.kind, count: 0, samples: 0, drafted: 0, drafts: 0 };
        for row in engine.rows(plan) {
            rows.count += 1;
            rows.samples += usize::from(row.samples);
            rows.drafted += usize::from(row.drafted > 0);
            rows.drafts += usize::from(row.drafted == 1);
        }
        rows
    }

    /// Whether no prompt has a part in the step.
    pub fn is_decode(&self) -> bool {
        self.kind == StepKind::Draft || self.samples == self.count
    }
}

/// What steps cost, from the latest of them.
#[derive(Debug, Default)]
pub struct Costs {
    /// Seconds of a step of one row, from steps without draft tokens, of any number of rows.
    one: Running,
    /// What each further row adds, in steps of one row; from steps with draft tokens.
    row: Running,
    /// A step of the draft model, in steps of the served model of as many rows.
    draft: Running,
}

/// A mean in which the latest values count most. A busy machine makes steps longer, some a hundred
/// times, and none shorter: the mean falls faster than it rises, and a single value lifts it by
/// little.
#[derive(Debug, Default)]
struct Running(Option<f64>);

impl Running {
    const FALL: f64 = 0.3;
    const RISE: f64 = 0.15;

    /// Adds a value, which counts as at most `slack` more than twice the mean.
    fn add(&mut self, value: f64, slack: f64) {
        self.0 = Some(self.0.map_or(value, |mean| {
            let value = value.min(2.0 * mean + slack);
            let weight = if value < mean { Self::FALL } else { Self::RISE };
            mean + weight * (value - mean)
        }));
    }

    /// Moves a mean above `down_to` a share of the way down to it.
    fn forget(&mut self, share: f64, down_to: f64) {
        if let Some(mean) = &mut self.0 {
            *mean -= share * (*mean - down_to).max(0.0);
        }
    }
}

impl Costs {
    /// Steps of more rows than this do not come from draft tokens.
    const ROWS_MAX: usize = 64;
    /// The costs that are assumed before anything is measured.
    const ROW: f64 = Speculation::AUTO.row_cost as f64;
    const DRAFT: f64 = Speculation::AUTO.draft_cost as f64;
    /// Costs that forbid all drafting would never be measured again. With each step without draft
    /// tokens they go back this share of the way to what was assumed at first, so that drafting is
    /// tried now and then.
    const FORGOTTEN: f64 = 1.0 / 256.0;

    /// Notes how long a step took. Steps in which a prompt has a part say nothing of draft tokens.
    pub fn note(&mut self, step: &StepRows, took: Duration) {
        let StepRows { kind, count: rows, drafted, .. } = *step;
        if !step.is_decode() || rows == 0 || rows > Self::ROWS_MAX {
            return;
        }
        let took = took.as_secs_f64();
        // In steps of one row, as far as is known.
        let size = 1.0 + self.row.0.unwrap_or(Self::ROW) * (rows - 1) as f64;
        if (kind, drafted) == (StepKind::Target, 0) {
            self.one.add(took / size, 0.0);
            self.row.forget(Self::FORGOTTEN, Self::ROW);
            self.draft.forget(Self::FORGOTTEN, Self::DRAFT);
            return;
        }
        let Some(one) = self.one.0.filter(|one| *one > 0.0) else { return };
        let steps = took / one;
        match kind {
            StepKind::Target if rows > 1 => {
                self.row.add((steps - 1.0).max(0.0) / (rows - 1) as f64, Self::ROW);
            }
            StepKind::Target => {}
            StepKind::Draft => self.draft.add(steps / size, Self::DRAFT),
        }
    }

    /// A copy of `speculation` with the costs that were measured.
    pub fn of(&self, speculation: Speculation) -> Speculation {
        let known = |cost: &Running, else_: f32| cost.0.map_or(else_, |cost| cost as f32);
        Speculation {
            row_cost: known(&self.row, speculation.row_cost),
            draft_cost: known(&self.draft, speculation.draft_cost),
            ..speculation
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rows of sequences that decode.
    fn step(kind: StepKind, count: usize, drafted: usize) -> StepRows {
        StepRows { kind, count, samples: count, drafted, drafts: usize::from(drafted > 0) }
    }

    #[test]
    fn costs_are_found_from_steps_of_several_sizes() {
        let mut costs = Costs::default();
        assert_eq!(costs.of(Speculation::AUTO), Speculation::AUTO, "nothing is known");
        let ms = |ms: f64| Duration::from_secs_f64(ms / 1e3);
        for _ in 0..50 {
            costs.note(&step(StepKind::Target, 1, 0), ms(10.0));
            costs.note(&step(StepKind::Target, 9, 8), ms(18.0));
            costs.note(&step(StepKind::Draft, 1, 0), ms(4.0));
            costs.note(&step(StepKind::Draft, 6, 5), ms(6.0));
            costs.note(&step(StepKind::Target, 512, 0), ms(900.0));
        }
        let found = costs.of(Speculation::AUTO);
        assert!((found.row_cost - 0.1).abs() < 3e-3, "{found:?}");
        assert!((found.draft_cost - 0.4).abs() < 3e-2, "{found:?}");
    }

    /// Where several sequences decode there is never a step of one row.
    #[test]
    fn costs_are_found_from_a_batch_alone() {
        let ms = |rows: usize| Duration::from_secs_f64((10.0 + 0.8 * (rows - 1) as f64) / 1e3);
        for batch in [2, 4, 8] {
            let mut costs = Costs::default();
            for _ in 0..400 {
                costs.note(&step(StepKind::Target, batch, 0), ms(batch));
                costs.note(&step(StepKind::Target, 2 * batch, batch), ms(2 * batch));
            }
            let found = costs.of(Speculation::AUTO).row_cost;
            assert!((found - 0.08).abs() < 5e-3, "{batch}: {found}");
        }
    }

    #[test]
    fn steps_that_others_made_long_do_not_end_drafting_for_good() {
        let note = |costs: &mut Costs, rows, ms: f64| {
            costs.note(&step(StepKind::Target, rows, rows - 1), Duration::from_secs_f64(ms / 1e3));
        };
        let cost = |costs: &Costs| costs.of(Speculation::AUTO).row_cost;
        let mut costs = Costs::default();
        note(&mut costs, 1, 30.0);
        for _ in 0..30 {
            note(&mut costs, 1, 0.2);
            note(&mut costs, 9, 0.4);
        }
        assert!((0.08..0.15).contains(&cost(&costs)), "a slow first step: {costs:?}");
        note(&mut costs, 9, 30.0);
        note(&mut costs, 1, 30.0);
        assert!(cost(&costs) < 0.2, "a slow step: {costs:?}");
        let mut costs = Costs::default();
        note(&mut costs, 1, 0.2);
        note(&mut costs, 9, 8.0);
        assert!(cost(&costs) > 2.0, "nothing else is known: {costs:?}");
        for _ in 0..1024 {
            note(&mut costs, 1, 0.2);
        }
        assert!(cost(&costs) < 0.2, "nothing was drafted since: {costs:?}");
        // The step of many rows that is no decode, and the draft before any step.
        note(&mut costs, 512, 900.0);
        let mut unknown = Costs::default();
        unknown.note(&step(StepKind::Draft, 1, 0), Duration::from_millis(1));
        assert_eq!(unknown.of(Speculation::AUTO), Speculation::AUTO);
        assert!(cost(&costs) < 0.2);
    }
}
