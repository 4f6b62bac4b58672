//! The OpenAI API over HTTP.
//!
//! * `gate`: connections, bounded in bytes and time, in front of tiny_http; [`http`]: the routes,
//!   on it.
//! * [`error`]: errors in OpenAI's shape. [`request`]: bodies to requests, every parameter checked.
//! * [`respond`]: generations to bodies and [`events`].
pub mod error;
pub mod events;
mod gate;
pub mod http;
pub mod request;
pub mod respond;

use crate::load::Progress;
use crate::runtime::{EngineHandle, Options, ServedModel};
use crate::sys::cpu::model_name;
use crate::text::Tokenizer;
use serde_json::{Map, Value};
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

/// Loads the model and serves until told to stop.
pub fn serve(options: &Options, host: &str, port: u16, progress: &dyn Progress) -> Result<(), String> {
    // A port in use is told before minutes of loading.
    let listener = http::listen(host, port)?;
    let model = Arc::new(ServedModel::open(options, progress)?);
    model.tell_notes();
    let (engine, thread) = EngineHandle::start(Arc::clone(&model), options.step_ms)?;
    let address = listener.local_addr().map_err(|error| format!("{host}:{port}: {error}"))?;
    eprintln!(
        "{} ({}), weights {}, on {} with {}, {} worker{}",
        model.name,
        model.fingerprint,
        model.loaded.residence(),
        model_name(),
        model.isa.name(),
        model.workers.workers,
        if model.workers.workers == 1 { "" } else { "s" },
    );
    if options.model.is_none() {
        eprintln!("this is the small built-in demonstration model; --model PATH serves a real one");
    }
    let (path, body) = if model.template.is_some() {
        let question = r#"{"messages": [{"role": "user", "content": "What is the capital of France?"}]}"#;
        ("chat/completions", question)
    } else {
        ("completions", r#"{"prompt": "Once upon a time", "max_tokens": 32, "temperature": 0}"#)
    };
    eprintln!("listening on http://{address}; try");
    eprintln!("  curl http://{address}/v1/{path} -H 'Content-Type: application/json' -d '{body}'");
    let server = Arc::new(Server { model, engine: engine.clone(), created: now() });
    let result = http::run(listener, &server);
    engine.stop();
    // What it had to say it said on standard error.
    let _ = thread.join();
    result
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
