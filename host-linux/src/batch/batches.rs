//! What can be done with batches. Each is seen only with the API key that it was sent with.
//!
//! Two locks: whoever changes something holds `changing` from when it looks until what has changed
//! is on the disk; `state` is held only while memory is read or written. So nothing that was looked
//! at is gone when it is acted upon, and nobody who only asks waits for the disk.
use super::error::{BatchLimits, BatchesError};
use super::folder::Folder;
use super::journal::cut_torn_line;
use super::object::{BatchObject, BatchTimes, Counts, FileObject, Left, Status};
use super::state::State;
use super::turns::{Owner, TurnRules};
use crate::sys::entropy::draw_seed;
use serde_json::{Map, Value};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

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

/// The files and batches of a server.
#[derive(Debug)]
pub struct Batches {
    pub(super) folder: Folder,
    /// What is bounded of it.
    pub limits: BatchLimits,
    changing: Mutex<()>,
    state: Mutex<State>,
    /// Told when a batch may be able to run.
    news: Condvar,
}

/// A batch whose turn it is; it ends when this is dropped.
#[derive(Debug)]
pub(super) struct Turn<'b> {
    batches: &'b Batches,
    /// The id of the batch.
    pub(super) id: String,
    owner: Owner,
    begun: Instant,
    /// How long the owner rests when the turn has ended.
    pub(super) rest: Duration,
}

/// The time now, in seconds since 1970.
pub(super) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// Hexadecimal digits that nobody guesses.
pub(super) fn draw_digits(folder: &Path) -> Result<String, BatchesError> {
    let draw = || io::Result::Ok(format!("{:012x}{:012x}", draw_seed()? >> 5, draw_seed()? >> 5));
    draw().map_err(BatchesError::at(folder))
}

pub(super) fn not_found(what: &'static str, id: &str) -> BatchesError {
    BatchesError::NotFound { what, id: crate::text::quote::quote(id) }
}

impl Batches {
    /// Opens a folder of batches. What its owner should know of it comes along, a sentence each.
    pub fn open(path: &Path, limits: BatchLimits) -> Result<(Self, Vec<String>), BatchesError> {
        let folder = Folder::open(path)?;
        let (contents, notes) = folder.read()?;
        let mut state = State { files: contents.files, batches: contents.batches, ..State::default() };
        let files = state.files.values().map(|file| file.number);
        let numbers = files.chain(state.batches.values().map(|batch| batch.number));
        state.next_number = numbers.max().map_or(0, |number| number + 1);
        for batch in state.batches.values().filter(|batch| !batch.status.is_final()) {
            let length = |id: String| folder.content(&id).metadata().map_or(0, |metadata| metadata.len());
            let (output, errors) = batch.output_ids();
            state.written.insert(batch.id.clone(), length(output) + length(errors));
        }
        let (changing, news) = (Mutex::default(), Condvar::new());
        Ok((Self { folder, limits, changing, state: Mutex::new(state), news }, notes))
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets nobody else change anything for as long as the guard lives.
    pub(super) fn changing(&self) -> MutexGuard<'_, ()> {
        self.changing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins a batch when it is its turn.
    pub fn add_batch(&self, owner: Option<&str>, new: NewBatch) -> Result<BatchObject, BatchesError> {
        let digits = draw_digits(Path::new("batches"))?;
        let _changing = self.changing();
        let input = self.file(owner, &new.input_file_id)?;
        if input.purpose != INPUT {
            return Err(BatchesError::WrongPurpose);
        }
        let (forgotten, number) = {
            let mut state = self.state();
            (state.to_forget(owner, &self.limits)?, state.take_number())
        };
        // Its files stay.
        if let Some(forgotten) = forgotten {
            self.folder.delete_batch(&forgotten)?;
            self.state().batches.remove(&forgotten);
        }
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
            number,
        };
        self.folder.keep_batch(&batch)?;
        self.state().batches.insert(batch.id.clone(), batch.clone());
        self.news.notify_all();
        Ok(batch)
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
        let batch = self.any_batch(id).filter(|batch| batch.owner.as_deref() == owner);
        batch.ok_or_else(|| not_found("batch", id))
    }

    /// A batch of whatever owner.
    pub(super) fn any_batch(&self, id: &str) -> Option<BatchObject> {
        self.state().batches.get(id).cloned()
    }

    /// Has a batch of an owner end early. One that was not begun has ended then.
    pub fn cancel(&self, owner: Option<&str>, id: &str) -> Result<BatchObject, BatchesError> {
        let batch = self.change(id, |batch| {
            if batch.owner.as_deref() != owner {
                return Err(not_found("batch", id));
            }
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
        })?;
        self.news.notify_all();
        Ok(batch)
    }

    /// Changes a batch, and keeps the change.
    pub(super) fn change(
        &self,
        id: &str,
        change: impl FnOnce(&mut BatchObject) -> Result<(), BatchesError>,
    ) -> Result<BatchObject, BatchesError> {
        let _changing = self.changing();
        let before = self.any_batch(id).ok_or_else(|| not_found("batch", id))?;
        let mut batch = before.clone();
        change(&mut batch)?;
        self.folder.keep_batch(&batch)?;
        let mut state = self.state();
        if batch.status.is_final() {
            state.written.remove(id);
        }
        if batch.counts == before.counts {
            // The lines that were counted in the meantime stay counted.
            batch.counts = state.batches.get(id).map_or(before.counts, |batch| batch.counts);
        }
        state.batches.insert(batch.id.clone(), batch.clone());
        Ok(batch)
    }

    /// Counts lines of a batch that runs, and the bytes that it has written. This is not kept:
    /// whoever goes on with a batch counts anew. An error says that there is no room for more.
    pub(super) fn count(&self, id: &str, counts: Counts, written_bytes: u64) -> Result<(), BatchesError> {
        let mut state = self.state();
        state.written.insert(id.to_owned(), written_bytes);
        let Some(batch) = state.batches.get_mut(id) else { return Ok(()) };
        batch.counts = counts;
        let owner = batch.owner.clone();
        state.check_bytes(owner.as_deref(), 0, &self.limits)
    }

    /// Whether a batch runs, and should.
    pub(super) fn is_wanted(&self, id: &str) -> bool {
        self.state().batches.get(id).is_some_and(|batch| batch.status == Status::InProgress)
    }

    /// Keeps the outputs of a batch as files, as far as there are any. They have whole lines only.
    pub(super) fn put_away(&self, batch: &BatchObject) -> Result<Left, BatchesError> {
        let (output, errors) = batch.output_ids();
        let (output, output_lines) = self.put_output_away(batch, output)?;
        let (errors, error_lines) = self.put_output_away(batch, errors)?;
        self.state().written.remove(&batch.id);
        Ok(Left { output, errors, lines: [output_lines, error_lines] })
    }

    fn put_output_away(
        &self,
        batch: &BatchObject,
        id: String,
    ) -> Result<(Option<String>, usize), BatchesError> {
        let path = self.folder.content(&id);
        let (lines, bytes) = cut_torn_line(&path).map_err(BatchesError::at(&path))?;
        let _changing = self.changing();
        if bytes == 0 {
            self.folder.delete_file(&id)?;
            return Ok((None, 0));
        }
        let file = FileObject {
            filename: format!("{id}.jsonl"),
            id: id.clone(),
            bytes,
            created_at: now(),
            purpose: OUTPUT.to_owned(),
            owner: batch.owner.clone(),
            number: self.state().take_number(),
        };
        self.folder.keep_file(&file)?;
        self.state().files.insert(id.clone(), file);
        Ok((Some(id), lines))
    }

    /// Where the bytes of a file lie that is known to be there.
    pub(super) fn content_path(&self, id: &str) -> PathBuf {
        self.folder.content(id)
    }

    /// A batch whose turn it is; waits some time for one.
    pub(super) fn wait_for_turn(&self, rules: &TurnRules, limit: Duration) -> Option<Turn<'_>> {
        let take = |state: &mut State| {
            if state.turns.are_taken(rules.abreast) {
                return None;
            }
            let batch = state.turns.next(state.batches.values(), Instant::now())?;
            let (id, owner) = (batch.id.clone(), batch.owner.clone());
            state.turns.begin(&owner);
            Some(Turn { batches: self, id, owner, begun: Instant::now(), rest: Duration::ZERO })
        };
        let mut state = self.state();
        if let Some(turn) = take(&mut state) {
            return Some(turn);
        }
        let (mut state, _) = self.news.wait_timeout(state, limit).unwrap_or_else(PoisonError::into_inner);
        take(&mut state)
    }
}

impl Turn<'_> {
    /// Whether the batch should let another one run: it has had its time, or only waits for leave.
    pub(super) fn is_over(&self, rules: &TurnRules, is_idle: bool) -> bool {
        if !is_idle && self.begun.elapsed() < rules.time {
            return false;
        }
        let state = self.batches.state();
        let others = state.turns.next(state.batches.values(), Instant::now());
        state.turns.are_taken(rules.abreast) && others.is_some()
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.batches.state().turns.end(&self.owner, Instant::now() + self.rest);
        self.batches.news.notify_all();
    }
}
