//! Streams that are resumed: the ids of prompt and output so far come back, with the boundary
//! between them marked, and the answer goes on behind them with the same bits.
use super::fields::Fields;
use super::params;
use crate::runtime::{OwnedRequest, ServedModel};
use crate::serve::error::ApiError;
use crate::text::quote::quote;
use serde_json::{Map, Value};

/// The parameter of this file.
const NAME: &str = "resume";

/// Where a stream that another engine began is resumed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resume {
    /// Ids of the prompt; those after them were generated.
    prompt_tokens: usize,
    /// The number that the choice had.
    choice: u32,
}

/// An error of the parameter.
fn wrong(message: &str) -> ApiError {
    ApiError::invalid(NAME, format!("{NAME} {message}"))
}

impl Resume {
    /// Reads `resume` where the prompt is the ids: an object with `prompt_tokens` and perhaps
    /// `choice`.
    pub fn of_prompt(fields: &Fields<'_>, choices: u32) -> Result<Option<Self>, ApiError> {
        let Some(value) = fields.get(NAME) else { return Ok(None) };
        let ids = fields.get("prompt").and_then(Value::as_array);
        if !ids.is_some_and(|ids| ids.iter().all(Value::is_number)) {
            return Err(wrong("needs a prompt that is a list of token ids"));
        }
        let map = Self::object(value, "prompt_tokens", &["prompt_tokens", "choice"])?;
        Self::read(map, choices).map(Some)
    }

    /// Reads `resume` where it has the ids itself, as `token_ids`, in place of a conversation.
    pub fn of_conversation(
        fields: &Fields<'_>,
        choices: u32,
        model: &ServedModel,
    ) -> Result<Option<(Self, Vec<u32>)>, ApiError> {
        let Some(value) = fields.get(NAME) else { return Ok(None) };
        let expected =
            "token_ids (those of the prompt, and then those of the output so far) and prompt_tokens";
        let map = Self::object(value, expected, &["token_ids", "prompt_tokens", "choice"])?;
        let list = map.get("token_ids").and_then(Value::as_array).filter(|list| !list.is_empty());
        let list = list.ok_or_else(|| wrong(&format!("must be an object with {expected}")))?;
        params::check_ids_fit(list, model, NAME)?;
        let id = |value: &Value| {
            let id = value.as_u64().and_then(|id| u32::try_from(id).ok());
            id.ok_or_else(|| wrong("has token_ids that are not all token ids"))
        };
        let ids = list.iter().map(id).collect::<Result<_, _>>()?;
        Ok(Some((Self::read(map, choices)?, ids)))
    }

    fn object<'v>(value: &'v Value, needs: &str, known: &[&str]) -> Result<&'v Map<String, Value>, ApiError> {
        let map = value.as_object().ok_or_else(|| wrong(&format!("must be an object with {needs}")))?;
        match map.keys().find(|name| !known.contains(&name.as_str())) {
            None => Ok(map),
            Some(name) => {
                let expected = known.join(", ");
                Err(wrong(&format!("has an unknown field {}; expected {expected}", quote(name))))
            }
        }
    }

    fn read(map: &Map<String, Value>, choices: u32) -> Result<Self, ApiError> {
        if choices != 1 {
            let message = "goes on with one choice: n must be 1, and resume.choice may say which it was";
            return Err(wrong(message));
        }
        let inner = |error: ApiError| ApiError::invalid(NAME, format!("{NAME}: {}", error.message));
        let fields = Fields::new(map);
        let prompt_tokens = fields.integer("prompt_tokens", 1, i64::from(u32::MAX)).map_err(inner)?;
        let prompt_tokens = prompt_tokens.ok_or_else(|| wrong("must be an object with prompt_tokens"))?;
        let choice = fields.integer("choice", 0, i64::from(u32::MAX)).map_err(inner)?.unwrap_or(0) as u32;
        Ok(Self { prompt_tokens: prompt_tokens as usize, choice })
    }

    /// Cuts what was generated off the ids, and returns it.
    pub fn split(self, ids: &mut Vec<u32>) -> Result<Vec<u32>, ApiError> {
        if self.prompt_tokens > ids.len() {
            let message =
                format!("resume: prompt_tokens is {}, but there are {} ids", self.prompt_tokens, ids.len());
            return Err(ApiError::invalid(NAME, message));
        }
        Ok(ids.split_off(self.prompt_tokens))
    }

    /// Makes a request go on behind what was generated.
    pub fn apply(self, request: &mut OwnedRequest, generated: Vec<u32>) -> Result<(), ApiError> {
        if generated.len() > request.max_tokens {
            let message = format!(
                "resume: {} tokens were generated, but at most {} are asked for",
                generated.len(),
                request.max_tokens
            );
            return Err(ApiError::invalid(NAME, message));
        }
        request.generated = generated;
        request.first_choice = self.choice;
        Ok(())
    }
}
