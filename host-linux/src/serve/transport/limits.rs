//! How much of the machine clients may take: connections, bytes and time.
use crate::serve::setting::Setting;
use crate::sys::sockets::raise_descriptor_limit;
use std::time::Duration;

/// Brief places, beside all others: on them connections that found no other place may ask how the
/// server is.
pub(super) const BRIEF_PLACES: usize = 16;
/// Descriptors that are left for brief places, and for files, listeners, and connections that are
/// about to be closed.
const DESCRIPTORS_LEFT: usize = BRIEF_PLACES + 64;
/// How long a connection may take on a brief place to send a head, and to take a piece of its
/// answer.
const BRIEF_TIME: Duration = Duration::from_secs(1);
/// Connections at once where neither the operator nor the system says otherwise. Each costs a
/// thread.
const CONNECTIONS_MAX: usize = 2048;
/// The smallest limit for bodies that follows from a model, in bytes.
const BODY_MIN: usize = 256 << 10;
/// Bytes of JSON for a byte of text: a letter may be escaped, and messages have names and quotes.
const JSON_RATIO: usize = 2;
/// The smallest limit for all bodies together, in bytes.
const TOTAL_MIN: usize = 64 << 20;

/// What clients may take together and each of them. All of it is per server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectionLimits {
    /// Connections that are open at once.
    pub connections: usize,
    /// Connections that one address may have; Unix sockets have none.
    pub per_address: usize,
    /// Bytes of one body.
    pub body_bytes: usize,
    /// Bytes of all bodies that are in memory.
    pub total_body_bytes: usize,
    /// Time for a head, from its first byte.
    pub head_time: Duration,
    /// Time for a body, from the end of its head.
    pub body_time: Duration,
    /// Time between an answer and the next request.
    pub idle_time: Duration,
    /// Time that a client may keep the server waiting while it reads 64 KiB of its answer.
    pub write_time: Duration,
    /// Time for what runs when the server is asked to stop.
    pub drain_time: Duration,
}

/// The largest body that a request for a model can need, in bytes: its `context` of tokens, each of
/// them the longest, in JSON; small contexts get 256 KiB.
pub fn body_limit(context: usize, longest_token: usize) -> usize {
    context.saturating_mul(longest_token).saturating_mul(JSON_RATIO).max(BODY_MIN)
}

impl Default for ConnectionLimits {
    fn default() -> Self {
        Self::new(raise_descriptor_limit(), BODY_MIN)
    }
}

impl ConnectionLimits {
    /// Limits for a process that may open so many `descriptors`, and bodies of so many bytes.
    pub fn new(descriptors: usize, body_bytes: usize) -> Self {
        let connections = Self::most_connections(descriptors).min(CONNECTIONS_MAX);
        Self {
            connections,
            per_address: Self::share_of(connections),
            body_bytes,
            total_body_bytes: Self::total_of(body_bytes),
            head_time: Duration::from_secs(20),
            body_time: Duration::from_secs(120),
            idle_time: Duration::from_secs(75),
            write_time: Duration::from_secs(60),
            drain_time: Duration::from_secs(30),
        }
    }

    /// The limits of a connection on a brief place, which it is to leave soon.
    pub(super) fn briefly(&self) -> Self {
        let short = |time: Duration| time.min(BRIEF_TIME);
        Self {
            head_time: short(self.head_time),
            idle_time: short(self.idle_time),
            write_time: short(self.write_time),
            ..self.clone()
        }
    }

    /// The most connections that a process may have that may open so many `descriptors`.
    pub fn most_connections(descriptors: usize) -> usize {
        descriptors.saturating_sub(DESCRIPTORS_LEFT).max(1)
    }

    /// The default share of one address: half of all `connections`, so that no single client takes
    /// them all.
    pub fn share_of(connections: usize) -> usize {
        (connections / 2).max(1)
    }

    /// The default limit of all bodies together where one has at most `body_bytes`.
    pub fn total_of(body_bytes: usize) -> usize {
        body_bytes.saturating_mul(4).max(TOTAL_MIN)
    }

    /// Each limit, and what it bounds.
    pub fn settings(&self) -> Vec<Setting> {
        let Self { connections, per_address, body_bytes, total_body_bytes, .. } = *self;
        let refuses = |setting| Setting { refuses: true, ..setting };
        vec![
            Setting::budget("max-connections", connections, "each costs a descriptor and a thread").told(),
            Setting::budget("max-connections-per-address", per_address, "no address takes all of them"),
            Setting::budget("max-body-bytes", body_bytes, "what fills the context, as JSON").told(),
            Setting::budget("max-total-body-bytes", total_body_bytes, "bodies that are in memory at once"),
            refuses(Setting::seconds("head-seconds", self.head_time, "for a head, from its first byte")),
            refuses(Setting::seconds("body-seconds", self.body_time, "for a body")),
            Setting::seconds("idle-seconds", self.idle_time, "between requests of a connection"),
            Setting::seconds("write-seconds", self.write_time, "for a client to take 64 KiB of its answer"),
            Setting::seconds("drain-seconds", self.drain_time, "for what runs when asked to stop"),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_hold_what_fills_the_context() {
        assert_eq!(body_limit(512, 16), 256 << 10);
        assert_eq!(body_limit(1 << 17, 128), 32 << 20);
        assert_eq!(body_limit(usize::MAX, 3), usize::MAX);
    }

    #[test]
    fn connections_leave_descriptors_for_the_rest() {
        let limits = ConnectionLimits::new(1024, 1 << 20);
        assert_eq!((limits.connections, limits.per_address), (944, 472));
        assert_eq!(limits.total_body_bytes, 64 << 20);
        assert_eq!(ConnectionLimits::new(1 << 20, 1 << 30).connections, CONNECTIONS_MAX);
        let least = ConnectionLimits::new(10, 1);
        assert_eq!((least.connections, least.per_address), (1, 1));
    }
}
