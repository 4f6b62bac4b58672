//! What every handler can reach.
use super::observe::Observer;
use crate::runtime::{EngineHandle, ServedModel};
use std::sync::Arc;

/// A model, its engine, and who is told of requests.
#[derive(Debug)]
pub struct Server {
    /// The model that is served.
    pub model: Arc<ServedModel>,
    /// The model's engine.
    pub engine: EngineHandle,
    /// Seconds since the epoch at which the model was loaded.
    pub created: u64,
    /// Told of each request after its answer.
    pub observer: Box<dyn Observer>,
}

/// Seconds since the epoch, for the `created` fields of answers and for nothing else.
pub(super) fn now() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
