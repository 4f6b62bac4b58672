//! The OpenAI API over HTTP.
//!
//! A request passes these files in turn:
//!
//! * [`transport`]: connections, from a port to requests that have come whole, and back. It also
//!   ends the server. [`lifecycle`]: where the server stands between its start and its end.
//! * `routes`: the table of routes, and the way from route through guards and handler to observer.
//! * [`guards`]: what must hold before a handler runs: keys, quotas, web pages, hosts.
//! * [`api`]: the endpoints. They see a request as an [`exchange`].
//! * [`assets`]: files that are served as they are; [`page`]: those of the page at `/`.
//!   [`dashboard`]: those of the page that shows the scheduler.
//! * [`active`]: requests that the engine computes for. [`watchers`]: those who watch it live.
//! * [`budgets`]: what requests spend together. [`turns`]: a few at once, the others in order.
//! * [`options`]: what whoever starts the server decides about all of these, and the [`setting`]s
//!   that come of it.
//! * [`error`]: errors as clients expect them, in the shape of their API (`error_shape`).
//!   [`events`]: answers as streams.
//! * [`observe`]: what is told of a request after its answer, and of the server ([`notice`]).
//!   [`watch`]: metrics and the log, which are made of it.
pub mod active;
pub mod api;
pub mod assets;
pub mod budgets;
pub mod dashboard;
pub mod error;
mod error_shape;
pub mod events;
pub mod exchange;
pub mod guards;
pub mod lifecycle;
pub mod notice;
pub mod observe;
pub mod options;
pub mod page;
mod routes;
pub mod server;
pub mod setting;
pub mod transport;
pub mod turns;
pub mod watch;
pub mod watchers;

use crate::batch::turns::TurnRules;
use crate::batch::worker::Worker;
use crate::runtime::{EngineHandle, ServedModel};
use api::lines::LineAnswers;
use guards::state::Guards;
use lifecycle::Lifecycle;
use notice::Notice;
use observe::Observer;
use options::ServeOptions;
use server::Server;
use std::sync::Arc;
use transport::ServeError;
use transport::listen::Listeners;

/// Serves a model whose engine runs until a signal or `lifecycle` asks the server to stop; the
/// engine goes on. `observer` hears of each request and of the server itself.
pub fn serve(
    listeners: &Listeners,
    model: Arc<ServedModel>,
    engine: EngineHandle,
    observer: Arc<dyn Observer>,
    options: ServeOptions,
    lifecycle: Arc<Lifecycle>,
) -> Result<(), ServeError> {
    let (guards, notices) = Guards::open(&options.guard, &listeners.addresses()).map_err(ServeError::Keys)?;
    notices.into_iter().for_each(|notice| observer.notice(&Notice::Guard(notice)));
    let server = Arc::new(Server::new(model, engine, observer, guards, options, Arc::clone(&lifecycle)));
    let (hears, ends) = (Arc::clone(&server.observer), Arc::clone(&lifecycle));
    server.engine.on_notice(move |notice| hears.notice(&Notice::Engine(notice.clone())));
    // It may have failed already, which nobody was told of.
    server.engine.on_failure(move |failure| ends.fail(failure.to_string()));
    let reread = Arc::clone(&server);
    lifecycle.on_hangup(move || reread.reread());
    start_batches(&server)?;
    transport::run(listeners, &server)
}

/// Starts the thread that has the server's batches run, if it keeps any. It ends with the server;
/// what is not answered then is answered when the server is started again.
fn start_batches(server: &Arc<Server>) -> Result<(), ServeError> {
    let Some(batches) = server.options.batches.clone() else { return Ok(()) };
    let server = Arc::clone(server);
    let work = move || {
        let is_ending = || server.lifecycle.is_ending();
        let answers = LineAnswers::new(Arc::clone(&server), true);
        let sequences = server.model.limits.sequences;
        Worker {
            batches: &batches,
            answerer: &answers,
            // The others are left to live requests.
            in_flight: (sequences - sequences / 4).max(1),
            line_bytes: server.options.connections.body_bytes,
            rules: TurnRules::default(),
            is_ending: &is_ending,
        }
        .work();
    };
    let thread = std::thread::Builder::new().name("verbatim-turns".to_owned()).spawn(work);
    thread.map(drop).map_err(ServeError::System)
}
