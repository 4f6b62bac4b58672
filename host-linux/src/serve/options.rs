//! What whoever starts a server decides about it.
use super::api::limits::{RequestBounds, RequestLimits};
use super::guards::options::GuardOptions;
use super::setting::Setting;
use super::transport::limits::ConnectionLimits;
use super::transport::traffic::BodyKind;
use super::watch::options::WatchOptions;
use crate::batch::batches::Batches;
use std::sync::Arc;
use tiny_http::Method;

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
    /// The files and batches that are kept; none where it keeps none.
    pub batches: Option<Arc<Batches>>,
}

/// Bytes of the body of a form beside those of its file.
const FORM_BYTES: usize = 64 << 10;

impl ServeOptions {
    /// What the body of a request is: a file where it goes to the files that are kept.
    pub(super) fn body_kind(&self, method: &Method, path: &str) -> BodyKind {
        let is_upload = *method == Method::Post && matches!(path, "/v1/files" | "/files");
        if is_upload && self.batches.is_some() { BodyKind::Upload } else { BodyKind::Request }
    }

    /// The limits of a request with such a body. Files that are sent have a budget of their own,
    /// which holds two of the largest.
    pub(super) fn limits_for(&self, kind: BodyKind) -> ConnectionLimits {
        let mut limits = self.connections.clone();
        if let (BodyKind::Upload, Some(batches)) = (kind, &self.batches) {
            limits.body_bytes = batches.limits.file_bytes.saturating_add(FORM_BYTES);
            limits.total_body_bytes = limits.body_bytes.saturating_mul(2);
        }
        limits
    }

    /// What is in use, and why, part by part, where the options about requests have come to
    /// `bounds`.
    pub fn settings(&self, bounds: &RequestBounds) -> Vec<Setting> {
        let batches = self.batches.iter().flat_map(|batches| batches.limits.describe());
        let batches = batches.map(|(name, value, reason)| Setting {
            limit: value.parse().ok(),
            refuses: true,
            ..Setting::new(name, value, reason)
        });
        let parts =
            [self.connections.settings(), bounds.settings(), self.guard.settings(), self.watch.settings()];
        parts.into_iter().flatten().chain(batches).collect()
    }
}
