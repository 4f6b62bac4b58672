//! The shapes of errors: clients of Anthropic's and Ollama's APIs expect their own, also where a
//! guard refuses before any dialect is known, so the path decides.
use super::error::ApiError;
use serde_json::{Value, json};

/// The body of an error at a path.
pub(super) fn body(path: &str, error: &ApiError) -> Value {
    if is_anthropic(path) {
        anthropic(error)
    } else if path.starts_with("/api/") {
        ollama(error)
    } else {
        error.body()
    }
}

/// Whether Anthropic's clients ask at this path. They look for the request's id in a header of
/// another name.
pub(super) fn is_anthropic(path: &str) -> bool {
    let path = path.strip_prefix("/v1").unwrap_or(path);
    path == "/messages" || path.starts_with("/messages/")
}

/// The body of an error as Anthropic's clients expect it, which is also the event of an error
/// within a stream.
pub(super) fn anthropic(error: &ApiError) -> Value {
    let kind = match error.status {
        401 => "authentication_error",
        403 => "permission_error",
        404 => "not_found_error",
        413 => "request_too_large",
        429 => "rate_limit_error",
        503 | 529 => "overloaded_error",
        504 => "timeout_error",
        500.. => "api_error",
        _ => "invalid_request_error",
    };
    json!({"type": "error", "error": {"type": kind, "message": error.message}})
}

/// The body of an error as Ollama's clients expect it, which is also the last line of a stream that
/// fails.
pub(super) fn ollama(error: &ApiError) -> Value {
    json!({"error": error.message})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_api_has_its_own_shape() {
        let error = ApiError { status: 404, ..ApiError::invalid("model", "no") };
        assert_eq!(body("/v1/messages/count_tokens", &error)["error"]["type"], "not_found_error");
        assert_eq!(body("/messages", &error)["type"], "error");
        assert_eq!(body("/api/chat", &error)["error"], "no");
        for path in ["/v1/messagesx", "/v1/chat/completions", "/api"] {
            assert_eq!(body(path, &error), error.body(), "{path}");
        }
    }

    #[test]
    fn every_status_has_a_type_at_anthropics_paths() {
        for (status, kind) in [
            (400, "invalid_request_error"),
            (401, "authentication_error"),
            (404, "not_found_error"),
            (405, "invalid_request_error"),
            (429, "rate_limit_error"),
            (500, "api_error"),
            (501, "api_error"),
            (503, "overloaded_error"),
        ] {
            let error = ApiError { status, ..ApiError::invalid("x", "no") };
            let expected = json!({"type": "error", "error": {"type": kind, "message": "no"}});
            assert_eq!(anthropic(&error), expected);
        }
    }
}
