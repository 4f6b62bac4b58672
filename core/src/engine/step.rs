//! Running a planned step: layers, head, samples, events.
use super::Engine;
use super::event::{Events, Record, RecordKind};
use super::request::RequestId;
use super::schedule::PlanId;
use super::sequence::Standing;
use super::state::{Outcome, OutcomeKind, State};
use crate::model::{Row, RowOutput};
use crate::pool::{Phase, Pool, Serial};
use crate::sampling::{History, SampleError, Scratch, sample, token_logprob};
use crate::tensor::Shared;

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

    fn of(&self, row: usize) -> Option<&[u32]> {
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
            Self::StalePlan => f.write_str("the plan is not the latest, or was executed already"),
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
        self.state.rows[..count].iter().map(|row| planned(&self.state, row))
    }

    /// Prompt, output and guesses up to and including a planned row: what the token drawn from it follows.
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
        self.run_layers(pool);
        let mut head_count = 0;
        for (i, row) in self.state.rows[..self.row_count].iter().enumerate() {
            if row.output != RowOutput::None || outputs_hidden_or_logits(&self.state, row) {
                self.state.head_rows[head_count] = i as u32;
                head_count += 1;
            }
        }
        let mut start = 0;
        while start < head_count {
            let end = head_count.min(start + self.limits.head_rows);
            self.run_head(start..end, &masks, pool, observer);
            for i in start..end {
                self.conclude(i, self.state.outcomes[i - start]);
            }
            start = end;
        }
        self.advance();
        self.counters.steps += 1;
        self.counters.rows += self.row_count as u64;
        self.last_row_count = core::mem::take(&mut self.row_count);
        debug_assert_eq!(self.guards.check(), Ok(()));
        let count = core::mem::take(&mut self.event_count);
        Ok(Events { records: self.state.events[..count].iter(), tops: self.state.tops })
    }

    fn run_layers(&mut self, pool: &dyn Pool) {
        let State { forward, kv, rows, tables, fresh, .. } = &mut self.state;
        let tables = State::tables(tables, &self.limits);
        let rows = &rows[..self.row_count];
        forward.layers(self.isa, pool, &self.model, kv, rows, tables, &fresh[..self.fresh_count]);
        self.fresh_count = 0;
    }

    /// The head for some of the head rows, and what is drawn from it, into `outcomes`.
    fn run_head(
        &mut self,
        range: core::ops::Range<usize>,
        masks: &Masks<'_>,
        pool: &dyn Pool,
        observer: &mut dyn Observer,
    ) {
        let (isa, limits) = (self.isa, self.limits);
        let vocab = self.model.config().vocab_size;
        let top_len = limits.top_logprobs;
        self.state.forward.head(isa, pool, &self.model, &self.state.head_rows[range.clone()]);
        let State {
            forward,
            sequences,
            tokens,
            bias,
            stops,
            rows,
            head_rows,
            outcomes,
            tops,
            adjusted,
            weights,
            ids,
            counts,
            ..
        } = &mut self.state;
        let (sequences, tokens, bias, stops) = (&**sequences, &**tokens, &**bias, &**stops);
        let (rows, head_rows) = (&**rows, &**head_rows);
        let logits = forward.logits();
        let outcomes_shared = Shared::new(&mut outcomes[..]);
        let tops = Shared::new(&mut tops[..]);
        let scratch = (
            Shared::new(&mut adjusted[..]),
            Shared::new(&mut weights[..]),
            Shared::new(&mut ids[..]),
            Shared::new(&mut counts[..]),
        );
        let first = range.start;
        let draw = |task: usize, worker: usize| {
            let row_index = head_rows[first + task] as usize;
            let row = &rows[row_index];
            let slot = row.sequence as usize;
            let sequence = &sequences[slot];
            // SAFETY: a task has its row of logits, its outcome and its alternatives for itself, a worker its scratch.
            let (logits, outcome, tops, mut scratch) = unsafe {
                let own = worker * vocab;
                (
                    &*logits.row(task),
                    &mut outcomes_shared.part(task, 1)[0],
                    tops.part((first + task) * 2 * top_len, 2 * top_len),
                    Scratch {
                        adjusted: scratch.0.part(own, vocab),
                        weights: scratch.1.part(own, vocab),
                        ids: scratch.2.part(own, vocab),
                        counts: scratch.3.part(own, vocab),
                    },
                )
            };
            let wanted = (sequence.params.top_logprobs as usize).min(top_len);
            let (top, prompt_top) = tops.split_at_mut(top_len);
            *outcome = Outcome {
                kind: OutcomeKind::Nothing,
                token: 0,
                logprob: 0.0,
                top_count: 0,
                next_logprob: 0.0,
                next_top_count: 0,
            };
            let of = slot * limits.model_len;
            if sequence.output_at(row.position) == RowOutput::NextLogprob {
                let next = tokens[of + row.position as usize + 1];
                match token_logprob(isa, logits, next, &mut prompt_top[..wanted]) {
                    Ok((logprob, count)) => {
                        (outcome.next_logprob, outcome.next_top_count) = (logprob, count as u32);
                    }
                    Err(_) => outcome.kind = OutcomeKind::NonFinite,
                }
            }
            if sequence.samples_at(row.position) && outcome.kind == OutcomeKind::Nothing {
                let so_far = &tokens[of..of + sequence.token_count as usize];
                let (prompt, output) = so_far.split_at(sequence.prompt_len as usize);
                let stops = &stops[slot * limits.stop_ids..][..sequence.stop_count as usize];
                let banned = if sequence.token_count < sequence.stop_from_len { stops } else { &[] };
                let bias = &bias[slot * limits.logit_bias..][..sequence.bias_count as usize];
                let drawn = sample(
                    isa,
                    logits,
                    &sequence.params,
                    bias.iter().map(|entry| (entry.token, entry.amount)),
                    History { prompt, output },
                    (masks.of(row_index), banned),
                    (sequence.choice, u64::from(sequence.token_count)),
                    &mut scratch,
                    &mut top[..wanted],
                );
                match drawn {
                    Ok(sampled) => {
                        outcome.kind = OutcomeKind::Token;
                        outcome.token = sampled.token;
                        outcome.logprob = sampled.logprob;
                        outcome.top_count = sampled.top_count as u32;
                    }
                    Err(SampleError::NonFinite) => outcome.kind = OutcomeKind::NonFinite,
                    Err(SampleError::MaskEmpty) => outcome.kind = OutcomeKind::MaskEmpty,
                }
            }
        };
        let tasks = range.len();
        if tasks == 1 {
            Serial.run(Phase::Sample, tasks, &draw);
        } else {
            pool.run(Phase::Sample, tasks, &draw);
        }
        for task in 0..tasks {
            let row = &self.state.rows[self.state.head_rows[first + task] as usize];
            let sequence = &self.state.sequences[row.sequence as usize];
            let output = sequence.output_at(row.position);
            let samples = sequence.samples_at(row.position);
            let info = planned(&self.state, row);
            if samples || output == RowOutput::Logits {
                // SAFETY: the tasks have ended.
                observer.logits(&info, unsafe { self.state.forward.logits().row(task) });
            }
            if output == RowOutput::Hidden {
                observer.hidden(&info, self.state.forward.hidden(task));
            }
        }
    }

    /// Events and new state from the outcome of head row `i`.
    fn conclude(&mut self, i: usize, outcome: Outcome) {
        let row = self.state.rows[self.state.head_rows[i] as usize];
        let slot = row.sequence as usize;
        let sequence = self.state.sequences[slot];
        if sequence.standing != Standing::Running {
            return; // an earlier row of it was not finite
        }
        let top_start = (i * 2 * self.limits.top_logprobs) as u32;
        let event = Record {
            request: sequence.request,
            choice: sequence.choice,
            kind: RecordKind::Token,
            token: outcome.token,
            position: row.position,
            logprob: outcome.logprob,
            top_start,
            top_count: outcome.top_count,
        };
        let asked = sequence.output_at(row.position) == RowOutput::NextLogprob;
        if asked && outcome.kind != OutcomeKind::NonFinite {
            let token = self.state.tokens[slot * self.limits.model_len + row.position as usize + 1];
            self.push_event(Record {
                kind: RecordKind::PromptLogprob,
                token,
                position: row.position + 1,
                logprob: outcome.next_logprob,
                top_start: top_start + self.limits.top_logprobs as u32,
                top_count: outcome.next_top_count,
                ..event
            });
        }
        let end = match outcome.kind {
            OutcomeKind::Nothing => return,
            OutcomeKind::NonFinite => Some(RecordKind::NonFinite),
            OutcomeKind::MaskEmpty => Some(RecordKind::MaskEmpty),
            OutcomeKind::Token => {
                let at = slot * self.limits.model_len + sequence.token_count as usize;
                self.state.tokens[at] = outcome.token;
                let token_count = sequence.token_count + 1;
                self.state.sequences[slot].token_count = token_count;
                self.push_event(event);
                if self.state.stops_of(row.sequence, &self.limits).contains(&outcome.token) {
                    Some(RecordKind::StopId)
                } else {
                    (token_count == sequence.end_len).then_some(RecordKind::Length)
                }
            }
        };
        if let Some(kind) = end {
            self.push_event(Record { kind, top_count: 0, ..event });
            self.state.free(row.sequence, &self.limits);
        }
    }

    /// Notes what was computed, and ends sequences that have nothing left to do.
    fn advance(&mut self) {
        for i in 0..self.row_count {
            let row = self.state.rows[i];
            let sequence = &mut self.state.sequences[row.sequence as usize];
            if sequence.standing != Standing::Running {
                continue;
            }
            sequence.computed = row.position + 1;
            sequence.delivered = sequence.delivered.max(sequence.computed.min(sequence.prompt_len));
            if sequence.computed == sequence.token_count && sequence.token_count >= sequence.end_len {
                let record = Record {
                    request: sequence.request,
                    choice: sequence.choice,
                    kind: RecordKind::Length,
                    token: 0,
                    position: row.position,
                    logprob: 0.0,
                    top_start: 0,
                    top_count: 0,
                };
                self.push_event(record);
                self.state.free(row.sequence, &self.limits);
            }
        }
    }

    pub(super) fn push_event(&mut self, record: Record) {
        // The table has room for all that a step and its plan can say.
        if let Some(place) = self.state.events.get_mut(self.event_count) {
            *place = record;
            self.event_count += 1;
        }
    }
}

fn outputs_hidden_or_logits(state: &State<'_>, row: &Row) -> bool {
    state.sequences[row.sequence as usize].output_at(row.position) != RowOutput::None
}

fn planned(state: &State<'_>, row: &Row) -> PlannedRow {
    let sequence = &state.sequences[row.sequence as usize];
    PlannedRow {
        request: RequestId(sequence.request),
        choice: sequence.choice,
        position: row.position as usize,
        token: row.token,
        samples: sequence.samples_at(row.position),
        drafted: (row.position as usize + 1).saturating_sub(sequence.token_count as usize),
        output: sequence.output_at(row.position),
        slot: row.sequence,
    }
}
