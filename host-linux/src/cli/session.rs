//! A model with its engine running, as `serve`, `generate` and `chat` share it.
use super::errors;
use super::output;
use super::progress::Bar;
use crate::runtime::{EngineHandle, Options, ServedModel, Supervision};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

/// Opens a model behind a progress bar.
pub(super) fn open(options: &Options) -> Result<ServedModel, String> {
    ServedModel::open(options, &Bar::new()).map_err(|error| errors::open(&error))
}

/// Says on standard error what a user may not expect of a model.
pub(super) fn tell_notes(model: &ServedModel) {
    notes(model).for_each(|note| output::note(format_args!("note: {note}")));
}

/// What a user may not expect of a model.
pub(super) fn notes(model: &ServedModel) -> impl Iterator<Item = String> {
    model.notes.iter().filter_map(errors::note)
}

/// How long the engine may take to end, which it does after its step.
const END_WAIT: Duration = Duration::from_secs(5);

/// A model with its engine running; the engine ends when this is dropped.
pub(super) struct Session {
    pub(super) model: Arc<ServedModel>,
    pub(super) engine: EngineHandle,
    thread: Option<JoinHandle<()>>,
}

impl Session {
    /// Opens the model and starts its engine; `tell` says what a user may not expect of it.
    pub(super) fn open(
        options: &Options,
        supervision: Supervision,
        tell: impl FnOnce(&ServedModel),
    ) -> Result<Self, String> {
        let model = Arc::new(open(options)?);
        tell(&model);
        let started = EngineHandle::start_supervised(Arc::clone(&model), options.step_ms, supervision);
        let (engine, thread) = started.map_err(|error| error.to_string())?;
        Ok(Self { model, engine, thread: Some(thread) })
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.engine.stop();
        // A step that hangs must not keep the process from ending.
        let has_ended = self.engine.wait_for_end(END_WAIT);
        if let Some(thread) = self.thread.take().filter(|_| has_ended) {
            // A panic of the thread was reported on standard error.
            let _ = thread.join();
        }
    }
}
