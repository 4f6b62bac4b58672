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
//! * [`observe`]: what is told of a request after its answer, and of the server ([`notice`]); the
//!   place for metrics and logs.
pub mod api;
pub mod error;
pub mod exchange;
mod gate;
pub mod guards;
mod http;
pub mod notice;
pub mod observe;
mod routes;
pub mod server;
pub mod sse;

use crate::runtime::{EngineHandle, ServedModel};
pub use http::listen;
use observe::Observer;
use server::{Server, now};
use std::net::TcpListener;
use std::sync::Arc;

/// Serves a model whose engine runs until a signal asks the process to stop; the engine goes on.
/// `observer` hears of each request and of the server itself.
pub fn serve(
    listener: TcpListener,
    model: Arc<ServedModel>,
    engine: EngineHandle,
    observer: Arc<dyn Observer>,
) -> Result<(), String> {
    http::run(listener, &Arc::new(Server { model, engine, created: now(), observer }))
}
