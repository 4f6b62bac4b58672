//! By which names a server may be called in the `Host` header.
//!
//! A page of `evil.example` may have its own name point to 127.0.0.1 once it is loaded (DNS
//! rebinding). Its browser then takes this server for a part of that page, and lets the page read
//! the answers. What the browser cannot hide is the name: it is still in `Host`.
use std::net::{IpAddr, Ipv4Addr};

/// Names that are this server's own, besides those of the loopback.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hosts {
    /// Whether every name is taken.
    any: bool,
    /// In lower case; one that begins with a dot stands for itself and all names below it.
    listed: Vec<String>,
}

impl Hosts {
    /// Adds a name without a port: `example.com`, `.example.com` (or `*.example.com`) for all names
    /// below it too, or `*` for every name. The error says what is wrong with it.
    pub fn allow(&mut self, name: &str) -> Result<(), String> {
        if name == "*" {
            self.any = true;
            return Ok(());
        }
        let name = name.strip_prefix('*').filter(|name| name.starts_with('.')).unwrap_or(name);
        let plain = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name);
        let known = |c: char| c.is_ascii_alphanumeric() || "-_.:".contains(c);
        if plain.trim_start_matches('.').is_empty() || !plain.chars().all(known) {
            return Err("expected a name or an address without a scheme and a port, or *".to_owned());
        }
        if plain.contains(':') && plain.parse::<std::net::Ipv6Addr>().is_err() {
            return Err("expected a name without a port".to_owned());
        }
        self.listed.push(plain.trim_end_matches('.').to_ascii_lowercase());
        Ok(())
    }

    /// Whether no name was added.
    pub fn is_empty(&self) -> bool {
        !self.any && self.listed.is_empty()
    }

    /// Whether the value of a `Host` header, with or without a port, names this server.
    pub fn knows(&self, host: &str) -> bool {
        if self.any {
            return true;
        }
        let Some(name) = without_port(host) else { return false };
        let name = name.trim_end_matches('.').to_ascii_lowercase();
        let is_loopback = name == "localhost"
            || name.ends_with(".localhost")
            || name == "::1"
            || name.parse::<Ipv4Addr>().is_ok_and(|address| address.is_loopback());
        let is_listed = |listed: &String| match listed.strip_prefix('.') {
            Some(parent) => name == parent || name.ends_with(listed.as_str()),
            None => name == *listed,
        };
        is_loopback || self.listed.iter().any(is_listed)
    }
}

impl std::fmt::Display for Hosts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.any {
            return f.write_str("*");
        }
        f.write_str(&self.listed.join(", "))
    }
}

/// Whether the value of a `Host` header is an address, to which no page can have a name point.
pub fn is_address(host: &str) -> bool {
    without_port(host).is_some_and(|name| name.parse::<IpAddr>().is_ok())
}

/// The name or address in a `Host` header, without brackets and port; none if it is no host.
fn without_port(host: &str) -> Option<&str> {
    let (name, rest) = match host.strip_prefix('[') {
        Some(rest) => rest.split_once(']')?,
        None => host.split_at(host.find(':').unwrap_or(host.len())),
    };
    let is_port = |rest: &str| {
        rest.strip_prefix(':').is_some_and(|port| port.len() <= 5 && port.bytes().all(|b| b.is_ascii_digit()))
    };
    let is_name = !name.is_empty() && !name.contains(|c: char| c.is_whitespace() || "@/[]".contains(c));
    (is_name && (rest.is_empty() || is_port(rest))).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loopback_is_known_by_all_of_its_names() {
        let hosts = Hosts::default();
        for host in [
            "localhost",
            "localhost:8080",
            "LOCALHOST:1",
            "localhost.",
            "api.localhost:80",
            "127.0.0.1",
            "127.0.0.1:8080",
            "127.9.8.7:1",
            "[::1]",
            "[::1]:8080",
            "localhost:",
        ] {
            assert!(hosts.knows(host), "{host}");
        }
    }

    #[test]
    fn other_names_are_strangers() {
        let hosts = Hosts::default();
        for host in [
            "",
            ":8080",
            "evil.example",
            "evil.example:8080",
            "localhost.evil.example",
            "evillocalhost",
            "127.0.0.1.evil.example",
            "127.0.0.1@evil.example",
            "localhost:80@evil.example",
            "localhost:evil",
            "localhost:123456",
            "10.0.0.1",
            "128.0.0.1",
            "[::2]",
            "[::1",
            "[::1]x",
            "::1",
            "localhost evil.example",
            "localhost/evil",
            "0x7f.1",
        ] {
            assert!(!hosts.knows(host), "{host}");
        }
    }

    #[test]
    fn names_can_be_added() {
        let mut hosts = Hosts::default();
        for name in ["Box.lan", ".example.com", "*.example.org", "10.0.0.1", "[fe80::1]", "::2"] {
            hosts.allow(name).unwrap();
        }
        let known = [
            "box.lan:80",
            "example.com",
            "a.b.Example.com.",
            "a.example.org",
            "10.0.0.1:1",
            "[fe80::1]:2",
            "[::2]",
        ];
        for host in known {
            assert!(hosts.knows(host), "{host}");
        }
        for host in ["a.box.lan", "badexample.com", "10.0.0.2", "[fe80::2]"] {
            assert!(!hosts.knows(host), "{host}");
        }
        for wrong in ["", ".", "http://a", "a:80", "a/b", "a b", "*a", "a.*", "é"] {
            assert!(hosts.allow(wrong).is_err(), "{wrong}");
        }
        assert!(!hosts.knows("evil.example"));
        hosts.allow("*").unwrap();
        assert!(hosts.knows("evil.example"));
    }
}
