//! What whoever starts a server decides about it.
use super::api::limits::{RequestBounds, RequestLimits};
use super::guards::options::GuardOptions;
use super::transport::limits::ConnectionLimits;
use super::watch::options::WatchOptions;
use crate::runtime::ServedModel;

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
    /// What is in use for a model, and why, part by part: name, value, reason.
    pub fn describe(&self, model: &ServedModel) -> Vec<(&'static str, String, String)> {
        let connections = self.connections.describe().into_iter();
        let requests = RequestBounds::new(&self.requests, model).describe().into_iter();
        let mut all: Vec<_> =
            connections.map(|(name, value, reason)| (name, value, reason.to_owned())).collect();
        all.extend(requests.map(|(name, value, reason)| (name, value.to_string(), reason.to_owned())));
        all.extend(self.guard.describe());
        all.extend(self.watch.describe());
        all
    }
}
