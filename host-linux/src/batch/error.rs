//! Why something cannot be done with a file or a batch.
use std::fmt;
use std::io;
use std::path::PathBuf;

/// What is bounded of a folder of batches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchLimits {
    /// Bytes of a file that is sent.
    pub file_bytes: usize,
    /// Files and batches that are kept, of each kind so many.
    pub entries: usize,
    /// Those of one key.
    pub key_entries: usize,
    /// Bytes of all files together.
    pub total_bytes: u64,
    /// Bytes of all files of one key together.
    pub key_bytes: u64,
    /// Lines of a batch.
    pub lines: usize,
}

impl Default for BatchLimits {
    /// OpenAI's number of lines; the rest is what a small machine can bear, and a quarter of that
    /// for each key.
    fn default() -> Self {
        Self {
            file_bytes: 64 << 20,
            entries: 1000,
            key_entries: 250,
            total_bytes: 4 << 30,
            key_bytes: 1 << 30,
            lines: 50_000,
        }
    }
}

impl BatchLimits {
    /// Each limit as the name of its option, its value, and what it bounds.
    pub fn describe(&self) -> Vec<(&'static str, String, String)> {
        let limit = |name, value: u64, bounds: &str| (name, value.to_string(), bounds.to_owned());
        vec![
            limit("max-file-bytes", self.file_bytes as u64, "a file that is sent"),
            limit(Bound::Entries.option(false), self.entries as u64, "files, and batches"),
            limit(Bound::Entries.option(true), self.key_entries as u64, "files, and batches, of a key"),
            limit(Bound::Bytes.option(false), self.total_bytes, "all files together"),
            limit(Bound::Bytes.option(true), self.key_bytes, "all files of a key together"),
            limit("max-batch-lines", self.lines as u64, "lines of a batch"),
        ]
    }
}

/// What is bounded for all together, and for each key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bound {
    /// The number of files, and that of batches.
    Entries,
    /// The bytes of files.
    Bytes,
}

impl Bound {
    /// The name of the option that sets it, for each key or for all together.
    pub fn option(self, of_key: bool) -> &'static str {
        match (self, of_key) {
            (Self::Entries, false) => "max-batches",
            (Self::Entries, true) => "max-key-batches",
            (Self::Bytes, false) => "max-batch-bytes",
            (Self::Bytes, true) => "max-key-batch-bytes",
        }
    }
}

/// Why something cannot be done with a file or a batch.
#[derive(Debug)]
pub enum BatchesError {
    /// There is no file or batch of this id, or it is another key's.
    NotFound {
        /// What was looked for, `file` or `batch`.
        what: &'static str,
        /// The id, as it was asked for.
        id: String,
    },
    /// A file cannot be deleted while a batch reads or writes it.
    InUse {
        /// The batch that has not ended.
        batch: String,
    },
    /// A batch that has ended cannot be cancelled.
    Ended,
    /// A file that a batch has made cannot be the input of one.
    WrongPurpose,
    /// There are as many files or batches as may be kept.
    TooMany {
        /// What there are too many of, `files` or `batches`.
        what: &'static str,
        /// How many may be kept.
        max: usize,
        /// Whether so many are those of one key.
        of_key: bool,
    },
    /// All files together would take more bytes than they may.
    Full {
        /// How many bytes they may take.
        max: u64,
        /// Whether so many are those of one key.
        of_key: bool,
    },
    /// The folder cannot be read or written.
    Folder {
        /// The file or folder.
        path: PathBuf,
        /// What the system says.
        error: io::Error,
    },
}

/// Whose files and batches are spoken of.
fn whose(of_key: bool) -> &'static str {
    if of_key { " of this key" } else { "" }
}

impl BatchesError {
    /// An error of the system at a path.
    pub fn at(path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |error| Self::Folder { path, error }
    }

    /// What a client may read of it: the paths of the server are no business of its clients.
    pub fn told(&self) -> String {
        match self {
            Self::Folder { error, .. } => format!("the folder of batches cannot be used: {error}"),
            other => other.to_string(),
        }
    }
}

impl fmt::Display for BatchesError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotFound { what, id } => write!(f, "there is no {what} {id}"),
            Self::InUse { batch } => write!(f, "{batch} still needs the file; cancel it first"),
            Self::Ended => f.write_str("the batch has ended"),
            Self::WrongPurpose => f.write_str("the file is no input of a batch: its purpose is not batch"),
            Self::TooMany { what, max, of_key } => {
                let (whose, option) = (whose(*of_key), Bound::Entries.option(*of_key));
                write!(f, "{max} {what}{whose} are kept already, and no more; delete some (option {option})")
            }
            Self::Full { max, of_key } => {
                let (whose, option) = (whose(*of_key), Bound::Bytes.option(*of_key));
                write!(f, "the files{whose} would take more than {max} bytes; delete some (option {option})")
            }
            Self::Folder { path, error } => write!(f, "{}: {error}", path.display()),
        }
    }
}

impl std::error::Error for BatchesError {}
