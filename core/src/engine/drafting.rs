//! The engine's tables for a draft model, whose weights and KV the runner holds.
use super::limits::EngineLimits;
use super::speculate::DraftCache;
use crate::cache::BlockId;
use crate::memory::{ArenaError, Carver};

/// The engine's part of a draft model.
#[derive(Debug)]
pub(super) struct Drafting<'s> {
    /// Where its keys and values lie, if not in the served model's blocks.
    pub(super) own: Option<OwnCache<'s>>,
}

/// Block tables of a draft model's own planes. No block is shared: each running sequence has a lane
/// of blocks for its whole length, so blocks need no reference counts.
#[derive(Debug)]
pub(super) struct OwnCache<'s> {
    /// The blocks of each slot in order of position, `[slots, blocks_per_sequence]`.
    pub(super) tables: &'s mut [BlockId],
}

impl<'s> Drafting<'s> {
    pub(super) fn carve(
        carver: &mut impl Carver<'s>,
        cache: DraftCache,
        limits: &EngineLimits,
    ) -> Result<Self, ArenaError> {
        const REGION: &str = "draft block tables";
        let own = match cache {
            DraftCache::Shared => None,
            DraftCache::Own => {
                let entries = limits.slots().checked_mul(limits.blocks_per_sequence());
                let entries = entries.ok_or(ArenaError::TooLarge { region: REGION })?;
                Some(OwnCache { tables: carver.carve(REGION, entries)? })
            }
        };
        Ok(Self { own })
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
