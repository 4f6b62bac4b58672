//! Tokens that end the output, and tokens that it may not have.
use super::fields::Fields;
use super::limits::Reading;
use crate::runtime::{Restriction, ServedModel};
use crate::serve::error::ApiError;
use crate::text::quote::quote_value;
use serde_json::Value;
use std::sync::Arc;

/// Words of `bad_words` that are taken.
const BAD_WORDS_MAX: usize = 256;

/// Reads `stop_token_ids`, which end the output as the model's own end tokens do.
pub fn stop_token_ids(fields: &Fields<'_>, model: &ServedModel) -> Result<Vec<u32>, ApiError> {
    let ids = token_ids(fields, "stop_token_ids", model)?.unwrap_or_default();
    let own = model.loaded.generation().eos_ids.len();
    let max = model.limits.stop_ids.saturating_sub(own);
    if ids.len() > max {
        let message = format!("stop_token_ids has {} ids, but at most {max} are taken", ids.len());
        return Err(ApiError::invalid("stop_token_ids", message));
    }
    Ok(ids)
}

/// Reads `allowed_token_ids` and `bad_words`.
pub fn restriction(fields: &Fields<'_>, reading: Reading<'_>) -> Result<Option<Arc<Restriction>>, ApiError> {
    let allowed = token_ids(fields, "allowed_token_ids", reading.model)?;
    if allowed.as_ref().is_some_and(Vec::is_empty) {
        let message = "allowed_token_ids is empty: no token could be generated";
        return Err(ApiError::invalid("allowed_token_ids", message));
    }
    let words = bad_words(fields, reading)?;
    Ok(Restriction::new(allowed, words).map(Arc::new))
}

/// A list of ids of the vocabulary, no longer than it.
fn token_ids(fields: &Fields<'_>, name: &str, model: &ServedModel) -> Result<Option<Vec<u32>>, ApiError> {
    let Some(value) = fields.get(name) else { return Ok(None) };
    let vocab_size = model.loaded.model().config().vocab_size;
    let wrong = |found: &Value| {
        let expected = format!("{name} must be a list of at most {vocab_size} token ids below {vocab_size}");
        ApiError::invalid(name, format!("{expected}, found {}", quote_value(found)))
    };
    let list = value.as_array().filter(|list| list.len() <= vocab_size).ok_or_else(|| wrong(value))?;
    let id = |value: &Value| {
        let found = value.as_f64().filter(|id| id.fract() == 0.0 && (0.0..vocab_size as f64).contains(id));
        found.map(|id| id as u32).ok_or_else(|| wrong(value))
    };
    list.iter().map(id).collect::<Result<_, _>>().map(Some)
}

/// The ids of the words that the output may not have: of each word with a space before it and
/// without, as a text has it within and at its beginning.
fn bad_words(fields: &Fields<'_>, reading: Reading<'_>) -> Result<Vec<Vec<u32>>, ApiError> {
    let name = "bad_words";
    let Some(value) = fields.get(name) else { return Ok(Vec::new()) };
    let wrong = |found: &Value| {
        let expected = "bad_words must be a list of strings, none of them empty";
        ApiError::invalid(name, format!("{expected}, found {}", quote_value(found)))
    };
    let list = value.as_array().ok_or_else(|| wrong(value))?;
    if list.len() > BAD_WORDS_MAX {
        let message = format!("bad_words has {} strings, but at most {BAD_WORDS_MAX} are taken", list.len());
        return Err(ApiError::invalid(name, message));
    }
    let mut all: Vec<Vec<u32>> = Vec::new();
    for value in list {
        let word = value.as_str().filter(|word| !word.is_empty()).ok_or_else(|| wrong(value))?;
        let count = ("bad_words has a string of", word.chars().count(), "characters");
        reading.bounds.stop_chars.check(name, count)?;
        let encode = |text: &str| {
            let ids = reading.model.tokenizer.encode(text, false);
            ids.map_err(|error| ApiError::text(name, &error))
        };
        let bare = word.trim_start();
        if bare.is_empty() {
            all.push(encode(word)?);
            continue;
        }
        let plain = encode(bare)?;
        let spaced = encode(&format!(" {bare}"))?;
        // A vocabulary without a piece for the spaced word writes the space as a token of its own:
        // then the plain word is forbidden already.
        let is_another = spaced.first() != plain.first() && spaced.len() == plain.len();
        all.push(plain);
        if is_another {
            all.push(spaced);
        }
    }
    Ok(all)
}
