//! Generations to bodies and event streams.
use super::Server;
use super::error::ApiError;
use super::events::Events;
use super::gate::Visitor;
use super::request::{Endpoint, Parsed};
use crate::runtime::{Delta, Ending, Generation, OwnedRequest, TextEvent, TextEventKind};
use serde_json::{Value, json};
use verbatim_core::sampling::TokenLogprob;

/// What all parts of one answer share.
#[derive(Clone, Debug)]
pub struct Answer<'s> {
    server: &'s Server,
    endpoint: Endpoint,
    id: String,
    created: u64,
    visitor: &'s Visitor,
}

/// An f32 as the shortest decimal that reads back to it.
fn number(x: f32) -> Value {
    // Widening would print digits that the f32 never had.
    x.to_string().parse::<f64>().map_or(Value::Null, |x| json!(x))
}

impl<'s> Answer<'s> {
    /// An answer with this id.
    pub(super) fn new(server: &'s Server, endpoint: Endpoint, id: &str, visitor: &'s Visitor) -> Self {
        let prefix = if endpoint == Endpoint::Chat { "chatcmpl" } else { "cmpl" };
        Self { server, endpoint, id: format!("{prefix}-{id}"), created: super::now(), visitor }
    }

    fn token_text(&self, token: u32) -> (String, Vec<u8>) {
        let bytes = self.server.model.tokenizer.bytes(token);
        (String::from_utf8_lossy(&bytes).into_owned(), bytes)
    }

    fn chat_logprob(&self, at: &TokenLogprob) -> Value {
        let (token, bytes) = self.token_text(at.token);
        json!({"token": token, "logprob": number(at.logprob), "bytes": bytes})
    }

    /// The logprobs of some tokens; `offset` counts the characters before them and is moved on.
    fn logprobs(&self, deltas: &[Delta], offset: &mut usize) -> Value {
        let with_token = |delta: &Delta| delta.token.map(|token| (token, delta.top.clone()));
        let tokens: Vec<(TokenLogprob, Vec<TokenLogprob>)> = deltas.iter().filter_map(with_token).collect();
        if self.endpoint == Endpoint::Chat {
            let entry = |(token, top): &(TokenLogprob, Vec<TokenLogprob>)| {
                let mut entry = self.chat_logprob(token);
                entry["top_logprobs"] = top.iter().map(|at| self.chat_logprob(at)).collect();
                entry
            };
            return json!({"content": tokens.iter().map(entry).collect::<Vec<_>>(), "refusal": null});
        }
        let mut offsets = Vec::new();
        let mut tops = Vec::new();
        for (token, top) in &tokens {
            offsets.push(*offset);
            *offset += self.token_text(token.token).0.chars().count();
            let mut map = serde_json::Map::new();
            // The chosen token is listed even where it is not among the likeliest.
            for at in top.iter().chain([token]) {
                map.entry(self.token_text(at.token).0).or_insert_with(|| number(at.logprob));
            }
            tops.push(if top.is_empty() { Value::Null } else { Value::Object(map) });
        }
        json!({
            "tokens": tokens.iter().map(|(token, _)| self.token_text(token.token).0).collect::<Vec<_>>(),
            "token_logprobs": tokens.iter().map(|(token, _)| number(token.logprob)).collect::<Vec<_>>(),
            "top_logprobs": tops,
            "text_offset": offsets,
        })
    }

    fn shell(&self, object: &str, choices: Value) -> Value {
        json!({
            "id": self.id,
            "object": object,
            "created": self.created,
            "model": self.server.model.name,
            "system_fingerprint": self.server.model.fingerprint,
            "choices": choices,
        })
    }

    fn start(&self, parsed: &Parsed) -> Result<Generation, ApiError> {
        let visitor = self.visitor.clone();
        let generation = Generation::start(
            &self.server.model,
            &self.server.engine,
            parsed.requests.clone(),
            &parsed.stop,
        )?;
        Ok(generation.while_wanted(move || !visitor.has_left()))
    }

    /// The choices of all prompts, in order.
    fn choices<'p>(&self, parsed: &'p Parsed) -> Vec<Place<'p>> {
        let mut places = Vec::new();
        for request in &parsed.requests {
            let first = places.len();
            let offset = if parsed.logprobs { self.offset(request) } else { 0 };
            for i in 0..request.choices as usize {
                // A choice that is taken up keeps its number.
                let index = first + request.first_choice as usize + i;
                places.push(Place { index, request, offset, is_first: true });
            }
        }
        places
    }

    /// Characters before a request's next token: a function of its ids, so that it is the same
    /// where a stream is taken up.
    fn offset(&self, request: &OwnedRequest) -> usize {
        let prompt = self.server.model.tokenizer.decode(&request.prompt, true).unwrap_or_default();
        let generated = request.generated.iter().map(|token| self.token_text(*token).0.chars().count());
        prompt.chars().count() + generated.sum::<usize>()
    }

    /// The whole answer in one body.
    pub fn whole(&self, parsed: &Parsed) -> Result<Value, ApiError> {
        let mut generation = self.start(parsed)?;
        let mut places = self.choices(parsed);
        let mut outputs: Vec<(Vec<Delta>, &str)> = vec![(Vec::new(), ""); places.len()];
        for TextEvent { choice: at, kind } in generation.by_ref() {
            match kind {
                TextEventKind::Delta(delta) => outputs[at].0.push(delta),
                TextEventKind::End(ending) => outputs[at].1 = finish_reason(ending)?,
            }
        }
        let mut choices = Vec::new();
        for (place, (deltas, finish_reason)) in places.iter_mut().zip(&outputs) {
            let text: String = deltas.iter().map(|delta| delta.text.as_str()).collect();
            let logprobs =
                if parsed.logprobs { self.logprobs(deltas, &mut place.offset) } else { Value::Null };
            let mut choice = match self.endpoint {
                Endpoint::Chat => json!({
                    "index": place.index, "message": {"role": "assistant", "content": text, "refusal": null},
                    "logprobs": logprobs, "finish_reason": finish_reason,
                }),
                Endpoint::Completions => json!({
                    "index": place.index, "text": text, "logprobs": logprobs, "finish_reason": finish_reason,
                }),
            };
            if parsed.token_ids {
                choice["token_ids"] = token_ids(deltas);
                choice["prompt_token_ids"] = json!(place.request.prompt);
            }
            choices.push(choice);
        }
        let object = if self.endpoint == Endpoint::Chat { "chat.completion" } else { "text_completion" };
        let mut body = self.shell(object, Value::Array(choices));
        body["usage"] = usage(parsed, &generation);
        body["verbatim"] = json!({"seed": parsed.seed});
        Ok(body)
    }

    fn chunk(&self, parsed: &Parsed, choices: Value) -> Value {
        let object =
            if self.endpoint == Endpoint::Chat { "chat.completion.chunk" } else { "text_completion" };
        let mut chunk = self.shell(object, choices);
        if parsed.include_usage {
            chunk["usage"] = Value::Null;
        }
        chunk
    }

    fn piece(&self, index: usize, text: Option<&str>, logprobs: Value, finish_reason: Option<&str>) -> Value {
        match self.endpoint {
            Endpoint::Chat => {
                let delta = text.map_or_else(|| json!({}), |text| json!({"content": text}));
                json!([{"index": index, "delta": delta, "logprobs": logprobs, "finish_reason": finish_reason}])
            }
            Endpoint::Completions => json!([{
                "index": index, "text": text.unwrap_or_default(), "logprobs": logprobs, "finish_reason": finish_reason,
            }]),
        }
    }

    /// The answer as events. An error before the first event is returned; one after it is an event.
    /// A client that is gone ends it.
    pub fn stream(&self, parsed: &Parsed, open: impl FnOnce() -> Events) -> Result<(), ApiError> {
        let generation = self.start(parsed)?;
        let mut events = open();
        // Whoever reads no more has ended the request: dropping the generation cancels it.
        let _ = self.stream_to(parsed, generation, &mut events);
        Ok(())
    }

    fn stream_to(
        &self,
        parsed: &Parsed,
        mut generation: Generation,
        events: &mut Events,
    ) -> std::io::Result<()> {
        let mut places = self.choices(parsed);
        if self.endpoint == Endpoint::Chat {
            for place in &places {
                let delta = json!({"role": "assistant", "content": ""});
                let first = json!([{
                    "index": place.index, "delta": delta, "logprobs": null, "finish_reason": null,
                }]);
                events.send(&self.chunk(parsed, first))?;
            }
        }
        for TextEvent { choice: at, kind } in generation.by_ref() {
            let place = &mut places[at];
            let piece = match kind {
                TextEventKind::Delta(delta) => {
                    // Text that is held back waits; what else is said of its token comes at once,
                    // so that tokens stay in order.
                    let is_told = (parsed.logprobs || parsed.token_ids) && delta.token.is_some();
                    if delta.text.is_empty() && !is_told {
                        continue;
                    }
                    let text = delta.text.clone();
                    let deltas = [delta];
                    let logprobs = if parsed.logprobs && is_told {
                        self.logprobs(&deltas, &mut place.offset)
                    } else {
                        Value::Null
                    };
                    let mut piece = self.piece(place.index, Some(&text), logprobs, None);
                    if parsed.token_ids {
                        piece[0]["token_ids"] = token_ids(&deltas);
                        if std::mem::take(&mut place.is_first) {
                            piece[0]["prompt_token_ids"] = json!(place.request.prompt);
                        }
                    }
                    piece
                }
                TextEventKind::End(ending) => match finish_reason(ending) {
                    Ok(reason) => self.piece(place.index, None, Value::Null, Some(reason)),
                    Err(error) => {
                        events.send(&error.body())?;
                        return events.done();
                    }
                },
            };
            events.send(&self.chunk(parsed, piece))?;
        }
        if parsed.include_usage {
            let mut last = self.chunk(parsed, json!([]));
            last["usage"] = usage(parsed, &generation);
            events.send(&last)?;
        }
        events.done()
    }
}

/// A choice in an answer.
struct Place<'p> {
    index: usize,
    request: &'p OwnedRequest,
    /// Characters before its next token.
    offset: usize,
    /// Whether nothing was said of its tokens yet.
    is_first: bool,
}

fn token_ids(deltas: &[Delta]) -> Value {
    deltas.iter().filter_map(|delta| delta.token).map(|at| at.token).collect()
}

fn finish_reason(ending: Ending) -> Result<&'static str, ApiError> {
    match ending {
        Ending::Stop => Ok("stop"),
        Ending::Length => Ok("length"),
        Ending::Error(error) => Err(ApiError::server(500, error.to_string())),
    }
}

/// What was generated elsewhere counts as if it had been generated here; a prompt counts once for
/// all its choices.
fn usage(parsed: &Parsed, generation: &Generation) -> Value {
    let (mut prompt_tokens, mut completion_tokens, mut cached_tokens) = (0, 0, 0);
    let mut first = 0;
    for request in &parsed.requests {
        let choices = first..first + request.choices as usize;
        first = choices.end;
        prompt_tokens += request.prompt.len();
        completion_tokens += choices.clone().map(|at| generation.tokens(at)).sum::<usize>();
        // What its other choices found, the first may have put there.
        cached_tokens += generation.cached_tokens(choices.start).min(request.prompt.len());
    }
    json!({
        "prompt_tokens": prompt_tokens,
        "completion_tokens": completion_tokens,
        "total_tokens": prompt_tokens + completion_tokens,
        "prompt_tokens_details": {"cached_tokens": cached_tokens},
    })
}
