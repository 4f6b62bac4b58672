//! `GET /health`: what the engine does now, and what it has done. `GET /` answers alike.
use crate::runtime::EngineGauges;
use crate::serve::error::ApiError;
use crate::serve::exchange::Exchange;
use serde_json::{Value, json};
use verbatim_core::engine::DraftCounters;

/// Answers with the engine's gauges and counters; a guard has refused if the engine has failed.
pub fn handle(exchange: &mut Exchange<'_>) -> Result<(), ApiError> {
    let body = body(&exchange.server.engine.gauges());
    exchange.send_json(200, &body, &[]);
    Ok(())
}

fn body(gauges: &EngineGauges) -> Value {
    let EngineGauges { status, counters } = gauges;
    let drafts = |of: &DraftCounters| json!({"verified": of.verified, "accepted": of.accepted});
    json!({
        "status": "ok", "running": status.running, "waiting": status.waiting, "steps": status.steps,
        "preemptions": status.preemptions, "cached_tokens": counters.hit_tokens,
        "drafts": {"lookup": drafts(&counters.lookup), "model": drafts(&counters.model)},
    })
}
