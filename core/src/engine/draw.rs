//! The head of a step: logits of the rows that asked, and what is drawn from them.
use super::Engine;
use super::schedule::StepKind;
use super::state::{Outcome, OutcomeKind, State};
use super::step::{Masks, Observer, output, planned, samples};
use crate::model::RowOutput;
use crate::pool::{Phase, Pool, Serial};
use crate::sampling::{Draw, History, SampleError, Scratch, sample, token_logprob};
use crate::tensor::Shared;

impl Engine<'_, '_> {
    /// The head for some of the head rows, and what is drawn from it, into `outcomes`.
    pub(super) fn run_head(
        &mut self,
        range: core::ops::Range<usize>,
        kind: StepKind,
        masks: &Masks<'_>,
        pool: &dyn Pool,
        observer: &mut dyn Observer,
    ) {
        let (isa, limits) = (self.isa, self.limits);
        let vocab = self.model.config().vocab_size;
        let top_len = limits.top_logprobs;
        let State {
            forward,
            drafting,
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
        let (sequences, tokens, bias, stops) = (&**sequences, &*tokens, &*bias, &*stops);
        let (rows, head_rows) = (&**rows, &**head_rows);
        let (model, forward) = match (kind, &self.draft_model, drafting) {
            (StepKind::Draft, Some(draft), Some(drafting)) => (&draft.model, &mut drafting.forward),
            _ => (&self.model, forward),
        };
        forward.head(isa, pool, model, &head_rows[range.clone()]);
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
            let sequence = &sequences[row.sequence as usize];
            let end = row.position + 1;
            // SAFETY: a task has its row of logits, its outcome and its alternatives for itself, a
            // worker its scratch.
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
                has_mask: 0,
            };
            if output(sequence, row, kind) == RowOutput::NextLogprob {
                let next = tokens.of(row.sequence)[end as usize];
                match token_logprob(isa, logits, next, &mut prompt_top[..wanted]) {
                    Ok((logprob, count)) => {
                        (outcome.next_logprob, outcome.next_top_count) = (logprob, count as u32);
                    }
                    Err(_) => outcome.kind = OutcomeKind::NonFinite,
                }
            }
            if samples(sequence, row, kind) && outcome.kind == OutcomeKind::Nothing {
                let so_far = &tokens.of(row.sequence)[..end as usize];
                let (prompt, output) = so_far.split_at(sequence.prompt_len as usize);
                let stops = &stops.of(row.sequence)[..sequence.stop_count as usize];
                let banned = if end < sequence.stop_from_len { stops } else { &[] };
                let bias = &bias.of(row.sequence)[..sequence.bias_count as usize];
                let mask = masks.of(row_index);
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
                let drawn = sample(isa, logits, bias, &draw, &mut scratch, &mut top[..wanted]);
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
        if kind == StepKind::Draft {
            return;
        }
        for task in 0..tasks {
            let row = &self.state.rows[self.state.head_rows[first + task] as usize];
            let info = planned(&self.state, row, kind);
            let forward = &mut self.state.forward;
            if info.samples || info.output == RowOutput::Logits {
                // SAFETY: the tasks have ended.
                observer.logits(&info, unsafe { forward.logits().row(task) });
            }
            if info.output == RowOutput::Hidden {
                observer.hidden(&info, forward.hidden(task));
            }
        }
    }
}
