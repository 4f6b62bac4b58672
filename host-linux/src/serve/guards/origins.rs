//! Which web pages may ask (CORS).
//!
//! A browser names the page that asks in `Origin`, and programs send none. A page that this server
//! has not allowed cannot read an answer, but its request would still be computed; so what computes
//! is refused to it, and the rest is answered as if nothing were allowed.

/// The longest list of headers that a preflight is answered with.
const ASKED_HEADERS_MAX: usize = 4_000;

/// Headers of answers that a page may read.
pub const EXPOSED_HEADERS: &str = "x-request-id, x-verbatim-seed, retry-after, retry-after-ms, \
     x-should-retry, www-authenticate, x-ratelimit-limit-requests, x-ratelimit-limit-tokens, \
     x-ratelimit-remaining-requests, x-ratelimit-remaining-tokens, x-ratelimit-reset-requests, \
     x-ratelimit-reset-tokens";

/// Origins of pages that may ask.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Origins {
    /// Whether every page may.
    any: bool,
    /// In lower case, without a slash at the end.
    listed: Vec<String>,
}

impl Origins {
    /// Adds an origin as a browser writes it (`https://app.example:8443`), or `*` for every one.
    /// The error says what is wrong with it.
    pub fn allow(&mut self, origin: &str) -> Result<(), String> {
        if origin == "*" {
            self.any = true;
            return Ok(());
        }
        let origin = origin.strip_suffix('/').unwrap_or(origin).to_ascii_lowercase();
        let is_origin = origin == "null"
            || origin.split_once("://").is_some_and(|(scheme, host)| {
                let is_scheme = |c: char| c.is_ascii_alphanumeric() || "+-.".contains(c);
                let is_host = |c: char| c.is_ascii_graphic() && !"/?#@*,".contains(c);
                !scheme.is_empty()
                    && !host.is_empty()
                    && scheme.chars().all(is_scheme)
                    && host.chars().all(is_host)
            });
        if !is_origin {
            return Err("expected scheme://host or scheme://host:port without a path, or *".to_owned());
        }
        self.listed.push(origin);
        Ok(())
    }

    /// Whether no page may ask.
    pub fn is_empty(&self) -> bool {
        !self.any && self.listed.is_empty()
    }

    /// Whether the answer to a request depends on its origin, so that caches must not mix answers.
    pub fn vary(&self) -> bool {
        !self.any && !self.listed.is_empty()
    }

    /// What `Access-Control-Allow-Origin` says to a page of `origin`; none if it may not ask.
    pub fn allowed(&self, origin: &str) -> Option<String> {
        if self.any {
            return Some("*".to_owned());
        }
        let is_listed = self.listed.iter().any(|listed| listed.eq_ignore_ascii_case(origin));
        is_listed.then(|| origin.to_owned())
    }
}

impl std::fmt::Display for Origins {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.any {
            return f.write_str("*");
        }
        f.write_str(&self.listed.join(", "))
    }
}

/// Whether a page of `origin` comes from the server that is called `host`, so that its requests are
/// no foreign ones.
pub fn is_own(origin: &str, host: &str) -> bool {
    let Some((scheme, authority)) = origin.split_once("://") else { return false };
    // A default port may be left out by either side.
    let port = match scheme {
        "http" => ":80",
        "https" => ":443",
        _ => return false,
    };
    let plain = |text: &str| text.strip_suffix(port).unwrap_or(text).to_ascii_lowercase();
    !authority.is_empty() && plain(authority) == plain(host)
}

/// The names of headers that a preflight asks for, as they are given back; what is no name is left
/// out.
pub fn asked_headers(value: &str) -> String {
    let mut end = value.len().min(ASKED_HEADERS_MAX);
    while !value.is_char_boundary(end) {
        end -= 1;
    }
    let is_name = |name: &&str| {
        let known = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
        !name.is_empty() && name.bytes().all(known)
    };
    value[..end].split(',').map(str::trim).filter(is_name).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_are_allowed_as_they_are_written() {
        let mut origins = Origins::default();
        assert!(origins.is_empty() && origins.allowed("https://a.example").is_none());
        for origin in ["https://A.example/", "http://localhost:3000", "null", "app://obsidian.md"] {
            origins.allow(origin).unwrap();
        }
        assert!(origins.vary());
        for origin in ["https://a.example", "http://localhost:3000", "null", "app://obsidian.md"] {
            assert_eq!(origins.allowed(origin).as_deref(), Some(origin));
        }
        for origin in [
            "http://a.example",
            "https://a.example:8443",
            "https://a.example.evil",
            "https://b.a.example",
            "http://localhost",
            "",
            "*",
        ] {
            assert_eq!(origins.allowed(origin), None, "{origin}");
        }
        for wrong in ["", "a.example", "https://", "://a", "https://a/b", "https://*.a", "https://a,b", "a b"]
        {
            assert!(origins.allow(wrong).is_err(), "{wrong}");
        }
        origins.allow("*").unwrap();
        assert_eq!(origins.allowed("https://evil.example").as_deref(), Some("*"));
        assert!(!origins.vary());
    }

    #[test]
    fn a_page_of_this_server_is_its_own() {
        for (origin, host, own) in [
            ("http://localhost:8080", "localhost:8080", true),
            ("http://LOCALHOST:8080", "localhost:8080", true),
            ("http://a.example", "a.example", true),
            ("http://a.example", "a.example:80", true),
            ("https://a.example", "a.example", true),
            ("https://a.example:443", "a.example", true),
            ("http://[::1]:8080", "[::1]:8080", true),
            ("http://localhost:3000", "localhost:8080", false),
            ("http://evil.example", "localhost", false),
            ("null", "localhost", false),
            ("http://", "", false),
            ("file://localhost", "localhost", false),
            ("", "", false),
        ] {
            assert_eq!(is_own(origin, host), own, "{origin} at {host}");
        }
    }

    #[test]
    fn asked_headers_are_given_back_and_nothing_else() {
        let asked = "authorization,content-type, x-stainless-retry-count";
        assert_eq!(asked_headers(asked), "authorization, content-type, x-stainless-retry-count");
        assert_eq!(asked_headers("a\r\nb: c, d,, e f, é"), "d");
        assert!(asked_headers(&"é,a,".repeat(10_000)).len() < ASKED_HEADERS_MAX);
    }
}
