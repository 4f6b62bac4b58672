//! The memory of the model that drafts.
use super::limits::EngineLimits;
use super::memory_plan::Drafter;
use super::speculate::DraftCache;
use crate::cache::{BlockId, KvCache};
use crate::memory::{ArenaError, Carver};
use crate::model::{Forward, ForwardLimits};

/// Its activations, and its keys and values where they are its own.
#[derive(Debug)]
pub(super) struct Drafting<'s> {
    pub(super) forward: Forward<'s>,
    pub(super) own: Option<OwnCache<'s>>,
}

/// Planes that nobody shares: each running sequence has a lane of blocks for its whole length, so
/// that nothing has to be counted.
#[derive(Debug)]
pub(super) struct OwnCache<'s> {
    pub(super) kv: KvCache<'s>,
    /// `[slots, blocks_per_sequence]`
    pub(super) tables: &'s mut [BlockId],
}

impl<'s> Drafting<'s> {
    pub(super) fn carve(
        carver: &mut impl Carver<'s>,
        (config, cache): Drafter<'_>,
        limits: &EngineLimits,
        forward: &ForwardLimits,
    ) -> Result<Self, ArenaError> {
        let times = |region, a: usize, b: usize| a.checked_mul(b).ok_or(ArenaError::TooLarge { region });
        let per_sequence = limits.blocks_per_sequence();
        let own = match cache {
            DraftCache::Shared => None,
            DraftCache::Own => {
                let blocks = times("draft KV blocks", limits.sequences, per_sequence)?;
                Some(OwnCache {
                    kv: KvCache::carve(carver, config.kv_layout(limits.kv_format, blocks))?,
                    tables: carver.carve(
                        "draft block tables",
                        times("draft block tables", limits.slots(), per_sequence)?,
                    )?,
                })
            }
        };
        Ok(Self { forward: Forward::carve(carver, config, forward)?, own })
    }
}

impl OwnCache<'_> {
    /// Gives a lane to a sequence.
    pub(super) fn assign(&mut self, slot: u32, lane: u32, limits: &EngineLimits) {
        let per_sequence = limits.blocks_per_sequence();
        let table = &mut self.tables[slot as usize * per_sequence..][..per_sequence];
        for (i, block) in table.iter_mut().enumerate() {
            *block = (lane as usize * per_sequence + i) as BlockId;
        }
    }
}
