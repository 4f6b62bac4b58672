//! `POST /v1/completions`: prompts of text or token ids, and streams that are resumed.
mod writer;

use super::answer;
use super::answer::writer::{AnswerWriter, Head};
use super::asked::Asked;
use super::constraint::constraint;
use super::dialect::Dialect;
use super::fields::Fields;
use super::limits::{Reading, RequestBounds};
use super::parameters::{COMPLETIONS, Endpoints};
use super::params::{self, ParsedBody, TOP_LOGPROBS_MAX};
use super::resume::Resume;
use crate::runtime::{OwnedRequest, ServedModel};
use crate::serve::error::ApiError;
use crate::serve::exchange::Exchange;
use serde_json::Value;
use writer::Writer;

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
    fn endpoint(&self) -> Endpoints {
        COMPLETIONS
    }

    fn parse(&self, fields: &Fields<'_>, reading: Reading<'_>) -> Result<ParsedBody, ApiError> {
        params::check_model(fields, reading.model)?;
        let top_logprobs = fields.integer("logprobs", 0, TOP_LOGPROBS_MAX)?.map(|count| count as u32);
        let prompt_count = prompt_count(fields, reading.bounds)?;
        let asked = Asked::read(fields, reading, top_logprobs, prompt_count)?;
        let constraint = constraint(fields, reading)?;
        let resume = Resume::of_prompt(fields, asked.choices())?;
        let (mut requests, mut texts) = (Vec::new(), Vec::new());
        for prompt in prompts(fields, reading.model, asked.truncates())? {
            let length = prompt.ids.len();
            let mut request = asked.request(prompt.ids, resume, "prompt", DEFAULT_MAX_TOKENS)?;
            request.constraint.clone_from(&constraint);
            if asked.shown.echo {
                let is_whole = request.prompt.len() == length;
                texts.push(echo(prompt.text.filter(|_| is_whole), &request, reading.model)?);
            }
            requests.push(request);
        }
        let echo = asked.shown.echo.then_some(texts);
        Ok(asked.body(requests, echo, true))
    }

    fn id_prefix(&self) -> &'static str {
        "cmpl-"
    }

    fn writer<'a>(&self, head: Head<'a>) -> Box<dyn AnswerWriter + 'a> {
        Box::new(Writer::new(head))
    }
}

/// A prompt that was read.
struct Prompt<'v> {
    /// Its ids, at least one.
    ids: Vec<u32>,
    /// The text that it was given as, if it was.
    text: Option<&'v str>,
}

/// The text of a prompt, as an answer repeats it: as it was given, or else as its ids say it.
fn echo(text: Option<&str>, request: &OwnedRequest, model: &ServedModel) -> Result<String, ApiError> {
    match text {
        Some(text) => Ok(text.to_owned()),
        None => {
            let text = model.tokenizer.decode(&request.prompt, true);
            text.map_err(|error| ApiError::text("prompt", &error))
        }
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

/// Each prompt, none of them empty. Where they will be cut they may be longer than the context.
fn prompts<'v>(fields: &Fields<'v>, model: &ServedModel, is_cut: bool) -> Result<Vec<Prompt<'v>>, ApiError> {
    let of_text = |text: &'v str| {
        let ids = text_prompt(text, model, is_cut)?;
        Ok(Prompt { ids, text: Some(text) })
    };
    let of_ids = |list: &[Value]| Ok(Prompt { ids: id_prompt(list, model, is_cut)?, text: None });
    match fields.get("prompt") {
        None => Err(ApiError::invalid("prompt", "prompt is missing")),
        Some(Value::String(text)) => Ok(vec![of_text(text)?]),
        Some(Value::Array(list)) => match list.first() {
            None => Err(empty_prompt()),
            Some(Value::Number(_)) => Ok(vec![of_ids(list)?]),
            Some(_) => list
                .iter()
                .map(|value| match value {
                    Value::String(text) => of_text(text),
                    Value::Array(list) => of_ids(list),
                    _ => Err(wrong_prompt()),
                })
                .collect(),
        },
        Some(_) => Err(wrong_prompt()),
    }
}

/// The ids of a prompt of text, which is not empty.
fn text_prompt(text: &str, model: &ServedModel, is_cut: bool) -> Result<Vec<u32>, ApiError> {
    if !is_cut {
        params::check_text_fits(text, model, "prompt")?;
    }
    let ids = model.tokenizer.encode(text, true);
    let ids = ids.map_err(|error| ApiError::text("prompt", &error))?;
    if ids.is_empty() { Err(empty_prompt()) } else { Ok(ids) }
}

fn id_prompt(list: &[Value], model: &ServedModel, is_cut: bool) -> Result<Vec<u32>, ApiError> {
    if !is_cut {
        params::check_ids_fit(list, model, "prompt")?;
    }
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
