//! `POST /v1/embeddings`: texts as vectors.
use super::body::{read_in_turn, told};
use super::chat;
use super::fields::Fields;
use super::limits::Reading;
use super::parameters::EMBEDDINGS;
use super::params;
use super::vectors;
use crate::load::{Dimensions, EmbeddingConfig};
use crate::runtime::ServedModel;
use crate::runtime::pooling::normalize;
use crate::serve::error::ApiError;
use crate::serve::exchange::Exchange;
use crate::serve::server::{Server, now};
use crate::text::quote::quote_value;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde::Serialize;
use serde_json::Value;

/// Bytes of a vector in an answer besides its numbers.
const ENTRY_BYTES: usize = 128;
/// Bytes of one of its numbers, as text in a buffer that grows.
pub(super) const NUMBER_BYTES: usize = 32;
/// As base64, and once more in that buffer.
const BASE64_BYTES: usize = 16;

/// A body that was read.
pub(super) struct Asked {
    /// The ids of each text.
    pub(super) prompts: Vec<Vec<u32>>,
    /// Prefixes are shared among requests with the same salt.
    pub(super) cache_salt: u64,
    /// Whether vectors are sent as base64 of little-endian floats.
    is_base64: bool,
    /// The length of the vectors.
    dimensions: usize,
}

impl Asked {
    /// Bytes of an answer for each of its vectors.
    pub(super) fn entry_bytes(&self) -> usize {
        ENTRY_BYTES + self.dimensions * if self.is_base64 { BASE64_BYTES } else { NUMBER_BYTES }
    }
}

/// An answer. Its vectors may have millions of numbers, so it is no tree of values.
#[derive(Serialize)]
struct Answer<'a> {
    id: String,
    object: &'static str,
    created: u64,
    model: &'a str,
    system_fingerprint: &'a str,
    data: Vec<Entry>,
    usage: Value,
    #[serde(skip_serializing_if = "Option::is_none")]
    verbatim: Option<Value>,
}

#[derive(Serialize)]
struct Entry {
    object: &'static str,
    index: usize,
    embedding: Numbers,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Numbers {
    Floats(Vec<f32>),
    Base64(String),
}

/// What an answer tells beside its vectors.
pub(super) struct Told<'a> {
    /// The id of the request.
    pub(super) id: &'a str,
    /// When it was made, in seconds since 1970.
    pub(super) created: u64,
    /// The tokens that it took.
    pub(super) usage: Value,
    /// What is Verbatim's own in it, if anything is.
    pub(super) verbatim: Option<Value>,
}

/// Answers with a vector for each text.
pub fn handle(exchange: &mut Exchange<'_>) -> Result<(), ApiError> {
    let server = exchange.server;
    let mut asked = read_in_turn(exchange, EMBEDDINGS, read)?;
    let prompts = std::mem::take(&mut asked.prompts);
    let _room = vectors::room(server, prompts.len(), asked.entry_bytes())?;
    let vectors = vectors::embed(exchange, "input", prompts, asked.cache_salt)?;
    let usage = vectors::usage_json(exchange.record.usage);
    let id = &exchange.record.request_id;
    let body = body(server, &asked, vectors, Told { id, created: now(), usage, verbatim: told(exchange) })?;
    exchange.send(200, Some("application/json"), &body, &[]);
    Ok(())
}

/// The body of an answer.
pub(super) fn body(
    server: &Server,
    asked: &Asked,
    vectors: Vec<Vec<f32>>,
    told: Told<'_>,
) -> Result<Vec<u8>, ApiError> {
    let normalizes = vectors::config(&server.model)?.normalizes;
    let entry = |(index, mut vector): (usize, Vec<f32>)| {
        cut(&mut vector, asked.dimensions, normalizes);
        let embedding =
            if asked.is_base64 { Numbers::Base64(base64(&vector)) } else { Numbers::Floats(vector) };
        Entry { object: "embedding", index, embedding }
    };
    let answer = Answer {
        id: format!("embd-{}", told.id),
        object: "list",
        created: told.created,
        model: &server.model.name,
        system_fingerprint: &server.model.fingerprint,
        data: vectors.into_iter().enumerate().map(entry).collect(),
        usage: told.usage,
        verbatim: told.verbatim,
    };
    serde_json::to_vec(&answer).map_err(|error| ApiError::server(500, error.to_string()))
}

/// Reads what is asked for.
pub(super) fn read(fields: &Fields<'_>, reading: Reading<'_>) -> Result<Asked, ApiError> {
    let model = reading.model;
    params::check_model(fields, model)?;
    let config = vectors::config(model)?;
    let is_base64 = match fields.get("encoding_format").map(|value| (value, value.as_str())) {
        None | Some((_, Some("float"))) => false,
        Some((_, Some("base64"))) => true,
        Some((value, _)) => {
            let message = format!("encoding_format must be float or base64, found {}", quote_value(value));
            return Err(ApiError::invalid("encoding_format", message));
        }
    };
    let dimensions = dimensions(fields, model, config)?;
    let cache_salt = params::cache_salt(fields)?;
    let prompts = if fields.get("input").is_none() && fields.get("messages").is_some() {
        vec![chat::prompt(fields, reading)?]
    } else {
        vectors::prompts(fields, "input", reading)?
    };
    Ok(Asked { prompts, cache_salt, is_base64, dimensions })
}

/// Reads `dimensions`, the length to which vectors are cut; without it they are whole.
pub(super) fn dimensions(
    fields: &Fields<'_>,
    model: &ServedModel,
    config: &EmbeddingConfig,
) -> Result<usize, ApiError> {
    let whole = model.loaded.model().config().hidden_size;
    let Some(found) = fields.integer("dimensions", 1, whole as i64)? else { return Ok(whole) };
    let found = found as usize;
    let expected = match &config.dimensions {
        _ if found == whole => return Ok(whole),
        Dimensions::Any => return Ok(found),
        Dimensions::Listed(listed) if listed.contains(&found) => return Ok(found),
        Dimensions::Listed(listed) => format!("one of {listed:?}"),
        Dimensions::Whole => format!("{whole}: {} was not trained to be cut", model.name),
    };
    Err(ApiError::invalid("dimensions", format!("dimensions must be {expected}; found {found}")))
}

/// Cuts a vector to its first numbers, and makes it as long as it was where vectors are normalised.
pub(super) fn cut(vector: &mut Vec<f32>, dimensions: usize, normalizes: bool) {
    if dimensions < vector.len() {
        vector.truncate(dimensions);
        if normalizes {
            normalize(vector);
        }
    }
}

fn base64(vector: &[f32]) -> String {
    let bytes: Vec<u8> = vector.iter().flat_map(|x| x.to_le_bytes()).collect();
    BASE64_STANDARD.encode(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The longest that a number may be, with its comma; a buffer may be twice as large as its
    /// text.
    #[test]
    fn numbers_take_no_more_than_they_are_counted() {
        let longest = serde_json::to_string(&[-1.234_567_8e-38_f32]).unwrap().len() - 1;
        assert!(2 * longest <= NUMBER_BYTES, "{longest}");
        let in_base64 = base64(&[1.5; 300]).len().div_ceil(300);
        assert!(3 * in_base64 <= BASE64_BYTES + 2, "{in_base64}");
    }

    #[test]
    fn vectors_are_the_shortest_decimals_or_little_endian_bytes() {
        let floats = serde_json::to_string(&Numbers::Floats(vec![0.1, -1.5e-7, 1.0])).unwrap();
        assert_eq!(floats, "[0.1,-1.5e-7,1.0]");
        assert_eq!(base64(&[1.0, -2.0]), "AACAPwAAAMA=");
    }
}
