//! The thread of a connection: it reads a request, answers it, and goes on with the next one.
use super::body::BodyDecoder;
use super::client::Client;
use super::head::{Framing, Head};
use super::incoming::{Incoming, Missing};
use super::places::{Busy, Full, Place};
use super::refusal;
use super::stream::Stream;
use super::traffic::Body;
use crate::serve::error::ApiError;
use crate::serve::exchange::Exchange;
use crate::serve::routes::dispatch;
use crate::serve::server::Server;
use std::net::{IpAddr, Shutdown};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tiny_http::Method;

/// What is answered on a brief place: how the server is.
const PROBED: [&str; 3] = ["/health", "/ready", "/metrics"];

/// How long a client may go on sending after the last answer.
const LINGER_TIME: Duration = Duration::from_secs(10);
/// How long it may pause meanwhile.
const LINGER_PAUSE: Duration = Duration::from_secs(1);

/// Bytes of the heap that a connection takes, about, besides bodies.
const BUFFER_BYTES: usize = 8 << 10;

/// What becomes of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    /// Another request may come.
    Request,
    /// It is closed so that the client can read what was sent.
    Close,
    /// Nobody is there, or nobody waits.
    Drop,
}

/// A connection that has a place.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) server: Arc<Server>,
    pub(super) stream: Arc<Stream>,
    pub(super) address: Option<IpAddr>,
    pub(super) place: Place,
}

impl Connection {
    /// Serves the connection until it ends.
    pub(super) fn run(self) {
        let stream = Arc::clone(&self.stream);
        let mut incoming = Incoming::new(&stream);
        let next = loop {
            match self.turn(&mut incoming) {
                // Asked after the place is idle: whoever closes idle connections has seen it, or
                // the server was ending before.
                Next::Request if self.server.lifecycle.is_ending() => break Next::Close,
                Next::Request => {}
                next => break next,
            }
        };
        drop(incoming);
        // After a crowd has gone, the allocator would keep the buffers of all.
        self.server.budgets.sweeper.freed(BUFFER_BYTES);
        if next == Next::Close {
            self.linger();
        }
    }

    /// Reads one request and answers it.
    fn turn(&self, incoming: &mut Incoming<'_>) -> Next {
        if let Some(full) = self.place.full() {
            return self.brief_turn(incoming, full);
        }
        let limits = &self.server.options.connections;
        let head = match incoming.head(limits) {
            Ok(head) => head,
            Err(missing) => return self.miss(None, missing),
        };
        let client = Client::new(&self.stream, &head, limits.write_time, &self.server.lifecycle);
        let body = match self.body(&head, incoming) {
            Ok(body) => body,
            Err(missing) => return self.miss(Some((head, client)), missing),
        };
        let Some(busy) = self.place.begin() else {
            return self.miss(Some((head, client)), Missing::Closed);
        };
        self.answer(head, &client, body, busy)
    }

    /// Answers the one request that a brief place is for, and refuses what else comes, or nothing.
    fn brief_turn(&self, incoming: &mut Incoming<'_>, full: Full) -> Next {
        let limits = self.server.options.connections.briefly();
        let head = incoming.head(&limits).ok();
        let is_probe = head.as_ref().is_some_and(|head| {
            let Head { method, path, framing, .. } = head;
            matches!(method, Method::Get | Method::Head)
                && PROBED.contains(&path.as_str())
                && *framing == Framing::Length(0)
        });
        let head = head.unwrap_or_else(Head::unknown);
        let client = Client::new(&self.stream, &head, limits.write_time, &self.server.lifecycle);
        client.close_after();
        if is_probe && let Some(busy) = self.place.begin() {
            return self.answer(head, &client, Body::unbudgeted(Vec::new()), busy);
        }
        self.refuse(head, &client, &refusal::full(full))
    }

    /// Answers a request that has come whole.
    fn answer(&self, head: Head, client: &Client, body: Body, busy: Busy<'_>) -> Next {
        let mut exchange = Exchange::new(&self.server, client.clone(), head, body, self.address);
        dispatch(&mut exchange);
        drop(exchange);
        drop(busy);
        if self.server.lifecycle.is_ending() {
            // Who waits for the last request to end should not wait longer.
            self.server.lifecycle.wake();
        }
        match client.may_go_on() {
            true => Next::Request,
            false if client.is_broken() => Next::Drop,
            false => Next::Close,
        }
    }

    /// Reads the body that follows a head.
    fn body(&self, head: &Head, incoming: &mut Incoming<'_>) -> Result<Body, Missing> {
        let limits = &self.server.options.connections;
        let decoder = BodyDecoder::new(head.framing, limits.body_bytes)?;
        if head.expects_continue && head.framing != Framing::Length(0) && incoming.ahead().is_empty() {
            let sent = self.stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n", limits.write_time);
            sent.map_err(|_| Missing::Closed)?;
        }
        incoming.body(decoder, limits, &self.server.traffic)
    }

    /// There is no request: tells the client why, if one has begun.
    fn miss(&self, begun: Option<(Head, Client)>, missing: Missing) -> Next {
        let error = match missing {
            Missing::Closed if begun.is_none() || !self.place.is_evicted() => return Next::Drop,
            _ if self.place.is_evicted() && self.server.lifecycle.is_ending() => refusal::ending(),
            _ if self.place.is_evicted() => refusal::evicted(),
            Missing::Closed => return Next::Drop,
            Missing::Refused(error) => error,
        };
        let (head, client) = begun.unwrap_or_else(|| {
            let head = Head::unknown();
            let limits = &self.server.options.connections;
            let client = Client::new(&self.stream, &head, limits.write_time, &self.server.lifecycle);
            (head, client)
        });
        self.refuse(head, &client, &error)
    }

    fn refuse(&self, head: Head, client: &Client, error: &ApiError) -> Next {
        client.close_after();
        let body = Body::unbudgeted(Vec::new());
        let mut exchange = Exchange::new(&self.server, client.clone(), head, body, self.address);
        exchange.refuse(error);
        self.server.count_refusal(error);
        self.server.metrics.request_ended(&exchange.record);
        self.server.observer.request_ended(&exchange.record);
        // Who was evicted must be gone soon.
        if client.is_broken() || self.place.is_evicted() { Next::Drop } else { Next::Close }
    }

    /// Ends the connection so that the client can still read what was sent: one that is closed with
    /// unread bytes is reset, and the answer may be lost with it.
    fn linger(&self) {
        self.place.yield_to_all();
        self.stream.shutdown(Shutdown::Write);
        let until = Instant::now() + LINGER_TIME;
        let mut piece = [0; 16 << 10];
        loop {
            let deadline = until.min(Instant::now() + LINGER_PAUSE);
            if !matches!(self.stream.read(&mut piece, deadline, false), Ok(1..)) || Instant::now() > until {
                break;
            }
        }
    }
}
