//! Requests that run together, as text: every choice's tokens in the order in which they come.
use super::choice::Choice;
use super::engine_thread::{EngineHandle, SubmitError, Update};
use super::{OwnedRequest, ServedModel};
use std::collections::VecDeque;
use std::ops::Range;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;
use verbatim_core::engine::RequestId;
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

/// Why a choice ended.
#[derive(Clone, Debug, PartialEq)]
pub enum Ending {
    /// An end token, or a stop string.
    Stop,
    /// `max_tokens` or the context.
    Length,
    /// It could not go on.
    Error(String),
}

/// A part of a choice's output.
#[derive(Clone, Debug, PartialEq)]
pub enum Part {
    /// More of it.
    Delta(Delta),
    /// The end: once for each choice, its last.
    End(Ending),
}

/// Asked while a token is waited for: whether anyone still wants it.
type Wanted<'m> = Box<dyn Fn() -> bool + Send + 'm>;

/// How often that is asked.
const ASK: Duration = Duration::from_millis(100);

/// A request in the engine, and which of the choices are its own.
struct Running {
    id: RequestId,
    choices: Range<usize>,
}

/// Some running requests. Choices are numbered through: those of the first request, then those of
/// the next.
pub struct Generation<'m> {
    engine: EngineHandle,
    requests: Vec<Running>,
    updates: Receiver<Update>,
    choices: Vec<Choice<'m>>,
    /// Parts that were made and not yet given out.
    ready: VecDeque<(usize, Part)>,
    wanted: Option<Wanted<'m>>,
}

impl std::fmt::Debug for Generation<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Generation").field("choices", &self.choices).finish_non_exhaustive()
    }
}

impl<'m> Generation<'m> {
    /// Starts them. If one is refused, none runs.
    pub fn start(
        model: &'m ServedModel,
        engine: &EngineHandle,
        requests: Vec<OwnedRequest>,
        stop: &[String],
    ) -> Result<Self, SubmitError> {
        let (sender, updates) = channel();
        let mut generation = Self {
            engine: engine.clone(),
            requests: Vec::new(),
            updates,
            choices: Vec::new(),
            ready: VecDeque::new(),
            wanted: None,
        };
        for request in requests {
            let first = generation.choices.len();
            for _ in 0..request.choices {
                let mut choice = Choice::new(model, &request, stop);
                let held = choice.replay(&request);
                generation.choices.push(choice);
                generation.hand_on(generation.choices.len() - 1, held);
            }
            if generation.choices[first..].iter().all(|choice| choice.ending.is_some()) {
                continue; // it was whole when it came
            }
            let id = engine.submit(request, first, sender.clone())?;
            generation.requests.push(Running { id, choices: first..generation.choices.len() });
        }
        Ok(generation)
    }

    /// Ends all when `wanted` says that nobody waits for them any more.
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

    /// Output tokens of a choice so far, those generated before included.
    pub fn tokens(&self, choice: usize) -> usize {
        self.choices[choice].tokens
    }

    /// Positions of a choice that were in the cache when it began.
    pub fn cached_tokens(&self, choice: usize) -> usize {
        self.choices[choice].cached_tokens.unwrap_or(0)
    }

    /// Makes a choice's news ready to be given out.
    fn hand_on(&mut self, at: usize, delta: Option<Delta>) {
        self.ready.extend(delta.map(|delta| (at, Part::Delta(delta))));
        if let Some(ending) = &self.choices[at].ending {
            self.ready.push_back((at, Part::End(ending.clone())));
        }
    }

    /// Ends all choices that have not ended.
    fn end_all(&mut self, why: &str) {
        for at in 0..self.choices.len() {
            if self.choices[at].ending.is_none() {
                self.choices[at].ending = Some(Ending::Error(why.to_owned()));
                self.hand_on(at, None);
            }
        }
    }
}

impl Iterator for Generation<'_> {
    type Item = (usize, Part);

    /// Waits for the next part of any choice; `None` when all have ended.
    fn next(&mut self) -> Option<(usize, Part)> {
        loop {
            if let Some(part) = self.ready.pop_front() {
                return Some(part);
            }
            if self.choices.iter().all(|choice| choice.ending.is_some()) {
                return None;
            }
            match self.update() {
                // What comes after a stop string is not looked at.
                Ok(update) if self.choices[update.choice].ending.is_some() => {}
                Ok(Update { choice: at, news }) => {
                    let delta = self.choices[at].take(news);
                    self.hand_on(at, delta);
                    if self.choices[at].ending.is_some()
                        && let Some(of) = self.requests.iter().find(|of| of.choices.contains(&at))
                    {
                        self.engine.close(of.id, at);
                    }
                }
                Err(RecvTimeoutError::Timeout) => {
                    self.requests.iter().for_each(|of| self.engine.cancel(of.id));
                    self.end_all("the client has left");
                }
                Err(RecvTimeoutError::Disconnected) => {
                    let why = self.engine.failure().unwrap_or_else(|| "the engine has stopped".to_owned());
                    self.end_all(&why);
                }
            }
        }
    }
}

impl Drop for Generation<'_> {
    fn drop(&mut self) {
        for of in &self.requests {
            if self.choices[of.choices.clone()].iter().any(|choice| choice.ending.is_none()) {
                self.engine.cancel(of.id);
            }
        }
    }
}
