//! Requests that run together, as text: every choice's tokens in the order in which they come.
//!
//! A [`Generation`] owns what it needs: it may be moved to another thread, and dropping it ends its
//! requests.
use super::choice::Choice;
use super::engine::{EngineHandle, Ticket, TokenEvent, TokenEventKind};
use super::error::{GenerationError, SubmitError};
use super::event::{Delta, Ending, Heard, PromptToken, StopCause, TextEvent, TextEventKind};
use super::request::OwnedRequest;
use super::timing::{ChoiceTimes, TokenMeters};
use crate::text::StopStrings;
use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};
use verbatim_core::engine::Refusal;
use verbatim_core::model::RowOutput;

/// Asked while a token is waited for: whether the output is still wanted.
type Wanted = Box<dyn Fn() -> bool + Send>;

/// How often [`Wanted`] is asked once a choice runs, besides before each wait: what nobody wants
/// should cost no more than a step or two.
const ASK_EVERY: Duration = Duration::from_millis(25);
/// How often it is asked while all choices are queued, and cost nothing but their place.
const ASK_QUEUED_EVERY: Duration = Duration::from_millis(250);

/// Choices of one generation, at most.
pub const CHOICES_MAX: usize = 16_384;

/// A request in the engine, and which of the generation's choices are its own.
#[derive(Debug)]
struct Running {
    ticket: Ticket,
    choices: Range<usize>,
}

/// Choices of a request that are submitted together when it is their turn. All that wait share the
/// request, which may be long.
#[derive(Debug)]
struct Pending {
    request: Arc<OwnedRequest>,
    /// The first of them among the generation's choices, and among those of the request.
    first: usize,
    offset: u32,
    choices: u32,
    /// A choice that computes something for these and comes first.
    after: Option<usize>,
}

impl Pending {
    /// Their numbers among the generation's choices.
    fn range(&self) -> Range<usize> {
        self.first..self.first + self.choices as usize
    }

    /// The request for these choices alone.
    fn owned(&self) -> OwnedRequest {
        let whole = &*self.request;
        OwnedRequest {
            first_choice: whole.first_choice.wrapping_add(self.offset),
            choices: self.choices,
            prompt_output: if self.after.is_some() { RowOutput::None } else { whole.prompt_output },
            ..whole.clone()
        }
    }
}

/// What waiting for the engine has brought.
enum Waited {
    Event(TokenEvent),
    /// Nothing until the time that was given.
    Silence,
    /// Nothing, but those whose turn has not come may ask again.
    AskAgain,
    /// Nobody wants the output any more.
    Unwanted,
    /// Nothing comes from the engine any more.
    Gone,
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

/// Refuses numbers of choices before memory is taken for each of them.
fn check_choices(requests: &[OwnedRequest]) -> Result<usize, Refusal> {
    let mut total = 0_usize;
    for request in requests {
        if request.choices == 0 {
            return Err(Refusal::NothingAsked);
        }
        total = total.saturating_add(request.choices as usize);
        if total > CHOICES_MAX {
            return Err(Refusal::TooMany { field: "choices", given: total, max: CHOICES_MAX });
        }
    }
    Ok(total)
}

/// Refuses ids outside the vocabulary, as the engine does when a request comes to it.
fn check_ids(requests: &[OwnedRequest], vocab_size: usize) -> Result<(), Refusal> {
    for request in requests {
        let bias = request.logit_bias.iter().map(|(token, _)| token);
        let fields = [("prompt", request.prompt.iter()), ("generated", request.generated.iter())];
        let ids = fields.into_iter().flat_map(|(field, ids)| ids.map(move |token| (field, token)));
        let mut ids = ids.chain(bias.map(|token| ("logit_bias", token)));
        if let Some((field, token)) = ids.find(|(_, token)| **token as usize >= vocab_size) {
            return Err(Refusal::TokenOutOfRange { field, token: *token, vocab_size });
        }
    }
    Ok(())
}

/// Some running requests, as an iterator over their output.
pub struct Generation {
    engine: EngineHandle,
    requests: Vec<Running>,
    /// What is not in the engine yet, in order, and the sender of its events: without it the engine
    /// has the only ones.
    pending: VecDeque<Pending>,
    sender: Option<Sender<TokenEvent>>,
    /// Choices that are in the engine at once, at most, if there are more than it has places for.
    window: Option<usize>,
    /// When the engine, which had no place, is asked again.
    ask_again: Option<Instant>,
    events: Receiver<TokenEvent>,
    choices: Vec<Choice>,
    /// For each choice, the first one of its request, and whether it is in the engine.
    leaders: Vec<usize>,
    is_live: Vec<bool>,
    /// Choices that have not ended, and those of them that are in the engine.
    left: usize,
    live: usize,
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
    ///
    /// If there are more choices than the engine has places for, they run in turns: the others wait
    /// here. If one of those is refused later, it ends with that error.
    pub fn start(
        engine: &EngineHandle,
        requests: Vec<OwnedRequest>,
        stop: &[String],
    ) -> Result<Self, SubmitError> {
        let limits = &engine.model().limits;
        let total = check_choices(&requests).map_err(SubmitError::Refused)?;
        let window = (total > limits.slots()).then_some(limits.sequences);
        if window.is_some() {
            let vocab_size = engine.model().loaded.model().config().vocab_size;
            check_ids(&requests, vocab_size).map_err(SubmitError::Refused)?;
        }
        let (sender, events) = channel();
        let mut generation = Self {
            engine: engine.clone(),
            requests: Vec::new(),
            pending: VecDeque::new(),
            sender: Some(sender),
            window,
            ask_again: None,
            events,
            choices: Vec::new(),
            leaders: Vec::new(),
            is_live: vec![false; total],
            left: total,
            live: 0,
            times: Vec::new(),
            meters: None,
            text: KeptText::default(),
            ready: VecDeque::new(),
            wanted: None,
        };
        // Compiled once for all choices.
        let stop = Arc::new(StopStrings::new(stop));
        for request in requests {
            generation.add(request, &stop);
        }
        generation.submit_pending()?;
        Ok(generation)
    }

    /// Adds the choices of a request to those that wait.
    fn add(&mut self, request: OwnedRequest, stop: &Arc<StopStrings>) {
        let model = Arc::clone(self.engine.model());
        let first = self.choices.len();
        for at in first..first + request.choices as usize {
            let mut choice = Choice::new(&model.tokenizer, &request, stop);
            let held_back = choice.replay(&request);
            self.choices.push(choice);
            self.leaders.push(first);
            self.times.push(ChoiceTimes::submitted(Instant::now()));
            self.hand_on(at, held_back);
        }
        if self.choices[first..].iter().all(|choice| choice.ending.is_some()) {
            return; // it was whole when it came
        }
        let yields_prompt = request.prompt_output != RowOutput::None;
        let request = Arc::new(request);
        let mut run = |offset: u32, choices: u32, is_after: bool| {
            let (request, at) = (Arc::clone(&request), first + offset as usize);
            let after = is_after.then_some(first);
            self.pending.push_back(Pending { request, first: at, offset, choices, after });
        };
        match (yields_prompt, self.window) {
            // Of one that yields its prompt alone, the first choice is all of them.
            (true, _) if request.max_tokens == 0 => run(0, 1, false),
            (_, Some(_)) => (0..request.choices).for_each(|i| run(i, 1, yields_prompt && i > 0)),
            (false, None) => run(0, request.choices, false),
            (true, None) => {
                run(0, 1, false);
                if request.choices > 1 {
                    run(1, request.choices - 1, true);
                }
            }
        }
    }

    /// Submits what has its turn. A full queue is an error only where nothing was submitted yet.
    fn submit_pending(&mut self) -> Result<(), SubmitError> {
        while let Some(pending) = self.pending.front() {
            let (choices, after) = (pending.range(), pending.after);
            let has_begun = |at: &usize| self.choices[*at].tokens > 0 || self.choices[*at].ending.is_some();
            let is_blocked = after.as_ref().is_some_and(|at| !has_begun(at));
            if is_blocked || self.window.is_some_and(|window| self.live >= window) {
                return Ok(());
            }
            let Some(sender) = self.sender.clone() else { return Ok(()) };
            let ticket = match self.engine.submit(pending.owned(), choices.start, sender) {
                Err(SubmitError::Refused(Refusal::QueueFull { .. })) if !self.requests.is_empty() => {
                    self.ask_again = Some(Instant::now() + ASK_QUEUED_EVERY);
                    return Ok(());
                }
                ticket => ticket?,
            };
            self.requests.push(Running { ticket, choices: choices.clone() });
            for at in choices {
                self.is_live[at] = self.choices[at].ending.is_none();
                self.live += usize::from(self.is_live[at]);
            }
            self.pending.pop_front();
        }
        self.sender = None;
        Ok(())
    }

    /// Submits what has its turn by now. What is refused ends with that error.
    fn go_on(&mut self) {
        if self.pending.is_empty() || self.ask_again.is_some_and(|at| Instant::now() < at) {
            return;
        }
        self.ask_again = None;
        while let Err(error) = self.submit_pending() {
            let Some(pending) = self.pending.pop_front() else { return };
            let why = match error {
                SubmitError::Refused(refusal) => GenerationError::Refused(refusal),
                SubmitError::EngineGone | SubmitError::Panicked => self.engine_lost(),
            };
            for at in pending.range() {
                self.choices[at].ending = Some(Ending::Error(why.clone()));
                self.hand_on(at, None);
            }
        }
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

    /// Waits for an event of the engine.
    fn event(&mut self, until: Option<Instant>) -> Waited {
        let runs = self.choices.iter().any(|choice| choice.cached_tokens.is_some());
        loop {
            if self.wanted.as_ref().is_some_and(|wanted| !wanted()) {
                return Waited::Unwanted;
            }
            let ask_every = if runs { ASK_EVERY } else { ASK_QUEUED_EVERY };
            let asks = self.wanted.is_some() || !self.pending.is_empty();
            let left = until.map(|until| until.saturating_duration_since(Instant::now()));
            if left.is_some_and(|left| left.is_zero()) {
                return Waited::Silence;
            }
            let wait = asks.then_some(ask_every).into_iter().chain(left).min();
            let result = match wait {
                Some(wait) => self.events.recv_timeout(wait),
                None => self.events.recv().map_err(|_| RecvTimeoutError::Disconnected),
            };
            match result {
                Ok(event) => return Waited::Event(event),
                Err(RecvTimeoutError::Disconnected) => return Waited::Gone,
                Err(RecvTimeoutError::Timeout) if !self.pending.is_empty() => return Waited::AskAgain,
                Err(RecvTimeoutError::Timeout) => {}
            }
        }
    }

    /// Waits for the next event of any choice for at most `limit`.
    pub fn next_within(&mut self, limit: Duration) -> Heard {
        self.hear(Instant::now().checked_add(limit))
    }

    fn hear(&mut self, until: Option<Instant>) -> Heard {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Heard::Event(event);
            }
            if self.left == 0 {
                return Heard::End;
            }
            self.go_on();
            if !self.ready.is_empty() {
                continue;
            }
            match self.event(until) {
                Waited::Event(event) => self.take(event),
                Waited::AskAgain => {}
                Waited::Silence => return Heard::Silence,
                Waited::Unwanted => {
                    self.requests.iter().for_each(|of| self.engine.cancel(of.ticket));
                    self.end_all(&GenerationError::Unwanted);
                }
                Waited::Gone => self.end_all(&self.engine_lost()),
            }
        }
    }

    /// The tokens of a choice's prompt from the second one on, where they were asked for and as far
    /// as they were computed. They are whole once a choice of its request has output, or has ended
    /// without an error.
    pub fn prompt_tokens(&self, choice: usize) -> &[PromptToken] {
        &self.choices[self.leaders[choice]].prompt
    }

    /// The texts of a choice that were given out before it was resumed, one for each token.
    pub fn replayed(&self, choice: usize) -> impl Iterator<Item = &str> {
        self.choices[choice].replayed()
    }

    /// What stopped a choice, if anything of its request did.
    pub fn stop_cause(&self, choice: usize) -> Option<&StopCause> {
        self.choices[choice].stop_cause.as_ref()
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

    /// Makes a choice's output, and its end if it has ended, ready to be given out: the end once.
    fn hand_on(&mut self, choice: usize, delta: Option<Delta>) {
        if choice == 0
            && let Some(delta) = &delta
        {
            self.text.add(&delta.text);
        }
        let delta = delta.map(TextEventKind::Delta);
        let end = self.choices[choice].ending.clone().map(TextEventKind::End);
        if end.is_some() {
            self.left -= 1;
            self.live -= usize::from(std::mem::take(&mut self.is_live[choice]));
        }
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
            self.end_followers(choice);
        }
    }

    /// Ends the choices that were not computed because they are what their first one is.
    fn end_followers(&mut self, leader: usize) {
        let is_known = |at: usize| {
            let is_running = self.requests.iter().any(|of| of.choices.contains(&at));
            is_running || self.pending.iter().any(|of| of.range().contains(&at))
        };
        let is_follower =
            |at: &usize| self.leaders[*at] == leader && self.choices[*at].ending.is_none() && !is_known(*at);
        let followers: Vec<usize> = (leader + 1..self.choices.len())
            .take_while(|at| self.leaders[*at] == leader)
            .filter(is_follower)
            .collect();
        for at in followers {
            self.choices[at].ending = self.choices[leader].ending.clone();
            self.hand_on(at, None);
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
        match self.hear(None) {
            Heard::Event(event) => Some(event),
            Heard::Silence | Heard::End => None,
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
    use crate::load::NoProgress;
    use crate::runtime::{Options, ServedModel};
    use verbatim_core::sampling::SamplingParams;

    #[test]
    fn a_generation_may_move_to_another_thread() {
        fn is_send<T: Send + 'static>() {}
        is_send::<Generation>();
    }

    /// A long prompt with many choices is in memory once while they wait.
    #[test]
    fn choices_that_wait_share_their_request() {
        let options = Options { workers: Some(1), max_seqs: 1, max_queue: 1, ..Options::default() };
        let model = Arc::new(ServedModel::open(&options, &NoProgress).expect("the built-in model"));
        let (engine, thread) = EngineHandle::start(model, options.step_ms).expect("an engine");
        let request = OwnedRequest::new(vec![1; 100], SamplingParams::GREEDY, 2);
        let request = OwnedRequest { choices: 9, first_choice: 5, ..request };
        let generation = Generation::start(&engine, vec![request], &[]).expect("there is room for one");
        assert_eq!(generation.pending.len(), 8);
        let first = &generation.pending[0].request;
        assert!(generation.pending.iter().all(|of| Arc::ptr_eq(&of.request, first)));
        let last = generation.pending[7].owned();
        assert_eq!((last.first_choice, last.choices, last.prompt.len()), (13, 1, 100));
        drop(generation);
        engine.stop();
        thread.join().expect("the engine ends");
    }
}
