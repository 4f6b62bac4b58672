//! `POST /api/embed` and the older `/api/embeddings`: texts as vectors.
use super::super::body::read_in_turn;
use super::super::embeddings::{NUMBER_BYTES, cut, dimensions};
use super::super::fields::Fields;
use super::super::limits::Reading;
use super::super::parameters::OLLAMA_EMBED;
use super::super::vectors;
use super::reading::{model_name, tagged};
use super::time::nanoseconds;
use crate::serve::budgets::AnswerRoom;
use crate::serve::error::ApiError;
use crate::serve::exchange::Exchange;
use serde::Serialize;
use serde_json::Value;
use std::time::Instant;

/// A body that was read.
struct Asked {
    prompts: Vec<Vec<u32>>,
    /// The length of the vectors.
    dimensions: usize,
}

/// The answer of `/api/embed`. Its vectors may have millions of numbers, so it is no tree of
/// values.
#[derive(Serialize)]
struct Embedded {
    model: String,
    embeddings: Vec<Vec<f32>>,
    /// All durations are in nanoseconds.
    total_duration: u64,
    load_duration: u64,
    prompt_eval_count: usize,
}

/// The answer of `/api/embeddings`.
#[derive(Serialize)]
struct Single {
    embedding: Option<Vec<f32>>,
}

/// Answers with a vector for each text in `input`.
pub fn embed(exchange: &mut Exchange<'_>) -> Result<(), ApiError> {
    let arrived = exchange.record.arrived.unwrap_or_else(Instant::now);
    let (embeddings, _room) = vectors_of(exchange, "input")?;
    let answer = Embedded {
        model: tagged(&exchange.server.model.name),
        embeddings,
        total_duration: nanoseconds(Some(arrived.elapsed())),
        // The model was loaded before.
        load_duration: 0,
        prompt_eval_count: exchange.record.usage.prompt_tokens,
    };
    send(exchange, &answer)
}

/// Answers with the vector of the text in `prompt`.
pub fn embeddings(exchange: &mut Exchange<'_>) -> Result<(), ApiError> {
    let (vectors, _room) = vectors_of(exchange, "prompt")?;
    send(exchange, &Single { embedding: vectors.into_iter().next() })
}

fn send(exchange: &mut Exchange<'_>, answer: &impl Serialize) -> Result<(), ApiError> {
    let body = serde_json::to_vec(answer).map_err(|error| ApiError::server(500, error.to_string()))?;
    exchange.send(200, Some("application/json"), &body, &[]);
    Ok(())
}

/// The vectors of the texts in the field `name`, none of an empty list, and the memory of an answer
/// that has them.
fn vectors_of<'s>(
    exchange: &mut Exchange<'s>,
    name: &'static str,
) -> Result<(Vec<Vec<f32>>, AnswerRoom<'s>), ApiError> {
    let server = exchange.server;
    let Asked { prompts, dimensions } =
        read_in_turn(exchange, OLLAMA_EMBED, |fields, reading| read(fields, name, reading))?;
    let room = vectors::room(server, prompts.len(), dimensions * NUMBER_BYTES)?;
    if prompts.is_empty() {
        return Ok((Vec::new(), room));
    }
    let normalizes = vectors::config(&server.model)?.normalizes;
    let mut vectors = vectors::embed(exchange, name, prompts, 0)?;
    vectors.iter_mut().for_each(|vector| cut(vector, dimensions, normalizes));
    Ok((vectors, room))
}

fn read(fields: &Fields<'_>, name: &str, reading: Reading<'_>) -> Result<Asked, ApiError> {
    let model = reading.model;
    model_name(fields, model)?;
    let config = vectors::config(model)?;
    let dimensions = dimensions(fields, model, config)?;
    let is_empty = fields.get(name).and_then(Value::as_array).is_some_and(Vec::is_empty);
    let prompts = if is_empty { Vec::new() } else { vectors::prompts(fields, name, reading)? };
    Ok(Asked { prompts, dimensions })
}
