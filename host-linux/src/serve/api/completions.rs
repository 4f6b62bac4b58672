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
use super::resume::{self, Resume};
use super::runs::{Plan, Run};
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
        let given = resume::prompts(fields, reading)?;
        let prompt_count = prompt_count(fields, given.as_deref(), reading.bounds)?;
        let asked = Asked::read(fields, reading, top_logprobs, prompt_count)?;
        let constraint = constraint(fields, reading)?;
        let choices = asked.choices();
        let mut resume = Resume::of_prompts(fields, (prompt_count, choices), reading.model)?;
        // Ids that are given may be what was left of a text that was cut.
        let may_be_rest = given.is_some() && asked.truncates();
        let prompts = match given {
            Some(given) => with_texts(given, fields.get("prompt")),
            None => prompts(fields, reading.model, asked.truncates())?,
        };
        let (mut plan, mut texts) = (Plan::default(), Vec::new());
        for (number, mut prompt) in prompts.into_iter().enumerate() {
            let runs = match &mut resume {
                Some(resume) => resume.take_runs(number, choices, &mut prompt.ids)?,
                None => vec![Run::all(choices)],
            };
            let length = prompt.ids.len();
            let mut request = asked.request(prompt.ids, "prompt", DEFAULT_MAX_TOKENS)?;
            request.constraint.clone_from(&constraint);
            if asked.shown.echo {
                let is_whole = |text: &str| {
                    request.prompt.len() == length
                        && (!may_be_rest || is_all_of(text, &request.prompt, reading.model))
                };
                texts.push(echo(prompt.text.filter(|text| is_whole(text)), &request, reading.model)?);
            }
            asked.plan(&mut plan, &request, runs)?;
        }
        let echo = asked.shown.echo.then_some(texts);
        Ok(asked.body(plan, resume.is_some(), echo, true))
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

/// How many prompts there are, before any is read but those whose ids are `given`.
fn prompt_count(
    fields: &Fields<'_>,
    given: Option<&[Vec<u32>]>,
    bounds: &RequestBounds,
) -> Result<usize, ApiError> {
    let count = match (fields.get("prompt"), given) {
        (None, None) => return Err(ApiError::invalid("prompt", "prompt is missing")),
        (None, Some(given)) => given.len(),
        (Some(Value::Array(list)), _) if matches!(list.first(), Some(Value::String(_) | Value::Array(_))) => {
            bounds.prompts.check("prompt", ("prompt has", list.len(), "prompts"))?;
            list.len()
        }
        (Some(_), _) => 1,
    };
    match given.map(<[_]>::len) {
        Some(given) if given != count => {
            let message = format!("resume has prompt_token_ids of {given} prompts, but prompt has {count}");
            Err(ApiError::invalid("resume", message))
        }
        _ => Ok(count),
    }
}

/// Prompts whose ids are given, with the texts that the body has for them all the same.
fn with_texts(given: Vec<Vec<u32>>, prompt: Option<&Value>) -> Vec<Prompt<'_>> {
    let texts = prompt.map_or(&[][..], |prompt| match prompt {
        Value::Array(list) => list,
        one => std::slice::from_ref(one),
    });
    let texts = texts.iter().map(Value::as_str).chain(std::iter::repeat(None));
    given.into_iter().zip(texts).map(|(ids, text)| Prompt { ids, text }).collect()
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

/// Whether ids are those of all of a text.
fn is_all_of(text: &str, ids: &[u32], model: &ServedModel) -> bool {
    text_prompt(text, model, true).is_ok_and(|whole| whole == ids)
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
