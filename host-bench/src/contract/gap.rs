//! How long a running stream waits while a long prompt arrives: through the engine thread, with its
//! own step budget.
use super::Table;
use super::served::Served;
use crate::report::median;
use std::path::Path;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};
use verbatim::runtime::{Options, OwnedRequest, TokenEvent, TokenEventKind};
use verbatim_core::isa::Isa;
use verbatim_core::sampling::SamplingParams;

/// The length of the prompt that arrives, in tokens.
const PROMPT: usize = 2000;
/// How many gaps of the stream are measured before the prompt arrives.
const IDLE: usize = 24;
const PATIENCE: Duration = Duration::from_secs(600);

/// Waits for a token of either request: 0 is the stream, 1 the prompt.
fn token(events: &Receiver<TokenEvent>) -> Result<usize, String> {
    loop {
        let TokenEvent { choice, kind, .. } =
            events.recv_timeout(PATIENCE).map_err(|error| error.to_string())?;
        match kind {
            TokenEventKind::Token { .. } => return Ok(choice),
            TokenEventKind::Admitted { .. } | TokenEventKind::PromptLogprob { .. } => {}
            TokenEventKind::Finished(_) if choice == 1 => {}
            TokenEventKind::Finished(reason) => return Err(format!("the stream ended: {reason:?}")),
            TokenEventKind::Complete => return Err("the stream ended".to_owned()),
            TokenEventKind::EngineLost => return Err("the engine panicked".to_owned()),
        }
    }
}

pub(super) fn report(
    table: &mut Table,
    path: &Path,
    cpu: (Isa, Option<usize>),
    step_ms: u64,
) -> Result<(), String> {
    let served = Served::open(path, cpu, Options { step_ms, ..Options::default() })?;
    let vocab = served.model.loaded.model().config().vocab_size;
    let (sender, events) = channel();
    let submit = |prompt: Vec<u32>, max_tokens, number| {
        let request = OwnedRequest::new(prompt, SamplingParams::GREEDY, max_tokens);
        served.engine.submit(request, number, sender.clone()).map_err(|error| error.to_string())
    };
    let room = served.model.limits.model_len - 16;
    submit((0..16).collect(), room, 0)?;
    token(&events)?;
    let mut last = Instant::now();
    let mut gap = || {
        let now = Instant::now();
        now.duration_since(std::mem::replace(&mut last, now)).as_secs_f64() * 1e3
    };
    let mut idle = Vec::new();
    for _ in 0..IDLE {
        token(&events)?;
        idle.push(gap());
    }
    let prompt = (0..PROMPT).map(|i| (i * 7919 % vocab) as u32).collect();
    submit(prompt, 1, 1)?;
    let start = Instant::now();
    let mut gaps = Vec::new();
    while token(&events)? == 0 {
        gaps.push(gap());
    }
    let first = start.elapsed().as_secs_f64();
    // The step that gave the prompt's first token gives the stream one too.
    token(&events)?;
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
    served.stop()
}
