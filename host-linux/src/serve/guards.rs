//! What must hold before a handler runs: the place for keys and limits.
use super::error::ApiError;
use super::exchange::Exchange;
use std::any::Any;

/// Lets a request pass to the next guard, and after the last one to its handler, or refuses it.
/// Guards see the request's headers, and keep what they count in [`Server`](super::Server).
pub type Guard = fn(&Exchange<'_>) -> Result<Permit, ApiError>;

/// What a guard holds for as long as the handler runs, such as a place among the requests of a
/// key. Dropping it gives that back, after a panic too.
#[derive(Debug)]
pub struct Permit {
    _held: Option<Box<dyn Any>>,
}

impl Permit {
    /// Passes, and holds nothing.
    pub const PASS: Self = Self { _held: None };

    /// Passes, and holds `held` until the handler has ended.
    pub fn holding(held: impl Any) -> Self {
        Self { _held: Some(Box::new(held)) }
    }
}

/// Refuses with 503 and the reason once the engine has failed.
pub fn engine_runs(exchange: &Exchange<'_>) -> Result<Permit, ApiError> {
    match exchange.server.engine.failure() {
        Some(failure) => Err(ApiError::server(503, failure.to_string())),
        None => Ok(Permit::PASS),
    }
}
