//! The primitives that the protocol rests on, from the standard library. The check by `loom`
//! (`model_check.rs`) compiles the protocol once more, over a module like this one of `loom`'s.
pub(super) use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use std::cell::UnsafeCell;
use std::time::{Duration, Instant};

/// How long a thread spins before it sleeps: longer than the gap between two phases of a step,
/// shorter than anyone notices.
const SPIN: Duration = Duration::from_micros(50);

/// A value that one thread writes while no other thread reads it.
#[derive(Debug)]
pub(super) struct Slot<T>(UnsafeCell<T>);

// SAFETY: the methods' callers keep writing and reading apart.
unsafe impl<T: Send + Sync> Sync for Slot<T> {}

impl<T: Copy> Slot<T> {
    pub(super) fn new(value: T) -> Self {
        Self(UnsafeCell::new(value))
    }

    /// # Safety
    /// The last write happens before this call, and no write is concurrent with it.
    pub(super) unsafe fn read(&self) -> T {
        // SAFETY: the caller's promise.
        unsafe { *self.0.get() }
    }

    /// # Safety
    /// No read and no other write is concurrent with this call.
    pub(super) unsafe fn write(&self, value: T) {
        // SAFETY: the caller's promise.
        unsafe { *self.0.get() = value }
    }
}

/// A spin that ends after [`SPIN`].
#[derive(Debug, Default)]
pub(super) struct Spin {
    turns: u32,
    start: Option<Instant>,
}

impl Spin {
    /// Waits for a moment; `false` once the spin has lasted long enough.
    ///
    /// It never yields: with busy neighbours, `sched_yield` gives away a whole time slice.
    pub(super) fn again(&mut self) -> bool {
        std::hint::spin_loop();
        self.turns += 1;
        // The clock costs about as much as a turn, so it is read every 16th.
        !self.turns.is_multiple_of(16) || self.start.get_or_insert_with(Instant::now).elapsed() < SPIN
    }
}
