//! A model behind an engine thread, as a server has it.
use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;
use verbatim::load::NoProgress;
use verbatim::runtime::{Drafting, EngineHandle, ModelSource, Options, ServedModel};
use verbatim_core::isa::Isa;

/// A model that is served.
pub(super) struct Served {
    pub(super) model: Arc<ServedModel>,
    pub(super) engine: EngineHandle,
    thread: JoinHandle<()>,
}

impl Served {
    /// Opens the model at `path` on so many threads, by `options` for all else but draft tokens:
    /// there are none.
    pub(super) fn open(
        path: &Path,
        (isa, threads): (Isa, Option<usize>),
        options: Options,
    ) -> Result<Self, String> {
        let options = Options {
            model: ModelSource::Path(path.to_owned()),
            workers: threads,
            isa: Some(isa),
            drafting: Drafting::Off,
            ..options
        };
        let model = ServedModel::open(&options, &NoProgress).map_err(|error| error.to_string())?;
        let model = Arc::new(model);
        let started = EngineHandle::start(Arc::clone(&model), options.step_ms);
        let (engine, thread) = started.map_err(|error| error.to_string())?;
        Ok(Self { model, engine, thread })
    }

    /// Ends the engine and waits for its thread.
    pub(super) fn stop(self) -> Result<(), String> {
        self.engine.stop();
        self.thread.join().map_err(|_| "the engine thread failed".to_owned())
    }
}
