//! One choice's tokens as text: detokenized, stop strings honoured; and taken up where another
//! engine left it.
use super::engine_thread::News;
use super::{Delta, Ending, OwnedRequest, ServedModel};
use crate::text::{Detokenizer, StopMatcher};
use verbatim_core::engine::FinishReason;
use verbatim_core::sampling::TokenLogprob;

/// A choice of a running request.
#[derive(Debug)]
pub(super) struct Choice<'m> {
    detokenizer: Detokenizer<'m>,
    matcher: StopMatcher,
    min_tokens: usize,
    /// Output tokens, those generated before included.
    pub(super) tokens: usize,
    /// Positions that were in the cache when it was first admitted.
    pub(super) cached_tokens: Option<usize>,
    /// Why it ended, if it did.
    pub(super) ending: Option<Ending>,
}

impl<'m> Choice<'m> {
    pub(super) fn new(model: &'m ServedModel, request: &OwnedRequest, stop: &[String]) -> Self {
        Self {
            detokenizer: Detokenizer::new(&model.tokenizer, &request.prompt, true),
            matcher: StopMatcher::new(stop, false),
            min_tokens: request.min_tokens,
            tokens: 0,
            cached_tokens: None,
            ending: None,
        }
    }

    /// Takes the tokens that were generated before: their text was given out, what was held back is
    /// held back again. If they are the whole output, it ends here; what was held back comes out.
    pub(super) fn replay(&mut self, request: &OwnedRequest) -> Option<Delta> {
        for token in &request.generated {
            self.text(*token);
            if self.ending.is_some() {
                return None;
            }
            if request.stop_ids.contains(token) && self.tokens > self.min_tokens {
                return self.finish(FinishReason::StopId(*token));
            }
        }
        let is_whole = !request.generated.is_empty() && self.tokens >= request.max_tokens;
        if is_whole { self.finish(FinishReason::Length) } else { None }
    }

    /// What a token adds to the text; ends at a stop string.
    fn text(&mut self, token: u32) -> String {
        self.tokens += 1;
        let piece = match self.detokenizer.push(token) {
            Ok(piece) => piece,
            Err(error) => {
                self.ending = Some(Ending::Error(error.to_string()));
                return String::new();
            }
        };
        if self.tokens <= self.min_tokens {
            return piece;
        }
        let text = self.matcher.push(&piece);
        if self.matcher.stopped().is_some() {
            self.ending = Some(Ending::Stop);
        }
        text
    }

    /// What news brings.
    pub(super) fn take(&mut self, news: News) -> Option<Delta> {
        match news {
            News::Admitted { cached_tokens } => {
                self.cached_tokens.get_or_insert(cached_tokens);
                None
            }
            News::Token { token, logprob, top } => {
                let text = self.text(token);
                Some(Delta { text, token: Some(TokenLogprob { token, logprob }), top })
            }
            News::Finished(reason) => self.finish(reason),
        }
    }

    /// The end, with what was held back.
    fn finish(&mut self, reason: FinishReason) -> Option<Delta> {
        self.ending = Some(match reason {
            FinishReason::StopId(_) => Ending::Stop,
            FinishReason::Length => Ending::Length,
            FinishReason::NonFinite { position } => {
                Ending::Error(format!("the model gave a logit that is not finite at position {position}"))
            }
            FinishReason::MaskEmpty => Ending::Error("no token is allowed here".to_owned()),
            FinishReason::DeviceLost => Ending::Error(
                "the device was lost; the tokens so far hold, and a server with the same fingerprint resumes \
                 the request"
                    .to_owned(),
            ),
        });
        let mut text = self.matcher.push(&self.detokenizer.finish().unwrap_or_default());
        text.push_str(&self.matcher.finish());
        (!text.is_empty()).then_some(Delta { text, token: None, top: Vec::new() })
    }
}
