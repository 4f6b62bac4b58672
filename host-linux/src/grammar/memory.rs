//! How much memory the parsers of all outputs hold together.
//!
//! Each parser keeps what it has found out about its grammar, and that can always be found out
//! again. So there is no need to refuse anything: where the parsers hold too much, those that hold
//! the most are given up after each use.
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A parser that holds no more than this part of the limit is not given up: outputs whose grammars
/// are harmless do not pay for others.
const PART: usize = 64;

/// Bytes that all parsers of a model hold, and how many they should.
#[derive(Debug)]
pub(super) struct Memory {
    used: AtomicUsize,
    max: usize,
}

impl Memory {
    /// Of which `max` bytes should be used.
    pub(super) fn new(max: usize) -> Arc<Self> {
        Arc::new(Self { used: AtomicUsize::new(0), max })
    }

    /// Bytes that are held now.
    pub(super) fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    /// Whether the parsers hold more than they should.
    pub(super) fn is_full(&self) -> bool {
        self.used() > self.max
    }
}

/// What the parsers of one output hold; counted until it is dropped.
#[derive(Debug)]
pub(super) struct Held {
    memory: Arc<Memory>,
    bytes: usize,
}

impl Held {
    /// Parsers that hold nothing so far, and are counted in `memory`.
    pub(super) fn new(memory: &Arc<Memory>) -> Self {
        Self { memory: Arc::clone(memory), bytes: 0 }
    }

    /// Counts that the output's parsers hold so many bytes now.
    pub(super) fn set(&mut self, bytes: usize) {
        // Others change the sum meanwhile; it is a sum of whole changes all the same.
        self.memory.used.fetch_add(bytes, Ordering::Relaxed);
        self.memory.used.fetch_sub(self.bytes, Ordering::Relaxed);
        self.bytes = bytes;
    }

    /// Whether the output should give its parsers up.
    pub(super) fn is_too_much(&self) -> bool {
        self.memory.is_full() && self.bytes > self.memory.max / PART
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.set(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_large_parts_of_too_much_are_given_up() {
        let memory = Memory::new(6400);
        let (mut small, mut large) = (Held::new(&memory), Held::new(&memory));
        small.set(100);
        large.set(6300);
        assert!(!memory.is_full() && !large.is_too_much());
        large.set(6301);
        assert_eq!(memory.used(), 6401);
        assert!(memory.is_full() && large.is_too_much() && !small.is_too_much());
        large.set(50);
        assert!(!memory.is_full());
        drop(small);
        assert_eq!(memory.used(), 50);
        drop(large);
        assert_eq!(memory.used(), 0);
    }
}
