//! What is told in an event: from the engine's latest view, and from what the rest of the server
//! counts, all of it atomics and short locks.
use super::blocks;
use super::event::{
    BudgetPart, ConnectionsPart, DraftPart, DraftsPart, EnginePart, Event, LogLine, LogPart, PrefixPart,
    QueuePart, RunningPart, SequencePart, ServerPart, StepPart, StepsPart, VERSION,
};
use super::machine::Machine;
use super::rate::Rate;
use super::rights::Rights;
use crate::runtime::{EngineGauges, EngineView, EngineWatch, LiveSequence, RunningStep, StepClass, StepView};
use crate::serve::active::Active;
use crate::serve::server::Server;
use crate::serve::watch::tail::TailLine;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use verbatim_core::engine::{DraftCounters, StepKind};

/// Longest time between two events, whether or not there is anything new.
const TOLD_EVERY: Duration = Duration::from_secs(1);

/// A sequence by the numbers of its engine, its request and its choice.
type SequenceId = (u64, u64, u32);

/// What one reader has been told, and what it is told next.
#[derive(Debug)]
pub(super) struct Teller<'s> {
    server: &'s Server,
    rights: Rights,
    interval: Duration,
    view: EngineView,
    machine: Machine,
    tokens: Rate,
    rates: HashMap<SequenceId, Rate>,
    /// Seconds for which steps had run, and when that was.
    busy: Option<(Instant, f64)>,
    /// Events so far, and when the last one was.
    count: u64,
    told: Option<Instant>,
    /// The numbers of the latest step and the latest line that were told.
    step: Option<u64>,
    line: u64,
}

/// A number of ms with three digits after the point.
fn ms(time: Duration) -> f64 {
    time.as_micros() as f64 / 1e3
}

/// A number with three digits after the point.
fn rounded(number: f64) -> f64 {
    (number * 1e3).round() / 1e3
}

fn id_of(view: &EngineView, sequence: &LiveSequence) -> SequenceId {
    (view.engine, sequence.now.request.0, sequence.now.choice)
}

/// Where a sequence stands.
fn phase(sequence: &LiveSequence) -> &'static str {
    let now = &sequence.now;
    match (now.is_running, sequence.preemptions) {
        (false, 0) => "waiting",
        (false, _) => "preempted",
        (true, _) if now.tokens.saturating_sub(now.computed) > 1 => "prefill",
        (true, _) => "decode",
    }
}

impl<'s> Teller<'s> {
    /// For a reader with these rights, who is told at most every `interval`.
    pub(super) fn new(server: &'s Server, rights: Rights, interval: Duration) -> Self {
        Self {
            server,
            rights,
            interval,
            view: EngineView::default(),
            machine: Machine::new(),
            tokens: Rate::default(),
            rates: HashMap::new(),
            busy: None,
            count: 0,
            told: None,
            step: None,
            line: 0,
        }
    }

    /// Looks at the engine; whether there is something to tell.
    pub(super) fn look(&mut self, watch: &EngineWatch) -> bool {
        let is_new = watch.look(&mut self.view);
        if is_new {
            self.note_rates();
        }
        let is_time = self.told.is_none_or(|told| told.elapsed() >= TOLD_EVERY);
        is_new || is_time || self.server.tail.count() > self.line
    }

    /// Whether the engine has shown anything yet.
    pub(super) fn has_view(&self) -> bool {
        self.view.at.is_some()
    }

    /// Notes how many tokens each sequence has; those that are gone are forgotten.
    fn note_rates(&mut self) {
        let Some(at) = self.view.at else { return };
        let mut before = std::mem::take(&mut self.rates);
        for sequence in &self.view.sequences {
            let id = id_of(&self.view, sequence);
            let mut rate = before.remove(&id).unwrap_or_default();
            rate.note(at, sequence.now.tokens as u64);
            self.rates.insert(id, rate);
        }
    }

    /// Has all that is new written by `write`.
    pub(super) fn tell<T>(&mut self, write: impl FnOnce(&Event<'_>) -> T) -> T {
        let now = Instant::now();
        self.machine.refresh(&self.server.model);
        let server = self.server;
        // What has ended is still in the last view for a moment.
        let tags = self.view.sequences.iter().map(|sequence| sequence.tag);
        let active = server.active.find(tags);
        let lines = server.tail.since(self.line);
        let gauges = self.gauges();
        let (engine, steps) = (self.engine(&gauges, now), self.steps(&gauges, now));
        let log = self.log(&lines);
        let status = &gauges.status;
        let time = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let event = Event {
            version: VERSION,
            number: self.count,
            time_ms: u64::try_from(time.as_millis()).unwrap_or(u64::MAX),
            uptime_seconds: rounded(time.as_secs_f64() - server.created as f64).max(0.0),
            interval_ms: u64::try_from(self.interval.as_millis()).unwrap_or(u64::MAX),
            server: served(server),
            rights: self.rights.told(),
            engine,
            sequences: self.sequences(&active),
            sequences_total: status.running + status.waiting,
            kv: blocks::kv(&self.view.blocks, status),
            steps,
            queue: QueuePart {
                sequences: status.waiting,
                tokens: server.budgets.queue.used(),
                max_tokens: server.budgets.bounds.queued_tokens.max,
                reading: server.budgets.reading.waiting(),
            },
            prefix: PrefixPart {
                queries: server.engine.stats().prefix_queries.get(),
                hits: server.engine.stats().prefix_hits.get(),
            },
            drafts: drafts(&gauges),
            workers: &self.machine.workers,
            memory: self.machine.memory,
            connections: connections(server),
            budgets: budgets(server),
            log,
        };
        let written = write(&event);
        let latest = event.steps.list.last().map(|step| step.n).or(self.step).or(Some(event.steps.total));
        // Before the first view nothing is known of steps.
        self.step = latest.filter(|_| self.has_view());
        self.count += 1;
        self.told = Some(now);
        self.line = lines.last().map_or(self.line, |line| line.number);
        written
    }

    /// The gauges of the view, with which all of it fits; before the first one those of now.
    fn gauges(&self) -> EngineGauges {
        if self.has_view() { self.view.gauges } else { self.server.engine.gauges() }
    }

    fn engine(&mut self, gauges: &EngineGauges, now: Instant) -> EnginePart {
        let engine = &self.server.engine;
        let running = engine.running_step();
        let tokens = engine.stats().tokens.get();
        self.tokens.note(now, tokens);
        EnginePart {
            view_age_ms: self.view.at.map(|at| ms(now.saturating_duration_since(at))),
            running: gauges.status.running,
            waiting: gauges.status.waiting,
            last_step_age_ms: engine.last_step_age().map(ms),
            step: running.map(|step| RunningPart {
                kind: if step.kind == StepKind::Draft { "draft" } else { "target" },
                rows: step.rows,
                age_ms: ms(step.age),
                limit_ms: ms(step.limit),
            }),
            overdue_steps: engine.overdue_steps(),
            busy: self.busy(running, now),
            tokens,
            tokens_per_second: rounded(self.tokens.per_second().unwrap_or(0.0)),
            preemptions: gauges.status.preemptions,
        }
    }

    /// The share of the time since the last event that steps took, with the one that runs.
    fn busy(&mut self, running: Option<RunningStep>, now: Instant) -> f64 {
        let stats = self.server.engine.stats();
        let ended: f64 = StepClass::ALL.map(|class| stats.seconds(class).read().sum).iter().sum();
        let seconds = ended + running.map_or(0.0, |step| step.age.as_secs_f64());
        let before = self.busy.replace((now, seconds));
        before.map_or(0.0, |(at, before)| {
            let time = now.saturating_duration_since(at).as_secs_f64();
            if time > 0.0 { rounded(((seconds - before) / time).clamp(0.0, 1.0)) } else { 0.0 }
        })
    }

    fn sequences<'e>(&'e self, active: &'e [Option<Arc<Active>>]) -> Vec<SequencePart<'e>> {
        let all = self.view.sequences.iter().zip(active);
        all.map(|(sequence, active)| self.sequence(sequence, active.as_deref())).collect()
    }

    fn sequence<'e>(&'e self, of: &'e LiveSequence, active: Option<&'e Active>) -> SequencePart<'e> {
        let now = &of.now;
        let id = id_of(&self.view, of);
        let sender = active.map(|active| &active.sender);
        let seen = sender.filter(|sender| self.rights.sees(sender));
        let rate = self.rates.get(&id).and_then(Rate::per_second).filter(|_| now.is_running);
        SequencePart {
            id: format!("{}.{}.{}", id.0, id.1, id.2),
            request_id: seen.map(|sender| sender.request_id.as_str()),
            choice: now.choice,
            model: &self.server.model.name,
            route: seen.and_then(|sender| sender.route),
            key: seen.and_then(|sender| sender.key.as_deref()),
            phase: phase(of),
            prompt_tokens: now.prompt_tokens,
            prompt_done: now.computed.min(now.prompt_tokens),
            cached_tokens: of.cached_tokens,
            tokens: now.tokens.saturating_sub(now.prompt_tokens),
            max_tokens: now.tokens_max.saturating_sub(now.prompt_tokens),
            drafts: now.drafts,
            blocks: now.blocks,
            tokens_per_second: rate.map(rounded),
            waited_seconds: rounded(of.waited.as_secs_f64()),
            age_seconds: rounded(of.age.as_secs_f64()),
            preemptions: of.preemptions,
            // In the API a lower number is sooner; in the engine a greater one is.
            priority: -i32::from(of.priority),
            may_cancel: sender.is_some_and(|sender| self.rights.may_cancel(sender)),
        }
    }

    /// The steps that were not told yet, as far as they are known: those that nobody watched are
    /// not.
    fn steps(&self, gauges: &EngineGauges, now: Instant) -> StepsPart {
        let total = gauges.counters.steps + gauges.counters.draft_steps;
        let told = self.step.unwrap_or(0);
        let new = self.view.steps.iter().filter(|step| step.number > told);
        let list: Vec<StepPart> = new.map(|step| step_part(step, now)).collect();
        let skipped = match (self.step, list.first()) {
            (Some(told), Some(first)) => first.n - told - 1,
            _ => 0,
        };
        StepsPart { total, skipped, list }
    }

    fn log<'e>(&self, lines: &'e [Arc<TailLine>]) -> LogPart<'e> {
        let first = lines.first().map_or(self.line + 1, |line| line.number);
        let skipped = if self.count == 0 { 0 } else { first - self.line - 1 };
        let seen = lines.iter().filter(|line| self.rights.hears(&line.audience));
        let list = seen.map(|line| LogLine {
            n: line.number,
            time_ms: line.time_ms,
            level: if line.is_trouble { "warn" } else { "info" },
            request_id: line.request_id.as_deref(),
            message: &line.message,
            fields: &line.fields,
        });
        LogPart { skipped, list: list.collect() }
    }
}

fn step_part(step: &StepView, now: Instant) -> StepPart {
    StepPart {
        n: step.number,
        age_ms: ms(now.saturating_duration_since(step.ended)),
        kind: step.class.name(),
        prefill: step.prefill,
        decode: step.decode,
        verify: step.verify,
        draft: step.draft,
        ms: ms(step.took),
        budget_rows: step.budget_rows,
        budget_ms: (!step.budget.is_zero()).then(|| ms(step.budget)),
    }
}

fn served(server: &Server) -> ServerPart<'_> {
    let model = &server.model;
    ServerPart {
        version: env!("CARGO_PKG_VERSION"),
        model: &model.name,
        fingerprint: &model.fingerprint,
        weights: model.loaded.model().config().weight_format.name(),
        kv: model.limits.kv_format.name(),
        isa: model.isa.name(),
        workers: model.workers.workers,
        model_len: model.limits.model_len,
        max_seqs: model.limits.sequences,
        max_queue: model.limits.queue,
        phase: server.lifecycle.phase().name(),
        restarts: server.engine.restarts(),
        failure: server.engine.failure().map(|failure| failure.to_string()),
    }
}

fn drafts(gauges: &EngineGauges) -> DraftsPart {
    let of = |of: &DraftCounters| DraftPart { verified: of.verified, accepted: of.accepted };
    let counters = &gauges.counters;
    DraftsPart { lookup: of(&counters.lookup), model: of(&counters.model), proposed: of(&counters.proposed) }
}

fn connections(server: &Server) -> ConnectionsPart {
    let of = &server.traffic;
    ConnectionsPart {
        open: of.connections.load(Ordering::Relaxed),
        answering: of.requests.load(Ordering::Relaxed),
        accepted: of.accepted.load(Ordering::Relaxed),
        evicted: of.evicted.load(Ordering::Relaxed),
        watchers: server.watchers.count(),
    }
}

/// The settings that bound clients, with what is taken of those that are amounts.
fn budgets(server: &Server) -> Vec<BudgetPart> {
    let refused: HashMap<&str, u64> = server.metrics.refusals().collect();
    let part = |name: &'static str, limit| {
        let used = match name {
            "max-connections" => Some(server.traffic.connections.load(Ordering::Relaxed)),
            "max-total-body-bytes" => Some(server.traffic.all_body_bytes()),
            "max-answer-bytes" => Some(server.budgets.answers.used()),
            "max-queued-tokens" => Some(server.budgets.queue.used()),
            _ => None,
        };
        BudgetPart { name, limit, used, refused: refused.get(name).copied().unwrap_or(0) }
    };
    let settings = server.settings.iter();
    settings.filter_map(|setting| Some(part(setting.name, setting.limit?))).collect()
}
