//! When a line of a batch is tried again that could not be answered.
use crate::serve::error::{ApiError, Retry};
use std::time::Duration;

/// How long a line waits before it asks the queue again: half of the first time, which doubles, and
/// the longest.
const QUEUE_WAIT: Duration = Duration::from_millis(20);
const QUEUE_WAIT_MAX: Duration = Duration::from_secs(1);
/// How often a line is tried again whose engine was started anew.
const TRIES: u32 = 3;
/// How long to wait for such an engine.
const RESTART_TIME: Duration = Duration::from_secs(1);
/// The budget of the memory of answers.
const ROOM_BUDGET: &str = "max-answer-bytes";
/// How often a line is answered for whose answer there is no room then, and half of the time to
/// wait before it is answered the second time, which doubles each time: about a minute in all.
const ROOM_TRIES: u32 = 6;
const ROOM_WAIT: Duration = Duration::from_secs(1);

/// When a line is tried again.
#[derive(Debug, Default)]
pub(super) struct Retries {
    /// Tries that were refused before anything was computed.
    queued: u32,
    /// Tries for whose answers there was no room when they had been computed.
    without_room: u32,
    /// Tries that the engine did not bring to their end.
    broken: u32,
}

impl Retries {
    /// Whether there was no room for an answer of the line.
    pub(super) fn lacks_room(&self) -> bool {
        self.without_room > 0
    }

    /// How long to wait after an error; none if the line ends with it.
    pub(super) fn wait_after(&mut self, error: &ApiError) -> Option<Duration> {
        if error.status == 429 && error.budget == Some(ROOM_BUDGET) {
            // It costs as much as the first time.
            self.without_room += 1;
            let wait = ROOM_WAIT * 2_u32.pow(self.without_room.min(ROOM_TRIES));
            (self.without_room < ROOM_TRIES).then_some(wait)
        } else if error.status == 429 {
            // The queue has room again when something ends.
            self.queued += 1;
            Some((QUEUE_WAIT * 2_u32.pow(self.queued.min(10))).min(QUEUE_WAIT_MAX))
        } else {
            self.broken += 1;
            (error.retry == Retry::Soon && self.broken <= TRIES).then_some(RESTART_TIME)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_not_answered_again_without_end() {
        let error = |status, budget| ApiError { budget, ..ApiError::server(status, "full") };
        let waits = |error: &ApiError| {
            let mut retries = Retries::default();
            let waits = (0..100).map_while(|_| retries.wait_after(error));
            waits.map(|wait| wait.as_millis()).collect::<Vec<_>>()
        };
        let without_room = waits(&error(429, Some("max-answer-bytes")));
        assert_eq!(without_room, [2000, 4000, 8000, 16_000, 32_000]);
        let queued = waits(&error(429, Some("max-queued-tokens")));
        assert_eq!((queued.len(), queued[0], queued[99]), (100, 40, 1000));
        assert_eq!(waits(&ApiError { retry: Retry::Soon, ..error(503, None) }), [1000; 3]);
        assert!(waits(&ApiError::panicked()).is_empty());
    }
}
