//! Logit bias and penalties: the first changes to the logits of single tokens.
use super::params::SamplingParams;

/// The tokens before the one that is drawn.
#[derive(Clone, Copy, Debug)]
pub struct History<'a> {
    /// Ids that the repetition penalty looks at.
    pub prompt: &'a [u32],
    /// Ids that all penalties look at.
    pub output: &'a [u32],
}

/// The bit that is set in a token's count once its penalties were applied.
const SEEN: u32 = 1 << 31;

/// Adds `bias` and applies the penalties to `logits`. `counts` is as long and zero, before and
/// after.
///
/// A token in prompt or output: its logit is divided by the repetition penalty if positive, else
/// multiplied. A token that occurs c > 0 times in the output: `logit − c · frequency − presence`.
/// Bias comes first.
///
/// Ids outside the vocabulary are ignored; the engine refuses them earlier.
pub fn apply(
    logits: &mut [f32],
    params: &SamplingParams,
    bias: impl Iterator<Item = (u32, f32)>,
    history: History<'_>,
    counts: &mut [u32],
) {
    for (token, amount) in bias {
        if let Some(logit) = logits.get_mut(token as usize) {
            *logit += amount;
        }
    }
    if !params.has_penalties() {
        return;
    }
    for token in history.output {
        if let Some(count) = counts.get_mut(*token as usize) {
            *count += 1;
        }
    }
    for token in history.prompt.iter().chain(history.output) {
        let at = *token as usize;
        let (Some(count), Some(logit)) = (counts.get_mut(at), logits.get_mut(at)) else { continue };
        if *count & SEEN != 0 {
            continue;
        }
        let penalty = params.repetition_penalty;
        *logit = if *logit > 0.0 { *logit / penalty } else { *logit * penalty };
        if *count > 0 {
            *logit -= *count as f32 * params.frequency_penalty;
            *logit -= params.presence_penalty;
        }
        *count |= SEEN;
    }
    for token in history.prompt.iter().chain(history.output) {
        if let Some(count) = counts.get_mut(*token as usize) {
            *count = 0;
        }
    }
}
