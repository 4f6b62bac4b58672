//! What a step tells its host.
use super::Engine;
use super::request::RequestId;
use super::sequence::Sequence;
use super::state::retain;
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
    /// It runs from now on (again, if it was preempted before); this many of its first positions
    /// were in the cache.
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
    /// The runner lost its device while the request ran. The tokens that were told hold; the
    /// request goes on to the same bits wherever it is resumed with the same fingerprint.
    DeviceLost,
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
    /// Something that happened to a choice, with nothing more to say about it.
    pub(super) fn of(sequence: &Sequence, kind: RecordKind) -> Self {
        Self {
            request: sequence.request,
            choice: sequence.choice,
            kind,
            token: 0,
            position: 0,
            logprob: 0.0,
            top_start: 0,
            top_count: 0,
        }
    }

    fn is_of(&self, sequence: &Sequence) -> bool {
        (self.request, self.choice) == (sequence.request, sequence.choice)
    }
}

crate::memory::plain_enum!(RecordKind::Token);
crate::memory::plain!(Record { request, choice, kind, token, position, logprob, top_start, top_count });

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
            RecordKind::DeviceLost => EventKind::Finished(FinishReason::DeviceLost),
        };
        Some(Event { request: RequestId(record.request), choice: record.choice, kind })
    }
}

impl Engine<'_, '_> {
    /// Notes something for the end of the step. The table has room for all that a step and the
    /// plans before it can say: see [`preempted`](Self::preempted) for the plans.
    pub(super) fn push_event(&mut self, record: Record) {
        debug_assert!(self.event_count < self.state.events.len(), "the table of events is full");
        if let Some(place) = self.state.events.get_mut(self.event_count) {
            *place = record;
            self.event_count += 1;
        }
    }

    /// Notes that a sequence lost its blocks. If it was admitted by a plan that was not executed,
    /// its host never heard of that and need not hear of either: however many plans are dropped, a
    /// sequence has two events of them at most.
    pub(super) fn preempted(&mut self, sequence: &Sequence) {
        let noted = &self.state.events[..self.event_count];
        let last = noted.iter().rposition(|record| record.is_of(sequence));
        match last.filter(|at| noted[*at].kind == RecordKind::Admitted) {
            Some(at) => {
                self.state.events.copy_within(at + 1..self.event_count, at);
                self.event_count -= 1;
            }
            None => self.push_event(Record::of(sequence, RecordKind::Preempted)),
        }
    }

    /// Forgets what was noted of a sequence that is cancelled.
    pub(super) fn drop_events_of(&mut self, sequence: &Sequence) {
        let noted = &mut self.state.events[..self.event_count];
        self.event_count = retain(noted, |record| !record.is_of(sequence));
    }
}
