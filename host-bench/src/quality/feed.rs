//! Text fed to our engine: the logits of every position of every window.
use std::ops::ControlFlow;
use verbatim::load::LoadedModel;
use verbatim::sys::memory::AlignedMemory;
use verbatim::sys::pool::FutexPool;
use verbatim_core::dtype::KvFormat;
use verbatim_core::engine::{Engine, EngineLimits, MemoryPlan, Observer, PlannedRow, Request};
use verbatim_core::isa::Isa;
use verbatim_core::model::RowOutput;
use verbatim_core::pool::Pool;

/// Takes the number of a window, a position in it, and the logits there.
pub(super) type Take<'t> = dyn FnMut(usize, usize, &[f32]) -> Result<(), String> + 't;

/// Hands on the logits of one window, until that fails.
struct Window<'w, 't> {
    number: usize,
    take: &'w mut Take<'t>,
    outcome: Result<(), String>,
}

impl Observer for Window<'_, '_> {
    fn logits(&mut self, row: &PlannedRow, logits: &[f32]) {
        if self.outcome.is_ok() {
            self.outcome = (self.take)(self.number, row.position, logits);
        }
    }
}

/// Feeds each window into an empty context and hands on the logits of its positions, in their
/// order.
pub(super) fn feed(
    loaded: &LoadedModel,
    kv_format: KvFormat,
    pool: &FutexPool,
    windows: &[Vec<u32>],
    take: &mut Take<'_>,
) -> Result<(), String> {
    let longest = windows.iter().map(Vec::len).max().unwrap_or(1);
    let model = loaded.model();
    let limits = EngineLimits {
        model_len: longest,
        kv_tokens: longest,
        rows: 64,
        head_rows: 16,
        kv_format,
        workers: Pool::workers(pool),
        ..EngineLimits::for_model(model.config())
    };
    let plan = MemoryPlan::new(model.config(), &limits).map_err(|error| error.to_string())?;
    let mut memory = AlignedMemory::new(plan.total_bytes()).map_err(|error| error.to_string())?;
    let engine = Engine::on_cpu(model, limits, Isa::detect(), pool, memory.as_mut_slice());
    let (mut engine, mut runner) = engine.map_err(|error| error.to_string())?;
    for (number, window) in windows.iter().enumerate() {
        let request =
            Request { prompt_output: RowOutput::Logits, max_tokens: 0, ..Request::greedy(window, 0) };
        let mut observer = Window { number, take: &mut *take, outcome: Ok(()) };
        engine
            .generate_observed(&request, &mut runner, pool, &mut observer, &mut |_| ControlFlow::Continue(()))
            .map_err(|error| error.to_string())?;
        observer.outcome?;
    }
    Ok(())
}
