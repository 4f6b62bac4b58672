//! tiny_http behind the [gate](super::gate): a thread for each request that is being answered, and
//! the routes.
use super::Server;
use super::error::ApiError;
use super::events::Events;
use super::gate::{self, ID_HEADER, Visitor, Visitors};
use super::notice::{Notice, tell};
use super::request::{Endpoint, parse};
use super::respond::Answer;
use crate::runtime::EngineGauges;
use crate::sys::signals::{catch_stop_signals, stop_is_requested};
use serde_json::{Value, json};
use std::net::TcpListener;
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tiny_http::{Header, Method, Request, Response};
use verbatim_core::engine::DraftCounters;

/// How long running requests may take after the signal to stop.
const DRAIN_TIME: Duration = Duration::from_secs(10);

/// Binds; a port in use is an error.
pub fn listen(host: &str, port: u16) -> Result<TcpListener, String> {
    TcpListener::bind((host, port)).map_err(|error| format!("{host}:{port}: {error}"))
}

/// A directory that only this user can enter, removed when dropped: where the gate's socket is.
struct Private(PathBuf);

impl Private {
    fn new() -> Result<Self, String> {
        let name = format!("verbatim-{}-{}", std::process::id(), draw_id());
        let path = std::env::temp_dir().join(name);
        let made = std::fs::DirBuilder::new().mode(0o700).create(&path);
        made.map_err(|error| format!("{}: cannot create: {error}", path.display()))?;
        Ok(Self(path))
    }
}

impl Drop for Private {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Serves until SIGINT or SIGTERM; then lets running requests end.
pub fn run(listener: TcpListener, server: &Arc<Server>) -> Result<(), String> {
    catch_stop_signals();
    let directory = Private::new()?;
    let socket = directory.0.join("http");
    let inner = UnixListener::bind(&socket).map_err(|error| format!("{}: {error}", socket.display()))?;
    let http = tiny_http::Server::from_listener(inner, None).map_err(|error| error.to_string())?;
    let visitors = Arc::new(Visitors::default());
    gate::open(listener, socket, Arc::clone(&visitors))?;
    let busy = Arc::new(AtomicUsize::new(0));
    while !stop_is_requested() {
        let request = match http.recv_timeout(Duration::from_millis(200)) {
            Ok(Some(request)) => request,
            Ok(None) => continue,
            Err(error) => return Err(format!("the server cannot accept connections: {error}")),
        };
        let id = request.headers().iter().find(|header| header.field.equiv(ID_HEADER));
        let visitor = visitors.take(id.map(|header| header.value.as_str()));
        busy.fetch_add(1, Ordering::Relaxed);
        let (server, place) = (Arc::clone(server), Place(Arc::clone(&busy)));
        let spawned = std::thread::Builder::new().name("verbatim-http".to_owned()).spawn(move || {
            let _place = place;
            handle(&server, request, &visitor);
        });
        if let Err(error) = spawned {
            // Dropped with its closure, the request was answered with a 500.
            tell(&Notice::RequestRefused(error));
        }
    }
    tell(&Notice::Stopping);
    let since = Instant::now();
    while busy.load(Ordering::Relaxed) > 0 && since.elapsed() < DRAIN_TIME {
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

/// A running handler, uncounted when dropped, by a handler that panics too.
struct Place(Arc<AtomicUsize>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Sixteen hex digits for ids.
fn draw_id() -> String {
    super::draw_seed().map_or_else(|_| "0".repeat(16), |seed| format!("{seed:016x}"))
}

fn handle(server: &Server, mut request: Request, visitor: &Visitor) {
    let path = request.url().split('?').next().unwrap_or_default().to_owned();
    let method = request.method().clone();
    let expected = match path.as_str() {
        "/v1/completions" | "/v1/chat/completions" => Method::Post,
        "/v1/models" | "/health" | "/" => Method::Get,
        _ => {
            let error =
                ApiError { status: 404, ..ApiError::invalid("", format!("there is nothing at {path}")) };
            return refuse(request, &error);
        }
    };
    if method != expected && !(expected == Method::Get && method == Method::Head) {
        let message = format!("{path} takes {expected}, not {method}");
        return refuse(request, &ApiError { status: 405, ..ApiError::invalid("", message) });
    }
    match path.as_str() {
        "/v1/models" => {
            let model = json!({
                "id": server.model.name, "object": "model", "created": server.created, "owned_by": "verbatim",
                "max_model_len": server.model.limits.model_len,
                "system_fingerprint": server.model.fingerprint,
            });
            send_json(request, 200, &json!({"object": "list", "data": [model]}), &[]);
        }
        "/health" | "/" => match server.engine.failure() {
            Some(failure) => refuse(request, &ApiError::server(503, failure.to_string())),
            None => {
                let load = health(&server.engine.gauges());
                send_json(request, 200, &load, &[]);
            }
        },
        _ => {
            let endpoint = if path.contains("chat") { Endpoint::Chat } else { Endpoint::Completions };
            let mut body = Vec::new();
            // The gate has it whole and bounded, so this fails only if the gate is gone.
            match request.as_reader().read_to_end(&mut body) {
                Ok(_) => answer(server, request, endpoint, &body, visitor),
                Err(error) => refuse(request, &ApiError::server(500, format!("the body: {error}"))),
            }
        }
    }
}

/// What the engine does now, and what it has done: tokens that were in the cache, and what became
/// of guesses.
fn health(gauges: &EngineGauges) -> Value {
    let EngineGauges { status, counters } = gauges;
    let drafts = |of: &DraftCounters| json!({"verified": of.verified, "accepted": of.accepted});
    json!({
        "status": "ok", "running": status.running, "waiting": status.waiting, "steps": status.steps,
        "preemptions": status.preemptions, "cached_tokens": counters.hit_tokens,
        "drafts": {"lookup": drafts(&counters.lookup), "model": drafts(&counters.model)},
    })
}

fn answer(server: &Server, request: Request, endpoint: Endpoint, body: &[u8], visitor: &Visitor) {
    let parsed = match parse(endpoint, body, &server.model) {
        Ok(parsed) => parsed,
        Err(error) => return refuse(request, &error),
    };
    let id = draw_id();
    let answer = Answer::new(server, endpoint, &id, visitor);
    let seed = parsed.seed.to_string();
    let headers = [("x-request-id", id.as_str()), ("x-verbatim-seed", seed.as_str())];
    if !parsed.stream {
        // A panic in here must not lose the request.
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| answer.whole(&parsed)));
        match result {
            Ok(Ok(body)) => send_json(request, 200, &body, &headers),
            Ok(Err(error)) => refuse(request, &error),
            Err(_) => {
                refuse(request, &ApiError::server(500, "an internal error was reported on standard error"))
            }
        }
        return;
    }
    let mut pending = Some(request);
    let open = || Events::open(pending.take(), &headers);
    if let Err(error) = answer.stream(&parsed, open)
        && let Some(request) = pending.take()
    {
        refuse(request, &error);
    }
}

fn refuse(request: Request, error: &ApiError) {
    let headers: &[(&str, &str)] = if error.status == 429 { &[("Retry-After", "1")] } else { &[] };
    send_json(request, error.status, &error.body(), headers);
}

fn send_json(request: Request, status: u16, body: &Value, headers: &[(&str, &str)]) {
    let mut response = Response::from_data(body.to_string()).with_status_code(status);
    for (name, value) in headers.iter().chain(&[("Content-Type", "application/json")]) {
        if let Ok(header) = Header::from_bytes(name.as_bytes(), value.as_bytes()) {
            response.add_header(header);
        }
    }
    // A client that is gone wants no answer.
    let _ = request.respond(response);
}
