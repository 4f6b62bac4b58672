//! Draft tokens: how many each sequence should have, and where they come from.
//!
//! ```text
//! decide ──lookup found──────────────────────────► draft tokens ──verify──► decide …
//!    └────none found, model pays──► draft steps ───────┘
//! ```
//!
//! A draft step computes one more token of each sequence that wants one. With a shared cache the
//! draft model writes keys and values past the accepted tokens, in the sequence's own blocks; the
//! served model computes those positions again before anyone reads them. With a cache of its own
//! the draft model first catches up with the sequence's tokens.
//!
//! A host that knows what follows, because a grammar leaves one way, proposes it
//! ([`Engine::propose`]); nothing else is then drafted for that step.
pub(super) mod length;
mod lookup;

use super::Engine;
use super::request::RequestId;
use super::sequence::{Source, UNDECIDED};
use super::speculate::SpeculationMode;
use crate::model::RowOutput;

/// The smallest number of matching tokens for which lookup takes draft tokens from what follows
/// them; a single token would match almost everywhere.
const MATCH_MIN: usize = 3;

/// The largest number of rows to which draft tokens may raise a step in [`SpeculationMode::Auto`].
/// With more rows, arithmetic and no longer the pass over the weights dominates a step's cost.
pub const AUTO_ROWS_MAX: usize = 16;

impl Engine<'_> {
    /// Decides for each sequence that decodes, once between two steps of the served model.
    pub(super) fn decide_drafts(&mut self, rows_max: usize) {
        let speculation = self.speculation;
        let count = self.decoding_count();
        if count == 0 || !(speculation.lookup || speculation.model) {
            return;
        }
        let is_forced = speculation.mode == SpeculationMode::Forced;
        let spare = self.rows_for_drafts(rows_max);
        let spare = if is_forced { spare } else { spare.min(AUTO_ROWS_MAX.saturating_sub(count)) };
        let each = self.limits.draft_len.min(spare / count) as u32;
        // A draft token for each is a row for each, in a step that is longer than that of one row.
        let row = speculation.row_cost * count as f32 / (1.0 + speculation.row_cost * (count - 1) as f32);
        let draft = speculation.draft_cost;
        for at in 0..self.state.running.len() {
            let slot = self.state.running.as_slice()[at] as usize;
            let sequence = &mut self.state.sequences[slot];
            if sequence.pending() != 1 || sequence.draft_goal != UNDECIDED {
                continue;
            }
            let room = each.min((sequence.end_len - sequence.token_count).saturating_sub(1));
            sequence.draft_goal = 0;
            if speculation.lookup {
                let (max, min) = match is_forced {
                    true => (room, 1),
                    false => (sequence.lookup_length.best(room, 0.0, row), MATCH_MIN),
                };
                let tokens = self.state.tokens.of_mut(slot as u32);
                let found = lookup::propose(tokens, sequence.token_count as usize, max as usize, min);
                sequence.draft_count = found as u32;
                sequence.draft_goal = found as u32;
                sequence.draft_source = Source::Lookup;
            }
            if sequence.draft_goal == 0 && speculation.model && self.state.drafting.is_some() {
                let model = if is_forced { room } else { sequence.model_length.best(room, draft, row) };
                sequence.draft_goal = model;
                sequence.draft_source = Source::Model;
            }
        }
    }

    /// Proposes what may follow the tokens of a choice so far, as draft tokens of the next step of
    /// the served model: they cost a row each, and none of them changes an output. As many as a
    /// step may have are taken, from the first on, and their count is returned; none, if the choice
    /// does not run or has more than its last token to compute. They take the place of draft tokens
    /// from elsewhere. A plan that was made before is dropped.
    pub fn propose(&mut self, request: RequestId, choice: u32, tokens: &[u32]) -> usize {
        let is_it = |slot: &&u32| {
            let sequence = &self.state.sequences[**slot as usize];
            (sequence.request, sequence.choice) == (request.0, choice)
        };
        let Some(slot) = self.state.running.as_slice().iter().find(is_it).copied() else { return 0 };
        let sequence = &mut self.state.sequences[slot as usize];
        let room = (sequence.end_len - sequence.token_count).saturating_sub(1) as usize;
        let known = tokens.iter().take_while(|token| (**token as usize) < self.config.vocab_size);
        let count = known.count().min(room).min(self.limits.draft_len);
        if sequence.pending() != 1 || count == 0 {
            return 0;
        }
        let from = sequence.token_count as usize;
        self.state.tokens.of_mut(slot)[from..from + count].copy_from_slice(&tokens[..count]);
        sequence.draft_count = count as u32;
        sequence.draft_goal = count as u32;
        sequence.draft_source = Source::Host;
        self.planned = None;
        count
    }

    /// Plans a step of the draft model; `false` if none is needed, or if it is the served model's
    /// turn.
    pub(super) fn plan_draft(&mut self, rows_max: usize) -> bool {
        let has_own = match &self.state.drafting {
            Some(drafting) if self.speculation.model => drafting.own.is_some(),
            _ => return false,
        };
        if self.drafts_in_a_row >= self.limits.draft_len {
            return false;
        }
        let mut at = 0;
        while at < self.state.running.len() && self.state.rows.len() < rows_max {
            let slot = self.state.running.as_slice()[at];
            at += 1;
            let sequence = self.state.sequences[slot as usize];
            let wants = sequence.draft_source == Source::Model
                && sequence.draft_goal != UNDECIDED
                && sequence.draft_count < sequence.draft_goal;
            if sequence.pending() != 1 || !wants {
                continue;
            }
            let known = (sequence.token_count + sequence.draft_count) as usize;
            let positions = if has_own {
                let from = sequence.draft_computed as usize;
                from..known.min(from + rows_max - self.state.rows.len())
            } else if self.reserve(slot, known - sequence.computed as usize) + sequence.computed as usize
                == known
            {
                known - 1..known
            } else {
                // There is no block for another draft token: those that are there will do.
                self.state.sequences[slot as usize].draft_goal = sequence.draft_count;
                continue;
            };
            for position in positions {
                let output = if position + 1 == known { RowOutput::Logits } else { RowOutput::None };
                self.add_row(slot, position as u32, output);
            }
        }
        !self.state.rows.is_empty()
    }
}
