//! The thread of a connection: it reads a request, answers it, and goes on with the next one.
use super::body::BodyDecoder;
use super::client::Client;
use super::head::{Framing, Head};
use super::incoming::{Incoming, Missing};
use super::limits::ConnectionLimits;
use super::places::{Busy, Full, Place};
use super::refusal;
use super::stream::{Patience, Stream};
use super::traffic::{Body, BodyKind, Reservation};
use crate::serve::error::ApiError;
use crate::serve::exchange::Exchange;
use crate::serve::routes::{self, Route};
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

/// Bytes of a body that are read where nobody wants it, so that the connection can be kept.
const SKIPPED_BYTES: usize = 64 << 10;
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

/// What becomes of it after an answer.
fn after(client: &Client) -> Next {
    match client.may_go_on() {
        true => Next::Request,
        false if client.is_broken() => Next::Drop,
        false => Next::Close,
    }
}

/// What comes behind a head.
#[derive(Clone, Copy, Debug)]
struct Coming {
    framing: Framing,
    /// Whether the client waits to be asked for it.
    is_awaited: bool,
    /// Its bytes, if they are few enough to be read where nobody wants them.
    skippable: Option<usize>,
}

impl Coming {
    fn of(head: &Head) -> Self {
        let (framing, is_awaited) = (head.framing, head.expects_continue);
        let skippable = match framing {
            Framing::Length(0) => Some(0),
            // Who was answered instead of asked may send it or not.
            Framing::Length(length) if !is_awaited => {
                usize::try_from(length).ok().filter(|length| *length <= SKIPPED_BYTES)
            }
            _ => None,
        };
        Self { framing, is_awaited, skippable }
    }
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
        let mut incoming = Incoming::new(&stream, Some(&self.place));
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
        let coming = Coming::of(&head);
        let options = &self.server.options;
        let kind = options.body_kind(&head.method, &head.path);
        let mut exchange = self.exchange(head, limits);
        let client = exchange.client.clone();
        client.set_unread(coming.skippable.is_none());
        let Some(route) = routes::open(&mut exchange) else {
            return self.skip(coming, &client, incoming);
        };
        match self.body(coming, kind, incoming) {
            Ok(body) => exchange.has_come(body),
            Err(missing) => return self.miss(Some(exchange), missing),
        }
        client.set_unread(false);
        let Some(busy) = self.place.begin() else {
            return self.miss(Some(exchange), Missing::Closed);
        };
        self.answer(route, exchange, busy)
    }

    /// Answers the one request that a brief place is for, and refuses what else comes, or nothing.
    fn brief_turn(&self, incoming: &mut Incoming<'_>, full: Full) -> Next {
        let limits = self.server.options.connections.briefly();
        let head = match incoming.head(&limits) {
            Ok(head) => Some(head),
            Err(Missing::Refused(_)) => None,
            Err(Missing::Closed) => return self.tell(&refusal::full(full)),
        };
        let is_probe = head.as_ref().is_some_and(|head| {
            let Head { method, path, framing, .. } = head;
            matches!(method, Method::Get | Method::Head)
                && PROBED.contains(&path.as_str())
                && *framing == Framing::Length(0)
        });
        let mut exchange = self.exchange(head.unwrap_or_else(Head::unknown), &limits);
        let client = exchange.client.clone();
        client.close_after();
        if is_probe && let Some(busy) = self.place.begin() {
            return match routes::open(&mut exchange) {
                Some(route) => self.answer(route, exchange, busy),
                None => after(&client),
            };
        }
        self.refuse(exchange, refusal::full(full))
    }

    /// What is to become of a request with this head.
    fn exchange(&self, head: Head, limits: &ConnectionLimits) -> Exchange<'_> {
        let client = Client::new(&self.stream, &head, limits.write_time, &self.server.lifecycle);
        Exchange::new(&self.server, client, head, self.address)
    }

    /// Answers a request that has come whole.
    fn answer(&self, route: &Route, mut exchange: Exchange<'_>, busy: Busy<'_>) -> Next {
        let client = exchange.client.clone();
        routes::dispatch(route, &mut exchange);
        drop(exchange);
        drop(busy);
        if self.server.lifecycle.is_ending() {
            // Who waits for the last request to end should not wait longer.
            self.server.lifecycle.wake();
        }
        after(&client)
    }

    /// Reads the body that follows a head.
    fn body(&self, coming: Coming, kind: BodyKind, incoming: &mut Incoming<'_>) -> Result<Body, Missing> {
        let limits = &self.server.options.limits_for(kind);
        let decoder = BodyDecoder::new(coming.framing, limits.body_bytes)?;
        if coming.is_awaited && coming.framing != Framing::Length(0) && incoming.ahead().is_empty() {
            let mut patience = Patience::new(limits.write_time);
            let sent = self.stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n", &mut patience);
            sent.map_err(|_| Missing::Closed)?;
        }
        if coming.framing != Framing::Length(0) {
            self.place.awaits_body(kind);
        }
        let reservation = Reservation::new(&self.server.traffic, kind);
        let body = incoming.body(decoder, limits, reservation);
        self.place.has_body();
        body
    }

    /// Goes on after an answer that was given before the body came.
    fn skip(&self, coming: Coming, client: &Client, incoming: &mut Incoming<'_>) -> Next {
        let deadline = Instant::now() + self.server.options.connections.body_time;
        match (after(client), coming.skippable) {
            (Next::Request, Some(count)) if incoming.skip(count, deadline).is_err() => Next::Drop,
            (next, _) => next,
        }
    }

    /// There is no request: tells the client why, if one has begun.
    fn miss(&self, begun: Option<Exchange<'_>>, missing: Missing) -> Next {
        let error = match missing {
            Missing::Closed if begun.is_none() || !self.place.is_evicted() => return Next::Drop,
            _ if self.place.is_evicted() && self.server.lifecycle.is_ending() => refusal::ending(),
            _ if self.place.is_evicted() => refusal::evicted(),
            Missing::Closed => return Next::Drop,
            Missing::Refused(error) => error,
        };
        let unknown = || self.exchange(Head::unknown(), &self.server.options.connections);
        self.refuse(begun.unwrap_or_else(unknown), error)
    }

    /// Tells a client that has asked for nothing why its connection is closed. No request is noted:
    /// whoever connects again and again is not to fill the log.
    fn tell(&self, error: &ApiError) -> Next {
        let mut exchange = self.exchange(Head::unknown(), &self.server.options.connections);
        exchange.client.close_after();
        exchange.client.hurry();
        exchange.refuse(error);
        self.server.count_refusal(error);
        Next::Drop
    }

    fn refuse(&self, mut exchange: Exchange<'_>, error: ApiError) -> Next {
        exchange.client.close_after();
        if self.place.is_evicted() {
            exchange.client.hurry();
        }
        routes::refuse(&mut exchange, error);
        // Who was evicted must be gone soon.
        if exchange.client.is_broken() || self.place.is_evicted() { Next::Drop } else { Next::Close }
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
            let has_read = matches!(self.stream.read(&mut piece, deadline, false), Ok(1..));
            // What was on its way when the connection was evicted still arrives.
            if !has_read || Instant::now() > until || self.place.is_evicted() {
                break;
            }
        }
    }
}
