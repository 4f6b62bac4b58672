//! Bodies to requests: every parameter is checked, and one that would change the answer but is not
//! supported is refused by name.
use super::error::ApiError;
use crate::runtime::{OwnedRequest, ServedModel};
use crate::text::{TemplateInput, TextError};
use serde_json::{Map, Value};
use verbatim_core::sampling::SamplingParams;

/// Which endpoint a body was sent to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// `/v1/completions`
    Completions,
    /// `/v1/chat/completions`
    Chat,
}

/// A request as its body says it.
#[derive(Clone, Debug)]
pub struct Parsed {
    /// One request for each prompt, each with as many choices.
    pub requests: Vec<OwnedRequest>,
    /// Strings that end the output.
    pub stop: Vec<String>,
    /// Whether events are streamed.
    pub stream: bool,
    /// Whether the stream ends with usage.
    pub include_usage: bool,
    /// Whether logprobs are listed.
    pub logprobs: bool,
    /// Whether token ids are listed.
    pub token_ids: bool,
    /// The seed in use.
    pub seed: u64,
}

/// Whether a value asks for nothing.
type Harmless = fn(&Value) -> bool;

/// Parameters that change the answer and are not supported, with what makes them harmless.
const UNSUPPORTED: [(&str, Harmless); 22] = [
    ("best_of", |v| v.as_f64() == Some(1.0)),
    ("echo", |v| v == &Value::Bool(false)),
    ("suffix", |v| v.as_str() == Some("")),
    ("prompt_logprobs", |_| false),
    ("stop_token_ids", |v| v.as_array().is_some_and(Vec::is_empty)),
    ("include_stop_str_in_output", |v| v == &Value::Bool(false)),
    ("return_tokens_as_token_ids", |v| v == &Value::Bool(false)),
    ("response_format", |v| v.get("type").and_then(Value::as_str) == Some("text")),
    ("structured_outputs", |_| false),
    ("guided_json", |_| false),
    ("guided_regex", |_| false),
    ("guided_choice", |_| false),
    ("guided_grammar", |_| false),
    ("tools", |v| v.as_array().is_some_and(Vec::is_empty)),
    ("tool_choice", |v| matches!(v.as_str(), Some("none" | "auto"))),
    ("functions", |v| v.as_array().is_some_and(Vec::is_empty)),
    ("function_call", |v| v.as_str() == Some("none")),
    ("audio", |_| false),
    ("modalities", |v| v.as_array().is_some_and(|list| list.iter().all(|m| m == "text"))),
    ("chat_template_kwargs", |v| v.as_object().is_some_and(Map::is_empty)),
    ("add_generation_prompt", |v| v == &Value::Bool(true)),
    ("continue_final_message", |v| v == &Value::Bool(false)),
];

/// Parameters with an effect here, and those accepted without one.
const KNOWN: [&str; 34] = [
    "model",
    "prompt",
    "messages",
    "stream",
    "stream_options",
    "max_tokens",
    "max_completion_tokens",
    "temperature",
    "top_p",
    "top_k",
    "min_p",
    "seed",
    "stop",
    "logprobs",
    "top_logprobs",
    "logit_bias",
    "presence_penalty",
    "frequency_penalty",
    "repetition_penalty",
    "ignore_eos",
    "min_tokens",
    "n",
    "resume",
    "return_token_ids",
    "user",
    "store",
    "metadata",
    "service_tier",
    "safety_identifier",
    "prompt_cache_key",
    "parallel_tool_calls",
    "priority",
    "cache_salt",
    "request_id",
];

/// The fields of a body; null is absent.
struct Fields<'a>(&'a Map<String, Value>);

impl<'a> Fields<'a> {
    fn get(&self, name: &str) -> Option<&'a Value> {
        self.0.get(name).filter(|value| !value.is_null())
    }

    fn number(&self, name: &str) -> Result<Option<f64>, ApiError> {
        let Some(value) = self.get(name) else { return Ok(None) };
        let number = value.as_f64().filter(|x| x.is_finite());
        number
            .map(Some)
            .ok_or_else(|| ApiError::invalid(name, format!("{name} must be a number, found {value}")))
    }

    fn float(&self, name: &str) -> Result<Option<f32>, ApiError> {
        Ok(self.number(name)?.map(|x| x as f32))
    }

    /// Integers, integral floats (`16.0`) among them.
    fn integer(&self, name: &str, least: i64, most: i64) -> Result<Option<i64>, ApiError> {
        let Some(value) = self.get(name) else { return Ok(None) };
        let whole = |x: f64| (x.fract() == 0.0 && x.abs() < 9e15).then_some(x as i64);
        let found = value.as_i64().or_else(|| value.as_f64().and_then(whole));
        found.filter(|x| (least..=most).contains(x)).map(Some).ok_or_else(|| {
            ApiError::invalid(
                name,
                format!("{name} must be an integer between {least} and {most}, found {value}"),
            )
        })
    }

    fn flag(&self, name: &str) -> Result<bool, ApiError> {
        let Some(value) = self.get(name) else { return Ok(false) };
        value
            .as_bool()
            .ok_or_else(|| ApiError::invalid(name, format!("{name} must be true or false, found {value}")))
    }
}

/// Reads a body.
pub fn parse(endpoint: Endpoint, body: &[u8], model: &ServedModel) -> Result<Parsed, ApiError> {
    let value: Value = serde_json::from_slice(body)
        .map_err(|error| ApiError::invalid("", format!("the body is not JSON: {error}")))?;
    let Value::Object(map) = &value else {
        return Err(ApiError::invalid("", "the body must be a JSON object"));
    };
    let fields = Fields(map);
    refuse_unsupported(&fields)?;
    if let Some(name) = fields.get("model") {
        let name = name.as_str().ok_or_else(|| ApiError::invalid("model", "model must be a string"))?;
        if name != model.name {
            return Err(ApiError {
                status: 404,
                code: Some("model_not_found"),
                ..ApiError::invalid(
                    "model",
                    format!("the model {name} does not exist; {} is served", model.name),
                )
            });
        }
    }
    let stream = fields.flag("stream")?;
    let include_usage = match fields.get("stream_options") {
        None => false,
        Some(_) if !stream => {
            return Err(ApiError::invalid("stream_options", "stream_options needs stream to be true"));
        }
        Some(Value::Object(options)) => Fields(options).flag("include_usage")?,
        Some(_) => return Err(ApiError::invalid("stream_options", "stream_options must be an object")),
    };
    let (listed, top_logprobs) = logprobs(endpoint, &fields)?;
    let (params, seed) = sampling(&fields, model, top_logprobs)?;
    let logit_bias = logit_bias(&fields)?;
    let stop_ids =
        if fields.flag("ignore_eos")? { Vec::new() } else { model.loaded.generation().eos_ids.clone() };
    let prompts = match endpoint {
        Endpoint::Completions => prompts(&fields, model)?,
        Endpoint::Chat => vec![conversation(&fields, model)?],
    };
    let slots = model.limits.slots();
    let choices = fields.integer("n", 1, slots.min(128) as i64)?.unwrap_or(1) as u32;
    if prompts.len() * choices as usize > slots {
        let message = format!(
            "{} prompts of {choices} choices are asked for, but the server takes {slots} sequences at most",
            prompts.len()
        );
        return Err(ApiError::invalid("prompt", message));
    }
    let resume = resume(endpoint, &fields, choices)?;
    let priority = fields.integer("priority", -127, 127)?.unwrap_or(0);
    let cache_salt = cache_salt(&fields)?;
    let min_tokens = fields.integer("min_tokens", 0, i64::from(u32::MAX))?.unwrap_or(0) as usize;
    let asked = match fields.integer("max_completion_tokens", 1, i64::MAX)? {
        Some(tokens) => Some(tokens),
        None => fields.integer("max_tokens", 1, i64::MAX)?,
    };
    let model_len = model.limits.model_len;
    let mut requests = Vec::new();
    for mut prompt in prompts {
        let generated = match &resume {
            Some(resume) => resume.split(&mut prompt)?,
            None => Vec::new(),
        };
        if prompt.len() >= model_len {
            return Err(ApiError {
                code: Some("context_length_exceeded"),
                ..ApiError::invalid(
                    if endpoint == Endpoint::Chat { "messages" } else { "prompt" },
                    format!(
                        "this model's maximum context length is {model_len} tokens, but the prompt has {} tokens",
                        prompt.len()
                    ),
                )
            });
        }
        let room = model_len - prompt.len();
        let default = if endpoint == Endpoint::Chat { room } else { 16 };
        let max_tokens =
            asked.map_or(default, |tokens| usize::try_from(tokens).unwrap_or(usize::MAX)).min(room);
        if generated.len() > max_tokens {
            let message = format!(
                "resume: {} tokens were generated, but at most {max_tokens} are asked for",
                generated.len()
            );
            return Err(ApiError::invalid("resume", message));
        }
        requests.push(OwnedRequest {
            generated,
            first_choice: resume.as_ref().map_or(0, |resume| resume.choice),
            choices,
            logit_bias: logit_bias.clone(),
            stop_ids: stop_ids.clone(),
            min_tokens,
            // Lower is sooner in a body, as in vLLM; greater is in the engine.
            priority: -priority as i8,
            cache_salt,
            ..OwnedRequest::new(prompt, params, max_tokens)
        });
    }
    let token_ids = fields.flag("return_token_ids")?;
    let stop = stop(&fields)?;
    Ok(Parsed { requests, stop, stream, include_usage, logprobs: listed, token_ids, seed })
}

/// Where a stream is taken up that another engine began.
struct Resume {
    /// Ids of the prompt; those after them were generated.
    prompt_tokens: usize,
    /// The choice that it was.
    choice: u32,
}

impl Resume {
    /// Cuts what was generated off the ids.
    fn split(&self, ids: &mut Vec<u32>) -> Result<Vec<u32>, ApiError> {
        if self.prompt_tokens > ids.len() {
            let message =
                format!("resume: prompt_tokens is {}, but there are {} ids", self.prompt_tokens, ids.len());
            return Err(ApiError::invalid("resume", message));
        }
        Ok(ids.split_off(self.prompt_tokens))
    }
}

fn resume(endpoint: Endpoint, fields: &Fields<'_>, choices: u32) -> Result<Option<Resume>, ApiError> {
    let wrong = |message: &str| Err(ApiError::invalid("resume", format!("resume {message}")));
    let Some(value) = fields.get("resume") else { return Ok(None) };
    let ids = fields.get("prompt").and_then(Value::as_array);
    if endpoint == Endpoint::Chat || !ids.is_some_and(|ids| ids.iter().all(Value::is_number)) {
        return wrong("needs a prompt that is a list of token ids, at /v1/completions");
    }
    if choices != 1 {
        return wrong("goes on with one choice: n must be 1, and resume.choice may say which it was");
    }
    let Some(map) = value.as_object() else { return wrong("must be an object with prompt_tokens") };
    if let Some(name) = map.keys().find(|name| !matches!(name.as_str(), "prompt_tokens" | "choice")) {
        return wrong(&format!("has an unknown field {name:?}; expected prompt_tokens, choice"));
    }
    let inner = |error: ApiError| ApiError::invalid("resume", format!("resume: {}", error.message));
    let fields = Fields(map);
    let prompt_tokens = fields.integer("prompt_tokens", 1, i64::from(u32::MAX)).map_err(inner)?;
    let Some(prompt_tokens) = prompt_tokens else { return wrong("must be an object with prompt_tokens") };
    let choice = fields.integer("choice", 0, i64::from(u32::MAX)).map_err(inner)?.unwrap_or(0) as u32;
    Ok(Some(Resume { prompt_tokens: prompt_tokens as usize, choice }))
}

/// The number of a salt: 0 for none.
fn cache_salt(fields: &Fields<'_>) -> Result<u64, ApiError> {
    let Some(value) = fields.get("cache_salt") else { return Ok(0) };
    let text = value.as_str().filter(|text| !text.is_empty());
    let text = text.ok_or_else(|| {
        ApiError::invalid(
            "cache_salt",
            format!("cache_salt must be a string that is not empty, found {value}"),
        )
    })?;
    let hash = blake3::hash(text.as_bytes());
    Ok(hash.as_bytes().iter().take(8).fold(0, |salt, byte| salt << 8 | u64::from(*byte)))
}

fn refuse_unsupported(fields: &Fields<'_>) -> Result<(), ApiError> {
    for (name, harmless) in UNSUPPORTED {
        if let Some(value) = fields.get(name)
            && !harmless(value)
        {
            return Err(ApiError::invalid(name, format!("{name} = {value} is not supported")));
        }
    }
    let known = |name: &str| KNOWN.contains(&name) || UNSUPPORTED.iter().any(|(other, _)| *other == name);
    for name in fields.0.keys().filter(|name| !known(name)) {
        note_unknown(name);
    }
    Ok(())
}

/// Names an unknown parameter in the log, each once, and not without end.
fn note_unknown(name: &str) {
    use std::collections::BTreeSet;
    use std::sync::Mutex;
    static SEEN: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());
    let mut seen = SEEN.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    if seen.len() < 100 && seen.insert(name.to_owned()) {
        super::notice::tell(&super::notice::Notice::UnknownParameter(name.to_owned()));
    }
}

fn logprobs(endpoint: Endpoint, fields: &Fields<'_>) -> Result<(bool, u32), ApiError> {
    match endpoint {
        Endpoint::Completions => {
            let count = fields.integer("logprobs", 0, 20)?;
            Ok((count.is_some(), count.unwrap_or(0) as u32))
        }
        Endpoint::Chat => {
            let listed = fields.flag("logprobs")?;
            let count = fields.integer("top_logprobs", 0, 20)?;
            if count.is_some() && !listed {
                return Err(ApiError::invalid("top_logprobs", "top_logprobs needs logprobs to be true"));
            }
            Ok((listed, count.unwrap_or(0) as u32))
        }
    }
}

fn sampling(
    fields: &Fields<'_>,
    model: &ServedModel,
    top_logprobs: u32,
) -> Result<(SamplingParams, u64), ApiError> {
    let defaults = model.loaded.generation();
    let seed = match fields.integer("seed", i64::MIN, i64::MAX)? {
        Some(seed) => seed as u64,
        None => super::draw_seed().map_err(|error| ApiError::server(500, error))?,
    };
    // −1 is how some clients write "off".
    let top_k = fields.integer("top_k", -1, i64::from(u32::MAX))?.map(|k| k.max(0) as u32);
    let params = SamplingParams {
        temperature: fields.float("temperature")?.or(defaults.temperature).unwrap_or(1.0),
        top_k: top_k.or(defaults.top_k).unwrap_or(0),
        top_p: fields.float("top_p")?.or(defaults.top_p).unwrap_or(1.0),
        min_p: fields.float("min_p")?.unwrap_or(0.0),
        repetition_penalty: fields.float("repetition_penalty")?.unwrap_or(1.0),
        presence_penalty: fields.float("presence_penalty")?.unwrap_or(0.0),
        frequency_penalty: fields.float("frequency_penalty")?.unwrap_or(0.0),
        seed,
        top_logprobs,
    };
    params.check().map_err(|error| ApiError::invalid(error.name, error.to_string()))?;
    Ok((params, seed))
}

fn logit_bias(fields: &Fields<'_>) -> Result<Vec<(u32, f32)>, ApiError> {
    let wrong = |found: &dyn std::fmt::Display| {
        let message = format!("logit_bias must map token ids to numbers between -100 and 100, found {found}");
        ApiError::invalid("logit_bias", message)
    };
    let Some(value) = fields.get("logit_bias") else { return Ok(Vec::new()) };
    let map = value.as_object().ok_or_else(|| wrong(value))?;
    map.iter()
        .map(|(id, bias)| {
            let token = id.parse::<u32>().map_err(|_| wrong(id))?;
            let amount = bias.as_f64().filter(|x| (-100.0..=100.0).contains(x)).ok_or_else(|| wrong(bias))?;
            Ok((token, amount as f32))
        })
        .collect()
}

fn stop(fields: &Fields<'_>) -> Result<Vec<String>, ApiError> {
    let wrong = || {
        ApiError::invalid("stop", "stop must be a string or a list of up to 16 strings, none of them empty")
    };
    let stops: Vec<String> = match fields.get("stop") {
        None => Vec::new(),
        Some(Value::String(stop)) => vec![stop.clone()],
        Some(Value::Array(list)) => {
            let text = |value: &Value| value.as_str().map(str::to_owned).ok_or_else(wrong);
            list.iter().map(text).collect::<Result<_, _>>()?
        }
        Some(_) => return Err(wrong()),
    };
    if stops.len() > 16 || stops.iter().any(String::is_empty) { Err(wrong()) } else { Ok(stops) }
}

/// Token ids.
type Prompt = Vec<u32>;

fn prompts(fields: &Fields<'_>, model: &ServedModel) -> Result<Vec<Prompt>, ApiError> {
    let wrong =
        || ApiError::invalid("prompt", "prompt must be a string, a list of token ids, or a list of either");
    let text = |text: &str| -> Result<Prompt, ApiError> {
        let ids = model
            .tokenizer
            .encode(text, true)
            .map_err(|error| ApiError::invalid("prompt", error.to_string()))?;
        if ids.is_empty() {
            return Err(ApiError::invalid("prompt", "the prompt is empty"));
        }
        Ok(ids)
    };
    let ids = |list: &[Value]| -> Result<Prompt, ApiError> {
        let id = |value: &Value| value.as_u64().and_then(|id| u32::try_from(id).ok()).ok_or_else(wrong);
        let ids = list.iter().map(id).collect::<Result<Vec<u32>, _>>()?;
        if ids.is_empty() { Err(ApiError::invalid("prompt", "the prompt is empty")) } else { Ok(ids) }
    };
    match fields.get("prompt") {
        None => Err(ApiError::invalid("prompt", "prompt is missing")),
        Some(Value::String(prompt)) => Ok(vec![text(prompt)?]),
        Some(Value::Array(list)) => match list.first() {
            None => Err(ApiError::invalid("prompt", "the prompt is empty")),
            Some(Value::Number(_)) => Ok(vec![ids(list)?]),
            Some(_) => list
                .iter()
                .map(|value| match value {
                    Value::String(prompt) => text(prompt),
                    Value::Array(list) => ids(list),
                    _ => Err(wrong()),
                })
                .collect(),
        },
        Some(_) => Err(wrong()),
    }
}

fn conversation(fields: &Fields<'_>, model: &ServedModel) -> Result<Prompt, ApiError> {
    let template = model
        .template
        .as_ref()
        .ok_or_else(|| ApiError::invalid("messages", TextError::NoTemplate.to_string()))?;
    let list = fields.get("messages").ok_or_else(|| ApiError::invalid("messages", "messages is missing"))?;
    let list = list.as_array().filter(|list| !list.is_empty());
    let list =
        list.ok_or_else(|| ApiError::invalid("messages", "messages must be a list of at least one"))?;
    let messages = list
        .iter()
        .enumerate()
        .map(|(i, message)| {
            self::message(message, model)
                .map_err(|problem| ApiError::invalid("messages", format!("messages[{i}]: {problem}")))
        })
        .collect::<Result<Vec<_>, _>>()?;
    let input = TemplateInput {
        messages,
        add_generation_prompt: true,
        variables: super::special_tokens(&model.tokenizer),
        ..TemplateInput::default()
    };
    let wrong = |error: TextError| ApiError::invalid("messages", error.to_string());
    let rendered = template.render(&input).map_err(wrong)?;
    let ids = model.tokenizer.encode_chat(&rendered).map_err(wrong)?;
    if ids.is_empty() {
        return Err(ApiError::invalid("messages", "the rendered prompt is empty"));
    }
    Ok(ids)
}

fn message(message: &Value, model: &ServedModel) -> Result<Value, String> {
    let mut map = message.as_object().ok_or("expected an object")?.clone();
    let role = map.get("role").and_then(Value::as_str).ok_or("role must be a string")?;
    let role = match role {
        // Models know no developers; they stand where the system does.
        "developer" => "system",
        "system" | "user" | "assistant" | "tool" | "function" => role,
        other => return Err(format!("the role {other:?} is not known")),
    };
    let role = Value::String(role.to_owned());
    let content = match map.get("content") {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(text)) => text.clone(),
        Some(Value::Array(parts)) => {
            let part = |part: &Value| match part.get("type").and_then(Value::as_str) {
                Some("text") => {
                    part.get("text").and_then(Value::as_str).map(str::to_owned).ok_or("a part without text")
                }
                _ => Err("only parts of type text are supported"),
            };
            parts.iter().map(part).collect::<Result<Vec<_>, _>>()?.concat()
        }
        Some(_) => return Err("content must be a string or a list of parts".to_owned()),
    };
    map.insert("role".to_owned(), role);
    map.insert("content".to_owned(), Value::String(model.tokenizer.guard(&content)));
    Ok(Value::Object(map))
}
