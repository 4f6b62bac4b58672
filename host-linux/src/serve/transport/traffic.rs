//! Counts of connections and bytes, which anybody may read at any time, and the budgets of bodies.
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// What a body is: each kind has a budget of its own. Files are so much larger than all else that
/// one of them would leave no room for anything, or never find any.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BodyKind {
    /// What is read as JSON.
    #[default]
    Request,
    /// A file that is to be kept.
    Upload,
}

/// What clients take of a server now, and what became of them since it started.
#[derive(Debug, Default)]
pub struct Traffic {
    /// Connections that are open.
    pub connections: AtomicUsize,
    /// Requests that have come whole and are being answered.
    pub requests: AtomicUsize,
    /// Bytes of memory that bodies take which are no files.
    pub body_bytes: AtomicUsize,
    /// Bytes of memory that files take which are sent.
    pub upload_bytes: AtomicUsize,
    /// Connections that were accepted.
    pub accepted: AtomicU64,
    /// Idle connections that were closed to make place for others.
    pub evicted: AtomicU64,
}

impl Traffic {
    /// Bytes of memory that all bodies take.
    pub fn all_body_bytes(&self) -> usize {
        self.body_bytes.load(Ordering::Relaxed) + self.upload_bytes.load(Ordering::Relaxed)
    }

    /// The bytes that all bodies of a kind take.
    fn bytes_of(&self, kind: BodyKind) -> &AtomicUsize {
        match kind {
            BodyKind::Request => &self.body_bytes,
            BodyKind::Upload => &self.upload_bytes,
        }
    }
}

/// Bytes of a budget of bodies, given back when dropped.
#[derive(Debug)]
pub(in crate::serve) struct Reservation {
    traffic: Arc<Traffic>,
    kind: BodyKind,
    bytes: usize,
}

impl Reservation {
    /// A reservation of nothing, for a body of this kind.
    pub(super) fn new(traffic: &Arc<Traffic>, kind: BodyKind) -> Self {
        Self { traffic: Arc::clone(traffic), kind, bytes: 0 }
    }

    /// Whose budget it is.
    pub(super) fn kind(&self) -> BodyKind {
        self.kind
    }

    /// Reserves so many bytes in all, if all reservations of its kind together stay within `max`;
    /// else it stays as it was.
    pub(super) fn grow(&mut self, bytes: usize, max: usize) -> bool {
        let more = bytes.saturating_sub(self.bytes);
        let fits = |all: usize| all.checked_add(more).filter(|all| *all <= max);
        let budget = self.traffic.bytes_of(self.kind);
        let is_granted = budget.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits).is_ok();
        if is_granted {
            self.bytes += more;
        }
        is_granted
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.traffic.bytes_of(self.kind).fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// The bytes of a body, which count against the budget until it is dropped.
#[derive(Debug)]
pub struct Body {
    bytes: Vec<u8>,
    reservation: Option<Reservation>,
}

impl Body {
    /// A body that counts for nothing.
    pub(in crate::serve) fn unbudgeted(bytes: Vec<u8>) -> Self {
        Self { bytes, reservation: None }
    }

    /// A body whose bytes `reservation` pays for.
    pub(super) fn new(bytes: Vec<u8>, reservation: Reservation) -> Self {
        Self { bytes, reservation: Some(reservation) }
    }

    /// Takes the bytes; what is left is empty.
    pub(in crate::serve) fn take(&mut self) -> Self {
        Self { bytes: std::mem::take(&mut self.bytes), reservation: self.reservation.take() }
    }
}

impl std::ops::Deref for Body {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reservations_share_a_budget_and_give_it_back() {
        let traffic = Arc::new(Traffic::default());
        let new = |kind| Reservation::new(&traffic, kind);
        let (mut one, mut two) = (new(BodyKind::Request), new(BodyKind::Request));
        let mut file = new(BodyKind::Upload);
        assert!(file.grow(1000, 1000) && !file.grow(1001, 1000), "its budget is its own");
        assert!(one.grow(60, 100) && two.grow(40, 100) && one.grow(50, 100));
        assert!(!two.grow(41, 100) && !one.grow(usize::MAX, 100));
        assert_eq!(traffic.body_bytes.load(Ordering::Relaxed), 100);
        drop(one);
        assert!(two.grow(100, 100));
        drop(Body::new(vec![1, 2], two));
        assert_eq!(traffic.body_bytes.load(Ordering::Relaxed), 0);
        drop(file);
        assert_eq!(traffic.upload_bytes.load(Ordering::Relaxed), 0);
    }
}
