//! What the engine thread tells all handles at once: gauges, and why it stopped.
use crate::runtime::error::EngineFailure;
use std::sync::{Mutex, MutexGuard, PoisonError};
use verbatim_core::engine::{Counters, Engine, Status};

/// What the engine is doing and what it has done, readable at any time.
#[derive(Clone, Copy, Debug, Default)]
pub struct EngineGauges {
    /// What runs and waits now.
    pub status: Status,
    /// What was done since the engine started.
    pub counters: Counters,
}

/// What the engine thread tells all handles.
#[derive(Debug, Default)]
pub(super) struct Shared {
    gauges: Mutex<EngineGauges>,
    failure: Mutex<Option<EngineFailure>>,
}

impl Shared {
    pub(super) fn store_gauges(&self, engine: &Engine<'_>) {
        let gauges = EngineGauges { status: engine.status(), counters: *engine.counters() };
        *lock(&self.gauges) = gauges;
    }

    pub(super) fn gauges(&self) -> EngineGauges {
        *lock(&self.gauges)
    }

    pub(super) fn store_failure(&self, failure: EngineFailure) {
        *lock(&self.failure) = Some(failure);
    }

    /// Stores a panic as the failure if the returned guard is dropped by it. Declared after what
    /// readers hang on, the guard is dropped first: whoever sees a queue end finds the reason.
    pub(super) fn note_panic(&self) -> PanicNote<'_> {
        PanicNote(self)
    }

    pub(super) fn failure(&self) -> Option<EngineFailure> {
        *lock(&self.failure)
    }
}

/// The guard that [`Shared::note_panic`] returns.
pub(super) struct PanicNote<'s>(&'s Shared);

impl Drop for PanicNote<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.store_failure(EngineFailure::Panicked);
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
