//! Whole answers that take longer than their client waits for a byte.
//!
//! OpenAI's and Anthropic's clients say in a header how long that is, and send the request again
//! after it. For those the head of the answer is sent after half of that time, and then a space now
//! and then, which means nothing before JSON. The price is that the status is sent: an error later
//! is a body of status 200 on a connection that breaks, so that a client does not take it for an
//! answer.
use super::run::Patience;
use crate::serve::api::dialect::Dialect;
use crate::serve::error::ApiError;
use crate::serve::events::{Events, Framing};
use crate::serve::exchange::Exchange;
use serde_json::Value;
use std::time::{Duration, Instant};

/// The header in which clients tell how many seconds they wait.
const READ_TIMEOUT: &str = "x-stainless-read-timeout";
/// Longest time between two spaces.
const BEAT_EVERY: Duration = Duration::from_secs(15);
/// Shortest time between two spaces, whatever a client says.
const BEAT_MIN: Duration = Duration::from_millis(100);
/// How long to wait at once for a client that waits for as long as it takes.
const NEVER: Duration = Duration::from_secs(3600);

/// What keeps the client of a whole answer waiting.
#[derive(Debug)]
pub struct Heartbeat<'e, 's> {
    exchange: &'e mut Exchange<'s>,
    headers: &'e [(&'e str, &'e str)],
    /// When the next bytes are due, and the time between those after it; none if they never are.
    due: Option<(Instant, Duration)>,
    /// Open once something was sent.
    events: Option<Events>,
}

/// The time that a client waits for a byte, if it tells.
fn read_timeout(header: Option<&str>) -> Option<Duration> {
    let seconds = header?.trim().parse::<f64>().ok().filter(|seconds| *seconds > 0.0)?;
    Duration::try_from_secs_f64(seconds).ok()
}

impl<'e, 's> Heartbeat<'e, 's> {
    /// A heartbeat for the client of this exchange, whose answer will have these headers.
    pub fn new(exchange: &'e mut Exchange<'s>, headers: &'e [(&'e str, &'e str)]) -> Self {
        let timeout = read_timeout(exchange.header(READ_TIMEOUT));
        let due = timeout.and_then(|timeout| {
            let every = (timeout / 4).clamp(BEAT_MIN, BEAT_EVERY);
            Some((Instant::now().checked_add(timeout / 2)?, every))
        });
        Self { exchange, headers, due, events: None }
    }

    /// Sends the rest of an answer that has begun; gives back one that has not.
    pub fn end(
        mut self,
        whole: Result<Value, ApiError>,
        dialect: &dyn Dialect,
    ) -> Result<Option<Value>, ApiError> {
        let Some(mut events) = self.events.take() else { return whole.map(Some) };
        // A client that has gone wants no answer.
        match whole {
            Ok(whole) => _ = events.send(&whole).and_then(|()| events.done()),
            Err(error) => {
                let _ = events.send(&dialect.error(&error));
                return Err(error);
            }
        }
        Ok(None)
    }
}

impl Patience for Heartbeat<'_, '_> {
    fn rest(&self) -> Duration {
        self.due.map_or(NEVER, |(at, _)| at.saturating_duration_since(Instant::now()))
    }

    fn beat(&mut self) {
        let Some((at, every)) = &mut self.due else { return };
        *at = Instant::now() + *every;
        let Self { exchange, headers, events, .. } = self;
        let events = events.get_or_insert_with(|| exchange.open_events(Framing::Document, headers));
        // If the client has gone, the generation hears of it.
        let _ = events.ping();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_times_that_make_sense_count() {
        assert_eq!(read_timeout(Some("600")), Some(Duration::from_secs(600)));
        assert_eq!(read_timeout(Some(" 0.5 ")), Some(Duration::from_millis(500)));
        for wrong in
            [None, Some(""), Some("x"), Some("-1"), Some("0"), Some("NaN"), Some("inf"), Some("1e300")]
        {
            assert_eq!(read_timeout(wrong), None, "{wrong:?}");
        }
    }
}
