//! Starting the engine thread, and sending it commands.
use super::messages::{Command, Readers, TokenEvent};
use super::shared::{EngineGauges, Shared};
use super::thread;
use crate::runtime::error::{EngineError, EngineFailure, SubmitError};
use crate::runtime::{OwnedRequest, ServedModel};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel, sync_channel};
use std::thread::{Builder, JoinHandle};
use verbatim_core::engine::RequestId;

/// Talks to the engine thread; cheap to clone. When all handles are dropped and nothing runs, the
/// thread ends.
#[derive(Clone, Debug)]
pub struct EngineHandle {
    commands: Sender<Command>,
    shared: Arc<Shared>,
}

impl EngineHandle {
    /// Starts the thread; returns once the engine is ready. A step should take `step_ms`
    /// milliseconds at most (0: no bound).
    pub fn start(model: Arc<ServedModel>, step_ms: u64) -> Result<(Self, JoinHandle<()>), EngineError> {
        let (commands, inbox) = channel();
        let (ready, is_ready) = sync_channel(1);
        let shared = Arc::new(Shared::default());
        let handle = Self { commands, shared: Arc::clone(&shared) };
        let run = move || {
            // A panic was reported by the hook, and its failure stored by `run`.
            let run = AssertUnwindSafe(|| thread::run(&model, step_ms, &inbox, &ready, &shared));
            let _ = catch_unwind(run);
        };
        let thread = Builder::new().name("verbatim-engine".to_owned()).spawn(run);
        let thread = thread.map_err(EngineError::Thread)?;
        match is_ready.recv() {
            Ok(Ok(())) => Ok((handle, thread)),
            Ok(Err(error)) => Err(error),
            Err(_) => Err(EngineError::Ended),
        }
    }

    /// Submits a request. Its choices' events go to `events`, numbered from `first`; dropping the
    /// receiver cancels the request.
    pub fn submit(
        &self,
        request: OwnedRequest,
        first: usize,
        events: Sender<TokenEvent>,
    ) -> Result<RequestId, SubmitError> {
        let is_open = vec![true; request.choices as usize];
        let first_in_request = request.first_choice;
        let readers = Readers { events, first_in_request, first_in_queue: first, is_open };
        let (reply, answer) = sync_channel(1);
        let command = Command::Submit { request: Box::new(request), readers, reply };
        self.commands.send(command).map_err(|_| SubmitError::EngineGone)?;
        match answer.recv() {
            Ok(Ok(id)) => Ok(id),
            Ok(Err(refusal)) => Err(SubmitError::Refused(refusal)),
            Err(_) => Err(SubmitError::EngineGone),
        }
    }

    /// Says that a choice, by its number in the queue, is no longer read: it ends, and the
    /// request's others go on.
    pub fn close(&self, request: RequestId, choice: usize) {
        // If the engine is gone there is nothing to close.
        let _ = self.commands.send(Command::Close { request, choice });
    }

    /// Ends a request with all its choices. No event tells of it.
    pub fn cancel(&self, request: RequestId) {
        // If the engine is gone there is nothing to cancel.
        let _ = self.commands.send(Command::Cancel(request));
    }

    /// Ends the thread, and with it everything that runs.
    pub fn stop(&self) {
        let _ = self.commands.send(Command::Stop);
    }

    /// What the engine is doing, and what it has done, as of its latest step.
    pub fn gauges(&self) -> EngineGauges {
        self.shared.gauges()
    }

    /// Why the engine stopped, if it did by itself.
    pub fn failure(&self) -> Option<EngineFailure> {
        self.shared.failure()
    }
}
