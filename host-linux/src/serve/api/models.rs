//! `GET /v1/models`: the one model that is served, under each of its names. `GET /v1/models/{id}`:
//! what is served under one name. Balancers that know vLLM ask here whether the server is ready.
use super::params;
use crate::runtime::ServedModel;
use crate::serve::error::ApiError;
use crate::serve::exchange::Exchange;
use crate::serve::server::Server;
use crate::serve::transport::refusal;
use serde_json::{Value, json};

/// Answers with a list of the model's names, its own first; with 503 once the server is about to
/// end.
pub fn handle(exchange: &mut Exchange<'_>) -> Result<(), ApiError> {
    let server = exchange.server;
    if server.lifecycle.is_ending() {
        return Err(refusal::ending());
    }
    if let Some(failure) = server.engine.failure() {
        return Err(ApiError::server(503, failure.to_string()));
    }
    let names: Vec<Value> = server.model.names().map(|name| entry(server, name)).collect();
    exchange.send_json(200, &json!({"object": "list", "data": names}), &[]);
    Ok(())
}

/// Answers with what is served under the name in the path; 404 if nothing is.
pub fn one(exchange: &mut Exchange<'_>) -> Result<(), ApiError> {
    let server = exchange.server;
    let name = exchange.path_parameter();
    if !server.model.answers_to(name) {
        return Err(params::unknown_model(name, &server.model));
    }
    exchange.send_json(200, &entry(server, name), &[]);
    Ok(())
}

/// The model under one of its names: its length of context, its fingerprint, and its sizes under
/// the names that llama-server gives them.
fn entry(server: &Server, id: &str) -> Value {
    let model: &ServedModel = &server.model;
    let loaded = model.loaded.model();
    let config = loaded.config();
    json!({
        "id": id, "object": "model", "created": server.created, "owned_by": "verbatim",
        "root": model.name, "parent": null,
        "max_model_len": model.limits.model_len,
        "system_fingerprint": model.fingerprint,
        "meta": {
            "n_vocab": config.vocab_size, "n_ctx_train": config.position_count,
            "n_ctx": model.limits.model_len, "n_embd": config.hidden_size,
        },
    })
}
