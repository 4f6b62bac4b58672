//! `POST /v1/completions`: prompts of text or token ids, and streams that are resumed.
use super::answer;
use super::dialect::{ChoiceText, Dialect, Labels, ListedToken, TokenTexts, number};
use super::fields::Fields;
use super::limits::{Reading, RequestBounds};
use super::params::{self, Common, ParsedBody, TOP_LOGPROBS_MAX};
use crate::runtime::ServedModel;
use crate::serve::error::ApiError;
use crate::serve::exchange::Exchange;
use crate::text::quote::quote;
use serde_json::{Map, Value, json};

/// Output tokens of a request that does not limit them, as in OpenAI's API.
const DEFAULT_MAX_TOKENS: usize = 16;

/// The dialect of this endpoint.
#[derive(Clone, Copy, Debug)]
pub struct Completions;

/// Generates and answers, whole or as events.
pub fn handle(exchange: &mut Exchange<'_>) -> Result<(), ApiError> {
    answer::generate(&Completions, exchange)
}

impl Dialect for Completions {
    fn parse(&self, fields: &Fields<'_>, reading: Reading<'_>) -> Result<ParsedBody, ApiError> {
        let Reading { model, bounds } = reading;
        params::check_model(fields, model)?;
        let streaming = params::streaming(fields)?;
        let top_logprobs = fields.integer("logprobs", 0, TOP_LOGPROBS_MAX)?;
        let sampling = params::sampling(fields, reading, top_logprobs.unwrap_or(0) as u32)?;
        let seed = sampling.seed();
        let choices = params::choices(fields, reading, prompt_count(fields, bounds)?)?;
        let resume = Resume::read(fields, choices)?;
        let common = Common { sampling, choices, limits: params::limits(fields)? };
        let (token_ids, stop) = (fields.flag("return_token_ids")?, params::stop(fields, bounds)?);
        let prompts = prompts(fields, model)?;
        let mut requests = Vec::with_capacity(prompts.len());
        for mut prompt in prompts {
            let generated = match &resume {
                Some(resume) => resume.split(&mut prompt)?,
                None => Vec::new(),
            };
            let mut request = common.request(prompt, model, "prompt", DEFAULT_MAX_TOKENS)?;
            if generated.len() > request.max_tokens {
                let message = format!(
                    "resume: {} tokens were generated, but at most {} are asked for",
                    generated.len(),
                    request.max_tokens
                );
                return Err(ApiError::invalid("resume", message));
            }
            request.generated = generated;
            request.first_choice = resume.as_ref().map_or(0, |resume| resume.choice);
            requests.push(request);
        }
        Ok(ParsedBody { requests, seed, streaming, logprobs: top_logprobs.is_some(), token_ids, stop })
    }

    fn labels(&self) -> Labels {
        Labels { id_prefix: "cmpl", object: "text_completion", chunk_object: "text_completion" }
    }

    fn logprobs(&self, texts: TokenTexts<'_>, tokens: &[ListedToken<'_>], offset: &mut usize) -> Value {
        let mut offsets = Vec::new();
        let mut tops = Vec::new();
        for ListedToken { token, top } in tokens {
            offsets.push(*offset);
            *offset += texts.char_count(token.token);
            let mut map = Map::new();
            // The token that was drawn is listed even where it is not among the likeliest.
            for at in top.iter().chain([token]) {
                map.entry(texts.text(at.token)).or_insert_with(|| number(at.logprob));
            }
            tops.push(if top.is_empty() { Value::Null } else { Value::Object(map) });
        }
        json!({
            "tokens": tokens.iter().map(|at| texts.text(at.token.token)).collect::<Vec<_>>(),
            "token_logprobs": tokens.iter().map(|at| number(at.token.logprob)).collect::<Vec<_>>(),
            "top_logprobs": tops,
            "text_offset": offsets,
        })
    }

    fn whole_choice(&self, choice: ChoiceText<'_>) -> Value {
        let ChoiceText { index, text, logprobs, finish_reason } = choice;
        let text = text.unwrap_or_default();
        json!({"index": index, "text": text, "logprobs": logprobs, "finish_reason": finish_reason})
    }

    fn opening(&self, _index: usize) -> Option<Value> {
        None
    }

    fn chunk_choice(&self, choice: ChoiceText<'_>) -> Value {
        self.whole_choice(choice)
    }
}

/// Where a stream that another engine began is resumed.
#[derive(Clone, Copy, Debug)]
struct Resume {
    /// Ids of the prompt; those after them were generated.
    prompt_tokens: usize,
    /// The number that the choice had.
    choice: u32,
}

impl Resume {
    /// Reads `resume`, an object with `prompt_tokens` and perhaps `choice`.
    fn read(fields: &Fields<'_>, choices: u32) -> Result<Option<Self>, ApiError> {
        let wrong = |message: &str| Err(params::resume_error(message));
        let Some(value) = fields.get("resume") else { return Ok(None) };
        let ids = fields.get("prompt").and_then(Value::as_array);
        if !ids.is_some_and(|ids| ids.iter().all(Value::is_number)) {
            return Err(params::resume_needs_ids());
        }
        if choices != 1 {
            return wrong("goes on with one choice: n must be 1, and resume.choice may say which it was");
        }
        let Some(map) = value.as_object() else { return wrong("must be an object with prompt_tokens") };
        if let Some(name) = map.keys().find(|name| !matches!(name.as_str(), "prompt_tokens" | "choice")) {
            return wrong(&format!("has an unknown field {}; expected prompt_tokens, choice", quote(name)));
        }
        let inner = |error: ApiError| ApiError::invalid("resume", format!("resume: {}", error.message));
        let fields = Fields::new(map);
        let prompt_tokens = fields.integer("prompt_tokens", 1, i64::from(u32::MAX)).map_err(inner)?;
        let Some(prompt_tokens) = prompt_tokens else { return wrong("must be an object with prompt_tokens") };
        let choice = fields.integer("choice", 0, i64::from(u32::MAX)).map_err(inner)?.unwrap_or(0) as u32;
        Ok(Some(Self { prompt_tokens: prompt_tokens as usize, choice }))
    }

    /// Cuts what was generated off the ids, and returns it.
    fn split(self, ids: &mut Vec<u32>) -> Result<Vec<u32>, ApiError> {
        if self.prompt_tokens > ids.len() {
            let message =
                format!("resume: prompt_tokens is {}, but there are {} ids", self.prompt_tokens, ids.len());
            return Err(ApiError::invalid("resume", message));
        }
        Ok(ids.split_off(self.prompt_tokens))
    }
}

/// How many prompts there are, before any is read.
fn prompt_count(fields: &Fields<'_>, bounds: &RequestBounds) -> Result<usize, ApiError> {
    match fields.get("prompt") {
        None => Err(ApiError::invalid("prompt", "prompt is missing")),
        Some(Value::Array(list)) if matches!(list.first(), Some(Value::String(_) | Value::Array(_))) => {
            bounds.prompts.check("prompt", ("prompt has", list.len(), "prompts"))?;
            Ok(list.len())
        }
        Some(_) => Ok(1),
    }
}

/// The ids of each prompt, none of them empty.
fn prompts(fields: &Fields<'_>, model: &ServedModel) -> Result<Vec<Vec<u32>>, ApiError> {
    match fields.get("prompt") {
        None => Err(ApiError::invalid("prompt", "prompt is missing")),
        Some(Value::String(text)) => Ok(vec![text_prompt(text, model)?]),
        Some(Value::Array(list)) => match list.first() {
            None => Err(empty_prompt()),
            Some(Value::Number(_)) => Ok(vec![id_prompt(list, model)?]),
            Some(_) => list
                .iter()
                .map(|value| match value {
                    Value::String(text) => text_prompt(text, model),
                    Value::Array(list) => id_prompt(list, model),
                    _ => Err(wrong_prompt()),
                })
                .collect(),
        },
        Some(_) => Err(wrong_prompt()),
    }
}

/// The ids of a prompt of text, which is not empty.
pub(super) fn text_prompt(text: &str, model: &ServedModel) -> Result<Vec<u32>, ApiError> {
    params::check_text_fits(text, model, "prompt")?;
    let ids = model.tokenizer.encode(text, true);
    let ids = ids.map_err(|error| ApiError::text("prompt", &error))?;
    if ids.is_empty() { Err(empty_prompt()) } else { Ok(ids) }
}

fn id_prompt(list: &[Value], model: &ServedModel) -> Result<Vec<u32>, ApiError> {
    params::check_ids_fit(list, model, "prompt")?;
    let id = |value: &Value| value.as_u64().and_then(|id| u32::try_from(id).ok()).ok_or_else(wrong_prompt);
    let ids = list.iter().map(id).collect::<Result<Vec<u32>, _>>()?;
    if ids.is_empty() { Err(empty_prompt()) } else { Ok(ids) }
}

fn wrong_prompt() -> ApiError {
    ApiError::invalid("prompt", "prompt must be a string, a list of token ids, or a list of either")
}

fn empty_prompt() -> ApiError {
    ApiError::invalid("prompt", "the prompt is empty")
}
