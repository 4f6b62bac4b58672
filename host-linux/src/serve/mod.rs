//! The OpenAI API over HTTP.
//!
//! * `gate`: connections, bounded in bytes and time, in front of tiny_http; [`http`]: the routes,
//!   on it.
//! * [`error`]: errors in OpenAI's shape. [`request`]: bodies to requests, every parameter checked.
//! * [`respond`]: generations to bodies and [`events`].
//! * [`notice`]: what a running server tells its operator.
pub mod error;
pub mod events;
mod gate;
pub mod http;
pub mod notice;
pub mod request;
pub mod respond;

use crate::runtime::{EngineHandle, ServedModel};
use crate::text::Tokenizer;
use serde_json::{Map, Value};
use std::net::TcpListener;
use std::sync::Arc;

/// Everything a handler needs.
#[derive(Debug)]
pub struct Server {
    /// The model.
    pub model: Arc<ServedModel>,
    /// Its engine.
    pub engine: EngineHandle,
    /// Seconds since the epoch at which it was loaded.
    pub created: u64,
}

/// Serves a model whose engine runs, until told to stop. The engine goes on.
pub fn serve(listener: TcpListener, model: Arc<ServedModel>, engine: EngineHandle) -> Result<(), String> {
    http::run(listener, &Arc::new(Server { model, engine, created: now() }))
}

/// Seconds since the epoch: for `created` fields, nothing else.
pub(crate) fn now() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// A seed for a caller who gave none, from the system's entropy; below 2^53, so that every JSON
/// reader keeps it.
pub fn draw_seed() -> Result<u64, String> {
    crate::sys::entropy::draw_seed()
        .map_err(|error| format!("the system gave no entropy for a seed: {error}"))
}

/// `bos_token`, `eos_token`, …: variables of chat templates.
pub fn special_tokens(tokenizer: &Tokenizer) -> Map<String, Value> {
    let names = ["bos_token", "eos_token", "unk_token", "pad_token"];
    let pair = |name: &str| Some((name.to_owned(), Value::String(tokenizer.special_token(name)?)));
    names.into_iter().filter_map(pair).collect()
}
