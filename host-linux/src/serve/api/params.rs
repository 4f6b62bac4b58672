//! Parameters that generating endpoints share, and the engine's requests that they make.
//!
//! The functions are called in the order of this file, prompts last, since all else costs less to
//! check. A body with several faults is answered with the first one in that order, so the order is
//! part of what a client sees.
pub use super::answer::parsed::{ParsedBody, Streaming};
use super::fields::Fields;
use super::limits::{Reading, RequestBounds};
use crate::runtime::{CHOICES_MAX, OwnedRequest, ServedModel};
use crate::serve::error::ApiError;
use crate::serve::server::draw_seed;
use crate::text::quote::{quote, quote_value};
use serde_json::Value;
use std::fmt::Display;
use std::time::Duration;
use verbatim_core::sampling::SamplingParams;

/// Alternatives that may be listed for a token.
pub const TOP_LOGPROBS_MAX: i64 = 20;

/// Milliseconds for which events may be held, at most.
const INTERVAL_MS_MAX: i64 = 10_000;

/// Checks that `model`, if it is given, is a name of the model that is served.
pub fn check_model(fields: &Fields<'_>, model: &ServedModel) -> Result<(), ApiError> {
    let Some(name) = fields.get("model") else { return Ok(()) };
    let name = name.as_str().ok_or_else(|| ApiError::invalid("model", "model must be a string"))?;
    if model.answers_to(name) { Ok(()) } else { Err(unknown_model(name, model)) }
}

/// The error for a name under which nothing is served.
pub fn unknown_model(name: &str, model: &ServedModel) -> ApiError {
    let message = format!("the model {} does not exist; {} is served", quote(name), model.name);
    ApiError { status: 404, code: Some("model_not_found"), ..ApiError::invalid("model", message) }
}

/// Reads `stream` and `stream_options`.
pub fn streaming(fields: &Fields<'_>) -> Result<Streaming, ApiError> {
    let wrong = |message: &str| Err(ApiError::invalid("stream_options", message));
    let stream = fields.flag("stream")?;
    let (include_usage, continuous_usage, interval_ms) = match fields.get("stream_options") {
        None => (false, false, 0),
        Some(_) if !stream => return wrong("stream_options needs stream to be true"),
        Some(Value::Object(options)) => {
            let options = Fields::new(options);
            let interval_ms = options.integer("interval_ms", 0, INTERVAL_MS_MAX)?;
            let (usage, continuous) =
                (options.flag("include_usage")?, options.flag("continuous_usage_stats")?);
            (usage, continuous, interval_ms.unwrap_or(0) as u64)
        }
        Some(_) => return wrong("stream_options must be an object"),
    };
    Ok(Streaming {
        stream,
        include_usage,
        continuous_usage: include_usage && continuous_usage,
        interval: Duration::from_millis(interval_ms),
    })
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
pub fn sampling(fields: &Fields<'_>, reading: Reading<'_>, top_logprobs: u32) -> Result<Sampling, ApiError> {
    let defaults = reading.model.loaded.generation();
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
    let logit_bias = logit_bias(fields, reading.bounds)?;
    let stop_ids = if fields.flag("ignore_eos")? { Vec::new() } else { defaults.eos_ids.clone() };
    Ok(Sampling { params, logit_bias, stop_ids })
}

/// Pairs of a token's id and what is added to its logit.
fn logit_bias(fields: &Fields<'_>, bounds: &RequestBounds) -> Result<Vec<(u32, f32)>, ApiError> {
    let wrong = |found: &dyn Display| {
        let expected = "logit_bias must map token ids to numbers between -100 and 100";
        ApiError::invalid("logit_bias", format!("{expected}, found {}", quote_value(found)))
    };
    let Some(value) = fields.get("logit_bias") else { return Ok(Vec::new()) };
    let map = value.as_object().ok_or_else(|| wrong(value))?;
    bounds.logit_bias.check("logit_bias", ("logit_bias has", map.len(), "entries"))?;
    map.iter()
        .map(|(id, bias)| {
            let token = id.parse::<u32>().map_err(|_| wrong(id))?;
            let amount = bias.as_f64().filter(|x| (-100.0..=100.0).contains(x)).ok_or_else(|| wrong(bias))?;
            Ok((token, amount as f32))
        })
        .collect()
}

/// Reads `n`, the choices of each prompt. Those for which the engine has no place wait for it.
pub fn choices(fields: &Fields<'_>, reading: Reading<'_>, prompt_count: usize) -> Result<u32, ApiError> {
    let choices = fields.integer("n", 1, reading.bounds.choices.max as i64);
    let of_budget = |error| ApiError { budget: Some(reading.bounds.choices.name), ..error };
    let choices = choices.map_err(of_budget)?.unwrap_or(1) as u32;
    if prompt_count.saturating_mul(choices as usize) > CHOICES_MAX {
        let message = format!(
            "{prompt_count} prompts of {choices} choices are asked for, but at most {CHOICES_MAX} choices are taken"
        );
        return Err(ApiError::invalid("n", message));
    }
    Ok(choices)
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

impl Limits {
    /// Output tokens, if the body limits them.
    pub fn max_tokens(&self) -> Option<usize> {
        self.max_tokens
    }
}

/// Reads `priority`, `cache_salt`, `min_tokens`, and `max_completion_tokens` or else `max_tokens`.
pub fn limits(fields: &Fields<'_>) -> Result<Limits, ApiError> {
    // In a body, as in vLLM, a lower priority is sooner; in the engine a greater one is.
    let priority = -fields.integer("priority", -127, 127)?.unwrap_or(0) as i8;
    let cache_salt = cache_salt(fields)?;
    let min_tokens = fields.integer("min_tokens", 0, i64::from(u32::MAX))?.unwrap_or(0) as usize;
    let max_tokens = match fields.integer("max_completion_tokens", 0, i64::MAX)? {
        Some(tokens) => Some(tokens),
        None => fields.integer("max_tokens", 0, i64::MAX)?,
    };
    let max_tokens = max_tokens.map(|tokens| usize::try_from(tokens).unwrap_or(usize::MAX));
    Ok(Limits { priority, cache_salt, min_tokens, max_tokens })
}

/// The first eight bytes of the hash of `cache_salt`; 0 without it.
pub(super) fn cache_salt(fields: &Fields<'_>) -> Result<u64, ApiError> {
    let Some(value) = fields.get("cache_salt") else { return Ok(0) };
    let text = value.as_str().filter(|text| !text.is_empty());
    let text = text.ok_or_else(|| {
        let message = format!("cache_salt must be a string that is not empty, found {}", quote_value(value));
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
        // A prompt that is only computed may fill the context.
        let is_full = room == 0 && (self.limits.max_tokens != Some(0) || prompt.len() > context);
        if is_full {
            return Err(context_exceeded(field, model, prompt.len()));
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

/// The error for a prompt of so many tokens, for which the context has no room.
pub(super) fn context_exceeded(field: &str, model: &ServedModel, tokens: usize) -> ApiError {
    context_error(field, model, "", tokens)
}

/// As [`context_exceeded`]; `about` says how exact the count is.
fn context_error(field: &str, model: &ServedModel, about: &str, tokens: usize) -> ApiError {
    let context = model.limits.model_len;
    let found = format!("the prompt has {about}{tokens} tokens");
    let message = format!("this model's maximum context length is {context} tokens, but {found}");
    ApiError::context_exceeded(field, message, tokens, context)
}

/// Refuses text that cannot fit the context however it is tokenized, before it is tokenized. One
/// that may fill it is not refused here: a prompt that is only computed may.
pub fn check_text_fits(text: &str, model: &ServedModel, field: &str) -> Result<(), ApiError> {
    let least = model.tokenizer.tokens_min(text);
    if least <= model.limits.model_len {
        return Ok(());
    }
    Err(context_error(field, model, "at least ", least))
}

/// Refuses more ids than the context has room for, before they are copied. Those of an output that
/// is resumed may fill it.
pub fn check_ids_fit(ids: &[Value], model: &ServedModel, field: &str) -> Result<(), ApiError> {
    if ids.len() <= model.limits.model_len {
        return Ok(());
    }
    Err(context_exceeded(field, model, ids.len()))
}

/// Reads `stop`, the strings that end the output.
pub fn stop(fields: &Fields<'_>, bounds: &RequestBounds) -> Result<Vec<String>, ApiError> {
    let wrong = || {
        let max = bounds.stop_strings.max;
        let expected = format!("a string or a list of up to {max} strings, none of them empty");
        ApiError::invalid("stop", format!("stop must be {expected}"))
    };
    let list: &[Value] = match fields.get("stop") {
        None => &[],
        Some(Value::Array(list)) => list,
        Some(stop) => std::slice::from_ref(stop),
    };
    bounds.stop_strings.check("stop", ("stop has", list.len(), "strings"))?;
    let text = |value: &Value| {
        let text = value.as_str().filter(|text| !text.is_empty()).ok_or_else(wrong)?;
        bounds.stop_chars.check("stop", ("stop has a string of", text.chars().count(), "characters"))?;
        Ok(text.to_owned())
    };
    list.iter().map(text).collect()
}
