//! `GET /dashboard/events`: what the scheduler and the server do, live, as server-sent events;
//! docs/dashboard.md says what is in them. `DELETE /dashboard/requests/{id}` ends a request.
//!
//! * `telling`: what an event says, from the engine's latest view and what the server counts.
//!   `event`: its shape. `blocks`, `rate`, `machine`: parts of it.
//! * `rights`: what who watches may see and cancel.
//!
//! Each event is the state of its moment. So a reader that is slow misses some and holds up nobody:
//! the next one is made when the last one was written.
mod blocks;
#[cfg(test)]
mod docs;
mod event;
mod machine;
mod rate;
mod rights;
mod telling;

use super::parameters::{Plain, Schema};
use super::query::{QueryParameter, integer};
use crate::serve::error::ApiError;
use crate::serve::events::{Events, Framing};
use crate::serve::exchange::Exchange;
use crate::serve::guards::keys::Key;
use crate::serve::notice::Notice;
use crate::serve::server::Server;
use crate::serve::transport::client::Client;
use crate::text::quote::quote;
use rights::Rights;
use serde_json::{Value, json};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use telling::Teller;
use tiny_http::Method;

/// The shortest time between two events in ms, if nobody says.
const INTERVAL_DEFAULT: u64 = 250;
const INTERVAL_MS: QueryParameter = QueryParameter {
    name: "interval_ms",
    schema: Schema::Integer(100, 10_000),
    default: Some(Plain::Number(INTERVAL_DEFAULT as f64)),
    doc: "The shortest time between two events in ms. Where nothing happens, one comes every second.",
};
const EVENTS: QueryParameter = QueryParameter {
    name: "events",
    schema: Schema::Integer(1, 1_000_000_000),
    default: None,
    doc: "The stream ends after so many events. Without it, it ends with the server.",
};
/// What the query of a stream of events may have.
pub(super) const QUERY: &[QueryParameter] = &[INTERVAL_MS, EVENTS];
/// How long a reader sleeps at once before it looks whether its client is still there.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// How long the first event waits for the engine to show something. A long step takes longer.
const FIRST_VIEW: Duration = Duration::from_millis(150);
/// Events come as they are made, and are of no use later.
const HEADERS: [(&str, &str); 2] = [("Cache-Control", "no-store"), ("X-Accel-Buffering", "no")];

/// The schema of an event, for programs.
pub(super) fn schema() -> Value {
    // A test reads it.
    serde_json::from_str(include_str!("schema.json")).unwrap_or_default()
}

/// Sends events until the client leaves, its key is taken away or means something else, or the
/// server ends.
pub fn events(exchange: &mut Exchange<'_>) -> Result<(), ApiError> {
    let (interval, count) = (interval(exchange)?, count(exchange)?);
    if *exchange.method() == Method::Head {
        exchange.send(200, Some("text/event-stream"), &[], &HEADERS);
        return Ok(());
    }
    let server = exchange.server;
    let _watching = server.watchers.enter()?;
    let rights = Rights::of(exchange);
    let client = exchange.client.clone();
    let key = exchange.key.clone();
    let may_still_watch = || {
        let keys = server.guards.keys();
        let has_all =
            |key: &Key| keys.limits(key.secret).is_some_and(|now| now.is_admin == key.limits.is_admin);
        key.as_ref().map_or_else(|| keys.is_empty(), has_all)
    };
    let mut events = exchange.open_events(Framing::Sse, &HEADERS);
    send(server, (rights, interval, count), &client, &mut events, &may_still_watch);
    Ok(())
}

/// Sends what there is to tell at most every `interval` and so many times as are `left`, the last
/// time when the server ends.
fn send(
    server: &Server,
    (rights, interval, mut left): (Rights, Duration, u64),
    client: &Client,
    events: &mut Events,
    may_still_watch: &dyn Fn() -> bool,
) {
    let watch = server.engine.watch();
    let mut teller = Teller::new(server, rights, interval);
    let start = Instant::now();
    while !teller.look(&watch) || (!teller.has_view() && start.elapsed() < FIRST_VIEW) {
        std::thread::sleep(Duration::from_millis(1));
    }
    loop {
        let (is_last, next) = (is_over(server) || client.is_cut(), Instant::now() + interval);
        if teller.look(&watch) || is_last {
            if teller.tell(|event| events.send_data(event)).is_err() {
                return;
            }
            left = left.saturating_sub(1);
        }
        if is_last || left == 0 {
            // Whoever reads knows that nothing is missing.
            let _ = events.end();
            return;
        }
        while Instant::now() < next && !client.is_cut() {
            std::thread::sleep(LOOK_EVERY.min(next.saturating_duration_since(Instant::now())));
            if client.has_left() || !may_still_watch() {
                return;
            }
        }
    }
}

/// Whether the server ends, and nobody but those who watch has a request any more.
fn is_over(server: &Server) -> bool {
    server.lifecycle.is_ending() && server.traffic.requests.load(Ordering::SeqCst) <= server.watchers.count()
}

/// The shortest time between two events that a reader asks for.
fn interval(exchange: &Exchange<'_>) -> Result<Duration, ApiError> {
    Ok(Duration::from_millis(integer(exchange, &INTERVAL_MS)?.unwrap_or(INTERVAL_DEFAULT)))
}

/// How many events a reader asks for.
fn count(exchange: &Exchange<'_>) -> Result<u64, ApiError> {
    Ok(integer(exchange, &EVENTS)?.unwrap_or(u64::MAX))
}

/// Ends the requests with the id in the path, as far as the client may.
pub fn cancel(exchange: &mut Exchange<'_>) -> Result<(), ApiError> {
    let server = exchange.server;
    let rights = Rights::of(exchange);
    let id = exchange.path_parameter().to_owned();
    if rights == Rights::Watch {
        return Err(forbidden(&rights));
    }
    let (with_id, cancelled) = server.active.cancel(&id, |sender| rights.may_cancel(sender));
    match (with_id, cancelled) {
        // Whether others have such an id is nobody's business but of who sees all.
        (_, 0) if with_id == 0 || rights != Rights::All => {
            let message = format!("no request of the id {} is running or waiting", quote(&id));
            Err(ApiError { status: 404, ..ApiError::invalid("", message) })
        }
        _ => {
            let by = exchange.record.key.clone();
            server.observer.notice(&Notice::RequestCancelled { request_id: id.clone(), by });
            exchange.send_json(200, &json!({"request_id": id, "cancelled": cancelled}), &[]);
            Ok(())
        }
    }
}

/// The error for who may cancel nothing.
fn forbidden(rights: &Rights) -> ApiError {
    let reason = rights.told().reason.unwrap_or_default();
    ApiError { status: 403, ..ApiError::invalid("", reason) }
}

#[cfg(test)]
mod tests;
