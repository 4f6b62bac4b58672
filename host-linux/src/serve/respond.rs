//! Generations to bodies and event streams.
use super::Server;
use super::error::ApiError;
use super::events::Events;
use super::gate::Visitor;
use super::request::{Endpoint, Parsed};
use crate::runtime::{Delta, Ending, Generation};
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

    fn start(&self, parsed: &Parsed) -> Result<Vec<Generation<'s>>, ApiError> {
        let model = &self.server.model;
        let start = |request: &crate::runtime::OwnedRequest| {
            let visitor = self.visitor;
            Generation::start(model, &self.server.engine, request.clone(), &parsed.stop)
                .map(|generation| generation.while_wanted(Box::new(|| !visitor.has_left())))
                .map_err(ApiError::from)
        };
        parsed.requests.iter().map(start).collect()
    }

    /// The whole answer in one body.
    pub fn whole(&self, parsed: &Parsed) -> Result<Value, ApiError> {
        let mut choices = Vec::new();
        let mut completion_tokens = 0;
        for (index, mut generation) in self.start(parsed)?.into_iter().enumerate() {
            let deltas: Vec<Delta> = generation.by_ref().collect();
            completion_tokens += generation.tokens();
            let text: String = deltas.iter().map(|delta| delta.text.as_str()).collect();
            let mut offset = parsed.prompt_chars[index];
            let logprobs = if parsed.logprobs { self.logprobs(&deltas, &mut offset) } else { Value::Null };
            let finish_reason = finish_reason(generation.ending())?;
            choices.push(match self.endpoint {
                Endpoint::Chat => json!({
                    "index": index, "message": {"role": "assistant", "content": text, "refusal": null},
                    "logprobs": logprobs, "finish_reason": finish_reason,
                }),
                Endpoint::Completions => json!({
                    "index": index, "text": text, "logprobs": logprobs, "finish_reason": finish_reason,
                }),
            });
        }
        let object = if self.endpoint == Endpoint::Chat { "chat.completion" } else { "text_completion" };
        let mut body = self.shell(object, Value::Array(choices));
        body["usage"] = usage(parsed, completion_tokens);
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

    /// The answer as events. An error before the first event is returned; one after it is an event. A client that is
    /// gone ends it.
    pub fn stream(&self, parsed: &Parsed, open: impl FnOnce() -> Events) -> Result<(), ApiError> {
        let generations = self.start(parsed)?;
        let mut events = open();
        // Whoever reads no more has ended the request: dropping the generations cancels them.
        let _ = self.stream_to(parsed, generations, &mut events);
        Ok(())
    }

    fn stream_to(
        &self,
        parsed: &Parsed,
        generations: Vec<Generation<'s>>,
        events: &mut Events,
    ) -> std::io::Result<()> {
        let mut completion_tokens = 0;
        for (index, mut generation) in generations.into_iter().enumerate() {
            if self.endpoint == Endpoint::Chat {
                let delta = json!({"role": "assistant", "content": ""});
                let first =
                    json!([{"index": index, "delta": delta, "logprobs": null, "finish_reason": null}]);
                events.send(&self.chunk(parsed, first))?;
            }
            let mut offset = parsed.prompt_chars[index];
            for delta in generation.by_ref() {
                // Text that is held back waits; its logprobs come at once, so that tokens stay in order.
                if delta.text.is_empty() && !(parsed.logprobs && delta.token.is_some()) {
                    continue;
                }
                let listed = parsed.logprobs && delta.token.is_some();
                let text = delta.text.clone();
                let logprobs = if listed { self.logprobs(&[delta], &mut offset) } else { Value::Null };
                events.send(&self.chunk(parsed, self.piece(index, Some(&text), logprobs, None)))?;
            }
            completion_tokens += generation.tokens();
            match finish_reason(generation.ending()) {
                Ok(reason) => {
                    events.send(&self.chunk(parsed, self.piece(index, None, Value::Null, Some(reason))))?;
                }
                Err(error) => {
                    events.send(&error.body())?;
                    return events.done();
                }
            }
        }
        if parsed.include_usage {
            let mut last = self.chunk(parsed, json!([]));
            last["usage"] = usage(parsed, completion_tokens);
            events.send(&last)?;
        }
        events.done()
    }
}

fn finish_reason(ending: Ending) -> Result<&'static str, ApiError> {
    match ending {
        Ending::Stop => Ok("stop"),
        Ending::Length => Ok("length"),
        Ending::Error(error) => Err(ApiError::server(500, error)),
    }
}

fn usage(parsed: &Parsed, completion_tokens: usize) -> Value {
    let prompt_tokens: usize = parsed.requests.iter().map(|request| request.prompt.len()).sum();
    json!({
        "prompt_tokens": prompt_tokens,
        "completion_tokens": completion_tokens,
        "total_tokens": prompt_tokens + completion_tokens,
        "prompt_tokens_details": {"cached_tokens": 0},
    })
}
