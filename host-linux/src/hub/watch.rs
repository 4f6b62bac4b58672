//! What somebody who waits for a download hears of it.
use super::error::HubError;
use std::time::Duration;

/// Hears how a download goes, as far as it cares: what it does not implement it does not hear.
/// Several threads may tell it at once.
pub trait Watch: Sync {
    /// A file of so many bytes is next, by its number of how many, from 1 on.
    fn begins(&self, _file: &str, _bytes: u64, _number: usize, _count: usize) {}
    /// Of the file that began last so many bytes are there. It becomes less where a server cannot
    /// go on from the middle.
    fn reaches(&self, _bytes: u64) {}
    /// The file that began last is there and has its hash.
    fn ends(&self, _file: &str) {}
    /// A request did not succeed, and is repeated after a pause.
    fn pauses(&self, _why: &HubError, _pause: Duration) {}
    /// Another process downloads the file; this one waits for it.
    fn is_locked_out(&self, _file: &str) {}
}

/// Nobody, who hears nothing.
#[derive(Clone, Copy, Debug)]
pub struct Unwatched;

impl Watch for Unwatched {}
