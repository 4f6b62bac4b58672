//! A step as it is shown to those who watch: its rows by kind, its time, and what it might have
//! had of either.
use super::stats::StepClass;
use crate::runtime::pacing::costs::StepRows;
use std::time::{Duration, Instant};
use verbatim_core::engine::StepKind;

/// A step that has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StepView {
    /// Its number among all steps, of either model, from 1.
    pub number: u64,
    /// What it is counted as.
    pub class: StepClass,
    /// Rows of prompts, of which nothing is drawn.
    pub prefill: usize,
    /// Rows of which the next token is drawn.
    pub decode: usize,
    /// Rows of draft tokens, which the served model checks.
    pub verify: usize,
    /// Rows of the draft model.
    pub draft: usize,
    /// How long it took.
    pub took: Duration,
    /// When its computation ended.
    pub ended: Instant,
    /// Rows that it might have had; none where their number was not bounded by time.
    pub budget_rows: Option<usize>,
    /// How long it should have taken at most; zero is no bound.
    pub budget: Duration,
}

/// How much a step might do.
#[derive(Clone, Copy, Debug)]
pub(super) struct Allowed {
    /// Rows, at most; `usize::MAX` is no bound.
    pub(super) rows: usize,
    /// How long it should take at most; zero is no bound.
    pub(super) time: Duration,
}

impl StepView {
    pub(super) fn new(
        number: u64,
        rows: &StepRows,
        (took, ended): (Duration, Instant),
        allowed: Allowed,
    ) -> Self {
        let is_draft = rows.kind == StepKind::Draft;
        let of_target = |count: usize| if is_draft { 0 } else { count };
        Self {
            number,
            class: StepClass::of(rows),
            prefill: of_target(rows.count.saturating_sub(rows.samples)),
            decode: of_target(rows.samples.saturating_sub(rows.drafted)),
            verify: of_target(rows.drafted),
            draft: if is_draft { rows.count } else { 0 },
            took,
            ended,
            budget_rows: (allowed.rows < usize::MAX).then_some(allowed.rows),
            budget: allowed.time,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(kind: StepKind, [count, samples, drafted]: [usize; 3]) -> StepRows {
        StepRows { kind, count, samples, drafted, drafts: usize::from(drafted > 0) }
    }

    #[test]
    fn rows_of_a_step_are_told_by_kind() {
        let allowed = Allowed { rows: usize::MAX, time: Duration::ZERO };
        let told = |rows| {
            let step = StepView::new(3, &rows, (Duration::from_millis(2), Instant::now()), allowed);
            assert_eq!((step.number, step.budget_rows), (3, None));
            (step.class, [step.prefill, step.decode, step.verify, step.draft])
        };
        let (target, draft) = (StepKind::Target, StepKind::Draft);
        assert_eq!(told(rows(target, [20, 7, 4])), (StepClass::Prefill, [13, 3, 4, 0]));
        assert_eq!(told(rows(target, [7, 7, 4])), (StepClass::Decode, [0, 3, 4, 0]));
        assert_eq!(told(rows(draft, [5, 5, 5])), (StepClass::Draft, [0, 0, 0, 5]));
    }
}
