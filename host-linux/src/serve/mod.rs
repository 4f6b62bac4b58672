//! The OpenAI API over HTTP.
//!
//! A request passes these files in turn:
//!
//! * `gate`: connections, bounded in bytes and time, in front of tiny_http. `http`: tiny_http, a
//!   thread for each request, and the end of the server.
//! * `routes`: the table of routes, and the way from route through guards and handler to observer.
//! * [`guards`]: what must hold before a handler runs; the place for keys and limits.
//! * [`api`]: the endpoints. They see a request as an [`exchange`].
//! * [`error`]: errors as clients expect them. [`sse`]: streams of events.
//! * [`observe`]: what is told of a request after its answer; the place for metrics and logs.
pub mod api;
pub mod error;
pub mod exchange;
mod gate;
pub mod guards;
mod http;
pub mod observe;
mod routes;
pub mod server;
pub mod sse;

pub use server::draw_seed;

use crate::load::Progress;
use crate::runtime::{EngineHandle, Options, ServedModel};
use crate::sys::cpu::model_name;
use observe::Log;
use server::{Server, now};
use std::sync::Arc;

/// Loads the model and serves it until a signal asks the process to stop. Errors are one line.
pub fn serve(options: &Options, host: &str, port: u16, progress: &dyn Progress) -> Result<(), String> {
    // An error about the port should come before minutes of loading.
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
    let observer = Box::<Log>::default();
    let server = Arc::new(Server { model, engine: engine.clone(), created: now(), observer });
    let result = http::run(listener, &server);
    engine.stop();
    // A panic of the thread was reported on standard error.
    let _ = thread.join();
    result
}
