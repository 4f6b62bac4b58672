//! A complete host: a packed model and some memory in, tokens out.
//! No standard library, no allocator, no threads, no clock.
#![no_std]

use core::ops::ControlFlow;
use verbatim_core::engine::{Engine, EngineLimits, EventKind, MemoryPlan, Request};
use verbatim_core::isa::Isa;
use verbatim_core::model::PackedModel;
use verbatim_core::pool::Serial;

/// Bytes of memory that [`generate`] needs for the model in `image`.
pub fn memory_needed(image: &[u8]) -> Result<usize, &'static str> {
    let model = PackedModel::parse(image).map_err(|_| "this is no packed model")?;
    let limits = EngineLimits::for_model(model.config());
    let plan = MemoryPlan::new(model.config(), &limits).map_err(|_| "the model is too large to plan for")?;
    Ok(plan.total_bytes())
}

/// Continues `prompt` greedily until `end` or for `max_tokens`. `image` and `memory` start at
/// multiples of 64.
pub fn generate(
    image: &[u8],
    memory: &mut [u8],
    (prompt, end, max_tokens): (&[u32], u32, usize),
    mut on_token: impl FnMut(u32),
) -> Result<(), &'static str> {
    let model = PackedModel::parse(image).map_err(|_| "this is no packed model")?;
    let limits = EngineLimits::for_model(model.config());
    let (mut engine, mut cpu) = Engine::on_cpu(model, limits, Isa::detect(), &Serial, memory)
        .map_err(|_| "the memory is too small")?;
    let request = Request { stop_ids: &[end], ..Request::greedy(prompt, max_tokens) };
    let outcome = engine.generate(&request, &mut cpu, &Serial, &mut |event| {
        if let EventKind::Token { token, .. } = event.kind {
            on_token(token);
        }
        ControlFlow::Continue(())
    });
    outcome.map_err(|_| "the prompt is not for this model")
}
