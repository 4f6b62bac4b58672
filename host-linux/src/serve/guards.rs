//! What must hold before a handler runs: the place for keys and limits.
use super::error::ApiError;
use super::exchange::Exchange;

/// Lets a request pass to the next guard, and after the last one to its handler, or refuses it.
pub type Guard = fn(&Exchange<'_>) -> Result<(), ApiError>;

/// Refuses with 503 and the reason once the engine has failed.
pub fn engine_runs(exchange: &Exchange<'_>) -> Result<(), ApiError> {
    match exchange.server.engine.failure() {
        Some(failure) => Err(ApiError::server(503, failure.to_string())),
        None => Ok(()),
    }
}
