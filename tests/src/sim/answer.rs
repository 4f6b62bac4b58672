//! All bits that one choice of a request was given, whichever schedule produced them.
use super::rng::fold;
use std::collections::BTreeMap;
use verbatim_core::engine::{EventKind, FinishReason, Observer, PlannedRow, RequestId};
use verbatim_core::model::RowOutput;
use verbatim_core::sampling::TokenLogprob;

/// What one choice of a request was told.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Answer {
    /// The output tokens, in order.
    pub tokens: Vec<Told>,
    /// Log-probabilities of prompt tokens, and their positions.
    pub prompt: Vec<(usize, Told)>,
    /// Hashes of hidden states or logits of prompt rows, and their positions.
    pub rows: Vec<(usize, u64)>,
    /// Why the choice ended; `None` while it runs.
    pub end: Option<FinishReason>,
}

/// What a client is told of a token: the id, and the bits that came with it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Told {
    /// The token's id in the vocabulary.
    pub token: u32,
    /// The bits of the token's log-probability.
    pub logprob_bits: u32,
    /// A hash of the alternatives' ids and log-probabilities.
    pub top_hash: u64,
}

impl Told {
    fn new(token: u32, logprob: f32, top: &[TokenLogprob]) -> Self {
        let top_hash = top.iter().fold(top.len() as u64, |hash, t| {
            fold(fold(hash, u64::from(t.token)), u64::from(t.logprob.to_bits()))
        });
        Self { token, logprob_bits: logprob.to_bits(), top_hash }
    }
}

impl Answer {
    /// Adds an event to the answer. An event after the end is an error.
    pub fn note(&mut self, kind: &EventKind<'_>) -> Result<(), String> {
        if let Some(end) = self.end {
            return Err(format!("{kind:?} came after the end ({end:?})"));
        }
        match *kind {
            EventKind::Token { token, logprob, top } => self.tokens.push(Told::new(token, logprob, top)),
            EventKind::PromptLogprob { position, token, logprob, rank, top } => {
                let told = Told::new(token, logprob, top);
                self.prompt.push((position, Told { top_hash: fold(told.top_hash, u64::from(rank)), ..told }));
            }
            EventKind::Finished(reason) => self.end = Some(reason),
            EventKind::Admitted { .. } | EventKind::Preempted => {}
        }
        Ok(())
    }

    /// Adds a hash of the logits or the hidden state of a prompt row.
    pub fn note_row(&mut self, position: usize, values: &[f32]) {
        let hash = values.iter().fold(values.len() as u64, |hash, x| fold(hash, u64::from(x.to_bits())));
        self.rows.push((position, hash));
    }

    /// The ids of the output tokens.
    pub fn ids(&self) -> Vec<u32> {
        self.tokens.iter().map(|told| told.token).collect()
    }

    /// Describes the first difference from the solo answer `alone`, whose first `given` tokens were
    /// part of the request. An answer that was cancelled need only be a beginning of it.
    pub fn compare(&self, alone: &Answer, given: usize) -> Result<(), String> {
        let cut = self.end.is_none();
        let expected = &alone.tokens[given.min(alone.tokens.len())..];
        same_list("output token", &self.tokens, expected, cut)?;
        same_list("prompt log-probability", &self.prompt, &alone.prompt, cut)?;
        same_list("prompt row", &self.rows, &alone.rows, cut)?;
        if !cut && self.end != alone.end {
            return Err(format!("it ended with {:?}, alone with {:?}", self.end, alone.end));
        }
        Ok(())
    }
}

/// Answers of live choices, as events and the observer tell them.
#[derive(Debug, Default)]
pub struct Watch {
    /// The answers, by request and choice.
    pub answers: BTreeMap<(RequestId, u32), Answer>,
}

impl Observer for Watch {
    fn logits(&mut self, row: &PlannedRow, logits: &[f32]) {
        if row.output == RowOutput::Logits {
            self.answers.entry((row.request, row.choice)).or_default().note_row(row.position, logits);
        }
    }

    fn hidden(&mut self, row: &PlannedRow, hidden: &[f32]) {
        self.answers.entry((row.request, row.choice)).or_default().note_row(row.position, hidden);
    }
}

fn same_list<T: PartialEq + std::fmt::Debug>(
    what: &str,
    here: &[T],
    alone: &[T],
    cut: bool,
) -> Result<(), String> {
    let same = here.iter().zip(alone).take_while(|(a, b)| a == b).count();
    if same == here.len() && (cut || same == alone.len()) {
        return Ok(());
    }
    Err(format!(
        "{what} {same} of {} is {:?}, alone (of {}) {:?}",
        here.len(),
        here.get(same),
        alone.len(),
        alone.get(same)
    ))
}
