//! Requests that run together, as text: every choice's tokens in the order in which they come.
//!
//! A [`Generation`] owns what it needs: it may be moved to another thread, and dropping it ends its
//! requests.
use super::choice::Choice;
use super::engine::{EngineHandle, TokenEvent};
use super::error::{GenerationError, SubmitError};
use super::event::{Delta, Ending, TextEvent, TextEventKind};
use super::model::ServedModel;
use super::request::OwnedRequest;
use std::collections::VecDeque;
use std::ops::Range;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;
use verbatim_core::engine::{Refusal, RequestId};

/// Asked while a token is waited for: whether the output is still wanted.
type Wanted = Box<dyn Fn() -> bool + Send>;

/// How often [`Wanted`] is asked.
const ASK_EVERY: Duration = Duration::from_millis(100);

/// A request in the engine, and which of the generation's choices are its own.
#[derive(Debug)]
struct Running {
    id: RequestId,
    choices: Range<usize>,
}

/// Refuses numbers of choices that no engine with so many `slots` would take, before memory is
/// taken for each of them.
fn check_choices(request: &OwnedRequest, slots: usize) -> Result<(), Refusal> {
    match request.choices as usize {
        0 => Err(Refusal::NothingAsked),
        given if given > slots => Err(Refusal::TooMany { field: "choices", given, max: slots }),
        _ => Ok(()),
    }
}

/// Some running requests, as an iterator over their output.
pub struct Generation {
    engine: EngineHandle,
    requests: Vec<Running>,
    events: Receiver<TokenEvent>,
    choices: Vec<Choice>,
    /// Events that were made and not yet given out.
    ready: VecDeque<TextEvent>,
    wanted: Option<Wanted>,
}

impl std::fmt::Debug for Generation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Generation").field("choices", &self.choices).finish_non_exhaustive()
    }
}

impl Generation {
    /// Starts requests, whose output ends before any of the strings in `stop`. If one is refused,
    /// none runs.
    pub fn start(
        model: &ServedModel,
        engine: &EngineHandle,
        requests: Vec<OwnedRequest>,
        stop: &[String],
    ) -> Result<Self, SubmitError> {
        let (sender, events) = channel();
        let mut generation = Self {
            engine: engine.clone(),
            requests: Vec::new(),
            events,
            choices: Vec::new(),
            ready: VecDeque::new(),
            wanted: None,
        };
        for request in requests {
            check_choices(&request, model.limits.slots()).map_err(SubmitError::Refused)?;
            let first = generation.choices.len();
            for _ in 0..request.choices {
                let mut choice = Choice::new(&model.tokenizer, &request, stop);
                let held_back = choice.replay(&request);
                generation.choices.push(choice);
                generation.hand_on(generation.choices.len() - 1, held_back);
            }
            if generation.choices[first..].iter().all(|choice| choice.ending.is_some()) {
                continue; // it was whole when it came
            }
            let id = engine.submit(request, first, sender.clone())?;
            generation.requests.push(Running { id, choices: first..generation.choices.len() });
        }
        Ok(generation)
    }

    /// Ends all requests once `wanted` says that nobody waits for their output any more. It is
    /// asked ten times a second while a token is waited for.
    pub fn while_wanted(mut self, wanted: impl Fn() -> bool + Send + 'static) -> Self {
        self.wanted = Some(Box::new(wanted));
        self
    }

    /// Waits for an event of the engine; a timeout means that the output is no longer wanted.
    fn event(&mut self) -> Result<TokenEvent, RecvTimeoutError> {
        let Some(wanted) = &self.wanted else {
            return self.events.recv().map_err(|_| RecvTimeoutError::Disconnected);
        };
        while wanted() {
            match self.events.recv_timeout(ASK_EVERY) {
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

    /// Makes a choice's output, and its end if it has ended, ready to be given out.
    fn hand_on(&mut self, choice: usize, delta: Option<Delta>) {
        let delta = delta.map(TextEventKind::Delta);
        let end = self.choices[choice].ending.clone().map(TextEventKind::End);
        self.ready.extend(delta.into_iter().chain(end).map(|kind| TextEvent { choice, kind }));
    }

    /// Takes an event of the engine.
    fn take(&mut self, event: TokenEvent) {
        let TokenEvent { choice, kind } = event;
        // Nothing counts after a stop string.
        if self.choices[choice].ending.is_some() {
            return;
        }
        let delta = self.choices[choice].take(kind);
        self.hand_on(choice, delta);
        if self.choices[choice].ending.is_some()
            && let Some(of) = self.requests.iter().find(|of| of.choices.contains(&choice))
        {
            self.engine.close(of.id, choice);
        }
    }

    /// Ends all choices that have not ended.
    fn end_all(&mut self, why: &GenerationError) {
        for choice in 0..self.choices.len() {
            if self.choices[choice].ending.is_none() {
                self.choices[choice].ending = Some(Ending::Error(why.clone()));
                self.hand_on(choice, None);
            }
        }
    }
}

impl Iterator for Generation {
    type Item = TextEvent;

    /// Waits for the next event of any choice; `None` when all have ended.
    fn next(&mut self) -> Option<TextEvent> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Some(event);
            }
            if self.choices.iter().all(|choice| choice.ending.is_some()) {
                return None;
            }
            match self.event() {
                Ok(event) => self.take(event),
                Err(RecvTimeoutError::Timeout) => {
                    self.requests.iter().for_each(|of| self.engine.cancel(of.id));
                    self.end_all(&GenerationError::Unwanted);
                }
                Err(RecvTimeoutError::Disconnected) => {
                    self.end_all(&GenerationError::EngineStopped(self.engine.failure()));
                }
            }
        }
    }
}

impl Drop for Generation {
    fn drop(&mut self) {
        for of in &self.requests {
            if self.choices[of.choices.clone()].iter().any(|choice| choice.ending.is_none()) {
                self.engine.cancel(of.id);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_generation_may_move_to_another_thread() {
        fn is_send<T: Send + 'static>() {}
        is_send::<Generation>();
    }
}
