//! Sampling: from one row of logits to a token, a pure function of (logits, parameters, seed,
//! choice, position, history).
//!
//! In this order: log-probabilities of the raw logits ([`logprobs`]); logit bias and penalties
//! ([`penalties`]); the mask; temperature; top-k, top-p and min-p ([`filters`]); and the maximum of
//! `logit / T + Gumbel noise` ([`noise`]), which draws from the softmax of what is left (Gumbel,
//! 1954). The noise depends on (seed, choice, position, token id) alone, so a token drawn again for
//! any reason (preemption, speculation, another replica) is the same token. Ties go to the lower
//! id.
pub mod draw;
mod error;
pub mod filters;
pub mod logprobs;
pub mod noise;
pub mod params;
pub mod penalties;

pub use draw::{Draw, Sampled, Scratch, sample};
pub use error::SampleError;
pub use logprobs::{Scored, TokenLogprob, token_logprob};
pub use params::{ParamError, SamplingParams};
pub use penalties::History;

#[cfg(test)]
mod tests;
