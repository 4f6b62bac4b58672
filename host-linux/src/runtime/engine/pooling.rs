//! What the engine thread gathers for requests that want hidden states pooled.
use crate::runtime::OwnedRequest;
use crate::runtime::pooling::PooledPrompt;
use std::collections::HashMap;
use std::sync::{Arc, Weak};
use verbatim_core::engine::{Observer, PlannedRow, RequestId};

/// The prompts that are pooled while they are computed. Their readers own them; one that nobody
/// owns any more is dropped when the next one comes.
#[derive(Debug, Default)]
pub(super) struct PooledPrompts(HashMap<RequestId, Weak<PooledPrompt>>);

impl PooledPrompts {
    /// Notes that a request was taken.
    pub(super) fn begin(&mut self, id: RequestId, request: &OwnedRequest) {
        if let Some(pooled) = &request.pooled {
            self.0.retain(|_, pooled| pooled.strong_count() > 0);
            self.0.insert(id, Arc::downgrade(pooled));
        }
    }
}

impl Observer for PooledPrompts {
    fn hidden(&mut self, row: &PlannedRow, hidden: &[f32]) {
        if let Some(pooled) = self.0.get(&row.request).and_then(Weak::upgrade) {
            pooled.add(row.position, hidden);
        }
    }
}
