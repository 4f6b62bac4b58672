//! Bandwidth: sums over more than any cache holds, by several access patterns; the best that any
//! reaches is the limit.
use super::rounds::{Effort, best_of};
use crate::sys::memory::AlignedMemory;
use std::hint::black_box;
use std::io;
use verbatim_core::isa::{Isa, LANES, Simd, SimdOp};
use verbatim_core::pool::Pool;

struct Read<'a> {
    data: &'a [f32],
    pattern: Pattern,
}

/// How memory is read.
#[derive(Clone, Copy, Debug)]
pub struct Pattern {
    /// Streams that a worker reads from at once.
    pub streams: usize,
    /// Bytes ahead that lines are fetched, 0 for what the hardware fetches by itself.
    pub ahead: usize,
}

/// The patterns that are tried.
pub const PATTERNS: [Pattern; 4] = [
    Pattern { streams: 1, ahead: 0 },
    Pattern { streams: 1, ahead: 8192 },
    Pattern { streams: 2, ahead: 0 },
    Pattern { streams: 4, ahead: 0 },
];

impl SimdOp for Read<'_> {
    type Output = f32;
    #[inline(always)]
    fn eval<S: Simd>(self, s: S) -> f32 {
        let mut sums = [s.splat(0.0); 8];
        let Pattern { streams, ahead } = self.pattern;
        let part = self.data.len() / streams;
        let step = 8 * LANES / streams;
        let mut at = 0;
        while at + step <= part {
            let mut i = 0;
            for stream in 0..streams {
                let mut offset = 0;
                while offset < step {
                    // SAFETY: `stream * part + at + step` is at most the length, and a vector
                    // starts a multiple of 16 before the end of its step.
                    let x = unsafe { self.data.as_ptr().add(stream * part + at + offset) };
                    if ahead > 0 {
                        s.prefetch(x.cast::<u8>().wrapping_add(ahead));
                    }
                    // SAFETY: as above.
                    let x = unsafe { s.load(x) };
                    sums[i] = s.add(sums[i], x);
                    i += 1;
                    offset += LANES;
                }
            }
            at += step;
        }
        let mut total = sums[0];
        for sum in &sums[1..] {
            total = s.add(total, *sum);
        }
        s.sum_lanes(total)
    }
}

/// Bytes of the last level of caches, as Linux tells them of the first CPU; 0 if it does not.
pub fn cache_bytes() -> usize {
    let of_level = |level: usize| {
        let text =
            std::fs::read_to_string(format!("/sys/devices/system/cpu/cpu0/cache/index{level}/size")).ok()?;
        text.trim().strip_suffix('K')?.parse::<usize>().ok()
    };
    (0..5).filter_map(of_level).max().unwrap_or(0).saturating_mul(1 << 10)
}

/// Bytes that no cache holds: twice the last level, but this many at least and 2 GiB at most.
pub fn beyond_caches(bytes_min: usize) -> usize {
    cache_bytes().saturating_mul(2).min(2 << 30).max(bytes_min)
}

/// Memory to read from, larger than any cache.
#[derive(Debug)]
pub struct Reader(AlignedMemory);

impl Reader {
    /// Takes memory of that many bytes, with huge pages where the system has them.
    pub fn new(bytes: usize, huge_pages: bool) -> io::Result<Self> {
        let mut memory = AlignedMemory::with_pages(bytes, huge_pages)?;
        memory.as_mut_slice().fill(1);
        Ok(Self(memory))
    }

    /// Bytes read a second in that pattern, the best of the rounds.
    pub fn rate(&self, isa: Isa, pool: &dyn Pool, pattern: Pattern, effort: Effort) -> f64 {
        let bytes = self.0.as_slice();
        // SAFETY: any bytes are floats; the memory is 2 MiB-aligned.
        let floats = unsafe { std::slice::from_raw_parts(bytes.as_ptr().cast::<f32>(), bytes.len() / 4) };
        let part = floats.len() / pool.workers() / 1024 * 1024;
        best_of(effort, pool, (part * 4) as f64, &|task| {
            black_box(isa.run(Read { data: &floats[task * part..][..part], pattern }));
        })
    }

    /// The best of all patterns now, with that effort for each. On a shared machine it differs from
    /// minute to minute.
    pub fn now(&self, isa: Isa, pool: &dyn Pool, effort: Effort) -> f64 {
        PATTERNS.into_iter().map(|pattern| self.rate(isa, pool, pattern, effort)).fold(0.0, f64::max)
    }
}
