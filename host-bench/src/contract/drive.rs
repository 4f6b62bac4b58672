//! Requests through an engine, with the time of every step.
use std::time::Instant;
use verbatim::load::LoadedModel;
use verbatim::runtime::pacing::costs::{Costs, StepRows};
use verbatim::sys::memory::AlignedMemory;
use verbatim_core::engine::{
    Budget, DraftCache, DraftCounters, DraftModel, Engine, EngineLimits, EventKind, Masks, MemoryPlan,
    Request, Speculation, StepKind,
};
use verbatim_core::isa::Isa;
use verbatim_core::model::Runner;
use verbatim_core::pool::Pool;
use verbatim_core::sampling::SamplingParams;

/// A model with the pool and the instruction set that run it.
#[derive(Clone, Copy)]
pub(super) struct Rig<'r> {
    pub(super) loaded: &'r LoadedModel,
    pub(super) draft_model: Option<(&'r LoadedModel, DraftCache)>,
    pub(super) isa: Isa,
    pub(super) pool: &'r dyn Pool,
}

/// A request of a measurement.
#[derive(Clone, Debug)]
pub(super) struct Ask {
    pub(super) prompt: Vec<u32>,
    pub(super) max_tokens: usize,
    pub(super) params: SamplingParams,
    pub(super) stop_ids: Vec<u32>,
    pub(super) salt: u64,
}

impl Ask {
    pub(super) fn greedy(prompt: Vec<u32>, max_tokens: usize) -> Self {
        Self { prompt, max_tokens, params: SamplingParams::GREEDY, stop_ids: Vec::new(), salt: 0 }
    }
}

/// What was measured of a step of the served model.
#[derive(Clone, Copy, Debug)]
pub(super) struct Step {
    pub(super) prefill_rows: usize,
    pub(super) decode_rows: usize,
    /// Its seconds, with those of the draft steps before it.
    pub(super) seconds: f64,
    /// Requests that were waiting when it was done.
    pub(super) waiting: usize,
}

/// What was measured of requests that arrived together.
#[derive(Clone, Debug)]
pub(super) struct Round {
    pub(super) steps: Vec<Step>,
    /// Seconds to each request's first token.
    pub(super) first: Vec<f64>,
    /// Seconds to the last token of all.
    pub(super) last: f64,
    /// The tokens of all requests, in the order in which they came.
    pub(super) ids: Vec<u32>,
    /// Counters of draft tokens: of lookup, and of a draft model.
    pub(super) drafts: [DraftCounters; 2],
}

impl Round {
    /// Tokens a second after the first, of a single request.
    pub(super) fn decode_rate(&self) -> f64 {
        (self.ids.len() - 1) as f64 / (self.last - self.first[0])
    }

    pub(super) fn mean_first(&self) -> f64 {
        self.first.iter().sum::<f64>() / self.first.len() as f64
    }
}

/// The share of verified draft tokens that were accepted.
pub(super) fn acceptance(drafts: &[DraftCounters; 2]) -> f64 {
    let sum = |of: fn(&DraftCounters) -> u64| drafts.iter().map(of).sum::<u64>() as f64;
    sum(|of| of.accepted) / sum(|of| of.verified).max(1.0)
}

impl Rig<'_> {
    /// Limits for `sequences` of these requests at once, with a cache that holds all of them.
    fn limits(&self, asks: &[Ask], sequences: usize, draft_len: usize) -> EngineLimits {
        let config = *self.loaded.model().config();
        let len = |ask: &Ask| ask.prompt.len() + ask.max_tokens;
        let model_len = asks.iter().map(len).max().unwrap_or(0) + 1;
        EngineLimits {
            model_len,
            sequences,
            queue: asks.len(),
            kv_tokens: (model_len + draft_len).next_multiple_of(16) * sequences,
            rows: 512,
            head_rows: (sequences * (1 + draft_len)).min(64),
            workers: self.pool.workers(),
            draft_len,
            ..EngineLimits::for_model(&config)
        }
    }

    /// Runs the requests several times in the same engine, nothing shared between rounds.
    pub(super) fn run(
        &self,
        asks: &[Ask],
        sequences: usize,
        (speculation, draft_len): (Speculation, usize),
        rounds: usize,
    ) -> Result<Vec<Round>, String> {
        let limits = self.limits(asks, sequences, draft_len);
        let config = *self.loaded.model().config();
        if limits.model_len > config.position_count {
            return Err(format!(
                "the model has {} positions, the case needs {}",
                config.position_count, limits.model_len
            ));
        }
        let draft = self.draft_model.map(|(loaded, cache)| DraftModel { model: loaded.model(), cache });
        let size = draft.as_ref().map(DraftModel::size);
        let plan = MemoryPlan::with_draft_model(&config, size.as_ref(), &limits);
        let plan = plan.map_err(|error| error.to_string())?;
        let mut memory = AlignedMemory::new(plan.total_bytes()).map_err(|error| error.to_string())?;
        let (model, memory) = (self.loaded.model(), memory.as_mut_slice());
        let engine = Engine::on_cpu_with_draft_model(model, draft, limits, self.isa, self.pool, memory);
        let (mut engine, mut runner) = engine.map_err(|error| error.to_string())?;
        let mut costs = Costs::default();
        let mut all = Vec::new();
        for round in 0..rounds {
            all.push(self.round(&mut engine, &mut runner, asks, speculation, &mut costs, round as u64)?);
        }
        Ok(all)
    }

    fn round(
        &self,
        engine: &mut Engine<'_>,
        runner: &mut dyn Runner,
        asks: &[Ask],
        speculation: Speculation,
        costs: &mut Costs,
        number: u64,
    ) -> Result<Round, String> {
        let before = *engine.counters();
        let mut ids = Vec::new();
        for ask in asks {
            let request = Request {
                params: ask.params,
                stop_ids: &ask.stop_ids,
                cache_salt: (number + 1) << 32 | ask.salt,
                ..Request::greedy(&ask.prompt, ask.max_tokens)
            };
            ids.push(engine.submit(&request).map_err(|error| error.to_string())?);
        }
        let start = Instant::now();
        let mut round = Round {
            steps: Vec::new(),
            first: vec![0.0; asks.len()],
            last: 0.0,
            ids: Vec::new(),
            drafts: Default::default(),
        };
        let mut drafting = 0.0;
        loop {
            engine.set_speculation(costs.of(speculation));
            let Some(plan) = engine.plan(Budget::UNLIMITED) else { break };
            let rows = StepRows::of(engine, plan);
            let since = Instant::now();
            let events = engine.execute(plan, Masks::NONE, runner, self.pool, &mut ());
            let events = events.map_err(|error| error.to_string())?;
            let (took, now) = (since.elapsed(), start.elapsed().as_secs_f64());
            for event in events {
                let EventKind::Token { token, .. } = event.kind else { continue };
                let at = ids.iter().position(|id| *id == event.request).ok_or("an unknown request")?;
                if round.first[at] == 0.0 {
                    round.first[at] = now;
                }
                round.last = now;
                round.ids.push(token);
            }
            costs.note(&rows, took);
            drafting += took.as_secs_f64();
            if plan.kind == StepKind::Target {
                let waiting = engine.status().waiting;
                let seconds = std::mem::take(&mut drafting);
                round.steps.push(Step {
                    prefill_rows: rows.count - rows.samples,
                    decode_rows: rows.samples,
                    seconds,
                    waiting,
                });
            }
        }
        let now = engine.counters();
        round.drafts = [now.lookup.since(&before.lookup), now.model.since(&before.model)];
        Ok(round)
    }
}
