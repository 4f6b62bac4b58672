//! `GET /health`: that the server is alive, what it serves, what the engine does now, and what it
//! has done, so that whoever spreads requests asks no more than this. `GET /` answers alike,
//! `/ping` without a word. `GET /ready`: whether requests are taken.
use crate::runtime::EngineGauges;
use crate::serve::error::ApiError;
use crate::serve::exchange::Exchange;
use crate::serve::lifecycle::Phase;
use crate::serve::server::Server;
use serde_json::{Value, json};
use verbatim_core::engine::DraftCounters;

/// Answers with the engine's gauges and counters; a guard has refused if the engine has failed. All
/// of them are atomics: nothing here waits for the engine or for another request.
pub fn handle(exchange: &mut Exchange<'_>) -> Result<(), ApiError> {
    let is_ending = exchange.server.lifecycle.is_ending();
    let status = if is_ending { exchange.server.lifecycle.phase().name() } else { "ok" };
    let body = body(status, exchange.server);
    exchange.send_json(200, &body, &[]);
    Ok(())
}

/// Answers with 200 and no word while the engine runs: what some load balancers ask for.
pub fn ping(exchange: &mut Exchange<'_>) -> Result<(), ApiError> {
    exchange.send(200, None, &[], &[]);
    Ok(())
}

/// Answers with 200 while requests are taken, and with 503 before that, while the server drains,
/// and after the engine has failed.
pub fn ready(exchange: &mut Exchange<'_>) -> Result<(), ApiError> {
    let has_failed = exchange.server.engine.failure().is_some();
    let phase = if has_failed { Phase::Failed } else { exchange.server.lifecycle.phase() };
    let (status, headers) = match phase {
        Phase::Ready => (200, &[][..]),
        _ => (503, &[("Retry-After", "1")][..]),
    };
    exchange.send_json(status, &json!({"status": phase.name()}), headers);
    Ok(())
}

fn body(status_name: &str, Server { engine, model, .. }: &Server) -> Value {
    let gauges = engine.gauges();
    let EngineGauges { status, counters } = gauges;
    // Null before the first step.
    let age = engine.last_step_age().map(|age| age.as_millis() as f64 / 1e3);
    let drafts = |of: &DraftCounters| json!({"verified": of.verified, "accepted": of.accepted});
    json!({
        "status": status_name, "model": model.name, "system_fingerprint": model.fingerprint,
        "max_seqs": model.limits.sequences, "max_queue": model.limits.queue,
        "kv_usage": gauges.kv_usage(), "last_step_age_seconds": age,
        "restarts": engine.restarts(), "overdue_steps": engine.overdue_steps(),
        "running": status.running, "waiting": status.waiting, "steps": status.steps,
        "preemptions": status.preemptions, "cached_tokens": counters.hit_tokens,
        "drafts": {"lookup": drafts(&counters.lookup), "model": drafts(&counters.model)},
    })
}
