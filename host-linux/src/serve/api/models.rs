//! `GET /v1/models`: the one model that is served. Balancers that know vLLM ask here whether the
//! server is ready.
use crate::serve::error::ApiError;
use crate::serve::exchange::Exchange;
use crate::serve::transport::refusal;
use serde_json::json;

/// Answers with a list of one model, its context length and its fingerprint; with 503 once the
/// server is about to end.
pub fn handle(exchange: &mut Exchange<'_>) -> Result<(), ApiError> {
    let server = exchange.server;
    if server.lifecycle.is_ending() {
        return Err(refusal::ending());
    }
    if let Some(failure) = server.engine.failure() {
        return Err(ApiError::server(503, failure.to_string()));
    }
    let model = json!({
        "id": server.model.name, "object": "model", "created": server.created, "owned_by": "verbatim",
        "max_model_len": server.model.limits.model_len,
        "system_fingerprint": server.model.fingerprint,
    });
    exchange.send_json(200, &json!({"object": "list", "data": [model]}), &[]);
    Ok(())
}
