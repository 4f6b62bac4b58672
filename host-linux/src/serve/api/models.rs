//! `GET /v1/models`: the one model that is served.
use crate::serve::error::ApiError;
use crate::serve::exchange::Exchange;
use serde_json::json;

/// Answers with a list of one model, its context length and its fingerprint.
pub fn handle(exchange: &mut Exchange<'_>) -> Result<(), ApiError> {
    let server = exchange.server;
    let model = json!({
        "id": server.model.name, "object": "model", "created": server.created, "owned_by": "verbatim",
        "max_model_len": server.model.limits.model_len,
        "system_fingerprint": server.model.fingerprint,
    });
    exchange.send_json(200, &json!({"object": "list", "data": [model]}), &[]);
    Ok(())
}
