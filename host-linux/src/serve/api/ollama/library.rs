//! `GET /api/tags`, `/api/ps` and `/api/version`, `POST /api/show`: what is told of the model that
//! is served, and of the API.
use super::super::body::read_in_turn;
use super::super::parameters::OLLAMA_SHOW;
use super::reading::{model_name, tagged};
use super::time::date;
use crate::runtime::ServedModel;
use crate::serve::error::ApiError;
use crate::serve::exchange::Exchange;
use crate::serve::server::{Server, now};
use serde_json::{Map, Value, json};
use verbatim_core::model::ModelConfig;

/// The version of Ollama whose API this is. Clients decide by it what they ask for.
const API_VERSION: &str = "0.13.0";

/// Seconds until a model would be unloaded, which none is.
const KEPT_S: u64 = 100 * 365 * 86_400;

/// Answers with the model under each of its names.
pub fn tags(exchange: &mut Exchange<'_>) -> Result<(), ApiError> {
    let server = exchange.server;
    let models: Vec<Value> = server.model.names().map(|name| entry(server, name)).collect();
    exchange.send_json(200, &json!({"models": models}), &[]);
    Ok(())
}

/// Answers with the model, which is always in memory.
pub fn ps(exchange: &mut Exchange<'_>) -> Result<(), ApiError> {
    let server = exchange.server;
    let mut model = entry(server, &server.model.name);
    model["expires_at"] = json!(date(now() + KEPT_S));
    model["size_vram"] = json!(0);
    model["context_length"] = json!(server.model.limits.model_len);
    exchange.send_json(200, &json!({"models": [model]}), &[]);
    Ok(())
}

/// Answers with the version of the API, and with this program's own.
pub fn version(exchange: &mut Exchange<'_>) -> Result<(), ApiError> {
    exchange.send_json(200, &json!({"version": API_VERSION, "verbatim": env!("CARGO_PKG_VERSION")}), &[]);
    Ok(())
}

/// Answers with what the model is and can do.
pub fn show(exchange: &mut Exchange<'_>) -> Result<(), ApiError> {
    let server = exchange.server;
    let body = read_in_turn(exchange, OLLAMA_SHOW, |fields, reading| {
        model_name(fields, reading.model)?;
        Ok(shown(server))
    })?;
    exchange.send_json(200, &body, &[]);
    Ok(())
}

/// The model in a list, under one of its names.
fn entry(server: &Server, name: &str) -> Value {
    let model = &server.model;
    let packed = model.loaded.model();
    let digest: String = packed.source_hash().iter().map(|byte| format!("{byte:02x}")).collect();
    json!({
        "name": tagged(name),
        "model": tagged(name),
        "modified_at": date(server.created),
        "size": packed.weight_bytes(),
        "digest": digest,
        "details": details(model),
    })
}

fn details(model: &ServedModel) -> Value {
    let packed = model.loaded.model();
    let config = packed.config();
    let family = config.architecture.family().model_type;
    json!({
        "parent_model": "",
        "format": "verbatim",
        "family": family,
        "families": [family],
        "parameter_size": size_text(parameter_count(config)),
        "quantization_level": config.weight_format.name(),
    })
}

fn shown(server: &Server) -> Value {
    let model = &server.model;
    let template = model.template.as_ref().map_or("", |template| template.source());
    json!({
        "modelfile": format!("FROM {}\n", model.name),
        "parameters": defaults(model),
        "template": template,
        "details": details(model),
        "model_info": info(model),
        "capabilities": capabilities(model),
        "modified_at": date(server.created),
    })
}

/// The model's own defaults of how tokens are drawn, a line for each.
fn defaults(model: &ServedModel) -> String {
    let defaults = model.loaded.generation();
    let temperature = defaults.temperature.map(|x| format!("temperature {x}"));
    let top_k = defaults.top_k.map(|x| format!("top_k {x}"));
    let top_p = defaults.top_p.map(|x| format!("top_p {x}"));
    [temperature, top_k, top_p].into_iter().flatten().collect::<Vec<_>>().join("\n")
}

/// The sizes of the model, under the names that GGUF files give them.
fn info(model: &ServedModel) -> Value {
    let packed = model.loaded.model();
    let config = packed.config();
    let family = config.architecture.family().model_type;
    let mut info = Map::new();
    info.insert("general.architecture".to_owned(), json!(family));
    info.insert("general.basename".to_owned(), json!(model.name));
    info.insert("general.parameter_count".to_owned(), json!(parameter_count(config)));
    for (name, value) in [
        ("context_length", model.limits.model_len),
        ("embedding_length", config.hidden_size),
        ("block_count", config.layer_count),
        ("feed_forward_length", config.intermediate_size),
        ("attention.head_count", config.head_count),
        ("attention.head_count_kv", config.kv_head_count),
        ("attention.key_length", config.head_dim),
        ("vocab_size", config.vocab_size),
    ] {
        info.insert(format!("{family}.{name}"), json!(value));
    }
    Value::Object(info)
}

fn capabilities(model: &ServedModel) -> Vec<&'static str> {
    let mut capabilities = vec!["completion"];
    // Every template can offer tools; one that does not know them has them in the system's message.
    capabilities.extend(model.template.is_some().then_some("tools"));
    capabilities.extend(model.format.reasoning.is_some().then_some("thinking"));
    capabilities.extend(model.embedding.is_ok().then_some("embedding"));
    capabilities
}

/// The number of weights, without biases and norms, which are few.
fn parameter_count(config: &ModelConfig) -> u64 {
    let [hidden, inner, vocab, dim] =
        [config.hidden_size, config.intermediate_size, config.vocab_size, config.head_dim].map(|n| n as u64);
    let heads = (2 * config.head_count + 2 * config.kv_head_count) as u64;
    let layer = hidden * dim * heads + 3 * hidden * inner;
    let tables = if config.tied_head { 1 } else { 2 };
    layer * config.layer_count as u64 + tables * vocab * hidden
}

/// A number of weights as people say it, such as 1.1B.
fn size_text(count: u64) -> String {
    match count {
        0..1_000_000 => format!("{:.1}K", count as f64 / 1e3),
        1_000_000..1_000_000_000 => format!("{:.1}M", count as f64 / 1e6),
        _ => format!("{:.1}B", count as f64 / 1e9),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_short() {
        assert_eq!([14_000, 494_032_768, 1_100_048_384].map(size_text), ["14.0K", "494.0M", "1.1B"]);
    }
}
