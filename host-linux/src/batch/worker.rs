//! The thread that runs batches, one after another in the order in which they came.
use super::answerer::{Answerer, BatchSender};
use super::batches::{Batches, now};
use super::entry::Entry;
use super::error::BatchesError;
use super::input::Input;
use super::journal::Journal;
use super::object::{BatchError, BatchObject, Counts, Status};
use super::resume::resume;
use super::run::{Outcome, RunError, Sink, run};
use std::fs::File;
use std::io::{self, BufReader};
use std::time::Duration;

/// How often a worker without work asks whether the server ends.
const ASK_EVERY: Duration = Duration::from_millis(200);
/// Errors of lines that a batch tells, at most.
const ERRORS_MAX: usize = 50;

/// How a worker runs a batch.
pub struct Worker<'w> {
    /// The batches that it runs.
    pub batches: &'w Batches,
    /// Who answers their lines.
    pub answerer: &'w dyn Answerer,
    /// Lines in flight, at most.
    pub in_flight: usize,
    /// Bytes of a line, at most.
    pub line_bytes: usize,
    /// Whether it must end, since the server does.
    pub is_ending: &'w (dyn Fn() -> bool + Sync),
}

impl std::fmt::Debug for Worker<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Worker").field("in_flight", &self.in_flight).finish_non_exhaustive()
    }
}

/// Why a batch does not go on.
enum Failure {
    /// It can never be done, for this reason.
    Batch(BatchError),
    /// It can go on at another time.
    Later,
}

impl From<BatchesError> for Failure {
    fn from(error: BatchesError) -> Self {
        let code = if matches!(error, BatchesError::Full { .. }) { "storage_full" } else { "storage_error" };
        Self::Batch(BatchError::whole(code, error.to_string()))
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Batch(BatchError::whole("storage_error", error.to_string()))
    }
}

impl Worker<'_> {
    /// Runs batches until the server ends.
    pub fn work(&self) {
        while !(self.is_ending)() {
            let Some(batch) = self.batches.wait_for_batch(ASK_EVERY) else { continue };
            match self.go_on(&batch) {
                Ok(()) => {}
                Err(Failure::Later) => std::thread::sleep(ASK_EVERY),
                Err(Failure::Batch(error)) => self.fail(&batch, vec![error]),
            }
        }
    }

    /// Ends a batch as failed. What was answered of it is kept.
    fn fail(&self, batch: &BatchObject, errors: Vec<BatchError>) {
        let outputs = self.batches.put_away(batch).unwrap_or_default();
        let failed = self.batches.change(&batch.id, |batch| {
            if batch.status.is_final() {
                return Ok(());
            }
            [batch.output_file_id, batch.error_file_id] = outputs;
            (batch.status, batch.times.failed_at) = (Status::Failed, Some(now()));
            batch.errors = errors;
            Ok(())
        });
        if failed.is_err() {
            // A folder that cannot be written may be writable later.
            std::thread::sleep(ASK_EVERY);
        }
    }

    /// Brings a batch as far as it can be.
    fn go_on(&self, batch: &BatchObject) -> Result<(), Failure> {
        match batch.status {
            Status::Validating => self.validate(batch),
            Status::InProgress => self.answer(batch),
            Status::Finalizing => self.finish(batch, Status::Completed),
            Status::Cancelling => self.finish(batch, Status::Cancelled),
            Status::Completed | Status::Failed | Status::Cancelled => Ok(()),
        }
    }

    fn input(&self, batch: &BatchObject) -> Result<Input<'_, BufReader<File>>, Failure> {
        let path = self.batches.content_path(&batch.input_file_id);
        let file = File::open(&path).map_err(BatchesError::at(&path))?;
        Ok(Input::new(BufReader::new(file), self.line_bytes, self.answerer))
    }

    /// Looks at all lines of a batch before any of them is answered.
    fn validate(&self, batch: &BatchObject) -> Result<(), Failure> {
        let (mut input, mut errors, mut total) = (self.input(batch)?, Vec::new(), 0);
        let max = self.batches.limits.lines;
        while let Some(task) = input.next_task()? {
            if (self.is_ending)() {
                return Err(Failure::Later);
            }
            total += 1;
            match task.request {
                Err(error) => errors.push(BatchError::of_line(task.number, &error)),
                Ok(request) if request.url != batch.endpoint => errors.push(BatchError {
                    code: "mismatched_url".to_owned(),
                    line: Some(task.number),
                    message: format!("the url is not that of the batch, {}", batch.endpoint),
                    param: Some("url".to_owned()),
                }),
                Ok(_) => {}
            }
            if total > max {
                errors.insert(
                    0,
                    BatchError::whole("too_many_lines", format!("a batch has {max} lines at most")),
                );
            }
            if total > max || errors.len() == ERRORS_MAX {
                break;
            }
        }
        if total == 0 {
            errors.push(BatchError::whole("empty_file", "the file has no lines"));
        }
        if !errors.is_empty() {
            self.fail(batch, errors);
            return Ok(());
        }
        self.batches.change(&batch.id, |batch| {
            // It may have been cancelled in the meantime.
            if batch.status == Status::Validating {
                (batch.status, batch.times.in_progress_at) = (Status::InProgress, Some(now()));
                batch.counts.total = total;
            }
            Ok(())
        })?;
        Ok(())
    }

    /// Answers the lines of a batch from the first one that has no answer yet.
    fn answer(&self, batch: &BatchObject) -> Result<(), Failure> {
        let (output, errors) = batch.output_ids();
        let open = |id: &str| {
            let path = self.batches.content_path(id);
            Journal::open(&path).map_err(BatchesError::at(&path))
        };
        let (mut output, mut errors) = (open(&output)?, open(&errors)?);
        let mut input = self.input(batch)?;
        let mut counts = Counts { total: batch.counts.total, ..Counts::default() };
        // Answers of another model are thrown away: those of a batch belong together.
        let fingerprint = self.answerer.fingerprint();
        if batch.fingerprint.as_deref().is_none_or(|before| before == fingerprint) {
            let resumed = resume(&mut input, &mut [&mut output, &mut errors])?;
            (counts.completed, counts.failed) = (resumed.lines - resumed.failed, resumed.failed);
        }
        output.cut()?;
        errors.cut()?;
        self.batches.change(&batch.id, |batch| {
            batch.fingerprint = Some(fingerprint.to_owned());
            batch.counts = counts;
            Ok(())
        })?;
        let from = BatchSender { key: batch.owner.clone(), created: batch.created_at };
        let mut sink = Outputs { worker: self, id: &batch.id, output, errors, counts, failure: None };
        let outcome = run(&mut input, self.answerer, &from, self.in_flight, &mut sink);
        let Outputs { output, errors, counts, failure, .. } = sink;
        if let Some(error) = failure {
            return Err(error.into());
        }
        match outcome {
            Ok(Outcome::Whole) => {}
            Ok(Outcome::Stopped) | Err(RunError::Failed(_)) => return Err(Failure::Later),
            Err(RunError::Input(error) | RunError::Output(error)) => return Err(error.into()),
        }
        output.sync()?;
        errors.sync()?;
        self.batches.change(&batch.id, |batch| {
            if batch.status == Status::InProgress {
                (batch.status, batch.times.finalizing_at) = (Status::Finalizing, Some(now()));
            }
            batch.counts = counts;
            Ok(())
        })?;
        Ok(())
    }

    /// Puts the outputs of a batch away.
    fn finish(&self, batch: &BatchObject, status: Status) -> Result<(), Failure> {
        let outputs = self.batches.put_away(batch)?;
        self.batches.change(&batch.id, |batch| {
            [batch.output_file_id, batch.error_file_id] = outputs;
            batch.status = status;
            match status {
                Status::Cancelled => batch.times.cancelled_at = Some(now()),
                _ => batch.times.completed_at = Some(now()),
            }
            Ok(())
        })?;
        Ok(())
    }
}

/// The outputs of the batch that runs.
struct Outputs<'o, 'w> {
    worker: &'o Worker<'w>,
    id: &'o str,
    output: Journal,
    errors: Journal,
    counts: Counts,
    /// Why no more can be written.
    failure: Option<BatchesError>,
}

impl Sink for Outputs<'_, '_> {
    fn take(&mut self, entry: &Entry) -> io::Result<()> {
        if entry.is_error {
            self.counts.failed += 1;
            self.errors.append(entry)?;
        } else {
            self.counts.completed += 1;
            self.output.append(entry)?;
        }
        let bytes = self.output.bytes() + self.errors.bytes();
        if let Err(error) = self.worker.batches.count(self.id, self.counts, bytes) {
            self.failure = Some(error);
        }
        Ok(())
    }

    fn is_wanted(&mut self) -> bool {
        self.failure.is_none() && !(self.worker.is_ending)() && self.worker.batches.is_wanted(self.id)
    }
}
