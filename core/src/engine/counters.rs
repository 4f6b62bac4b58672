//! What has happened in an engine since it began: for metrics, and for a simulator that must know
//! what it reached.

/// Counts of events; none of them feeds back into what is computed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Steps of the served model.
    pub steps: u64,
    /// Rows of them.
    pub rows: u64,
    /// Steps of the model that drafts.
    pub draft_steps: u64,
    /// Rows of them.
    pub draft_rows: u64,
    /// Requests that were refused.
    pub refusals: u64,
    /// Sequences that lost their blocks to others.
    pub preemptions: u64,
    /// Sequences that began with positions that were there already.
    pub prefix_hits: u64,
    /// Those positions.
    pub hit_tokens: u64,
    /// Sequences whose every full block was there, the last one's last token computed again because
    /// its logits are needed: the prompt ends at a block's end.
    pub boundary_hits: u64,
    /// Sequences that would have been such, but whose last block was computed again for want of one
    /// to copy it into.
    pub boundary_recomputes: u64,
    /// Blocks that had the right tokens but followed a parent that is gone, and were not used.
    pub stale_parents: u64,
    /// Sequences that found their prefix but had to compute it, because its rows yield something.
    pub warm_echoes: u64,
    /// Blocks that nobody held and that a hit brought back.
    pub revivals: u64,
    /// Blocks that were copied because their next writer shared them.
    pub copies: u64,
    /// Blocks that were computed twice at the same time, of which one was kept.
    pub merged_blocks: u64,
    /// Sequences that were left waiting for a prefix that another was computing; counted once a
    /// plan.
    pub deferrals: u64,
    /// Guesses from the request's own text.
    pub lookup: DraftCounters,
    /// Guesses of a model.
    pub model: DraftCounters,
    /// Sequences that were cancelled while they waited.
    pub cancelled_waiting: u64,
    /// While their prompt was computed.
    pub cancelled_prefill: u64,
    /// While they decoded.
    pub cancelled_decode: u64,
}

/// What became of guesses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DraftCounters {
    /// Tokens that were verified.
    pub verified: u64,
    /// Of these, equal to the token that the served model drew.
    pub accepted: u64,
    /// Guesses that were wrong; what followed them was not looked at.
    pub rejected: u64,
    /// Tokens of the verified that were drawn under a mask.
    pub masked: u64,
}

impl DraftCounters {
    /// What came since an earlier reading.
    pub fn since(&self, before: &Self) -> Self {
        Self {
            verified: self.verified - before.verified,
            accepted: self.accepted - before.accepted,
            rejected: self.rejected - before.rejected,
            masked: self.masked - before.masked,
        }
    }
}
