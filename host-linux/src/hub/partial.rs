//! A file while it comes: its parts in any order, and behind them how much of each is there.
//!
//! ```text
//! content (bytes) | mark, bytes, part_bytes | count of part 0 | count of part 1 | …
//! ```
//!
//! A count is written after the bytes that it counts, so that a process which ends anywhere leaves
//! a file with which the next one goes on. A machine that loses power may leave counts without
//! their bytes; the hash of the whole finds that. The end is cut off once the content is complete.
use super::error::HubError;
use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// What stands between content and counts, so that nothing else is taken for such a file.
const MARK: [u8; 16] = *b"verbatim-parts-1";
/// Bytes of the mark and the two numbers behind it.
const HEAD_BYTES: u64 = 32;
/// Parts of a file, at most.
const PARTS_MAX: u64 = 1024;

/// Bytes of a file from which on it is on the disk before it has its name.
const SYNCED_MIN: u64 = 1 << 20;

/// A part of a file's content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Part {
    pub(super) number: usize,
    /// Its first byte in the content.
    pub(super) start: u64,
    /// Its length in bytes.
    pub(super) bytes: u64,
    /// How many of them are there, from its start on.
    pub(super) done: u64,
}

/// A file that is not complete.
#[derive(Debug)]
pub(super) struct Partial {
    file: File,
    path: PathBuf,
    /// Bytes of the content.
    bytes: u64,
    /// Whether it was begun by an earlier process.
    pub(super) is_resumed: bool,
    parts: Vec<Part>,
}

impl Partial {
    /// Opens the file at `path`, where an earlier process has left it, or begins it, for a content
    /// of `bytes` bytes in parts of about `part_bytes`. The caller holds its lock.
    pub(super) fn open(path: &Path, bytes: u64, part_bytes: u64) -> Result<Self, HubError> {
        let error = |error| HubError::io(path, "open", error);
        // A name that leads elsewhere is none of ours.
        let options = |options: &mut OpenOptions| options.custom_flags(libc::O_NOFOLLOW).open(path);
        let file = options(OpenOptions::new().read(true).write(true).create(true).truncate(false));
        let file = file.map_err(error)?;
        // One of which nothing is there may as well be cut anew.
        if let Some(parts) = counted(&file, bytes).filter(|parts| parts.iter().any(|part| part.done > 0)) {
            return Ok(Self { file, path: path.to_owned(), bytes, is_resumed: true, parts });
        }
        let parts = cut(bytes, part_bytes.max(bytes.div_ceil(PARTS_MAX)).max(1));
        let mut partial = Self { file, path: path.to_owned(), bytes, is_resumed: false, parts };
        partial.begin()?;
        Ok(partial)
    }

    /// Begins anew: nothing is there.
    pub(super) fn begin(&mut self) -> Result<(), HubError> {
        let part_bytes = self.parts.first().map_or(1, |part| part.bytes);
        self.parts.iter_mut().for_each(|part| part.done = 0);
        self.is_resumed = false;
        let numbers = [self.bytes, part_bytes].map(u64::to_le_bytes).concat();
        let whole = self.bytes + HEAD_BYTES + 8 * self.parts.len() as u64;
        let written = self
            .file
            .set_len(0)
            .and_then(|()| self.file.set_len(whole))
            .and_then(|()| self.file.write_all_at(&[&MARK[..], &numbers].concat(), self.bytes));
        written.map_err(|error| HubError::io(&self.path, "write", error))
    }

    /// Counts anew what is there of each part.
    pub(super) fn reload(&mut self) -> Result<(), HubError> {
        match counted(&self.file, self.bytes) {
            Some(parts) => self.parts = parts,
            None => self.begin()?,
        }
        Ok(())
    }

    /// Its parts, as they were when it was opened.
    pub(super) fn parts(&self) -> &[Part] {
        &self.parts
    }

    /// Bytes of the content that were there when it was opened.
    pub(super) fn done(&self) -> u64 {
        self.parts.iter().map(|part| part.done).sum()
    }

    /// Adds bytes to a part behind those that are there, and counts them.
    pub(super) fn add(&self, part: &mut Part, bytes: &[u8]) -> Result<(), HubError> {
        assert!(part.done + bytes.len() as u64 <= part.bytes, "a part stays within its bounds");
        let count_at = self.bytes + HEAD_BYTES + 8 * part.number as u64;
        let done = part.done + bytes.len() as u64;
        let written = self
            .file
            .write_all_at(bytes, part.start + part.done)
            .and_then(|()| self.file.write_all_at(&done.to_le_bytes(), count_at));
        written.map_err(|error| HubError::io(&self.path, "write", error))?;
        part.done = done;
        Ok(())
    }

    /// Fills a buffer with the content from `offset` on.
    pub(super) fn read(&self, offset: u64, buffer: &mut [u8]) -> Result<(), HubError> {
        self.file.read_exact_at(buffer, offset).map_err(|error| HubError::io(&self.path, "read", error))
    }

    /// Cuts off the counts and gives the file the name of what is complete.
    pub(super) fn complete(self, blob: &Path) -> Result<(), HubError> {
        // It is trusted by its name from now on, so that it must not be lost behind it. What a
        // small one has lost, its length tells.
        let sync = || if self.bytes < SYNCED_MIN { Ok(()) } else { self.file.sync_all() };
        // A disk may tell only now that it is full; then the counts are needed once more.
        let written = sync().and_then(|()| self.file.set_len(self.bytes)).and_then(|()| sync());
        written.map_err(|error| HubError::io(&self.path, "write", error))?;
        fs::rename(&self.path, blob).map_err(|error| HubError::io(blob, "write", error))
    }

    /// Deletes it, with all that has come.
    pub(super) fn discard(self) -> Result<(), HubError> {
        fs::remove_file(&self.path).map_err(|error| HubError::io(&self.path, "delete", error))
    }
}

/// How much of a file of `bytes` bytes an earlier process has left at a path.
pub(super) fn left_at(path: &Path, bytes: u64) -> u64 {
    let parts = File::open(path).ok().and_then(|file| counted(&file, bytes));
    parts.map_or(0, |parts| parts.iter().map(|part| part.done).sum())
}

/// The parts of a content of `bytes` bytes.
fn cut(bytes: u64, part_bytes: u64) -> Vec<Part> {
    let count = bytes.div_ceil(part_bytes);
    let part = |number: u64| {
        let start = number * part_bytes;
        Part { number: number as usize, start, bytes: part_bytes.min(bytes - start), done: 0 }
    };
    (0..count).map(part).collect()
}

/// The parts of a file with what is there of each, if it was begun for a content of `bytes` bytes.
fn counted(file: &File, bytes: u64) -> Option<Vec<Part>> {
    let metadata = file.metadata().ok().filter(|metadata| metadata.is_file())?;
    let mut head = [0; HEAD_BYTES as usize];
    if metadata.len() < bytes.checked_add(HEAD_BYTES)? {
        return None;
    }
    file.read_exact_at(&mut head, bytes).ok()?;
    let number = |at: usize| Some(u64::from_le_bytes(head.get(at..at + 8)?.try_into().ok()?));
    let (own_bytes, part_bytes) = (number(16)?, number(24)?);
    let is_ours = head[..16] == MARK && own_bytes == bytes && part_bytes > 0;
    if !is_ours || bytes.div_ceil(part_bytes) > PARTS_MAX {
        return None;
    }
    let mut parts = cut(bytes, part_bytes);
    if metadata.len() != bytes + HEAD_BYTES + 8 * parts.len() as u64 {
        return None;
    }
    let mut counts = vec![0; 8 * parts.len()];
    file.read_exact_at(&mut counts, bytes + HEAD_BYTES).ok()?;
    for (part, count) in parts.iter_mut().zip(counts.as_chunks::<8>().0) {
        part.done = u64::from_le_bytes(*count);
        if part.done > part.bytes {
            return None;
        }
    }
    Some(parts)
}

#[cfg(test)]
mod tests {
    use super::*;
    use verbatim_tests::temporary::TemporaryDirectory;

    #[test]
    fn what_one_process_leaves_another_goes_on_with() {
        let directory = TemporaryDirectory::new("partial");
        let path = directory.path().join("x.incomplete");
        let partial = Partial::open(&path, 25, 10).unwrap();
        assert_eq!(partial.parts().iter().map(|part| part.bytes).collect::<Vec<_>>(), [10, 10, 5]);
        let mut last = partial.parts()[2];
        partial.add(&mut last, b"vw").unwrap();
        let mut first = partial.parts()[0];
        partial.add(&mut first, b"abcdefghij").unwrap();
        drop(partial);
        assert_eq!(left_at(&path, 25), 12);
        assert_eq!(left_at(&path, 24), 0);
        // Other settings change nothing of a file that is begun.
        let partial = Partial::open(&path, 25, 7).unwrap();
        assert!(partial.is_resumed);
        assert_eq!(partial.parts().iter().map(|part| part.done).collect::<Vec<_>>(), [10, 0, 2]);
        let (mut second, mut last) = (partial.parts()[1], partial.parts()[2]);
        partial.add(&mut second, b"klmnopqrst").unwrap();
        partial.add(&mut last, b"xyz").unwrap();
        let blob = directory.path().join("x");
        partial.complete(&blob).unwrap();
        assert_eq!(fs::read_to_string(&blob).unwrap(), "abcdefghijklmnopqrstvwxyz");
        assert!(!path.exists());
    }

    #[test]
    fn what_is_no_such_file_begins_anew() {
        let directory = TemporaryDirectory::new("partial-other");
        let path = directory.path().join("x.incomplete");
        for content in [&b""[..], &[7; 25], &[0; 200]] {
            fs::write(&path, content).unwrap();
            let partial = Partial::open(&path, 25, 10).unwrap();
            assert!(!partial.is_resumed && partial.done() == 0);
        }
        // A count beyond its part is no count.
        let file = OpenOptions::new().write(true).open(&path).unwrap();
        file.write_all_at(&99_u64.to_le_bytes(), 25 + HEAD_BYTES).unwrap();
        assert!(!Partial::open(&path, 25, 10).unwrap().is_resumed);
        // Another length is another content.
        assert!(!Partial::open(&path, 26, 10).unwrap().is_resumed);
        fs::remove_file(&path).unwrap();
        std::os::unix::fs::symlink(directory.path().join("elsewhere"), &path).unwrap();
        assert!(Partial::open(&path, 25, 10).is_err(), "a link is not followed");
        let empty = Partial::open(&directory.path().join("empty"), 0, 10).unwrap();
        assert!(empty.parts().is_empty());
    }

    #[test]
    fn a_huge_file_has_few_parts() {
        let parts = cut(400 << 30, (16 << 20_u64).max((400_u64 << 30).div_ceil(PARTS_MAX)));
        assert!(parts.len() as u64 <= PARTS_MAX);
        assert_eq!(parts.iter().map(|part| part.bytes).sum::<u64>(), 400 << 30);
    }
}
