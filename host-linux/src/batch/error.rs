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
    /// Bytes of all files together.
    pub total_bytes: u64,
    /// Lines of a batch.
    pub lines: usize,
}

impl Default for BatchLimits {
    /// OpenAI's number of lines; the rest is what a small machine can bear.
    fn default() -> Self {
        Self { file_bytes: 64 << 20, entries: 1000, total_bytes: 4 << 30, lines: 50_000 }
    }
}

impl BatchLimits {
    /// Each limit as the name of its option, its value, and what it bounds.
    pub fn describe(&self) -> Vec<(&'static str, String, String)> {
        vec![
            ("max-file-bytes", self.file_bytes.to_string(), "a file that is sent".to_owned()),
            ("max-batches", self.entries.to_string(), "files, and batches".to_owned()),
            ("max-batch-bytes", self.total_bytes.to_string(), "all files together".to_owned()),
            ("max-batch-lines", self.lines.to_string(), "lines of a batch".to_owned()),
        ]
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
    },
    /// All files together would take more bytes than they may.
    Full {
        /// How many bytes they may take.
        max: u64,
    },
    /// The folder cannot be read or written.
    Folder {
        /// The file or folder.
        path: PathBuf,
        /// What the system says.
        error: io::Error,
    },
}

impl BatchesError {
    /// An error of the system at a path.
    pub fn at(path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |error| Self::Folder { path, error }
    }
}

impl fmt::Display for BatchesError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotFound { what, id } => write!(f, "there is no {what} {id}"),
            Self::InUse { batch } => write!(f, "{batch} still needs the file; cancel it first"),
            Self::Ended => f.write_str("the batch has ended"),
            Self::WrongPurpose => f.write_str("the file is no input of a batch: its purpose is not batch"),
            Self::TooMany { what, max } => {
                write!(
                    f,
                    "there are {max} {what} already, and no more are kept; delete some (option max-batches)"
                )
            }
            Self::Full { max } => {
                write!(
                    f,
                    "the files would take more than {max} bytes together; delete some (option max-batch-bytes)"
                )
            }
            Self::Folder { path, error } => write!(f, "{}: {error}", path.display()),
        }
    }
}

impl std::error::Error for BatchesError {}
