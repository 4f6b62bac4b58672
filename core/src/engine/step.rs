//! Running a planned step: handing its rows to the runner, drawing tokens, and advancing sequences.
use super::Engine;
use super::event::Events;
use super::request::RequestId;
use super::schedule::{PlanId, StepKind};
use super::sequence::Sequence;
use super::state::State;
use crate::model::{Row, RowOutput, Runner};
use crate::pool::{Pool, Step};

/// A row of a planned step, as its host knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlannedRow {
    /// The request that it belongs to.
    pub request: RequestId,
    /// The choice of that request.
    pub choice: u32,
    /// Its position in the choice's tokens, from 0.
    pub position: usize,
    /// The token at that position.
    pub token: u32,
    /// Whether the next token is drawn from its logits.
    pub samples: bool,
    /// Draft tokens up to and including this one, after those that are accepted.
    pub drafted: usize,
    /// The output that its request asked for besides a sample.
    pub output: RowOutput,
    /// The slot of its sequence in the engine's tables.
    slot: u32,
}

/// Which tokens are allowed, for the rows that are constrained.
#[derive(Clone, Copy, Debug)]
pub struct Masks<'m> {
    /// Index of a row in the plan, and a bit for each id of the vocabulary, set if it is allowed.
    pub rows: &'m [(usize, &'m [u32])],
}

impl Masks<'_> {
    /// No row is constrained: every token of the vocabulary is allowed.
    pub const NONE: Masks<'static> = Masks { rows: &[] };

    pub(super) fn of(&self, row: usize) -> Option<&[u32]> {
        self.rows.iter().find(|(of, _)| *of == row).map(|(_, mask)| *mask)
    }
}

/// A host's view of logits and hidden states, which are lent only while a step runs.
pub trait Observer {
    /// The raw logits of a row that is sampled from, or that asked for them.
    fn logits(&mut self, row: &PlannedRow, logits: &[f32]) {
        let _ = (row, logits);
    }

    /// The hidden state, after the last norm, of a row that asked for it.
    fn hidden(&mut self, row: &PlannedRow, hidden: &[f32]) {
        let _ = (row, hidden);
    }
}

/// The observer of a host that wants nothing but events.
impl Observer for () {}

/// What a host lends to a step.
pub(super) struct Resources<'r> {
    pub(super) runner: &'r mut dyn Runner,
    /// The threads on which tokens are drawn.
    pub(super) pool: &'r dyn Pool,
    pub(super) observer: &'r mut dyn Observer,
}

/// Why a step was not run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StepError {
    /// The plan is not the latest, was executed already, or a request of it was cancelled.
    StalePlan,
    /// The pool has more workers than the engine was sized for.
    TooManyWorkers {
        /// Workers of the pool.
        found: usize,
        /// Workers that have scratch.
        max: usize,
    },
}

impl core::fmt::Display for StepError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::StalePlan => f.write_str(
                "the plan is not the latest, was executed already, or lost a request that was cancelled",
            ),
            Self::TooManyWorkers { found, max } => {
                write!(f, "the pool has {found} workers, but the engine was sized for {max}")
            }
        }
    }
}

impl core::error::Error for StepError {}

impl Engine<'_> {
    /// The rows of a plan, in order; none if it is stale.
    pub fn rows(&self, plan: PlanId) -> impl Iterator<Item = PlannedRow> + '_ {
        let count = if self.planned == Some(plan) { self.state.rows.len() } else { 0 };
        self.state.rows[..count].iter().map(move |row| planned(&self.state, row, plan.kind))
    }

    /// Prompt, output and draft tokens up to and including a planned row: what the token drawn from
    /// it follows.
    pub fn context(&self, row: &PlannedRow) -> &[u32] {
        &self.state.tokens.of(row.slot)[..row.position + 1]
    }

    /// Runs a planned step on `runner`, which is the one of the last step, or, after a loss,
    /// another one of the same models; samples on `pool`.
    ///
    /// If the runner loses its device, every running choice ends with
    /// [`FinishReason::DeviceLost`](super::FinishReason::DeviceLost), and no block of it is used
    /// again. Waiting ones stay: with another runner they are served as if nothing had happened;
    /// with the lost one each ends the same way once it runs.
    pub fn execute(
        &mut self,
        plan: PlanId,
        masks: Masks<'_>,
        runner: &mut dyn Runner,
        pool: &dyn Pool,
        observer: &mut dyn Observer,
    ) -> Result<Events<'_>, StepError> {
        if self.planned != Some(plan) {
            return Err(StepError::StalePlan);
        }
        let (found, max) = (pool.workers(), self.limits.workers);
        if found > max {
            return Err(StepError::TooManyWorkers { found, max });
        }
        self.planned = None;
        let _step =
            Step::begin(pool, self.state.rows.len().saturating_mul(self.row_bytes[plan.kind as usize]));
        self.enqueue_layers(plan.kind, runner);
        self.finish_step(plan.kind, &masks, Resources { runner, pool, observer });
        self.last_row_count = self.state.rows.take().len();
        debug_assert_eq!(self.guards.check(), Ok(()));
        Ok(Events { records: self.state.events.take().iter(), tops: self.state.tops })
    }

    /// Hands the runner the step's rows, and before them the blocks to copy and to zero.
    fn enqueue_layers(&mut self, kind: StepKind, runner: &mut dyn Runner) {
        let State { rows, tables, blocks, drafting, .. } = &mut self.state;
        let own = drafting.as_ref().and_then(|drafting| drafting.own.as_ref());
        if let (StepKind::Draft, Some(own)) = (kind, own) {
            // The served model's blocks are not touched, so their turn comes with its next step.
            runner.layers(kind, rows, State::tables(own.tables, &self.limits), &[]);
            return;
        }
        let work = blocks.pending_work();
        runner.copy_blocks(work.copies);
        runner.layers(kind, rows, State::tables(tables.cells(), &self.limits), work.fresh);
        blocks.finish_work();
    }

    /// Runs the output head for the rows that yield something, `limits.head_rows` of them at a
    /// time, and applies the outcomes to their sequences.
    fn finish_step(&mut self, kind: StepKind, masks: &Masks<'_>, mut with: Resources<'_>) {
        self.pick_head_rows(kind);
        let count = self.state.head_rows.len();
        let mut start = 0;
        while start < count {
            let end = count.min(start + self.limits.head_rows);
            if self.run_head(start..end, kind, masks, &mut with).is_err() {
                self.lose_device();
                return;
            }
            for i in start..end {
                self.conclude(i, kind, self.state.outcomes[i - start]);
            }
            start = end;
        }
        match kind {
            StepKind::Draft => self.advance_drafts(),
            StepKind::Target => self.advance(),
        }
    }
}

/// Whether the token after a row is drawn.
pub(super) fn samples(sequence: &Sequence, row: &Row, kind: StepKind) -> bool {
    match kind {
        StepKind::Draft => row.output == RowOutput::Logits,
        StepKind::Target => sequence.samples_at(row.position),
    }
}

/// The output of a row besides a sample.
pub(super) fn output(sequence: &Sequence, row: &Row, kind: StepKind) -> RowOutput {
    match kind {
        StepKind::Draft => RowOutput::None,
        StepKind::Target => sequence.output_at(row.position),
    }
}

/// A row as its host knows it.
pub(super) fn planned(state: &State<'_>, row: &Row, kind: StepKind) -> PlannedRow {
    let sequence = &state.sequences[row.sequence as usize];
    PlannedRow {
        request: RequestId(sequence.request),
        choice: sequence.choice,
        position: row.position as usize,
        token: row.token,
        samples: samples(sequence, row, kind),
        drafted: (row.position as usize + 1).saturating_sub(sequence.token_count as usize),
        output: output(sequence, row, kind),
        slot: row.sequence,
    }
}
