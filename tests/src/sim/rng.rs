//! Random numbers by name: a stream is keyed by (seed, what it is for, index), so that leaving one
//! request out of a replay changes no draw of another.
use crate::draws::{Draws, GOLDEN, mix};

/// Folds `value` into a running hash.
pub fn fold(hash: u64, value: u64) -> u64 {
    mix(hash.wrapping_add(GOLDEN) ^ value)
}

/// What a stream is for.
#[derive(Clone, Copy, Debug)]
pub enum Stream {
    /// What holds for a whole run.
    Options = 1,
    /// What one request is.
    Request,
    /// What one turn of the loop does besides.
    Tick,
    /// A text that prompts begin with.
    Text,
    /// Weights.
    Weights,
}

/// A stream of random numbers.
#[derive(Clone, Debug)]
pub struct Rng(Draws);

impl Rng {
    /// The stream of that name.
    pub fn new(seed: u64, stream: Stream, index: u64) -> Self {
        Self(Draws::new(fold(fold(mix(seed.wrapping_add(1)), stream as u64), index)))
    }

    /// The next 64 bits.
    pub fn bits(&mut self) -> u64 {
        self.0.bits()
    }

    /// A number below `end`, which is not 0.
    pub fn below(&mut self, end: usize) -> usize {
        self.0.below(end)
    }

    /// A number of the range, both ends included.
    pub fn within(&mut self, range: std::ops::RangeInclusive<usize>) -> usize {
        range.start() + self.below(range.end() - range.start() + 1)
    }

    /// Whether it happens, so many times in a hundred.
    pub fn percent(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    /// One of them.
    pub fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        *self.0.pick(of)
    }

    /// A number in [-1, 1).
    pub fn signed(&mut self) -> f32 {
        (self.bits() >> 40) as f32 / 8_388_608.0 - 1.0
    }
}
