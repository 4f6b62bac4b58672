//! The shape of an event of `/dashboard/events`, version 1, as it is written. `schema.json` says
//! the same to programs, and docs/dashboard.md to people: what changes here changes there.
use serde::Serialize;
use serde_json::{Map, Value};

/// The version of the shape. A change that a reader could not pass over makes it another.
pub(super) const VERSION: u32 = 1;

/// All that is told at once.
#[derive(Debug, Serialize)]
pub(super) struct Event<'e> {
    pub(super) version: u32,
    pub(super) number: u64,
    pub(super) time_ms: u64,
    pub(super) uptime_seconds: f64,
    pub(super) interval_ms: u64,
    pub(super) server: ServerPart<'e>,
    pub(super) rights: RightsPart,
    pub(super) engine: EnginePart,
    pub(super) sequences: Vec<SequencePart<'e>>,
    pub(super) sequences_total: usize,
    pub(super) kv: KvPart,
    pub(super) steps: StepsPart,
    pub(super) queue: QueuePart,
    pub(super) prefix: PrefixPart,
    pub(super) drafts: DraftsPart,
    pub(super) workers: &'e [WorkerPart],
    pub(super) memory: MemoryPart,
    pub(super) connections: ConnectionsPart,
    pub(super) budgets: Vec<BudgetPart>,
    pub(super) log: LogPart<'e>,
}

/// What is served, and how.
#[derive(Debug, Serialize)]
pub(super) struct ServerPart<'e> {
    pub(super) version: &'static str,
    pub(super) model: &'e str,
    pub(super) fingerprint: &'e str,
    pub(super) weights: &'static str,
    pub(super) kv: &'static str,
    pub(super) isa: &'static str,
    pub(super) workers: usize,
    pub(super) model_len: usize,
    pub(super) max_seqs: usize,
    pub(super) max_queue: usize,
    pub(super) phase: &'static str,
    pub(super) restarts: u64,
    pub(super) failure: Option<String>,
}

/// What the reader may do.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct RightsPart {
    pub(super) cancel: &'static str,
    pub(super) reason: Option<&'static str>,
}

/// What the engine does.
#[derive(Debug, Serialize)]
pub(super) struct EnginePart {
    pub(super) view_age_ms: Option<f64>,
    pub(super) running: usize,
    pub(super) waiting: usize,
    pub(super) last_step_age_ms: Option<f64>,
    pub(super) step: Option<RunningPart>,
    pub(super) overdue_steps: u64,
    pub(super) busy: f64,
    pub(super) tokens: u64,
    pub(super) tokens_per_second: f64,
    pub(super) preemptions: u64,
}

/// The step that runs now.
#[derive(Debug, Serialize)]
pub(super) struct RunningPart {
    pub(super) kind: &'static str,
    pub(super) rows: usize,
    pub(super) age_ms: f64,
    pub(super) limit_ms: f64,
}

/// A choice of a request.
#[derive(Debug, Serialize)]
pub(super) struct SequencePart<'e> {
    pub(super) id: String,
    pub(super) request_id: Option<&'e str>,
    pub(super) choice: u32,
    pub(super) model: &'e str,
    pub(super) route: Option<&'e str>,
    pub(super) key: Option<&'e str>,
    pub(super) phase: &'static str,
    pub(super) prompt_tokens: usize,
    pub(super) prompt_done: usize,
    pub(super) cached_tokens: usize,
    pub(super) tokens: usize,
    pub(super) max_tokens: usize,
    pub(super) drafts: usize,
    pub(super) blocks: usize,
    pub(super) tokens_per_second: Option<f64>,
    pub(super) waited_seconds: f64,
    pub(super) age_seconds: f64,
    pub(super) preemptions: u32,
    pub(super) priority: i32,
    pub(super) may_cancel: bool,
}

/// What the KV blocks are used for.
#[derive(Debug, Serialize)]
pub(super) struct KvPart {
    pub(super) blocks: usize,
    pub(super) block_tokens: usize,
    pub(super) free: usize,
    pub(super) cached: usize,
    pub(super) held: usize,
    pub(super) shared: usize,
    pub(super) sharing: Vec<(usize, usize)>,
    pub(super) map: Option<MapPart>,
}

/// What each block is used for, by number; equal neighbours are counted together.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(super) struct MapPart {
    pub(super) blocks_per_cell: usize,
    pub(super) cells: usize,
    pub(super) runs: Vec<(u8, usize)>,
}

/// Steps since the last event.
#[derive(Debug, Serialize)]
pub(super) struct StepsPart {
    pub(super) total: u64,
    pub(super) skipped: u64,
    pub(super) list: Vec<StepPart>,
}

/// A step that has ended.
#[derive(Debug, Serialize)]
pub(super) struct StepPart {
    pub(super) n: u64,
    pub(super) age_ms: f64,
    pub(super) kind: &'static str,
    pub(super) prefill: usize,
    pub(super) decode: usize,
    pub(super) verify: usize,
    pub(super) draft: usize,
    pub(super) ms: f64,
    pub(super) budget_rows: Option<usize>,
    pub(super) budget_ms: Option<f64>,
}

/// What waits for its turn.
#[derive(Debug, Serialize)]
pub(super) struct QueuePart {
    pub(super) sequences: usize,
    pub(super) tokens: usize,
    pub(super) max_tokens: usize,
    pub(super) reading: usize,
}

/// Prompt tokens that were looked for in the cache.
#[derive(Debug, Serialize)]
pub(super) struct PrefixPart {
    pub(super) queries: u64,
    pub(super) hits: u64,
}

/// Draft tokens by where they came from.
#[derive(Debug, Serialize)]
pub(super) struct DraftsPart {
    pub(super) lookup: DraftPart,
    pub(super) model: DraftPart,
    pub(super) proposed: DraftPart,
}

/// Draft tokens of one source.
#[derive(Debug, Serialize)]
pub(super) struct DraftPart {
    pub(super) verified: u64,
    pub(super) accepted: u64,
}

/// A thread that computes.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct WorkerPart {
    pub(super) name: String,
    pub(super) cpu: Option<f64>,
    pub(super) delayed: Option<f64>,
}

/// Bytes of memory, by what takes them.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(super) struct MemoryPart {
    pub(super) weights: u64,
    pub(super) engine: u64,
    pub(super) kv: u64,
    pub(super) resident: Option<u64>,
    pub(super) available: Option<u64>,
    pub(super) limit: Option<u64>,
}

/// Connections of clients, and how many watch.
#[derive(Debug, Serialize)]
pub(super) struct ConnectionsPart {
    pub(super) open: usize,
    pub(super) answering: usize,
    pub(super) accepted: u64,
    pub(super) evicted: u64,
    pub(super) watchers: usize,
}

/// A bound on what clients may take.
#[derive(Debug, Serialize)]
pub(super) struct BudgetPart {
    pub(super) name: &'static str,
    pub(super) limit: u64,
    pub(super) used: Option<usize>,
    pub(super) refused: u64,
}

/// What was told since the last event.
#[derive(Debug, Serialize)]
pub(super) struct LogPart<'e> {
    pub(super) skipped: u64,
    pub(super) list: Vec<LogLine<'e>>,
}

/// A line of the log.
#[derive(Debug, Serialize)]
pub(super) struct LogLine<'e> {
    pub(super) n: u64,
    pub(super) time_ms: u64,
    pub(super) level: &'static str,
    pub(super) request_id: Option<&'e str>,
    pub(super) message: &'e str,
    pub(super) fields: &'e Map<String, Value>,
}
