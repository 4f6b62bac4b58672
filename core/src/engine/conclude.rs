//! Applying a step's outcomes: tokens are appended, draft tokens verified, sequences ended, and
//! full blocks published.
//!
//! The rows of a sequence are looked at in order of position. Those past
//! [`Sequence::valid`](super::sequence::Sequence) were computed from a draft token that was
//! rejected; they yield nothing.
use super::Engine;
use super::draft::length::DraftLength;
use super::event::{Record, RecordKind};
use super::schedule::StepKind;
use super::sequence::{Sequence, Source, Standing};
use super::state::{Outcome, OutcomeKind};
use super::step::output;
use crate::model::{Row, RowOutput};

impl Engine<'_> {
    /// Applies the outcome of head row `i` to its sequence, and notes the events.
    pub(super) fn conclude(&mut self, i: usize, kind: StepKind, outcome: Outcome) {
        let row = self.state.rows[self.state.head_rows[i] as usize];
        let sequence = self.state.sequences[row.sequence as usize];
        if sequence.standing != Standing::Running {
            return; // an earlier row of it ended it
        }
        match kind {
            StepKind::Draft => self.conclude_draft(row, outcome),
            StepKind::Target if row.position >= sequence.valid => {}
            StepKind::Target => self.conclude_target(i, row, outcome),
        }
    }

    /// Appends the token that the draft model drew, and decides whether it goes on.
    fn conclude_draft(&mut self, row: Row, outcome: Outcome) {
        let slot = row.sequence;
        let is_stop = self.state.stops_of(slot).contains(&outcome.token);
        let sequence = &mut self.state.sequences[slot as usize];
        match outcome.kind {
            OutcomeKind::Token => {
                self.state.tokens.of_mut(slot)[row.position as usize + 1] = outcome.token;
                sequence.draft_count += 1;
                if is_stop {
                    sequence.draft_goal = sequence.draft_count;
                }
            }
            OutcomeKind::NonFinite => {
                sequence.draft_goal = sequence.draft_count;
                sequence.model_length.reject();
            }
            OutcomeKind::MaskEmpty | OutcomeKind::Nothing => sequence.draft_goal = sequence.draft_count,
        }
    }

    /// Delivers what a row of the served model yielded, and ends its sequence where it must.
    fn conclude_target(&mut self, i: usize, row: Row, outcome: Outcome) {
        let sequence = self.state.sequences[row.sequence as usize];
        let event = Record {
            token: outcome.token,
            position: row.position,
            logprob: outcome.logprob,
            top_start: (i * 2 * self.limits.top_logprobs) as u32,
            top_count: outcome.top_count,
            ..Record::of(&sequence, RecordKind::Token)
        };
        let asked = output(&sequence, &row, StepKind::Target) == RowOutput::NextLogprob;
        if asked && outcome.kind != OutcomeKind::NonFinite {
            self.push_prompt_logprob(row, &outcome, event);
        }
        let end = match outcome.kind {
            OutcomeKind::Nothing => return,
            OutcomeKind::NonFinite => Some(RecordKind::NonFinite),
            OutcomeKind::MaskEmpty => Some(RecordKind::MaskEmpty),
            OutcomeKind::Token => self.append_token(row, &outcome, event),
        };
        let Some(kind) = end else { return };
        self.push_event(Record { kind, top_count: 0, ..event });
        // What was computed of its tokens may serve others, unless it has no finite logits.
        if outcome.kind == OutcomeKind::Token {
            self.state.sequences[row.sequence as usize].computed = row.position + 1;
            self.counters.merged_blocks += self.state.publish(row.sequence);
        }
        self.state.free(row.sequence);
    }

    fn push_prompt_logprob(&mut self, row: Row, outcome: &Outcome, event: Record) {
        self.push_event(Record {
            kind: RecordKind::PromptLogprob,
            token: self.state.tokens.of(row.sequence)[row.position as usize + 1],
            position: row.position + 1,
            logprob: outcome.next_logprob,
            rank: outcome.next_rank,
            top_start: event.top_start + self.limits.top_logprobs as u32,
            top_count: outcome.next_top_count,
            ..event
        });
    }

    /// Appends the token that was drawn; returns why the sequence ends with it, if it does.
    fn append_token(&mut self, row: Row, outcome: &Outcome, event: Record) -> Option<RecordKind> {
        let slot = row.sequence;
        self.verify_draft(row, outcome);
        self.state.tokens.of_mut(slot)[row.position as usize + 1] = outcome.token;
        let sequence = &mut self.state.sequences[slot as usize];
        sequence.token_count += 1;
        let is_full = sequence.token_count == sequence.end_len;
        self.push_event(event);
        if self.state.stops_of(slot).contains(&outcome.token) {
            Some(RecordKind::StopId)
        } else {
            is_full.then_some(RecordKind::Length)
        }
    }

    /// Compares the token drawn after a row with the draft token that stands there, if one does.
    fn verify_draft(&mut self, row: Row, outcome: &Outcome) {
        let sequence = &mut self.state.sequences[row.sequence as usize];
        if sequence.draft_count == 0 {
            return;
        }
        let counters = match sequence.draft_source {
            Source::Lookup => &mut self.counters.lookup,
            Source::Model => &mut self.counters.model,
            Source::Host => &mut self.counters.proposed,
        };
        counters.verified += 1;
        counters.masked += u64::from(outcome.has_mask != 0);
        if self.state.tokens.of(row.sequence)[row.position as usize + 1] == outcome.token {
            // The next row was computed from the right token.
            counters.accepted += 1;
            sequence.valid += 1;
            sequence.draft_count -= 1;
            sequence.draft_length().into_iter().for_each(DraftLength::accept);
        } else {
            counters.rejected += 1;
            sequence.draft_count = 0;
            sequence.draft_length().into_iter().for_each(DraftLength::reject);
        }
    }

    /// Notes what the served model computed, publishes blocks, and ends sequences that have nothing
    /// left to do.
    pub(super) fn advance(&mut self) {
        self.counters.steps += 1;
        self.counters.rows += self.state.rows.len() as u64;
        self.drafts_in_a_row = 0;
        for i in 0..self.state.rows.len() {
            let row = self.state.rows[i];
            let is_last = self.state.rows.get(i + 1).is_none_or(|next| next.sequence != row.sequence);
            let sequence = &mut self.state.sequences[row.sequence as usize];
            if sequence.standing != Standing::Running || !is_last {
                continue;
            }
            let Sequence { valid, token_count, end_len, .. } = *sequence;
            sequence.computed = valid;
            sequence.delivered = sequence.delivered.max(valid.min(sequence.prompt_len));
            sequence.draft_computed = sequence.draft_computed.min(valid);
            sequence.drop_drafts();
            self.counters.merged_blocks += self.state.publish(row.sequence);
            if valid == token_count && token_count >= end_len {
                self.end_without_draw(row);
            }
        }
    }

    /// Ends a sequence of which nothing was to be drawn: it asked for no output, or it was resumed
    /// at its end.
    fn end_without_draw(&mut self, row: Row) {
        let sequence = self.state.sequences[row.sequence as usize];
        let token = self.state.tokens_of(row.sequence)[sequence.token_count as usize - 1];
        let is_stop = sequence.token_count > sequence.stop_from_len
            && self.state.stops_of(row.sequence).contains(&token);
        let kind = if is_stop { RecordKind::StopId } else { RecordKind::Length };
        self.push_event(Record { token, position: row.position, ..Record::of(&sequence, kind) });
        self.state.free(row.sequence);
    }

    /// Notes how far the draft model has come.
    pub(super) fn advance_drafts(&mut self) {
        self.counters.draft_steps += 1;
        self.counters.draft_rows += self.state.rows.len() as u64;
        self.drafts_in_a_row += 1;
        for row in self.state.rows.iter() {
            let sequence = &mut self.state.sequences[row.sequence as usize];
            if sequence.standing == Standing::Running {
                sequence.draft_computed = row.position + 1;
            }
        }
    }
}
