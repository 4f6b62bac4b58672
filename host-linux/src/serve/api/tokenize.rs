//! `POST /tokenize`, `/detokenize` and `/apply-template`: between texts, token ids and
//! conversations, without the engine.
//!
//! A body says by its names whose client it comes from. vLLM's have `prompt` or `messages` and are
//! told `count` and `max_model_len` too; llama-server's have `content`.
use super::body::{read_in_turn, send_telling};
use super::chat;
use super::fields::Fields;
use super::limits::Reading;
use super::parameters::{APPLY_TEMPLATE, DETOKENIZE, TOKENIZE};
use super::params;
use crate::runtime::ServedModel;
use crate::serve::error::ApiError;
use crate::serve::exchange::Exchange;
use crate::text::quote::quote_value;
use crate::text::{TextError, Tokenizer};
use serde_json::{Value, json};

/// Answers with the ids of a text or of a conversation.
pub fn tokenize(exchange: &mut Exchange<'_>) -> Result<(), ApiError> {
    let answer = read_in_turn(exchange, TOKENIZE, tokenized)?;
    send_telling(exchange, answer);
    Ok(())
}

/// Answers with the text of ids, special tokens and all, under vLLM's name and llama-server's.
pub fn detokenize(exchange: &mut Exchange<'_>) -> Result<(), ApiError> {
    let text = read_in_turn(exchange, DETOKENIZE, detokenized)?;
    send_telling(exchange, json!({"prompt": text, "content": text}));
    Ok(())
}

/// Answers with the prompt that a conversation becomes, as text.
pub fn apply_template(exchange: &mut Exchange<'_>) -> Result<(), ApiError> {
    let prompt = read_in_turn(exchange, APPLY_TEMPLATE, |fields, reading| {
        params::check_model(fields, reading.model)?;
        chat::rendered(fields, reading.model)
    })?;
    send_telling(exchange, json!({"prompt": Tokenizer::without_marks(&prompt)}));
    Ok(())
}

fn tokenized(fields: &Fields<'_>, reading: Reading<'_>) -> Result<Value, ApiError> {
    let model = reading.model;
    params::check_model(fields, model)?;
    let tokenizer = &model.tokenizer;
    if let Some(text) = text(fields, "content")? {
        let (add_special, parse_special) =
            (flag(fields, "add_special", false)?, flag(fields, "parse_special", true)?);
        let with_pieces = flag(fields, "with_pieces", false)?;
        params::check_text_fits(text, model, "content")?;
        let encode = if parse_special { Tokenizer::encode } else { Tokenizer::encode_plain };
        let ids = encode(tokenizer, text, add_special).map_err(|error| ApiError::text("content", &error))?;
        let tokens: Value = if with_pieces {
            ids.iter().map(|id| json!({"id": id, "piece": piece(tokenizer, *id)})).collect()
        } else {
            json!(ids)
        };
        return Ok(json!({"tokens": tokens}));
    }
    let with_texts = flag(fields, "return_token_strs", false)?;
    let ids = prompt_ids(fields, model)?;
    let texts = with_texts.then(|| ids.iter().map(|id| tokenizer.piece(*id)).collect::<Vec<_>>());
    Ok(json!({
        "count": ids.len(), "max_model_len": model.limits.model_len, "tokens": ids, "token_strs": texts,
    }))
}

/// The ids of `prompt` or of `messages`.
fn prompt_ids(fields: &Fields<'_>, model: &ServedModel) -> Result<Vec<u32>, ApiError> {
    if fields.get("messages").is_some() {
        if flag(fields, "add_special_tokens", false)? {
            let message = "add_special_tokens must be false with messages: the template writes them";
            return Err(ApiError::invalid("add_special_tokens", message));
        }
        return chat::prompt(fields, model);
    }
    let add_special = flag(fields, "add_special_tokens", true)?;
    let Some(text) = text(fields, "prompt")? else {
        return Err(ApiError::invalid(
            "prompt",
            "prompt is missing; messages or content may stand in its place",
        ));
    };
    params::check_text_fits(text, model, "prompt")?;
    model.tokenizer.encode(text, add_special).map_err(|error| ApiError::text("prompt", &error))
}

fn detokenized(fields: &Fields<'_>, reading: Reading<'_>) -> Result<String, ApiError> {
    let model = reading.model;
    params::check_model(fields, model)?;
    let wrong = |message: String| ApiError::invalid("tokens", message);
    let list = fields.get("tokens").ok_or_else(|| wrong("tokens is missing".to_owned()))?;
    let list = list.as_array().ok_or_else(|| wrong("tokens must be a list of token ids".to_owned()))?;
    params::check_ids_fit(list, model, "tokens")?;
    let vocab_size = model.loaded.model().config().vocab_size;
    let id = |value: &Value| {
        let id = value.as_u64().and_then(|id| u32::try_from(id).ok());
        id.filter(|id| (*id as usize) < vocab_size).ok_or_else(|| {
            wrong(format!("tokens must be ids below {vocab_size}, found {}", quote_value(value)))
        })
    };
    let ids = list.iter().map(id).collect::<Result<Vec<u32>, _>>()?;
    model.tokenizer.decode(&ids, false).map_err(|error: TextError| ApiError::text("tokens", &error))
}

/// What a token adds to a text: the text, or its bytes where they are a part of a character.
fn piece(tokenizer: &Tokenizer, id: u32) -> Value {
    String::from_utf8(tokenizer.bytes(id)).map_or_else(|error| json!(error.into_bytes()), Value::from)
}

/// A field that is text.
fn text<'f>(fields: &Fields<'f>, name: &str) -> Result<Option<&'f str>, ApiError> {
    let Some(value) = fields.get(name) else { return Ok(None) };
    let text = value.as_str().ok_or_else(|| {
        ApiError::invalid(name, format!("{name} must be a string, found {}", quote_value(value)))
    })?;
    Ok(Some(text))
}

/// A truth value that may be absent.
fn flag(fields: &Fields<'_>, name: &str, default: bool) -> Result<bool, ApiError> {
    if fields.get(name).is_none() { Ok(default) } else { fields.flag(name) }
}
