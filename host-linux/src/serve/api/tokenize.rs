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
use crate::serve::budgets::AnswerRoom;
use crate::serve::error::ApiError;
use crate::serve::exchange::Exchange;
use crate::serve::server::Server;
use crate::text::quote::quote_value;
use crate::text::{TextError, Tokenizer};
use serde_json::{Value, json};

/// Bytes of an id in a list, as a value and as text.
const ID_BYTES: usize = 64;
/// Bytes of a token's text in a list, besides its own.
const STRING_BYTES: usize = 64;
/// Bytes of an id beside its piece in an object, besides the piece.
const PIECE_BYTES: usize = 512;
/// Bytes of a piece for each of its own, where it is a list of numbers.
const PIECE_RATIO: usize = 40;
/// Bytes of a text for each of its own: as a value, and as JSON, in a buffer that grows.
const TEXT_RATIO: usize = 8;

/// What is told of the ids of a text.
enum Tokenized {
    /// As llama-server does, with the pieces beside the ids or without.
    Content(Vec<u32>, bool),
    /// As vLLM does, with the texts of the tokens or without.
    Prompt(Vec<u32>, bool),
}

impl Tokenized {
    /// Bytes of the answer.
    fn bytes(&self, tokenizer: &Tokenizer) -> usize {
        let length = |id: &u32| tokenizer.bytes(*id).len();
        match self {
            Self::Content(ids, false) | Self::Prompt(ids, false) => ids.len() * ID_BYTES,
            Self::Content(ids, true) => ids.iter().map(|id| PIECE_BYTES + PIECE_RATIO * length(id)).sum(),
            Self::Prompt(ids, true) => {
                ids.iter().map(|id| ID_BYTES + STRING_BYTES + TEXT_RATIO * length(id)).sum()
            }
        }
    }

    fn answer(&self, model: &ServedModel) -> Value {
        let tokenizer = &model.tokenizer;
        match self {
            Self::Content(ids, false) => json!({"tokens": ids}),
            Self::Content(ids, true) => {
                let with_piece = |id: &u32| json!({"id": id, "piece": piece(tokenizer, *id)});
                let tokens = ids.iter().map(with_piece).collect();
                Value::Object([("tokens".to_owned(), Value::Array(tokens))].into_iter().collect())
            }
            Self::Prompt(ids, with_texts) => {
                let texts = || ids.iter().map(|id| Value::from(tokenizer.piece(*id))).collect();
                let mut answer = json!({
                    "count": ids.len(), "max_model_len": model.limits.model_len, "tokens": ids,
                });
                answer["token_strs"] = with_texts.then(texts).map_or(Value::Null, Value::Array);
                answer
            }
        }
    }
}

/// Answers with the ids of a text or of a conversation.
pub fn tokenize(exchange: &mut Exchange<'_>) -> Result<(), ApiError> {
    let tokenized = read_in_turn(exchange, TOKENIZE, tokenized)?;
    let model = &exchange.server.model;
    let _room = room(exchange.server, tokenized.bytes(&model.tokenizer))?;
    send_telling(exchange, tokenized.answer(model));
    Ok(())
}

/// Answers with the text of ids, special tokens and all, under vLLM's name and llama-server's.
pub fn detokenize(exchange: &mut Exchange<'_>) -> Result<(), ApiError> {
    let text = read_in_turn(exchange, DETOKENIZE, detokenized)?;
    let _room = room(exchange.server, 2 * TEXT_RATIO * text.len())?;
    send_telling(exchange, json!({"prompt": text, "content": text}));
    Ok(())
}

/// Answers with the prompt that a conversation becomes, as text.
pub fn apply_template(exchange: &mut Exchange<'_>) -> Result<(), ApiError> {
    let prompt = read_in_turn(exchange, APPLY_TEMPLATE, |fields, reading| {
        params::check_model(fields, reading.model)?;
        chat::rendered(fields, reading)
    })?;
    let _room = room(exchange.server, TEXT_RATIO * prompt.len())?;
    send_telling(exchange, json!({"prompt": Tokenizer::without_marks(&prompt)}));
    Ok(())
}

/// Memory for an answer, to be kept until the client has it.
fn room(server: &Server, bytes: usize) -> Result<AnswerRoom<'_>, ApiError> {
    let mut room = server.budgets.answers.room("send less at once");
    room.grow(bytes)?;
    Ok(room)
}

fn tokenized(fields: &Fields<'_>, reading: Reading<'_>) -> Result<Tokenized, ApiError> {
    let model = reading.model;
    params::check_model(fields, model)?;
    if let Some(text) = text(fields, "content")? {
        let (add_special, parse_special) =
            (flag(fields, "add_special", false)?, flag(fields, "parse_special", true)?);
        let with_pieces = flag(fields, "with_pieces", false)?;
        params::check_text_fits(text, model, "content")?;
        let encode = if parse_special { Tokenizer::encode } else { Tokenizer::encode_plain };
        let ids = encode(&model.tokenizer, text, add_special);
        return Ok(Tokenized::Content(ids.map_err(|error| ApiError::text("content", &error))?, with_pieces));
    }
    let with_texts = flag(fields, "return_token_strs", false)?;
    Ok(Tokenized::Prompt(prompt_ids(fields, reading)?, with_texts))
}

/// The ids of `prompt` or of `messages`.
fn prompt_ids(fields: &Fields<'_>, reading: Reading<'_>) -> Result<Vec<u32>, ApiError> {
    let model = reading.model;
    if fields.get("messages").is_some() {
        if flag(fields, "add_special_tokens", false)? {
            let message = "add_special_tokens must be false with messages: the template writes them";
            return Err(ApiError::invalid("add_special_tokens", message));
        }
        return chat::prompt(fields, reading);
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
