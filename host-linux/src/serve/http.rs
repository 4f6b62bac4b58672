//! tiny_http, and what it leaves to us: streaming with a flush after each event, limits on bodies, time-outs on writes,
//! a thread for each request that is being answered.
use super::Server;
use super::error::ApiError;
use super::events::Events;
use super::request::{Endpoint, parse};
use super::respond::Answer;
use serde_json::{Value, json};
use std::io::Read;
use std::net::TcpListener;
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tiny_http::{Header, Method, Request, Response};

/// Bytes of a body at most.
const BODY_MAX: usize = 16 << 20;
/// Bytes of a refused body that are read, so that the connection can go on.
const DRAIN_MAX: u64 = 64 << 20;
/// Requests that are answered at once; the engine's queue is shorter.
const HANDLERS_MAX: usize = 512;
/// How long a client may take to read what it was sent.
const WRITE_TIMEOUT_S: i64 = 60;
/// How long running requests may take after the signal to stop.
const DRAIN_TIME: Duration = Duration::from_secs(10);

static STOP: AtomicBool = AtomicBool::new(false);

/// Binds; accepted sockets inherit no delay and the time-out.
pub fn listen(host: &str, port: u16) -> Result<TcpListener, String> {
    let listener = TcpListener::bind((host, port)).map_err(|error| format!("{host}:{port}: {error}"))?;
    let set = |level, name, value: *const libc::c_void, len: usize| {
        // SAFETY: the descriptor is open, and value points to `len` bytes. Failure leaves the default.
        unsafe { libc::setsockopt(listener.as_raw_fd(), level, name, value, len as libc::socklen_t) };
    };
    let one: libc::c_int = 1;
    set(libc::IPPROTO_TCP, libc::TCP_NODELAY, (&raw const one).cast(), size_of::<libc::c_int>());
    let time = libc::timeval { tv_sec: WRITE_TIMEOUT_S, tv_usec: 0 };
    set(libc::SOL_SOCKET, libc::SO_SNDTIMEO, (&raw const time).cast(), size_of::<libc::timeval>());
    Ok(listener)
}

extern "C" fn on_signal(_: libc::c_int) {
    STOP.store(true, Ordering::Relaxed);
}

/// Serves until SIGINT or SIGTERM; then lets running requests end.
pub fn run(listener: TcpListener, server: &Arc<Server>) -> Result<(), String> {
    for signal in [libc::SIGINT, libc::SIGTERM] {
        // SAFETY: the handler only stores to an atomic.
        unsafe { libc::signal(signal, on_signal as extern "C" fn(libc::c_int) as libc::sighandler_t) };
    }
    let http = tiny_http::Server::from_listener(listener, None).map_err(|error| error.to_string())?;
    let busy = Arc::new(AtomicUsize::new(0));
    while !STOP.load(Ordering::Relaxed) {
        let request = match http.recv_timeout(Duration::from_millis(200)) {
            Ok(Some(request)) => request,
            Ok(None) => continue,
            Err(error) => return Err(format!("the server cannot accept connections: {error}")),
        };
        if busy.fetch_add(1, Ordering::Relaxed) >= HANDLERS_MAX {
            busy.fetch_sub(1, Ordering::Relaxed);
            let error = ApiError::server(503, "too many requests at once");
            send_json(request, 503, &error.body(), &[("Retry-After", "1")]);
            continue;
        }
        let (server, place) = (Arc::clone(server), Place(Arc::clone(&busy)));
        let spawned = std::thread::Builder::new().name("verbatim-http".to_owned()).spawn(move || {
            let _place = place;
            handle(&server, request);
        });
        if let Err(error) = spawned {
            eprintln!("note: a request was dropped: no thread: {error}");
        }
    }
    eprintln!("stopping");
    let since = Instant::now();
    while busy.load(Ordering::Relaxed) > 0 && since.elapsed() < DRAIN_TIME {
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

/// One of [`HANDLERS_MAX`]; given back when dropped, by a handler that panics too.
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

fn handle(server: &Server, mut request: Request) {
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
            });
            send_json(request, 200, &json!({"object": "list", "data": [model]}), &[]);
        }
        "/health" | "/" => match server.engine.failure() {
            Some(failure) => refuse(request, &ApiError::server(503, failure)),
            None => {
                let (running, waiting, steps) = server.engine.load();
                let load = json!({"status": "ok", "running": running, "waiting": waiting, "steps": steps});
                send_json(request, 200, &load, &[]);
            }
        },
        _ => {
            let endpoint = if path.contains("chat") { Endpoint::Chat } else { Endpoint::Completions };
            match read_body(&mut request) {
                Ok(body) => answer(server, request, endpoint, &body),
                Err(error) => refuse(request, &error),
            }
        }
    }
}

fn read_body(request: &mut Request) -> Result<Vec<u8>, ApiError> {
    let too_large = || ApiError {
        status: 413,
        ..ApiError::invalid("", format!("the body is larger than {BODY_MAX} bytes"))
    };
    let announced = request.body_length().unwrap_or(0);
    let mut body = Vec::new();
    if announced <= BODY_MAX {
        let limit = BODY_MAX as u64 + 1;
        let read = request.as_reader().take(limit).read_to_end(&mut body);
        read.map_err(|error| ApiError::invalid("", format!("the body could not be read: {error}")))?;
        if body.len() <= BODY_MAX {
            return Ok(body);
        }
    }
    // tiny_http would allocate what is left of the body in one piece when the request is dropped.
    let _ = std::io::copy(&mut request.as_reader().take(DRAIN_MAX), &mut std::io::sink());
    Err(too_large())
}

fn answer(server: &Server, request: Request, endpoint: Endpoint, body: &[u8]) {
    let parsed = match parse(endpoint, body, &server.model) {
        Ok(parsed) => parsed,
        Err(error) => return refuse(request, &error),
    };
    let id = draw_id();
    let answer = Answer::new(server, endpoint, &id);
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
