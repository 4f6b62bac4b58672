//! What was measured of requests, and what it comes to.
use super::client::{Fault, Streamed};
use std::collections::BTreeMap;
use std::time::Instant;

/// One request and its answer. Times are in seconds from the start of the load, or milliseconds.
#[derive(Clone, Debug)]
pub(super) struct Sample {
    /// Which of the distinct requests it was.
    pub(super) number: usize,
    /// When the request was to be sent, and when its answer ended.
    pub(super) due_s: f64,
    pub(super) end_s: f64,
    /// From when it was due to its first text.
    pub(super) first_ms: Option<f64>,
    /// Between its events with text.
    pub(super) gaps_ms: Vec<f64>,
    pub(super) streamed: Streamed,
    pub(super) fault: Option<Fault>,
}

impl Sample {
    /// The sample of a stream, with the instants of the load's start, its due time and its end.
    pub(super) fn new(
        number: usize,
        streamed: Streamed,
        fault: Option<Fault>,
        (start, due, end): (Instant, Instant, Instant),
    ) -> Self {
        let ms = |from: Instant, to: Instant| to.saturating_duration_since(from).as_secs_f64() * 1e3;
        Self {
            number,
            due_s: ms(start, due) / 1e3,
            end_s: ms(start, end) / 1e3,
            first_ms: streamed.times.first().map(|first| ms(due, *first)),
            gaps_ms: streamed.times.windows(2).map(|pair| ms(pair[0], pair[1])).collect(),
            streamed,
            fault,
        }
    }

    fn mean_gap_ms(&self) -> f64 {
        self.gaps_ms.iter().sum::<f64>() / (self.gaps_ms.len() as f64).max(1.0)
    }
}

/// Times of which quantiles are asked, in order.
#[derive(Clone, Debug, Default)]
pub(super) struct Times(Vec<f64>);

impl Times {
    pub(super) fn new(mut values: Vec<f64>) -> Self {
        values.sort_by(f64::total_cmp);
        Self(values)
    }

    /// The value that a share of all do not exceed; 0 without values.
    pub(super) fn quantile(&self, share: f64) -> f64 {
        let rank = (share * self.0.len() as f64).ceil() as usize;
        self.0.get(rank.saturating_sub(1)).copied().unwrap_or(0.0)
    }

    pub(super) fn values(&self) -> &[f64] {
        &self.0
    }
}

/// What a good answer keeps within, in milliseconds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    /// To the first token.
    pub(super) ttft_ms: f64,
    /// From token to token, in the mean of an answer.
    pub(super) itl_ms: f64,
}

/// What all requests of a load come to.
#[derive(Clone, Debug)]
pub(super) struct Summary {
    pub(super) requests: usize,
    pub(super) whole: usize,
    pub(super) seconds: f64,
    pub(super) prompt_tokens: usize,
    pub(super) tokens: usize,
    pub(super) ttft: Times,
    pub(super) gaps: Times,
    /// Whole answers that keep within the bounds.
    pub(super) good: usize,
    /// How many requests failed, by the kind of their fault.
    pub(super) faults: BTreeMap<String, usize>,
}

impl Summary {
    pub(super) fn new(samples: &[Sample], bounds: Bounds) -> Self {
        let is_whole = |sample: &&Sample| sample.fault.is_none();
        let is_good = |sample: &&Sample| {
            sample.first_ms.is_some_and(|first| first <= bounds.ttft_ms)
                && sample.mean_gap_ms() <= bounds.itl_ms
        };
        let mut faults = BTreeMap::new();
        for fault in samples.iter().filter_map(|sample| sample.fault.as_ref()) {
            *faults.entry(fault.kind()).or_default() += 1;
        }
        let first_due = samples.iter().map(|sample| sample.due_s).fold(f64::MAX, f64::min);
        let last_end = samples.iter().map(|sample| sample.end_s).fold(0.0, f64::max);
        let usage = samples.iter().filter_map(|sample| sample.streamed.usage);
        Self {
            requests: samples.len(),
            whole: samples.iter().filter(is_whole).count(),
            seconds: (last_end - first_due).max(1e-9),
            prompt_tokens: usage.map(|(prompt, _)| prompt).sum(),
            tokens: samples.iter().map(|sample| sample.streamed.tokens()).sum(),
            ttft: Times::new(samples.iter().filter_map(|sample| sample.first_ms).collect()),
            gaps: Times::new(samples.iter().flat_map(|sample| sample.gaps_ms.iter().copied()).collect()),
            good: samples.iter().filter(is_whole).filter(is_good).count(),
            faults,
        }
    }

    /// Tokens of answers that were generated in a second.
    pub(super) fn tokens_s(&self) -> f64 {
        self.tokens as f64 / self.seconds
    }

    /// Answers that came whole in a second.
    pub(super) fn requests_s(&self) -> f64 {
        self.whole as f64 / self.seconds
    }
}

/// How many answers were compared with the same request's alone, and how many were equal.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Repeats {
    pub(super) compared: usize,
    pub(super) equal: usize,
    /// The first difference that was found.
    pub(super) first: Option<String>,
}

/// At most so many characters, for people.
fn quoted(text: &str) -> String {
    let short: String = text.chars().take(60).collect();
    format!("{short:?}")
}

impl Repeats {
    /// Compares an answer with that to the same request alone. Where the client has left, what it
    /// saw must be the beginning.
    pub(super) fn add(&mut self, number: usize, streamed: &Streamed, alone: &Streamed) {
        let is_equal = if streamed.has_left {
            alone.text.starts_with(&streamed.text)
        } else {
            streamed.text == alone.text
                && streamed.finish_reason == alone.finish_reason
                && (streamed.usage.is_none() || streamed.usage == alone.usage)
        };
        self.compared += 1;
        self.equal += usize::from(is_equal);
        if !is_equal && self.first.is_none() {
            let same = streamed.text.chars().zip(alone.text.chars()).take_while(|(a, b)| a == b).count();
            let rest = |text: &str| quoted(&text.chars().skip(same).collect::<String>());
            self.first = Some(format!(
                "request {number} from character {same}: {} ({:?}), alone {} ({:?})",
                rest(&streamed.text),
                streamed.finish_reason,
                rest(&alone.text),
                alone.finish_reason
            ));
        }
    }

    /// The share of equal answers; 1 if none was compared.
    pub(super) fn share(&self) -> f64 {
        if self.compared == 0 { 1.0 } else { self.equal as f64 / self.compared as f64 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn quantiles_are_values_that_were_seen() {
        let times = Times::new((1..=100).rev().map(f64::from).collect());
        assert_eq!(times.quantile(0.5), 50.0);
        assert_eq!(times.quantile(0.99), 99.0);
        assert_eq!(times.quantile(1.0), 100.0);
        assert_eq!(times.quantile(0.0), 1.0);
        assert_eq!(Times::default().quantile(0.5), 0.0);
        assert_eq!(Times::new(vec![7.0]).quantile(0.99), 7.0);
    }

    fn streamed(text: &str, times: Vec<Instant>) -> Streamed {
        Streamed { text: text.to_owned(), times, ..Streamed::default() }
    }

    #[test]
    fn a_summary_counts_what_it_says() {
        let start = Instant::now();
        let at = |ms: u64| start + Duration::from_millis(ms);
        let bounds = Bounds { ttft_ms: 100.0, itl_ms: 20.0 };
        let sample = |due: u64, times: &[u64], fault: Option<Fault>| {
            let times: Vec<Instant> = times.iter().map(|ms| at(*ms)).collect();
            let end = times.last().copied().unwrap_or(at(due + 10));
            Sample::new(0, streamed("x", times), fault, (start, at(due), end))
        };
        let samples = [
            sample(0, &[50, 60, 80], None),
            sample(1000, &[1150, 1160], None),
            sample(1000, &[1050, 1100, 2000], None),
            sample(500, &[550], Some(Fault::Cut(String::new()))),
            sample(500, &[], Some(Fault::Status(429))),
            sample(500, &[], Some(Fault::Status(429))),
        ];
        let summary = Summary::new(&samples, bounds);
        assert_eq!((summary.requests, summary.whole, summary.good), (6, 3, 1));
        assert!((summary.seconds - 2.0).abs() < 1e-6, "{}", summary.seconds);
        assert_eq!(summary.tokens, 9);
        let faults: Vec<_> = summary.faults.iter().map(|(kind, count)| (kind.as_str(), *count)).collect();
        assert_eq!(faults, [("cut off", 1), ("status 429", 2)]);
        assert!((summary.ttft.quantile(1.0) - 150.0).abs() < 1e-6);
        assert_eq!(summary.gaps.values().len(), 5);
    }

    #[test]
    fn answers_are_compared_to_the_character() {
        let alone = streamed("one two", Vec::new());
        let mut repeats = Repeats::default();
        assert_eq!(repeats.share(), 1.0);
        repeats.add(0, &streamed("one two", Vec::new()), &alone);
        repeats.add(1, &Streamed { has_left: true, ..streamed("one", Vec::new()) }, &alone);
        assert_eq!((repeats.compared, repeats.equal), (2, 2));
        for other in [
            streamed("one", Vec::new()),
            streamed("one tWo", Vec::new()),
            Streamed { has_left: true, ..streamed("ona", Vec::new()) },
            Streamed { finish_reason: Some("stop".to_owned()), ..alone.clone() },
        ] {
            repeats.add(9, &other, &alone);
        }
        assert_eq!((repeats.compared, repeats.equal), (6, 2));
        assert!(repeats.first.unwrap().contains("request 9 from character 3"));
    }
}
