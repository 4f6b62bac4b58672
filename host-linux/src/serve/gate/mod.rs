//! The gate: connections in front of tiny_http, which trusts its clients.
//!
//! tiny_http gives each connection a thread without limit, waits for bytes without limit, ends at
//! the first connection that cannot be accepted, allocates whatever a `Content-Length` says, and
//! tells nobody when a client leaves. So clients connect to the gate. It reads whole requests,
//! bounded in bytes and time ([`incoming`], [`head`]), hands each over a Unix socket of its own to
//! tiny_http, well-formed, and copies the answer back while it watches the client:
//!
//! ```text
//! client ── TCP ──► gate: one request, whole ── Unix ──► tiny_http ──► handler
//!        ◄────────── bytes as they come ◄─────────────────┘   └── asks [`Visitor::has_left`]
//! ```
//!
//! A connection is a thread here, at most [`CONNECTIONS_MAX`] of them; beyond that a client is told
//! 503 at once.
mod head;
mod incoming;

use super::error::ApiError;
use super::notice::{Notice, tell};
use crate::sys::sockets::{raise_descriptor_limit, wait_for_either};
use head::Head;
use incoming::{Incoming, Missing};
use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// The header by which a handler finds its [`Visitor`]; a client's own is dropped.
pub(super) const ID_HEADER: &str = "x-verbatim-visitor";
/// Connections at once.
const CONNECTIONS_MAX: usize = 512;
/// How long a client may take to read a piece of its answer.
const WRITE_TIME: Duration = Duration::from_secs(60);
/// How long tiny_http may take to see a request.
const ARRIVAL_TIME: Duration = Duration::from_secs(5);
/// How long to wait for bytes that poll has seen.
const AHEAD_TIME: Duration = Duration::from_millis(100);
/// Bytes that a client may send ahead while its answer is written.
const AHEAD_MAX: usize = 64 << 10;

/// The client behind a request.
#[derive(Clone, Debug, Default)]
pub(super) struct Visitor(Arc<AtomicBool>);

impl Visitor {
    /// Whether the client has closed its connection.
    pub(super) fn has_left(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    fn leave(&self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// The requests that are on their way from the gate to a handler.
#[derive(Debug, Default)]
pub(super) struct Visitors {
    waiting: Mutex<HashMap<u64, Visitor>>,
    taken: Condvar,
    next: AtomicU64,
}

impl Visitors {
    fn waiting(&self) -> MutexGuard<'_, HashMap<u64, Visitor>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn announce(&self) -> (u64, Visitor) {
        let (id, visitor) = (self.next.fetch_add(1, Ordering::Relaxed), Visitor::default());
        self.waiting().insert(id, visitor.clone());
        (id, visitor)
    }

    /// The visitor of a request, by the value of its [`ID_HEADER`].
    pub(super) fn take(&self, id: Option<&str>) -> Visitor {
        let visitor = id.and_then(|id| self.waiting().remove(&id.parse().ok()?));
        self.taken.notify_all();
        visitor.unwrap_or_default()
    }

    /// Waits until the request was taken; whether it was.
    fn was_taken(&self, id: u64) -> bool {
        let still = |waiting: &mut HashMap<u64, Visitor>| waiting.contains_key(&id);
        let waited = self.taken.wait_timeout_while(self.waiting(), ARRIVAL_TIME, still);
        let (mut waiting, _) = waited.unwrap_or_else(PoisonError::into_inner);
        waiting.remove(&id).is_none()
    }
}

/// Where connections go.
#[derive(Debug)]
struct Gate {
    socket: PathBuf,
    visitors: Arc<Visitors>,
    /// tiny_http trusts a count of idle threads that lags behind, so requests are handed over one
    /// by one.
    handing_over: Mutex<()>,
    connections: AtomicUsize,
}

/// Accepts connections on threads of their own, for as long as the process lives. Requests go to
/// the Unix `socket`.
pub(super) fn open(listener: TcpListener, socket: PathBuf, visitors: Arc<Visitors>) -> Result<(), String> {
    // A connection takes up to six descriptors.
    raise_descriptor_limit();
    let gate =
        Arc::new(Gate { socket, visitors, handing_over: Mutex::new(()), connections: AtomicUsize::new(0) });
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

/// One of [`CONNECTIONS_MAX`], given back when dropped.
struct Place(Arc<Gate>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.connections.fetch_sub(1, Ordering::Relaxed);
    }
}

fn admit(gate: &Arc<Gate>, stream: TcpStream) {
    let busy = gate.connections.fetch_add(1, Ordering::Relaxed);
    let place = Place(Arc::clone(gate));
    // Streams are small pieces that should not wait for each other, and a reader that stopped must
    // not hold a thread.
    let _ = stream.set_nodelay(true);
    let _ = stream.set_write_timeout(Some(WRITE_TIME));
    if busy >= CONNECTIONS_MAX {
        let _ = stream.set_nonblocking(true);
        return write_error(&stream, &ApiError::server(503, "too many connections at once"));
    }
    let serve = move || {
        let gate = &place.0;
        let mut incoming = Incoming::new(&stream);
        // Each turn is one request; `false` ends the connection.
        while turn(gate, &stream, &mut incoming) {}
    };
    // Without a thread the stream is dropped, which the client sees as a closed connection.
    if let Err(error) = std::thread::Builder::new().name("verbatim-client".to_owned()).spawn(serve) {
        tell(&Notice::ConnectionClosed(error));
    }
}

/// Reads one request and relays it; whether another may follow.
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
        Ok((inner, visitor)) => relay(stream, incoming, inner, &visitor) && !head.close,
        Err(error) => {
            refuse(stream, &ApiError::server(503, format!("the request could not be taken: {error}")));
            false
        }
    }
}

/// Sends a request to tiny_http, and waits until it is seen.
fn hand_over(gate: &Gate, head: &Head, body: &[u8]) -> std::io::Result<(UnixStream, Visitor)> {
    let _one_by_one = gate.handing_over.lock().unwrap_or_else(PoisonError::into_inner);
    let (id, visitor) = gate.visitors.announce();
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
        // A body larger than the socket's buffer is read by the handler, which takes the request
        // first.
        let mut writer = inner.try_clone()?;
        if body.len() <= 64 << 10 {
            writer.write_all(body)?;
        } else {
            let body = body.to_vec();
            // It ends with the connection, whatever the handler does.
            std::thread::Builder::new().spawn(move || drop(writer.write_all(&body)))?;
        }
        Ok(inner)
    };
    let sent = send();
    if sent.is_err() {
        gate.visitors.take(Some(&id.to_string()));
    } else if !gate.visitors.was_taken(id) {
        return Err(std::io::Error::other("no handler took it"));
    }
    sent.map(|inner| (inner, visitor))
}

/// Copies the answer to the client until its end; whether it came whole. A client that closes its
/// connection has left.
fn relay(stream: &TcpStream, incoming: &mut Incoming<'_>, mut inner: UnixStream, visitor: &Visitor) -> bool {
    let mut piece = vec![0; 16 << 10];
    loop {
        let Some(ready) = wait_for_either(&inner, stream, incoming.ahead() < AHEAD_MAX) else { continue };
        if ready.first {
            match inner.read(&mut piece) {
                Ok(0) => return true,
                Ok(count) => {
                    if (&mut &*stream).write_all(&piece[..count]).is_err() {
                        visitor.leave();
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
            visitor.leave();
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

/// Tells the client why its request is not taken, and ends the connection in a way that lets it
/// read that.
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
