//! A histogram of times with steps of 3 %, so that a hundred million gaps need a few kilobytes.
//!
//! Each power of two is cut into 32 parts, as HdrHistogram does it.

/// Parts of a power of two, as a power of two.
const PART_BITS: u32 = 5;
const PARTS: u64 = 1 << PART_BITS;

/// Times by how often each came.
#[derive(Clone, Debug, Default)]
pub struct Histogram {
    counts: Vec<u64>,
    total: u64,
    sum_us: u128,
    max_us: u64,
}

fn part(us: u64) -> usize {
    if us < PARTS {
        return us as usize;
    }
    let shift = us.ilog2() - PART_BITS;
    (u64::from(shift + 1) * PARTS + (us >> shift) - PARTS) as usize
}

/// The largest time of a part.
fn end_us(part: usize) -> u64 {
    let part = part as u64;
    if part < PARTS {
        return part;
    }
    let shift = part / PARTS - 1;
    ((part % PARTS + PARTS + 1) << shift) - 1
}

impl Histogram {
    /// Notes a time in nanoseconds.
    pub fn note_ns(&mut self, ns: u64) {
        let us = ns / 1000;
        let part = part(us);
        if part >= self.counts.len() {
            self.counts.resize(part + 1, 0);
        }
        self.counts[part] += 1;
        self.total += 1;
        self.sum_us += u128::from(us);
        self.max_us = self.max_us.max(us);
    }

    /// How many times were noted.
    pub fn count(&self) -> u64 {
        self.total
    }

    /// Their mean in microseconds; 0 if there are none.
    pub fn mean_us(&self) -> u64 {
        (self.sum_us / u128::from(self.total.max(1))) as u64
    }

    /// A time in microseconds, at most 3 % too large, that `per_mille` in a thousand of the times
    /// do not exceed; 0 if there are none.
    pub fn per_mille_us(&self, per_mille: u64) -> u64 {
        let rank = (self.total * per_mille).div_ceil(1000);
        let mut seen = 0;
        for (part, count) in self.counts.iter().enumerate() {
            seen += count;
            if seen >= rank && *count > 0 {
                return end_us(part).min(self.max_us);
            }
        }
        0
    }

    /// How many times are longer than so many microseconds, to within 3 % of these.
    pub fn count_above(&self, us: u64) -> u64 {
        self.counts.iter().skip(part(us) + 1).sum()
    }

    /// The shares of times, in thousandths, that do not exceed the end of each part, for a curve.
    pub(super) fn curve(&self) -> Vec<(u64, u64)> {
        let mut seen = 0;
        let used = self.counts.iter().enumerate().filter(|(_, count)| **count > 0);
        let point = |(part, count): (usize, &u64)| {
            seen += count;
            (end_us(part).min(self.max_us), seen * 1000 / self.total)
        };
        used.map(point).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_time_lies_in_its_part() {
        let times =
            (0..5000).chain((12..60).flat_map(|bits| [(1_u64 << bits) - 1, 1 << bits, 3 << (bits - 1)]));
        let mut last = 0;
        for us in times.filter(|us| *us > 0) {
            let end = end_us(part(us));
            assert!(end >= us && end - us <= us / 32, "{us} {end}");
            assert!(part(us) >= last || us < 5000);
            last = part(us);
        }
    }

    #[test]
    fn percentiles_are_those_of_the_times() {
        let mut histogram = Histogram::default();
        assert_eq!(histogram.per_mille_us(500), 0);
        for ms in 1..=1000 {
            histogram.note_ns(ms * 1_000_000);
        }
        for (per_mille, expected) in [(500, 500_000), (950, 950_000), (990, 990_000), (1000, 1_000_000)] {
            let found = histogram.per_mille_us(per_mille);
            assert!(found >= expected && found <= expected * 103 / 100, "{per_mille}: {found}");
        }
        assert_eq!((histogram.count(), histogram.mean_us()), (1000, 500_500));
        assert!((70..=100).contains(&histogram.count_above(900_000)));
        assert_eq!(histogram.curve().last(), Some(&(1_000_000, 1000)));
    }
}
