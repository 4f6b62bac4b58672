//! Starting an engine, and sending it commands.
use super::messages::{Command, Readers, Ticket, TokenEvent};
use super::notice::EngineNotice;
use super::shared::Shared;
use super::snapshot::EngineGauges;
use super::stats::EngineStats;
use super::step_clock::RunningStep;
use super::supervisor::Supervisor;
use super::view::EngineView;
use super::waits::Waits;
use crate::runtime::error::{EngineError, EngineFailure, GenerationError, SubmitError};
use crate::runtime::supervision::Supervision;
use crate::runtime::{OwnedRequest, ServedModel};
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel, sync_channel};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

/// Talks to the engine of a model; cheap to clone. When all handles are dropped and nothing runs,
/// the engine ends.
///
/// The engine may panic and be started again; the handle stays the same. Requests that ran or
/// waited in it end with an error then, and can be resumed or sent again; commands that it had not
/// obeyed yet are obeyed by the new one.
#[derive(Clone)]
pub struct EngineHandle {
    commands: Sender<Command>,
    shared: Arc<Shared>,
    model: Arc<ServedModel>,
    /// What requests are marked with.
    tag: u64,
}

impl std::fmt::Debug for EngineHandle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { shared, model, .. } = self;
        f.debug_struct("EngineHandle")
            .field("model", &model.name)
            .field("shared", shared)
            .finish_non_exhaustive()
    }
}

impl EngineHandle {
    /// Starts an engine, watched as by default; returns once it is ready. A step should take
    /// `step_ms` milliseconds at most (0: no bound). The thread ends when the engine has ended for
    /// good.
    pub fn start(model: Arc<ServedModel>, step_ms: u64) -> Result<(Self, JoinHandle<()>), EngineError> {
        Self::start_supervised(model, step_ms, Supervision::default())
    }

    /// Starts an engine that is watched, and started again after a panic, as `supervision` says.
    pub fn start_supervised(
        model: Arc<ServedModel>,
        step_ms: u64,
        supervision: Supervision,
    ) -> Result<(Self, JoinHandle<()>), EngineError> {
        let (commands, inbox) = channel();
        let (ready, is_ready) = sync_channel(1);
        let shared = Arc::new(Shared::default());
        let handle = Self { commands, shared: Arc::clone(&shared), model: Arc::clone(&model), tag: 0 };
        let supervisor = Supervisor { model, step_ms, supervision, inbox, shared };
        let thread = Builder::new().name("verbatim-watch".to_owned()).spawn(move || supervisor.run(&ready));
        let thread = thread.map_err(EngineError::Thread)?;
        match is_ready.recv() {
            Ok(Ok(())) => Ok((handle, thread)),
            Ok(Err(error)) => Err(error),
            Err(_) => Err(EngineError::Ended),
        }
    }

    /// This handle, marking with `tag` what is submitted through it, so that whoever watches the
    /// engine can tell whose its sequences are. The mark of others is 0; it changes nothing else.
    #[must_use]
    pub fn tagged(&self, tag: u64) -> Self {
        Self { tag, ..self.clone() }
    }

    /// The model that the engine runs.
    pub fn model(&self) -> &Arc<ServedModel> {
        &self.model
    }

    /// Submits a request. Its choices' events go to `events`, numbered from `first`; dropping the
    /// receiver cancels the request. While the engine is started again this waits.
    pub fn submit(
        &self,
        request: OwnedRequest,
        first: usize,
        events: Sender<TokenEvent>,
    ) -> Result<Ticket, SubmitError> {
        let (choices, since) = (request.choices as usize, Instant::now());
        let first_in_request = request.first_choice;
        let readers = Readers {
            events,
            prompt_tokens: request.prompt.len() + request.generated.len(),
            first_in_request,
            first_in_queue: first,
            is_open: vec![true; choices],
            waits: vec![Waits::from(since); choices],
            since,
            tag: self.tag,
            priority: request.priority,
        };
        let (reply, answer) = sync_channel(1);
        let command = Command::Submit { request: Box::new(request), readers, reply };
        self.commands.send(command).map_err(|_| SubmitError::EngineGone)?;
        match answer.recv() {
            Ok(Ok(ticket)) => Ok(ticket),
            Ok(Err(refusal)) => Err(SubmitError::Refused(refusal)),
            // Nobody answers: the engine has ended, or taking this very request made it panic.
            Err(_) if self.wait_for_end(Duration::ZERO) => Err(SubmitError::EngineGone),
            Err(_) => Err(SubmitError::Panicked),
        }
    }

    /// Says that a choice, by its number in the queue, is no longer read: it ends, and the
    /// request's others go on.
    pub fn close(&self, ticket: Ticket, choice: usize) {
        // If the engine is gone there is nothing to close.
        let _ = self.commands.send(Command::Close { ticket, choice });
    }

    /// Ends a request with all its choices. No event tells of it.
    pub fn cancel(&self, ticket: Ticket) {
        // If the engine is gone there is nothing to cancel.
        let _ = self.commands.send(Command::Cancel(ticket));
    }

    /// Ends the engine, and with it everything that runs.
    pub fn stop(&self) {
        let _ = self.commands.send(Command::Stop);
    }

    /// Waits until the engine has ended for good, for at most `limit`; whether it has. An engine
    /// that was told to stop ends after its step.
    pub fn wait_for_end(&self, limit: Duration) -> bool {
        self.shared.condition.wait_for_end(limit)
    }

    /// What the engine is doing, and what it has done, as of its latest step.
    pub fn gauges(&self) -> EngineGauges {
        self.shared.gauges()
    }

    /// Watches what the engine does, step by step, until what is returned is dropped.
    pub fn watch(&self) -> EngineWatch {
        self.shared.views.enter();
        // An engine that sleeps would not notice; one that is gone has nothing to show.
        let _ = self.commands.send(Command::Show);
        EngineWatch(Arc::clone(&self.shared))
    }

    /// What was measured of its steps and tokens.
    pub fn stats(&self) -> &EngineStats {
        &self.shared.stats
    }

    /// What has become of an engine that was told of as lost.
    pub(crate) fn loss(&self) -> GenerationError {
        match self.failure() {
            Some(failure) => GenerationError::EngineStopped(Some(failure)),
            None if self.wait_for_end(Duration::ZERO) => GenerationError::EngineStopped(None),
            None => GenerationError::EngineRestarted,
        }
    }

    /// Why the engine ended for good, if it did by itself.
    pub fn failure(&self) -> Option<EngineFailure> {
        self.shared.condition.failure()
    }

    /// Calls `callback` once the engine has ended for good by itself, at once if it has. The call
    /// comes from a thread of the engine, after all requests were told.
    pub fn on_failure(&self, callback: impl FnOnce(&EngineFailure) + Send + 'static) {
        self.shared.condition.on_failure(Box::new(callback));
    }

    /// Calls `listener` with each notice from now on, in place of an earlier listener. The calls
    /// come from threads of the engine, which wait for them. A listener that holds a handle keeps
    /// the engine from ending by itself.
    pub fn on_notice(&self, listener: impl Fn(&EngineNotice) + Send + Sync + 'static) {
        self.shared.condition.on_notice(Arc::new(listener));
    }

    /// How often the engine was started again after a panic.
    pub fn restarts(&self) -> u64 {
        self.shared.condition.restarts()
    }

    /// The step that is being computed, if one is.
    pub fn running_step(&self) -> Option<RunningStep> {
        self.shared.steps.running(Instant::now())
    }

    /// The time since a step ended last; none before the first one.
    pub fn last_step_age(&self) -> Option<Duration> {
        self.shared.steps.since_last(Instant::now())
    }

    /// Whether the running step takes longer than it may.
    pub fn is_stuck(&self) -> bool {
        self.running_step().is_some_and(|step| step.is_overdue())
    }

    /// How many steps took longer than they might.
    pub fn overdue_steps(&self) -> u64 {
        self.shared.steps.overdue_count()
    }
}

/// Somebody who watches an engine. While there is one, the engine copies what it does now and then.
#[derive(Debug)]
pub struct EngineWatch(Arc<Shared>);

impl EngineWatch {
    /// Brings `view` up to date, in the memory that it has; whether it was another before. There is
    /// a new one after a step, or when something came or left, at most every 100 ms. Waits for no
    /// step.
    pub fn look(&self, view: &mut EngineView) -> bool {
        self.0.views.read(view)
    }
}

impl Drop for EngineWatch {
    fn drop(&mut self) {
        self.0.views.leave();
    }
}
