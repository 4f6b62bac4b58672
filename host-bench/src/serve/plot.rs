//! A plot of a load as SVG: how times to the first token and gaps are distributed, and tokens over
//! time.
use super::measure::{Sample, Summary, Times};
use std::fmt::Write;

const WIDTH: f64 = 720.0;
const PANEL: f64 = 240.0;
const LEFT: f64 = 64.0;
const RIGHT: f64 = 20.0;
const TOP: f64 = 34.0;
const BETWEEN: f64 = 74.0;
/// Points of a curve, at most.
const POINTS: usize = 400;

/// The frame of one panel: what its edges mean.
struct Panel {
    top: f64,
    /// Decades of milliseconds at the left and the right edge, or seconds.
    x: (f64, f64),
    y_max: f64,
}

impl Panel {
    fn place(&self, x: f64, y: f64) -> (f64, f64) {
        let across = (x - self.x.0) / (self.x.1 - self.x.0);
        let x = LEFT + across.clamp(0.0, 1.0) * (WIDTH - LEFT - RIGHT);
        (x, self.top + PANEL * (1.0 - (y / self.y_max).clamp(0.0, 1.0)))
    }

    fn curve(&self, svg: &mut String, points: impl Iterator<Item = (f64, f64)>, colour: &str) {
        let mut line = String::new();
        for (x, y) in points {
            let (x, y) = self.place(x, y);
            let _ = write!(line, "{x:.1},{y:.1} ");
        }
        let _ =
            writeln!(svg, r#"<polyline fill="none" stroke="{colour}" stroke-width="2" points="{line}"/>"#);
    }

    fn frame(&self, svg: &mut String, title: &str, ticks: &[(f64, String)], y_label: &dyn Fn(f64) -> String) {
        text(svg, (LEFT, self.top - 12.0), "start", title);
        for (x, label) in ticks {
            let (x, bottom) = self.place(*x, 0.0);
            line(svg, (x, self.top), (x, bottom));
            text(svg, (x, bottom + 16.0), "middle", label);
        }
        for part in 0..=4 {
            let y = self.y_max * f64::from(part) / 4.0;
            let (_, at) = self.place(self.x.0, y);
            line(svg, (LEFT, at), (WIDTH - RIGHT, at));
            text(svg, (LEFT - 6.0, at + 4.0), "end", &y_label(y));
        }
    }
}

fn line(svg: &mut String, from: (f64, f64), to: (f64, f64)) {
    let _ = writeln!(
        svg,
        r##"<line x1="{:.1}" y1="{:.1}" x2="{:.1}" y2="{:.1}" stroke="#ddd"/>"##,
        from.0, from.1, to.0, to.1
    );
}

fn text(svg: &mut String, (x, y): (f64, f64), anchor: &str, text: &str) {
    let text = text.replace('&', "&amp;").replace('<', "&lt;");
    let _ = writeln!(svg, r#"<text x="{x:.1}" y="{y:.1}" text-anchor="{anchor}">{text}</text>"#);
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
    let mut svg = format!(
        r##"<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" font-family="sans-serif" font-size="12">
<rect width="100%" height="100%" fill="#fff"/>
"##
    );
    let all = [&summary.ttft, &summary.gaps];
    let least = all.iter().filter_map(|times| times.values().first()).fold(f64::MAX, |a, b| a.min(*b));
    let most = all.iter().filter_map(|times| times.values().last()).fold(1.0_f64, |a, b| a.max(*b));
    let x = (least.clamp(1e-3, most).log10().floor(), most.log10().ceil().max(least.log10().floor() + 1.0));
    let panel = Panel { top: TOP + 16.0, x, y_max: 1.0 };
    let decade = |at: i32| (f64::from(at), format!("{} ms", 10_f64.powi(at)));
    let ticks: Vec<_> = (x.0 as i32..=x.1 as i32).map(decade).collect();
    panel.frame(&mut svg, title, &ticks, &|share| format!("{:.0}%", 100.0 * share));
    panel.curve(&mut svg, distribution(&summary.ttft), "#c04020");
    panel.curve(&mut svg, distribution(&summary.gaps), "#2060c0");

    let top = TOP + PANEL + BETWEEN;
    let rates = tokens_over_time(samples, summary.seconds);
    let most = rates.iter().map(|(_, rate)| *rate).fold(1.0, f64::max);
    let panel = Panel { top, x: (0.0, summary.seconds), y_max: most };
    let ticks: Vec<_> = (0..=4).map(|part| f64::from(part) * summary.seconds / 4.0).collect();
    let ticks: Vec<_> = ticks.into_iter().map(|at| (at, format!("{at:.1} s"))).collect();
    panel.frame(&mut svg, "tokens a second, over time", &ticks, &|rate| format!("{rate:.0}"));
    panel.curve(&mut svg, rates.into_iter(), "#208040");
    let legend = top - BETWEEN + 40.0;
    for (at, colour, label) in
        [(0.0, "#c04020", "time to the first token"), (200.0, "#2060c0", "gap between tokens")]
    {
        let _ = writeln!(
            svg,
            r#"<rect x="{:.1}" y="{:.1}" width="10" height="10" fill="{colour}"/>"#,
            LEFT + at,
            legend - 9.0
        );
        text(&mut svg, (LEFT + at + 16.0, legend), "start", label);
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
