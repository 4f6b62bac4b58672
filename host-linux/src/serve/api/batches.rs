//! `/v1/batches`: files of requests that are answered when there is nothing more urgent.
use super::body::{read_in_turn, send_telling};
use super::fields::Fields;
use super::files::{AFTER, ORDER, batches, limit, page, refusal};
use super::lines::BATCH_URLS;
use super::parameters::BATCHES;
use super::query::QueryParameter;
use crate::batch::batches::NewBatch;
use crate::serve::error::ApiError;
use crate::serve::exchange::Exchange;
use crate::text::quote::quote_value;
use serde_json::{Map, Value};

/// Entries of a list of batches where a client does not say, as in OpenAI's API.
const LIST_LEN: u32 = 20;
/// What the query of a list of batches may have.
pub(super) const QUERY: &[QueryParameter] = &[limit(LIST_LEN), AFTER, ORDER];
/// Notes that a batch may have, as in OpenAI's API: so many, with names and texts of so many
/// characters.
const NOTES_MAX: usize = 16;
const NOTE_NAME_CHARS: usize = 64;
const NOTE_CHARS: usize = 512;
/// Characters of a completion window.
const WINDOW_CHARS: usize = 32;

/// Begins a batch for a file that was sent before.
pub fn create(exchange: &mut Exchange<'_>) -> Result<(), ApiError> {
    let batches = batches(exchange.server)?;
    let new = read_in_turn(exchange, BATCHES, |fields, _| read(fields))?;
    let batch = batches.add_batch(exchange.owner(), new);
    let batch = batch.map_err(|error| refusal("input_file_id", error))?;
    send_telling(exchange, batch.shown());
    Ok(())
}

fn read(fields: &Fields<'_>) -> Result<NewBatch, ApiError> {
    let text = |name: &str| match fields.get(name) {
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(other) => {
            let message = format!("{name} must be a string, found {}", quote_value(other));
            Err(ApiError::invalid(name, message))
        }
        None => Ok(None),
    };
    let needed =
        |name: &str| text(name)?.ok_or_else(|| ApiError::invalid(name, format!("{name} is missing")));
    let endpoint = needed("endpoint")?;
    if !BATCH_URLS.contains(&endpoint.as_str()) {
        let (known, found) = (BATCH_URLS.join(", "), quote_value(&endpoint));
        return Err(ApiError::invalid("endpoint", format!("endpoint must be one of {known}, found {found}")));
    }
    let completion_window = text("completion_window")?.unwrap_or_else(|| "24h".to_owned());
    if completion_window.chars().count() > WINDOW_CHARS {
        let message = format!("completion_window has more than {WINDOW_CHARS} characters");
        return Err(ApiError::invalid("completion_window", message));
    }
    Ok(NewBatch {
        input_file_id: needed("input_file_id")?,
        endpoint,
        completion_window,
        metadata: notes(fields)?,
    })
}

/// Reads `metadata`, the notes of the sender.
fn notes(fields: &Fields<'_>) -> Result<Option<Map<String, Value>>, ApiError> {
    let Some(value) = fields.get("metadata") else { return Ok(None) };
    let is_note = |(name, text): (&String, &Value)| {
        let is_short = text.as_str().is_some_and(|text| text.chars().count() <= NOTE_CHARS);
        is_short && name.chars().count() <= NOTE_NAME_CHARS
    };
    match value.as_object().filter(|notes| notes.len() <= NOTES_MAX && notes.iter().all(is_note)) {
        Some(notes) => Ok(Some(notes.clone())),
        None => {
            let message = format!(
                "metadata must map at most {NOTES_MAX} names of {NOTE_NAME_CHARS} characters to strings of {NOTE_CHARS}"
            );
            Err(ApiError::invalid("metadata", message))
        }
    }
}

/// Answers with a list of the batches, the newest first.
pub fn list(exchange: &mut Exchange<'_>) -> Result<(), ApiError> {
    let all = batches(exchange.server)?.batches(exchange.owner());
    let shown = all.into_iter().map(|batch| (batch.id.clone(), batch.shown())).collect();
    let page = page(exchange, shown, LIST_LEN)?;
    exchange.send_json(200, &page, &[]);
    Ok(())
}

/// Answers with how far a batch is.
pub fn one(exchange: &mut Exchange<'_>) -> Result<(), ApiError> {
    let batch = batches(exchange.server)?.batch(exchange.owner(), exchange.path_parameter());
    let batch = batch.map_err(|error| refusal("batch_id", error))?;
    exchange.send_json(200, &batch.shown(), &[]);
    Ok(())
}

/// Has a batch end early.
pub fn cancel(exchange: &mut Exchange<'_>) -> Result<(), ApiError> {
    let batch = batches(exchange.server)?.cancel(exchange.owner(), exchange.path_parameter());
    let batch = batch.map_err(|error| refusal("batch_id", error))?;
    exchange.send_json(200, &batch.shown(), &[]);
    Ok(())
}
