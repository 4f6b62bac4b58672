//! Where the files of a checkpoint come from: a directory, a GGUF file, or memory.
//!
//! Memory is what the built-in model and the mutation tests are loaded from, by the same code as
//! any other; its paths are names that messages use.
use super::error::LoadError;
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{ErrorKind, Read};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// How a GGUF file begins.
pub const GGUF_MAGIC: [u8; 4] = *b"GGUF";

/// Names of a directory that are looked at, at most.
const NAMES_MAX: usize = 100_000;

/// The files of a checkpoint.
#[derive(Clone, Debug)]
pub enum Folder {
    /// A directory on disk.
    Disk(PathBuf),
    /// A GGUF file on disk, with its other shards beside it.
    File(PathBuf),
    /// Files in memory, by their names.
    Memory {
        /// What messages call the folder.
        name: PathBuf,
        /// The files by name.
        files: BTreeMap<String, Arc<[u8]>>,
    },
}

impl From<&Path> for Folder {
    /// The checkpoint at a path; of what is none, a directory that cannot be read.
    fn from(path: &Path) -> Self {
        Folder::of_checkpoint(path).unwrap_or_else(|| Folder::Disk(path.to_owned()))
    }
}

impl Folder {
    /// The checkpoint at a path: a directory, or a file that begins as GGUF files do; `None` if the
    /// path is neither.
    pub fn of_checkpoint(path: &Path) -> Option<Self> {
        if path.is_dir() {
            return Some(Folder::Disk(path.to_owned()));
        }
        // Asked before it is opened: opening a pipe would wait for its writer.
        let mut magic = [0; 4];
        let is_gguf = path.is_file()
            && File::open(path).is_ok_and(|file| file.read_exact_at(&mut magic, 0).is_ok())
            && magic == GGUF_MAGIC;
        is_gguf.then(|| Folder::File(path.to_owned()))
    }

    /// Its path, or what it is called.
    pub fn path(&self) -> &Path {
        match self {
            Folder::Disk(path) | Folder::File(path) | Folder::Memory { name: path, .. } => path,
        }
    }

    /// The path of a file in it, there or not.
    pub fn join(&self, name: &str) -> PathBuf {
        match self {
            Folder::File(path) => path.with_file_name(name),
            _ => self.path().join(name),
        }
    }

    /// Whether it has a file of that name.
    pub fn has(&self, name: &str) -> bool {
        match self {
            Folder::Memory { files, .. } => files.contains_key(name),
            _ => self.join(name).exists(),
        }
    }

    /// The names of what lies in it, as far as they are UTF-8; of a file, its own.
    pub fn names(&self) -> Result<Vec<String>, LoadError> {
        let text = |name: &OsStr| name.to_str().map(str::to_owned);
        match self {
            Folder::Memory { files, .. } => Ok(files.keys().cloned().collect()),
            Folder::File(path) => Ok(path.file_name().and_then(text).into_iter().collect()),
            Folder::Disk(path) => {
                let error = |error| LoadError::io(path, "read", error);
                let entries = std::fs::read_dir(path).map_err(error)?.take(NAMES_MAX);
                let names = entries.map(|entry| entry.map(|entry| text(&entry.file_name())));
                let names: Vec<Option<String>> = names.collect::<Result<_, _>>().map_err(error)?;
                Ok(names.into_iter().flatten().collect())
            }
        }
    }

    /// Tells an unreadable directory apart from one without files.
    pub fn check_readable(&self) -> Result<(), LoadError> {
        match self {
            Folder::Disk(path) => {
                std::fs::read_dir(path).map(|_| ()).map_err(|error| LoadError::io(path, "read", error))
            }
            // Opening its files tells.
            Folder::File(_) | Folder::Memory { .. } => Ok(()),
        }
    }

    /// Opens a file; `None` if there is none.
    pub fn open(&self, name: &str) -> Result<Option<SourceFile>, LoadError> {
        let path = self.join(name);
        let (content, len) = match self {
            Folder::Memory { files, .. } => {
                let Some(bytes) = files.get(name) else { return Ok(None) };
                (Content::Memory(Arc::clone(bytes)), bytes.len() as u64)
            }
            Folder::Disk(_) | Folder::File(_) => {
                // Asked before it is opened: opening a pipe would wait for its writer.
                let metadata = match std::fs::metadata(&path) {
                    Ok(metadata) => metadata,
                    Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
                    Err(error) => return Err(LoadError::io(&path, "open", error)),
                };
                if !metadata.is_file() {
                    return Err(LoadError::malformed(&path, "is not a regular file"));
                }
                let file = File::open(&path).map_err(|error| LoadError::io(&path, "open", error))?;
                (Content::Disk(file), metadata.len())
            }
        };
        Ok(Some(SourceFile { path, len, content }))
    }

    /// A whole file that is no larger than `bytes_max` bytes; `None` if there is none.
    pub fn read_small(&self, name: &str, bytes_max: u64) -> Result<Option<Vec<u8>>, LoadError> {
        self.open(name)?.map(|file| file.read_small(bytes_max)).transpose()
    }
}

/// An open file of a checkpoint.
#[derive(Debug)]
pub struct SourceFile {
    /// Its path, or its name in memory.
    pub path: PathBuf,
    /// Its length when it was opened, in bytes.
    pub len: u64,
    content: Content,
}

#[derive(Debug)]
enum Content {
    Disk(File),
    Memory(Arc<[u8]>),
}

impl SourceFile {
    /// Fills `buffer` from byte `offset` on.
    pub fn read(&self, offset: u64, buffer: &mut [u8]) -> Result<(), LoadError> {
        match &self.content {
            Content::Disk(file) => file.read_exact_at(buffer, offset).map_err(|error| match error.kind() {
                ErrorKind::UnexpectedEof => LoadError::Shrunk { path: self.path.clone() },
                _ => LoadError::io(&self.path, "read", error),
            }),
            Content::Memory(bytes) => {
                let start = usize::try_from(offset).ok();
                let part = start.and_then(|start| bytes.get(start..)?.get(..buffer.len()));
                buffer.copy_from_slice(part.ok_or_else(|| LoadError::Shrunk { path: self.path.clone() })?);
                Ok(())
            }
        }
    }

    fn read_small(self, bytes_max: u64) -> Result<Vec<u8>, LoadError> {
        let mut bytes = Vec::new();
        match self.content {
            // The length may have changed, or be unknown (in /proc), so it is not relied on.
            Content::Disk(file) => {
                let read = file.take(bytes_max.saturating_add(1)).read_to_end(&mut bytes);
                read.map_err(|error| LoadError::io(&self.path, "read", error))?;
            }
            Content::Memory(content) => bytes.extend_from_slice(&content),
        }
        if bytes.len() as u64 > bytes_max {
            return Err(LoadError::malformed(&self.path, format!("is larger than {bytes_max} bytes")));
        }
        Ok(bytes)
    }
}
