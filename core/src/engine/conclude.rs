//! What follows from a step: tokens settled, guesses counted, sequences ended, blocks published.
//!
//! The rows of a sequence are looked at in order of position. Those past
//! [`Sequence::valid`](super::sequence::Sequence) were computed from a guess that turned out wrong;
//! they yield nothing.
use super::Engine;
use super::event::{Record, RecordKind};
use super::schedule::StepKind;
use super::sequence::{Sequence, Source, Standing};
use super::state::{Outcome, OutcomeKind};
use super::step::output;
use crate::model::{Row, RowOutput};

impl Engine<'_, '_> {
    /// Events and new state from the outcome of head row `i`.
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

    fn conclude_draft(&mut self, row: Row, outcome: Outcome) {
        let slot = row.sequence;
        let at = slot as usize * self.limits.model_len + row.position as usize + 1;
        let is_stop = self.state.stops_of(slot, &self.limits).contains(&outcome.token);
        let sequence = &mut self.state.sequences[slot as usize];
        match outcome.kind {
            OutcomeKind::Token => {
                self.state.tokens[at] = outcome.token;
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

    fn conclude_target(&mut self, i: usize, row: Row, outcome: Outcome) {
        let slot = row.sequence as usize;
        let sequence = self.state.sequences[slot];
        let top_start = (i * 2 * self.limits.top_logprobs) as u32;
        let event = Record {
            token: outcome.token,
            position: row.position,
            logprob: outcome.logprob,
            top_start,
            top_count: outcome.top_count,
            ..Record::of(&sequence, RecordKind::Token)
        };
        let next = slot * self.limits.model_len + row.position as usize + 1;
        let asked = output(&sequence, &row, StepKind::Target) == RowOutput::NextLogprob;
        if asked && outcome.kind != OutcomeKind::NonFinite {
            let token = self.state.tokens[next];
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
                self.settle_draft(row, &outcome);
                self.state.tokens[next] = outcome.token;
                let sequence = &mut self.state.sequences[slot];
                sequence.token_count += 1;
                let token_count = sequence.token_count;
                let end_len = sequence.end_len;
                self.push_event(event);
                if self.state.stops_of(row.sequence, &self.limits).contains(&outcome.token) {
                    Some(RecordKind::StopId)
                } else {
                    (token_count == end_len).then_some(RecordKind::Length)
                }
            }
        };
        if let Some(kind) = end {
            self.push_event(Record { kind, top_count: 0, ..event });
            // What was computed of its text may serve others, but not what has no finite logits.
            if outcome.kind == OutcomeKind::Token {
                self.state.sequences[slot].computed = row.position + 1;
                self.counters.merged_blocks += self.state.publish(row.sequence, &self.limits);
            }
            self.state.free(row.sequence, &self.limits);
        }
    }

    /// Compares the token drawn after a row with the guess that stands there, if one does.
    fn settle_draft(&mut self, row: Row, outcome: &Outcome) {
        let at = row.sequence as usize * self.limits.model_len + row.position as usize + 1;
        let sequence = &mut self.state.sequences[row.sequence as usize];
        if sequence.draft_count == 0 {
            return;
        }
        let counters = match sequence.draft_source {
            Source::Lookup => &mut self.counters.lookup,
            Source::Model => &mut self.counters.model,
        };
        counters.verified += 1;
        counters.masked += u64::from(outcome.has_mask != 0);
        if self.state.tokens[at] == outcome.token {
            // The next row was computed from the right token.
            counters.accepted += 1;
            sequence.valid += 1;
            sequence.draft_count -= 1;
            sequence.draft_length().accept();
        } else {
            counters.rejected += 1;
            sequence.draft_count = 0;
            sequence.draft_length().reject();
        }
    }

    /// Notes what was computed, publishes blocks, and ends sequences that have nothing left to do.
    pub(super) fn advance(&mut self) {
        self.counters.steps += 1;
        self.counters.rows += self.row_count as u64;
        self.drafts_in_a_row = 0;
        for i in 0..self.row_count {
            let row = self.state.rows[i];
            let is_last = i + 1 == self.row_count || self.state.rows[i + 1].sequence != row.sequence;
            let sequence = &mut self.state.sequences[row.sequence as usize];
            if sequence.standing != Standing::Running || !is_last {
                continue;
            }
            let Sequence { valid, token_count, end_len, .. } = *sequence;
            sequence.computed = valid;
            sequence.delivered = sequence.delivered.max(valid.min(sequence.prompt_len));
            sequence.draft_computed = sequence.draft_computed.min(valid);
            sequence.drop_drafts();
            let sequence = *sequence;
            self.counters.merged_blocks += self.state.publish(row.sequence, &self.limits);
            if valid == token_count && token_count >= end_len {
                // Nothing was to be drawn: no output was asked for, or what was resumed had ended.
                let token = self.state.tokens_of(row.sequence, &self.limits)[token_count as usize - 1];
                let is_stop = token_count > sequence.stop_from_len
                    && self.state.stops_of(row.sequence, &self.limits).contains(&token);
                let kind = if is_stop { RecordKind::StopId } else { RecordKind::Length };
                self.push_event(Record { token, position: row.position, ..Record::of(&sequence, kind) });
                self.state.free(row.sequence, &self.limits);
            }
        }
    }

    /// Notes how far the model that drafts has come.
    pub(super) fn advance_drafts(&mut self) {
        self.counters.draft_steps += 1;
        self.counters.draft_rows += self.row_count as u64;
        self.drafts_in_a_row += 1;
        for row in &self.state.rows[..self.row_count] {
            let sequence = &mut self.state.sequences[row.sequence as usize];
            if sequence.standing == Standing::Running {
                sequence.draft_computed = row.position + 1;
            }
        }
    }
}
