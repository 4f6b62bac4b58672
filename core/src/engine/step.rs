//! Running a planned step: layers, head, samples, events.
use super::Engine;
use super::event::Events;
use super::request::RequestId;
use super::schedule::{PlanId, StepKind};
use super::sequence::Sequence;
use super::state::State;
use crate::model::{PackedModel, Row, RowOutput};
use crate::pool::{Pool, Step};

/// A row of a planned step, as its host knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlannedRow {
    /// The request.
    pub request: RequestId,
    /// The choice.
    pub choice: u32,
    /// The position.
    pub position: usize,
    /// The token at that position.
    pub token: u32,
    /// Whether the next token is drawn from its logits.
    pub samples: bool,
    /// Guessed tokens up to and including this one, after those that are settled.
    pub drafted: usize,
    /// What it yields besides.
    pub output: RowOutput,
    /// Where its tokens are.
    slot: u32,
}

/// Which tokens are allowed, for the rows that are constrained.
#[derive(Clone, Copy, Debug)]
pub struct Masks<'m> {
    /// Index of a row in the plan, and a bit for each id of the vocabulary, set if it is allowed.
    pub rows: &'m [(usize, &'m [u32])],
}

impl Masks<'_> {
    /// Everything is allowed.
    pub const NONE: Masks<'static> = Masks { rows: &[] };

    pub(super) fn of(&self, row: usize) -> Option<&[u32]> {
        self.rows.iter().find(|(of, _)| *of == row).map(|(_, mask)| *mask)
    }
}

/// Looks at what rows yield, while it is there.
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

/// Looks away.
impl Observer for () {}

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
        most: usize,
    },
}

impl core::fmt::Display for StepError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::StalePlan => f.write_str(
                "the plan is not the latest, was executed already, or lost a request that was cancelled",
            ),
            Self::TooManyWorkers { found, most } => {
                write!(f, "the pool has {found} workers, but the engine was sized for {most}")
            }
        }
    }
}

impl core::error::Error for StepError {}

impl Engine<'_, '_> {
    /// The rows of a plan, in order; none if it is stale.
    pub fn rows(&self, plan: PlanId) -> impl Iterator<Item = PlannedRow> + '_ {
        let count = if self.planned == Some(plan) { self.row_count } else { 0 };
        self.state.rows[..count].iter().map(move |row| planned(&self.state, row, plan.kind))
    }

    /// Prompt, output and guesses up to and including a planned row: what the token drawn from it
    /// follows.
    pub fn context(&self, row: &PlannedRow) -> &[u32] {
        &self.state.tokens[row.slot as usize * self.limits.model_len..][..row.position + 1]
    }

    /// Runs a planned step.
    pub fn execute(
        &mut self,
        plan: PlanId,
        masks: Masks<'_>,
        pool: &dyn Pool,
        observer: &mut dyn Observer,
    ) -> Result<Events<'_>, StepError> {
        if self.planned != Some(plan) {
            return Err(StepError::StalePlan);
        }
        let (found, most) = (pool.workers(), self.limits.workers);
        if found > most {
            return Err(StepError::TooManyWorkers { found, most });
        }
        self.planned = None;
        let kind = plan.kind;
        let _step = Step::begin(pool, self.row_count * self.model_of(kind).weight_bytes());
        self.run_layers(kind, pool);
        let mut head_count = 0;
        for (i, row) in self.state.rows[..self.row_count].iter().enumerate() {
            let sequence = &self.state.sequences[row.sequence as usize];
            if row.output != RowOutput::None || output(sequence, row, kind) != RowOutput::None {
                self.state.head_rows[head_count] = i as u32;
                head_count += 1;
            }
        }
        let mut start = 0;
        while start < head_count {
            let end = head_count.min(start + self.limits.head_rows);
            self.run_head(start..end, kind, &masks, pool, observer);
            for i in start..end {
                self.conclude(i, kind, self.state.outcomes[i - start]);
            }
            start = end;
        }
        match kind {
            StepKind::Draft => self.advance_drafts(),
            StepKind::Target => self.advance(),
        }
        self.last_row_count = core::mem::take(&mut self.row_count);
        debug_assert_eq!(self.guards.check(), Ok(()));
        let count = core::mem::take(&mut self.event_count);
        Ok(Events { records: self.state.events[..count].iter(), tops: self.state.tops })
    }

    /// The model whose rows a step of this kind runs.
    fn model_of(&self, kind: StepKind) -> &PackedModel<'_> {
        match (kind, &self.draft_model) {
            (StepKind::Draft, Some(draft)) => &draft.model,
            _ => &self.model,
        }
    }

    /// Keys and values of all rows.
    fn run_layers(&mut self, kind: StepKind, pool: &dyn Pool) {
        let isa = self.isa;
        let State { forward, kv, rows, tables, fresh, copies, drafting, .. } = &mut self.state;
        let rows = &rows[..self.row_count];
        let (model, forward) = match (kind, &self.draft_model, drafting) {
            (StepKind::Draft, Some(draft), Some(drafting)) => {
                if let Some(own) = &mut drafting.own {
                    let tables = State::tables(own.tables, &self.limits);
                    drafting.forward.layers(isa, pool, &draft.model, &mut own.kv, rows, tables, &[]);
                    return;
                }
                (&draft.model, &mut drafting.forward)
            }
            _ => (&self.model, forward),
        };
        kv.copy_blocks(pool, &copies[..self.copy_count]);
        self.copy_count = 0;
        let tables = State::tables(tables, &self.limits);
        forward.layers(isa, pool, model, kv, rows, tables, &fresh[..self.fresh_count]);
        self.fresh_count = 0;
    }
}

/// Whether the token after a row is drawn.
pub(super) fn samples(sequence: &Sequence, row: &Row, kind: StepKind) -> bool {
    match kind {
        StepKind::Draft => row.output == RowOutput::Logits,
        StepKind::Target => sequence.samples_at(row.position),
    }
}

/// What a row yields besides.
pub(super) fn output(sequence: &Sequence, row: &Row, kind: StepKind) -> RowOutput {
    match kind {
        StepKind::Draft => RowOutput::None,
        StepKind::Target => sequence.output_at(row.position),
    }
}

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
