//! What a line of a batch asks for, and the seed that it has where it gives none.
use crate::batch::answerer::{LineError, LineRequest};
use crate::serve::api::fields;
use crate::serve::api::limits::RequestBounds;
use crate::text::quote::quote_value;
use serde_json::{Map, Value};

/// The endpoints that a batch may be for.
pub const BATCH_URLS: [&str; 3] = ["/v1/completions", "/v1/chat/completions", "/v1/embeddings"];

/// What a line asks for; `bounds` says what its JSON may be.
pub(super) fn read(line: &[u8], bounds: &RequestBounds) -> Result<LineRequest, LineError> {
    let object = fields::object(line, bounds);
    let object = object.map_err(|error| {
        let message = error.message.replacen("the body", "the line", 1);
        LineError::new("invalid_json_line", None, message)
    })?;
    let custom_id = text(&object, "custom_id")?.to_owned();
    let request = request(object, &custom_id);
    request.map_err(|error| LineError { custom_id: Some(custom_id), ..error })
}

/// A field of a line, which must be a string.
fn text<'v>(line: &'v Map<String, Value>, name: &'static str) -> Result<&'v str, LineError> {
    match line.get(name) {
        Some(Value::String(text)) => Ok(text),
        None | Some(Value::Null) => {
            Err(LineError::new("missing_required_parameter", Some(name), format!("{name} is missing")))
        }
        Some(other) => {
            let message = format!("{name} must be a string, found {}", quote_value(other));
            Err(LineError::new("invalid_type", Some(name), message))
        }
    }
}

/// The method, endpoint and body of a line.
fn request(mut line: Map<String, Value>, custom_id: &str) -> Result<LineRequest, LineError> {
    let method = text(&line, "method")?;
    if method != "POST" {
        let message = format!("method must be POST, found {}", quote_value(&method));
        return Err(LineError::new("invalid_method", Some("method"), message));
    }
    let url = text(&line, "url")?.to_owned();
    if !BATCH_URLS.contains(&url.as_str()) {
        let message = format!("url must be one of {}, found {}", BATCH_URLS.join(", "), quote_value(&url));
        return Err(LineError::new("invalid_url", Some("url"), message));
    }
    match line.remove("body") {
        Some(Value::Object(body)) => Ok(LineRequest { custom_id: custom_id.to_owned(), url, body }),
        _ => Err(LineError::new("missing_required_parameter", Some("body"), "body must be an object")),
    }
}

/// The seed of a line that gives none: the same whenever the line is answered, and another one for
/// another line. It is below 2^53, as drawn ones are.
pub(super) fn derived_seed(custom_id: &str, body: &Map<String, Value>) -> u64 {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&(custom_id.len() as u64).to_le_bytes());
    hasher.update(custom_id.as_bytes());
    // A map is always JSON, and a hash takes everything.
    let _ = serde_json::to_writer(&mut hasher, body);
    hasher.finalize().as_bytes().iter().take(8).fold(0, |seed, byte| seed << 8 | u64::from(*byte)) >> 11
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_seed_is_that_of_the_line() {
        let body = |value: Value| value.as_object().expect("an object").clone();
        let seed = derived_seed("a", &body(json!({"prompt": "x"})));
        assert_eq!(seed, derived_seed("a", &body(json!({"prompt": "x"}))));
        assert!(seed < 1 << 53);
        for other in [
            derived_seed("b", &body(json!({"prompt": "x"}))),
            derived_seed("a", &body(json!({"prompt": "y"}))),
            derived_seed("a", &body(json!({"prompt": "x", "n": 1}))),
        ] {
            assert_ne!(seed, other);
        }
    }

    #[test]
    fn what_is_wrong_with_a_line_is_told() {
        let wrong = |line: Value| {
            let line = line.as_object().expect("an object").clone();
            let error = text(&line, "custom_id").map(str::to_owned).and_then(|id| request(line, &id));
            error.map(drop).map_err(|error| (error.code, error.param.unwrap_or_default()))
        };
        let good = json!({"custom_id": "a", "method": "POST", "url": "/v1/completions", "body": {}});
        assert_eq!(wrong(good.clone()), Ok(()));
        for (name, value, code) in [
            ("custom_id", json!(null), "missing_required_parameter"),
            ("custom_id", json!(5), "invalid_type"),
            ("method", json!("GET"), "invalid_method"),
            ("url", json!("/v1/models"), "invalid_url"),
            ("body", json!("{}"), "missing_required_parameter"),
        ] {
            let mut line = good.clone();
            line[name] = value;
            assert_eq!(wrong(line), Err((code, name)));
        }
    }
}
