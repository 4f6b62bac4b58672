//! How long a running stream waits while a long prompt arrives: through the engine thread, with its
//! own step budget.
use super::Table;
use crate::report::median;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};
use verbatim::load::NoProgress;
use verbatim::runtime::engine_thread::{News, Update};
use verbatim::runtime::{EngineHandle, Options, OwnedRequest, ServedModel};
use verbatim_core::sampling::SamplingParams;

/// The length of the prompt that arrives, in tokens.
const PROMPT: usize = 2000;
/// How many gaps of the stream are measured before the prompt arrives.
const IDLE: usize = 24;
const PATIENCE: Duration = Duration::from_secs(600);

/// Waits for a token of either request: 0 is the stream, 1 the prompt.
fn token(updates: &Receiver<Update>) -> Result<usize, String> {
    loop {
        let Update { choice, news } = updates.recv_timeout(PATIENCE).map_err(|error| error.to_string())?;
        match news {
            News::Token { .. } => return Ok(choice),
            News::Admitted { .. } => {}
            News::Finished(_) if choice == 1 => {}
            News::Finished(reason) => return Err(format!("the stream ended: {reason:?}")),
        }
    }
}

pub(super) fn report(
    table: &mut Table,
    path: &Path,
    (isa, threads): (&str, Option<usize>),
    step_ms: u64,
) -> Result<(), String> {
    let options = Options {
        model: Some(path.to_str().ok_or("the path is not UTF-8")?.to_owned()),
        threads,
        isa: isa.to_owned(),
        speculate: Some("off".to_owned()),
        ..Options::default()
    };
    let model = Arc::new(ServedModel::open(&options, &NoProgress)?);
    let vocab = model.loaded.model().config().vocab_size;
    let (engine, thread) = EngineHandle::start(Arc::clone(&model), step_ms)?;
    let (sender, updates) = channel();
    let submit = |prompt: Vec<u32>, max_tokens, number| {
        let request = OwnedRequest::new(prompt, SamplingParams::GREEDY, max_tokens);
        engine.submit(request, number, sender.clone()).map_err(|error| error.to_string())
    };
    let room = model.limits.model_len - 16;
    submit((0..16).collect(), room, 0)?;
    token(&updates)?;
    let mut last = Instant::now();
    let mut gap = || {
        let now = Instant::now();
        now.duration_since(std::mem::replace(&mut last, now)).as_secs_f64() * 1e3
    };
    let mut idle = Vec::new();
    for _ in 0..IDLE {
        token(&updates)?;
        idle.push(gap());
    }
    let prompt = (0..PROMPT).map(|i| (i * 7919 % vocab) as u32).collect();
    submit(prompt, 1, 1)?;
    let start = Instant::now();
    let mut gaps = Vec::new();
    while token(&updates)? == 0 {
        gaps.push(gap());
    }
    let first = start.elapsed().as_secs_f64();
    // The step that gave the prompt's first token gives the stream one too.
    token(&updates)?;
    gaps.push(gap());
    let worst = gaps.iter().copied().fold(0.0, f64::max);
    let idle = median(idle);
    table.at_most_ms(
        &format!("worst gap of a stream while {PROMPT} tokens arrive"),
        worst,
        f64::max(2.0 * step_ms as f64, 2.0 * idle),
        &format!(
            "median {:.0}, by itself {idle:.0}; the prompt took {first:.1} s in {} steps",
            median(gaps.clone()),
            gaps.len()
        ),
    );
    engine.stop();
    thread.join().map_err(|_| "the engine thread failed".to_owned())
}
