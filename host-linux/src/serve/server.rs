//! What every handler can reach.
use super::observe::Observer;
use crate::runtime::{EngineHandle, ServedModel};
use crate::sys::entropy;
use std::sync::Arc;

/// A model, its engine, and who hears of requests.
#[derive(Debug)]
pub struct Server {
    /// The model that is served.
    pub model: Arc<ServedModel>,
    /// The engine that runs the model.
    pub engine: EngineHandle,
    /// Seconds since the epoch at which the model was loaded.
    pub created: u64,
    /// Hears of each request after its answer, and of the server.
    pub observer: Arc<dyn Observer>,
}

/// Seconds since the epoch, for the `created` fields of answers and for nothing else.
pub(super) fn now() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// Draws a seed for a request without one. The error is a sentence for its client.
pub(super) fn draw_seed() -> Result<u64, String> {
    entropy::draw_seed().map_err(|error| format!("the system gave no entropy for a seed: {error}"))
}

/// Sixteen hex digits that name a request or a folder; zeros where the system has no entropy.
pub(super) fn draw_id() -> String {
    draw_seed().map_or_else(|_| "0".repeat(16), |seed| format!("{seed:016x}"))
}
