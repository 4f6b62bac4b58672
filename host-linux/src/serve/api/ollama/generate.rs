//! `POST /api/generate`: an answer to one prompt, through the model's template or without it.
use super::super::answer;
use super::super::answer::parsed::ParsedBody;
use super::super::answer::writer::{AnswerWriter, Head};
use super::super::chat::Chat;
use super::super::completions::Completions;
use super::super::dialect::Dialect;
use super::super::fields::Fields;
use super::super::limits::Reading;
use super::super::parameters::{Endpoints, OLLAMA_GENERATE};
use super::super::translation::wrong;
use super::output::{Lines, Shape};
use super::reading;
use crate::serve::error::ApiError;
use crate::serve::error_shape;
use crate::serve::events::Framing;
use crate::serve::exchange::Exchange;
use serde_json::{Value, json};

/// The dialect of this endpoint.
#[derive(Clone, Copy, Debug)]
pub struct OllamaGenerate;

/// Generates and answers, whole or in lines.
pub fn handle(exchange: &mut Exchange<'_>) -> Result<(), ApiError> {
    answer::generate(&OllamaGenerate, exchange)
}

/// A field that is text; one that is empty counts as absent.
fn text<'f>(fields: &Fields<'f>, name: &str) -> Result<Option<&'f str>, ApiError> {
    match fields.get(name) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.as_str()).filter(|text| !text.is_empty())),
        Some(found) => Err(wrong(name, name, "a string", found)),
    }
}

impl Dialect for OllamaGenerate {
    fn endpoint(&self) -> Endpoints {
        OLLAMA_GENERATE
    }

    fn parse(&self, fields: &Fields<'_>, reading: Reading<'_>) -> Result<ParsedBody, ApiError> {
        let mut translation = reading::translate(fields, reading.model)?;
        let Some(prompt) = text(fields, "prompt")? else { return reading::nothing_asked(fields) };
        let system = text(fields, "system")?;
        let is_raw = fields.flag("raw")?;
        if is_raw && system.is_some() {
            return Err(ApiError::invalid("system", "system needs the template, which raw leaves out"));
        }
        // A model without a template takes prompts as they are, as Ollama's own do.
        if is_raw || (reading.model.template.is_none() && system.is_none()) {
            let variables = "chat_template_kwargs";
            if fields.get(variables).is_some_and(|value| *value != json!({})) {
                let message = format!("{variables} needs a template, and none is used");
                return Err(ApiError::invalid(variables, message));
            }
            translation.put("prompt", "prompt", json!(prompt));
            translation.for_completions();
            return translation.read(&Completions, reading);
        }
        if let Some(system) = system {
            translation.message("system", json!({"role": "system", "content": system}));
        }
        translation.message("prompt", json!({"role": "user", "content": prompt}));
        translation.read(&Chat, reading)
    }

    fn id_prefix(&self) -> &'static str {
        "generate-"
    }

    fn framing(&self) -> Framing {
        Framing::Ndjson
    }

    fn error(&self, error: &ApiError) -> Value {
        error_shape::ollama(error)
    }

    fn writer<'a>(&self, head: Head<'a>) -> Box<dyn AnswerWriter + 'a> {
        Box::new(Lines::new(head, Shape::Response))
    }
}
