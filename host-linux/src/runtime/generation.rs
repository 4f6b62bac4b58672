//! Requests that run together, as text: every choice's tokens in the order in which they come.
//!
//! A [`Generation`] owns what it needs: it may be moved to another thread, and dropping it ends its
//! requests.
use super::choice::Choice;
use super::engine::{EngineHandle, Ticket, TokenEvent, TokenEventKind};
use super::error::{GenerationError, SubmitError};
use super::event::{Delta, Ending, TextEvent, TextEventKind};
use super::request::OwnedRequest;
use super::timing::{ChoiceTimes, TokenMeters};
use crate::text::StopStrings;
use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};
use verbatim_core::engine::Refusal;

/// Asked while a token is waited for: whether the output is still wanted.
type Wanted = Box<dyn Fn() -> bool + Send>;

/// How often [`Wanted`] is asked once a choice runs, besides before each wait: what nobody wants
/// should cost no more than a step or two.
const ASK_EVERY: Duration = Duration::from_millis(25);
/// How often it is asked while all choices are queued, and cost nothing but their place.
const ASK_QUEUED_EVERY: Duration = Duration::from_millis(250);

/// A request in the engine, and which of the generation's choices are its own.
#[derive(Debug)]
struct Running {
    ticket: Ticket,
    choices: Range<usize>,
}

/// The beginning of a text.
#[derive(Debug, Default)]
struct KeptText {
    kept: String,
    /// Bytes after which no more is kept.
    max: usize,
}

impl KeptText {
    fn add(&mut self, text: &str) {
        let missing = self.max.saturating_sub(self.kept.len());
        self.kept.extend(text.chars().take(missing));
    }
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
    /// When each choice came how far.
    times: Vec<ChoiceTimes>,
    /// Hears of tokens as they come, with the time from which the first one is counted.
    meters: Option<(Arc<TokenMeters>, Instant)>,
    /// The beginning of the first choice's text, as far as it is kept.
    text: KeptText,
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
    /// Starts requests in an engine, as text of its model; their output ends before any of the
    /// strings in `stop`. If one is refused, none runs.
    pub fn start(
        engine: &EngineHandle,
        requests: Vec<OwnedRequest>,
        stop: &[String],
    ) -> Result<Self, SubmitError> {
        let model = engine.model();
        let (sender, events) = channel();
        // Compiled once for all choices.
        let stop = Arc::new(StopStrings::new(stop));
        let mut generation = Self {
            engine: engine.clone(),
            requests: Vec::new(),
            events,
            choices: Vec::new(),
            times: Vec::new(),
            meters: None,
            text: KeptText::default(),
            ready: VecDeque::new(),
            wanted: None,
        };
        for request in requests {
            check_choices(&request, model.limits.slots()).map_err(SubmitError::Refused)?;
            let first = generation.choices.len();
            for _ in 0..request.choices {
                let mut choice = Choice::new(&model.tokenizer, &request, &stop);
                let held_back = choice.replay(&request);
                generation.choices.push(choice);
                generation.times.push(ChoiceTimes::submitted(Instant::now()));
                generation.hand_on(generation.choices.len() - 1, held_back);
            }
            if generation.choices[first..].iter().all(|choice| choice.ending.is_some()) {
                continue; // it was whole when it came
            }
            let ticket = engine.submit(request, first, sender.clone())?;
            generation.requests.push(Running { ticket, choices: first..generation.choices.len() });
        }
        Ok(generation)
    }

    /// Ends all requests once `wanted` says that nobody waits for their output any more. It is
    /// asked before each token, and while one is waited for.
    pub fn while_wanted(mut self, wanted: impl Fn() -> bool + Send + 'static) -> Self {
        self.wanted = Some(Box::new(wanted));
        self
    }

    /// Notes each token of the output in `meters`; the first one is counted from `arrived`, when
    /// the request that asked for it came.
    pub fn measured_by(mut self, meters: Arc<TokenMeters>, arrived: Instant) -> Self {
        self.meters = Some((meters, arrived));
        self
    }

    /// Keeps `bytes` of the first choice's text, or a few more, for [`Generation::kept_text`].
    pub fn keeping_text(mut self, bytes: usize) -> Self {
        self.text.max = bytes;
        self
    }

    /// The beginning of the first choice's text, as far as it was to be kept.
    pub fn kept_text(&self) -> &str {
        &self.text.kept
    }

    /// Waits for an event of the engine; a timeout means that the output is no longer wanted.
    fn event(&mut self) -> Result<TokenEvent, RecvTimeoutError> {
        let Some(wanted) = &self.wanted else {
            return self.events.recv().map_err(|_| RecvTimeoutError::Disconnected);
        };
        let runs = self.choices.iter().any(|choice| choice.cached_tokens.is_some());
        let ask_every = if runs { ASK_EVERY } else { ASK_QUEUED_EVERY };
        while wanted() {
            match self.events.recv_timeout(ask_every) {
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

    /// Why a choice ended, if it did.
    pub fn ending(&self, choice: usize) -> Option<&Ending> {
        self.choices[choice].ending.as_ref()
    }

    /// When a choice came how far.
    pub fn times(&self, choice: usize) -> ChoiceTimes {
        self.times[choice]
    }

    /// Makes a choice's output, and its end if it has ended, ready to be given out.
    fn hand_on(&mut self, choice: usize, delta: Option<Delta>) {
        if choice == 0
            && let Some(delta) = &delta
        {
            self.text.add(&delta.text);
        }
        let delta = delta.map(TextEventKind::Delta);
        let end = self.choices[choice].ending.clone().map(TextEventKind::End);
        self.ready.extend(delta.into_iter().chain(end).map(|kind| TextEvent { choice, kind }));
    }

    /// Takes an event of the engine.
    fn take(&mut self, event: TokenEvent) {
        let TokenEvent { choice, kind, at } = event;
        // Nothing counts after a stop string.
        if self.choices[choice].ending.is_some() {
            return;
        }
        if kind == TokenEventKind::EngineLost {
            self.choices[choice].ending = Some(Ending::Error(self.engine_lost()));
            return self.hand_on(choice, None);
        }
        self.times[choice].note(&kind, at, self.meters.as_ref());
        let delta = self.choices[choice].take(kind);
        self.hand_on(choice, delta);
        if self.choices[choice].ending.is_some()
            && let Some(of) = self.requests.iter().find(|of| of.choices.contains(&choice))
        {
            self.engine.close(of.ticket, choice);
        }
    }

    /// What has become of an engine from which nothing comes any more.
    fn engine_lost(&self) -> GenerationError {
        match self.engine.failure() {
            Some(failure) => GenerationError::EngineStopped(Some(failure)),
            None if self.engine.wait_for_end(Duration::ZERO) => GenerationError::EngineStopped(None),
            None => GenerationError::EngineRestarted,
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
                    self.requests.iter().for_each(|of| self.engine.cancel(of.ticket));
                    self.end_all(&GenerationError::Unwanted);
                }
                Err(RecvTimeoutError::Disconnected) => self.end_all(&self.engine_lost()),
            }
        }
    }
}

impl Drop for Generation {
    fn drop(&mut self) {
        for of in &self.requests {
            if self.choices[of.choices.clone()].iter().any(|choice| choice.ending.is_none()) {
                self.engine.cancel(of.ticket);
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
