//! Counters, gauges and histograms that any thread may write and read. None of them has a lock, so
//! whoever reads them never waits for whoever writes them, and the other way round.
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

/// A count that only grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds `count` to it.
    pub fn add(&self, count: usize) {
        self.0.fetch_add(count as u64, Ordering::Relaxed);
    }

    /// The count so far.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A number that goes up and down.
#[derive(Debug, Default)]
pub struct Gauge(AtomicI64);

impl Gauge {
    /// Puts another number in its place.
    pub fn set(&self, value: i64) {
        self.0.store(value, Ordering::Relaxed);
    }

    /// Adds to the number; what is negative is taken away.
    pub fn add(&self, change: i64) {
        self.0.fetch_add(change, Ordering::Relaxed);
    }

    /// The number as it is now.
    pub fn get(&self) -> i64 {
        self.0.load(Ordering::Relaxed)
    }

    /// Adds `amount` until what is returned is dropped, after a panic too.
    pub fn hold(&self, amount: i64) -> Held<'_> {
        self.add(amount);
        Held { gauge: self, amount }
    }
}

/// An amount that [`Gauge::hold`] has added.
#[derive(Debug)]
pub struct Held<'g> {
    gauge: &'g Gauge,
    amount: i64,
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.gauge.add(-self.amount);
    }
}

/// How many values fell into each of some buckets, and the sum of all values.
#[derive(Debug)]
pub struct Histogram {
    /// The greatest value of each bucket, ascending. One more bucket takes what is greater.
    bounds: Vec<f64>,
    counts: Vec<AtomicU64>,
    /// In units of which a value of 1 has `unit`: additions of integers need no loop.
    sum: AtomicU64,
    unit: u64,
}

/// A histogram as it was read.
#[derive(Clone, Debug, PartialEq)]
pub struct Reading<'h> {
    /// The greatest value of each bucket but the last.
    pub bounds: &'h [f64],
    /// Values in each bucket, and in the last one those above all bounds.
    pub counts: Vec<u64>,
    /// The sum of all values; it may be ahead of the counts by values that were just noted.
    pub sum: f64,
}

impl Histogram {
    /// A histogram of durations. Its bounds are in seconds; its sum is kept in nanoseconds.
    pub fn of_seconds(bounds: &[f64]) -> Self {
        Self::new(bounds, 1_000_000_000)
    }

    /// A histogram of numbers of things.
    pub fn of_counts(bounds: &[f64]) -> Self {
        Self::new(bounds, 1)
    }

    fn new(bounds: &[f64], unit: u64) -> Self {
        debug_assert!(bounds.is_sorted(), "the bounds of buckets ascend");
        let counts = (0..=bounds.len()).map(|_| AtomicU64::new(0)).collect();
        Self { bounds: bounds.to_vec(), counts, sum: AtomicU64::new(0), unit }
    }

    /// Notes how long something took.
    pub fn note(&self, took: Duration) {
        let units = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        self.add(took.as_secs_f64(), units);
    }

    /// Notes a number of things.
    pub fn note_count(&self, count: usize) {
        self.add(count as f64, count as u64);
    }

    fn add(&self, value: f64, units: u64) {
        let bucket = self.bounds.partition_point(|bound| *bound < value);
        self.counts[bucket].fetch_add(1, Ordering::Relaxed);
        self.sum.fetch_add(units, Ordering::Relaxed);
    }

    /// The buckets and the sum now.
    pub fn read(&self) -> Reading<'_> {
        let counts = self.counts.iter().map(|count| count.load(Ordering::Relaxed)).collect();
        let sum = self.sum.load(Ordering::Relaxed) as f64 / self.unit as f64;
        Reading { bounds: &self.bounds, counts, sum }
    }
}

impl Reading<'_> {
    /// How many values were noted.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_fall_into_the_bucket_whose_bound_they_do_not_exceed() {
        let histogram = Histogram::of_counts(&[1.0, 2.0, 5.0]);
        for count in [0, 1, 2, 3, 5, 6, 1000] {
            histogram.note_count(count);
        }
        let reading = histogram.read();
        assert_eq!((reading.counts.as_slice(), reading.sum), ([2, 1, 2, 2].as_slice(), 1017.0));
        assert_eq!(reading.count(), 7);
        let histogram = Histogram::of_seconds(&[0.01]);
        histogram.note(Duration::from_millis(10));
        histogram.note(Duration::from_millis(15));
        assert_eq!((histogram.read().counts, histogram.read().sum), (vec![1, 1], 0.025));
    }

    #[test]
    fn what_was_held_is_given_back() {
        let gauge = Gauge::default();
        let held = gauge.hold(3);
        assert_eq!(gauge.get(), 3);
        drop(held);
        assert_eq!(gauge.get(), 0);
    }
}
