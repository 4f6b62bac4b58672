//! What came of a simulation.
use super::histogram::Histogram;
use super::sequence::{Sequence, Why};

/// The figures of one simulation. Times are of clients; the first fifth of the requests is left
/// out of them, of tokens a second and of hits.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// Requests that clients have sent.
    pub issued: u64,
    /// Requests that were answered whole.
    pub finished: u64,
    /// Requests that failed since every replica's queue was full for too long.
    pub refused: u64,
    /// Requests that failed since no replica of their fingerprint was left.
    pub stranded: u64,
    /// From sending a request to its first event.
    pub first: Histogram,
    /// Between two events of a stream.
    pub gap: Histogram,
    /// Of these, gaps in which a replica died or a hedge was sent.
    pub struck: Histogram,
    /// From sending a request to its end.
    pub whole: Histogram,
    /// Virtual time from the first figure that counts to the last request.
    pub window_ns: u64,
    /// Tokens that were told in that time.
    pub tokens: u64,
    /// Events in the whole run.
    pub events: u64,
    /// Tokens of the prompts that were computed or found.
    pub prompt_tokens: u64,
    /// Of these, tokens that were found in caches.
    pub hit_tokens: u64,
    /// Rows that were computed in the whole run.
    pub rows: u64,
    /// Of these, rows of attempts that lost against a hedge, or of hedges that lost.
    pub hedge_rows: u64,
    /// Rows that takeovers computed before their first new token.
    pub takeover_rows: u64,
    /// Rows that were computed again after a preemption.
    pub again_rows: u64,
    /// Streams that were sent on since their replica had died.
    pub takeovers: u64,
    /// Streams that were asked for a second time since they were silent.
    pub hedges: u64,
    /// Attempts that a replica refused.
    pub refusals: u64,
    /// Times that a replica was killed.
    pub kills: u64,
    /// Times that a replica stood still.
    pub stops: u64,
    /// Times that a replica became slow for a while.
    pub slows: u64,
    /// Replicas that changed their fingerprint.
    pub upgrades: u64,
    /// Times that a sequence gave its blocks up.
    pub preemptions: u64,
    /// Steps of all replicas.
    pub steps: u64,
    /// The time that all these steps took together.
    pub steps_ns: u64,
    /// The share of all engines' slots that were in use, over the whole run, in thousandths.
    pub slots_per_mille: u64,
    /// The share of time that the mean front's core worked, in thousandths.
    pub front_per_mille: u64,
    /// The share of time that the busiest front's core worked, in thousandths.
    pub front_max_per_mille: u64,
    /// The share of time that the busiest front's link was in use, in thousandths.
    pub link_max_per_mille: u64,
    /// Bytes a second through all fronts.
    pub bytes_per_s: u64,
    /// The virtual time of the whole run.
    pub elapsed_ns: u64,
    /// A hash of all events in their order.
    pub hash: u64,
}

impl Outcome {
    /// Tokens a second in a window; 0 without one.
    pub fn tokens_per_s(&self) -> f64 {
        per(self.tokens as f64 * 1e9, self.window_ns as f64)
    }

    /// Requests that failed, for either reason.
    pub fn failed(&self) -> u64 {
        self.refused + self.stranded
    }

    /// The share of prompts that was found in caches.
    pub fn hit_share(&self) -> f64 {
        per(self.hit_tokens as f64, self.prompt_tokens as f64)
    }

    /// Adds what an attempt cost, at the end of the run.
    pub(super) fn add(&mut self, sequence: &Sequence, counts: bool) {
        let decoded = u64::from(sequence.made - sequence.from);
        self.rows += sequence.rows;
        self.again_rows += sequence.rows_again;
        if sequence.is_cancelled {
            self.hedge_rows += sequence.rows;
        } else if sequence.why == Why::Takeover {
            self.takeover_rows += sequence.rows.saturating_sub(decoded + sequence.rows_again);
        }
        if let (true, Why::First, Some(hit)) = (counts, sequence.why, sequence.hit) {
            self.prompt_tokens += u64::from(sequence.prompt);
            self.hit_tokens += u64::from(hit);
        }
    }
}

/// A quotient; 0 where there is nothing to divide by.
pub(super) fn per(value: f64, of: f64) -> f64 {
    if of > 0.0 { value / of } else { 0.0 }
}
