//! `POST /api/embed` and the older `/api/embeddings`: texts as vectors.
use super::super::answer::tokens::number;
use super::super::body::read_in_turn;
use super::super::embeddings::{cut, dimensions};
use super::super::fields::Fields;
use super::super::limits::Reading;
use super::super::parameters::OLLAMA_EMBED;
use super::super::vectors;
use super::reading::{model_name, tagged};
use super::time::nanoseconds;
use crate::serve::error::ApiError;
use crate::serve::exchange::Exchange;
use serde_json::{Value, json};
use std::time::Instant;

/// A body that was read.
struct Asked {
    prompts: Vec<Vec<u32>>,
    /// The length of the vectors.
    dimensions: usize,
}

/// Answers with a vector for each text in `input`.
pub fn embed(exchange: &mut Exchange<'_>) -> Result<(), ApiError> {
    let arrived = exchange.record.arrived.unwrap_or_else(Instant::now);
    let vectors = vectors_of(exchange, "input")?;
    let body = json!({
        "model": tagged(&exchange.server.model.name),
        "embeddings": vectors,
        "total_duration": nanoseconds(Some(arrived.elapsed())),
        // The model was loaded before.
        "load_duration": 0,
        "prompt_eval_count": exchange.record.usage.prompt_tokens,
    });
    exchange.send_json(200, &body, &[]);
    Ok(())
}

/// Answers with the vector of the text in `prompt`.
pub fn embeddings(exchange: &mut Exchange<'_>) -> Result<(), ApiError> {
    let vectors = vectors_of(exchange, "prompt")?;
    let body = json!({"embedding": vectors.first()});
    exchange.send_json(200, &body, &[]);
    Ok(())
}

/// The vectors of the texts in the field `name`; none of an empty list.
fn vectors_of(exchange: &mut Exchange<'_>, name: &'static str) -> Result<Vec<Value>, ApiError> {
    let Asked { prompts, dimensions } =
        read_in_turn(exchange, OLLAMA_EMBED, |fields, reading| read(fields, name, reading))?;
    if prompts.is_empty() {
        return Ok(Vec::new());
    }
    let normalizes = vectors::config(&exchange.server.model)?.normalizes;
    let vectors = vectors::embed(exchange, name, prompts, 0)?;
    let listed = |mut vector: Vec<f32>| {
        cut(&mut vector, dimensions, normalizes);
        vector.into_iter().map(number).collect()
    };
    Ok(vectors.into_iter().map(listed).collect())
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
