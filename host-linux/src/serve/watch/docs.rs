//! docs/metrics.md, made from the table of metrics: `VERBATIM_BLESS=1 cargo test -p verbatim
//! watch::docs` writes it anew.
use super::families::{FAMILIES, Family, SHARED_LABELS};
use std::collections::BTreeSet;
use std::fmt::Write;

const HEAD: &str = "\
# Metrics

`GET /metrics` gives these in Prometheus' text format. Made by a test from the table in
`host-linux/src/serve/watch/families.rs`. `docs/grafana/verbatim.json` is a Grafana dashboard of them.

Metrics that vLLM has, too, have vLLM's names, labels and buckets. What they count as a request is a choice, as in
vLLM, unless the text says otherwise. A histogram NAME is told as `NAME_bucket`, `NAME_sum` and `NAME_count`.
";

fn row(family: &Family) -> String {
    let labels = family.labels.iter().map(|label| format!("`{label}`")).collect::<Vec<_>>().join(", ");
    format!("| `{}` | {} | {labels} | {} |\n", family.name, family.kind.name(), family.help)
}

fn metrics_md() -> String {
    let mut out = HEAD.to_owned();
    let shared = SHARED_LABELS.map(|label| format!("`{label}`")).join(" and ");
    let parts = [
        ("vllm:", "As in vLLM", format!("All of these also have the labels {shared} (always 0).\n")),
        ("verbatim:", "Verbatim's own", String::new()),
        ("process_", "The process", "One that the system does not tell is left out.\n".to_owned()),
    ];
    for (prefix, title, text) in parts {
        let _ = write!(out, "\n## {title}\n\n{text}");
        let gap = if text.is_empty() { "" } else { "\n" };
        let _ = write!(out, "{gap}| metric | type | labels | meaning |\n|---|---|---|---|\n");
        let families = FAMILIES.iter().filter(|family| family.name.starts_with(prefix));
        out.extend(families.map(row));
    }
    out
}

/// The names of metrics in an expression of PromQL, without what histograms add to them.
fn names(expression: &str) -> Vec<&str> {
    let words = expression.split(|c: char| !(c.is_ascii_alphanumeric() || "_:".contains(c)));
    let is_name = |word: &&str| ["vllm:", "verbatim:", "process_"].iter().any(|of| word.starts_with(of));
    let is_family = |name: &str| FAMILIES.iter().any(|family| family.name == name);
    let base = |word| {
        let mut parts = ["_bucket", "_sum", "_count"].iter().filter_map(|part| str::strip_suffix(word, part));
        parts.find(|name| is_family(name)).unwrap_or(word)
    };
    words.filter(is_name).map(base).collect()
}

#[test]
fn the_dashboard_shows_metrics_that_are_there() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/grafana/verbatim.json");
    let text = std::fs::read_to_string(path).expect("the dashboard");
    let board: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    let panels = board["panels"].as_array().expect("panels");
    let targets = panels.iter().filter_map(|panel| panel["targets"].as_array()).flatten();
    let expressions: Vec<&str> = targets.filter_map(|target| target["expr"].as_str()).collect();
    assert!(expressions.len() > 40, "{} expressions", expressions.len());
    let shown: BTreeSet<&str> = expressions.iter().flat_map(|of| names(of)).collect();
    for name in &shown {
        assert!(FAMILIES.iter().any(|family| family.name == *name), "there is no metric {name}");
    }
    let own = FAMILIES.iter().filter(|family| family.name.starts_with("verbatim:"));
    let hidden: Vec<&str> = own.map(|family| family.name).filter(|name| !shown.contains(name)).collect();
    // Limits stay as they are while a server runs.
    let left_out = ["verbatim:draft_tokens_total", "verbatim:budget_limit"];
    assert_eq!(hidden, left_out, "metrics of our own that no panel shows");
}

#[test]
fn docs_metrics_md_is_what_the_table_says() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/metrics.md");
    let expected = metrics_md();
    assert_eq!(expected.matches("\n| `").count(), FAMILIES.len(), "each metric has a row");
    if std::env::var_os("VERBATIM_BLESS").is_some() {
        std::fs::write(path, &expected).expect("docs/metrics.md is written");
    }
    let found = std::fs::read_to_string(path).unwrap_or_default();
    assert!(found == expected, "docs/metrics.md is not what the table says; VERBATIM_BLESS=1 writes it anew");
}
