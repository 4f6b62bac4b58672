//! The figures of an event, in lines.
use super::event::At;
use crate::text::figures::bytes;

/// A share in percent, if there is a whole.
fn percent(part: f64, whole: f64) -> Option<String> {
    (whole > 0.0).then(|| format!("{:.0}%", part / whole * 100.0))
}

fn joined(parts: impl IntoIterator<Item = Option<String>>) -> String {
    parts.into_iter().flatten().collect::<Vec<_>>().join("  ")
}

/// Hours, minutes and seconds.
fn span(seconds: f64) -> String {
    let seconds = seconds.max(0.0) as u64;
    let (hours, minutes, rest) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    if hours > 0 { format!("{hours}:{minutes:02}:{rest:02}") } else { format!("{minutes}:{rest:02}") }
}

/// What the server is.
pub(super) fn server(event: At<'_>) -> String {
    let formats = match (event.text("/server/weights"), event.text("/server/kv")) {
        (Some(weights), Some(kv)) => Some(format!("{weights}/{kv}")),
        _ => None,
    };
    let workers = event.number("/server/workers").map(|workers| format!("{workers} workers"));
    let up = event.number("/uptime_seconds").map(|seconds| format!("up {}", span(seconds)));
    let parts = [up, formats, event.text("/server/isa"), workers, event.text("/server/fingerprint")];
    let parts = joined(parts);
    if parts.is_empty() { parts } else { format!("  {parts}") }
}

/// What the engine does.
pub(super) fn engine(event: At<'_>) -> String {
    let of = |path: &str, max: &str| {
        let max = event.number(max).map(|max| format!("/{max}")).unwrap_or_default();
        format!("{}{max}", event.count(path))
    };
    let running = format!("running {}", of("/engine/running", "/server/max_seqs"));
    let waiting = format!("waiting {}", of("/engine/waiting", "/server/max_queue"));
    let rate = event.number("/engine/tokens_per_second").map(|rate| format!("{rate:.1} tokens/s"));
    let busy = event.number("/engine/busy").map(|busy| format!("busy {:.0}%", busy * 100.0));
    let some = |path: &str, name: &str| {
        let count = event.count(path);
        (count > 0).then(|| format!("{name} {count}"))
    };
    joined([
        Some(running),
        Some(waiting),
        rate,
        busy,
        some("/engine/preemptions", "preempted"),
        some("/server/restarts", "restarts"),
        some("/engine/overdue_steps", "overdue steps"),
    ])
}

/// Hits, acceptance, the queue and connections.
pub(super) fn shares(event: At<'_>) -> String {
    let number = |path: &str| event.number(path).unwrap_or(0.0);
    let hits = percent(number("/prefix/hits"), number("/prefix/queries"))
        .map(|share| format!("prefix hits {share}"));
    let drafts = |source: &str, name: &str| {
        let of = |what: &str| number(&format!("/drafts/{source}/{what}"));
        percent(of("accepted"), of("verified")).map(|share| format!("{name} {share}"))
    };
    let queue = event.count("/queue/tokens");
    let open = event.number("/connections/open").map(|open| format!("connections {open}"));
    joined([
        hits,
        drafts("lookup", "lookup"),
        drafts("model", "draft model"),
        (queue > 0).then(|| format!("queued tokens {queue}")),
        open,
    ])
}

/// What memory is used for.
pub(super) fn memory(event: At<'_>) -> String {
    let of = |path: &str, name: &str| {
        let count = event.number(path).filter(|count| *count >= 0.0)?;
        Some(format!("{name} {}", bytes(count as u64)))
    };
    let used = [of("/memory/weights", "weights"), of("/memory/kv", "KV"), of("/memory/resident", "resident")];
    joined(used.into_iter().chain([of("/memory/limit", "limit"), of("/memory/available", "available")]))
}

#[cfg(test)]
mod tests {
    use super::super::state::tests::sample;
    use super::*;
    use serde_json::json;

    #[test]
    fn figures_are_what_is_known() {
        let event = sample();
        let at = At(&event);
        assert_eq!(server(at), "  up 1:02:05  int8/bf16  avx2  2 workers  vb-0123");
        assert_eq!(
            engine(at),
            "running 1/8  waiting 1/64  118.2 tokens/s  busy 93%  preempted 4  restarts 1"
        );
        let told = "prefix hits 40%  lookup 80%  queued tokens 240  connections 5";
        assert_eq!(shares(at), told);
        assert_eq!(memory(at), "weights 1.00 MB  KV 8.00 MB  resident 30.0 MB");
        let nothing = json!({});
        let at = At(&nothing);
        assert_eq!(
            (server(at), engine(at), shares(at) + &memory(at)),
            (String::new(), "running 0  waiting 0".to_owned(), String::new())
        );
    }
}
