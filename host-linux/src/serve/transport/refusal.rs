//! Refusals of the transport itself: one function for each budget that may be spent, and for what
//! is wrong with a request.
use super::body::BodyError;
use super::head::HeadError;
use super::places::Full;
use crate::serve::error::ApiError;

/// There is no place for a connection.
pub(super) fn full(full: Full) -> ApiError {
    match full {
        Full::Server => too_many_connections(),
        Full::Address => too_many_from_address(),
    }
}

/// All places are taken by connections that have requests.
pub(super) fn too_many_connections() -> ApiError {
    let error = ApiError::server(503, "too many connections at once; try again later");
    ApiError { budget: Some("max-connections"), ..error }
}

/// One address has all the places that it may have, and a request on each.
fn too_many_from_address() -> ApiError {
    let error = ApiError::server(503, "too many connections at once from this address; try again later");
    ApiError { budget: Some("max-connections-per-address"), ..error }
}

/// A connection was closed before its request had come whole, to make place for others.
pub(super) fn evicted() -> ApiError {
    ApiError::server(503, "the request took long to arrive, and others needed its place; try again later")
}

/// The bodies of all requests together have no room for more.
pub(super) fn bodies_full() -> ApiError {
    let message = "the bodies of all requests at once take too much memory; try again later";
    ApiError { budget: Some("max-total-body-bytes"), ..ApiError::server(503, message) }
}

/// A head or a body did not come within the seconds of the option of this name.
pub(super) fn too_slow(budget: &'static str) -> ApiError {
    let error = ApiError::invalid("", "the request took too long to arrive");
    ApiError { status: 408, budget: Some(budget), ..error }
}

/// The client sends no more before its request is whole.
pub(super) fn cut_short(part: &str) -> ApiError {
    ApiError::invalid("", format!("the request ends within its {part}"))
}

/// The server is about to end, and begins nothing new.
pub(in crate::serve) fn ending() -> ApiError {
    let message = "the server is stopping; send the request to another one, or try again later";
    ApiError::draining(message)
}

/// The server ends before the generation did. What was generated can be resumed elsewhere.
pub(in crate::serve) fn cut_off() -> ApiError {
    let message =
        "the server stopped before the output was complete; resume it at another one, or try again later";
    ApiError::engine_stopped(message)
}

impl From<HeadError> for ApiError {
    fn from(error: HeadError) -> Self {
        Self { status: error.status(), ..Self::invalid("", error.to_string()) }
    }
}

impl From<BodyError> for ApiError {
    fn from(error: BodyError) -> Self {
        let status = error.status();
        let budget = (status == 413).then_some("max-body-bytes");
        Self { status, budget, ..Self::invalid("", error.to_string()) }
    }
}
