//! What is known of all files and batches, and how much of it each owner may have.
use super::error::{BatchLimits, BatchesError};
use super::object::{BatchObject, FileObject};
use super::turns::Turns;
use std::collections::BTreeMap;

/// Files and batches by their ids.
#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) files: BTreeMap<String, FileObject>,
    /// Files whose bytes are being written: nobody sees them yet, and they count.
    pub(super) coming: BTreeMap<String, FileObject>,
    pub(super) batches: BTreeMap<String, BatchObject>,
    /// Bytes that batches which have not ended have written.
    pub(super) written: BTreeMap<String, u64>,
    /// Greater than the number of each file and batch.
    pub(super) next_number: u64,
    pub(super) turns: Turns,
}

/// What an owner has, or all together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Held {
    entries: usize,
    bytes: u64,
}

impl State {
    pub(super) fn take_number(&mut self) -> u64 {
        self.next_number += 1;
        self.next_number - 1
    }

    /// Files of an owner, or of all.
    fn files_of(&self, owner: Option<&str>) -> Held {
        let is_meant = |of: &Option<String>| owner.is_none() || of.as_deref() == owner;
        let files = self.files.values().chain(self.coming.values()).filter(|file| is_meant(&file.owner));
        let written = self.written.iter().filter(|(id, _)| {
            let batch = self.batches.get(*id);
            batch.is_some_and(|batch| is_meant(&batch.owner))
        });
        let of_files = files.fold(Held::default(), |held, file| Held {
            entries: held.entries + 1,
            bytes: held.bytes.saturating_add(file.bytes),
        });
        let written: u64 = written.map(|(_, bytes)| bytes).sum();
        Held { bytes: of_files.bytes.saturating_add(written), ..of_files }
    }

    /// Refuses a file more of an owner, of so many bytes, for which there is no room.
    pub(super) fn check_file(
        &self,
        owner: Option<&str>,
        bytes: u64,
        limits: &BatchLimits,
    ) -> Result<(), BatchesError> {
        let too_many = |max, of_key| Err(BatchesError::TooMany { what: "files", max, of_key });
        if owner.is_some() && self.files_of(owner).entries >= limits.key_entries {
            return too_many(limits.key_entries, true);
        }
        if self.files_of(None).entries >= limits.entries {
            return too_many(limits.entries, false);
        }
        self.check_bytes(owner, bytes, limits)
    }

    /// Refuses so many bytes more of an owner, if there is no room for them.
    pub(super) fn check_bytes(
        &self,
        owner: Option<&str>,
        more: u64,
        limits: &BatchLimits,
    ) -> Result<(), BatchesError> {
        let check = |held: Held, max: u64, of_key: bool| {
            let fits = held.bytes.saturating_add(more) <= max;
            if fits { Ok(()) } else { Err(BatchesError::Full { max, of_key }) }
        };
        if owner.is_some() {
            check(self.files_of(owner), limits.key_bytes, true)?;
        }
        check(self.files_of(None), limits.total_bytes, false)
    }

    /// The batch to forget so that an owner can have another one; none if there is room. It is the
    /// oldest one of the owner that has ended, or else of whoever has more batches than the owner.
    pub(super) fn to_forget(
        &self,
        owner: Option<&str>,
        limits: &BatchLimits,
    ) -> Result<Option<String>, BatchesError> {
        let mut counts: BTreeMap<Option<&str>, usize> = BTreeMap::new();
        for batch in self.batches.values() {
            *counts.entry(batch.owner.as_deref()).or_default() += 1;
        }
        let own = counts.get(&owner).copied().unwrap_or(0);
        let is_share_full = owner.is_some() && own >= limits.key_entries;
        if !is_share_full && self.batches.len() < limits.entries {
            return Ok(None);
        }
        let oldest_of = |of: Option<&str>| {
            let ended = self.batches.values().filter(|batch| batch.status.is_final());
            ended.filter(|batch| batch.owner.as_deref() == of).min_by_key(|batch| batch.number)
        };
        let others = counts.iter().filter(|(of, count)| !is_share_full && **of != owner && **count > own + 1);
        let mut others: Vec<_> = others.map(|(of, count)| (*count, *of)).collect();
        others.sort_unstable_by_key(|(count, _)| std::cmp::Reverse(*count));
        let found = oldest_of(owner).or_else(|| others.iter().find_map(|(_, of)| oldest_of(*of)));
        match found {
            Some(batch) => Ok(Some(batch.id.clone())),
            None if is_share_full => {
                Err(BatchesError::TooMany { what: "batches", max: limits.key_entries, of_key: true })
            }
            None => Err(BatchesError::TooMany { what: "batches", max: limits.entries, of_key: false }),
        }
    }
}
