//! Drawing from the logits of a step's rows: a task each, on the workers of the host's pool.
use super::Engine;
use super::schedule::StepKind;
use super::sequence::Sequence;
use super::state::{Bias, Outcome, OutcomeKind};
use super::step::{Masks, output, samples};
use super::tables::SlotTable;
use crate::isa::Isa;
use crate::model::{Row, RowOutput};
use crate::pool::{Parts, Phase, Pool, Serial, Work, run_apart};
use crate::sampling::{Draw, History, SampleError, Scratch, TokenLogprob, sample, token_logprob};
use crate::tensor::Rows;
use core::ops::Range;

/// What the draws of some head rows read.
struct Sampler<'a> {
    isa: Isa,
    kind: StepKind,
    /// Alternatives that a row has room for.
    top_max: usize,
    masks: &'a Masks<'a>,
    /// Indices of the step's rows, one for each task.
    head_rows: &'a [u32],
    rows: &'a [Row],
    sequences: &'a [Sequence],
    tokens: &'a SlotTable<'a, u32>,
    bias: &'a SlotTable<'a, Bias>,
    stops: &'a SlotTable<'a, u32>,
    /// `[tasks, vocab]`, one row of logits for each task.
    logits: Rows<'a, f32>,
}

/// Draws from the logits of the head rows in `range`, into the outcomes and alternatives of the
/// engine's state. `logits` has one row for each of them.
pub(super) fn draw_rows(
    engine: &mut Engine<'_>,
    range: Range<usize>,
    kind: StepKind,
    logits: Rows<'_, f32>,
    masks: &Masks<'_>,
    pool: &dyn Pool,
) {
    let (state, top_max, vocab) = (&mut engine.state, engine.limits.top_logprobs, logits.width());
    let first = range.start;
    let sampler = Sampler {
        isa: engine.isa,
        kind,
        top_max,
        masks,
        head_rows: &state.head_rows[range],
        rows: &state.rows,
        sequences: state.sequences,
        tokens: &state.tokens,
        bias: &state.bias,
        stops: &state.stops,
        logits,
    };
    // `tops` is `[head rows, 2, top_logprobs]`: alternatives of the drawn token, then the prompt's.
    let tops = &mut state.tops[first * 2 * top_max..];
    let outputs = (Parts::new(state.outcomes, 1), Parts::new(tops, 2 * top_max));
    let scratch = (
        (Parts::new(state.adjusted, vocab), Parts::new(state.weights, vocab)),
        (Parts::new(state.ids, vocab), Parts::new(state.counts, vocab)),
    );
    let tasks = sampler.head_rows.len();
    // Waking a worker costs more than drawing from one row.
    let pool: &dyn Pool = if tasks == 1 { &Serial } else { pool };
    // A draw goes through the logits several times; exponentials cost the most.
    let elements = tasks.saturating_mul(vocab).saturating_mul(8);
    let work = Work { phase: Phase::Sample, tasks, elements };
    run_apart(pool, work, outputs, scratch, |task, (outcome, tops), scratch| {
        let ((adjusted, weights), (ids, counts)) = scratch;
        let mut scratch = Scratch { adjusted, weights, ids, counts };
        outcome[0] = sampler.outcome(task, tops, &mut scratch);
    });
}

impl Sampler<'_> {
    /// What becomes of a row: the log-probability of the prompt's next token, a token that is
    /// drawn, both, or neither.
    fn outcome(&self, task: usize, tops: &mut [TokenLogprob], scratch: &mut Scratch<'_>) -> Outcome {
        let row = &self.rows[self.head_rows[task] as usize];
        let sequence = &self.sequences[row.sequence as usize];
        let wanted = (sequence.params.top_logprobs as usize).min(self.top_max);
        let (top, prompt_top) = tops.split_at_mut(self.top_max);
        let mut outcome = Outcome {
            kind: OutcomeKind::Nothing,
            token: 0,
            logprob: 0.0,
            top_count: 0,
            next_logprob: 0.0,
            next_rank: 0,
            next_top_count: 0,
            has_mask: 0,
        };
        if output(sequence, row, self.kind) == RowOutput::NextLogprob {
            let next = self.tokens.of(row.sequence)[row.position as usize + 1];
            match token_logprob(self.isa, self.logits.row(task), next, &mut prompt_top[..wanted]) {
                Ok(scored) => {
                    (outcome.next_logprob, outcome.next_rank) = (scored.logprob, scored.rank);
                    outcome.next_top_count = scored.top_count as u32;
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
