//! The folder in which files and batches are kept:
//!
//! ```text
//! DIR/lock                      one process at a time
//! DIR/files/file-….jsonl        what is in a file
//! DIR/files/file-….json         what is known of it; a file without this is not there yet
//! DIR/batches/batch_….json      a batch
//! ```
//!
//! What is known of something is written to another name first and then renamed, so that a process
//! that is killed leaves the old or the new.
use super::error::BatchesError;
use super::object::{BatchObject, FileObject};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// A folder that no other process has open.
#[derive(Debug)]
pub struct Folder {
    files: PathBuf,
    batches: PathBuf,
    _lock: File,
}

/// What is kept in a folder, by id.
pub type Contents = (BTreeMap<String, FileObject>, BTreeMap<String, BatchObject>);

impl Folder {
    /// Opens a folder, and makes it if it is not there.
    pub fn open(path: &Path) -> Result<Self, BatchesError> {
        let (files, batches, lock) = (path.join("files"), path.join("batches"), path.join("lock"));
        for folder in [&files, &batches] {
            fs::create_dir_all(folder).map_err(BatchesError::at(folder))?;
        }
        let file = File::create(&lock).map_err(BatchesError::at(&lock))?;
        file.try_lock().map_err(|error| {
            let error = match error {
                fs::TryLockError::WouldBlock => {
                    io::Error::new(io::ErrorKind::ResourceBusy, "another process has the folder open")
                }
                fs::TryLockError::Error(error) => error,
            };
            BatchesError::at(&lock)(error)
        })?;
        Ok(Self { files, batches, _lock: file })
    }

    /// Reads what is known of all files and batches. What a process left unfinished that was killed
    /// is removed.
    pub fn read(&self) -> Result<Contents, BatchesError> {
        let files: BTreeMap<_, FileObject> = objects(&self.files, |file: &FileObject| file.id.clone())?;
        let batches: BTreeMap<_, BatchObject> =
            objects(&self.batches, |batch: &BatchObject| batch.id.clone())?;
        let unfinished = batches.values().filter(|batch| !batch.status.is_final());
        let outputs: Vec<String> =
            unfinished.flat_map(|batch| <[String; 2]>::from(batch.output_ids())).collect();
        for path in listed(&self.files)? {
            let id = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
            let is_content = path.extension().is_some_and(|extension| extension == "jsonl");
            if is_content && !files.contains_key(id) && !outputs.iter().any(|output| output == id) {
                fs::remove_file(&path).map_err(BatchesError::at(&path))?;
            }
        }
        Ok((files, batches))
    }

    /// Where the bytes of a file lie. The id is one that this server has made.
    pub fn content(&self, id: &str) -> PathBuf {
        self.files.join(format!("{id}.jsonl"))
    }

    /// Writes a new file: its bytes, then what is known of it.
    pub fn write_file(&self, file: &FileObject, bytes: &[u8]) -> Result<(), BatchesError> {
        let path = self.content(&file.id);
        let write = || {
            let mut content = File::create(&path)?;
            content.write_all(bytes)?;
            content.sync_all()
        };
        write().map_err(|error| {
            // Without what is known of it, it is removed at the next start at the latest.
            let _ = fs::remove_file(&path);
            BatchesError::at(&path)(error)
        })?;
        self.keep_file(file)
    }

    /// Keeps what is known of a file whose bytes are there.
    pub fn keep_file(&self, file: &FileObject) -> Result<(), BatchesError> {
        replace(&self.files.join(format!("{}.json", file.id)), file)
    }

    /// Keeps what is known of a batch.
    pub fn keep_batch(&self, batch: &BatchObject) -> Result<(), BatchesError> {
        replace(&self.batches.join(format!("{}.json", batch.id)), batch)
    }

    /// Deletes a file: first what is known of it, so that it is gone whatever happens then.
    pub fn delete_file(&self, id: &str) -> Result<(), BatchesError> {
        for path in [self.files.join(format!("{id}.json")), self.content(id)] {
            match fs::remove_file(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(BatchesError::at(&path)(error));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Deletes a batch that has ended.
    pub fn delete_batch(&self, id: &str) -> Result<(), BatchesError> {
        let path = self.batches.join(format!("{id}.json"));
        fs::remove_file(&path).map_err(BatchesError::at(&path))
    }
}

fn listed(folder: &Path) -> Result<Vec<PathBuf>, BatchesError> {
    let list =
        || fs::read_dir(folder)?.map(|entry| entry.map(|entry| entry.path())).collect::<io::Result<Vec<_>>>();
    list().map_err(BatchesError::at(folder))
}

/// All objects of a folder by their ids.
fn objects<T: DeserializeOwned>(
    folder: &Path,
    id: impl Fn(&T) -> String,
) -> Result<BTreeMap<String, T>, BatchesError> {
    let mut all = BTreeMap::new();
    for path in listed(folder)? {
        if path.extension().is_none_or(|extension| extension != "json") {
            continue;
        }
        let read = || {
            let object: T = serde_json::from_slice(&fs::read(&path)?)?;
            io::Result::Ok(object)
        };
        let object = read().map_err(BatchesError::at(&path))?;
        // What it is called must be what it says, since paths are made of it.
        if path.file_stem().and_then(|stem| stem.to_str()) == Some(&id(&object)) {
            all.insert(id(&object), object);
        }
    }
    Ok(all)
}

/// Writes an object in place of the one that is there.
fn replace(path: &Path, object: &impl Serialize) -> Result<(), BatchesError> {
    let new = path.with_extension("new");
    let write = || {
        let mut file = File::create(&new)?;
        serde_json::to_writer(&file, object)?;
        file.flush()?;
        file.sync_all()?;
        fs::rename(&new, path)
    };
    write().map_err(BatchesError::at(path))
}
