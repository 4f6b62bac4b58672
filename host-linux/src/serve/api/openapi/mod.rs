//! `GET /openapi.json`: what can be asked, how, and what may come back, as OpenAPI 3.1.
//!
//! It is made from the table of [`parameters`](super::parameters) and that of
//! [`operations`], so it cannot say anything else than what the server does. `answers` has the
//! schemas of answers.
mod answers;
pub mod operations;

use super::{dashboard, parameters};
use crate::load::generation_config::GenerationDefaults;
use crate::serve::error::ApiError;
use crate::serve::exchange::Exchange;
use operations::{Answer, Body, Errors, OPERATIONS, Operation};
use serde_json::{Map, Value, json};

/// Errors that any request may get, with what they mean.
const ANYWHERE: &[(u16, &str)] = &[
    (400, "The request makes no sense; `param` names the parameter that is to blame, if one is."),
    (401, "The key is missing or wrong."),
    (403, "The request comes from a page or by a name of the server that is not allowed."),
    (408, "The request took too long to arrive."),
    (413, "The body is too long."),
    (417, "The header Expect asks for something unknown."),
    (431, "The head of the request is too long."),
    (500, "The server has a fault."),
    (501, "The body comes in an encoding that is not supported."),
    (503, "The server is starting, stopping, full, or has lost its engine."),
    (505, "The request is of another version of HTTP."),
];
/// Errors that a request with a body may get besides.
const WITH_BODY: &[(u16, &str)] = &[
    (404, "The model is not served here, or there is nothing at this path."),
    (409, "The model that is served has another fingerprint than the one that is asked for."),
    (415, "The body is not said to be JSON."),
    (429, "The queue is full, or the key's quota is spent."),
    (499, "Whoever runs the server, or a holder of the key, has cancelled the request."),
];
/// Media types of the files that pages are made of.
const PAGE_TYPES: &[&str] = &["text/html", "text/javascript", "text/css", "image/svg+xml", "text/plain"];
/// The error of a path with a variable part.
const NOT_FOUND: (u16, &str) = (404, "There is nothing of this name.");

/// Answers with the document, which is written once.
pub fn handle(exchange: &mut Exchange<'_>) -> Result<(), ApiError> {
    let server = exchange.server;
    let write = || document(server.model.loaded.generation()).to_string().into_bytes();
    exchange.send(200, Some("application/json"), server.api_document.get_or_init(write), &[]);
    Ok(())
}

/// The whole document, as the server of a model with these defaults sends it.
pub fn document(defaults: &GenerationDefaults) -> Value {
    let mut paths = Map::new();
    for operation in OPERATIONS {
        let at_path = paths.entry(operation.path).or_insert_with(|| json!({}));
        at_path[operation.method.to_lowercase()] = described(operation, defaults);
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Verbatim",
            "version": env!("CARGO_PKG_VERSION"),
            "license": {"name": env!("CARGO_PKG_LICENSE"), "identifier": env!("CARGO_PKG_LICENSE")},
            "description": "Paths that begin with /v1 are served without it, too.",
        },
        "paths": paths,
        "components": {
            "schemas": {
                "Error": answers::openai_error(),
                "AnthropicError": answers::anthropic_error(),
                "OllamaError": answers::ollama_error(),
                "DashboardEvent": dashboard::schema(),
            },
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer"},
                "key": {"type": "apiKey", "in": "header", "name": "x-api-key"},
            },
        },
        // Where the server has no keys, none is needed.
        "security": [{}, {"bearer": []}, {"key": []}],
    })
}

fn described(operation: &Operation, defaults: &GenerationDefaults) -> Value {
    let mut described = json!({
        "operationId": operation_id(operation),
        "summary": operation.summary,
        "responses": responses(operation),
    });
    let parameters = url_parameters(operation);
    if !parameters.is_empty() {
        described["parameters"] = Value::Array(parameters);
    }
    match operation.body {
        Body::None => {}
        Body::Json(endpoint, required) => {
            let mut schema = parameters::body_schema(endpoint, defaults);
            schema["required"] = json!(required);
            let mut content = json!({"schema": schema});
            if let Ok(example) = serde_json::from_str::<Value>(operation.example) {
                content["example"] = example;
            }
            described["requestBody"] = json!({"required": true, "content": {"application/json": content}});
        }
        Body::Form => {
            let schema = json!({
                "type": "object",
                "properties": {
                    "file": {"type": "string", "contentMediaType": "application/octet-stream"},
                    "purpose": {"type": "string"},
                },
                "required": ["file", "purpose"],
            });
            described["requestBody"] =
                json!({"required": true, "content": {"multipart/form-data": {"schema": schema}}});
        }
    }
    described
}

/// What may be chosen in the URL: a part of the path, and what the query has.
fn url_parameters(operation: &Operation) -> Vec<Value> {
    let name = operation.path.split_once('{').and_then(|(_, rest)| rest.split_once('}'));
    let in_path = name.map(|(name, _)| {
        let schema = json!({"type": "string", "minLength": 1});
        json!({"name": name, "in": "path", "required": true, "schema": schema})
    });
    let in_query = operation.query.iter().map(|parameter| {
        let mut schema = parameter.schema.json();
        if let Some(default) = parameter.default {
            schema["default"] = default.value();
        }
        json!({
            "name": parameter.name,
            "in": "query",
            "required": false,
            "description": parameter.doc,
            "schema": schema,
        })
    });
    in_path.into_iter().chain(in_query).collect()
}

/// A name for the operation, of its method and its path.
fn operation_id(operation: &Operation) -> String {
    let words = operation.path.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
    let words: Vec<&str> = std::iter::once(operation.method).chain(words).collect();
    words.join("_").to_lowercase()
}

fn responses(operation: &Operation) -> Value {
    // A server without a folder for batches has nothing at their paths.
    let of_batches = ["/v1/files", "/v1/batches"].iter().any(|path| operation.path.starts_with(path));
    let may_be_missing = operation.path.contains('{') || of_batches;
    let mut responses = Map::new();
    responses.insert("200".to_owned(), success(operation.answer));
    let with_body: &[_] = if matches!(operation.body, Body::None) { &[] } else { WITH_BODY };
    let not_found = may_be_missing.then_some(&NOT_FOUND);
    for (status, meaning) in ANYWHERE.iter().chain(with_body).chain(not_found) {
        let error =
            json!({"description": meaning, "content": {"application/json": {"schema": error(operation)}}});
        responses.insert(status.to_string(), error);
    }
    Value::Object(responses)
}

/// The schema of errors. What is refused before its path is known is told as OpenAI's API tells it,
/// and /ready tells in its own words that it is not.
fn error(operation: &Operation) -> Value {
    let plain = json!({"$ref": "#/components/schemas/Error"});
    let own = match operation.errors {
        Errors::OpenAi if operation.path == "/ready" => answers::status(),
        Errors::OpenAi => return plain,
        Errors::Anthropic => json!({"$ref": "#/components/schemas/AnthropicError"}),
        Errors::Ollama => json!({"$ref": "#/components/schemas/OllamaError"}),
    };
    json!({"anyOf": [own, plain]})
}

fn success(answer: Answer) -> Value {
    let of = |media: &str, schema: Value| (media.to_owned(), json!({"schema": schema}));
    let text = || json!({"type": "string"});
    // Programs read the schema of a stream as that of one event.
    let event =
        || json!({"type": "object", "properties": {"event": text(), "data": text()}, "required": ["data"]});
    let content: Map<String, Value> = match answer {
        Answer::Json(schema) => [of("application/json", schema())].into_iter().collect(),
        Answer::Events(schema) => {
            [of("application/json", schema()), of("text/event-stream", event())].into_iter().collect()
        }
        Answer::Lines(schema) => {
            [of("application/json", schema()), of("application/x-ndjson", text())].into_iter().collect()
        }
        Answer::Text(media) => [of(media, text())].into_iter().collect(),
        Answer::Stream(name) => {
            let reference = format!("#/components/schemas/{name}");
            [of("text/event-stream", json!({"$ref": reference}))].into_iter().collect()
        }
        Answer::PageOr(schema) => {
            [of("application/json", schema()), of("text/html", text())].into_iter().collect()
        }
        Answer::Page => PAGE_TYPES.iter().map(|media| of(media, text())).collect(),
        Answer::Empty => return json!({"description": "It is done."}),
    };
    json!({"description": "It is done.", "content": content})
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn the_document_is_whole() {
        let document = document(&GenerationDefaults::default());
        let mut ids = BTreeSet::new();
        for operation in OPERATIONS {
            let found = &document["paths"][operation.path][operation.method.to_lowercase()];
            assert!(ids.insert(found["operationId"].to_string()), "{} is named twice", found["operationId"]);
            assert_eq!(found["responses"]["200"]["description"], "It is done.");
            if let Body::Json(endpoint, required) = operation.body {
                assert!(parameters::ENDPOINTS.iter().any(|(bit, _)| *bit == endpoint));
                let schema = &found["requestBody"]["content"]["application/json"]["schema"];
                for name in required {
                    assert!(schema["properties"][name].is_object(), "{name} of {}", operation.path);
                }
                let example: Map<String, Value> =
                    serde_json::from_str(operation.example).expect("an example");
                let ignored = parameters::checked(endpoint, &example, true);
                assert!(ignored.is_ok(), "the example of {}: {ignored:?}", operation.path);
                assert!(required.iter().all(|name| example.contains_key(*name)));
            }
        }
        let events = &document["paths"]["/dashboard/events"]["get"]["parameters"];
        let schema = json!({"type": "integer", "minimum": 100, "maximum": 10_000, "default": 250});
        assert_eq!((&events[0]["name"], &events[0]["in"]), (&json!("interval_ms"), &json!("query")));
        assert_eq!((&events[0]["schema"], &events[1]["name"]), (&schema, &json!("events")));
        for (_, path) in parameters::ENDPOINTS {
            assert!(document["paths"][path]["post"].is_object(), "{path} is not documented");
        }
    }
}
