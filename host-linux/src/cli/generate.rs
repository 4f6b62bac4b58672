//! `verbatim generate`, and what it shares with `chat`: a generation on a terminal.
use super::args::{GenerateArgs, ModelArgs, SamplingArgs};
use crate::load::Progress;
use crate::runtime::{Ending, EngineHandle, Generation, OwnedRequest, Part, ServedModel};
use indicatif::{ProgressBar, ProgressStyle};
use std::io::{Read, Write};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Instant;
use verbatim_core::sampling::SamplingParams;

/// A progress bar for loading; silent when standard error is no terminal.
pub(super) struct Bar(ProgressBar);

impl Bar {
    pub(super) fn new() -> Self {
        let bar = ProgressBar::new(0);
        let style =
            ProgressStyle::with_template("loading {bar:40} {bytes}/{total_bytes} {binary_bytes_per_sec}");
        if let Ok(style) = style {
            bar.set_style(style);
        }
        Self(bar)
    }
}

impl Progress for Bar {
    fn advance(&self, done: u64, total: u64) {
        self.0.set_length(total);
        self.0.set_position(done);
        if done >= total {
            self.0.finish_and_clear();
        }
    }
}

/// A model with its engine running.
pub(super) struct Session {
    pub(super) model: Arc<ServedModel>,
    pub(super) engine: EngineHandle,
    thread: Option<JoinHandle<()>>,
}

impl Session {
    /// One sequence at a time, unless told otherwise.
    pub(super) fn open(args: &ModelArgs) -> Result<Self, String> {
        let mut options = args.options()?;
        options.max_seqs = 1;
        options.max_queue = 1;
        let model = Arc::new(ServedModel::open(&options, &Bar::new())?);
        model.tell_notes();
        let (engine, thread) = EngineHandle::start(Arc::clone(&model), options.step_ms)?;
        Ok(Self { model, engine, thread: Some(thread) })
    }

    /// The request that the flags make of a prompt.
    pub(super) fn request(&self, sampling: &SamplingArgs, prompt: Vec<u32>) -> Result<OwnedRequest, String> {
        let defaults = self.model.loaded.generation();
        let temperature = sampling.temperature.or(defaults.temperature).unwrap_or(1.0);
        let seed = match sampling.seed {
            Some(seed) => seed,
            None if temperature == 0.0 => 0,
            None => crate::serve::draw_seed()?,
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

    /// Runs a request, streaming to standard output; says which seed was drawn, if one was; returns
    /// the text.
    pub(super) fn stream(&self, request: OwnedRequest, sampling: &SamplingArgs) -> Result<String, String> {
        let prompt_tokens = request.prompt.len();
        let drawn = sampling.seed.is_none() && request.params.temperature != 0.0;
        let seed = request.params.seed;
        let start = Instant::now();
        let before = self.engine.load().counters;
        let mut generation = Generation::start(&self.model, &self.engine, vec![request], &sampling.stop)
            .map_err(|error| error.to_string())?;
        if drawn {
            eprintln!("seed {seed}");
        }
        let mut text = String::new();
        let mut first = None;
        let mut out = std::io::stdout().lock();
        for (_, part) in generation.by_ref() {
            let delta = match part {
                Part::Delta(delta) => delta,
                Part::End(Ending::Error(error)) => return Err(error),
                Part::End(_) => continue,
            };
            first.get_or_insert_with(|| start.elapsed());
            text.push_str(&delta.text);
            let written = out.write_all(delta.text.as_bytes()).and_then(|()| out.flush());
            written.map_err(|error| format!("standard output: {error}"))?;
        }
        let whole = start.elapsed();
        writeln!(out).map_err(|error| format!("standard output: {error}"))?;
        let first = first.unwrap_or(whole);
        let tokens = generation.tokens(0);
        let after = whole.saturating_sub(first).as_secs_f64();
        let each = if tokens > 1 { after / (tokens - 1) as f64 } else { 0.0 };
        let rate = if each > 0.0 { 1.0 / each } else { 0.0 };
        eprintln!(
            "{prompt_tokens} prompt tokens, first token after {:.1} ms; {tokens} tokens, {:.2} ms/token, {rate:.1} tokens/s",
            first.as_secs_f64() * 1e3,
            each * 1e3,
        );
        let counters = self.engine.load().counters;
        for (what, now, before) in
            [("lookup", counters.lookup, before.lookup), ("draft model", counters.model, before.model)]
        {
            let of = now.since(&before);
            if of.verified > 0 {
                eprintln!("{what}: {} of {} guessed tokens accepted", of.accepted, of.verified);
            }
        }
        Ok(text)
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.engine.stop();
        if let Some(thread) = self.thread.take() {
            // What it had to say it said on standard error.
            let _ = thread.join();
        }
    }
}

/// Continues a prompt.
pub(super) fn generate(args: &GenerateArgs) -> Result<(), String> {
    let prompt = match &args.prompt {
        Some(prompt) => prompt.clone(),
        None => {
            let mut text = String::new();
            std::io::stdin().read_to_string(&mut text).map_err(|error| format!("standard input: {error}"))?;
            text
        }
    };
    let session = Session::open(&args.model)?;
    let ids = session.model.tokenizer.encode(&prompt, true).map_err(|error| error.to_string())?;
    let request = session.request(&args.sampling, ids)?;
    session.stream(request, &args.sampling).map(|_| ())
}
