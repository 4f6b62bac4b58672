//! Log-probabilities of tokens under the raw logits: `log p(i) = (x[i] − max) − ln Σ e^(x − max)`.
use super::error::SampleError;
use crate::isa::Isa;
use crate::kernels::softmax::{Normaliser, log_sum_exp};

/// A token of the vocabulary and how likely it was.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct TokenLogprob {
    /// The id in the vocabulary.
    pub token: u32,
    /// The natural logarithm of its probability under the raw logits.
    pub logprob: f32,
}

crate::memory::plain!(TokenLogprob { token, logprob });

pub(super) fn normaliser(isa: Isa, logits: &[f32]) -> Result<Normaliser, SampleError> {
    log_sum_exp(isa, logits).ok_or(SampleError::NonFinite)
}

/// Fills `top` with the likeliest tokens, best first, ties to the lower id; returns how many there
/// are.
pub(super) fn best(logits: &[f32], normaliser: &Normaliser, top: &mut [TokenLogprob]) -> usize {
    let mut count = 0;
    for (token, logit) in logits.iter().enumerate() {
        let logprob = normaliser.logprob(*logit);
        // Ids ascend, so an equal one already there has the lower id and stays before.
        if count == top.len() && (count == 0 || logprob <= top[count - 1].logprob) {
            continue;
        }
        let mut at = count.min(top.len() - 1);
        while at > 0 && top[at - 1].logprob < logprob {
            top[at] = top[at - 1];
            at -= 1;
        }
        top[at] = TokenLogprob { token: token as u32, logprob };
        count = (count + 1).min(top.len());
    }
    count
}

/// How likely a token was that stood there already.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Scored {
    /// The natural logarithm of its probability under the raw logits.
    pub logprob: f32,
    /// Its place among all tokens, 1 for the likeliest; of equal ones the lower id comes first.
    pub rank: u32,
    /// How many of the likeliest tokens were listed.
    pub top_count: usize,
}

/// Scores `token` under `logits`, and fills `top` with the likeliest tokens, best first.
///
/// # Errors
/// A logit is not finite, or the token is outside of the vocabulary.
pub fn token_logprob(
    isa: Isa,
    logits: &[f32],
    token: u32,
    top: &mut [TokenLogprob],
) -> Result<Scored, SampleError> {
    let normaliser = normaliser(isa, logits)?;
    let logit = *logits.get(token as usize).ok_or(SampleError::NonFinite)?;
    let logprob = normaliser.logprob(logit);
    // As `best` compares them, so that a token's rank is its place in that list.
    let (lower, higher) = logits.split_at(token as usize);
    let before = lower.iter().filter(|logit| normaliser.logprob(**logit) >= logprob).count()
        + higher.iter().filter(|logit| normaliser.logprob(**logit) > logprob).count();
    Ok(Scored { logprob, rank: before as u32 + 1, top_count: best(logits, &normaliser, top) })
}
