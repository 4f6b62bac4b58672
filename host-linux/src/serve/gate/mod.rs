//! The gate: connections in front of tiny_http, which trusts its clients.
//!
//! tiny_http gives each connection a thread without limit, waits for bytes without limit, ends at
//! the first connection that cannot be accepted, allocates whatever a `Content-Length` says, and
//! tells nobody when a client leaves. So clients connect to the gate. It reads whole requests,
//! bounded in bytes and time ([`incoming`], [`head`]), hands each well-formed one to tiny_http over
//! a Unix socket of its own, and copies the answer back while it watches the client:
//!
//! ```text
//! client ── TCP ──► gate: one request, whole ── Unix ──► tiny_http ──► handler
//!        ◄────────── bytes as they come ◄─────────────────┘   └── asks [`Client::has_left`]
//! ```
//!
//! Each connection has a thread, and there are at most [`CONNECTIONS_MAX`]. A client beyond them
//! gets 503 at once.
mod head;
mod incoming;

use super::error::ApiError;
use super::notice::Notice;
use super::observe::Observer;
use crate::sys::sockets::{raise_descriptor_limit, wait_for_either};
use head::Head;
pub(super) use head::ID_HEADER;
use incoming::{Incoming, Missing};
use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Connections that are open at once.
const CONNECTIONS_MAX: usize = 512;
/// How long a client may take to read a piece of its answer.
const WRITE_TIME: Duration = Duration::from_secs(60);
/// How long tiny_http may take to hand a request to a handler.
const ARRIVAL_TIME: Duration = Duration::from_secs(5);
/// How long to wait for bytes that `poll` has reported.
const AHEAD_TIME: Duration = Duration::from_millis(100);
/// Bytes that a client may send ahead while its answer is written.
const AHEAD_MAX: usize = 64 << 10;

/// The client that waits for the answer to a request.
#[derive(Clone, Debug, Default)]
pub(super) struct Client {
    has_left: Arc<AtomicBool>,
}

impl Client {
    /// Whether the client has closed its connection.
    pub(super) fn has_left(&self) -> bool {
        self.has_left.load(Ordering::Relaxed)
    }

    fn leave(&self) {
        self.has_left.store(true, Ordering::Relaxed);
    }
}

/// The clients whose requests are on their way from the gate to a handler.
#[derive(Debug, Default)]
pub(super) struct Handover {
    waiting: Mutex<HashMap<u64, Client>>,
    taken: Condvar,
    next: AtomicU64,
}

impl Handover {
    fn waiting(&self) -> MutexGuard<'_, HashMap<u64, Client>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn announce(&self) -> (u64, Client) {
        let (id, client) = (self.next.fetch_add(1, Ordering::Relaxed), Client::default());
        self.waiting().insert(id, client.clone());
        (id, client)
    }

    /// The client of a request, by the value of its [`ID_HEADER`].
    pub(super) fn take(&self, id: Option<&str>) -> Client {
        let client = id.and_then(|id| self.waiting().remove(&id.parse().ok()?));
        self.taken.notify_all();
        client.unwrap_or_default()
    }

    /// Waits until a handler takes the request; `false` if none does within [`ARRIVAL_TIME`].
    fn was_taken(&self, id: u64) -> bool {
        let still = |waiting: &mut HashMap<u64, Client>| waiting.contains_key(&id);
        let waited = self.taken.wait_timeout_while(self.waiting(), ARRIVAL_TIME, still);
        let (mut waiting, _) = waited.unwrap_or_else(PoisonError::into_inner);
        waiting.remove(&id).is_none()
    }
}

/// What all connections share.
#[derive(Debug)]
struct Gate {
    socket: PathBuf,
    handover: Arc<Handover>,
    observer: Arc<dyn Observer>,
    /// Held while a request is handed over. Requests go one by one, because tiny_http trusts a
    /// count of its idle threads that lags behind.
    handing_over: Mutex<()>,
    connections: AtomicUsize,
}

/// Starts the thread that accepts connections for as long as the process lives. Requests go to the
/// Unix `socket`.
pub(super) fn open(
    listener: TcpListener,
    socket: PathBuf,
    handover: Arc<Handover>,
    observer: Arc<dyn Observer>,
) -> Result<(), String> {
    // A connection takes up to six descriptors.
    raise_descriptor_limit();
    let gate = Arc::new(Gate {
        socket,
        handover,
        observer,
        handing_over: Mutex::new(()),
        connections: AtomicUsize::new(0),
    });
    let accept = move || {
        loop {
            match listener.accept() {
                Ok((stream, _)) => admit(&gate, stream),
                // Out of descriptors, or a client that left at once: neither may end the server.
                Err(_) => std::thread::sleep(Duration::from_millis(20)),
            }
        }
    };
    let spawned = std::thread::Builder::new().name("verbatim-gate".to_owned()).spawn(accept);
    spawned.map(|_| ()).map_err(|error| format!("the gate's thread cannot be started: {error}"))
}

/// Counts a connection until it is dropped.
struct OpenConnection(Arc<Gate>);

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.0.connections.fetch_sub(1, Ordering::Relaxed);
    }
}

fn admit(gate: &Arc<Gate>, stream: TcpStream) {
    let busy = gate.connections.fetch_add(1, Ordering::Relaxed);
    let connection = OpenConnection(Arc::clone(gate));
    // The small pieces of a stream should not wait for each other, and a client that stops reading
    // must not hold a thread.
    let _ = stream.set_nodelay(true);
    let _ = stream.set_write_timeout(Some(WRITE_TIME));
    if busy >= CONNECTIONS_MAX {
        let _ = stream.set_nonblocking(true);
        return write_error(&stream, &ApiError::server(503, "too many connections at once"));
    }
    let serve = move || {
        let gate = &connection.0;
        let mut incoming = Incoming::new(&stream);
        // Each turn is one request; `false` ends the connection.
        while turn(gate, &stream, &mut incoming) {}
    };
    // Without a thread the stream is dropped, which the client sees as a closed connection.
    if let Err(error) = std::thread::Builder::new().name("verbatim-client".to_owned()).spawn(serve) {
        gate.observer.notice(&Notice::ConnectionClosed(error));
    }
}

/// Reads one request and relays it; `true` if another may follow.
fn turn(gate: &Gate, stream: &TcpStream, incoming: &mut Incoming<'_>) -> bool {
    let request = incoming.head().and_then(|head| {
        if head.expects_continue && incoming.ahead() == 0 {
            // If this fails, so will reading the body.
            let _ = (&mut &*stream).write_all(b"HTTP/1.1 100 Continue\r\n\r\n");
        }
        let body = incoming.body(head.framing)?;
        Ok((head, body))
    });
    let (head, body) = match request {
        Ok(request) => request,
        Err(Missing::Closed) => return false,
        Err(Missing::Refused(error)) => {
            refuse(stream, &error);
            return false;
        }
    };
    match hand_over(gate, &head, &body) {
        Ok((inner, client)) => relay(stream, incoming, inner, &client) && !head.close,
        Err(error) => {
            refuse(stream, &ApiError::server(503, format!("the request could not be taken: {error}")));
            false
        }
    }
}

/// Sends a request to tiny_http and waits until a handler has taken it.
fn hand_over(gate: &Gate, head: &Head, body: &[u8]) -> std::io::Result<(UnixStream, Client)> {
    let _one_by_one = gate.handing_over.lock().unwrap_or_else(PoisonError::into_inner);
    let (id, client) = gate.handover.announce();
    let mut text = format!("{}\r\n", head.line);
    for (name, value) in &head.headers {
        text.push_str(&format!("{name}: {value}\r\n"));
    }
    text.push_str(&format!(
        "{ID_HEADER}: {id}\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
        body.len()
    ));
    let send = || {
        let mut inner = UnixStream::connect(&gate.socket)?;
        inner.write_all(text.as_bytes())?;
        // The socket's buffer has no room for a larger body, which the handler reads after it has
        // taken the request.
        let mut writer = inner.try_clone()?;
        if body.len() <= 64 << 10 {
            writer.write_all(body)?;
        } else {
            let body = body.to_vec();
            // The thread ends with the connection, whatever the handler does.
            std::thread::Builder::new().spawn(move || drop(writer.write_all(&body)))?;
        }
        Ok(inner)
    };
    let sent = send();
    if sent.is_err() {
        gate.handover.take(Some(&id.to_string()));
    } else if !gate.handover.was_taken(id) {
        return Err(std::io::Error::other("no handler took it"));
    }
    sent.map(|inner| (inner, client))
}

/// Copies the answer to the client until its end; `true` if all of it was copied. A client that
/// closes its connection has left.
fn relay(stream: &TcpStream, incoming: &mut Incoming<'_>, mut inner: UnixStream, client: &Client) -> bool {
    let mut piece = vec![0; 16 << 10];
    loop {
        let Some(ready) = wait_for_either(&inner, stream, incoming.ahead() < AHEAD_MAX) else { continue };
        if ready.first {
            match inner.read(&mut piece) {
                Ok(0) => return true,
                Ok(count) => {
                    if (&mut &*stream).write_all(&piece[..count]).is_err() {
                        client.leave();
                        return false;
                    }
                }
                Err(_) => return false,
            }
        }
        let at_end = |incoming: &mut Incoming<'_>| {
            matches!(incoming.fill(Instant::now() + AHEAD_TIME), Ok(0) | Err(Missing::Closed))
        };
        if ready.second_is_broken || (ready.second && at_end(incoming)) {
            client.leave();
            return false;
        }
    }
}

fn write_error(mut stream: &TcpStream, error: &ApiError) {
    let body = error.body().to_string();
    let reason = match error.status {
        400 => "Bad Request",
        408 => "Request Timeout",
        413 => "Content Too Large",
        417 => "Expectation Failed",
        431 => "Request Header Fields Too Large",
        501 => "Not Implemented",
        505 => "HTTP Version Not Supported",
        _ => "Service Unavailable",
    };
    let text = format!(
        "HTTP/1.1 {} {reason}\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        error.status,
        body.len()
    );
    // A client that is gone wants no answer.
    let _ = stream.write_all(text.as_bytes());
}

/// Tells the client why its request is refused, and ends the connection so that the client can
/// still read the answer.
fn refuse(mut stream: &TcpStream, error: &ApiError) {
    write_error(stream, error);
    // A connection closed with unread bytes is reset, and the answer may be lost with it.
    let _ = stream.shutdown(Shutdown::Write);
    let until = Instant::now() + Duration::from_secs(1);
    let mut piece = [0; 16 << 10];
    while Instant::now() < until {
        let _ = stream.set_read_timeout(Some(Duration::from_millis(200)));
        if !matches!(stream.read(&mut piece), Ok(1..)) {
            break;
        }
    }
}
