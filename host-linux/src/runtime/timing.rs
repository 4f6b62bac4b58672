//! When a choice came how far, and what is measured of its tokens as they come.
use super::engine::TokenEventKind;
use super::meters::Histogram;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Seconds until the first token, by which requests are counted: vLLM's buckets.
const FIRST_TOKEN_SECONDS: &[f64] = &[
    0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 20.0, 40.0,
    80.0, 160.0, 640.0, 2560.0,
];
/// Seconds between tokens, by which tokens are counted: vLLM's buckets.
pub const TOKEN_SECONDS: &[f64] = &[
    0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 20.0, 40.0, 80.0,
];

/// What is measured of tokens as they come, over all requests.
#[derive(Debug)]
pub struct TokenMeters {
    /// From the arrival of a request to the first token of each of its choices.
    pub first_token: Histogram,
    /// Between the steps that brought a choice tokens. Tokens of one step are one event.
    pub inter_token: Histogram,
}

impl Default for TokenMeters {
    fn default() -> Self {
        Self {
            first_token: Histogram::of_seconds(FIRST_TOKEN_SECONDS),
            inter_token: Histogram::of_seconds(TOKEN_SECONDS),
        }
    }
}

/// When a choice came how far. The times are the engine's: a reader that is late changes none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChoiceTimes {
    /// When it was handed to the engine.
    pub submitted: Instant,
    /// When the first step in which it took part began.
    pub admitted: Option<Instant>,
    /// When its first token was there.
    pub first_token: Option<Instant>,
    /// When its latest token was there.
    pub last_token: Option<Instant>,
}

impl ChoiceTimes {
    /// A choice that was just handed to the engine.
    pub fn submitted(at: Instant) -> Self {
        Self { submitted: at, admitted: None, first_token: None, last_token: None }
    }

    /// Takes note of an event of the choice.
    pub(super) fn note(
        &mut self,
        kind: &TokenEventKind,
        at: Instant,
        meters: Option<&(Arc<TokenMeters>, Instant)>,
    ) {
        match kind {
            // One that was preempted is admitted again; what it waits then is no queue.
            TokenEventKind::Admitted { .. } => _ = self.admitted.get_or_insert(at),
            TokenEventKind::Token { .. } => {
                let last = self.last_token.replace(at);
                self.first_token.get_or_insert(at);
                let Some((meters, arrived)) = meters else { return };
                match last {
                    None => meters.first_token.note(at.saturating_duration_since(*arrived)),
                    Some(last) if last < at => meters.inter_token.note(at - last),
                    Some(_) => {}
                }
            }
            TokenEventKind::PromptLogprob { .. }
            | TokenEventKind::Finished(_)
            | TokenEventKind::Complete
            | TokenEventKind::EngineLost => {}
        }
    }

    /// Waiting to be admitted, if that has ended.
    pub fn queue(&self) -> Option<Duration> {
        Some(self.admitted?.saturating_duration_since(self.submitted))
    }

    /// From admission to the first token.
    pub fn prefill(&self) -> Option<Duration> {
        Some(self.first_token?.saturating_duration_since(self.admitted?))
    }

    /// From the first token to the latest.
    pub fn decode(&self) -> Option<Duration> {
        Some(self.last_token?.saturating_duration_since(self.first_token?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use verbatim_core::engine::FinishReason;

    #[test]
    fn the_time_of_a_choice_falls_into_parts() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let meters = (Arc::new(TokenMeters::default()), start);
        let mut times = ChoiceTimes::submitted(at(5));
        assert_eq!((times.queue(), times.prefill(), times.decode()), (None, None, None));
        let token = TokenEventKind::Token { token: 1, logprob: 0.0, top: Vec::new() };
        let admitted = TokenEventKind::Admitted { cached_tokens: 0 };
        // Two tokens of one step, and a preemption.
        for (kind, ms) in [(&admitted, 25), (&token, 65), (&token, 95), (&token, 95), (&admitted, 120)] {
            times.note(kind, at(ms), Some(&meters));
        }
        times.note(&token, at(295), Some(&meters));
        times.note(&TokenEventKind::Finished(FinishReason::Length), at(295), Some(&meters));
        let ms = |took: Option<Duration>| took.map(|took| took.as_millis());
        let parts = (ms(times.queue()), ms(times.prefill()), ms(times.decode()));
        assert_eq!(parts, (Some(20), Some(40), Some(230)));
        let (first, inter) = (meters.0.first_token.read(), meters.0.inter_token.read());
        assert_eq!((first.count(), inter.count()), (1, 2));
        assert!((first.sum - 0.065).abs() < 1e-9 && (inter.sum - 0.23).abs() < 1e-9);
    }
}
