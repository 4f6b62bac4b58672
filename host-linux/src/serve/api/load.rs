//! `GET /load`: how much the server has to do, as vLLM's tells it to whoever spreads requests.
use crate::serve::error::ApiError;
use crate::serve::exchange::Exchange;
use serde_json::json;

/// Answers with the number of sequences that run or wait. It comes from the engine's gauges, so
/// nothing here waits for the engine.
pub fn handle(exchange: &mut Exchange<'_>) -> Result<(), ApiError> {
    let status = exchange.server.engine.gauges().status;
    exchange.send_json(200, &json!({"server_load": status.running + status.waiting}), &[]);
    Ok(())
}
