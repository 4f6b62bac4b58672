//! Parameters that generating endpoints share, and the engine's requests that they make.
//!
//! The functions are called in the order of this file. A body with several faults is answered with
//! the first one in that order, so the order is part of what a client sees.
use super::fields::Fields;
use crate::runtime::{OwnedRequest, ServedModel};
use crate::serve::error::ApiError;
use crate::serve::server::draw_seed;
use serde_json::Value;
use verbatim_core::sampling::SamplingParams;

/// Alternatives that may be listed for a token.
pub const TOP_LOGPROBS_MAX: i64 = 20;
/// Choices that a request may have, if the engine has as many slots.
const CHOICES_MAX: usize = 128;
/// Stop strings of a request.
const STOP_STRINGS_MAX: usize = 16;

/// A body that was read: what the engine is to generate, and how the answer shows it.
#[derive(Clone, Debug)]
pub struct ParsedBody {
    /// One request for each prompt, each with the same number of choices.
    pub requests: Vec<OwnedRequest>,
    /// The seed in use, given or drawn.
    pub seed: u64,
    /// Whether and how events are streamed.
    pub streaming: Streaming,
    /// Whether logprobs are listed.
    pub logprobs: bool,
    /// Whether token ids are listed.
    pub token_ids: bool,
    /// Strings that end the output.
    pub stop: Vec<String>,
}

/// Checks that `model`, if it is given, is the name of the model that is served.
pub fn check_model(fields: &Fields<'_>, model: &ServedModel) -> Result<(), ApiError> {
    let Some(name) = fields.get("model") else { return Ok(()) };
    let name = name.as_str().ok_or_else(|| ApiError::invalid("model", "model must be a string"))?;
    if name == model.name {
        return Ok(());
    }
    let message = format!("the model {name} does not exist; {} is served", model.name);
    Err(ApiError { status: 404, code: Some("model_not_found"), ..ApiError::invalid("model", message) })
}

/// How an answer is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Streaming {
    /// As events, rather than in one body.
    pub stream: bool,
    /// The last event tells the usage.
    pub include_usage: bool,
}

/// Reads `stream` and `stream_options`.
pub fn streaming(fields: &Fields<'_>) -> Result<Streaming, ApiError> {
    let wrong = |message: &str| Err(ApiError::invalid("stream_options", message));
    let stream = fields.flag("stream")?;
    let include_usage = match fields.get("stream_options") {
        None => false,
        Some(_) if !stream => return wrong("stream_options needs stream to be true"),
        Some(Value::Object(options)) => Fields::new(options).flag("include_usage")?,
        Some(_) => return wrong("stream_options must be an object"),
    };
    Ok(Streaming { stream, include_usage })
}

/// How tokens are drawn, and which end the output.
#[derive(Clone, Debug)]
pub struct Sampling {
    params: SamplingParams,
    logit_bias: Vec<(u32, f32)>,
    stop_ids: Vec<u32>,
}

impl Sampling {
    /// The seed in use.
    pub fn seed(&self) -> u64 {
        self.params.seed
    }
}

/// Reads the sampling parameters. Those that are absent are the model's own defaults or off; an
/// absent seed is drawn.
pub fn sampling(fields: &Fields<'_>, model: &ServedModel, top_logprobs: u32) -> Result<Sampling, ApiError> {
    let defaults = model.loaded.generation();
    let seed = match fields.integer("seed", i64::MIN, i64::MAX)? {
        Some(seed) => seed as u64,
        None => draw_seed().map_err(|error| ApiError::server(500, error))?,
    };
    // Some clients write "off" as −1.
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
    let logit_bias = logit_bias(fields)?;
    let stop_ids = if fields.flag("ignore_eos")? { Vec::new() } else { defaults.eos_ids.clone() };
    Ok(Sampling { params, logit_bias, stop_ids })
}

/// Pairs of a token's id and what is added to its logit.
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

/// Reads `n`, the choices of each prompt. All choices of a body must fit the engine's slots.
pub fn choices(fields: &Fields<'_>, model: &ServedModel, prompt_count: usize) -> Result<u32, ApiError> {
    let slots = model.limits.slots();
    let choices = fields.integer("n", 1, slots.min(CHOICES_MAX) as i64)?.unwrap_or(1) as u32;
    if prompt_count * choices as usize > slots {
        let message = format!(
            "{prompt_count} prompts of {choices} choices are asked for, but the server takes {slots} sequences at most"
        );
        return Err(ApiError::invalid("prompt", message));
    }
    Ok(choices)
}

/// An error of the parameter `resume`. Completions take it; chat refuses it, because it needs a
/// prompt of ids.
pub fn resume_error(message: &str) -> ApiError {
    ApiError::invalid("resume", format!("resume {message}"))
}

/// The error for a `resume` without the prompt that it needs.
pub fn resume_needs_ids() -> ApiError {
    resume_error("needs a prompt that is a list of token ids, at /v1/completions")
}

/// When a request is scheduled, and how long its output may be.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// The engine's priority: greater is sooner.
    priority: i8,
    /// Prefixes are shared among requests with the same salt; 0 is that of requests without one.
    cache_salt: u64,
    /// Output tokens before which the output does not end.
    min_tokens: usize,
    /// Output tokens, if the body limits them.
    max_tokens: Option<usize>,
}

/// Reads `priority`, `cache_salt`, `min_tokens`, and `max_completion_tokens` or else `max_tokens`.
pub fn limits(fields: &Fields<'_>) -> Result<Limits, ApiError> {
    // In a body, as in vLLM, a lower priority is sooner; in the engine a greater one is.
    let priority = -fields.integer("priority", -127, 127)?.unwrap_or(0) as i8;
    let cache_salt = cache_salt(fields)?;
    let min_tokens = fields.integer("min_tokens", 0, i64::from(u32::MAX))?.unwrap_or(0) as usize;
    let max_tokens = match fields.integer("max_completion_tokens", 1, i64::MAX)? {
        Some(tokens) => Some(tokens),
        None => fields.integer("max_tokens", 1, i64::MAX)?,
    };
    let max_tokens = max_tokens.map(|tokens| usize::try_from(tokens).unwrap_or(usize::MAX));
    Ok(Limits { priority, cache_salt, min_tokens, max_tokens })
}

/// The first eight bytes of the hash of `cache_salt`; 0 without it.
fn cache_salt(fields: &Fields<'_>) -> Result<u64, ApiError> {
    let Some(value) = fields.get("cache_salt") else { return Ok(0) };
    let text = value.as_str().filter(|text| !text.is_empty());
    let text = text.ok_or_else(|| {
        let message = format!("cache_salt must be a string that is not empty, found {value}");
        ApiError::invalid("cache_salt", message)
    })?;
    let hash = blake3::hash(text.as_bytes());
    Ok(hash.as_bytes().iter().take(8).fold(0, |salt, byte| salt << 8 | u64::from(*byte)))
}

/// What all requests of a body share.
#[derive(Clone, Debug)]
pub struct Common {
    /// How tokens are drawn.
    pub sampling: Sampling,
    /// Choices of each prompt.
    pub choices: u32,
    /// The parameters of scheduling, and lengths.
    pub limits: Limits,
}

impl Common {
    /// The request for one prompt of ids.
    ///
    /// `field` names the parameter that the prompt came from, for an error that it does not fit the
    /// context. The output is cut to what the context has room for; a body that does not limit it
    /// gets `default_max_tokens`.
    pub fn request(
        &self,
        prompt: Vec<u32>,
        model: &ServedModel,
        field: &str,
        default_max_tokens: usize,
    ) -> Result<OwnedRequest, ApiError> {
        let context = model.limits.model_len;
        let room = context.saturating_sub(prompt.len());
        if room == 0 {
            let message = format!(
                "this model's maximum context length is {context} tokens, but the prompt has {} tokens",
                prompt.len()
            );
            let code = Some("context_length_exceeded");
            return Err(ApiError { code, ..ApiError::invalid(field, message) });
        }
        let limits = &self.limits;
        let max_tokens = limits.max_tokens.unwrap_or(default_max_tokens).min(room);
        Ok(OwnedRequest {
            choices: self.choices,
            logit_bias: self.sampling.logit_bias.clone(),
            stop_ids: self.sampling.stop_ids.clone(),
            min_tokens: limits.min_tokens,
            priority: limits.priority,
            cache_salt: limits.cache_salt,
            ..OwnedRequest::new(prompt, self.sampling.params, max_tokens)
        })
    }
}

/// Reads `stop`, the strings that end the output.
pub fn stop(fields: &Fields<'_>) -> Result<Vec<String>, ApiError> {
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
    let is_wrong = stops.len() > STOP_STRINGS_MAX || stops.iter().any(String::is_empty);
    if is_wrong { Err(wrong()) } else { Ok(stops) }
}
