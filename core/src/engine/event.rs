//! What a step tells its host.
use super::request::RequestId;
use crate::sampling::TokenLogprob;

/// One thing that happened to one choice of a request.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Event<'e> {
    /// The request.
    pub request: RequestId,
    /// The choice.
    pub choice: u32,
    /// What happened.
    pub kind: EventKind<'e>,
}

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum EventKind<'e> {
    /// The next output token.
    Token {
        /// Its id.
        token: u32,
        /// Its log-probability under the raw logits.
        logprob: f32,
        /// The likeliest alternatives, best first, if they were asked for.
        top: &'e [TokenLogprob],
    },
    /// The log-probability of a prompt token given those before it.
    PromptLogprob {
        /// The token's index in the prompt, from 1.
        position: usize,
        /// Its id.
        token: u32,
        /// Its log-probability.
        logprob: f32,
        /// The likeliest alternatives, best first, if they were asked for.
        top: &'e [TokenLogprob],
    },
    /// Its blocks were taken for others; it will be recomputed, to the same bits.
    Preempted,
    /// No more events will come for this choice.
    Finished(FinishReason),
}

/// Why a choice ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FinishReason {
    /// One of `stop_ids` was drawn.
    StopId(u32),
    /// `max_tokens` or the context was reached.
    Length,
    /// The caller cancelled it.
    Cancelled,
    /// A logit was NaN or infinite: the model or its weights are broken.
    NonFinite {
        /// The position whose logits they were.
        position: usize,
    },
    /// The mask allowed no token.
    MaskEmpty,
}
