//! What can be done with files and batches. Each is seen only with the API key that it was sent
//! with.
use super::error::{BatchLimits, BatchesError};
use super::folder::Folder;
use super::object::{BatchObject, BatchTimes, Counts, FileObject, Status};
use crate::sys::entropy::draw_seed;
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The purpose of a file of requests.
pub const INPUT: &str = "batch";
/// The purpose of a file that a batch has made.
pub const OUTPUT: &str = "batch_output";

/// A batch that is asked for.
#[derive(Clone, Debug, PartialEq)]
pub struct NewBatch {
    /// The file of its lines.
    pub input_file_id: String,
    /// The endpoint that all lines are for.
    pub endpoint: String,
    /// When it should be done.
    pub completion_window: String,
    /// Notes of its sender.
    pub metadata: Option<Map<String, Value>>,
}

#[derive(Debug)]
struct State {
    files: BTreeMap<String, FileObject>,
    batches: BTreeMap<String, BatchObject>,
    /// Greater than the number of each file and batch.
    next_number: u64,
    /// Bytes that the batch that runs has written.
    running_bytes: u64,
}

/// The files and batches of a server.
#[derive(Debug)]
pub struct Batches {
    folder: Folder,
    /// What is bounded of it.
    pub limits: BatchLimits,
    state: Mutex<State>,
    /// Told when there is a new batch.
    new: Condvar,
}

/// The time now, in seconds since 1970.
pub(super) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// Hexadecimal digits that nobody guesses.
fn draw_digits(folder: &Path) -> Result<String, BatchesError> {
    let draw = || std::io::Result::Ok(format!("{:012x}{:012x}", draw_seed()? >> 5, draw_seed()? >> 5));
    draw().map_err(BatchesError::at(folder))
}

fn not_found(what: &'static str, id: &str) -> BatchesError {
    BatchesError::NotFound { what, id: crate::text::quote::quote(id) }
}

impl Batches {
    /// Opens a folder of batches.
    pub fn open(path: &Path, limits: BatchLimits) -> Result<Self, BatchesError> {
        let folder = Folder::open(path)?;
        let (files, batches) = folder.read()?;
        let numbers =
            files.values().map(|file| file.number).chain(batches.values().map(|batch| batch.number));
        let next_number = numbers.max().map_or(0, |number| number + 1);
        let state = Mutex::new(State { files, batches, next_number, running_bytes: 0 });
        Ok(Self { folder, limits, state, new: Condvar::new() })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps a file that was sent.
    pub fn add_file(
        &self,
        owner: Option<&str>,
        filename: &str,
        bytes: &[u8],
    ) -> Result<FileObject, BatchesError> {
        let digits = draw_digits(Path::new("files"))?;
        let file = {
            let mut state = self.state();
            if state.files.len() >= self.limits.entries {
                return Err(BatchesError::TooMany { what: "files", max: self.limits.entries });
            }
            self.check_room(&state, bytes.len() as u64)?;
            let file = FileObject {
                id: format!("file-{digits}"),
                bytes: bytes.len() as u64,
                created_at: now(),
                filename: filename.to_owned(),
                purpose: INPUT.to_owned(),
                owner: owner.map(str::to_owned),
                number: state.take_number(),
            };
            // Its bytes count while they are written, which others need not wait for.
            state.files.insert(file.id.clone(), file.clone());
            file
        };
        if let Err(error) = self.folder.write_file(&file, bytes) {
            self.state().files.remove(&file.id);
            return Err(error);
        }
        Ok(file)
    }

    fn check_room(&self, state: &State, more: u64) -> Result<(), BatchesError> {
        let used: u64 = state.files.values().map(|file| file.bytes).sum();
        let max = self.limits.total_bytes;
        let fits = used + state.running_bytes + more <= max;
        if fits { Ok(()) } else { Err(BatchesError::Full { max }) }
    }

    /// All files of an owner, the newest first.
    pub fn files(&self, owner: Option<&str>) -> Vec<FileObject> {
        let state = self.state();
        let own = state.files.values().filter(|file| file.owner.as_deref() == owner);
        let mut files: Vec<FileObject> = own.cloned().collect();
        files.sort_by_key(|file| std::cmp::Reverse(file.number));
        files
    }

    /// A file of an owner.
    pub fn file(&self, owner: Option<&str>, id: &str) -> Result<FileObject, BatchesError> {
        let state = self.state();
        let file = state.files.get(id).filter(|file| file.owner.as_deref() == owner);
        file.cloned().ok_or_else(|| not_found("file", id))
    }

    /// What is in a file of an owner.
    pub fn content(&self, owner: Option<&str>, id: &str) -> Result<File, BatchesError> {
        let path = self.folder.content(&self.file(owner, id)?.id);
        File::open(&path).map_err(BatchesError::at(&path))
    }

    /// Deletes a file of an owner, unless a batch needs it.
    pub fn delete_file(&self, owner: Option<&str>, id: &str) -> Result<(), BatchesError> {
        let file = self.file(owner, id)?;
        let mut state = self.state();
        let mut unfinished = state.batches.values().filter(|batch| !batch.status.is_final());
        if let Some(batch) = unfinished.find(|batch| batch.input_file_id == file.id) {
            return Err(BatchesError::InUse { batch: batch.id.clone() });
        }
        self.folder.delete_file(&file.id)?;
        state.files.remove(&file.id);
        Ok(())
    }

    /// Begins a batch when it is its turn.
    pub fn add_batch(&self, owner: Option<&str>, new: NewBatch) -> Result<BatchObject, BatchesError> {
        let input = self.file(owner, &new.input_file_id)?;
        if input.purpose != INPUT {
            return Err(BatchesError::WrongPurpose);
        }
        let digits = draw_digits(Path::new("batches"))?;
        let mut state = self.state();
        self.make_room(&mut state)?;
        let batch = BatchObject {
            id: format!("batch_{digits}"),
            endpoint: new.endpoint,
            input_file_id: input.id,
            completion_window: new.completion_window,
            status: Status::Validating,
            output_file_id: None,
            error_file_id: None,
            created_at: now(),
            times: BatchTimes::default(),
            counts: Counts::default(),
            metadata: new.metadata,
            errors: Vec::new(),
            owner: owner.map(str::to_owned),
            fingerprint: None,
            number: state.take_number(),
        };
        self.folder.keep_batch(&batch)?;
        state.batches.insert(batch.id.clone(), batch.clone());
        self.new.notify_all();
        Ok(batch)
    }

    /// Forgets the oldest batch that has ended, if as many are kept as may be. Its files stay.
    fn make_room(&self, state: &mut State) -> Result<(), BatchesError> {
        if state.batches.len() < self.limits.entries {
            return Ok(());
        }
        let ended = state.batches.values().filter(|batch| batch.status.is_final());
        let Some(oldest) = ended.min_by_key(|batch| batch.number).map(|batch| batch.id.clone()) else {
            return Err(BatchesError::TooMany { what: "batches", max: self.limits.entries });
        };
        self.folder.delete_batch(&oldest)?;
        state.batches.remove(&oldest);
        Ok(())
    }

    /// All batches of an owner, the newest first.
    pub fn batches(&self, owner: Option<&str>) -> Vec<BatchObject> {
        let state = self.state();
        let own = state.batches.values().filter(|batch| batch.owner.as_deref() == owner);
        let mut batches: Vec<BatchObject> = own.cloned().collect();
        batches.sort_by_key(|batch| std::cmp::Reverse(batch.number));
        batches
    }

    /// A batch of an owner.
    pub fn batch(&self, owner: Option<&str>, id: &str) -> Result<BatchObject, BatchesError> {
        let state = self.state();
        let batch = state.batches.get(id).filter(|batch| batch.owner.as_deref() == owner);
        batch.cloned().ok_or_else(|| not_found("batch", id))
    }

    /// Has a batch of an owner end early. One that was not begun has ended then.
    pub fn cancel(&self, owner: Option<&str>, id: &str) -> Result<BatchObject, BatchesError> {
        let batch = self.batch(owner, id)?;
        self.change(&batch.id, |batch| {
            match batch.status {
                Status::Cancelling => {}
                status if status.is_final() => return Err(BatchesError::Ended),
                Status::Validating if batch.times.in_progress_at.is_none() => {
                    (batch.times.cancelling_at, batch.times.cancelled_at) = (Some(now()), Some(now()));
                    batch.status = Status::Cancelled;
                }
                _ => {
                    batch.times.cancelling_at = Some(now());
                    batch.status = Status::Cancelling;
                }
            }
            Ok(())
        })
    }

    /// Changes a batch, and keeps the change.
    pub(super) fn change(
        &self,
        id: &str,
        change: impl FnOnce(&mut BatchObject) -> Result<(), BatchesError>,
    ) -> Result<BatchObject, BatchesError> {
        let mut state = self.state();
        let mut batch = state.batches.get(id).cloned().ok_or_else(|| not_found("batch", id))?;
        change(&mut batch)?;
        self.folder.keep_batch(&batch)?;
        state.batches.insert(batch.id.clone(), batch.clone());
        Ok(batch)
    }

    /// Counts lines of the batch that runs, and the bytes that it has written. This is not kept:
    /// whoever goes on with a batch counts anew. Whether the batch should go on.
    pub(super) fn count(&self, id: &str, counts: Counts, written_bytes: u64) -> Result<bool, BatchesError> {
        let mut state = self.state();
        state.running_bytes = written_bytes;
        self.check_room(&state, 0)?;
        let Some(batch) = state.batches.get_mut(id) else { return Ok(false) };
        batch.counts = counts;
        Ok(batch.status == Status::InProgress)
    }

    /// Whether a batch runs, and should.
    pub(super) fn is_wanted(&self, id: &str) -> bool {
        self.state().batches.get(id).is_some_and(|batch| batch.status == Status::InProgress)
    }

    /// Ends a batch with its outputs, as far as there are any.
    pub(super) fn put_away(&self, batch: &BatchObject) -> Result<[Option<String>; 2], BatchesError> {
        let (output, errors) = batch.output_ids();
        let mut kept = [None, None];
        for (id, kept) in [output, errors].into_iter().zip(&mut kept) {
            let path = self.folder.content(&id);
            let bytes = path.metadata().map_or(0, |metadata| metadata.len());
            if bytes == 0 {
                self.folder.delete_file(&id)?;
                continue;
            }
            let mut state = self.state();
            let file = FileObject {
                filename: format!("{id}.jsonl"),
                id,
                bytes,
                created_at: now(),
                purpose: OUTPUT.to_owned(),
                owner: batch.owner.clone(),
                number: state.take_number(),
            };
            self.folder.keep_file(&file)?;
            *kept = Some(file.id.clone());
            state.files.insert(file.id.clone(), file);
        }
        self.state().running_bytes = 0;
        Ok(kept)
    }

    /// Where the bytes of a file lie that is known to be there.
    pub(super) fn content_path(&self, id: &str) -> std::path::PathBuf {
        self.folder.content(id)
    }

    /// The oldest batch that has not ended; waits some time for one.
    pub(super) fn wait_for_batch(&self, limit: Duration) -> Option<BatchObject> {
        let oldest = |state: &State| {
            let unfinished = state.batches.values().filter(|batch| !batch.status.is_final());
            unfinished.min_by_key(|batch| batch.number).cloned()
        };
        let state = self.state();
        if let Some(batch) = oldest(&state) {
            return Some(batch);
        }
        let (state, _) = self.new.wait_timeout(state, limit).unwrap_or_else(PoisonError::into_inner);
        oldest(&state)
    }
}

impl State {
    fn take_number(&mut self) -> u64 {
        self.next_number += 1;
        self.next_number - 1
    }
}
