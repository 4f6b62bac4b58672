//! Random draws in whole numbers: waiting times, lengths and ranks, the same on every machine.
//!
//! No draw needs a logarithm, whose last bit differs between libraries: exponential times come from
//! comparisons of uniform numbers alone (J. von Neumann, "Various techniques used in connection
//! with random digits", 1951).
use crate::draws::{Draws, mix};
use crate::sim::rng::fold;

/// What a stream of draws is for, so that draws for one purpose do not move those for another.
#[derive(Clone, Copy, Debug)]
pub(super) enum Purpose {
    /// When the next conversation begins.
    Arrivals = 101,
    /// What one conversation is.
    Conversation,
    /// Which replica a router tries.
    Route,
    /// When a replica is killed.
    Kill,
    /// When a replica stops for a while.
    Stop,
    /// When a replica becomes slow for a while.
    Slow,
}

/// A stream of draws of one seed, purpose and index.
#[derive(Clone, Debug)]
pub(super) struct Dice(Draws);

impl Dice {
    /// The stream for a seed, a purpose and an index.
    pub(super) fn new(seed: u64, purpose: Purpose, index: u64) -> Self {
        Self(Draws::new(fold(fold(mix(seed.wrapping_add(1)), purpose as u64), index)))
    }

    /// The next 64 random bits.
    pub(super) fn bits(&mut self) -> u64 {
        self.0.bits()
    }

    /// A number below `end`, which is not 0.
    pub(super) fn below(&mut self, end: usize) -> usize {
        self.0.below(end)
    }

    /// A time with this mean, distributed exponentially; times beyond hundreds of means do not
    /// come.
    ///
    /// A run of uniform numbers that fall is of odd length with probability exp(−u), u being its
    /// first; each even run before adds one mean.
    pub(super) fn exponential(&mut self, mean: u64) -> u64 {
        let mut whole = 0_u128;
        loop {
            let first = self.bits();
            let (mut last, mut length) = (first, 1_u32);
            loop {
                let next = self.bits();
                if next >= last {
                    break;
                }
                last = next;
                length += 1;
            }
            if length % 2 == 1 {
                let scaled = ((whole << 32) + u128::from(first >> 32)) * u128::from(mean);
                return (scaled >> 32) as u64;
            }
            whole += 1;
        }
    }

    /// A number whose quantiles, at equal distances from the least to the most, are these (two or
    /// more); between two of them it is uniform.
    pub(super) fn quantile(&mut self, quantiles: &[u32]) -> u32 {
        let place = u64::from(self.bits() as u32) * (quantiles.len() as u64 - 1);
        let (at, part) = ((place >> 32) as usize, place & 0xffff_ffff);
        let (low, high) = (u64::from(quantiles[at]), u64::from(quantiles[at + 1]));
        (low + (((high - low) * part) >> 32)) as u32
    }

    /// A rank below `count` where rank k comes with a probability in proportion to 1 / (k + 1), as
    /// popularity is often found to be (Zipf). `sums` is [`zipf_sums`] of the count.
    pub(super) fn zipf(&mut self, sums: &[u64]) -> usize {
        let total = sums.last().copied().unwrap_or(1);
        let draw = self.bits() % total;
        sums.partition_point(|sum| *sum <= draw)
    }
}

/// The running sums of 1 / (k + 1), in 32 bits behind the point.
pub(super) fn zipf_sums(count: usize) -> Vec<u64> {
    let mut sum = 0;
    let next = |k: usize| {
        sum += (1_u64 << 32) / (k as u64 + 1);
        sum
    };
    (0..count).map(next).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exponential_times_have_their_mean_and_their_tail() {
        let mut dice = Dice::new(1, Purpose::Arrivals, 0);
        let draws: Vec<u64> = (0..200_000).map(|_| dice.exponential(1_000_000)).collect();
        let mean = draws.iter().sum::<u64>() / draws.len() as u64;
        assert!((990_000..1_010_000).contains(&mean), "{mean}");
        // exp(−3) = 4.98 %.
        let beyond = draws.iter().filter(|draw| **draw > 3_000_000).count();
        assert!((9_600..10_320).contains(&beyond), "{beyond}");
    }

    #[test]
    fn lengths_have_their_quantiles_and_ranks_their_popularity() {
        let mut dice = Dice::new(2, Purpose::Conversation, 0);
        let mut lengths: Vec<u32> = (0..30_001).map(|_| dice.quantile(&[10, 100, 1000])).collect();
        lengths.sort_unstable();
        assert!(lengths[0] >= 10 && lengths[30_000] <= 1000);
        assert!((97..105).contains(&lengths[15_000]), "{}", lengths[15_000]);
        let sums = zipf_sums(4);
        let mut counts = [0_u32; 4];
        for _ in 0..25_000 {
            counts[dice.zipf(&sums)] += 1;
        }
        // 12 : 6 : 4 : 3 of 25.
        for (count, expected) in counts.iter().zip([12_000, 6_000, 4_000, 3_000_u32]) {
            assert!(count.abs_diff(expected) < 350, "{counts:?}");
        }
    }
}
