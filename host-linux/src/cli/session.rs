//! A model with its engine running, as `serve`, `generate` and `chat` share it.
use super::errors;
use super::progress::Bar;
use crate::runtime::{EngineHandle, Options, ServedModel};
use std::sync::Arc;
use std::thread::JoinHandle;

/// Opens a model behind a progress bar.
pub(super) fn open(options: &Options) -> Result<ServedModel, String> {
    ServedModel::open(options, &Bar::new()).map_err(|error| errors::open(&error))
}

/// Says on standard error what a user may not expect of a model.
pub(super) fn tell_notes(model: &ServedModel) {
    for note in &model.notes {
        eprintln!("note: {}", errors::note(note));
    }
}

/// A model with its engine running; the engine ends when this is dropped.
pub(super) struct Session {
    pub(super) model: Arc<ServedModel>,
    pub(super) engine: EngineHandle,
    thread: Option<JoinHandle<()>>,
}

impl Session {
    /// Opens the model and starts its engine; says what a user may not expect of it.
    pub(super) fn open(options: &Options) -> Result<Self, String> {
        let model = Arc::new(open(options)?);
        tell_notes(&model);
        let (engine, thread) =
            EngineHandle::start(Arc::clone(&model), options.step_ms).map_err(|error| error.to_string())?;
        Ok(Self { model, engine, thread: Some(thread) })
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.engine.stop();
        if let Some(thread) = self.thread.take() {
            // A panic of the thread was reported on standard error.
            let _ = thread.join();
        }
    }
}
