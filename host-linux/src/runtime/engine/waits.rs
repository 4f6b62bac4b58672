//! How long each choice of a request has waited, and how often it lost its blocks.
use std::time::{Duration, Instant};

/// The past of a choice in its engine.
#[derive(Clone, Copy, Debug)]
pub(super) struct Waits {
    /// Since when it waits; none while it runs.
    since: Option<Instant>,
    /// How long it waited before that.
    before: Duration,
    /// Times that it lost its blocks to others.
    pub(super) preemptions: u32,
    /// Tokens that were in the cache when it began to run last.
    pub(super) cached_tokens: usize,
}

impl Waits {
    /// Of a choice that waits from now on for the first time.
    pub(super) fn from(now: Instant) -> Self {
        Self { since: Some(now), before: Duration::ZERO, preemptions: 0, cached_tokens: 0 }
    }

    /// Notes that it runs from `now` on, with so many tokens from the cache.
    pub(super) fn admitted(&mut self, cached_tokens: usize, now: Instant) {
        self.before = self.waited(now);
        (self.since, self.cached_tokens) = (None, cached_tokens);
    }

    /// Notes that it lost its blocks at `now`, and waits again.
    pub(super) fn preempted(&mut self, now: Instant) {
        self.preemptions += 1;
        self.since = Some(now);
    }

    /// How long it has waited in all.
    pub(super) fn waited(&self, now: Instant) -> Duration {
        self.before + self.since.map_or(Duration::ZERO, |since| now.saturating_duration_since(since))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_add_up() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut waits = Waits::from(start);
        assert_eq!(waits.waited(at(3)), Duration::from_secs(3));
        waits.admitted(16, at(4));
        assert_eq!((waits.waited(at(10)), waits.cached_tokens), (Duration::from_secs(4), 16));
        waits.preempted(at(11));
        assert_eq!((waits.waited(at(13)), waits.preemptions), (Duration::from_secs(6), 1));
        waits.admitted(0, at(13));
        assert_eq!((waits.waited(at(99)), waits.cached_tokens), (Duration::from_secs(6), 0));
    }
}
