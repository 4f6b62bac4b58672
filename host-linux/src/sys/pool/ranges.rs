//! Which tasks are unclaimed: a range for each worker. Its owner takes tasks from the front, others
//! take them one at a time from the back.
//!
//! A claimed task belongs to the run that is open at the moment of the claim, and the run stays
//! open until the task is reported. A worker that read a range during another run does no harm: if
//! its compare-and-swap succeeds, the range holds those tasks *now*.
use super::atomics::{AtomicU64, Ordering};

/// A range in one word, so that a claim from either end is one compare-and-swap. The start is in
/// the high half, the end in the low half.
#[derive(Debug)]
#[repr(align(128))] // a cache line, and the one that is fetched beside it
struct Range(AtomicU64);

fn pack(start: u32, end: u32) -> u64 {
    u64::from(start) << 32 | u64::from(end)
}

fn unpack(word: u64) -> (u32, u32) {
    ((word >> 32) as u32, word as u32)
}

/// The ranges of all workers.
#[derive(Debug)]
pub(super) struct Ranges(Box<[Range]>);

impl Ranges {
    /// Empty ranges for this many workers.
    pub(super) fn new(workers: usize) -> Self {
        Self((0..workers).map(|_| Range(AtomicU64::new(0))).collect())
    }

    /// Deals `tasks` out evenly; all ranges must be empty. Whoever claims a task sees what was
    /// written before this call.
    pub(super) fn deal(&self, tasks: usize) {
        let workers = self.0.len();
        for (i, range) in self.0.iter().enumerate() {
            let (start, end) = (tasks * i / workers, tasks * (i + 1) / workers);
            range.0.store(pack(start as u32, end as u32), Ordering::Release);
        }
    }

    /// Claims a task for `worker`: the first of its own range, else the last of the next range that
    /// has any.
    pub(super) fn claim(&self, worker: usize) -> Option<usize> {
        let workers = self.0.len();
        (0..workers).find_map(|i| {
            let range = &self.0[(worker + i) % workers].0;
            let from_front = i == 0;
            // Acquire pairs with the release in `deal`: between the two there are only claims.
            let taken = range.fetch_update(Ordering::Acquire, Ordering::Relaxed, |word| {
                let (start, end) = unpack(word);
                (start < end).then(|| if from_front { pack(start + 1, end) } else { pack(start, end - 1) })
            });
            taken.ok().map(|word| {
                let (start, end) = unpack(word);
                if from_front { start as usize } else { end as usize - 1 }
            })
        })
    }
}
