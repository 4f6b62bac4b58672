//! One choice's tokens as text: detokenized, stop strings honoured; resumed where another engine
//! left it.
use super::engine::TokenEventKind;
use super::error::GenerationError;
use super::event::{Delta, Ending, PromptToken, StopCause};
use super::request::OwnedRequest;
use crate::text::{Detokenizer, StopMatcher, StopStrings, Tokenizer};
use std::sync::Arc;
use verbatim_core::engine::FinishReason;
use verbatim_core::sampling::TokenLogprob;

/// A choice of a running request.
#[derive(Debug)]
pub(super) struct Choice {
    detokenizer: Detokenizer<Arc<Tokenizer>>,
    matcher: StopMatcher,
    stop_ids: Vec<u32>,
    /// Whether a token that ends the output adds to the text.
    includes_stop: bool,
    min_tokens: usize,
    /// Output tokens, those generated before included.
    pub(super) tokens: usize,
    /// Positions that were in the cache when the choice was first admitted.
    pub(super) cached_tokens: Option<usize>,
    /// Its prompt from the second token on, as far as it is scored.
    pub(super) prompt: Vec<PromptToken>,
    /// Its text that was given out before it was resumed.
    replayed: String,
    /// Where in that text each of the tokens ends that brought it.
    replayed_ends: Vec<usize>,
    /// Why it ended, if it did.
    pub(super) ending: Option<Ending>,
    /// What stopped it, if anything did.
    pub(super) stop_cause: Option<StopCause>,
}

impl Choice {
    pub(super) fn new(tokenizer: &Arc<Tokenizer>, request: &OwnedRequest, stop: &Arc<StopStrings>) -> Self {
        Self {
            detokenizer: Detokenizer::new(Arc::clone(tokenizer), &request.prompt, request.skips_special)
                .keeping(Arc::clone(&request.kept_special)),
            matcher: StopMatcher::new(Arc::clone(stop), request.includes_stop),
            stop_ids: request.stop_ids.clone(),
            includes_stop: request.includes_stop,
            min_tokens: request.min_tokens,
            tokens: 0,
            cached_tokens: None,
            prompt: Vec::new(),
            replayed: String::new(),
            replayed_ends: Vec::new(),
            ending: None,
            stop_cause: None,
        }
    }

    /// Resumes after the tokens that were generated before. Their text was given out already; text
    /// that was held back is held back again. If they are the whole output, the choice ends here
    /// and what was held back is returned; but where a grammar may be complete with the last token
    /// that the choice could have, only the engine's masks know why it ends.
    pub(super) fn replay(&mut self, request: &OwnedRequest) -> Option<Delta> {
        for token in &request.generated {
            let text = self.text(*token);
            self.replayed.push_str(&text);
            self.replayed_ends.push(self.replayed.len());
            if self.ending.is_some() {
                return None;
            }
            if self.is_stop(*token) {
                return self.finish(FinishReason::StopId(*token));
            }
        }
        let is_whole = !request.generated.is_empty() && self.tokens >= request.max_tokens;
        if is_whole && request.constraint.is_none() { self.finish(FinishReason::Length) } else { None }
    }

    /// What each token brought that was generated before.
    pub(super) fn replayed(&self) -> impl Iterator<Item = &str> {
        let begins = std::iter::once(&0).chain(&self.replayed_ends);
        begins.zip(&self.replayed_ends).map(|(begin, end)| &self.replayed[*begin..*end])
    }

    /// Whether the latest token, which is this, ends the output.
    fn is_stop(&self, token: u32) -> bool {
        self.tokens > self.min_tokens && self.stop_ids.contains(&token)
    }

    /// The text that a token adds; a stop string in it ends the choice.
    fn text(&mut self, token: u32) -> String {
        self.tokens += 1;
        if self.is_stop(token) && !self.includes_stop {
            return String::new();
        }
        let piece = match self.detokenizer.push(token) {
            Ok(piece) => piece,
            Err(error) => {
                self.ending = Some(Ending::Error(GenerationError::Text(error)));
                return String::new();
            }
        };
        if self.tokens <= self.min_tokens {
            return piece;
        }
        let text = self.matcher.push(&piece);
        if let Some(stop) = self.matcher.stopped() {
            self.stop_cause = Some(StopCause::Text(stop.to_owned()));
            self.ending = Some(Ending::Stop);
        }
        text
    }

    /// Takes an event of the engine; returns the output that it brings.
    pub(super) fn take(&mut self, event: TokenEventKind) -> Option<Delta> {
        match event {
            TokenEventKind::Admitted { cached_tokens } => {
                self.cached_tokens.get_or_insert(cached_tokens);
                None
            }
            TokenEventKind::Token { token, logprob, top } => {
                let text = self.text(token);
                if matches!(self.ending, Some(Ending::Error(_))) {
                    return None; // who resumes the choice gets the token again, and its text
                }
                Some(Delta { text, token: Some(TokenLogprob { token, logprob }), top })
            }
            TokenEventKind::PromptLogprob { token, rank, top } => {
                self.prompt.push(PromptToken { token, rank, top });
                None
            }
            TokenEventKind::Finished(reason) => self.finish(reason),
            TokenEventKind::Complete => self.end(Ending::Stop),
            // The generation, which knows the engine, ends the choice and does not hand this on.
            TokenEventKind::EngineLost => None,
        }
    }

    /// Ends the choice; returns the text that was held back. After an error that text stays held
    /// back: a client that resumes the choice gets it then, and would otherwise have it twice.
    fn finish(&mut self, reason: FinishReason) -> Option<Delta> {
        let ending = match reason {
            FinishReason::StopId(token) => {
                self.stop_cause = Some(StopCause::Token(token));
                Ending::Stop
            }
            FinishReason::Length => Ending::Length,
            FinishReason::NonFinite { position } => Ending::Error(GenerationError::NonFinite { position }),
            FinishReason::MaskEmpty => Ending::Error(GenerationError::NoTokenAllowed),
            FinishReason::DeviceLost => Ending::Error(GenerationError::DeviceLost),
        };
        self.end(ending)
    }

    fn end(&mut self, ending: Ending) -> Option<Delta> {
        let is_error = matches!(ending, Ending::Error(_));
        self.ending = Some(ending);
        if is_error {
            return None;
        }
        let mut text = self.matcher.push(&self.detokenizer.finish().unwrap_or_default());
        text.push_str(&self.matcher.finish());
        (!text.is_empty()).then_some(Delta { text, token: None, top: Vec::new() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::builtin;
    use verbatim_core::sampling::SamplingParams;

    fn token(token: u32) -> TokenEventKind {
        TokenEventKind::Token { token, logprob: 0.0, top: Vec::new() }
    }

    fn text(deltas: impl Iterator<Item = Option<Delta>>) -> String {
        deltas.flatten().map(|delta| delta.text).collect()
    }

    /// A stop string that has begun, and a character of several bytes, are held back by the choice
    /// that is lost and given out by the one that resumes it, never by both.
    #[test]
    fn a_choice_that_an_error_ends_gives_no_text_that_resuming_gives_again() {
        let read = |name| builtin::folder().read_small(name, 1 << 24).unwrap().unwrap();
        let tokenizer = Tokenizer::new(&read("tokenizer.json"), Some(&read("tokenizer_config.json")));
        let tokenizer = Arc::new(tokenizer.unwrap());
        let ids = tokenizer.encode("the E of EN and É at 日本, the ENgine", false).unwrap();
        let stop = Arc::new(StopStrings::new(&["END".to_owned()]));
        let request = OwnedRequest::new(vec![ids[0]], SamplingParams::GREEDY, ids.len() + 1);
        let uncut = {
            let mut choice = Choice::new(&tokenizer, &request, &stop);
            let mut deltas: Vec<_> = ids.iter().map(|id| choice.take(token(*id))).collect();
            deltas.push(choice.take(TokenEventKind::Finished(FinishReason::Length)));
            text(deltas.into_iter())
        };
        assert!(uncut.ends_with("ENgine"), "{uncut}");
        for cut in 0..ids.len() {
            let mut lost = Choice::new(&tokenizer, &request, &stop);
            let mut deltas: Vec<_> = ids[..cut].iter().map(|id| lost.take(token(*id))).collect();
            deltas.push(lost.take(TokenEventKind::Finished(FinishReason::DeviceLost)));
            assert_eq!(lost.ending, Some(Ending::Error(GenerationError::DeviceLost)));
            let rest = OwnedRequest { generated: ids[..cut].to_vec(), ..request.clone() };
            let mut resumed = Choice::new(&tokenizer, &rest, &stop);
            deltas.push(resumed.replay(&rest));
            deltas.extend(ids[cut..].iter().map(|id| resumed.take(token(*id))));
            deltas.push(resumed.take(TokenEventKind::Finished(FinishReason::Length)));
            assert_eq!(text(deltas.into_iter()), uncut, "cut after {cut} tokens");
        }
    }
}
