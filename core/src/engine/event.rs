//! Events: what a step reports to its host.
use super::Engine;
use super::limits::EngineLimits;
use super::request::RequestId;
use super::sequence::Sequence;
use crate::sampling::TokenLogprob;

/// One thing that happened to one choice of a request.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Event<'e> {
    /// The request, as `submit` named it.
    pub request: RequestId,
    /// Which of the request's choices, counted from its `first_choice`.
    pub choice: u32,
    /// What happened to it.
    pub kind: EventKind<'e>,
}

/// What happened to a choice.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum EventKind<'e> {
    /// The next output token.
    Token {
        /// The id that was drawn.
        token: u32,
        /// Its log-probability under the raw logits.
        logprob: f32,
        /// The likeliest alternatives, best first, if they were asked for.
        top: &'e [TokenLogprob],
    },
    /// The log-probability of a prompt token given those before it.
    PromptLogprob {
        /// The token's index in the prompt, from 1: nothing precedes the first token.
        position: usize,
        /// The id that stands there.
        token: u32,
        /// Its log-probability under the raw logits of the row before.
        logprob: f32,
        /// Its place among all tokens there, 1 for the likeliest.
        rank: u32,
        /// The likeliest alternatives, best first, if they were asked for.
        top: &'e [TokenLogprob],
    },
    /// The choice runs from now on; it comes again after each preemption.
    Admitted {
        /// Positions at its beginning that were in the cache and need not be computed.
        cached_tokens: usize,
    },
    /// The choice lost its blocks to others. It waits, and will be computed again to the same bits.
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
        /// The position of the row that had these logits.
        position: usize,
    },
    /// The mask allowed no token of the vocabulary.
    MaskEmpty,
    /// The runner lost its device while the request ran. Tokens that were delivered are valid, and
    /// the request continues with the same bits when it is resumed under the same fingerprint.
    DeviceLost,
}

/// An event as the engine's table holds it; the fields that its kind does not need are 0.
#[derive(Clone, Copy, Debug)]
pub(super) struct Record {
    pub(super) request: u64,
    pub(super) choice: u32,
    pub(super) kind: RecordKind,
    pub(super) token: u32,
    pub(super) position: u32,
    pub(super) logprob: f32,
    pub(super) rank: u32,
    /// Where its alternatives begin in the table of alternatives.
    pub(super) top_start: u32,
    pub(super) top_count: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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
    DeviceLost,
}

impl Record {
    /// The largest number of events that one step and the plans before it can leave: a row yields
    /// at most a prompt log-probability, a token and an end; plans preempt and admit a sequence at
    /// most once each, as [`Engine::preempted`] explains; and a sequence without a row ends if the
    /// device is lost.
    pub(super) fn count_max(limits: &EngineLimits) -> usize {
        3 * limits.rows + 3 * limits.slots()
    }

    /// The record of an event that has nothing to say beyond its kind.
    pub(super) fn of(sequence: &Sequence, kind: RecordKind) -> Self {
        Self {
            request: sequence.request,
            choice: sequence.choice,
            kind,
            token: 0,
            position: 0,
            logprob: 0.0,
            rank: 0,
            top_start: 0,
            top_count: 0,
        }
    }

    fn is_of(&self, sequence: &Sequence) -> bool {
        (self.request, self.choice) == (sequence.request, sequence.choice)
    }
}

crate::memory::plain_enum!(RecordKind::Token);
crate::memory::plain!(Record { request, choice, kind, token, position, logprob, rank, top_start, top_count });

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
        let Record { token, logprob, rank, .. } = *record;
        let position = record.position as usize;
        let top = &self.tops[record.top_start as usize..][..record.top_count as usize];
        let kind = match record.kind {
            RecordKind::Token => EventKind::Token { token, logprob, top },
            RecordKind::PromptLogprob => EventKind::PromptLogprob { position, token, logprob, rank, top },
            RecordKind::Admitted => EventKind::Admitted { cached_tokens: position },
            RecordKind::Preempted => EventKind::Preempted,
            RecordKind::StopId => EventKind::Finished(FinishReason::StopId(token)),
            RecordKind::Length => EventKind::Finished(FinishReason::Length),
            RecordKind::NonFinite => EventKind::Finished(FinishReason::NonFinite { position }),
            RecordKind::MaskEmpty => EventKind::Finished(FinishReason::MaskEmpty),
            RecordKind::DeviceLost => EventKind::Finished(FinishReason::DeviceLost),
        };
        Some(Event { request: RequestId(record.request), choice: record.choice, kind })
    }
}

impl Engine<'_> {
    /// Notes an event for the end of the step.
    ///
    /// # Panics
    /// If the table is full, which [`Record::count_max`] rules out: an event that was dropped would
    /// leave a client waiting for ever.
    pub(super) fn push_event(&mut self, record: Record) {
        self.state.events.push(record).expect("the table of events has room for all that a step can say");
    }

    /// Notes that a sequence lost its blocks. If it was admitted by a plan that was not executed,
    /// its host never heard of that and need not hear of either: however many plans are dropped, a
    /// sequence has at most two events of them.
    pub(super) fn preempted(&mut self, sequence: &Sequence) {
        let events = &mut self.state.events;
        let last = events.iter().rposition(|record| record.is_of(sequence));
        match last.filter(|at| events[*at].kind == RecordKind::Admitted) {
            Some(at) => {
                events.remove(at);
            }
            None => self.push_event(Record::of(sequence, RecordKind::Preempted)),
        }
    }

    /// Forgets the events of a sequence that is cancelled.
    pub(super) fn drop_events_of(&mut self, sequence: &Sequence) {
        self.state.events.retain(|record| !record.is_of(sequence));
    }
}
