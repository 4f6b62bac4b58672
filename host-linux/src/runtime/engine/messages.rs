//! What goes through the queues between callers and the engine thread.
use super::waits::Waits;
use crate::runtime::OwnedRequest;
use std::sync::mpsc::{Sender, SyncSender};
use std::time::Instant;
use verbatim_core::engine::{EventKind, FinishReason, Refusal, RequestId};
use verbatim_core::sampling::TokenLogprob;

/// Names a request in an engine thread. The numbers of requests begin anew with each engine; with
/// the engine's own number a ticket never means another request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Ticket {
    /// The number of the engine, 0 for the first.
    pub(super) engine: u64,
    /// The number of the request in that engine.
    pub(super) request: RequestId,
}

/// What the engine says about a choice, as it comes through its caller's queue.
#[derive(Clone, Debug, PartialEq)]
pub struct TokenEvent {
    /// The number of the choice in that queue.
    pub choice: usize,
    /// What happened to it.
    pub kind: TokenEventKind,
    /// When: an admission as its first step begins, all else as its step ends.
    pub at: Instant,
}

/// What happened to a choice.
#[derive(Clone, Debug, PartialEq)]
pub enum TokenEventKind {
    /// It runs from now on.
    Admitted {
        /// Positions that were in the cache, which need not be computed.
        cached_tokens: usize,
    },
    /// It has its next token.
    Token {
        /// The id of the token.
        token: u32,
        /// The log-probability of the token.
        logprob: f32,
        /// The likeliest tokens at this place, best first.
        top: Vec<TokenLogprob>,
    },
    /// The log-probability of a token of its prompt, from the second one on, in order.
    PromptLogprob {
        /// The token, given those before it.
        token: TokenLogprob,
        /// Its place among all tokens, 1 for the likeliest.
        rank: u32,
        /// The likeliest tokens at this place, best first.
        top: Vec<TokenLogprob>,
    },
    /// It has ended; nothing comes after this.
    Finished(FinishReason),
    /// It has ended, because its grammar is complete; nothing comes after this.
    Complete,
    /// The engine that computed it is gone; nothing comes after this. The tokens so far hold.
    EngineLost,
}

impl TokenEventKind {
    /// Whether nothing comes after it.
    pub(super) fn is_end(&self) -> bool {
        matches!(self, Self::Finished(_) | Self::Complete | Self::EngineLost)
    }

    /// An event of the engine as its own value; `None` for those of which callers do not hear.
    pub(super) fn of(kind: EventKind<'_>) -> Option<Self> {
        Some(match kind {
            EventKind::Token { token, logprob, top } => Self::Token { token, logprob, top: top.to_vec() },
            EventKind::Finished(reason) => Self::Finished(reason),
            EventKind::Admitted { cached_tokens } => Self::Admitted { cached_tokens },
            EventKind::PromptLogprob { token, logprob, rank, top, .. } => {
                Self::PromptLogprob { token: TokenLogprob { token, logprob }, rank, top: top.to_vec() }
            }
            EventKind::Preempted => return None,
        })
    }
}

/// What callers ask of the engine thread.
pub(super) enum Command {
    /// To take a request; the answer goes through `reply`.
    Submit { request: Box<OwnedRequest>, readers: Readers, reply: SyncSender<Result<Ticket, Refusal>> },
    /// To end a choice, by its number in the queue.
    Close { ticket: Ticket, choice: usize },
    /// To end a request.
    Cancel(Ticket),
    /// To show what it does to whoever has just begun to watch.
    Show,
    /// To end the thread.
    Stop,
}

impl std::fmt::Debug for Command {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Command")
    }
}

/// The readers of a request's events.
#[derive(Debug)]
pub(super) struct Readers {
    /// The queue of the caller.
    pub(super) events: Sender<TokenEvent>,
    /// Tokens with which each choice of the request begins.
    pub(super) prompt_tokens: usize,
    /// The number of the request's first choice in the request.
    pub(super) first_in_request: u32,
    /// The number of the request's first choice in the queue.
    pub(super) first_in_queue: usize,
    /// For each choice, whether its events are still read.
    pub(super) is_open: Vec<bool>,
    /// For each choice, how long it has waited.
    pub(super) waits: Vec<Waits>,
    /// When the request came.
    pub(super) since: Instant,
    /// What the caller marked the request with.
    pub(super) tag: u64,
    /// The priority of the request.
    pub(super) priority: i8,
}

impl Readers {
    /// What is noted of the waits of a choice, by its number in the request.
    pub(super) fn waits_of(&self, choice: u32) -> Option<&Waits> {
        self.waits.get(choice.wrapping_sub(self.first_in_request) as usize)
    }

    /// Notes how an event of a step that began at `start` changes what a choice waits for.
    pub(super) fn note_waits(&mut self, choice: u32, kind: &EventKind<'_>, start: Instant) {
        let index = choice.wrapping_sub(self.first_in_request) as usize;
        match (self.waits.get_mut(index), kind) {
            (Some(waits), EventKind::Admitted { cached_tokens }) => waits.admitted(*cached_tokens, start),
            (Some(waits), EventKind::Preempted) => waits.preempted(start),
            _ => {}
        }
    }

    /// Hands on what happened to a choice, by its number in the request. `false` if nobody reads
    /// the queue any more.
    pub(super) fn send(&mut self, choice: u32, kind: TokenEventKind, at: Instant) -> bool {
        let index = choice.wrapping_sub(self.first_in_request) as usize;
        if !self.is_open.get(index).is_some_and(|open| *open) {
            return true; // it was closed; the request goes on for the others
        }
        self.is_open[index] = !kind.is_end();
        self.events.send(TokenEvent { choice: self.first_in_queue + index, kind, at }).is_ok()
    }

    /// Tells every choice that is read that its engine is gone.
    pub(super) fn lose(mut self) {
        let now = Instant::now();
        for at in 0..self.is_open.len() {
            // A reader that is gone needs no word.
            let _ = self.send(self.first_in_request.wrapping_add(at as u32), TokenEventKind::EngineLost, now);
        }
    }

    /// Notes that a choice, by its number in the queue, is no longer read; returns its number in
    /// the request.
    pub(super) fn close(&mut self, choice: usize) -> Option<u32> {
        let at = choice.checked_sub(self.first_in_queue)?;
        *self.is_open.get_mut(at)? = false;
        Some(self.first_in_request.wrapping_add(at as u32))
    }

    /// Whether no choice is read any more.
    pub(super) fn are_done(&self) -> bool {
        !self.is_open.contains(&true)
    }
}
