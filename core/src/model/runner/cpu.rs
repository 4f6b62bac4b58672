//! The runner over a host's memory and threads. Every other runner must give the same bits.
use super::{
    DeviceLost, DraftCache, DraftModel, DraftModelSize, HeadOutput, Runner, RunnerLimits, RunnerMemory,
    StepKind,
};
use crate::cache::planes::BlockCopy;
use crate::cache::{BlockId, KvCache};
use crate::isa::Isa;
use crate::memory::{ArenaError, Carver};
use crate::model::{BlockTables, Forward, HeadWants, ModelConfig, PackedModel, Row, StepRows};
use crate::pool::Pool;

/// Weights and activations of one model.
#[derive(Debug)]
struct Loaded<'a> {
    model: PackedModel<'a>,
    forward: Forward<'a>,
}

/// Computes steps on the threads of a pool; every call returns when it is done.
pub struct CpuRunner<'a> {
    isa: Isa,
    pool: &'a dyn Pool,
    served: Loaded<'a>,
    draft: Option<Loaded<'a>>,
    kv: KvCache<'a>,
    /// The planes of a draft model with [`DraftCache::Own`].
    draft_kv: Option<KvCache<'a>>,
}

impl core::fmt::Debug for CpuRunner<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let kv = self.kv.layout();
        f.debug_struct("CpuRunner").field("isa", &self.isa).field("kv", kv).finish_non_exhaustive()
    }
}

/// The memory of a [`CpuRunner`], before it has weights.
#[derive(Debug)]
pub(crate) struct CpuMemory<'s> {
    kv: KvCache<'s>,
    forward: Forward<'s>,
    draft_kv: Option<KvCache<'s>>,
    draft_forward: Option<Forward<'s>>,
}

impl<'s> CpuMemory<'s> {
    /// Names and sizes every region.
    pub(crate) fn carve(
        carver: &mut impl Carver<'s>,
        config: &ModelConfig,
        draft: Option<&DraftModelSize>,
        limits: &RunnerLimits,
    ) -> Result<Self, ArenaError> {
        let kv_format = limits.forward.kv_format;
        let kv = KvCache::carve(carver, config.kv_layout(kv_format, limits.block_count))?;
        let forward = Forward::carve(carver, config, &limits.forward)?;
        let draft_kv = match draft {
            Some(draft) if draft.cache == DraftCache::Own => {
                let too_large = ArenaError::TooLarge { region: "draft KV blocks" };
                let blocks = limits.sequences.checked_mul(limits.blocks_per_sequence).ok_or(too_large)?;
                Some(KvCache::carve(carver, draft.config.kv_layout(kv_format, blocks))?)
            }
            _ => None,
        };
        let draft_forward = match draft {
            Some(draft) => Some(Forward::carve(carver, &draft.config, &limits.forward)?),
            None => None,
        };
        Ok(Self { kv, forward, draft_kv, draft_forward })
    }
}

impl<'a> CpuRunner<'a> {
    /// A runner in memory that was carved for these models.
    pub(crate) fn new(
        memory: CpuMemory<'a>,
        model: PackedModel<'a>,
        draft_model: Option<DraftModel<'a>>,
        isa: Isa,
        pool: &'a dyn Pool,
    ) -> Self {
        let draft = draft_model.zip(memory.draft_forward);
        Self {
            isa,
            pool,
            served: Loaded { model, forward: memory.forward },
            draft: draft.map(|(draft, forward)| Loaded { model: draft.model, forward }),
            kv: memory.kv,
            draft_kv: memory.draft_kv,
        }
    }

    /// The model whose tokens are served, not the draft model.
    pub fn model(&self) -> &PackedModel<'a> {
        &self.served.model
    }

    /// Every byte of the served model's keys and values, for tests that fill blocks with NaN before
    /// they are used.
    pub fn kv_bytes_mut(&mut self) -> &mut [u8] {
        self.kv.bytes_mut()
    }

    fn loaded(&mut self, kind: StepKind) -> &mut Loaded<'a> {
        match (kind, &mut self.draft) {
            (StepKind::Draft, Some(draft)) => draft,
            _ => &mut self.served,
        }
    }
}

impl Runner for CpuRunner<'_> {
    fn memory(&self) -> RunnerMemory {
        RunnerMemory::Arena
    }

    fn copy_blocks(&mut self, copies: &[BlockCopy]) {
        self.kv.copy_blocks(self.pool, copies);
    }

    fn layers(&mut self, kind: StepKind, rows: &[Row], tables: BlockTables<'_>, fresh: &[BlockId]) {
        let (isa, pool) = (self.isa, self.pool);
        let kv = match (kind, &mut self.draft_kv) {
            (StepKind::Draft, Some(own)) => own,
            _ => &mut self.kv,
        };
        let loaded = match (kind, &mut self.draft) {
            (StepKind::Draft, Some(draft)) => draft,
            _ => &mut self.served,
        };
        loaded.forward.layers(isa, pool, &loaded.model, kv, StepRows { rows, tables, fresh });
    }

    fn is_synchronous(&self) -> bool {
        true
    }

    fn head(&mut self, kind: StepKind, rows: &[u32], wants: HeadWants) -> Result<HeadOutput<'_>, DeviceLost> {
        let (isa, pool) = (self.isa, self.pool);
        let Loaded { model, forward } = self.loaded(kind);
        forward.head(isa, pool, model, rows, wants);
        Ok(HeadOutput { logits: forward.logits(), hidden: forward.hidden() })
    }
}
