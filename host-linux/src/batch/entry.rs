//! Lines of outputs, in the format of OpenAI's Batch API.
use super::answerer::{LineError, Reply};
use super::lines::Line;
use crate::text::quote::shorten;
use serde_json::{Value, json};

/// Hexadecimal digits of the names of requests.
const DIGITS: usize = 24;
/// Characters of a `custom_id`, at most.
pub const CUSTOM_ID_MAX: usize = 512;

/// The name of a line's request: the same whenever the same line is read, and another one for
/// another line.
pub fn id_of(line: &Line) -> String {
    let hash = blake3::hash(&line.bytes).to_hex();
    hash[..DIGITS].to_owned()
}

/// A line of an output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its bytes, with the end of the line.
    pub bytes: Vec<u8>,
    /// Whether the request failed.
    pub is_error: bool,
}

/// The `id` that a line of an output has for a request.
pub fn entry_id(id: &str) -> String {
    format!("batch_req_{id}")
}

impl Entry {
    /// The line for a request that was answered, with an error or without.
    pub fn answered(id: &str, custom_id: &str, reply: &Reply) -> Self {
        let (status, request_id) = (reply.status, format!("req_{id}"));
        let mut bytes = format!(
            "{{\"id\":{},\"custom_id\":{},\"response\":{{\"status_code\":{status},\"request_id\":{},\"body\":",
            Value::from(entry_id(id)),
            Value::from(custom_id),
            Value::from(request_id),
        )
        .into_bytes();
        bytes.extend_from_slice(&reply.body);
        bytes.extend_from_slice(b"},\"error\":null}\n");
        Self { bytes, is_error: status != 200 }
    }

    /// The line for one that was no request.
    pub fn refused(id: &str, error: &LineError) -> Self {
        let custom_id = error.custom_id.as_deref().map(|id| shorten(id, CUSTOM_ID_MAX));
        let entry = json!({
            "id": entry_id(id), "custom_id": custom_id, "response": null,
            "error": {"code": error.code, "message": error.message, "param": error.param},
        });
        Self { bytes: format!("{entry}\n").into_bytes(), is_error: true }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_lines_of_json_in_openais_format() {
        let reply = Reply { status: 200, body: br#"{"a":1}"#.to_vec() };
        let entry = Entry::answered("ab", "x\n\"", &reply);
        assert!(!entry.is_error && entry.bytes.iter().filter(|byte| **byte == b'\n').count() == 1);
        let expected = json!({"id": "batch_req_ab", "custom_id": "x\n\"", "error": null,
            "response": {"status_code": 200, "request_id": "req_ab", "body": {"a": 1}}});
        assert_eq!(serde_json::from_slice::<Value>(&entry.bytes).expect("JSON"), expected);
        assert!(Entry::answered("ab", "x", &Reply { status: 400, body: b"{}".to_vec() }).is_error);
        let error = LineError::new("invalid_method", Some("method"), "no");
        let entry = Entry::refused("ab", &error);
        let expected = json!({"id": "batch_req_ab", "custom_id": null, "response": null,
            "error": {"code": "invalid_method", "message": "no", "param": "method"}});
        assert_eq!(serde_json::from_slice::<Value>(&entry.bytes).expect("JSON"), expected);
        assert!(entry.is_error);
    }
}
