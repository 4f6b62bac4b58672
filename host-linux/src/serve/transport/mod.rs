//! The transport: from a socket to a request that has come whole, and from an answer to the socket.
//!
//! One thread and one descriptor serve a connection; the handler runs on that thread and writes
//! straight to the socket. tiny_http's server is not used, since it trusts its clients: it has no
//! limits, and does not say when a client leaves. Its types are the vocabulary, and it writes the
//! heads of whole answers.
//!
//! ```text
//! listen ──► accept ──► places: is there one? ── no ──► the longest idle connection is closed;
//!               │                                       where none is idle: a brief place, for
//!               │                                       /health, /ready, /metrics; else 503, close
//!               ▼ a thread
//!           connection ◄────────────────────────────────────────┐
//!               │ incoming: head ──► routes: route, guards      │ may go on: the answer is whole,
//!               │           body (bytes, time, memory)          │ and neither side closes
//!               │      └── wrong, late, too large ──► refusal   │
//!               ▼ busy: cannot be evicted               │       │
//!           routes: quotas, handler ──► answer ──► client ──────┤
//!                      │                          │     ▼       ▼
//!                      └── has it left? ◄─────────┘    closed, when the client has read or left
//! ```
//!
//! * `head`, `body`: the bytes of requests, without a socket. `answer`: those of answers.
//! * `stream`: a socket whose every wait is bounded. `incoming`: requests from it. `client`:
//!   answers to it, and whether anybody still waits for one.
//! * `limits`: what clients may take. `places` and `traffic`: what they take. `refusal`: what they
//!   are told then.
//! * `listen`, `accept`, `connection`: from a port to the turns of a connection, and the end of
//!   them all when the server is asked to stop.
mod accept;
pub(super) mod answer;
pub mod body;
pub(in crate::serve) mod client;
mod connection;
pub mod head;
mod incoming;
pub mod limits;
pub mod listen;
mod places;
pub(in crate::serve) mod refusal;
pub(in crate::serve) mod stream;
pub mod traffic;

use super::server::Server;
use accept::Acceptor;
use listen::Listeners;
use std::fmt;
use std::io;
use std::sync::Arc;

/// Why a server ended that was not asked to.
#[derive(Debug)]
pub enum ServeError {
    /// The system gave no descriptor at the start, or no way to wait for connections.
    System(io::Error),
    /// The server cannot go on, for this reason.
    Failed(String),
    /// The keys cannot be read, for this reason.
    Keys(String),
}

impl fmt::Display for ServeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::System(error) => write!(f, "the server cannot accept connections: {error}"),
            Self::Keys(reason) => f.write_str(reason),
            Self::Failed(reason) => write!(f, "the server cannot go on: {reason}"),
        }
    }
}

impl std::error::Error for ServeError {}

/// Serves until a signal or the server's [`Lifecycle`](super::lifecycle::Lifecycle) asks it to
/// stop, and until what runs then has ended or its time is over.
pub(super) fn run(listeners: &Listeners, server: &Arc<Server>) -> Result<(), ServeError> {
    server.lifecycle.catch_signals().map_err(ServeError::System)?;
    server.lifecycle.begin();
    Acceptor::new(listeners, server).run().map_err(ServeError::System)?;
    match server.lifecycle.failure() {
        Some(reason) => Err(ServeError::Failed(reason)),
        None => Ok(()),
    }
}
