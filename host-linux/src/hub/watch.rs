//! What somebody who waits for a download hears of it.
use super::error::HubError;
use std::time::Duration;

/// Hears how a download goes. Several threads may tell it at once.
pub trait Watch: Sync {
    /// A file of `bytes` bytes is next, `number` of `count` from 1 on.
    fn begins(&self, file: &str, bytes: u64, number: usize, count: usize);
    /// Of the file that began last so many bytes are there. It becomes less where a server cannot
    /// go on from the middle.
    fn reaches(&self, bytes: u64);
    /// The file that began last is there and has its hash.
    fn ends(&self, file: &str);
    /// A request did not succeed, and is repeated after a pause.
    fn pauses(&self, why: &HubError, pause: Duration);
    /// Another process downloads the file; this one waits for it.
    fn is_locked_out(&self, file: &str);
}

/// Nobody, who hears nothing.
#[derive(Clone, Copy, Debug)]
pub struct Unwatched;

impl Watch for Unwatched {
    fn begins(&self, _: &str, _: u64, _: usize, _: usize) {}
    fn reaches(&self, _: u64) {}
    fn ends(&self, _: &str) {}
    fn pauses(&self, _: &HubError, _: Duration) {}
    fn is_locked_out(&self, _: &str) {}
}
