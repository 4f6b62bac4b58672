//! `verbatim generate`, and what it shares with `chat`: a generation on a terminal.
use super::args::{GenerateArgs, ModelArgs, SamplingArgs};
use super::session::{Session, tell_notes};
use crate::runtime::{Ending, Generation, OwnedRequest, Supervision, TextEventKind};
use crate::sys::entropy::draw_seed;
use std::io::{Read, Write};
use std::time::{Duration, Instant};
use verbatim_core::engine::Counters;
use verbatim_core::sampling::SamplingParams;

/// A session for one sequence at a time.
pub(super) fn open_for_one(args: &ModelArgs) -> Result<Session, String> {
    let mut options = args.options()?;
    options.max_seqs = 1;
    options.max_queue = 1;
    Session::open(&options, Supervision::default(), tell_notes)
}

impl Session {
    /// The request that the flags make of a prompt.
    pub(super) fn request(&self, sampling: &SamplingArgs, prompt: Vec<u32>) -> Result<OwnedRequest, String> {
        let defaults = self.model.loaded.generation();
        let temperature = sampling.temperature.or(defaults.temperature).unwrap_or(1.0);
        let seed = match sampling.seed {
            Some(seed) => seed,
            None if temperature == 0.0 => 0,
            None => draw_seed().map_err(|error| format!("the system gave no entropy for a seed: {error}"))?,
        };
        let params = SamplingParams {
            temperature,
            top_k: sampling.top_k.or(defaults.top_k).unwrap_or(0),
            top_p: sampling.top_p.or(defaults.top_p).unwrap_or(1.0),
            min_p: sampling.min_p,
            seed,
            ..SamplingParams::GREEDY
        };
        params.check().map_err(|error| format!("--{}", error.to_string().replacen('_', "-", 1)))?;
        if sampling.max_tokens == Some(0) {
            return Err("--max-tokens 0: expected at least 1".to_owned());
        }
        // Where there is no room at all, the engine says so.
        let room = self.model.limits.model_len.saturating_sub(prompt.len()).max(1);
        let max_tokens = sampling.max_tokens.unwrap_or(room).min(room);
        let stop_ids = defaults.eos_ids.clone();
        Ok(OwnedRequest { stop_ids, ..OwnedRequest::new(prompt, params, max_tokens) })
    }

    /// Runs a request, streaming its text to standard output; then says how fast it was. Returns
    /// the text.
    pub(super) fn stream(&self, request: OwnedRequest, sampling: &SamplingArgs) -> Result<String, String> {
        let prompt_tokens = request.prompt.len();
        let drawn_seed = sampling.seed.is_none() && request.params.temperature != 0.0;
        let seed = request.params.seed;
        let start = Instant::now();
        let before = self.engine.gauges().counters;
        let mut generation = Generation::start(&self.engine, vec![request], &sampling.stop)
            .map_err(|error| error.to_string())?;
        if drawn_seed {
            eprintln!("seed {seed}");
        }
        let mut text = String::new();
        let mut first = None;
        let mut out = std::io::stdout().lock();
        for event in generation.by_ref() {
            let delta = match event.kind {
                TextEventKind::Delta(delta) => delta,
                TextEventKind::End(Ending::Error(error)) => return Err(error.to_string()),
                TextEventKind::End(_) => continue,
            };
            first.get_or_insert_with(|| start.elapsed());
            text.push_str(&delta.text);
            let written = out.write_all(delta.text.as_bytes()).and_then(|()| out.flush());
            written.map_err(|error| format!("standard output: {error}"))?;
        }
        let whole = start.elapsed();
        writeln!(out).map_err(|error| format!("standard output: {error}"))?;
        let speed =
            Speed { prompt_tokens, tokens: generation.tokens(0), first: first.unwrap_or(whole), whole };
        tell_speed(&speed);
        tell_drafts(&before, &self.engine.gauges().counters);
        Ok(text)
    }
}

/// How long a generation took.
struct Speed {
    prompt_tokens: usize,
    tokens: usize,
    /// Until the first token came.
    first: Duration,
    whole: Duration,
}

fn tell_speed(speed: &Speed) {
    let Speed { prompt_tokens, tokens, first, whole } = *speed;
    let after = whole.saturating_sub(first).as_secs_f64();
    let each = if tokens > 1 { after / (tokens - 1) as f64 } else { 0.0 };
    let rate = if each > 0.0 { 1.0 / each } else { 0.0 };
    eprintln!(
        "{prompt_tokens} prompt tokens, first token after {:.1} ms; {tokens} tokens, {:.2} ms/token, {rate:.1} tokens/s",
        first.as_secs_f64() * 1e3,
        each * 1e3,
    );
}

/// Says how many draft tokens were accepted, for each source that made any.
fn tell_drafts(before: &Counters, after: &Counters) {
    let sources = [("lookup", &before.lookup, &after.lookup), ("draft model", &before.model, &after.model)];
    for (source, before, after) in sources {
        let of = after.since(before);
        if of.verified > 0 {
            eprintln!("{source}: {} of {} draft tokens accepted", of.accepted, of.verified);
        }
    }
}

/// Continues a prompt: text to standard output, speed to standard error.
pub(super) fn generate(args: &GenerateArgs) -> Result<(), String> {
    let prompt = match &args.prompt {
        Some(prompt) => prompt.clone(),
        None => {
            let mut text = String::new();
            std::io::stdin().read_to_string(&mut text).map_err(|error| format!("standard input: {error}"))?;
            text
        }
    };
    let session = open_for_one(&args.model)?;
    let ids = session.model.tokenizer.encode(&prompt, true).map_err(|error| error.to_string())?;
    let request = session.request(&args.sampling, ids)?;
    session.stream(request, &args.sampling).map(|_| ())
}
