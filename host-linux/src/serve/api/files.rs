//! `/v1/files`: files of requests for batches, and what batches have made of them.
use super::multipart;
use super::parameters::{Plain, Schema};
use super::query::{QueryParameter, integer};
use crate::batch::batches::{Batches, INPUT};
use crate::batch::error::{BatchesError, Bound};
use crate::serve::error::{ApiError, Retry};
use crate::serve::exchange::Exchange;
use crate::serve::server::Server;
use crate::text::quote::{quote, shorten};
use serde_json::{Value, json};

/// Characters of a file's name that are kept.
const NAME_CHARS: usize = 255;
/// Entries of a list, at most, and of a list of files where a client does not say.
const LIST_LEN: u32 = 10_000;

/// Where a list begins.
pub(super) const AFTER: QueryParameter = QueryParameter {
    name: "after",
    schema: Schema::Nonempty,
    default: None,
    doc: "The list begins behind the entry with this id.",
};
/// What a list begins with.
pub(super) const ORDER: QueryParameter = QueryParameter {
    name: "order",
    schema: Schema::Choice(&["desc", "asc"]),
    default: Some(Plain::Text("desc")),
    doc: "Whether the newest come first (`desc`) or the oldest (`asc`).",
};
const PURPOSE: QueryParameter = QueryParameter {
    name: "purpose",
    schema: Schema::Text,
    default: None,
    doc: "Only files with this purpose are listed.",
};
/// What the query of a list of files may have.
pub(super) const QUERY: &[QueryParameter] = &[limit(LIST_LEN), AFTER, ORDER, PURPOSE];

/// How many entries of a list come; so many if a client does not say.
pub(super) const fn limit(default: u32) -> QueryParameter {
    QueryParameter {
        name: "limit",
        schema: Schema::Integer(1, LIST_LEN as i64),
        default: Some(Plain::Number(default as f64)),
        doc: "The list ends after so many entries; `has_more` says whether there are others.",
    }
}

/// The batches of a server; 404 where it keeps none.
pub(super) fn batches(server: &Server) -> Result<&Batches, ApiError> {
    server.options.batches.as_deref().ok_or_else(|| {
        let message = "this server keeps no files and runs no batches: start it with a folder for them (option batch-dir)";
        ApiError { status: 404, code: Some("batches_disabled"), ..ApiError::invalid("", message) }
    })
}

/// The error that a client is told; `param` is what it would have to change.
pub(super) fn refusal(param: &str, error: BatchesError) -> ApiError {
    let message = error.told();
    match error {
        BatchesError::NotFound { .. } => ApiError { status: 404, ..ApiError::invalid(param, message) },
        BatchesError::InUse { .. } | BatchesError::Ended | BatchesError::WrongPurpose => {
            ApiError::invalid(param, message)
        }
        BatchesError::TooMany { of_key, .. } => {
            ApiError { budget: Some(Bound::Entries.option(of_key)), ..ApiError::invalid(param, message) }
        }
        BatchesError::Full { of_key, .. } => {
            ApiError { budget: Some(Bound::Bytes.option(of_key)), ..ApiError::invalid(param, message) }
        }
        BatchesError::Folder { .. } => ApiError { retry: Retry::Never, ..ApiError::server(500, message) },
    }
}

/// Keeps a file that comes as a form with the fields `purpose` and `file`.
pub fn upload(exchange: &mut Exchange<'_>) -> Result<(), ApiError> {
    let batches = batches(exchange.server)?;
    let body = exchange.body()?;
    let content_type = exchange.header("content-type").unwrap_or_default();
    let parts = multipart::parts(content_type, &body)?;
    let part = |name: &str| {
        let part = parts.iter().find(|part| part.name == name);
        part.ok_or_else(|| ApiError::invalid(name, format!("the form has no field {name}")))
    };
    let purpose = String::from_utf8_lossy(part("purpose")?.bytes);
    if purpose != INPUT {
        let message = format!("purpose must be {INPUT}, found {}", quote(&purpose));
        return Err(ApiError::invalid("purpose", message));
    }
    let file = part("file")?;
    if file.bytes.len() > batches.limits.file_bytes {
        let message = format!("the file is larger than {} bytes", batches.limits.file_bytes);
        let error = ApiError::invalid("file", message);
        return Err(ApiError { status: 413, budget: Some("max-file-bytes"), ..error });
    }
    let name = shorten(file.filename.as_deref().unwrap_or("file"), NAME_CHARS);
    let kept = batches.add_file(exchange.owner(), &name, file.bytes);
    let kept = kept.map_err(|error| refusal("file", error))?;
    exchange.server.budgets.sweeper.freed(body.len());
    drop(body);
    exchange.send_json(200, &kept.shown(), &[]);
    Ok(())
}

/// Answers with a list of the files, the newest first.
pub fn list(exchange: &mut Exchange<'_>) -> Result<(), ApiError> {
    let files = batches(exchange.server)?.files(exchange.owner());
    let purpose = exchange.query(PURPOSE.name);
    let files =
        files.into_iter().filter(|file| purpose.as_deref().is_none_or(|purpose| file.purpose == purpose));
    let shown = files.map(|file| (file.id.clone(), file.shown())).collect();
    let page = page(exchange, shown, LIST_LEN)?;
    exchange.send_json(200, &page, &[]);
    Ok(())
}

/// A piece of a list, as its query asks for it: `limit`, `after`, `order`.
pub(super) fn page(
    exchange: &Exchange<'_>,
    mut all: Vec<(String, Value)>,
    default_len: u32,
) -> Result<Value, ApiError> {
    match exchange.query(ORDER.name).as_deref() {
        None | Some("desc") => {}
        Some("asc") => all.reverse(),
        Some(other) => {
            let message = format!("order must be asc or desc, found {}", quote(other));
            return Err(ApiError::invalid("order", message));
        }
    }
    let limit = integer(exchange, &limit(default_len))?.unwrap_or(u64::from(default_len));
    if let Some(after) = exchange.query(AFTER.name) {
        let Some(at) = all.iter().position(|(id, _)| *id == after) else {
            return Err(ApiError::invalid("after", format!("after {} is none of the list", quote(&after))));
        };
        all.drain(..=at);
    }
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let has_more = all.len() > limit;
    all.truncate(limit);
    let (first, last) = (all.first().map(|(id, _)| id.clone()), all.last().map(|(id, _)| id.clone()));
    let data: Vec<Value> = all.into_iter().map(|(_, shown)| shown).collect();
    Ok(json!({"object": "list", "data": data, "first_id": first, "last_id": last, "has_more": has_more}))
}

/// Answers with what is known of a file.
pub fn one(exchange: &mut Exchange<'_>) -> Result<(), ApiError> {
    let file = batches(exchange.server)?.file(exchange.owner(), exchange.path_parameter());
    let file = file.map_err(|error| refusal("file_id", error))?;
    exchange.send_json(200, &file.shown(), &[]);
    Ok(())
}

/// Answers with what is in a file.
pub fn content(exchange: &mut Exchange<'_>) -> Result<(), ApiError> {
    let content = batches(exchange.server)?.content(exchange.owner(), exchange.path_parameter());
    let content = content.map_err(|error| refusal("file_id", error))?;
    exchange.send_pieces("application/octet-stream", content);
    Ok(())
}

/// Deletes a file that no batch needs any more.
pub fn delete(exchange: &mut Exchange<'_>) -> Result<(), ApiError> {
    let id = exchange.path_parameter().to_owned();
    let deleted = batches(exchange.server)?.delete_file(exchange.owner(), &id);
    deleted.map_err(|error| refusal("file_id", error))?;
    exchange.send_json(200, &json!({"id": id, "object": "file", "deleted": true}), &[]);
    Ok(())
}
