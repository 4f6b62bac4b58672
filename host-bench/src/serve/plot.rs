//! A plot of a load as SVG: how times to the first token and gaps are distributed, and tokens over
//! time.
use super::measure::{Sample, Summary, Times};
use verbatim_tests::panel::{Panel, begin, key};

const WIDTH: f64 = 720.0;
const PANEL: f64 = 240.0;
const LEFT: f64 = 64.0;
const RIGHT: f64 = 20.0;
const TOP: f64 = 34.0;
const BETWEEN: f64 = 74.0;
/// Points of a curve, at most.
const POINTS: usize = 400;

/// A panel over the whole width.
fn wide(top: f64, x: (f64, f64), y_max: f64) -> Panel {
    Panel { left: LEFT, top, width: WIDTH - LEFT - RIGHT, height: PANEL, x, y_max }
}

/// The share of values up to each, over the logarithm of milliseconds.
fn distribution(times: &Times) -> impl Iterator<Item = (f64, f64)> + '_ {
    let values = times.values();
    let stride = values.len().div_ceil(POINTS).max(1);
    let last = values.len().saturating_sub(1);
    let ranks = (0..values.len()).step_by(stride).chain([last]).filter(|rank| *rank < values.len());
    ranks.map(move |rank| (values[rank].max(1e-3).log10(), (rank + 1) as f64 / values.len() as f64))
}

/// The plot of a load.
pub(super) fn svg(title: &str, summary: &Summary, samples: &[Sample]) -> String {
    let height = 2.0 * (PANEL + BETWEEN) + TOP;
    let mut svg = begin((WIDTH, height));
    let all = [&summary.ttft, &summary.gaps];
    let least = all.iter().filter_map(|times| times.values().first()).fold(f64::MAX, |a, b| a.min(*b));
    let most = all.iter().filter_map(|times| times.values().last()).fold(1.0_f64, |a, b| a.max(*b));
    let x = (least.clamp(1e-3, most).log10().floor(), most.log10().ceil().max(least.log10().floor() + 1.0));
    let panel = wide(TOP + 16.0, x, 1.0);
    let decade = |at: i32| (f64::from(at), format!("{} ms", 10_f64.powi(at)));
    let ticks: Vec<_> = (x.0 as i32..=x.1 as i32).map(decade).collect();
    panel.frame(&mut svg, title, &ticks, &|share| format!("{:.0}%", 100.0 * share));
    panel.curve(&mut svg, distribution(&summary.ttft), "#c04020");
    panel.curve(&mut svg, distribution(&summary.gaps), "#2060c0");

    let top = TOP + PANEL + BETWEEN;
    let rates = tokens_over_time(samples, summary.seconds);
    let most = rates.iter().map(|(_, rate)| *rate).fold(1.0, f64::max);
    let panel = wide(top, (0.0, summary.seconds), most);
    let ticks: Vec<_> = (0..=4).map(|part| f64::from(part) * summary.seconds / 4.0).collect();
    let ticks: Vec<_> = ticks.into_iter().map(|at| (at, format!("{at:.1} s"))).collect();
    panel.frame(&mut svg, "tokens a second, over time", &ticks, &|rate| format!("{rate:.0}"));
    panel.curve(&mut svg, rates.into_iter(), "#208040");
    let legend = top - BETWEEN + 40.0;
    for (at, colour, label) in
        [(0.0, "#c04020", "time to the first token"), (200.0, "#2060c0", "gap between tokens")]
    {
        key(&mut svg, (LEFT + at, legend), colour, label);
    }
    svg.push_str("</svg>\n");
    svg
}

/// Events with text a second, in a hundredth of the time each.
fn tokens_over_time(samples: &[Sample], seconds: f64) -> Vec<(f64, f64)> {
    const PARTS: usize = 100;
    let first = samples.iter().map(|sample| sample.due_s).fold(f64::MAX, f64::min);
    let mut counts = [0.0; PARTS];
    let width = (seconds / PARTS as f64).max(1e-9);
    for sample in samples {
        let Some(first_ms) = sample.first_ms else { continue };
        let mut at = sample.due_s - first + first_ms / 1e3;
        let gaps = sample.gaps_ms.iter().map(|gap| gap / 1e3).chain([0.0]);
        for gap in gaps {
            counts[((at / width) as usize).min(PARTS - 1)] += 1.0;
            at += gap;
        }
    }
    counts.iter().enumerate().map(|(part, count)| ((part as f64 + 0.5) * width, count / width)).collect()
}

#[cfg(test)]
mod tests {
    use super::super::client::Streamed;
    use super::super::measure::Bounds;
    use super::*;
    use std::time::{Duration, Instant};

    #[test]
    fn a_plot_has_a_curve_for_each_figure() {
        let start = Instant::now();
        let at = |ms: u64| start + Duration::from_millis(ms);
        let sample = |due: u64| {
            let times = (0..50).map(|i| at(due + 100 + 10 * i)).collect();
            let streamed = Streamed { times, ..Streamed::default() };
            Sample::new(0, streamed, None, (start, at(due), at(due + 600)))
        };
        let samples: Vec<Sample> = (0..20).map(|i| sample(100 * i)).collect();
        let bounds = Bounds { ttft_ms: 1e3, itl_ms: 1e3 };
        let summary = Summary::new(&samples, bounds);
        let plot = svg("a < b", &summary, &samples);
        assert!(plot.starts_with("<svg") && plot.ends_with("</svg>\n") && plot.contains("a &lt; b"));
        assert_eq!(plot.matches("<polyline").count(), 3);
        let total: f64 = tokens_over_time(&samples, summary.seconds).iter().map(|(_, rate)| rate).sum();
        assert!((total * summary.seconds / 100.0 - 1000.0).abs() < 1e-6, "{total}");
        // Without an answer there is nothing to draw, and nothing fails.
        let none = [Sample::new(0, Streamed::default(), None, (start, start, start))];
        assert!(!svg("none", &Summary::new(&none, bounds), &none).contains("NaN"));
    }
}
