//! Reading the body of a request when it is its turn: what is parsed, rendered and tokenized takes
//! processors and memory, so it is done for a few requests at once.
use super::fields::Fields;
use super::limits::Reading;
use super::parameters::endpoint::{Endpoints, GENERATES, POOLS};
use super::parameters::{REQUEST_ID, checked_object};
use crate::serve::error::ApiError;
use crate::serve::exchange::Exchange;
use crate::sys::priority::lower_this_thread;
use serde_json::{Value, json};
use std::panic::resume_unwind;
use std::thread::Builder;

/// Bytes of a body that is read on the thread of its connection. Reading a longer one may take
/// milliseconds, which are not to be those of the engine.
const READ_ALONG_BYTES: usize = 8 << 10;

/// Reads the fields of a request's body by `read` when it is its turn. A long body is read at a
/// lower priority than the engine's. The names that mean nothing here are noted in the request's
/// record, and an id that the body gives it.
pub(super) fn read_in_turn<T: Send>(
    exchange: &mut Exchange<'_>,
    endpoint: Endpoints,
    read: impl Fn(&Fields<'_>, Reading<'_>) -> Result<T, ApiError> + Sync,
) -> Result<T, ApiError> {
    let server = exchange.server;
    let budgets = &server.budgets;
    let body = exchange.body()?;
    let client = exchange.client.clone();
    let Some(_turn) = budgets.reading.wait(|| !client.has_left()) else {
        return Err(ApiError::client_left());
    };
    let reading = Reading { model: &server.model, bounds: &budgets.bounds };
    let parse = || match checked_object(endpoint, &body, reading.bounds, reading.bounds.is_strict) {
        Ok((object, ignored)) => {
            let fields = Fields::new(&object);
            (read(&fields, reading), ignored, request_id(endpoint, &fields))
        }
        Err(error) => (Err(error), Vec::new(), None),
    };
    let (parsed, ignored, id) = if body.len() <= READ_ALONG_BYTES { parse() } else { in_background(&parse) };
    exchange.record.ignored = ignored;
    let bytes = body.len();
    drop(body);
    budgets.sweeper.freed(bytes);
    let parsed = parsed?;
    id.map_or(Ok(()), |id| exchange.take_id(REQUEST_ID, &id))?;
    Ok(parsed)
}

/// The id that a body gives its request, where endpoints take one.
fn request_id(endpoint: Endpoints, fields: &Fields<'_>) -> Option<String> {
    let takes_one = endpoint & (GENERATES | POOLS) != 0;
    let id = fields.get(REQUEST_ID).filter(|_| takes_one)?;
    id.as_str().map(str::to_owned)
}

/// Answers with an object, and tells in it the names of the body that were ignored, if any were.
pub(super) fn send_telling(exchange: &mut Exchange<'_>, mut answer: Value) {
    if let Some(own) = told(exchange) {
        answer["verbatim"] = own;
    }
    exchange.send_json(200, &answer, &[]);
}

/// What answers tell beside what other servers' do: the names that were ignored, if any were.
pub(super) fn told(exchange: &Exchange<'_>) -> Option<Value> {
    told_names(&exchange.record.ignored)
}

/// What answers tell of names that were ignored, if any were.
pub(super) fn told_names(ignored: &[String]) -> Option<Value> {
    (!ignored.is_empty()).then(|| json!({"ignored": ignored}))
}

/// Does work on a thread of lower priority, and waits for it; does it here if there is no thread.
fn in_background<T: Send>(work: &(impl Fn() -> T + Sync)) -> T {
    std::thread::scope(|scope| {
        let lowered = || {
            lower_this_thread();
            work()
        };
        match Builder::new().name("verbatim-read".to_owned()).spawn_scoped(scope, lowered) {
            Ok(thread) => thread.join().unwrap_or_else(|panic| resume_unwind(panic)),
            Err(_) => work(),
        }
    })
}
