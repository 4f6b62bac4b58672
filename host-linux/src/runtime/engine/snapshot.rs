//! A copy of the engine's gauges that one thread writes and any number of threads read, none of
//! them waiting for another.
use std::sync::atomic::{AtomicU64, Ordering, fence};
use verbatim_core::engine::{Counters, DraftCounters, Status};

/// What the engine is doing and what it has done, readable at any time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EngineGauges {
    /// What runs and waits now.
    pub status: Status,
    /// What was done since the engine started.
    pub counters: Counters,
}

impl EngineGauges {
    /// The share of the KV blocks that sequences hold, between 0 and 1; 0 before the first step.
    pub fn kv_usage(&self) -> f64 {
        let used = self.status.blocks.saturating_sub(self.status.free_blocks);
        if self.status.blocks == 0 { 0.0 } else { used as f64 / self.status.blocks as f64 }
    }
}

/// How many numbers [`EngineGauges`] has.
const WORDS: usize = 39;

/// How often a reader begins again when a write ended beside it. A write comes once a step and is
/// read in some nanoseconds, so a second try is rare; after the last one a mix of steps is taken.
const TRIES: usize = 64;

/// The gauges as of the latest step. Writes go to two copies in turn, and are counted when they
/// end: a reader that finds the same count before and after has read one write, for the copy that
/// it read is only written to once more after the next write has ended. So a writer that loses its
/// processor within a write stops nobody.
#[derive(Debug)]
pub(super) struct Snapshot {
    writes: AtomicU64,
    copies: [[AtomicU64; WORDS]; 2],
}

impl Default for Snapshot {
    fn default() -> Self {
        Self { writes: AtomicU64::new(0), copies: [const { [const { AtomicU64::new(0) }; WORDS] }; 2] }
    }
}

impl Snapshot {
    /// Replaces the gauges. Only one thread at a time may call this.
    pub(super) fn store(&self, gauges: &EngineGauges) {
        let write = self.writes.load(Ordering::Relaxed).wrapping_add(1);
        // Who reads a number of this write also sees that the write before it has ended.
        fence(Ordering::Release);
        let mut words = self.copy(write).iter();
        // A copy, since the walk may also write.
        walk(&mut { *gauges }, |value| {
            if let Some(word) = words.next() {
                word.store(*value, Ordering::Relaxed);
            }
        });
        self.writes.store(write, Ordering::Release);
    }

    /// The gauges of the latest write that has ended.
    pub(super) fn load(&self) -> EngineGauges {
        let mut gauges = EngineGauges::default();
        for _ in 0..TRIES {
            let write = self.writes.load(Ordering::Acquire);
            let mut words = self.copy(write).iter();
            walk(&mut gauges, |value| {
                *value = words.next().map_or(0, |word| word.load(Ordering::Relaxed));
            });
            fence(Ordering::Acquire);
            if self.writes.load(Ordering::Relaxed) == write {
                break;
            }
        }
        gauges
    }

    /// The copy that a write goes to.
    fn copy(&self, write: u64) -> &[AtomicU64; WORDS] {
        let [even, odd] = &self.copies;
        if write.is_multiple_of(2) { even } else { odd }
    }
}

/// Passes each number of the gauges to `visit`, always in the same order. A field that is new must
/// be listed here, and in [`WORDS`].
fn walk(gauges: &mut EngineGauges, mut visit: impl FnMut(&mut u64)) {
    let EngineGauges { status, counters } = gauges;
    let Status { running, waiting, free_blocks, cached_blocks, blocks, steps, last_rows, preemptions } =
        status;
    for size in [running, waiting, free_blocks, cached_blocks, blocks, last_rows] {
        let mut value = *size as u64;
        visit(&mut value);
        *size = value as usize;
    }
    [steps, preemptions].into_iter().for_each(&mut visit);
    let Counters {
        steps,
        rows,
        draft_steps,
        draft_rows,
        refusals,
        preemptions,
        prefix_hits,
        hit_tokens,
        boundary_hits,
        boundary_recomputes,
        stale_parents,
        warm_echoes,
        revivals,
        copies,
        merged_blocks,
        deferrals,
        lookup,
        model,
        proposed,
        cancelled_waiting,
        cancelled_prefill,
        cancelled_decode,
    } = counters;
    [steps, rows, draft_steps, draft_rows, refusals, preemptions].into_iter().for_each(&mut visit);
    [prefix_hits, hit_tokens, boundary_hits, boundary_recomputes].into_iter().for_each(&mut visit);
    [stale_parents, warm_echoes, revivals, copies].into_iter().for_each(&mut visit);
    [merged_blocks, deferrals].into_iter().for_each(&mut visit);
    [cancelled_waiting, cancelled_prefill, cancelled_decode].into_iter().for_each(&mut visit);
    for drafts in [lookup, model, proposed] {
        let DraftCounters { verified, accepted, rejected, masked } = drafts;
        [verified, accepted, rejected, masked].into_iter().for_each(&mut visit);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    /// Gauges of which each number is another, from `first`.
    fn numbered(first: u64) -> EngineGauges {
        let (mut gauges, mut next) = (EngineGauges::default(), first);
        walk(&mut gauges, |value| {
            *value = next;
            next += 1;
        });
        assert_eq!(next - first, WORDS as u64, "each number has a word");
        gauges
    }

    #[test]
    fn what_is_stored_is_loaded() {
        let snapshot = Snapshot::default();
        assert_eq!(snapshot.load(), EngineGauges::default());
        snapshot.store(&numbered(1));
        assert_eq!(snapshot.load(), numbered(1));
    }

    /// A write that has begun and does not end, as that of a thread without a processor.
    #[test]
    fn a_writer_that_stands_still_hides_nothing() {
        let snapshot = Snapshot::default();
        for writes in 1..4 {
            snapshot.store(&numbered(writes));
            snapshot.copy(writes + 1)[..WORDS / 2].iter().for_each(|word| word.store(0, Ordering::Relaxed));
            assert_eq!(snapshot.load(), numbered(writes));
        }
    }

    #[test]
    fn a_reader_beside_the_writer_sees_one_write() {
        let snapshot = Arc::new(Snapshot::default());
        snapshot.store(&numbered(0));
        let shared = Arc::clone(&snapshot);
        let writer = std::thread::spawn(move || {
            for first in 0..2_000 {
                shared.store(&numbered(first));
                // Steps are never as near to each other as writes without a pause.
                std::thread::sleep(std::time::Duration::from_micros(1));
            }
        });
        while !writer.is_finished() {
            let read = snapshot.load();
            assert_eq!(read, numbered(read.status.running as u64));
        }
        writer.join().expect("the writer ends");
        assert_eq!(snapshot.load(), numbered(1_999));
    }
}
