//! The folder in which files and batches are kept:
//!
//! ```text
//! DIR/lock                      one process at a time
//! DIR/files/file-….jsonl        what is in a file
//! DIR/files/file-….json         what is known of it; a file without this is not there yet
//! DIR/batches/batch_….json      a batch
//! DIR/…/….new                   what was being written when a process was killed
//! DIR/…/….json.unreadable       what could not be read at a start
//! ```
//!
//! What is known of something is written to another name first and then renamed, so that a process
//! that is killed leaves the old or the new. What cannot be read is set aside under a name that
//! ends in `.unreadable`, and so nothing that belongs to it is removed.
use super::error::BatchesError;
use super::object::{BatchObject, FileObject, output_ids};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::collections::{BTreeMap, BTreeSet};
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

/// How the names end of what could not be read.
const UNREADABLE: &str = "unreadable";

/// What is kept in a folder, by id.
#[derive(Debug, Default)]
pub struct Contents {
    /// What is known of each file whose bytes are there.
    pub files: BTreeMap<String, FileObject>,
    /// All batches, with those that have ended.
    pub batches: BTreeMap<String, BatchObject>,
}

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

    /// Reads what is known of all files and batches, and what was set aside, a sentence each. What
    /// a process left unfinished that was killed is removed.
    pub fn read(&self) -> Result<(Contents, Vec<String>), BatchesError> {
        let mut notes = Vec::new();
        let contents = Contents {
            files: objects(&self.files, |file: &FileObject| file.id.clone(), &mut notes)?,
            batches: objects(&self.batches, |batch: &BatchObject| batch.id.clone(), &mut notes)?,
        };
        let unfinished = contents.batches.values().filter(|batch| !batch.status.is_final());
        let mut kept: BTreeSet<String> =
            unfinished.flat_map(|batch| <[String; 2]>::from(batch.output_ids())).collect();
        kept.extend(contents.files.keys().cloned());
        kept.extend(aside(&self.files)?);
        kept.extend(aside(&self.batches)?.iter().flat_map(|id| <[String; 2]>::from(output_ids(id))));
        for path in listed(&self.files)? {
            let id = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
            let is_content = path.extension().is_some_and(|extension| extension == "jsonl");
            if is_content && !kept.contains(id) {
                fs::remove_file(&path).map_err(BatchesError::at(&path))?;
            }
        }
        Ok((contents, notes))
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

/// All objects of a folder by their ids. What cannot be read is set aside, and told.
fn objects<T: DeserializeOwned>(
    folder: &Path,
    id: impl Fn(&T) -> String,
    notes: &mut Vec<String>,
) -> Result<BTreeMap<String, T>, BatchesError> {
    let mut all = BTreeMap::new();
    for path in listed(folder)? {
        match path.extension().and_then(|extension| extension.to_str()) {
            Some("json") => {}
            Some("new") => {
                fs::remove_file(&path).map_err(BatchesError::at(&path))?;
                continue;
            }
            _ => continue,
        }
        let read = || {
            let object: T = serde_json::from_slice(&fs::read(&path)?)?;
            // What it is called must be what it says, since paths are made of it.
            let is_called_so = path.file_stem().and_then(|stem| stem.to_str()) == Some(&id(&object));
            is_called_so.then_some(object).ok_or_else(|| io::Error::other("its name is not its id"))
        };
        match read() {
            Ok(object) => _ = all.insert(id(&object), object),
            Err(error) => notes.push(set_aside(&path, &error)),
        }
    }
    Ok(all)
}

/// Renames what cannot be read, so that it is not read again; what to say of it.
fn set_aside(path: &Path, error: &io::Error) -> String {
    let mut aside = path.as_os_str().to_owned();
    aside.push(".");
    aside.push(UNREADABLE);
    let aside = PathBuf::from(aside);
    let done = match fs::rename(path, &aside) {
        Ok(()) => format!("it is set aside as {}", aside.display()),
        Err(error) => format!("and it cannot be set aside: {error}"),
    };
    format!("{} cannot be read ({error}): {done}", path.display())
}

/// The ids of what was set aside in a folder.
fn aside(folder: &Path) -> Result<Vec<String>, BatchesError> {
    let id = |path: PathBuf| {
        let name = path.file_name()?.to_str()?.strip_suffix(UNREADABLE)?;
        Some(name.strip_suffix(".json.")?.to_owned())
    };
    Ok(listed(folder)?.into_iter().filter_map(id).collect())
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_read_is_set_aside_and_what_belongs_to_it_stays() {
        let root = std::env::temp_dir().join(format!("verbatim-folder-{}", std::process::id()));
        let _ = fs::remove_dir_all(&root);
        let folder = Folder::open(&root).expect("opened");
        let file = |id: &str| FileObject {
            id: id.to_owned(),
            bytes: 3,
            created_at: 1,
            filename: "x".to_owned(),
            purpose: "batch".to_owned(),
            owner: None,
            number: 1,
        };
        folder.write_file(&file("file-a"), b"{}\n").expect("written");
        folder.write_file(&file("file-b"), b"{}\n").expect("written");
        let put = |name: &str, text: &str| fs::write(root.join(name), text).expect("written");
        put("files/file-b.json", "{");
        put("files/file-c.json", &fs::read_to_string(root.join("files/file-a.json")).expect("read"));
        put("files/file-d.jsonl", "of nobody");
        put("files/file-e.new", "{");
        put("batches/batch_f.json", "[]");
        put("batches/batch_f.new", "");
        put("files/file-f-output.jsonl", "answers");
        for start in 0..2 {
            let (contents, notes) = folder.read().expect("read");
            assert_eq!(contents.files.into_keys().collect::<Vec<_>>(), ["file-a"]);
            assert!(contents.batches.is_empty());
            assert_eq!(notes.len(), if start == 0 { 3 } else { 0 }, "{notes:?}");
            assert!(notes.iter().all(|note| note.contains("it is set aside as")), "{notes:?}");
        }
        let mut names: Vec<_> = ["files", "batches"]
            .iter()
            .flat_map(|folder| listed(&root.join(folder)).expect("listed"))
            .map(|path| path.file_name().expect("a name").to_str().expect("UTF-8").to_owned())
            .collect();
        names.sort();
        assert_eq!(
            names,
            [
                "batch_f.json.unreadable",
                "file-a.json",
                "file-a.jsonl",
                "file-b.json.unreadable",
                "file-b.jsonl",
                "file-c.json.unreadable",
                "file-f-output.jsonl",
            ]
        );
        fs::remove_dir_all(&root).expect("removed");
    }
}
