//! The output head of a step: the rows that it runs for, and the logits that the runner lends to
//! the sampler and the observer.
use super::Engine;
use super::sampler::draw_rows;
use super::schedule::StepKind;
use super::step::{Masks, Observer, Resources, output, planned, samples};
use crate::model::{DeviceLost, HeadOutput, HeadWants, RowOutput};
use core::ops::Range;

impl Engine<'_> {
    /// Notes the indices of the step's rows that the output head runs for.
    pub(super) fn pick_head_rows(&mut self, kind: StepKind) {
        self.state.head_rows.clear();
        for (i, row) in self.state.rows.iter().enumerate() {
            let sequence = &self.state.sequences[row.sequence as usize];
            if row.output != RowOutput::None || output(sequence, row, kind) != RowOutput::None {
                self.state.head_rows.push(i as u32).expect("there is room for each row of a step");
            }
        }
    }

    /// Runs the output head for some of the head rows and draws from their logits, into `outcomes`.
    pub(super) fn run_head(
        &mut self,
        range: Range<usize>,
        kind: StepKind,
        masks: &Masks<'_>,
        with: &mut Resources<'_>,
    ) -> Result<(), DeviceLost> {
        let rows = &self.state.head_rows[range.clone()];
        let mut wants = HeadWants { logits: false, hidden: false };
        for index in rows {
            let row = &self.state.rows[*index as usize];
            let sequence = &self.state.sequences[row.sequence as usize];
            let is_hidden = output(sequence, row, kind) == RowOutput::Hidden;
            wants.hidden |= is_hidden;
            wants.logits |= !is_hidden || samples(sequence, row, kind);
        }
        let lent = with.runner.head(kind, rows, wants)?;
        draw_rows(self, range.clone(), kind, lent.logits, masks, with.pool);
        if kind == StepKind::Target {
            self.observe(range, &lent, with.observer);
        }
        Ok(())
    }

    /// Shows the observer what the rows yield.
    fn observe(&self, range: Range<usize>, lent: &HeadOutput<'_>, observer: &mut dyn Observer) {
        for (i, index) in self.state.head_rows[range].iter().enumerate() {
            let row = planned(&self.state, &self.state.rows[*index as usize], StepKind::Target);
            if row.samples || row.output == RowOutput::Logits {
                observer.logits(&row, lent.logits.row(i));
            }
            if row.output == RowOutput::Hidden {
                observer.hidden(&row, lent.hidden.row(i));
            }
        }
    }
}
