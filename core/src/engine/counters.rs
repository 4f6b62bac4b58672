//! Counts of what has happened in an engine, for metrics, and for the simulator, which asserts that
//! its seeds reach every case.

/// Counts of events since the engine began; none of them feeds back into what is computed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Steps of the served model that were executed.
    pub steps: u64,
    /// Rows of the served model's steps.
    pub rows: u64,
    /// Steps of the draft model that were executed.
    pub draft_steps: u64,
    /// Rows of the draft model's steps.
    pub draft_rows: u64,
    /// Requests that were refused.
    pub refusals: u64,
    /// Times that a sequence lost its blocks to others.
    pub preemptions: u64,
    /// Sequences that began with positions from the cache.
    pub prefix_hits: u64,
    /// Positions that sequences took from the cache.
    pub hit_tokens: u64,
    /// Sequences that end with a cached block: all their blocks were there, and the last token was
    /// computed again because its logits are needed.
    pub boundary_hits: u64,
    /// Sequences that end with a cached block, but whose last block was computed again because
    /// there was none to copy it into.
    pub boundary_recomputes: u64,
    /// Blocks that had the right tokens but followed a parent that is gone, and were not used.
    pub stale_parents: u64,
    /// Sequences whose prefix was cached but was computed again, because its rows yield something.
    pub warm_echoes: u64,
    /// Cached blocks that no sequence held until a hit revived them.
    pub revivals: u64,
    /// Blocks that were copied because their next writer shared them.
    pub copies: u64,
    /// Blocks that two sequences computed at the same time, and of which one was kept.
    pub merged_blocks: u64,
    /// Sequences that were left waiting for a prefix that another one was computing; counted once
    /// in each plan.
    pub deferrals: u64,
    /// Draft tokens from a look into the request's own tokens.
    pub lookup: DraftCounters,
    /// Draft tokens of a draft model.
    pub model: DraftCounters,
    /// Draft tokens that the host proposed.
    pub proposed: DraftCounters,
    /// Sequences that were cancelled while they waited.
    pub cancelled_waiting: u64,
    /// Sequences that were cancelled while their prompt was computed.
    pub cancelled_prefill: u64,
    /// Sequences that were cancelled while they decoded.
    pub cancelled_decode: u64,
}

impl Counters {
    /// The sum with the counts of another engine, such as the one that this one replaced.
    #[must_use]
    pub fn plus(&self, other: &Self) -> Self {
        Self {
            steps: self.steps + other.steps,
            rows: self.rows + other.rows,
            draft_steps: self.draft_steps + other.draft_steps,
            draft_rows: self.draft_rows + other.draft_rows,
            refusals: self.refusals + other.refusals,
            preemptions: self.preemptions + other.preemptions,
            prefix_hits: self.prefix_hits + other.prefix_hits,
            hit_tokens: self.hit_tokens + other.hit_tokens,
            boundary_hits: self.boundary_hits + other.boundary_hits,
            boundary_recomputes: self.boundary_recomputes + other.boundary_recomputes,
            stale_parents: self.stale_parents + other.stale_parents,
            warm_echoes: self.warm_echoes + other.warm_echoes,
            revivals: self.revivals + other.revivals,
            copies: self.copies + other.copies,
            merged_blocks: self.merged_blocks + other.merged_blocks,
            deferrals: self.deferrals + other.deferrals,
            lookup: self.lookup.plus(&other.lookup),
            model: self.model.plus(&other.model),
            proposed: self.proposed.plus(&other.proposed),
            cancelled_waiting: self.cancelled_waiting + other.cancelled_waiting,
            cancelled_prefill: self.cancelled_prefill + other.cancelled_prefill,
            cancelled_decode: self.cancelled_decode + other.cancelled_decode,
        }
    }
}

/// What became of the draft tokens of one source.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DraftCounters {
    /// Draft tokens that were compared with the token that the served model drew.
    pub verified: u64,
    /// Verified ones that were equal to it.
    pub accepted: u64,
    /// Verified ones that were not; the draft tokens after such a one are dropped unverified.
    pub rejected: u64,
    /// Verified ones whose position was drawn under a mask.
    pub masked: u64,
}

impl DraftCounters {
    /// The sum with the counts of another engine.
    #[must_use]
    pub fn plus(&self, other: &Self) -> Self {
        Self {
            verified: self.verified + other.verified,
            accepted: self.accepted + other.accepted,
            rejected: self.rejected + other.rejected,
            masked: self.masked + other.masked,
        }
    }

    /// The difference to an earlier reading of the same counters.
    pub fn since(&self, before: &Self) -> Self {
        Self {
            verified: self.verified - before.verified,
            accepted: self.accepted - before.accepted,
            rejected: self.rejected - before.rejected,
            masked: self.masked - before.masked,
        }
    }
}
