//! The table of parameters: every name that a body may have, at which endpoints, what becomes of
//! it, and the values that it takes.
//!
//! Checking, refusals, the list of ignored names, `/openapi.json` and `docs/api.md` are made from
//! it. A parameter that would change the answer and is not supported is refused by name; one that
//! cannot change it is taken and told among `verbatim.ignored`, as an unknown name is. To support a
//! parameter, change its row to [`Kind::Used`] and read it.
//!
//! * [`endpoint`]: the endpoints as bits. [`parameter`]: what a row is made of.
//! * `check`: a body against the table. `schema`: a schema in words, and as JSON Schema.
//! * The rows by subject: `sampling`, `output`, `prompts`, `structure`, `tools`, `scheduling`;
//!   `peers`, the names of other servers; what single APIs add: `responses`, `messages`, `ollama`,
//!   `pooling`, `tokens`, `batches`; and `misplaced`, the names of one at the others.
//!
//! A name that one generating endpoint reads or refuses has a row at all of them.
//!
//! [`SOURCES`] says which versions of other servers' request schemas the list is complete against.
mod batches;
mod check;
pub mod endpoint;
#[cfg(test)]
mod everywhere_tests;
mod messages;
mod misplaced;
mod ollama;
mod output;
pub mod parameter;
mod peers;
mod pooling;
mod prompts;
mod responses;
mod sampling;
mod scheduling;
mod schema;
mod structure;
#[cfg(test)]
mod tests;
mod tokens;
mod tools;

pub use endpoint::*;
pub use parameter::{Kind, Parameter, Plain, Schema};

use super::fields;
use super::limits::RequestBounds;
use crate::load::generation_config::GenerationDefaults;
use crate::serve::error::ApiError;
use check::Check;
use serde_json::{Map, Value, json};
use std::collections::HashMap;
use std::sync::LazyLock;

/// The request schemas that the list was compared with, each with its version.
pub const SOURCES: &[(&str, &str)] = &[
    ("OpenAI", "the Python package `openai` 3.57.0: completions, chat, responses, embeddings, batches"),
    ("Anthropic", "the Python package `anthropic` 2.14.0: messages, count_tokens, and their betas"),
    (
        "vLLM",
        "its repository, below vllm/entrypoints: completions and chat at 002032ee, their inner objects at \
         022e555d, responses at 010a69ce, messages at 00589e56, embeddings at 020638a6, rerank and score at \
         004706d8, tokenize at 030ea52e, and the older `guided_*` names at 0052bed3",
    ),
    (
        "llama-server",
        "llama.cpp, below tools/server: server-schema.cpp at 23b5dbd4 and 0177c342, server-common.cpp at \
         aa6192d3, server-chat.cpp at fcad53c5",
    ),
    (
        "Ollama",
        "the Python package `ollama` 0.6.3, and api/types.go and openai/openai.go of its repository as \
         they are with log-probabilities and image generation",
    ),
];

/// The rows of all parameters, by subject. A name has one row for an endpoint at most.
pub static TABLES: &[&[Parameter]] = &[
    prompts::ROWS,
    sampling::ROWS,
    output::ROWS,
    structure::ROWS,
    tools::ROWS,
    scheduling::ROWS,
    responses::ROWS,
    messages::ROWS,
    ollama::ROWS,
    pooling::ROWS,
    tokens::ROWS,
    batches::ROWS,
    peers::ROWS,
    misplaced::ROWS,
];

/// The parameter in which a body gives its request an id, as vLLM's clients do. It is read where
/// the body is, and by no endpoint's reader.
pub const REQUEST_ID: &str = "request_id";

/// The endpoints whose readers check each parameter that has an effect, and whose order of errors
/// is part of what a client sees.
const HAVE_READERS: Endpoints = OPENAI;

static BY_NAME: LazyLock<HashMap<&'static str, Vec<&'static Parameter>>> = LazyLock::new(|| {
    let mut by_name: HashMap<_, Vec<_>> = HashMap::new();
    for row in TABLES.iter().copied().flatten() {
        by_name.entry(row.name).or_default().push(row);
    }
    by_name
});

/// All rows that are about an endpoint.
pub fn rows_of(endpoint: Endpoints) -> impl Iterator<Item = &'static Parameter> {
    TABLES.iter().copied().flatten().filter(move |row| row.endpoints & endpoint != 0)
}

/// The row of a name at an endpoint.
pub fn find(endpoint: Endpoints, name: &str) -> Option<&'static Parameter> {
    BY_NAME.get(name)?.iter().copied().find(|row| row.endpoints & endpoint != 0)
}

/// Reads the object that a body within `bounds` is, and checks it against the table. Every
/// endpoint that takes a body begins with this.
///
/// Returns the object and the names that have no meaning here, as far as they are kept: unknown
/// ones, those of other endpoints, and those that cannot change an answer. A server that is
/// `is_strict` refuses the unknown ones and those of other endpoints.
pub fn checked_object(
    endpoint: Endpoints,
    body: &[u8],
    bounds: &RequestBounds,
    is_strict: bool,
) -> Result<(Map<String, Value>, Vec<String>), ApiError> {
    let object = fields::object(body, bounds)?;
    let ignored = checked(endpoint, &object, is_strict)?;
    Ok((object, ignored))
}

/// Checks an object that was read, as [`checked_object`] does.
pub fn checked(
    endpoint: Endpoints,
    object: &Map<String, Value>,
    is_strict: bool,
) -> Result<Vec<String>, ApiError> {
    let find = |name: &str| find(endpoint, name);
    let has_readers = endpoint & HAVE_READERS != 0;
    let mut check = Check { is_strict, has_readers, find: &find, ignored: Vec::new() };
    check.body(object)?;
    Ok(check.ignored)
}

/// Checks one value at the top of a body by its row, types and bounds included, also where a reader
/// of the endpoint would check it: for clients that ask before they send a body.
pub fn checked_value(endpoint: Endpoints, name: &str, value: &Value) -> Result<(), ApiError> {
    let find = |name: &str| find(endpoint, name);
    let mut check = Check { is_strict: false, has_readers: false, find: &find, ignored: Vec::new() };
    check.body(&Map::from_iter([(name.to_owned(), value.clone())]))
}

/// The JSON Schema of an endpoint's body, with the defaults that a model has of its own.
pub fn body_schema(endpoint: Endpoints, model: &GenerationDefaults) -> Value {
    let mut properties = schema::properties(rows_of(endpoint));
    // As the file of the model has it: 0.7 rather than the nearest float in binary.
    let short = |x: f32| x.to_string().parse::<f64>().ok().map(Value::from);
    for (name, own) in [
        ("temperature", model.temperature.and_then(short)),
        ("top_p", model.top_p.and_then(short)),
        ("top_k", model.top_k.map(Value::from)),
    ] {
        if let (Some(own), Some(default)) = (own, properties[name].get_mut("default")) {
            *default = own;
        }
    }
    json!({"type": "object", "properties": properties})
}
