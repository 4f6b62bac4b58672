//! Who has which tasks: a range for each worker, taken from the front by its owner and from the
//! back, one task at a time, by others.
//!
//! A successful claim is a ticket: the task belongs to the run that is open at that moment, and the
//! run stays open until the task is reported. So a worker that read a range long ago, in another
//! run, does no harm: if its compare-and-swap succeeds the range has the same tasks *now*.
use super::atomics::{AtomicU64, Ordering};

/// A range in one word, so that taking from either end is one compare-and-swap: start above, end
/// below.
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
    /// No tasks for this many workers.
    pub(super) fn new(workers: usize) -> Self {
        Self((0..workers).map(|_| Range(AtomicU64::new(0))).collect())
    }

    /// Deals `tasks` out evenly, while all ranges are empty. Whoever claims a task sees what was
    /// written before this call.
    pub(super) fn deal(&self, tasks: usize) {
        let workers = self.0.len();
        for (i, range) in self.0.iter().enumerate() {
            let (start, end) = (tasks * i / workers, tasks * (i + 1) / workers);
            range.0.store(pack(start as u32, end as u32), Ordering::Release);
        }
    }

    /// Claims a task for `worker`: its own next, else the last of whoever comes after it.
    pub(super) fn claim(&self, worker: usize) -> Option<usize> {
        let workers = self.0.len();
        (0..workers).find_map(|i| {
            let range = &self.0[(worker + i) % workers].0;
            let from_front = i == 0;
            // Acquire, with the release in `deal`: a claim reads from it through claims alone.
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
