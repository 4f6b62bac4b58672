//! Prometheus' text format, version 0.0.4.
use crate::runtime::meters::Reading;
use std::fmt::Write;

/// The media type of the format.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// What kind of numbers a metric has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A count that only grows.
    Counter,
    /// A number that goes up and down.
    Gauge,
    /// Counts of values by size, and their sum.
    Histogram,
}

impl Kind {
    /// The word for it in the format.
    pub fn name(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

/// The samples of one metric, as text.
#[derive(Debug)]
pub struct Samples<'t> {
    text: &'t mut String,
    name: &'static str,
    /// Labels that all samples have, written out.
    shared: &'t str,
}

impl<'t> Samples<'t> {
    /// Begins a metric with what it is. `shared` comes from [`labels`].
    pub fn begin(text: &'t mut String, name: &'static str, kind: Kind, help: &str, shared: &'t str) -> Self {
        let kind = kind.name();
        let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}");
        Self { text, name, shared }
    }

    /// Adds a number with these labels besides the shared ones.
    pub fn put(&mut self, of: &[(&str, &str)], value: f64) {
        self.sample("", of, value);
    }

    /// Adds a count with these labels besides the shared ones.
    pub fn count(&mut self, of: &[(&str, &str)], value: u64) {
        self.put(of, value as f64);
    }

    /// Adds the buckets, the sum and the count of a histogram.
    pub fn histogram(&mut self, of: &[(&str, &str)], reading: &Reading<'_>) {
        let mut sum = 0;
        let ends = reading.bounds.iter().copied().chain([f64::INFINITY]);
        for (end, count) in ends.zip(&reading.counts) {
            sum += count;
            // With a point, as Python's client writes numbers below a million: sums over servers
            // of both kinds need equal labels.
            let end = if end.is_finite() { format!("{end:?}") } else { "+Inf".to_owned() };
            self.sample("_bucket", &[of, &[("le", &end)]].concat(), sum as f64);
        }
        self.sample("_sum", of, reading.sum);
        self.sample("_count", of, sum as f64);
    }

    fn sample(&mut self, suffix: &str, of: &[(&str, &str)], value: f64) {
        let own = labels(of);
        let comma = if own.is_empty() || self.shared.is_empty() { "" } else { "," };
        let all = format!("{}{comma}{own}", self.shared);
        let all = if all.is_empty() { all } else { format!("{{{all}}}") };
        let _ = match value {
            _ if value.is_nan() => writeln!(self.text, "{}{suffix}{all} NaN", self.name),
            _ => writeln!(self.text, "{}{suffix}{all} {value}", self.name),
        };
    }
}

/// Labels with their values, as they stand between braces.
pub fn labels(of: &[(&str, &str)]) -> String {
    let mut text = String::new();
    for (name, value) in of {
        let comma = if text.is_empty() { "" } else { "," };
        let value = value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
        let _ = write!(text, "{comma}{name}=\"{value}\"");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::meters::Histogram;

    #[test]
    fn samples_are_written_as_prometheus_reads_them() {
        let (mut text, shared) = (String::new(), labels(&[("model_name", "a\"b\\c\nd")]));
        let mut samples = Samples::begin(&mut text, "x:a_total", Kind::Counter, "What it is.", &shared);
        samples.count(&[], 12_345_678_901);
        samples.put(&[("kind", "k")], 0.5);
        let expected = "# HELP x:a_total What it is.\n# TYPE x:a_total counter\n\
            x:a_total{model_name=\"a\\\"b\\\\c\\nd\"} 12345678901\n\
            x:a_total{model_name=\"a\\\"b\\\\c\\nd\",kind=\"k\"} 0.5\n";
        assert_eq!(text, expected);
        let histogram = Histogram::of_seconds(&[0.001, 1.0]);
        [1, 500, 2000].into_iter().for_each(|ms| histogram.note(std::time::Duration::from_millis(ms)));
        let mut text = String::new();
        let mut samples = Samples::begin(&mut text, "s", Kind::Histogram, "H.", "");
        samples.histogram(&[], &histogram.read());
        let expected = "# HELP s H.\n# TYPE s histogram\ns_bucket{le=\"0.001\"} 1\ns_bucket{le=\"1.0\"} 2\n\
            s_bucket{le=\"+Inf\"} 3\ns_sum 2.501\ns_count 3\n";
        assert_eq!(text, expected);
    }
}
