//! One request's tokens as text.
use super::ServedModel;
use super::engine_thread::{EngineHandle, OwnedRequest, SubmitError, Update};
use crate::text::{Detokenizer, StopMatcher};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;
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

/// Asked while a token is waited for: whether anyone still wants it.
type Wanted<'m> = Box<dyn Fn() -> bool + Send + 'm>;

/// How often that is asked.
const ASK: Duration = Duration::from_millis(100);

/// A running request.
pub struct Generation<'m> {
    engine: EngineHandle,
    id: RequestId,
    updates: Receiver<Update>,
    detokenizer: Detokenizer<'m>,
    matcher: StopMatcher,
    tokens: usize,
    ending: Option<Ending>,
    over: bool,
    wanted: Option<Wanted<'m>>,
}

impl std::fmt::Debug for Generation<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Generation")
            .field("id", &self.id)
            .field("tokens", &self.tokens)
            .finish_non_exhaustive()
    }
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
            wanted: None,
        })
    }

    /// Ends it when `wanted` says that nobody waits for it any more.
    pub fn while_wanted(mut self, wanted: Wanted<'m>) -> Self {
        self.wanted = Some(wanted);
        self
    }

    fn update(&mut self) -> Result<Update, RecvTimeoutError> {
        let Some(wanted) = &self.wanted else {
            return self.updates.recv().map_err(|_| RecvTimeoutError::Disconnected);
        };
        while wanted() {
            match self.updates.recv_timeout(ASK) {
                Err(RecvTimeoutError::Timeout) => {}
                result => return result,
            }
        }
        Err(RecvTimeoutError::Timeout)
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
        match self.update() {
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
            Err(RecvTimeoutError::Timeout) => {
                self.engine.cancel(self.id);
                self.end(Ending::Error("the client has left".to_owned()));
                None
            }
            Err(RecvTimeoutError::Disconnected) => {
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
