//! Drawing from the logits of a step's rows: a task each, on the workers of the host's pool.
use super::Engine;
use super::limits::EngineLimits;
use super::schedule::StepKind;
use super::sequence::Sequence;
use super::state::{Bias, Outcome, OutcomeKind};
use super::step::{Masks, output, samples};
use super::tables::SlotTable;
use crate::isa::Isa;
use crate::model::{Row, RowOutput};
use crate::pool::{Phase, Pool, Serial};
use crate::sampling::{Draw, History, SampleError, Scratch, TokenLogprob, sample, token_logprob};
use crate::tensor::{Rows, Shared};
use core::ops::Range;

/// What the draws of some head rows read and write.
pub(super) struct Sampler<'a> {
    isa: Isa,
    limits: EngineLimits,
    kind: StepKind,
    masks: &'a Masks<'a>,
    /// The first of the head rows.
    first: usize,
    /// Indices of the step's rows, one for each task.
    head_rows: &'a [u32],
    rows: &'a [Row],
    sequences: &'a [Sequence],
    tokens: &'a SlotTable<'a, u32>,
    bias: &'a SlotTable<'a, Bias>,
    stops: &'a SlotTable<'a, u32>,
    /// `[tasks, vocab]`
    logits: Rows<'a, f32>,
    /// One for each task.
    outcomes: Shared<'a, Outcome>,
    /// `[head rows, 2, top_logprobs]`: alternatives of the drawn token, then of the prompt's.
    tops: Shared<'a, TokenLogprob>,
    scratch: SharedScratch<'a>,
}

/// [`Scratch`] of all workers.
struct SharedScratch<'a> {
    adjusted: Shared<'a, f32>,
    weights: Shared<'a, f32>,
    ids: Shared<'a, u32>,
    counts: Shared<'a, u32>,
}

impl<'a> Sampler<'a> {
    /// A sampler of the head rows in `range`, whose logits are there.
    pub(super) fn of(
        engine: &'a mut Engine<'_, '_>,
        range: Range<usize>,
        kind: StepKind,
        logits: Rows<'a, f32>,
        masks: &'a Masks<'a>,
    ) -> Self {
        let state = &mut engine.state;
        Self {
            isa: engine.isa,
            limits: engine.limits,
            kind,
            masks,
            first: range.start,
            head_rows: &state.head_rows[range],
            rows: &state.rows,
            sequences: state.sequences,
            tokens: &state.tokens,
            bias: &state.bias,
            stops: &state.stops,
            logits,
            outcomes: Shared::new(state.outcomes),
            tops: Shared::new(state.tops),
            scratch: SharedScratch {
                adjusted: Shared::new(state.adjusted),
                weights: Shared::new(state.weights),
                ids: Shared::new(state.ids),
                counts: Shared::new(state.counts),
            },
        }
    }

    /// Draws from all rows.
    pub(super) fn run(self, pool: &dyn Pool) {
        let tasks = self.head_rows.len();
        let draw = |task: usize, worker: usize| {
            let top_len = self.limits.top_logprobs;
            let vocab = self.logits.width();
            // SAFETY: a task has its outcome and its alternatives for itself, a worker its scratch.
            let (outcome, tops, mut scratch) = unsafe {
                let own = worker * vocab;
                (
                    &mut self.outcomes.part(task, 1)[0],
                    self.tops.part((self.first + task) * 2 * top_len, 2 * top_len),
                    Scratch {
                        adjusted: self.scratch.adjusted.part(own, vocab),
                        weights: self.scratch.weights.part(own, vocab),
                        ids: self.scratch.ids.part(own, vocab),
                        counts: self.scratch.counts.part(own, vocab),
                    },
                )
            };
            *outcome = self.outcome(task, tops, &mut scratch);
        };
        // One row is not worth waking anybody.
        if tasks == 1 {
            Serial.run(Phase::Sample, tasks, &draw);
        } else {
            pool.run(Phase::Sample, tasks, &draw);
        }
    }

    /// What becomes of a row: the log-probability of the prompt's next token, a token that is
    /// drawn, both, or neither.
    fn outcome(&self, task: usize, tops: &mut [TokenLogprob], scratch: &mut Scratch<'_>) -> Outcome {
        let row = &self.rows[self.head_rows[task] as usize];
        let sequence = &self.sequences[row.sequence as usize];
        let top_len = self.limits.top_logprobs;
        let wanted = (sequence.params.top_logprobs as usize).min(top_len);
        let (top, prompt_top) = tops.split_at_mut(top_len);
        let mut outcome = Outcome {
            kind: OutcomeKind::Nothing,
            token: 0,
            logprob: 0.0,
            top_count: 0,
            next_logprob: 0.0,
            next_top_count: 0,
            has_mask: 0,
        };
        if output(sequence, row, self.kind) == RowOutput::NextLogprob {
            let next = self.tokens.of(row.sequence)[row.position as usize + 1];
            match token_logprob(self.isa, self.logits.row(task), next, &mut prompt_top[..wanted]) {
                Ok((logprob, count)) => {
                    (outcome.next_logprob, outcome.next_top_count) = (logprob, count as u32);
                }
                Err(_) => outcome.kind = OutcomeKind::NonFinite,
            }
        }
        if samples(sequence, row, self.kind) && outcome.kind == OutcomeKind::Nothing {
            self.draw(task, &mut top[..wanted], scratch, &mut outcome);
        }
        outcome
    }

    /// Draws the token after a row.
    fn draw(&self, task: usize, top: &mut [TokenLogprob], scratch: &mut Scratch<'_>, outcome: &mut Outcome) {
        let row_index = self.head_rows[task] as usize;
        let row = &self.rows[row_index];
        let slot = row.sequence;
        let sequence = &self.sequences[slot as usize];
        let end = row.position + 1;
        let so_far = &self.tokens.of(slot)[..end as usize];
        let (prompt, output) = so_far.split_at(sequence.prompt_len as usize);
        let stops = &self.stops.of(slot)[..sequence.stop_count as usize];
        let banned = if end < sequence.stop_from_len { stops } else { &[] };
        let bias = &self.bias.of(slot)[..sequence.bias_count as usize];
        let mask = self.masks.of(row_index);
        outcome.has_mask = u32::from(mask.is_some());
        let draw = Draw {
            params: &sequence.params,
            history: History { prompt, output },
            mask,
            banned,
            choice: sequence.choice,
            position: u64::from(end),
        };
        let bias = bias.iter().map(|entry| (entry.token, entry.amount));
        let drawn = sample(self.isa, self.logits.row(task), bias, &draw, scratch, top);
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
}
