//! `GET /metrics`: all metrics in Prometheus' text format; docs/metrics.md lists them.
use crate::serve::error::ApiError;
use crate::serve::exchange::Exchange;
use crate::serve::watch::families::exposition;
use crate::serve::watch::text::CONTENT_TYPE;

/// Answers from atomics alone, whatever the engine and other requests do.
pub fn handle(exchange: &mut Exchange<'_>) -> Result<(), ApiError> {
    let text = exposition(exchange.server);
    exchange.send(200, Some(CONTENT_TYPE), text.as_bytes(), &[]);
    Ok(())
}
