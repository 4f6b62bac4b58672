//! What a guard is, and what it may hold while the handler runs.
use crate::serve::error::ApiError;
use crate::serve::exchange::Exchange;
use std::any::Any;

/// Lets a request pass to the next guard, and after the last one to its handler, or refuses it.
/// Guards see the request's headers and may add some to its answer; what they count is kept in
/// [`Server`](crate::serve::server::Server).
pub type Guard = fn(&mut Exchange<'_>) -> Result<Permit, ApiError>;

/// What a guard of a whole request holds for as long as the handler runs, such as a place among the
/// requests of a key. Dropping it gives that back, after a panic too.
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
