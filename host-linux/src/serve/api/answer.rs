//! Runs the generation that a body asks for, and sends it in the words of a dialect: whole, or as
//! events.
use super::dialect::{ChoiceText, Dialect, Labels, TokenTexts, listed_tokens};
use super::fields::Fields;
use super::limits::{Reading, RequestBounds, RequestLimits};
use super::names;
use super::params::ParsedBody;
use crate::faults::{self, Point};
use crate::runtime::{
    Delta, Ending, Generation, GenerationError, OwnedRequest, ServedModel, TextEvent, TextEventKind,
};
use crate::serve::budgets::Queued;
use crate::serve::error::ApiError;
use crate::serve::exchange::Exchange;
use crate::serve::guards;
use crate::serve::observe::{Finish, Generated, GeneratedChoice, Record, Texts, Usage};
use crate::serve::server::{Server, now};
use crate::serve::sse::Events;
use crate::serve::transport::refusal;
use crate::serve::watch::log::TEXT_BYTES;
use crate::sys::priority::lower_this_thread;
use serde_json::{Value, json};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::thread::Builder;
use std::time::Instant;

/// Bytes of a body that is read on the thread of its connection. Reading a longer one may take
/// milliseconds, which are not to be those of the engine.
const READ_ALONG_BYTES: usize = 8 << 10;

/// Reads a body within the default budgets. The names that mean nothing here are added to
/// `ignored`, also where the body is refused for another reason.
pub fn parse(
    dialect: &dyn Dialect,
    body: &[u8],
    model: &ServedModel,
    ignored: &mut Vec<String>,
) -> Result<ParsedBody, ApiError> {
    let bounds = RequestBounds::new(&RequestLimits::default(), model);
    parse_within(dialect, body, Reading { model, bounds: &bounds }, ignored)
}

/// Reads a body, as [`parse`] does, within the budgets of `reading`.
fn parse_within(
    dialect: &dyn Dialect,
    body: &[u8],
    reading: Reading<'_>,
    ignored: &mut Vec<String>,
) -> Result<ParsedBody, ApiError> {
    let object = names::checked_object(body, reading.bounds, ignored)?;
    dialect.parse(&Fields::new(&object), reading)
}

/// Reads the body of a request when it is its turn. A long one is read at a lower priority than the
/// engine's.
fn read(dialect: &dyn Dialect, exchange: &mut Exchange<'_>) -> Result<ParsedBody, ApiError> {
    let Server { model, budgets, .. } = exchange.server;
    let body = exchange.body()?;
    let client = exchange.client.clone();
    let Some(_turn) = budgets.reading.wait(|| !client.has_left()) else {
        return Err(ApiError::client_left());
    };
    let reading = Reading { model, bounds: &budgets.bounds };
    let parse = || {
        let mut ignored = Vec::new();
        (parse_within(dialect, &body, reading, &mut ignored), ignored)
    };
    let (parsed, ignored) = if body.len() <= READ_ALONG_BYTES { parse() } else { in_background(&parse) };
    exchange.record.ignored = ignored;
    let bytes = body.len();
    drop(body);
    budgets.sweeper.freed(bytes);
    parsed
}

/// Does work on a thread of lower priority, and waits for it; does it here if there is no thread.
fn in_background<T: Send>(work: &(impl Fn() -> T + Sync)) -> T {
    std::thread::scope(|scope| {
        let lowered = || {
            lower_this_thread();
            work()
        };
        match Builder::new().name("verbatim-read".to_owned()).spawn_scoped(scope, lowered) {
            Ok(thread) => thread.join().unwrap_or_else(|panic| resume_unwind(panic)),
            Err(_) => work(),
        }
    })
}

/// Reads the body of a request, generates what it asks for, and answers.
pub fn generate(dialect: &dyn Dialect, exchange: &mut Exchange<'_>) -> Result<(), ApiError> {
    faults::point(Point::Handler);
    let server = exchange.server;
    let parsed = read(dialect, exchange)?;
    guards::check_priority(exchange, &parsed.requests)?;
    let seed = parsed.seed.to_string();
    let headers = [("x-verbatim-seed", seed.as_str())];
    let answer = Answer::new(server, dialect, &parsed, &exchange.record.request_id);
    let prompts = parsed
        .requests
        .iter()
        .map(|request| (request.choices, request.prompt.len() + request.generated.len()));
    let mut queued = server.budgets.queue.enter(prompts)?;
    let mut generation = start(exchange, &parsed)?;
    if parsed.streaming.stream {
        let mut events = exchange.open_events(&headers);
        // A client that reads no more has ended the request: dropping the generation cancels it.
        let stream = AssertUnwindSafe(|| answer.stream(&mut generation, &mut queued, &mut events));
        if catch_unwind(stream).is_err() {
            // The status is sent, so the error is the last event.
            let _ = events.send(&ApiError::panicked().body()).and_then(|()| events.done());
        }
        note(&parsed, &generation, server, &mut exchange.record);
    } else {
        let whole = answer.whole(&mut generation, &mut queued);
        note(&parsed, &generation, server, &mut exchange.record);
        exchange.send_json(200, &whole?, &headers);
    }
    Ok(())
}

/// Submits the requests of a body; they end when the client leaves.
fn start(exchange: &Exchange<'_>, parsed: &ParsedBody) -> Result<Generation, ApiError> {
    let Server { engine, metrics, options, .. } = exchange.server;
    let generation = Generation::start(engine, parsed.requests.clone(), &parsed.stop)?;
    let arrived = exchange.record.arrived.unwrap_or_else(Instant::now);
    let generation = generation.measured_by(Arc::clone(&metrics.tokens), arrived);
    let kept = if options.watch.log_prompts { TEXT_BYTES + 1 } else { 0 };
    let client = exchange.client.clone();
    Ok(generation.keeping_text(kept).while_wanted(move || !client.is_cut() && !client.has_left()))
}

/// Notes in a request's record what was generated for it.
fn note(parsed: &ParsedBody, generation: &Generation, server: &Server, record: &mut Record) {
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

/// What was generated elsewhere counts as if it had been generated here.
fn usage(parsed: &ParsedBody, generation: &Generation) -> Usage {
    let mut usage = Usage::default();
    let mut first = 0;
    for request in &parsed.requests {
        let choices = first..first + request.choices as usize;
        first = choices.end;
        usage.prompt_tokens += request.prompt.len();
        usage.completion_tokens += choices.clone().map(|at| generation.tokens(at)).sum::<usize>();
        // What the other choices found in the cache, the first one may have put there.
        usage.cached_tokens += generation.cached_tokens(choices.start).min(request.prompt.len());
    }
    usage
}

fn usage_json(usage: Usage) -> Value {
    json!({
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "total_tokens": usage.prompt_tokens + usage.completion_tokens,
        "prompt_tokens_details": {"cached_tokens": usage.cached_tokens},
    })
}

fn finish_reason(ending: Ending, server: &Server) -> Result<&'static str, ApiError> {
    match ending {
        Ending::Stop => Ok("stop"),
        Ending::Length => Ok("length"),
        Ending::Error(GenerationError::Unwanted) if server.lifecycle.is_cut() => Err(refusal::cut_off()),
        Ending::Error(error) => Err(error.into()),
    }
}

fn token_ids(deltas: &[Delta]) -> Value {
    deltas.iter().filter_map(|delta| delta.token).map(|at| at.token).collect()
}

/// A choice of an answer, and how far the answer has come with it.
struct ChoiceState<'p> {
    index: usize,
    request: &'p OwnedRequest,
    /// Characters before its next token; 0 where no logprobs are listed.
    offset: usize,
    /// Whether no event has told a token of it.
    is_first: bool,
}

/// What all parts of one answer share.
struct Answer<'a> {
    server: &'a Server,
    dialect: &'a dyn Dialect,
    labels: Labels,
    parsed: &'a ParsedBody,
    id: String,
    created: u64,
}

impl<'a> Answer<'a> {
    fn new(server: &'a Server, dialect: &'a dyn Dialect, parsed: &'a ParsedBody, id: &str) -> Self {
        let labels = dialect.labels();
        let id = format!("{}-{id}", labels.id_prefix);
        Self { server, dialect, labels, parsed, id, created: now() }
    }

    fn texts(&self) -> TokenTexts<'a> {
        TokenTexts(&self.server.model.tokenizer)
    }

    /// The choices of all prompts, in order.
    fn choices(&self) -> Vec<ChoiceState<'a>> {
        let mut choices = Vec::new();
        for request in &self.parsed.requests {
            let first = choices.len();
            let offset = if self.parsed.logprobs { self.offset(request) } else { 0 };
            for i in 0..request.choices as usize {
                // A choice that is resumed keeps its number.
                let index = first + request.first_choice as usize + i;
                choices.push(ChoiceState { index, request, offset, is_first: true });
            }
        }
        choices
    }

    /// Characters before a request's next token. They depend on its ids alone, so a stream that is
    /// resumed counts as one that was not cut.
    fn offset(&self, request: &OwnedRequest) -> usize {
        let prompt = self.server.model.tokenizer.decode(&request.prompt, true).unwrap_or_default();
        let generated = request.generated.iter().map(|token| self.texts().char_count(*token));
        prompt.chars().count() + generated.sum::<usize>()
    }

    fn logprobs(&self, deltas: &[Delta], choice: &mut ChoiceState<'_>) -> Value {
        self.dialect.logprobs(self.texts(), &listed_tokens(deltas), &mut choice.offset)
    }

    /// A body or an event with these choices.
    fn shell(&self, object: &str, choices: Vec<Value>) -> Value {
        json!({
            "id": self.id,
            "object": object,
            "created": self.created,
            "model": self.server.model.name,
            "system_fingerprint": self.server.model.fingerprint,
            "choices": choices,
        })
    }

    /// The whole answer in one body.
    fn whole(&self, generation: &mut Generation, queued: &mut Queued<'_>) -> Result<Value, ApiError> {
        let mut choices = self.choices();
        let mut outputs: Vec<(Vec<Delta>, &'static str)> = vec![(Vec::new(), ""); choices.len()];
        for TextEvent { choice: at, kind } in generation.by_ref() {
            queued.heard_of(at);
            match kind {
                TextEventKind::Delta(delta) => outputs[at].0.push(delta),
                TextEventKind::End(ending) => outputs[at].1 = finish_reason(ending, self.server)?,
            }
        }
        let choices = choices.iter_mut().zip(&outputs).map(|(choice, (deltas, finish_reason))| {
            let text: String = deltas.iter().map(|delta| delta.text.as_str()).collect();
            let logprobs = if self.parsed.logprobs { self.logprobs(deltas, choice) } else { Value::Null };
            let (index, text, finish_reason) = (choice.index, Some(text.as_str()), Some(*finish_reason));
            let mut value = self.dialect.whole_choice(ChoiceText { index, text, logprobs, finish_reason });
            if self.parsed.token_ids {
                value["token_ids"] = token_ids(deltas);
                value["prompt_token_ids"] = json!(choice.request.prompt);
            }
            value
        });
        let mut body = self.shell(self.labels.object, choices.collect());
        body["usage"] = usage_json(usage(self.parsed, generation));
        body["verbatim"] = json!({"seed": self.parsed.seed});
        Ok(body)
    }

    /// The answer as events. An error of the generation is the last event; an error of the
    /// connection is returned.
    fn stream(
        &self,
        generation: &mut Generation,
        queued: &mut Queued<'_>,
        events: &mut Events,
    ) -> std::io::Result<()> {
        let mut choices = self.choices();
        for opening in choices.iter().filter_map(|choice| self.dialect.opening(choice.index)) {
            events.send(&self.chunk(vec![opening]))?;
        }
        for TextEvent { choice: at, kind } in generation.by_ref() {
            queued.heard_of(at);
            faults::point(Point::Stream);
            let choice = &mut choices[at];
            let value = match kind {
                TextEventKind::Delta(delta) => self.delta(delta, choice),
                TextEventKind::End(ending) => match finish_reason(ending, self.server) {
                    Ok(reason) => Some(self.end(choice.index, reason)),
                    Err(error) => {
                        events.send(&error.body())?;
                        return events.done();
                    }
                },
            };
            if let Some(value) = value {
                events.send(&self.chunk(vec![value]))?;
            }
        }
        if self.parsed.streaming.include_usage {
            let mut last = self.chunk(Vec::new());
            last["usage"] = usage_json(usage(self.parsed, generation));
            events.send(&last)?;
        }
        events.done()
    }

    /// An event. Where the last one tells the usage, the others say that they do not.
    fn chunk(&self, choices: Vec<Value>) -> Value {
        let mut chunk = self.shell(self.labels.chunk_object, choices);
        if self.parsed.streaming.include_usage {
            chunk["usage"] = Value::Null;
        }
        chunk
    }

    /// The choice in a token's event; none where there is nothing to tell yet. Text that is held
    /// back waits; what else is told of its token comes at once, so that tokens stay in order.
    fn delta(&self, delta: Delta, choice: &mut ChoiceState<'_>) -> Option<Value> {
        let ParsedBody { logprobs, token_ids: ids, .. } = *self.parsed;
        let is_told = (logprobs || ids) && delta.token.is_some();
        if delta.text.is_empty() && !is_told {
            return None;
        }
        let deltas = [delta];
        let logprobs = if logprobs && is_told { self.logprobs(&deltas, choice) } else { Value::Null };
        let text = Some(deltas[0].text.as_str());
        let mut value = self.dialect.chunk_choice(ChoiceText {
            index: choice.index,
            text,
            logprobs,
            finish_reason: None,
        });
        if ids {
            value["token_ids"] = token_ids(&deltas);
            if std::mem::take(&mut choice.is_first) {
                value["prompt_token_ids"] = json!(choice.request.prompt);
            }
        }
        Some(value)
    }

    /// The choice in the event that ends it.
    fn end(&self, index: usize, reason: &'static str) -> Value {
        let finish_reason = Some(reason);
        self.dialect.chunk_choice(ChoiceText { index, text: None, logprobs: Value::Null, finish_reason })
    }
}
