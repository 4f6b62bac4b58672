//! What a person or a program reads of simulations: a table, JSON, and what a number of users
//! needs.
use super::histogram::Histogram;
use super::outcome::{Outcome, per};
use super::settings::{SECOND, Settings};
use serde_json::{Value, json};
use std::fmt::Write;

/// One simulation and what came of it.
#[derive(Clone, Debug)]
pub struct Run {
    /// What was simulated, with its load.
    pub settings: Settings,
    /// What came of it.
    pub outcome: Outcome,
}

/// Requests of a user in a day, and the share of them in the busiest hour, for [`sum`].
const ASKS_A_DAY: f64 = 10.0;
const BUSIEST_HOUR: f64 = 0.1;

/// The names of the table's columns.
const COLUMNS: [&str; 12] = [
    "replicas",
    "policy",
    "first token, s",
    "gap, ms",
    "gap when struck, s",
    "tokens/s",
    "hits",
    "slots",
    "front",
    "for hedges",
    "for takeovers",
    "failed",
];

/// The table, in Markdown: times as p50 / p95 / p99, and only columns in which there is something.
pub fn table(runs: &[Run]) -> String {
    let lines: Vec<[String; COLUMNS.len()]> = runs.iter().map(cells).collect();
    let is_used = |column: usize| lines.iter().any(|line| !line[column].is_empty());
    let used: Vec<usize> = (0..COLUMNS.len()).filter(|column| is_used(*column)).collect();
    let names: Vec<_> = used.iter().map(|column| COLUMNS[*column]).collect();
    let mut text = format!("| {} |\n|{}\n", names.join(" | "), "---|".repeat(used.len()));
    for line in &lines {
        let shown: Vec<_> = used.iter().map(|column| line[*column].as_str()).collect();
        let _ = writeln!(text, "| {} |", shown.join(" | "));
    }
    text
}

/// A run's line of the table; an empty cell where there is nothing to tell.
fn cells(run: &Run) -> [String; COLUMNS.len()] {
    let outcome = &run.outcome;
    let seconds = |us: u64| short(us as f64 / 1e6);
    let share = |rows: u64| match rows {
        0 => String::new(),
        _ => format!("{:.1}%", 100.0 * per(rows as f64, outcome.rows as f64)),
    };
    let percent = |per_mille: u64| format!("{}%", (per_mille + 5) / 10);
    [
        run.settings.replicas.to_string(),
        run.settings.policy.name().to_owned(),
        times(&outcome.first, &seconds),
        times(&outcome.gap, &|us| format!("{:.0}", us as f64 / 1e3)),
        if outcome.struck.count() > 0 { times(&outcome.struck, &seconds) } else { String::new() },
        format!("{:.0}", outcome.tokens_per_s()),
        format!("{:.0}%", 100.0 * outcome.hit_share()),
        percent(outcome.slots_per_mille),
        percent(outcome.front_max_per_mille),
        share(outcome.hedge_rows),
        share(outcome.takeover_rows),
        if outcome.failed() > 0 {
            format!("{} of {}", outcome.failed(), outcome.issued)
        } else {
            String::new()
        },
    ]
}

fn times(times: &Histogram, show: &dyn Fn(u64) -> String) -> String {
    [500, 950, 990].map(|per_mille| show(times.per_mille_us(per_mille))).join(" / ")
}

/// Two digits that count, or all before the point.
fn short(value: f64) -> String {
    if value < 10.0 { format!("{value:.1}") } else { format!("{value:.0}") }
}

/// All figures of a run as one JSON object.
pub fn json(run: &Run) -> Value {
    let (settings, outcome) = (&run.settings, &run.outcome);
    let times = |times: &Histogram| {
        let of = |per_mille| times.per_mille_us(per_mille) as f64 / 1e3;
        json!({
            "count": times.count(), "mean": times.mean_us() as f64 / 1e3,
            "p50": of(500), "p95": of(950), "p99": of(990), "max": of(1000),
        })
    };
    json!({
        "replicas": settings.replicas, "policy": settings.policy.name(), "seed": settings.seed,
        "fronts": settings.front.count,
        "requests_per_s": per(SECOND as f64, settings.load.between_ns as f64),
        "requests": outcome.issued, "finished": outcome.finished,
        "failed": {"refused": outcome.refused, "stranded": outcome.stranded},
        "first_token_ms": times(&outcome.first), "gap_ms": times(&outcome.gap),
        "struck_gap_ms": times(&outcome.struck), "whole_ms": times(&outcome.whole),
        "tokens_per_s": outcome.tokens_per_s(), "events": outcome.events,
        "prefix_hit_share": outcome.hit_share(),
        "rows": {
            "all": outcome.rows, "hedges": outcome.hedge_rows, "takeovers": outcome.takeover_rows,
            "preempted": outcome.again_rows,
        },
        "takeovers": outcome.takeovers, "hedges": outcome.hedges, "refusals": outcome.refusals,
        "preemptions": outcome.preemptions,
        "faults": {
            "kills": outcome.kills, "stops": outcome.stops, "slow": outcome.slows,
            "upgrades": outcome.upgrades,
        },
        "slots_share": outcome.slots_per_mille as f64 / 1e3,
        "front_share": outcome.front_per_mille as f64 / 1e3,
        "busiest_front_share": outcome.front_max_per_mille as f64 / 1e3,
        "busiest_link_share": outcome.link_max_per_mille as f64 / 1e3,
        "bytes_per_s": outcome.bytes_per_s,
        "hash": format!("{:016x}", outcome.hash),
    })
}

/// The greatest rates that were found, a line for each run; `is_within` tells whether a rate is
/// one at which the bound holds, or the least of those that were tried.
pub fn rates(runs: &[Run], is_within: &dyn Fn(&Run) -> bool) -> String {
    let mut text = String::from("\n| replicas | policy | requests/s a replica |\n|---|---|---|\n");
    for run in runs {
        let (settings, under) = (&run.settings, if is_within(run) { "" } else { "under " });
        let rate = SECOND as f64 / (settings.load.between_ns as f64 * settings.replicas as f64);
        let _ = writeln!(text, "| {} | {} | {under}{rate:.2} |", settings.replicas, settings.policy.name());
    }
    text
}

/// What so many users need, in sentences, if replicas are used as in this run.
pub fn sum(run: &Run, users: u64) -> String {
    let (settings, outcome) = (&run.settings, &run.outcome);
    let asks_per_s = users as f64 * ASKS_A_DAY * BUSIEST_HOUR / 3600.0;
    let each_per_s = SECOND as f64 / (settings.load.between_ns as f64 * settings.replicas as f64);
    let replicas = asks_per_s / each_per_s;
    let events = per(outcome.events as f64, outcome.finished as f64);
    let front = &settings.front;
    let cores = asks_per_s * (front.request_ns as f64 + events * front.event_ns as f64) / 1e9;
    let bytes = per(outcome.bytes_per_s as f64, SECOND as f64 / settings.load.between_ns as f64) * asks_per_s;
    format!(
        "{users} users, {ASKS_A_DAY:.0} requests a day each, a tenth of them in the busiest hour: {asks_per_s:.0} \
         requests/s.\nAt {each_per_s:.2} requests/s a replica ({}, {}; first token p95 {} s): {replicas:.0} replicas, \
         {cores:.1} cores of fronts, {:.1} MB/s through them.\n",
        settings.policy.name(),
        settings.engine.times.machine(),
        short(outcome.first.per_mille_us(950) as f64 / 1e6),
        bytes / 1e6,
    )
}
