//! A picture of simulations: for each size of the cluster, how times to the first token are
//! distributed under each policy.
use super::outcome::Outcome;
use super::report::Run;
use crate::panel::{Panel, begin, key};

const WIDTH: f64 = 300.0;
const HEIGHT: f64 = 230.0;
const LEFT: f64 = 52.0;
const TOP: f64 = 36.0;
const BETWEEN: f64 = 64.0;
/// Room below the panels for ticks and the key.
const BELOW: f64 = 72.0;
/// Panels of a row.
const ACROSS: usize = 3;
/// Decades of milliseconds at the edges: 0.1 s to 100 s.
const DECADES: (i32, i32) = (2, 5);
const COLOURS: [&str; 6] = ["#999999", "#7a5ab0", "#208040", "#d0a000", "#c04020", "#2060c0"];

/// The picture, as SVG.
pub(super) fn svg(runs: &[Run]) -> String {
    let mut sizes: Vec<usize> = runs.iter().map(|run| run.settings.replicas).collect();
    sizes.dedup();
    let mut policies = Vec::new();
    for run in runs {
        if !policies.contains(&run.settings.policy) {
            policies.push(run.settings.policy);
        }
    }
    let rows = sizes.len().div_ceil(ACROSS);
    let size = |count: usize, each: f64| count as f64 * each;
    let width = size(sizes.len().min(ACROSS), WIDTH + BETWEEN);
    let mut svg = begin((width, size(rows, TOP + HEIGHT + BELOW)));
    for (i, replicas) in sizes.iter().enumerate() {
        let panel = Panel {
            left: LEFT + size(i % ACROSS, WIDTH + BETWEEN),
            top: TOP + size(i / ACROSS, TOP + HEIGHT + BELOW),
            width: WIDTH,
            height: HEIGHT,
            x: (f64::from(DECADES.0), f64::from(DECADES.1)),
            y_max: 1.0,
        };
        let tick = |decade: i32| (f64::from(decade), format!("{} s", 10_f64.powi(decade - 3)));
        let ticks: Vec<_> = (DECADES.0..=DECADES.1).map(tick).collect();
        let title =
            format!("time to the first token, {replicas} replica{}", if *replicas == 1 { "" } else { "s" });
        panel.frame(&mut svg, &title, &ticks, &|share| format!("{:.0}%", 100.0 * share));
        for run in runs.iter().filter(|run| run.settings.replicas == *replicas) {
            let place = policies.iter().position(|policy| *policy == run.settings.policy).unwrap_or(0);
            panel.curve(&mut svg, curve(&run.outcome), COLOURS[place % COLOURS.len()]);
        }
        for (place, policy) in policies.iter().enumerate() {
            let at = (panel.left + size(place % 3, 110.0), panel.top + HEIGHT + 36.0 + size(place / 3, 18.0));
            key(&mut svg, at, COLOURS[place % COLOURS.len()], policy.name());
        }
    }
    svg.push_str("</svg>\n");
    svg
}

fn curve(outcome: &Outcome) -> impl Iterator<Item = (f64, f64)> {
    let points = outcome.first.curve();
    points.into_iter().map(|(us, per_mille)| ((us.max(1) as f64 / 1e3).log10(), per_mille as f64 / 1e3))
}
