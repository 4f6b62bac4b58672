//! What whoever starts a server decides about its guards.
use super::hosts::Hosts;
use super::keys::Secret;
use super::origins::Origins;
use crate::serve::setting::Setting;
use std::path::PathBuf;

/// Who may ask. By default programs on this machine may, and web pages may not.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct GuardOptions {
    /// Keys that are taken; they are called key-1, key-2 and so on, and have no limits.
    pub api_keys: Vec<Secret>,
    /// A file of further keys, which can be read anew.
    pub api_key_file: Option<PathBuf>,
    /// The greatest priority of requests without a key, or whose key does not say. The engine's:
    /// a greater one is sooner.
    pub max_priority: i8,
    /// Web pages that may ask.
    pub cors_origins: Origins,
    /// Names by which the server may be called. Those of the loopback are always taken.
    pub allowed_hosts: Hosts,
    /// The name or address that the server was told to listen on, which it may be called by too.
    pub host: Option<String>,
    /// Whether metrics are told without a key.
    pub metrics_open: bool,
}

impl GuardOptions {
    /// Whether requests must bring a key.
    pub fn has_keys(&self) -> bool {
        !self.api_keys.is_empty() || self.api_key_file.is_some()
    }

    /// What holds, and where it comes from.
    pub fn settings(&self) -> Vec<Setting> {
        let given = |name, value: String, reason: &str| {
            let setting = |value| Setting::new(name, value, reason);
            if value.is_empty() { setting("none".to_owned()) } else { setting(value).told() }
        };
        let keys = match (self.api_keys.len(), &self.api_key_file) {
            (0, None) => ("none".to_owned(), "every request is served"),
            (count, None) => (count.to_string(), "every route but /health demands one"),
            (count, Some(file)) => {
                let more = if count == 0 { String::new() } else { format!("{count} and ") };
                (format!("{more}those of {}", file.display()), "every route but /health demands one")
            }
        };
        let hosts = "besides localhost and the loopback addresses";
        vec![
            Setting::new("api-keys", keys.0, keys.1).told(),
            Setting::new("max-priority", self.max_priority.to_string(), "unless a key says otherwise"),
            given("cors-origin", self.cors_origins.to_string(), "pages of other origins may not ask"),
            given("allowed-host", self.allowed_hosts.to_string(), hosts),
        ]
    }
}
