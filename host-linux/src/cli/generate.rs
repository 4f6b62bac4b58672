//! `verbatim generate`: a prompt is continued as it stands. And what it shares with `chat`.
use super::args::GenerateArgs;
use super::hub::flags::OfflineArgs;
use super::hub::missing::fetch_missing;
use super::model_args::sampling::SamplingArgs;
use super::output;
use super::session::{Session, tell_notes};
use super::visible::Visible;
use crate::runtime::{Ending, Generation, Options, OwnedRequest, Supervision, TextEventKind};
use crate::sys::entropy::draw_seed;
use crate::text::figures::tokens_behind;
use std::io::{IsTerminal, Read, Write};
use std::time::{Duration, Instant};
use verbatim_core::engine::Counters;
use verbatim_core::sampling::SamplingParams;

/// A session for one sequence at a time.
pub(super) fn open_for_one(options: &Options, hub: OfflineArgs) -> Result<Session, String> {
    fetch_missing(options, hub)?;
    Session::open(options, Supervision::default(), tell_notes)
}

impl Session {
    /// The request that the flags make of a prompt.
    fn request(&self, sampling: &SamplingArgs, prompt: Vec<u32>) -> Result<OwnedRequest, String> {
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
        // Where there is no room at all, the engine says so.
        let room = self.model.limits.model_len.saturating_sub(prompt.len()).max(1);
        let max_tokens = sampling.max_tokens.unwrap_or(room).min(room);
        let stop_ids = defaults.eos_ids.clone();
        Ok(OwnedRequest { stop_ids, ..OwnedRequest::new(prompt, params, max_tokens) })
    }

    /// Runs a request, streaming its text to standard output; then says how fast it was. A terminal
    /// is shown control characters, and obeys none; a file gets every byte.
    fn stream(&self, request: OwnedRequest, sampling: &SamplingArgs) -> Result<(), String> {
        let prompt_tokens = request.prompt.len();
        let drawn_seed = sampling.seed.is_none() && request.params.temperature != 0.0;
        let seed = request.params.seed;
        let start = Instant::now();
        let before = self.engine.gauges().counters;
        let mut generation = Generation::start(&self.engine, vec![request], &sampling.stop)
            .map_err(|error| error.to_string())?;
        if drawn_seed {
            output::note(format_args!("seed {seed}"));
        }
        let mut first = None;
        let mut out = std::io::stdout().lock();
        let mut visible = out.is_terminal().then(Visible::default);
        for event in generation.by_ref() {
            let delta = match event.kind {
                TextEventKind::Delta(delta) => delta,
                TextEventKind::End(Ending::Error(error)) => return Err(error.to_string()),
                TextEventKind::End(_) => continue,
            };
            first.get_or_insert_with(|| start.elapsed());
            let mut text = delta.text;
            if let Some(visible) = &mut visible {
                let whole = std::mem::take(&mut text);
                visible.push(&whole, &mut text);
            }
            let written = out.write_all(text.as_bytes()).and_then(|()| out.flush());
            written.map_err(output::lost)?;
        }
        let whole = start.elapsed();
        writeln!(out).map_err(output::lost)?;
        let speed =
            Speed { prompt_tokens, tokens: generation.tokens(0), first: first.unwrap_or(whole), whole };
        output::note(speed_line(&speed));
        let notes = draft_notes(&before, &self.engine.gauges().counters);
        notes.iter().for_each(output::note);
        Ok(())
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

/// Tokens that came with the first one, of a step that verified drafts, tell of no speed.
const SPEED_MIN: Duration = Duration::from_millis(1);

fn speed_line(speed: &Speed) -> String {
    let Speed { prompt_tokens, tokens, first, whole } = *speed;
    let after = Some(whole.saturating_sub(first)).filter(|after| *after >= SPEED_MIN);
    format!(
        "{prompt_tokens} prompt tokens, first token after {:.1} ms; {}",
        first.as_secs_f64() * 1e3,
        tokens_behind(tokens, after.unwrap_or_default()),
    )
}

/// How many draft tokens were accepted, for each source that made any.
pub(super) fn draft_notes(before: &Counters, after: &Counters) -> Vec<String> {
    let sources = [("lookup", &before.lookup, &after.lookup), ("draft model", &before.model, &after.model)];
    let mut notes = Vec::new();
    for (source, before, after) in sources {
        let of = after.since(before);
        if of.verified > 0 {
            notes.push(format!("{source}: {} of {} draft tokens accepted", of.accepted, of.verified));
        }
    }
    notes
}

/// Bytes of a prompt that is read, at most; no context holds more.
const PROMPT_MAX: u64 = 256 << 20;

/// The prompt: what was typed behind the command, or else what standard input brings.
fn prompt(args: &GenerateArgs) -> Result<String, String> {
    if let Some(prompt) = args.prompt.as_deref().filter(|prompt| *prompt != "-") {
        return Ok(prompt.to_owned());
    }
    let input = std::io::stdin().lock();
    if input.is_terminal() {
        output::note("type the prompt; Ctrl-D on a line of its own ends it");
    }
    let mut text = String::new();
    let read = input.take(PROMPT_MAX + 1).read_to_string(&mut text);
    read.map_err(|error| format!("standard input: {error}"))?;
    if text.len() as u64 > PROMPT_MAX {
        return Err(format!("standard input: found a prompt of more than {PROMPT_MAX} bytes"));
    }
    Ok(text)
}

/// Continues a prompt: text to standard output, speed to standard error.
pub(super) fn generate(args: &GenerateArgs) -> Result<(), String> {
    let prompt = prompt(args)?;
    let session = open_for_one(&args.options()?, args.hub())?;
    let ids = session.model.tokenizer.encode(&prompt, true).map_err(|error| error.to_string())?;
    if prompt.is_empty() && !ids.is_empty() {
        output::note("note: the prompt is empty, so the text begins from nothing; give one, or - to read it");
    }
    let request = session.request(&args.sampling, ids)?;
    session.stream(request, &args.sampling)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_speed_is_told_where_there_is_one() {
        let line = |whole| {
            let first = Duration::from_millis(20);
            speed_line(&Speed { prompt_tokens: 5, tokens: 11, first, whole: Duration::from_micros(whole) })
        };
        let begins = "5 prompt tokens, first token after 20.0 ms; 11 tokens";
        assert_eq!(line(120_000), format!("{begins}, 10.00 ms/token, 100.0 tokens/s"));
        assert_eq!(line(20_900), begins);
        assert_eq!(line(0), begins);
    }
}
