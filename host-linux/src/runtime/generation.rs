//! One request's tokens as text.
use super::ServedModel;
use super::engine_thread::{EngineHandle, OwnedRequest, SubmitError, Update};
use crate::text::{Detokenizer, StopMatcher};
use std::sync::mpsc::Receiver;
use verbatim_core::engine::{FinishReason, RequestId};
use verbatim_core::sampling::TokenLogprob;

/// What a token brought.
#[derive(Clone, Debug, PartialEq)]
pub struct Delta {
    /// Text that may be given out; empty while it is held back.
    pub text: String,
    /// The token, unless this is what was held back at the end.
    pub token: Option<TokenLogprob>,
    /// Alternatives to it, best first.
    pub top: Vec<TokenLogprob>,
}

/// Why a generation ended.
#[derive(Clone, Debug, PartialEq)]
pub enum Ending {
    /// An end token, or a stop string.
    Stop,
    /// `max_tokens` or the context.
    Length,
    /// It could not go on.
    Error(String),
}

/// A running request.
#[derive(Debug)]
pub struct Generation<'m> {
    engine: EngineHandle,
    id: RequestId,
    updates: Receiver<Update>,
    detokenizer: Detokenizer<'m>,
    matcher: StopMatcher,
    tokens: usize,
    ending: Option<Ending>,
    over: bool,
}

impl<'m> Generation<'m> {
    /// Starts it.
    pub fn start(
        model: &'m ServedModel,
        engine: &EngineHandle,
        request: OwnedRequest,
        stop: &[String],
    ) -> Result<Self, SubmitError> {
        let detokenizer = Detokenizer::new(&model.tokenizer, &request.prompt, true);
        let (id, updates) = engine.submit(request)?;
        let matcher = StopMatcher::new(stop, false);
        Ok(Self {
            engine: engine.clone(),
            id,
            updates,
            detokenizer,
            matcher,
            tokens: 0,
            ending: None,
            over: false,
        })
    }

    /// Output tokens so far.
    pub fn tokens(&self) -> usize {
        self.tokens
    }

    /// Why it ended, once [`Generation::next`] has returned `None`.
    pub fn ending(&self) -> Ending {
        self.ending.clone().unwrap_or_else(|| Ending::Error("the engine has stopped".to_owned()))
    }

    fn end(&mut self, ending: Ending) {
        self.ending.get_or_insert(ending);
        self.over = true;
    }
}

impl Iterator for Generation<'_> {
    type Item = Delta;

    /// Waits for the next token; `None` at the end.
    fn next(&mut self) -> Option<Delta> {
        if self.over {
            return None;
        }
        match self.updates.recv() {
            Ok(Update::Token { token, logprob, top }) => {
                self.tokens += 1;
                let text = match self.detokenizer.push(token) {
                    Ok(piece) => self.matcher.push(&piece),
                    Err(error) => {
                        self.engine.cancel(self.id);
                        self.end(Ending::Error(error.to_string()));
                        String::new()
                    }
                };
                if self.matcher.stopped().is_some() {
                    self.engine.cancel(self.id);
                    self.end(Ending::Stop);
                }
                Some(Delta { text, token: Some(TokenLogprob { token, logprob }), top })
            }
            Ok(Update::Finished(reason)) => {
                let ending = match reason {
                    FinishReason::StopId(_) => Ending::Stop,
                    FinishReason::Length => Ending::Length,
                    FinishReason::NonFinite { position } => Ending::Error(format!(
                        "the model gave a logit that is not finite at position {position}"
                    )),
                    FinishReason::MaskEmpty => Ending::Error("no token is allowed here".to_owned()),
                };
                self.end(ending);
                let mut text = self.matcher.push(&self.detokenizer.finish().unwrap_or_default());
                text.push_str(&self.matcher.finish());
                (!text.is_empty()).then_some(Delta { text, token: None, top: Vec::new() })
            }
            Err(_) => {
                let why = self.engine.failure().unwrap_or_else(|| "the engine has stopped".to_owned());
                self.end(Ending::Error(why));
                None
            }
        }
    }
}

impl Drop for Generation<'_> {
    fn drop(&mut self) {
        if !self.over {
            self.engine.cancel(self.id);
        }
    }
}
