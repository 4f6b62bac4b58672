//! What is noted of a generation in the record of its request.
use super::parsed::ParsedBody;
use super::usage::usage;
use crate::runtime::{Ending, Generation, GenerationError};
use crate::serve::observe::{Finish, Generated, GeneratedChoice, Record, Texts};
use crate::serve::server::Server;
use crate::serve::watch::log::TEXT_BYTES;

/// Notes in a request's record what was generated for it.
pub fn note(parsed: &ParsedBody, generation: &Generation, server: &Server, record: &mut Record) {
    record.usage = usage(parsed, generation);
    let of = parsed.requests.iter().flat_map(|request| (0..request.choices).map(move |_| request));
    let choices = of.enumerate().map(|(at, request)| GeneratedChoice {
        prompt_tokens: request.prompt.len(),
        cached_tokens: generation.cached_tokens(at).min(request.prompt.len()),
        tokens: generation.tokens(at).saturating_sub(request.generated.len()),
        finish: match generation.ending(at) {
            Some(Ending::Stop) => Finish::Stop,
            Some(Ending::Length) => Finish::Length,
            // A choice that did not end was dropped, since its reader had gone.
            None | Some(Ending::Error(GenerationError::Unwanted)) => Finish::Abort,
            Some(Ending::Error(_)) => Finish::Error,
        },
        times: generation.times(at),
    });
    let first = parsed.requests.first();
    let texts = first.filter(|_| server.options.watch.log_prompts).map(|request| {
        // A token has a byte at least, all but the special ones, so the beginning is in these.
        let tokens = &request.prompt[..request.prompt.len().min(TEXT_BYTES)];
        let prompt = server.model.tokenizer.decode(tokens, false).unwrap_or_default();
        Texts { prompt, answer: generation.kept_text().to_owned() }
    });
    record.generated = Some(Generated {
        seed: parsed.seed,
        n: first.map_or(0, |request| request.choices as usize),
        max_tokens: first.map_or(0, |request| request.max_tokens),
        stream: parsed.streaming.stream,
        choices: choices.collect(),
        texts,
    });
}
