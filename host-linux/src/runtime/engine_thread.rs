//! The thread that owns the engine.
//!
//! Callers send it commands; it sends each request's updates to a queue of the request's own, which never blocks it: a
//! request's updates are bounded by its tokens. A queue whose reader is gone cancels its request. It never touches a
//! socket. While there is nothing to do it sleeps on the command queue.
use super::ServedModel;
use crate::memory::AlignedMemory;
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use verbatim_core::engine::{
    Budget, Engine, EventKind, FinishReason, Masks, Refusal, Request, RequestId, Status,
};
use verbatim_core::model::RowOutput;
use verbatim_core::sampling::{SamplingParams, TokenLogprob};

/// A request that owns what it holds.
#[derive(Clone, Debug)]
pub struct OwnedRequest {
    /// Prompt ids.
    pub prompt: Vec<u32>,
    /// How tokens are drawn.
    pub params: SamplingParams,
    /// Added to logits.
    pub logit_bias: Vec<(u32, f32)>,
    /// Ids that end the output.
    pub stop_ids: Vec<u32>,
    /// Output tokens at most.
    pub max_tokens: usize,
    /// Output tokens before which no stop id is drawn.
    pub min_tokens: usize,
}

/// News of a request.
#[derive(Clone, Debug, PartialEq)]
pub enum Update {
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

enum Command {
    Submit(Box<OwnedRequest>, Sender<Update>, SyncSender<Result<RequestId, Refusal>>),
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

/// What the engine is doing, readable at any time.
#[derive(Debug, Default)]
struct Gauges {
    running: AtomicUsize,
    waiting: AtomicUsize,
    steps: AtomicU64,
    failed: Mutex<Option<String>>,
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

    /// Submits a request. Its updates come through the receiver; dropping that cancels it.
    pub fn submit(&self, request: OwnedRequest) -> Result<(RequestId, Receiver<Update>), SubmitError> {
        let (updates, receiver) = channel();
        let (reply, answer) = sync_channel(1);
        let gone = |_| SubmitError::EngineGone;
        self.commands.send(Command::Submit(Box::new(request), updates, reply)).map_err(gone)?;
        match answer.recv() {
            Ok(Ok(id)) => Ok((id, receiver)),
            Ok(Err(refusal)) => Err(SubmitError::Refused(refusal)),
            Err(_) => Err(SubmitError::EngineGone),
        }
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

    /// Sequences that run, sequences that wait, steps done.
    pub fn load(&self) -> (usize, usize, u64) {
        let gauges = &self.gauges;
        let relaxed = Ordering::Relaxed;
        (gauges.running.load(relaxed), gauges.waiting.load(relaxed), gauges.steps.load(relaxed))
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
    let engine = Engine::new(model.loaded.model(), model.limits, model.isa, memory.as_mut_slice());
    let mut engine = match engine {
        Ok(engine) => engine,
        Err(error) => {
            let _ = ready.send(Err(error.to_string()));
            return;
        }
    };
    let _ = ready.send(Ok(()));
    let mut readers: HashMap<RequestId, Sender<Update>> = HashMap::new();
    let mut pace = Pace::new(step_ms);
    loop {
        let Status { running, waiting, steps, .. } = engine.status();
        gauges.running.store(running, Ordering::Relaxed);
        gauges.waiting.store(waiting, Ordering::Relaxed);
        gauges.steps.store(steps, Ordering::Relaxed);
        if running + waiting == 0 {
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
        let Some(plan) = engine.plan(Budget { rows: pace.rows() }) else { continue };
        let rows = engine.rows(plan).count();
        let start = Instant::now();
        let mut gone = Vec::new();
        // The plan is the latest and the pool the one that the engine was sized for.
        let Ok(events) = engine.execute(plan, Masks::NONE, &model.pool, &mut ()) else { continue };
        for event in events {
            let update = match event.kind {
                EventKind::Token { token, logprob, top } => {
                    Update::Token { token, logprob, top: top.to_vec() }
                }
                EventKind::Finished(reason) => Update::Finished(reason),
                EventKind::PromptLogprob { .. } | EventKind::Admitted { .. } | EventKind::Preempted => {
                    continue;
                }
            };
            let finished = matches!(update, Update::Finished(_));
            if let Some(reader) = readers.get(&event.request)
                && reader.send(update).is_err()
            {
                gone.push(event.request);
            }
            if finished {
                readers.remove(&event.request);
            }
        }
        pace.note(rows, start.elapsed());
        for id in gone {
            engine.cancel(id);
            readers.remove(&id);
        }
    }
}

fn obey(
    engine: &mut Engine<'_, '_>,
    readers: &mut HashMap<RequestId, Sender<Update>>,
    command: Command,
) -> bool {
    match command {
        Command::Submit(request, updates, reply) => {
            let result = engine.submit(&Request {
                prompt: &request.prompt,
                generated: &[],
                first_choice: 0,
                choices: 1,
                params: request.params,
                logit_bias: &request.logit_bias,
                stop_ids: &request.stop_ids,
                max_tokens: request.max_tokens,
                min_tokens: request.min_tokens,
                priority: 0,
                cache_salt: 0,
                prompt_output: RowOutput::None,
            });
            if let Ok(id) = result {
                readers.insert(id, updates);
            }
            if reply.send(result).is_err()
                && let Ok(id) = result
            {
                engine.cancel(id);
                readers.remove(&id);
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

/// How many rows a step may have so that it takes about as long as it should: from measured steps. It changes when
/// things are computed, never what.
struct Pace {
    step: Duration,
    seconds_per_row: f64,
}

impl Pace {
    /// Fewer rows than this waste the pass over the weights.
    const ROWS_MIN: usize = 32;

    fn new(step_ms: u64) -> Self {
        Self { step: Duration::from_millis(step_ms), seconds_per_row: 0.0 }
    }

    fn rows(&self) -> usize {
        if self.step.is_zero() || self.seconds_per_row <= 0.0 {
            return usize::MAX;
        }
        ((self.step.as_secs_f64() / self.seconds_per_row) as usize).max(Self::ROWS_MIN)
    }

    fn note(&mut self, rows: usize, took: Duration) {
        // Small steps say how long the weights take to read, not what a row costs.
        if rows >= Self::ROWS_MIN {
            let now = took.as_secs_f64() / rows as f64;
            let before = self.seconds_per_row;
            self.seconds_per_row = if before > 0.0 { 0.7 * before + 0.3 * now } else { now };
        }
    }
}
