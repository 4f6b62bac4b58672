//! Choices whose output obeys a grammar or a [`Restriction`]: what each of their rows may draw, and
//! when they end.
//!
//! A mask is a function of these and of the output's tokens, so that nothing which happens to a
//! choice on the way changes it: preemption, another engine, draft tokens that are rejected.
//!
//! ```text
//!  a step's events ──► note ──► advance: what may come next, and what must ──► Engine::propose
//!  a plan's rows ────► make: the masks of its rows ──► Engine::execute
//! ```
//!
//! Both work on the pool, a task for each choice: while the engine plans, the pool has nothing else
//! to do. What [`Masks::advance`] finds out is what the next step's rows mostly need; the first row
//! of an output, and draft tokens from elsewhere, are left to [`Masks::make`].
//!
//! An output that is complete ends without another step. Ids that end an output are allowed where
//! the grammar may end, and `min_tokens` holds there too, unless there is nothing else to come.
use crate::grammar::{ConstraintState, Next};
use crate::runtime::OwnedRequest;
use crate::runtime::restriction::Restriction;
use crate::text::Tokenizer;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use verbatim_core::engine::{Engine, FinishReason, PlanId, RequestId};
use verbatim_core::pool::{Phase, Pool};

/// A choice of a request.
pub(super) type Key = (RequestId, u32);

/// What is known of a choice after its latest token.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Advance {
    /// These tokens must come; mostly there are none.
    Forced(Vec<u32>),
    /// The output is complete: nothing may follow.
    Complete,
}

/// The choices of an engine whose draws are bounded.
#[derive(Debug)]
pub(super) struct Masks {
    choices: HashMap<Key, Bounded>,
    /// For each row of the latest plan that is bounded, its index and its mask.
    rows: Vec<(usize, Vec<u32>)>,
    /// Ids of the model.
    vocab_size: usize,
}

impl Masks {
    /// For an engine whose model has so many ids.
    pub(super) fn new(vocab_size: usize) -> Self {
        Self { choices: HashMap::new(), rows: Vec::new(), vocab_size }
    }

    /// Takes up the choices of a request, if what they draw is bounded.
    pub(super) fn submitted(&mut self, id: RequestId, request: &OwnedRequest, tokenizer: &Tokenizer) {
        if request.constraint.is_none() && request.restriction.is_none() {
            return;
        }
        // Another stop id is a part of the output like any text, and allowed where the grammar has
        // it.
        let ends: Vec<u32> =
            request.stop_ids.iter().copied().filter(|id| tokenizer.is_special(*id)).collect();
        for at in 0..request.choices {
            let choice = Bounded {
                rules: Rules {
                    state: request.constraint.as_ref().map(ConstraintState::new),
                    restriction: request.restriction.clone(),
                    ends: ends.clone(),
                    min_tokens: request.min_tokens,
                    vocab_size: self.vocab_size,
                },
                prompt_len: request.prompt.len(),
                output: request.generated.clone(),
                is_new: false,
                known: None,
                found: None,
                asked: Vec::new(),
            };
            self.choices.insert((id, request.first_choice.wrapping_add(at)), choice);
        }
    }

    /// Forgets a choice that has ended.
    pub(super) fn ended(&mut self, key: Key) {
        self.choices.remove(&key);
    }

    /// Forgets the choices of a request.
    pub(super) fn cancelled(&mut self, request: RequestId) {
        self.choices.retain(|(of, _), _| *of != request);
    }

    /// Notes a token that was drawn.
    pub(super) fn note(&mut self, key: Key, token: u32) {
        if let Some(choice) = self.choices.get_mut(&key) {
            choice.output.push(token);
            choice.is_new = true;
        }
    }

    /// Whether a choice for which the engine found an end is complete: it may have become so with
    /// the last token that it could have, or nothing may come after a draft token that was drawn.
    pub(super) fn is_complete(&mut self, key: Key, reason: FinishReason) -> bool {
        let asks = matches!(reason, FinishReason::Length | FinishReason::MaskEmpty);
        let Some(choice) = self.choices.get_mut(&key).filter(|_| asks) else { return false };
        matches!(choice.rules.after(&choice.output), Some(Mask::Complete))
    }

    /// Finds out what may come next for all choices that have new tokens and a grammar; the mask is
    /// kept for the next plan.
    pub(super) fn advance(&mut self, pool: &dyn Pool) -> Vec<(Key, Advance)> {
        let is_new = |choice: &Bounded| choice.is_new && choice.rules.state.is_some();
        self.each(pool, is_new, Bounded::advance);
        let mut advances = Vec::new();
        for (key, choice) in &mut self.choices {
            advances.extend(choice.found.take().map(|found| (*key, found)));
        }
        advances
    }

    /// Makes the masks of a plan's rows; returns choices that turn out to be complete, of which the
    /// plan has a row nevertheless.
    pub(super) fn make(&mut self, engine: &Engine<'_>, plan: PlanId, pool: &dyn Pool) -> Vec<Key> {
        self.rows.clear();
        if self.choices.is_empty() {
            return Vec::new();
        }
        for (at, row) in engine.rows(plan).enumerate().filter(|(_, row)| row.samples) {
            if let Some(choice) = self.choices.get_mut(&(row.request, row.choice)) {
                let output = engine.context(&row).get(choice.prompt_len..).unwrap_or_default().to_vec();
                choice.asked.push(Asked { row: at, is_drafted: row.drafted > 0, output, mask: None });
            }
        }
        self.each(pool, |choice| !choice.asked.is_empty(), Bounded::answer);
        let mut complete = Vec::new();
        for (key, choice) in &mut self.choices {
            for asked in choice.asked.drain(..) {
                match asked.mask {
                    Some(Mask::Bits(bits)) => self.rows.push((asked.row, bits)),
                    // After a draft token that completes the output nothing is drawn.
                    Some(Mask::Complete) if asked.is_drafted => self.rows.push((asked.row, Vec::new())),
                    Some(Mask::Complete) => complete.push(*key),
                    // A draft token that the grammar refuses is not drawn, so its row yields
                    // nothing. Should it be drawn all the same, nothing may follow it.
                    None => self.rows.push((asked.row, Vec::new())),
                }
            }
        }
        complete
    }

    /// The masks that were made, as the engine takes them.
    pub(super) fn rows(&self) -> Vec<(usize, &[u32])> {
        self.rows.iter().map(|(row, mask)| (*row, &mask[..])).collect()
    }

    /// Works on some of the choices, on the pool.
    fn each(
        &mut self,
        pool: &dyn Pool,
        wanted: impl Fn(&Bounded) -> bool,
        work: impl Fn(&mut Bounded) + Sync,
    ) {
        let chosen = self.choices.values_mut().filter(|choice| wanted(choice));
        let chosen: Vec<_> = chosen.map(Mutex::new).collect();
        let run = |task: usize| {
            // One task locks it, once.
            work(&mut chosen[task].lock().unwrap_or_else(PoisonError::into_inner));
        };
        match chosen.len() {
            0 => {}
            1 => run(0),
            count => pool.run(Phase::Sample, count, &|task, _| run(task)),
        }
    }
}

/// A row of which it is asked what it may draw.
#[derive(Debug)]
struct Asked {
    row: usize,
    is_drafted: bool,
    /// The output up to the row, draft tokens included.
    output: Vec<u32>,
    mask: Option<Mask>,
}

/// What may be drawn after an output.
#[derive(Clone, Debug)]
enum Mask {
    /// A bit for each id, set if it may; with none set, the output can neither go on nor end.
    Bits(Vec<u32>),
    /// Nothing, for the output is complete.
    Complete,
}

/// A choice whose draws are bounded.
#[derive(Debug)]
struct Bounded {
    rules: Rules,
    prompt_len: usize,
    /// The output so far.
    output: Vec<u32>,
    /// Whether it has tokens of which [`Bounded::advance`] does not know.
    is_new: bool,
    /// The mask after `output` as it was when it had that many tokens.
    known: Option<(usize, Mask)>,
    /// What the latest advance found.
    found: Option<Advance>,
    /// The rows of a plan.
    asked: Vec<Asked>,
}

impl Bounded {
    /// Finds out what comes after the output so far.
    fn advance(&mut self) {
        self.is_new = false;
        self.known = None;
        let Some(state) = &mut self.rules.state else { return };
        let forced = if state.follow(&self.output) { state.forced() } else { Vec::new() };
        let mask = self.rules.after(&self.output);
        self.found = match &mask {
            Some(Mask::Complete) => Some(Advance::Complete),
            Some(Mask::Bits(_)) if !forced.is_empty() => Some(Advance::Forced(forced)),
            _ => None,
        };
        self.known = mask.map(|mask| (self.output.len(), mask));
    }

    /// Makes the masks of the rows that were asked for.
    fn answer(&mut self) {
        for asked in &mut self.asked {
            let known =
                self.known.as_ref().filter(|(len, _)| !asked.is_drafted && *len == asked.output.len());
            asked.mask = match known {
                Some((_, mask)) => Some(mask.clone()),
                None => self.rules.after(&asked.output),
            };
            if asked.mask.is_none() && !asked.is_drafted {
                // It was drawn under a mask, or resumed as what it is not: it cannot go on.
                asked.mask = Some(Mask::Bits(Vec::new()));
            }
        }
    }
}

/// What bounds the draws of a choice.
#[derive(Debug)]
struct Rules {
    /// How far the output has come in the grammar, if there is one.
    state: Option<ConstraintState>,
    restriction: Option<Arc<Restriction>>,
    /// Special ids that end the output.
    ends: Vec<u32>,
    min_tokens: usize,
    vocab_size: usize,
}

impl Rules {
    /// What may be drawn after an output; `None` if the grammar does not have that output.
    fn after(&mut self, output: &[u32]) -> Option<Mask> {
        let ends = if output.len() < self.min_tokens { &[] } else { &self.ends[..] };
        let mut bits = match &mut self.state {
            None => vec![u32::MAX; self.vocab_size.div_ceil(32)],
            Some(state) => {
                if !state.follow(output) {
                    return None;
                }
                match state.next(ends) {
                    Next::Tokens(bits) => bits,
                    Next::Complete => return Some(Mask::Complete),
                    Next::Impossible => Vec::new(),
                }
            }
        };
        if let Some(restriction) = &self.restriction {
            restriction.apply(output, &mut bits);
            // Where the grammar may end and all that it goes on with is forbidden, it ends.
            let is_empty = bits.iter().all(|word| *word == 0);
            if is_empty && self.state.as_mut().is_some_and(ConstraintState::is_accepting) {
                return Some(Mask::Complete);
            }
        }
        Some(Mask::Bits(bits))
    }
}
