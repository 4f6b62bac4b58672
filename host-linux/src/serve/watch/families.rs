//! Every metric by name: its kind, its labels, what it means, and where its numbers come from. What
//! vLLM has, too, has vLLM's name, labels and buckets, so that dashboards, autoscalers and gateways
//! that know vLLM know this server; the rest begins with `verbatim:`, and what Prometheus' own
//! clients tell of a process with `process_`.
use super::metrics::Metrics;
use super::text::{Kind, Samples, labels};
use crate::runtime::{EngineGauges, EngineStats, StepClass};
use crate::serve::observe::Finish;
use crate::serve::server::Server;
use crate::sys::process::{self, ProcessFigures};
use std::sync::atomic::Ordering;
use verbatim_core::cache::BLOCK;

/// A metric, of which there may be several numbers with different labels.
#[derive(Debug)]
pub struct Family {
    /// Its name in the text format.
    pub name: &'static str,
    /// What kind of numbers it has.
    pub kind: Kind,
    /// Labels of its own, besides those that [`Family::is_shared`] adds.
    pub labels: &'static [&'static str],
    /// What it means, in a sentence.
    pub help: &'static str,
    /// Where its numbers come from.
    write: fn(&Sources<'_>, &mut Samples<'_>),
}

/// Labels that all of vLLM's metrics have.
pub const SHARED_LABELS: [&str; 2] = ["model_name", "engine"];

impl Family {
    /// Whether it has [`SHARED_LABELS`].
    pub fn is_shared(&self) -> bool {
        self.name.starts_with("vllm:")
    }
}

/// Where the numbers of one answer come from: each is read once, so that what belongs together is
/// of one moment.
struct Sources<'s> {
    server: &'s Server,
    metrics: &'s Metrics,
    gauges: EngineGauges,
    stats: &'s EngineStats,
    process: ProcessFigures,
}

/// All metrics of a server, in the text format. Nothing in here waits for the engine or for another
/// request; no lock is held longer than it takes to read a number.
pub fn exposition(server: &Server) -> String {
    let sources = Sources {
        server,
        metrics: &server.metrics,
        gauges: server.engine.gauges(),
        stats: server.engine.stats(),
        process: process::figures(),
    };
    let shared = labels(&[(SHARED_LABELS[0], &server.model.name), (SHARED_LABELS[1], "0")]);
    let mut text = String::with_capacity(32 << 10);
    for family in FAMILIES {
        let Family { name, kind, help, .. } = *family;
        let shared = if family.is_shared() { shared.as_str() } else { "" };
        (family.write)(&sources, &mut Samples::begin(&mut text, name, kind, help, shared));
    }
    text
}

macro_rules! families {
    ($($name:literal $kind:ident [$($label:literal)*] $help:literal => |$from:ident, $to:ident| $write:expr;)*) => {
        /// All metrics, in the order in which they are told.
        pub static FAMILIES: &[Family] = &[$(Family {
            name: $name,
            kind: Kind::$kind,
            labels: &[$($label),*],
            help: $help,
            write: |$from: &Sources<'_>, $to: &mut Samples<'_>| $write,
        }),*];
    };
}

families! {
    "vllm:num_requests_running" Gauge [] "Sequences (choices of requests) that take part in steps."
        => |from, to| to.count(&[], from.gauges.status.running as u64);
    "vllm:num_requests_waiting" Gauge [] "Sequences that wait to run, new ones and preempted ones."
        => |from, to| to.count(&[], from.gauges.status.waiting as u64);
    "vllm:kv_cache_usage_perc" Gauge [] "Share of the KV blocks that sequences hold, 0 to 1."
        => |from, to| to.put(&[], from.gauges.kv_usage());
    "vllm:cache_config_info" Gauge ["block_size" "num_gpu_blocks" "cache_dtype"] "The KV cache: tokens of a block, blocks, and format; always 1."
        => |from, to| cache_config(from, to);
    "vllm:prefix_cache_queries_total" Counter [] "Tokens of admitted sequences that were looked for in the prefix cache."
        => |from, to| to.count(&[], from.stats.prefix_queries.get());
    "vllm:prefix_cache_hits_total" Counter [] "Those of them that were found."
        => |from, to| to.count(&[], from.stats.prefix_hits.get());
    "vllm:num_preemptions_total" Counter [] "Times that a sequence lost its KV blocks to others, and was computed again later."
        => |from, to| to.count(&[], from.gauges.counters.preemptions);
    "vllm:prompt_tokens_total" Counter [] "Prompt tokens of requests that were answered, each prompt once for all its choices."
        => |from, to| to.count(&[], from.metrics.prompt_tokens.get());
    "vllm:prompt_tokens_cached_total" Counter [] "Those of them that were in the prefix cache."
        => |from, to| to.count(&[], from.metrics.cached_tokens.get());
    "vllm:generation_tokens_total" Counter [] "Tokens that were generated, counted step by step."
        => |from, to| to.count(&[], from.stats.tokens.get());
    "vllm:request_success_total" Counter ["finished_reason"] "Choices that ended, by reason: stop, length, abort (the client left) or error."
        => |from, to| for why in Finish::ALL {
            to.count(&[("finished_reason", why.name())], from.metrics.finished(why));
        };
    "vllm:time_to_first_token_seconds" Histogram [] "From the arrival of a request to the first token of each of its choices."
        => |from, to| to.histogram(&[], &from.metrics.tokens.first_token.read());
    "vllm:inter_token_latency_seconds" Histogram [] "Between one step that brought a choice tokens and the next one."
        => |from, to| to.histogram(&[], &from.metrics.tokens.inter_token.read());
    "vllm:request_time_per_output_token_seconds" Histogram [] "Time of decoding by tokens after the first, of choices that ended by stop or length."
        => |from, to| to.histogram(&[], &from.metrics.phases.each_token.read());
    "vllm:e2e_request_latency_seconds" Histogram [] "From the arrival of a request to the last token of each of its choices."
        => |from, to| to.histogram(&[], &from.metrics.phases.whole.read());
    "vllm:request_queue_time_seconds" Histogram [] "From the submission of a choice to its first step; choices that were aborted, too."
        => |from, to| to.histogram(&[], &from.metrics.phases.queue.read());
    "vllm:request_inference_time_seconds" Histogram [] "From the first step of a choice to its last token."
        => |from, to| to.histogram(&[], &from.metrics.phases.inference.read());
    "vllm:request_prefill_time_seconds" Histogram [] "From the first step of a choice to its first token."
        => |from, to| to.histogram(&[], &from.metrics.phases.prefill.read());
    "vllm:request_decode_time_seconds" Histogram [] "From the first token of a choice to its last."
        => |from, to| to.histogram(&[], &from.metrics.phases.decode.read());
    "vllm:request_prompt_tokens" Histogram [] "Prompt tokens of a choice."
        => |from, to| to.histogram(&[], &from.metrics.sizes.prompt.read());
    "vllm:request_prefill_kv_computed_tokens" Histogram [] "Prompt tokens of a choice that were not in the prefix cache."
        => |from, to| to.histogram(&[], &from.metrics.sizes.computed.read());
    "vllm:request_generation_tokens" Histogram [] "Tokens of a choice that were generated here."
        => |from, to| to.histogram(&[], &from.metrics.sizes.generated.read());
    "vllm:request_max_num_generation_tokens" Histogram [] "Tokens of the longest choice of a request."
        => |from, to| to.histogram(&[], &from.metrics.sizes.longest.read());
    "vllm:request_params_n" Histogram [] "The parameter n of requests."
        => |from, to| to.histogram(&[], &from.metrics.sizes.n.read());
    "vllm:request_params_max_tokens" Histogram [] "The parameter max_tokens of requests, cut to what the context has room for."
        => |from, to| to.histogram(&[], &from.metrics.sizes.max_tokens.read());
    "vllm:iteration_tokens_total" Histogram [] "Tokens that a step of the served model computed."
        => |from, to| to.histogram(&[], &from.stats.iteration_tokens.read());
    "vllm:spec_decode_num_drafts_total" Counter [] "Times that a step verified draft tokens of a sequence."
        => |from, to| to.count(&[], from.stats.drafts.get());
    "vllm:spec_decode_num_draft_tokens_total" Counter [] "Draft tokens in these steps."
        => |from, to| to.count(&[], from.stats.draft_tokens.get());
    "vllm:spec_decode_num_accepted_tokens_total" Counter [] "Draft tokens that the served model drew itself."
        => |from, to| {
            let counters = &from.gauges.counters;
            to.count(&[], counters.lookup.accepted + counters.model.accepted + counters.proposed.accepted);
        };
    "verbatim:build_info" Gauge ["version" "fingerprint" "isa" "weights" "kv" "workers"] "What runs; always 1. Servers with one fingerprint give the same answers."
        => |from, to| build_info(from, to);
    "verbatim:steps_total" Counter ["kind"] "Steps: prefill (a prompt has a part in it), decode, or draft (of the draft model)."
        => |from, to| for class in StepClass::ALL {
            to.count(&[("kind", class.name())], from.stats.seconds(class).read().count());
        };
    "verbatim:step_seconds" Histogram ["kind"] "How long steps took."
        => |from, to| for class in StepClass::ALL {
            to.histogram(&[("kind", class.name())], &from.stats.seconds(class).read());
        };
    "verbatim:step_rows" Histogram [] "Rows of the served model's steps: a row is one token of one sequence."
        => |from, to| to.histogram(&[], &from.stats.step_rows.read());
    "verbatim:last_step_age_seconds" Gauge [] "Time since the latest step ended, 0 before the first. It grows while nothing runs; only together with running sequences does it mean trouble."
        => |from, to| to.put(&[], from.server.engine.last_step_age().unwrap_or_default().as_secs_f64());
    "verbatim:kv_blocks" Gauge ["state"] "KV blocks of 16 tokens: used (held by sequences), cached (held by none, findable) or free (empty)."
        => |from, to| kv_blocks(from, to);
    "verbatim:prefix_hits_total" Counter [] "Sequences that began with tokens from the prefix cache."
        => |from, to| to.count(&[], from.gauges.counters.prefix_hits);
    "verbatim:preemptions_total" Counter [] "The same as vllm:num_preemptions_total."
        => |from, to| to.count(&[], from.gauges.counters.preemptions);
    "verbatim:draft_tokens_total" Counter ["source" "outcome"] "Draft tokens that were verified, by where they came from and what became of them."
        => |from, to| draft_tokens(from, to);
    "verbatim:engine_restarts_total" Counter [] "Times that the engine was restarted after a failure."
        => |from, to| to.count(&[], from.server.engine.restarts());
    "verbatim:budget_refusals_total" Counter ["budget"] "Requests and connections that were refused, or closed, since a budget was spent."
        => |from, to| for (budget, count) in from.metrics.refusals() {
            to.count(&[("budget", budget)], count);
        };
    "verbatim:budget_limit" Gauge ["budget"] "The bound that an option of this name sets: connections, bytes, seconds, tokens, or whatever else it counts."
        => |from, to| for setting in &from.server.settings {
            if let Some(limit) = setting.limit {
                to.count(&[("budget", setting.name)], limit);
            }
        };
    "verbatim:connections" Gauge ["state"] "Connections: answering (a request has come whole) or idle (all others)."
        => |from, to| connections(from, to);
    "verbatim:connections_accepted_total" Counter [] "Connections that were accepted."
        => |from, to| to.count(&[], from.server.traffic.accepted.load(Ordering::Relaxed));
    "verbatim:connections_evicted_total" Counter [] "Idle connections that were closed to make place for others."
        => |from, to| to.count(&[], from.server.traffic.evicted.load(Ordering::Relaxed));
    "verbatim:body_bytes_in_flight" Gauge [] "Bytes of requests' bodies that are held now, over all connections."
        => |from, to| to.put(&[], from.server.traffic.all_body_bytes() as f64);
    "verbatim:http_requests_total" Counter ["route" "status"] "Answers by route and HTTP status; the route is none where nothing is served at the path."
        => |from, to| for ((route, status), count) in from.metrics.answers() {
            to.count(&[("route", route), ("status", &status.to_string())], count);
        };
    "verbatim:log_lines_lost_total" Counter [] "Lines of the log that could not be written, since their reader was slow or their disk full."
        => |from, to| to.count(&[], from.server.observer.lost_lines());
    "process_resident_memory_bytes" Gauge [] "Memory that the process holds."
        => |from, to| known(to, from.process.resident_bytes);
    "process_threads" Gauge [] "Threads of the process."
        => |from, to| known(to, from.process.threads);
    "process_open_fds" Gauge [] "Descriptors that are open."
        => |from, to| known(to, from.process.open_fds);
    "process_max_fds" Gauge [] "Descriptors that may be open."
        => |from, to| known(to, from.process.max_fds);
    "process_cpu_seconds_total" Counter [] "Processor time that the process has used."
        => |from, to| if let Some(seconds) = from.process.cpu_seconds {
            to.put(&[], seconds);
        };
    "process_start_time_seconds" Gauge [] "When the model was loaded, in seconds since the epoch."
        => |from, to| to.count(&[], from.server.created);
}

/// Tells a number of the system's, if it is known.
fn known(to: &mut Samples<'_>, number: Option<u64>) {
    if let Some(number) = number {
        to.count(&[], number);
    }
}

fn cache_config(from: &Sources<'_>, to: &mut Samples<'_>) {
    let (size, blocks) = (BLOCK.to_string(), from.gauges.status.blocks.to_string());
    let format = from.server.model.limits.kv_format.name();
    to.count(&[("block_size", &size), ("num_gpu_blocks", &blocks), ("cache_dtype", format)], 1);
}

fn build_info(from: &Sources<'_>, to: &mut Samples<'_>) {
    let model = &from.server.model;
    let labels = [
        ("version", env!("CARGO_PKG_VERSION")),
        ("fingerprint", model.fingerprint.as_str()),
        ("isa", model.isa.name()),
        ("weights", model.loaded.model().config().weight_format.name()),
        ("kv", model.limits.kv_format.name()),
        ("workers", &model.workers.workers.to_string()),
    ];
    to.count(&labels, 1);
}

fn kv_blocks(from: &Sources<'_>, to: &mut Samples<'_>) {
    let status = &from.gauges.status;
    let used = status.blocks.saturating_sub(status.free_blocks);
    let empty = status.free_blocks.saturating_sub(status.cached_blocks);
    for (state, count) in [("used", used), ("cached", status.cached_blocks), ("free", empty)] {
        to.count(&[("state", state)], count as u64);
    }
}

fn connections(from: &Sources<'_>, to: &mut Samples<'_>) {
    let of = &from.server.traffic;
    let answering = of.requests.load(Ordering::Relaxed);
    let idle = of.connections.load(Ordering::Relaxed).saturating_sub(answering);
    for (state, count) in [("answering", answering), ("idle", idle)] {
        to.put(&[("state", state)], count as f64);
    }
}

fn draft_tokens(from: &Sources<'_>, to: &mut Samples<'_>) {
    let counters = &from.gauges.counters;
    let sources = [("lookup", &counters.lookup), ("model", &counters.model), ("grammar", &counters.proposed)];
    for (source, of) in sources {
        for (outcome, count) in [("accepted", of.accepted), ("rejected", of.rejected)] {
            to.count(&[("source", source), ("outcome", outcome)], count);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn names_are_unique_and_counters_end_as_counters_do() {
        let names: BTreeSet<&str> = FAMILIES.iter().map(|family| family.name).collect();
        assert_eq!(names.len(), FAMILIES.len());
        for family in FAMILIES {
            let ends = family.name.ends_with("_total");
            // vLLM has a histogram whose name ends like a counter's.
            let is_odd = family.name == "vllm:iteration_tokens_total";
            assert_eq!(family.kind == Kind::Counter, ends && !is_odd, "{}", family.name);
            assert!(family.help.ends_with('.') && !family.help.contains(['\n', '\\']), "{}", family.name);
        }
    }
}
