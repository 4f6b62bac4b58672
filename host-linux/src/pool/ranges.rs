//! Who has which tasks: a range for each worker, taken from the front by its owner and from the
//! back by others.
use std::sync::atomic::{AtomicU64, Ordering};

/// A range in one word, so that taking from either end is one compare-and-swap: start above, end
/// below.
#[derive(Debug, Default)]
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
    pub(super) fn new(workers: usize) -> Self {
        Self((0..workers).map(|_| Range::default()).collect())
    }

    /// Deals `tasks` out evenly. Only while no one takes any.
    pub(super) fn deal(&self, tasks: usize) {
        let workers = self.0.len();
        for (i, range) in self.0.iter().enumerate() {
            let (start, end) = (tasks * i / workers, tasks * (i + 1) / workers);
            range.0.store(pack(start as u32, end as u32), Ordering::Relaxed);
        }
    }

    /// A task for `worker`: its own next, else the last of whoever comes after it. Relaxed: the
    /// task numbers carry no data; what the tasks read was published before the run began.
    pub(super) fn next(&self, worker: usize) -> Option<usize> {
        let workers = self.0.len();
        (0..workers).find_map(|i| {
            let range = &self.0[(worker + i) % workers].0;
            let from_front = i == 0;
            let taken = range.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |word| {
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
