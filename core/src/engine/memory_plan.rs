//! The sizes of an engine's memory, known before anything runs.
use super::limits::EngineLimits;
use super::state::State;
use crate::cache::{BLOCK, KvLayout};
use crate::memory::{ArenaError, Layout};
use crate::model::runner::cpu::CpuMemory;
use crate::model::{ConfigError, DraftCache, DraftModelSize, ModelConfig, Runner, RunnerMemory};

/// Why an engine cannot be built.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MemoryPlanError {
    /// The model's configuration contradicts itself, or asks for what is not implemented.
    Config(ConfigError),
    /// A limit lies outside of the range that the model and the host allow.
    Limit {
        /// The field of [`EngineLimits`] that is out of its range.
        field: &'static str,
        /// The value that was given.
        found: usize,
        /// The smallest value that is allowed.
        min: usize,
        /// The largest value that is allowed.
        max: usize,
    },
    /// The draft model does not go with the served one.
    DraftModel {
        /// The key of `config.json` in which the two models must agree.
        field: &'static str,
        /// The draft model's value.
        found: usize,
        /// The value that the served model asks for.
        expected: usize,
    },
    /// The memory does not fit, or is not what the plan says.
    Arena(ArenaError),
}

impl From<ArenaError> for MemoryPlanError {
    fn from(error: ArenaError) -> Self {
        Self::Arena(error)
    }
}

impl From<ConfigError> for MemoryPlanError {
    fn from(error: ConfigError) -> Self {
        Self::Config(error)
    }
}

impl core::fmt::Display for MemoryPlanError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Config(error) => error.fmt(f),
            Self::Limit { field, found, min, max } => {
                write!(f, "{field} is {found}, but must be between {min} and {max}")
            }
            Self::DraftModel { field, found, expected } => {
                write!(f, "the draft model's {field} is {found}, expected {expected}")
            }
            Self::Arena(error) => error.fmt(f),
        }
    }
}

impl core::error::Error for MemoryPlanError {}

/// The largest number of workers that an engine keeps scratch for.
pub(super) const WORKERS_MAX: usize = 4096;

/// The memory of an engine, and of a runner that keeps its own in the same arena.
#[derive(Clone, Copy, Debug)]
pub struct MemoryPlan {
    layout: Layout,
    kv: KvLayout,
}

impl MemoryPlan {
    /// The memory of an engine on the CPU.
    pub fn new(config: &ModelConfig, limits: &EngineLimits) -> Result<Self, MemoryPlanError> {
        Self::with_draft_model(config, None, limits)
    }

    /// The memory of an engine on the CPU, with a draft model if there is one.
    pub fn with_draft_model(
        config: &ModelConfig,
        draft: Option<&DraftModelSize>,
        limits: &EngineLimits,
    ) -> Result<Self, MemoryPlanError> {
        Self::beside(RunnerMemory::Arena, config, draft, limits)
    }

    /// The memory of an engine over `runner`, which is asked where it keeps activations and KV:
    /// those of a device have no place in the engine's arena.
    pub fn for_runner(
        runner: &dyn Runner,
        config: &ModelConfig,
        draft: Option<&DraftModelSize>,
        limits: &EngineLimits,
    ) -> Result<Self, MemoryPlanError> {
        Self::beside(runner.memory(), config, draft, limits)
    }

    /// The memory of an engine whose runner keeps its own there.
    pub(super) fn beside(
        runner: RunnerMemory,
        config: &ModelConfig,
        draft: Option<&DraftModelSize>,
        limits: &EngineLimits,
    ) -> Result<Self, MemoryPlanError> {
        config.check()?;
        check(config, limits)?;
        if let Some(draft) = draft {
            check_draft_model(config, limits, draft)?;
        }
        let mut layout = Layout::default();
        if runner == RunnerMemory::Arena {
            CpuMemory::carve(&mut layout, config, draft, &limits.runner())?;
        }
        State::carve(&mut layout, config, draft, limits)?;
        Ok(Self { layout, kv: config.kv_layout(limits.kv_format, limits.block_count()) })
    }

    /// Bytes of the engine's arena.
    pub fn total_bytes(&self) -> usize {
        self.layout.total_bytes()
    }

    /// Bytes of the served model's keys and values alone, wherever they lie.
    pub fn kv_bytes(&self) -> usize {
        self.kv.total_bytes()
    }

    /// Every region by name.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }
}

fn check_draft_model(
    config: &ModelConfig,
    limits: &EngineLimits,
    draft: &DraftModelSize,
) -> Result<(), MemoryPlanError> {
    let DraftModelSize { config: draft, cache } = draft;
    draft.check()?;
    let mut equal = [
        ("vocab_size", draft.vocab_size, config.vocab_size),
        ("num_hidden_layers", draft.layer_count, config.layer_count),
        ("num_key_value_heads", draft.kv_head_count, config.kv_head_count),
        ("head_dim", draft.head_dim, config.head_dim),
    ]
    .into_iter();
    let first = if *cache == DraftCache::Shared { equal.len() } else { 1 };
    if let Some((field, found, expected)) =
        equal.by_ref().take(first).find(|(_, found, expected)| found != expected)
    {
        return Err(MemoryPlanError::DraftModel { field, found, expected });
    }
    if draft.position_count < limits.model_len {
        let (found, expected) = (draft.position_count, limits.model_len);
        return Err(MemoryPlanError::DraftModel { field: "max_position_embeddings", found, expected });
    }
    Ok(())
}

fn check(config: &ModelConfig, limits: &EngineLimits) -> Result<(), MemoryPlanError> {
    let within = |field, found: usize, min: usize, max: usize| {
        if (min..=max).contains(&found) {
            Ok(())
        } else {
            Err(MemoryPlanError::Limit { field, found, min, max })
        }
    };
    const MANY: usize = 1 << 20;
    within("model_len", limits.model_len, 1, config.position_count)?;
    within("sequences", limits.sequences, 1, MANY)?;
    within("queue", limits.queue, 0, MANY)?;
    within("kv_tokens", limits.kv_tokens, BLOCK, 1 << 31)?;
    within("rows", limits.rows, 1, MANY)?;
    within("head_rows", limits.head_rows, 1, limits.rows)?;
    within("workers", limits.workers, 1, WORKERS_MAX)?;
    within("draft_len", limits.draft_len, 0, 1024)?;
    within("top_logprobs", limits.top_logprobs, 0, 1024)?;
    within("logit_bias", limits.logit_bias, 0, MANY)?;
    within("stop_ids", limits.stop_ids, 0, MANY)
}
