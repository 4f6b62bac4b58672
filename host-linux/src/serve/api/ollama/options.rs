//! Ollama's `options`: how tokens are drawn, under its names.
use super::super::fields::Fields;
use super::super::translation::{Translation, object_at};
use crate::runtime::ServedModel;
use crate::serve::error::ApiError;
use serde_json::json;

/// Options that are parameters of chat, with the name that they have there. The table of parameters
/// says what becomes of the others.
const NAMES: &[(&str, &str)] = &[
    ("temperature", "temperature"),
    ("top_k", "top_k"),
    ("top_p", "top_p"),
    ("min_p", "min_p"),
    ("seed", "seed"),
    ("stop", "stop"),
    ("repeat_penalty", "repetition_penalty"),
    ("presence_penalty", "presence_penalty"),
    ("frequency_penalty", "frequency_penalty"),
];

/// Reads `options` into the names of chat.
pub(super) fn translate(
    fields: &Fields<'_>,
    model: &ServedModel,
    translation: &mut Translation,
) -> Result<(), ApiError> {
    let Some(value) = fields.get("options") else { return Ok(()) };
    let map = object_at(value, "options", "options")?;
    let options = Fields::new(map);
    for (theirs, ours) in NAMES {
        translation.carry(&options, theirs, ours);
    }
    num_predict(&options, translation)?;
    num_ctx(&options, model)?;
    repeat_last_n(&options, model)
}

/// How many tokens an answer may have. A negative number is as many as the context has room for.
fn num_predict(options: &Fields<'_>, translation: &mut Translation) -> Result<(), ApiError> {
    let count = options.integer("num_predict", -2, i64::MAX)?;
    if let Some(count) = count.filter(|count| *count >= 0) {
        translation.put("max_tokens", "num_predict", json!(count));
    }
    Ok(())
}

/// The context has the length that it has; a model with a shorter one would answer the same, as
/// long as the conversation fits.
fn num_ctx(options: &Fields<'_>, model: &ServedModel) -> Result<(), ApiError> {
    let Some(asked) = options.integer("num_ctx", 1, i64::MAX)? else { return Ok(()) };
    let context = model.limits.model_len;
    if usize::try_from(asked).is_ok_and(|asked| asked <= context) {
        return Ok(());
    }
    let message = format!("num_ctx is {asked}, but this model's maximum context length is {context} tokens");
    Err(ApiError::invalid("num_ctx", message))
}

/// Penalties of repetition look at all tokens, so a window of some is refused where it matters.
fn repeat_last_n(options: &Fields<'_>, model: &ServedModel) -> Result<(), ApiError> {
    let Some(last) = options.integer("repeat_last_n", -1, i64::MAX)? else { return Ok(()) };
    let is_off =
        |name: &str, neutral: f64| options.get(name).is_none_or(|value| value.as_f64() == Some(neutral));
    let is_whole = last == -1 || last >= model.limits.model_len as i64;
    let is_unused =
        is_off("repeat_penalty", 1.0) && is_off("presence_penalty", 0.0) && is_off("frequency_penalty", 0.0);
    if !is_whole && !is_unused {
        let message = format!(
            "repeat_last_n = {last} is not supported: penalties look at all tokens; leave it out, or set -1"
        );
        return Err(ApiError::invalid("repeat_last_n", message));
    }
    Ok(())
}
