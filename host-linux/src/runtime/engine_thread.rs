//! The thread that owns the engine.
//!
//! Callers send it commands; it sends each request's updates to its caller's queue, which never
//! blocks it: a request's updates are bounded by its tokens. A queue whose reader is gone cancels
//! its requests. It never touches a socket. While there is nothing to do it sleeps on the command
//! queue.
use super::costs::{Costs, StepRows};
use super::step_budget::StepBudget;
use super::{Drafter, OwnedRequest, ServedModel};
use crate::sys::memory::AlignedMemory;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use verbatim_core::engine::{
    Budget, Counters, Engine, EventKind, FinishReason, Masks, Refusal, RequestId, Status, StepKind,
};
use verbatim_core::sampling::TokenLogprob;

/// News of a choice.
#[derive(Clone, Debug, PartialEq)]
pub enum News {
    /// It runs from now on; this many of its positions were in the cache.
    Admitted {
        /// Positions that need not be computed.
        cached_tokens: usize,
    },
    /// The next token.
    Token {
        /// Its id.
        token: u32,
        /// Its log-probability.
        logprob: f32,
        /// Alternatives, best first.
        top: Vec<TokenLogprob>,
    },
    /// Nothing more comes.
    Finished(FinishReason),
}

/// What comes through a caller's queue.
#[derive(Clone, Debug, PartialEq)]
pub struct Update {
    /// The choice's number in that queue.
    pub choice: usize,
    /// What is new.
    pub news: News,
}

enum Command {
    /// A request, its readers, and where to say whether it was taken.
    Submit(Box<OwnedRequest>, Readers, SyncSender<Result<RequestId, Refusal>>),
    Close(RequestId, usize),
    Cancel(RequestId),
    Stop,
}

/// Talks to the engine thread; cheap to clone.
#[derive(Clone, Debug)]
pub struct EngineHandle {
    commands: Sender<Command>,
    gauges: Arc<Gauges>,
}

impl std::fmt::Debug for Command {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Command")
    }
}

/// What the engine is doing and what it has done, readable at any time.
#[derive(Clone, Copy, Debug, Default)]
pub struct Load {
    /// Now.
    pub status: Status,
    /// So far.
    pub counters: Counters,
}

#[derive(Debug, Default)]
struct Gauges {
    load: Mutex<Load>,
    failed: Mutex<Option<String>>,
}

impl Gauges {
    fn store(&self, engine: &Engine<'_, '_>) {
        let load = Load { status: engine.status(), counters: *engine.counters() };
        *self.load.lock().unwrap_or_else(PoisonError::into_inner) = load;
    }
}

/// Who reads a request's updates.
#[derive(Debug)]
struct Readers {
    updates: Sender<Update>,
    /// The number of the first choice in the request and in the queue.
    first_choice: u32,
    first: usize,
    /// Of each choice: whether its updates are still read.
    is_open: Vec<bool>,
}

impl Readers {
    /// Hands on a choice's news; `false` if nobody reads them any more.
    fn send(&mut self, choice: u32, news: News) -> bool {
        let at = choice.wrapping_sub(self.first_choice) as usize;
        if !self.is_open.get(at).is_some_and(|open| *open) {
            return true; // it was closed; the request goes on for the others
        }
        self.is_open[at] = !matches!(news, News::Finished(_));
        self.updates.send(Update { choice: self.first + at, news }).is_ok()
    }

    /// Notes that a choice's updates, by its number in the queue, are no longer read; returns its
    /// number in the request.
    fn close(&mut self, choice: usize) -> Option<u32> {
        let at = choice.checked_sub(self.first)?;
        *self.is_open.get_mut(at)? = false;
        Some(self.first_choice.wrapping_add(at as u32))
    }

    fn are_done(&self) -> bool {
        !self.is_open.contains(&true)
    }
}

impl EngineHandle {
    /// Starts the thread; returns once the engine is there.
    pub fn start(
        model: Arc<ServedModel>,
        step_ms: u64,
    ) -> Result<(Self, std::thread::JoinHandle<()>), String> {
        let (commands, inbox) = channel();
        let (ready, is_ready) = sync_channel(1);
        let gauges = Arc::new(Gauges::default());
        let handle = Self { commands, gauges: Arc::clone(&gauges) };
        let thread = std::thread::Builder::new()
            .name("verbatim-engine".to_owned())
            .spawn(move || {
                let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                    run(&model, step_ms, &inbox, &ready, &gauges);
                }));
                if result.is_err() {
                    let message =
                        "the engine stopped: an internal error was reported on standard error".to_owned();
                    *gauges.failed.lock().unwrap_or_else(PoisonError::into_inner) = Some(message);
                }
            })
            .map_err(|error| format!("the engine thread cannot be started: {error}"))?;
        match is_ready.recv() {
            Ok(Ok(())) => Ok((handle, thread)),
            Ok(Err(error)) => Err(error),
            Err(_) => Err("the engine thread ended before it was ready".to_owned()),
        }
    }

    /// Submits a request. Its choices' updates go to `updates`, numbered from `first`; dropping the
    /// receiver cancels it.
    pub fn submit(
        &self,
        request: OwnedRequest,
        first: usize,
        updates: Sender<Update>,
    ) -> Result<RequestId, SubmitError> {
        let is_open = vec![true; request.choices as usize];
        let readers = Readers { updates, first_choice: request.first_choice, first, is_open };
        let (reply, answer) = sync_channel(1);
        let gone = |_| SubmitError::EngineGone;
        self.commands.send(Command::Submit(Box::new(request), readers, reply)).map_err(gone)?;
        match answer.recv() {
            Ok(Ok(id)) => Ok(id),
            Ok(Err(refusal)) => Err(SubmitError::Refused(refusal)),
            Err(_) => Err(SubmitError::EngineGone),
        }
    }

    /// Says that a choice, by its number in the queue, is not read any more: it ends, the request's
    /// others go on.
    pub fn close(&self, id: RequestId, choice: usize) {
        // If the engine is gone there is nothing to close.
        let _ = self.commands.send(Command::Close(id, choice));
    }

    /// Ends a request.
    pub fn cancel(&self, id: RequestId) {
        // If the engine is gone there is nothing to cancel.
        let _ = self.commands.send(Command::Cancel(id));
    }

    /// Ends the thread.
    pub fn stop(&self) {
        let _ = self.commands.send(Command::Stop);
    }

    /// What it is doing, and what it has done.
    pub fn load(&self) -> Load {
        *self.gauges.load.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Why the engine stopped, if it did.
    pub fn failure(&self) -> Option<String> {
        self.gauges.failed.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Why a request was not taken.
#[derive(Clone, Debug, PartialEq)]
pub enum SubmitError {
    /// The engine said no.
    Refused(Refusal),
    /// The engine thread has ended.
    EngineGone,
}

impl std::fmt::Display for SubmitError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Refused(refusal) => refusal.fmt(f),
            Self::EngineGone => f.write_str("the engine has stopped"),
        }
    }
}

fn run(
    model: &ServedModel,
    step_ms: u64,
    inbox: &Receiver<Command>,
    ready: &SyncSender<Result<(), String>>,
    gauges: &Gauges,
) {
    let bytes = model.plan.total_bytes();
    let mut memory = match AlignedMemory::new(bytes) {
        Ok(memory) => memory,
        Err(error) => {
            let _ = ready.send(Err(format!("{bytes} bytes for the engine: {error}")));
            return;
        }
    };
    let drafter = model.drafter.as_ref().map(Drafter::model);
    let engine =
        Engine::with_drafter(model.loaded.model(), drafter, model.limits, model.isa, memory.as_mut_slice());
    let mut engine = match engine {
        Ok(engine) => engine,
        Err(error) => {
            let _ = ready.send(Err(error.to_string()));
            return;
        }
    };
    let _ = ready.send(Ok(()));
    let mut readers: HashMap<RequestId, Readers> = HashMap::new();
    let mut budget = StepBudget::new(step_ms);
    let mut costs = Costs::default();
    // Guesses are part of the step that verifies them: nobody gets a token before.
    let mut drafting = Duration::ZERO;
    loop {
        gauges.store(&engine);
        let status = engine.status();
        if status.running + status.waiting == 0 {
            let Ok(command) = inbox.recv() else { return };
            if !obey(&mut engine, &mut readers, command) {
                return;
            }
        }
        while let Ok(command) = inbox.try_recv() {
            if !obey(&mut engine, &mut readers, command) {
                return;
            }
        }
        engine.set_speculation(costs.of(model.speculation));
        let Some(plan) = engine.plan(Budget { rows: budget.rows(engine.status().running) }) else { continue };
        let rows = StepRows::of(&engine, plan);
        let start = Instant::now();
        let mut gone = Vec::new();
        // The plan is the latest and the pool the one that the engine was sized for.
        let Ok(events) = engine.execute(plan, Masks::NONE, &model.pool, &mut ()) else { continue };
        let mut news = Vec::new();
        for event in events {
            let of = match event.kind {
                EventKind::Token { token, logprob, top } => News::Token { token, logprob, top: top.to_vec() },
                EventKind::Finished(reason) => News::Finished(reason),
                EventKind::Admitted { cached_tokens } => News::Admitted { cached_tokens },
                EventKind::PromptLogprob { .. } | EventKind::Preempted => continue,
            };
            news.push((event.request, event.choice, of));
        }
        // Before the news, so that who has the last of them can read what it took.
        gauges.store(&engine);
        for (id, choice, news) in news {
            if let Entry::Occupied(mut of) = readers.entry(id) {
                if !of.get_mut().send(choice, news) {
                    gone.push(id);
                }
                if of.get().are_done() {
                    of.remove();
                }
            }
        }
        let took = start.elapsed();
        costs.note(&rows, took);
        drafting += took;
        if plan.kind == StepKind::Target {
            budget.note(rows.count, rows.is_decode(), std::mem::take(&mut drafting));
        }
        for id in gone {
            engine.cancel(id);
            readers.remove(&id);
        }
    }
}

/// Does what a command says; `false` if that is to stop.
fn obey(engine: &mut Engine<'_, '_>, readers: &mut HashMap<RequestId, Readers>, command: Command) -> bool {
    match command {
        Command::Submit(request, of, reply) => {
            let result = engine.submit(&request.borrow());
            if let Ok(id) = result {
                readers.insert(id, of);
            }
            if reply.send(result).is_err()
                && let Ok(id) = result
            {
                engine.cancel(id);
                readers.remove(&id);
            }
            true
        }
        Command::Close(id, choice) => {
            if let Entry::Occupied(mut of) = readers.entry(id) {
                if let Some(choice) = of.get_mut().close(choice) {
                    engine.cancel_choice(id, choice);
                }
                if of.get().are_done() {
                    of.remove();
                }
            }
            true
        }
        Command::Cancel(id) => {
            engine.cancel(id);
            readers.remove(&id);
            true
        }
        Command::Stop => false,
    }
}
