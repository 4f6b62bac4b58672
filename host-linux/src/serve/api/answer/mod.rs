//! Runs the generation that a body asks for, and sends it in the words of a dialect: whole, or as
//! events.
//!
//! * [`reading`]: a body to a [`parsed`] one, by the dialect.
//! * [`run`]: the events of the generation, by [`choices`], to the calls of a [`writer`], which the
//!   dialect makes, with ids of calls from [`call_ids`]. [`teller`]: the calls of a stream, those
//!   that are [`gathered`] for a while among them. [`heartbeat`]: what keeps clients of whole
//!   answers waiting.
//! * [`tokens`], [`scored`], [`usage`], [`openai`]: what writers have in common. [`record`]: what
//!   is noted. `room`: the memory of an answer.
pub mod call_ids;
pub mod choices;
pub mod gathered;
pub mod heartbeat;
pub mod openai;
pub mod parsed;
pub mod reading;
pub mod record;
mod room;
pub mod run;
pub mod scored;
pub mod teller;
pub mod tokens;
pub mod usage;
pub mod writer;

use super::dialect::Dialect;
use crate::faults::{self, Point};
use crate::runtime::Generation;
use crate::serve::active::Active;
use crate::serve::error::ApiError;
use crate::serve::exchange::Exchange;
use crate::serve::guards;
use crate::serve::server::Server;
use crate::serve::watch::log::TEXT_BYTES;
use heartbeat::Heartbeat;
use parsed::ParsedBody;
use run::Answer;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Instant;

/// Reads the body of a request, generates what it asks for, and answers. An error was told to the
/// client in the dialect's words.
pub fn generate(dialect: &dyn Dialect, exchange: &mut Exchange<'_>) -> Result<(), ApiError> {
    let answered = answer(dialect, exchange);
    if let Err(error) = &answered {
        exchange.send_json(error.status, &dialect.error(error), &error.headers());
    }
    answered
}

fn answer(dialect: &dyn Dialect, exchange: &mut Exchange<'_>) -> Result<(), ApiError> {
    faults::point(Point::Handler);
    let server = exchange.server;
    let parsed = reading::read(dialect, exchange)?;
    guards::check_priority(exchange, &parsed.requests)?;
    let seed = (parsed.seed as i64).to_string();
    let headers = [("x-verbatim-seed", seed.as_str())];
    let active = server.active.enter(exchange.sender());
    let answer = Answer::new(server, dialect, &parsed, &active);
    let mut queued = server.budgets.queue.enter(parsed.waiting())?;
    let mut generation = start(exchange, &parsed, active.shared())?;
    if parsed.streaming.stream {
        let mut room = server.budgets.answers.room("ask for fewer tokens, or without lists of them");
        let mut events = exchange.open_events(dialect.framing(), &headers);
        // A client that reads no more has ended the request: dropping the generation cancels it.
        let stream = AssertUnwindSafe(|| answer.stream(&mut generation, &mut queued, &mut room, &mut events));
        if catch_unwind(stream).is_err() {
            // The status is sent, so the error is the last event.
            let _ = events.fail(&dialect.error(&ApiError::panicked()));
        }
        record::note(&parsed, &generation, server, &mut exchange.record);
    } else {
        let mut room = server.budgets.answers.room("ask for a stream, or for fewer tokens in its lists");
        let mut heartbeat = Heartbeat::new(exchange, &headers);
        let whole = answer.whole(&mut generation, &mut queued, &mut room, &mut heartbeat);
        let whole = heartbeat.end(whole, dialect);
        record::note(&parsed, &generation, server, &mut exchange.record);
        // While the client reads, the answer is in memory as text alone.
        drop(generation);
        if let Some(text) = whole?.map(|whole| whole.to_string()) {
            exchange.send(200, Some("application/json"), text.as_bytes(), &headers);
        }
    }
    Ok(())
}

/// Submits the requests of a body; they end when the client leaves, and when they are cancelled.
fn start(exchange: &Exchange<'_>, parsed: &ParsedBody, active: Arc<Active>) -> Result<Generation, ApiError> {
    let Server { engine, metrics, options, .. } = exchange.server;
    let generation = Generation::start(&engine.tagged(active.number), parsed.requests.clone(), &parsed.stop)?;
    let arrived = exchange.record.arrived.unwrap_or_else(Instant::now);
    let generation = generation.measured_by(Arc::clone(&metrics.tokens), arrived);
    let kept = if options.watch.log_prompts { TEXT_BYTES + 1 } else { 0 };
    let client = exchange.client.clone();
    Ok(generation
        .keeping_text(kept)
        .while_wanted(move || !active.is_cancelled() && !client.is_cut() && !client.has_left()))
}
