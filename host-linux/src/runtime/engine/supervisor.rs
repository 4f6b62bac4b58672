//! The thread that makes engine threads, watches them, and makes a new one after a panic.
//!
//! Weights, worker threads and commands outlive an engine thread; its arena, engine and runner do
//! not. A panic of a job was caught by the pool and goes on in the engine thread; the pool itself
//! stays sound, for it ends its step on every way out and runs the job's other tasks to their end.
use super::messages::{Command, Readers};
use super::notice::EngineNotice;
use super::restarts::RestartBudget;
use super::shared::Shared;
use super::thread::{self, Surroundings};
use crate::runtime::ServedModel;
use crate::runtime::error::{EngineError, EngineFailure};
use crate::runtime::panic_text::panic_text;
use crate::runtime::supervision::{RESTART_WINDOW, Supervision};
use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, SyncSender};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::Builder;
use std::time::Instant;
use verbatim_core::engine::RequestId;

/// What the supervisor thread owns.
pub(super) struct Supervisor {
    pub(super) model: Arc<ServedModel>,
    /// Milliseconds that a step should take at most; 0 is no bound.
    pub(super) step_ms: u64,
    pub(super) supervision: Supervision,
    /// Commands wait here while no engine runs.
    pub(super) inbox: Receiver<Command>,
    pub(super) shared: Arc<Shared>,
}

/// How an engine thread ended.
#[derive(Debug)]
enum End {
    /// It was told to, or nobody can send it a command any more.
    Stopped,
    /// There was no engine.
    NotMade(EngineError),
    /// It panicked, and this is what the panic said.
    Panicked(String),
}

/// The last panic, and when it ended the engine.
struct Panic {
    message: String,
    at: Instant,
    /// Requests that it ended.
    requests: usize,
}

/// Says that no engine runs any more when it is dropped, by a panic of the supervisor too.
struct EndGuard<'s>(&'s Shared);

impl Drop for EndGuard<'_> {
    fn drop(&mut self) {
        self.0.close_gauges();
        self.0.condition.end();
    }
}

impl Supervisor {
    /// Runs engine threads until one ends without a panic, or one panic too many. `ready` hears
    /// whether the first has begun.
    pub(super) fn run(mut self, ready: &SyncSender<Result<(), EngineError>>) {
        let shared = Arc::clone(&self.shared);
        let _end = EndGuard(&shared);
        let mut restarts = RestartBudget::new(self.supervision.restarts_max, RESTART_WINDOW);
        let start = Instant::now();
        let mut panic: Option<Panic> = None;
        for number in 0.. {
            let mut readers = HashMap::new();
            let end = self.run_one(number, &mut readers, &|| tell_ready(&shared, panic.as_ref(), ready));
            let message = match (end, panic) {
                (End::Stopped, _) => return,
                (End::NotMade(error), None) => {
                    let _ = ready.send(Err(error));
                    return;
                }
                (End::NotMade(error), Some(Panic { message, .. })) => {
                    let error = error.to_string();
                    return shared.condition.fail(EngineFailure::NoNewEngine { panic: message, error });
                }
                (End::Panicked(message), _) => message,
            };
            let at = Instant::now();
            let is_granted = restarts.take(at.duration_since(start));
            // Before the requests hear of it, so that they find the reason.
            if is_granted {
                shared.condition.count_restart();
            } else {
                let restarts = self.supervision.restarts_max;
                shared.condition.fail(EngineFailure::TooManyPanics { restarts, panic: message.clone() });
            }
            shared.close_gauges();
            let requests = readers.len();
            readers.drain().for_each(|(_, readers)| readers.lose());
            if !is_granted {
                return;
            }
            panic = Some(Panic { message, at, requests });
        }
    }

    /// Runs one engine thread to its end and watches its steps. When this returns, its memory is
    /// unmapped, and `readers` are those of the requests that it has not finished.
    fn run_one(
        &mut self,
        number: u64,
        readers: &mut HashMap<RequestId, Readers>,
        on_ready: &(dyn Fn() + Sync),
    ) -> End {
        let Self { model, step_ms, supervision, inbox, shared } = self;
        let before = shared.gauges().counters;
        let with = Surroundings { number, before, model, step_ms: *step_ms, supervision, shared };
        let ended = &Ended::default();
        let run = move || {
            let run = AssertUnwindSafe(|| thread::run(&with, inbox, readers, on_ready));
            ended.set(match catch_unwind(run) {
                Ok(Ok(())) => End::Stopped,
                Ok(Err(error)) => End::NotMade(error),
                Err(payload) => {
                    let message = panic_text(&*payload);
                    // What an unknown payload does when it is dropped is not known.
                    std::mem::forget(payload);
                    End::Panicked(message)
                }
            });
        };
        std::thread::scope(|scope| {
            match Builder::new().name("verbatim-engine".to_owned()).spawn_scoped(scope, run) {
                Ok(_) => ended.watch(shared),
                Err(error) => End::NotMade(EngineError::Thread(error)),
            }
        })
    }
}

/// Says that an engine is ready: the first one to whoever started it, another one to the listener.
fn tell_ready(shared: &Shared, panic: Option<&Panic>, ready: &SyncSender<Result<(), EngineError>>) {
    let Some(Panic { message, at, requests }) = panic else {
        let _ = ready.send(Ok(()));
        return;
    };
    shared.condition.tell(&EngineNotice::Restarted {
        panic: message.clone(),
        restarts: shared.condition.restarts(),
        took: at.elapsed(),
        requests: *requests,
    });
}

/// How the engine thread ended, once it has.
#[derive(Default)]
struct Ended {
    end: Mutex<Option<End>>,
    changed: Condvar,
}

impl Ended {
    fn set(&self, end: End) {
        *self.end.lock().unwrap_or_else(PoisonError::into_inner) = Some(end);
        self.changed.notify_one();
    }

    /// Waits for the end, and meanwhile tells of steps that are overdue.
    fn watch(&self, shared: &Shared) -> End {
        let mut end = self.end.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if let Some(end) = end.take() {
                return end;
            }
            let (overdue, wait) = shared.steps.look(Instant::now());
            if let Some(step) = overdue {
                // The listener may take its time: the engine must be able to end meanwhile.
                drop(end);
                shared.condition.tell(&EngineNotice::StepOverdue(step));
                end = self.end.lock().unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            end = self.changed.wait_timeout(end, wait).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}
