//! Addresses of the hub and of the servers that it leads to. The token goes to the hub alone, and
//! never again once a redirect has led to another server; what began encrypted stays so.
use super::error::HubError;
use crate::text::quote::quote;
use ureq::http::Uri;

/// The address of something on a server, and whether that server may know the token.
#[derive(Clone, Debug)]
pub(super) struct Address {
    uri: Uri,
    is_of_hub: bool,
}

impl Address {
    /// An address at the hub.
    pub(super) fn at_hub(text: &str) -> Result<Self, HubError> {
        let uri = text.parse().map_err(|_| HubError::answer(text, "is no address"))?;
        Ok(Self { uri, is_of_hub: true })
    }

    /// Whether it is still the hub that is asked.
    pub(super) fn is_of_hub(&self) -> bool {
        self.is_of_hub
    }

    /// It, as the HTTP client takes it.
    pub(super) fn uri(&self) -> &Uri {
        &self.uri
    }

    /// The name or number of its host, as it is written.
    pub(super) fn host_name(&self) -> &str {
        self.uri.host().unwrap_or("")
    }

    /// How it is asked: `https` or `http`.
    pub(super) fn scheme(&self) -> &str {
        self.uri.scheme_str().unwrap_or("")
    }

    /// Scheme, host and port, which tell servers apart.
    fn server(&self) -> (String, String, u16) {
        let default = if self.scheme() == "https" { 443 } else { 80 };
        let host = self.uri.host().unwrap_or("").to_ascii_lowercase();
        (self.scheme().to_owned(), host, self.uri.port_u16().unwrap_or(default))
    }

    /// The server as messages name it.
    pub(super) fn host(&self) -> String {
        let host = self.uri.host().unwrap_or("");
        let port = self.uri.port_u16().map(|port| format!(":{port}")).unwrap_or_default();
        quote(&format!("{}://{host}{port}", self.scheme()))
    }

    /// The address as messages name it: without its query, which may hold a signature.
    pub(super) fn text(&self) -> String {
        format!("{}{}", self.host(), self.uri.path())
    }

    /// The address that an answer from here leads to.
    pub(super) fn follow(&self, location: &str) -> Result<Self, HubError> {
        let wrong =
            |what: &str| HubError::answer(&self.text(), format!("leads to {}, {what}", quote(location)));
        let absolute = if location.starts_with('/') && !location.starts_with("//") {
            let authority = self.uri.authority().map(|authority| authority.as_str()).unwrap_or("");
            format!("{}://{authority}{location}", self.scheme())
        } else {
            location.to_owned()
        };
        let uri: Uri = absolute.parse().map_err(|_| wrong("which is no address"))?;
        let next = Self { uri, is_of_hub: self.is_of_hub };
        match next.scheme() {
            "https" | "http" if next.uri.host().is_none_or(str::is_empty) => Err(wrong("which has no host")),
            "http" if self.scheme() == "https" => Err(wrong("which is not encrypted")),
            "https" | "http" => {
                Ok(Self { is_of_hub: self.is_of_hub && next.server() == self.server(), ..next })
            }
            _ => Err(wrong("which is no address of the web")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_token_stays_with_the_hub() {
        let hub = Address::at_hub("https://hub.example/org/name").unwrap();
        let renamed = hub.follow("/org/other?a=b").unwrap();
        assert_eq!((renamed.text().as_str(), renamed.is_of_hub), ("https://hub.example/org/other", true));
        assert!(hub.follow("https://HUB.example:443/x").unwrap().is_of_hub, "the same server");
        for other in ["https://cdn.example/x", "https://hub.example:444/x", "https://hub.example.evil/x"] {
            let away = hub.follow(other).unwrap();
            assert!(!away.is_of_hub, "{other}");
            assert!(!away.follow("https://hub.example/x").unwrap().is_of_hub, "and back it stays away");
        }
        for (wrong, why) in [
            ("http://hub.example/x", "not encrypted"),
            ("file:///etc/passwd", "no host"),
            ("ftp://hub.example/x", "no address of the web"),
            ("//cdn.example/x", "no address"),
            ("https://a b/", "no address"),
            ("", "no address"),
        ] {
            let error = hub.follow(wrong).unwrap_err().to_string();
            assert!(error.contains(why) || error.contains("no address"), "{wrong}: {error}");
        }
    }
}
