//! What a seed decides once for a run, and which of it a replay leaves out.
use super::rng::{Rng, Stream};
use crate::paths;
use std::fmt;
use verbatim_core::cache::BLOCK;
use verbatim_core::dtype::{KvFormat, WeightFormat};
use verbatim_core::engine::{EngineLimits, Speculation, SpeculationMode};
use verbatim_core::isa::Isa;

/// One run of the simulator: everything that its course depends on.
#[derive(Clone, Debug, PartialEq)]
pub struct Setup {
    /// The number from which everything is drawn.
    pub seed: u64,
    /// Steps to execute before faults stop and everything must finish.
    pub steps: u64,
    /// Requests that are made, by number; all if `None`. Numbers that are left out change no other
    /// request.
    pub only: Option<Vec<usize>>,
    /// Features that are switched off.
    pub without: Without,
    /// What computes the steps. It may not change an event.
    pub over: Over,
}

impl Setup {
    /// A run on the CPU in which nothing is left out.
    pub fn new(seed: u64, steps: u64) -> Self {
        Self { seed, steps, only: None, without: Without::default(), over: Over::Cpu }
    }
}

/// What computes the steps of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Over {
    /// The CPU's runner, in the engine's arena.
    Cpu,
    /// A [`Late`](crate::late::Late) runner; lost before a command of that number, if one is given.
    /// Another, that is not lost, is then given to the engine.
    Late {
        /// The number of the command, from 0.
        lost_at: Option<u64>,
    },
}

macro_rules! features {
    ($($name:ident = $label:literal, $doc:literal;)*) => {
        /// Something that can be switched off to see whether a failure needs it.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Feature { $(#[doc = $doc] $name,)* }

        impl Feature {
            /// All features, those that explain most first.
            pub const ALL: &'static [Feature] = &[$(Feature::$name,)*];

            /// The feature's name on the command line.
            pub fn name(self) -> &'static str {
                match self { $(Feature::$name => $label,)* }
            }
        }
    };
}

features! {
    Speculation = "speculation", "No drafting.";
    Cancels = "cancels", "Nobody leaves.";
    Drops = "drops", "Every plan is executed.";
    Resume = "resume", "Every request begins at its beginning.";
    Choices = "choices", "One choice each.";
    Masks = "masks", "No constraints.";
    PromptOutput = "prompt-output", "Prompts yield nothing.";
    Sharing = "sharing", "Every prompt is its own.";
    Priorities = "priorities", "All alike.";
    Salts = "salts", "One salt for all.";
    Stops = "stops", "No stop ids.";
    Penalties = "penalties", "No penalties and no bias.";
    Sampling = "sampling", "Temperature 0.";
    Starvation = "starvation", "Blocks for everybody.";
    Budgets = "budgets", "As many rows as fit.";
    Threads = "threads", "The calling thread alone.";
    Paths = "paths", "The instruction set that serves.";
    Formats = "formats", "f32 weights and keys.";
    Long = "long", "No context beyond an attention split.";
}

/// Features that are switched off.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Without(u32);

impl Without {
    /// Whether `feature` is off.
    pub fn has(self, feature: Feature) -> bool {
        self.0 >> feature as u32 & 1 == 1
    }

    /// These features and one more switched off.
    #[must_use]
    pub fn and(self, feature: Feature) -> Self {
        Self(self.0 | 1 << feature as u32)
    }

    /// The features that are off.
    pub fn list(self) -> impl Iterator<Item = Feature> {
        Feature::ALL.iter().copied().filter(move |feature| self.has(*feature))
    }
}

/// The pool that runs the tasks of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PoolKind {
    /// The calling thread, in order.
    Serial,
    /// One thread that plays this number of workers, in an order that differs from run to run.
    Permuting(usize),
    /// The host's pool with this number of threads.
    Futex(usize),
}

impl PoolKind {
    /// The number of workers that the pool has.
    pub fn workers(self) -> usize {
        match self {
            Self::Serial => 1,
            Self::Permuting(workers) | Self::Futex(workers) => workers,
        }
    }
}

/// Which draft model a simulated engine has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DraftModelChoice {
    /// No draft model; there may still be lookup.
    None,
    /// The served model in int4, in the same blocks.
    Itself,
    /// A smaller model in blocks of its own.
    Other,
}

/// How many rows a step may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BudgetKind {
    /// As many as the engine was sized for.
    Full,
    /// One number, used for every step.
    Fixed(usize),
    /// A number drawn for each step.
    Varying,
}

/// What holds for a whole run.
#[derive(Clone, Debug)]
pub struct Options {
    /// How weights are stored.
    pub weights: WeightFormat,
    /// What the engine is sized for.
    pub limits: EngineLimits,
    /// The instruction set of the run.
    pub isa: Isa,
    /// The instruction set of the solo runs.
    pub oracle_isa: Isa,
    /// The pool that runs tasks.
    pub pool: PoolKind,
    /// Which draft model the engine has.
    pub draft_model: DraftModelChoice,
    /// The row budgets of steps.
    pub budget: BudgetKind,
    /// Live sequences that the arrivals aim at.
    pub crowd: usize,
    /// Whether some contexts pass two attention splits.
    pub long: bool,
    /// Times in a hundred that a cached block is dropped before its turn.
    pub forget_percent: usize,
    /// Times in a hundred that a plan is dropped.
    pub drop_percent: usize,
}

/// Positions beyond which a context has three attention splits.
pub const TWO_SPLITS: usize = 2 * verbatim_core::kernels::attention::SPLIT;

impl Options {
    /// What the seed says, less what the replay leaves out.
    pub fn draw(setup: &Setup) -> Self {
        let mut rng = Rng::new(setup.seed, Stream::Options, 0);
        let without = |feature| setup.without.has(feature);
        let weights = rng.pick(&WeightFormat::STORED);
        let kv_format = rng.pick(&KvFormat::ALL);
        let (path, oracle_path) = (rng.below(1 << 16), rng.percent(15).then(|| rng.below(1 << 16)));
        let workers = rng.within(1..=4);
        let pool = match rng.below(10) {
            0..4 => PoolKind::Serial,
            4..8 => PoolKind::Permuting(workers),
            _ => PoolKind::Futex(workers),
        };
        let draft_model = rng.pick(&[
            DraftModelChoice::None,
            DraftModelChoice::Itself,
            DraftModelChoice::Itself,
            DraftModelChoice::Other,
        ]);
        let long = rng.percent(8) && !without(Feature::Long);
        // Two thousand rows in scalar code would take longer than all other seeds.
        let is_quick = |isa: &Isa| !long || *isa != Isa::PORTABLE || Isa::detect() == Isa::PORTABLE;
        let paths: Vec<Isa> = paths().iter().copied().filter(is_quick).collect();
        let isa = paths[path % paths.len()];
        let oracle_isa = oracle_path.map_or(Isa::detect(), |path| paths[path % paths.len()]);
        let model_len = if long { rng.within(2150..=2400) } else { rng.within(48..=240) };
        let sequences = rng.within(4..=9);
        let ample = model_len.max(96) * sequences;
        let kv_tokens = match rng.below(100) {
            // Not even one context.
            0..15 if !long => rng.within((model_len / 2).max(2 * BLOCK)..=model_len),
            0..70 => model_len + rng.within(0..=sequences * 24),
            _ => ample,
        };
        let rows = if long { rng.within(48..=256) } else { rng.within(3..=64) };
        let draft_len = rng.within(1..=7);
        let budget = match rng.below(4) {
            0 => BudgetKind::Full,
            1 => BudgetKind::Fixed(rng.within(1..=12)),
            _ => BudgetKind::Varying,
        };
        let limits = EngineLimits {
            model_len,
            sequences,
            queue: rng.within(1..=8),
            kv_tokens: if without(Feature::Starvation) { ample } else { kv_tokens },
            rows,
            head_rows: rng.within(1..=rows.min(9)),
            kv_format: if without(Feature::Formats) { KvFormat::F32 } else { kv_format },
            workers: if without(Feature::Threads) { 1 } else { pool.workers() },
            draft_len: if without(Feature::Speculation) { 0 } else { draft_len },
            top_logprobs: 3,
            logit_bias: 4,
            stop_ids: 3,
        };
        // Where requests come one after another, blocks are free between them: they are evicted,
        // found and taken again.
        let is_quiet = rng.percent(15);
        let crowd = if is_quiet { 1 } else { rng.within(5..=sequences + 3) };
        Self {
            weights: if without(Feature::Formats) { WeightFormat::F32 } else { weights },
            limits,
            isa: if without(Feature::Paths) { Isa::detect() } else { isa },
            oracle_isa: if without(Feature::Paths) { Isa::detect() } else { oracle_isa },
            pool: if without(Feature::Threads) { PoolKind::Serial } else { pool },
            draft_model: if without(Feature::Speculation) { DraftModelChoice::None } else { draft_model },
            budget: match budget {
                _ if without(Feature::Budgets) => BudgetKind::Full,
                BudgetKind::Fixed(rows) if long => BudgetKind::Fixed(rows + 32),
                budget => budget,
            },
            crowd,
            long,
            forget_percent: match rng.pick(&[0, 2, 20]) {
                _ if without(Feature::Drops) => 0,
                percent => percent.max(2 * usize::from(is_quiet)),
            },
            drop_percent: if without(Feature::Drops) { 0 } else { rng.pick(&[0, 3, 10]) },
        }
    }

    /// Draws how the engine drafts from now on.
    pub fn draw_speculation(&self, rng: &mut Rng) -> Speculation {
        let mode = rng.pick(&[SpeculationMode::Auto, SpeculationMode::Forced, SpeculationMode::Forced]);
        let kind = rng.below(8);
        if self.limits.draft_len == 0 || kind == 0 {
            return Speculation::OFF;
        }
        let model = kind > 3 && self.draft_model != DraftModelChoice::None;
        Speculation { lookup: kind < 6, model, mode, ..Speculation::OFF }
    }

    /// Draws the row budget of the next step.
    pub fn draw_rows(&self, rng: &mut Rng) -> usize {
        let rows_max = self.limits.rows;
        let varying =
            if rng.percent(30) { rng.within(1..=rows_max.min(4)) } else { rng.within(1..=rows_max) };
        match self.budget {
            BudgetKind::Full => usize::MAX,
            BudgetKind::Fixed(rows) => rows,
            BudgetKind::Varying if self.long => varying + 32,
            BudgetKind::Varying => varying,
        }
    }
}

impl fmt::Display for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let l = &self.limits;
        write!(
            f,
            "{} weights, {} keys, {} (alone: {}), {:?}, draft model {:?}; context {}, {} sequences + {} waiting, {} KV tokens, \
             {} rows ({:?}), head {} at a time, drafts of {}; crowd {}, {}% of plans dropped{}",
            self.weights.name(),
            l.kv_format.name(),
            self.isa.name(),
            self.oracle_isa.name(),
            self.pool,
            self.draft_model,
            l.model_len,
            l.sequences,
            l.queue,
            l.kv_tokens,
            l.rows,
            self.budget,
            l.head_rows,
            l.draft_len,
            self.crowd,
            self.drop_percent,
            if self.long { ", long contexts" } else { "" },
        )
    }
}
