//! Requests to a server, for the commands that talk to one: where it is, and what its errors say.
use super::typed_key::TypedKey;
use crate::text::quote::{quote, shorten};
use serde_json::Value;
use std::io::Read;
use std::net::IpAddr;
use std::time::Duration;
use ureq::http::{Response, Uri};
use ureq::{Agent, Body, Proxy, RequestBuilder};

/// How long a connection may take. Nothing else has a limit: a prompt may take minutes.
const CONNECT_TIME: Duration = Duration::from_secs(10);
/// Bytes of an error's body that are read.
const ERROR_MAX: u64 = 64 << 10;
/// Bytes of any other body that is read whole.
const BODY_MAX: u64 = 16 << 20;
/// Characters of a server's message that are told.
const MESSAGE_MAX: usize = 500;

/// A server, and the key that it wants.
#[derive(Clone, Debug)]
pub(super) struct Place {
    agent: Agent,
    /// The URL without a path's end, such as `http://127.0.0.1:8080` or `https://host/api`.
    base: String,
    key: Option<TypedKey>,
}

impl Place {
    /// The server at a URL, of which anything from `/v1` or `/dashboard` on is left out.
    pub(super) fn new(url: &str, key: Option<&str>) -> Result<Self, String> {
        let wrong = || format!("found the URL {}, expected http://HOST:PORT or https://HOST", quote(url));
        if url.chars().any(|c| c.is_control() || c.is_whitespace()) {
            return Err(wrong());
        }
        let rest = url.strip_prefix("http://").or_else(|| url.strip_prefix("https://")).ok_or_else(wrong)?;
        if rest.is_empty() || rest.starts_with(['/', '?', '#']) || rest.contains(['?', '#']) {
            return Err(wrong());
        }
        let mut base = url.trim_end_matches('/');
        for end in ["/chat/completions", "/dashboard/events", "/dashboard", "/v1"] {
            base = base.strip_suffix(end).unwrap_or(base);
        }
        let key = key.map(str::trim).filter(|key| !key.is_empty());
        if key.is_some_and(|key| key.chars().any(|c| !c.is_ascii_graphic())) {
            return Err(
                "the key has a character that no key has: expected letters, digits and signs".to_owned()
            );
        }
        Ok(Self {
            agent: agent(base, Proxy::try_from_env()),
            base: base.trim_end_matches('/').to_owned(),
            key: key.map(|key| TypedKey::from(key.to_owned())),
        })
    }

    /// The URL of a path.
    pub(super) fn url(&self, path: &str) -> String {
        format!("{}{path}", self.base)
    }

    /// What a GET of a path brings, if its status is 200.
    pub(super) fn get(&self, path: &str) -> Result<Response<Body>, String> {
        self.checked(path, self.signed(self.agent.get(self.url(path))).call())
    }

    /// What a DELETE of a path brings, if its status is 200.
    pub(super) fn delete(&self, path: &str) -> Result<Response<Body>, String> {
        self.checked(path, self.signed(self.agent.delete(self.url(path))).call())
    }

    /// What a POST of a body to a path brings, if its status is 200.
    pub(super) fn post(&self, path: &str, body: &Value) -> Result<Response<Body>, String> {
        let request = self.agent.post(self.url(path)).header("content-type", "application/json");
        self.checked(path, self.signed(request).send(body.to_string()))
    }

    /// A request with the key, if there is one.
    fn signed<B>(&self, request: RequestBuilder<B>) -> RequestBuilder<B> {
        match &self.key {
            Some(key) => request.header("authorization", format!("Bearer {}", key.as_str())),
            None => request,
        }
    }

    fn checked(
        &self,
        path: &str,
        answer: Result<Response<Body>, ureq::Error>,
    ) -> Result<Response<Body>, String> {
        let url = self.url(path);
        let mut answer =
            answer.map_err(|error| format!("{url}: {}", shorten(&error.to_string(), MESSAGE_MAX)))?;
        let status = answer.status().as_u16();
        if status == 200 {
            return Ok(answer);
        }
        let mut text = Vec::new();
        // What can be read of an error is told.
        let _ = answer.body_mut().as_reader().take(ERROR_MAX).read_to_end(&mut text);
        let hint = match (status, &self.key) {
            (401 | 403, None) => "; --key gives a key",
            _ => "",
        };
        match message(&text) {
            Some(message) => Err(format!("{message} (status {status}){hint}")),
            None => Err(format!("{url}: status {status}{hint}")),
        }
    }
}

/// Asks a server, by a proxy if there is one. A server on this machine is asked directly: a proxy
/// elsewhere would ask its own machine, and tell it the key.
fn agent(base: &str, proxy: Option<Proxy>) -> Agent {
    Agent::config_builder()
        .http_status_as_error(false)
        .timeout_connect(Some(CONNECT_TIME))
        .timeout_resolve(Some(CONNECT_TIME))
        .user_agent(concat!("verbatim/", env!("CARGO_PKG_VERSION")))
        .proxy(proxy.filter(|_| !is_on_this_machine(base)))
        .build()
        .new_agent()
}

/// Whether a URL is of this machine by its words: `localhost`, or an address of loopback.
fn is_on_this_machine(url: &str) -> bool {
    let Ok(url) = url.parse::<Uri>() else { return false };
    let host = url.host().unwrap_or_default().trim_matches(['[', ']']).to_ascii_lowercase();
    let is_loopback = |address: IpAddr| address.is_loopback() || address.is_unspecified();
    host == "localhost" || host.ends_with(".localhost") || host.parse().is_ok_and(is_loopback)
}

/// A body of JSON.
pub(super) fn json(mut answer: Response<Body>) -> Result<Value, String> {
    let mut text = Vec::new();
    let read = answer.body_mut().as_reader().take(BODY_MAX + 1).read_to_end(&mut text);
    read.map_err(|error| format!("the answer broke off: {error}"))?;
    if text.len() as u64 > BODY_MAX {
        return Err(format!("the answer has more than {BODY_MAX} bytes"));
    }
    serde_json::from_slice(&text).map_err(|error| format!("the answer is no JSON: {error}"))
}

/// What an error's body says, in OpenAI's shape or in another one that is usual.
fn message(body: &[u8]) -> Option<String> {
    let body: Value = serde_json::from_slice(body).ok()?;
    error_message(&body)
}

/// The message of an error, in a body or in an event of a stream.
pub(super) fn error_message(body: &Value) -> Option<String> {
    let error = body.get("error").unwrap_or(body);
    let text = [error.get("message"), body.get("detail"), body.get("message"), Some(error)];
    text.into_iter().flatten().find_map(Value::as_str).map(|text| shorten(text, MESSAGE_MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_server_on_this_machine_is_asked_without_a_proxy() {
        let is_proxied = |url: &str| {
            let proxy = Proxy::new("socks5h://proxy.example:1080").unwrap();
            agent(url, Some(proxy)).config().proxy().is_some()
        };
        for url in
            ["http://127.0.0.1:8080", "http://127.8.9.1", "http://[::1]:8080/api", "http://LOCALHOST:1"]
        {
            assert!(!is_proxied(url), "{url}");
        }
        for url in ["http://127.0.0.1.example", "https://host/127.0.0.1", "http://10.0.0.1:8080"] {
            assert!(is_proxied(url), "{url}");
        }
    }

    #[test]
    fn a_server_is_found_by_any_url_of_it() {
        for url in [
            "http://h:1",
            "http://h:1/",
            "http://h:1/v1",
            "http://h:1/v1/chat/completions",
            "http://h:1/dashboard",
        ] {
            assert_eq!(Place::new(url, None).expect(url).url("/v1/models"), "http://h:1/v1/models");
        }
        assert_eq!(Place::new("https://h/api/v1/", None).expect("one").url("/x"), "https://h/api/x");
        for wrong in
            ["", "h:1", "ftp://h", "http://", "http:///v1", "http://h h", "http://h/?a=b", "http://h\u{1b}"]
        {
            let error = Place::new(wrong, None).unwrap_err();
            assert!(error.contains("expected http://HOST:PORT") && !error.contains('\u{1b}'), "{error}");
        }
    }

    #[test]
    fn a_key_is_not_shown() {
        let place = Place::new("http://h", Some(" sk-secret\n")).expect("a key");
        assert!(!format!("{place:?}").contains("secret"));
        assert!(Place::new("http://h", Some("a b")).unwrap_err().contains("the key"));
    }

    #[test]
    fn errors_are_read_in_the_shapes_that_servers_have() {
        let of = |body: Value| message(body.to_string().as_bytes());
        let told = Some("no".to_owned());
        assert_eq!(of(json!({"error": {"message": "no"}})), told);
        assert_eq!(of(json!({"error": "no"})), told);
        assert_eq!(of(json!({"detail": "no"})), told);
        assert_eq!(of(json!({"message": "no"})), told);
        assert_eq!(of(json!({"error": {"message": "a\u{1b}b"}})), Some("a\\u{1b}b".to_owned()));
        assert_eq!(message(b"<html>"), None);
        assert!(
            of(json!({"error": {"message": "x".repeat(9999)}})).expect("one").chars().count() <= MESSAGE_MAX
        );
    }
}
