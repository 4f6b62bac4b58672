//! Steps whose time the budget has not been told, because nothing has waited for them yet.
use std::time::Duration;
use verbatim_core::engine::StepKind;

/// Rows and time of steps since the budget was told last.
///
/// Steps of the draft model are part of the step that verifies them: no token comes before it. A
/// step without a head on a runner that computes later is part of the next step that waits.
#[derive(Debug, Default)]
pub(in crate::runtime) struct Unreported {
    /// Rows of steps of the served model.
    rows: usize,
    took: Duration,
}

impl Unreported {
    /// Adds a step of `rows` rows.
    pub(in crate::runtime) fn add(&mut self, kind: StepKind, rows: usize, took: Duration) {
        if kind == StepKind::Target {
            self.rows += rows;
        }
        self.took += took;
    }

    /// Rows of the served model and time of all steps that were added since this was called last.
    pub(in crate::runtime) fn take(&mut self) -> (usize, Duration) {
        let Self { rows, took } = std::mem::take(self);
        (rows, took)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drafts_add_time_and_steps_that_nothing_waited_for_add_rows() {
        let ms = Duration::from_millis;
        let mut unreported = Unreported::default();
        unreported.add(StepKind::Draft, 3, ms(2));
        unreported.add(StepKind::Target, 5, ms(10));
        assert_eq!(unreported.take(), (5, ms(12)));
        unreported.add(StepKind::Target, 64, ms(0));
        unreported.add(StepKind::Target, 16, ms(80));
        assert_eq!(unreported.take(), (80, ms(80)));
        assert_eq!(unreported.take(), (0, ms(0)));
    }
}
