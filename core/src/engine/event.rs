//! What a step tells its host.
use super::request::RequestId;
use crate::sampling::TokenLogprob;

/// One thing that happened to one choice of a request.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Event<'e> {
    /// The request.
    pub request: RequestId,
    /// The choice.
    pub choice: u32,
    /// What happened.
    pub kind: EventKind<'e>,
}

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum EventKind<'e> {
    /// The next output token.
    Token {
        /// Its id.
        token: u32,
        /// Its log-probability under the raw logits.
        logprob: f32,
        /// The likeliest alternatives, best first, if they were asked for.
        top: &'e [TokenLogprob],
    },
    /// The log-probability of a prompt token given those before it.
    PromptLogprob {
        /// The token's index in the prompt, from 1.
        position: usize,
        /// Its id.
        token: u32,
        /// Its log-probability.
        logprob: f32,
        /// The likeliest alternatives, best first, if they were asked for.
        top: &'e [TokenLogprob],
    },
    /// It runs from now on (again, if it was preempted before); this many of its first positions were in the cache.
    Admitted {
        /// Positions that need not be computed.
        cached_tokens: usize,
    },
    /// Its blocks were taken for others; it will be recomputed, to the same bits.
    Preempted,
    /// No more events will come for this choice.
    Finished(FinishReason),
}

/// Why a choice ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FinishReason {
    /// One of `stop_ids` was drawn.
    StopId(u32),
    /// `max_tokens` or the context was reached.
    Length,
    /// A logit was NaN or infinite: the model or its weights are broken.
    NonFinite {
        /// The position whose logits they were.
        position: usize,
    },
    /// The mask allowed no token.
    MaskEmpty,
}

/// An event as the engine's table holds it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Record {
    pub(super) request: u64,
    pub(super) choice: u32,
    pub(super) kind: RecordKind,
    pub(super) token: u32,
    pub(super) position: u32,
    pub(super) logprob: f32,
    pub(super) top_start: u32,
    pub(super) top_count: u32,
}

#[derive(Clone, Copy, Debug)]
#[repr(u8)]
pub(super) enum RecordKind {
    Token = 0,
    PromptLogprob,
    Admitted,
    Preempted,
    StopId,
    Length,
    NonFinite,
    MaskEmpty,
}

// SAFETY: numbers, and an enum whose zero is `Token`.
unsafe impl crate::memory::Plain for Record {}

/// The events of a step, in order.
#[derive(Clone, Debug)]
pub struct Events<'e> {
    pub(super) records: core::slice::Iter<'e, Record>,
    pub(super) tops: &'e [TokenLogprob],
}

impl<'e> Iterator for Events<'e> {
    type Item = Event<'e>;

    fn next(&mut self) -> Option<Event<'e>> {
        let record = self.records.next()?;
        let Record { token, logprob, .. } = *record;
        let position = record.position as usize;
        let top = &self.tops[record.top_start as usize..][..record.top_count as usize];
        let kind = match record.kind {
            RecordKind::Token => EventKind::Token { token, logprob, top },
            RecordKind::PromptLogprob => EventKind::PromptLogprob { position, token, logprob, top },
            RecordKind::Admitted => EventKind::Admitted { cached_tokens: position },
            RecordKind::Preempted => EventKind::Preempted,
            RecordKind::StopId => EventKind::Finished(FinishReason::StopId(token)),
            RecordKind::Length => EventKind::Finished(FinishReason::Length),
            RecordKind::NonFinite => EventKind::Finished(FinishReason::NonFinite { position }),
            RecordKind::MaskEmpty => EventKind::Finished(FinishReason::MaskEmpty),
        };
        Some(Event { request: RequestId(record.request), choice: record.choice, kind })
    }
}
