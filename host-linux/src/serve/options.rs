//! What whoever starts a server decides about it.
use super::api::limits::{RequestBounds, RequestLimits};
use super::guards::options::GuardOptions;
use super::setting::Setting;
use super::transport::limits::ConnectionLimits;
use super::watch::options::WatchOptions;

/// The options of a server. Each part belongs to the module that acts on it.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct ServeOptions {
    /// How many connections, bytes and seconds clients may take.
    pub connections: ConnectionLimits,
    /// Who may ask, and for how much.
    pub guard: GuardOptions,
    /// What a request may ask for.
    pub requests: RequestLimits,
    /// What is logged, and how.
    pub watch: WatchOptions,
}

impl ServeOptions {
    /// What is in use, and why, part by part, where the options about requests have come to
    /// `bounds`.
    pub fn settings(&self, bounds: &RequestBounds) -> Vec<Setting> {
        let parts =
            [self.connections.settings(), bounds.settings(), self.guard.settings(), self.watch.settings()];
        parts.concat()
    }
}
