//! Random numbers by name: a stream is keyed by (seed, what it is for, index), so that leaving one
//! request out of a replay changes no draw of another.
use crate::draws::{Draws, GOLDEN, mix};

/// Folds `value` into a running hash.
pub fn fold(hash: u64, value: u64) -> u64 {
    mix(hash.wrapping_add(GOLDEN) ^ value)
}

/// The purpose of a stream, so that draws for one purpose do not move those for another.
#[derive(Clone, Copy, Debug)]
pub enum Stream {
    /// The options of a whole run.
    Options = 1,
    /// The contents of one request.
    Request,
    /// Cancels, budgets and other events of one turn of the loop.
    Tick,
    /// A text that prompts begin with.
    Text,
    /// The weights of the models.
    Weights,
    /// What the host proposes in a turn.
    Propose,
}

/// A stream of random numbers.
#[derive(Clone, Debug)]
pub struct Rng(Draws);

impl Rng {
    /// The stream for a seed, a purpose and an index.
    pub fn new(seed: u64, stream: Stream, index: u64) -> Self {
        Self(Draws::new(fold(fold(mix(seed.wrapping_add(1)), stream as u64), index)))
    }

    /// The next 64 random bits.
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

    /// True with a probability of `percent` in a hundred.
    pub fn percent(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    /// Draws one element of a slice that is not empty.
    pub fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        *self.0.pick(of)
    }

    /// A number in [-1, 1).
    pub fn signed(&mut self) -> f32 {
        (self.bits() >> 40) as f32 / 8_388_608.0 - 1.0
    }
}
