//! A file that is wanted, and whether an answer is of it.
use super::error::HubError;
use super::http::{Ask, Reply};
use super::verify::ContentHash;
use crate::text::quote::quote;

/// A file that is wanted: what it is called, how long it is, and what it holds.
#[derive(Clone, Debug)]
pub struct WantedFile {
    /// Its path in the repository.
    pub path: String,
    /// Its length in bytes.
    pub bytes: u64,
    /// The hash of what it holds.
    pub hash: ContentHash,
}

impl WantedFile {
    /// Whether an answer is what was asked for, of the file that the hub has announced.
    pub(super) fn check(&self, reply: &Reply, ask: Ask) -> Result<(), HubError> {
        let wrong = |what: String| Err(HubError::answer(&reply.address.text(), what));
        let bytes = self.bytes;
        if let Some(hash) = reply.linked.hash.as_ref().filter(|hash| **hash != self.hash) {
            return wrong(format!("has the hash {}, not {}", hash.digits(), self.hash.digits()));
        }
        match (reply.status, ask) {
            (206, Ask::Range(first, last)) => {
                let range = reply.header("content-range").unwrap_or("none");
                let expected = format!("bytes {first}-{last}/");
                let total = range.strip_prefix(&expected);
                if total.is_some_and(|total| total == "*" || total.parse() == Ok(bytes)) {
                    return Ok(());
                }
                wrong(format!("sends the range {}, expected {expected}{bytes}", quote(range)))
            }
            (206, _) => wrong("sends a part of the file, expected all of it".to_owned()),
            _ => match reply.content_length() {
                Some(length) if length != bytes => {
                    wrong(format!("is {length} bytes long, not the {bytes} that the hub announced"))
                }
                _ => Ok(()),
            },
        }
    }
}
