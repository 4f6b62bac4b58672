//! What the machine can do at most, measured within seconds and within the memory that is free.
use crate::sys::cpu::available_memory;
use crate::sys::rates::peaks::Peaks;
use crate::sys::rates::read::{Reader, beyond_caches, cache_bytes};
use crate::sys::rates::rounds::Effort;
use std::io;
use std::time::Duration;
use verbatim_core::isa::Isa;
use verbatim_core::pool::Pool;

/// Bytes to read from, at least, where memory allows.
const READ_BYTES: usize = 256 << 20;
/// With less than this, what is read lies in caches.
const READ_BYTES_MIN: usize = 16 << 20;
/// The share of free memory that may be taken, as its divisor.
const FREE_SHARE: u64 = 4;
/// What is done for each figure: many short rounds, but on a busy machine few.
const EFFORT: Effort =
    Effort { rounds: 64, time: Duration::from_millis(250), round: Duration::from_millis(3) };

/// What all workers together can do in a second.
#[derive(Clone, Copy, Debug, Default)]
pub struct Machine {
    /// Bytes read from memory.
    pub read: f64,
    /// Operations, by the format of what is multiplied.
    pub peaks: Peaks,
    /// Bytes that the caches of all workers hold at most, if none of them shares one.
    pub caches: f64,
}

impl Machine {
    /// The better of two measurements, rate by rate.
    pub fn better_of(self, other: Self) -> Self {
        let (a, b) = (self.peaks, other.peaks);
        Self {
            caches: self.caches,
            read: self.read.max(other.read),
            peaks: Peaks {
                f32_fma: a.f32_fma.max(b.f32_fma),
                bf16_dot: a.bf16_dot.max(b.bf16_dot),
                int8_dot: a.int8_dot.max(b.int8_dot),
                int8_tiles: a.int8_tiles.max(b.int8_tiles),
            },
        }
    }

    /// Measures: a second or two where ten GB are read in one. An error is one of memory.
    pub fn measure(isa: Isa, pool: &dyn Pool) -> io::Result<Self> {
        let bytes = read_bytes(beyond_caches(READ_BYTES), available_memory());
        let reader = Reader::new(bytes, true)?;
        let read = reader.now(isa, pool, EFFORT);
        let caches = cache_bytes() as f64 * pool.workers() as f64;
        Ok(Self { read, peaks: Peaks::of(isa, pool, EFFORT), caches })
    }
}

/// Bytes to read from: as many as are wanted, but a share of what is free at most.
fn read_bytes(wanted: usize, free: Option<u64>) -> usize {
    let most = free.map_or(usize::MAX, |free| usize::try_from(free / FREE_SHARE).unwrap_or(usize::MAX));
    wanted.min(most).max(READ_BYTES_MIN)
}

#[cfg(test)]
mod tests {
    use super::*;
    use verbatim_core::pool::Serial;

    #[test]
    fn no_more_memory_is_read_than_is_free() {
        assert_eq!(read_bytes(1 << 30, None), 1 << 30);
        assert_eq!(read_bytes(1 << 30, Some(1 << 40)), 1 << 30);
        assert_eq!(read_bytes(1 << 30, Some(1 << 30)), 1 << 28);
        assert_eq!(read_bytes(1 << 30, Some(0)), READ_BYTES_MIN);
    }

    #[test]
    fn every_instruction_set_has_rates() {
        let reader = Reader::new(READ_BYTES_MIN, false).expect("a little memory");
        for isa in Isa::available().iter() {
            let rate = reader.now(*isa, &Serial, Effort::rounds(1));
            assert!(rate.is_finite() && rate > 1e6, "{}: {rate} bytes a second", isa.name());
        }
    }
}
