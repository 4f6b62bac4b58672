//! The threads that run batches: each runs one batch of an owner when it is its turn, and goes on
//! with it until it has ended, or others should come to their turn.
use super::answerer::{Answerer, BatchSender};
use super::batches::{Batches, Turn, now};
use super::entry::Entry;
use super::error::BatchesError;
use super::input::Input;
use super::journal::Journal;
use super::object::{BatchError, BatchObject, Counts, Status};
use super::resume::resume;
use super::run::{Outcome, RunError, Sink, Wanted, run};
use super::slots::{Lane, Slots};
use super::turns::TurnRules;
use crate::sys::priority::lower_this_thread;
use std::fs::File;
use std::io::{self, BufReader};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread::Builder;
use std::time::Duration;

/// How often a worker without work asks whether the server ends.
const ASK_EVERY: Duration = Duration::from_millis(200);
/// How long a batch rests that could not go on for a reason that may pass.
const RETRY_AFTER: Duration = Duration::from_secs(1);
/// Errors of lines that a batch tells, at most.
const ERRORS_MAX: usize = 50;

/// How batches are run.
pub struct Worker<'w> {
    /// The batches to run.
    pub batches: &'w Batches,
    /// Who answers their lines.
    pub answerer: &'w dyn Answerer,
    /// Lines in flight, at most, of all batches together.
    pub in_flight: usize,
    /// Bytes of a line, at most.
    pub line_bytes: usize,
    /// How owners take turns.
    pub rules: TurnRules,
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
    /// It can go on when it has rested for this long.
    Later(Duration),
}

impl From<BatchesError> for Failure {
    fn from(error: BatchesError) -> Self {
        let code = if matches!(error, BatchesError::Full { .. }) { "storage_full" } else { "storage_error" };
        Self::Batch(BatchError::whole(code, error.told()))
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
        let slots = Slots::new(self.in_flight);
        std::thread::scope(|scope| {
            while !(self.is_ending)() {
                let Some(turn) = self.batches.wait_for_turn(&self.rules, ASK_EVERY) else { continue };
                let slots = &slots;
                let builder = Builder::new().name("verbatim-batch".to_owned());
                if builder.spawn_scoped(scope, move || self.take_turn(turn, slots)).is_err() {
                    // The system has no thread to spare; the turn was given back.
                    std::thread::sleep(ASK_EVERY);
                }
            }
        });
    }

    /// Goes on with the batch whose turn it is. A panic is told as the error of the batch.
    fn take_turn(&self, mut turn: Turn<'_>, slots: &Slots) {
        lower_this_thread();
        // What was to be told and was not is told later.
        turn.rest = RETRY_AFTER;
        let went = catch_unwind(AssertUnwindSafe(|| self.go_on(&turn, &slots.lane())));
        let failed = match went {
            Ok(Ok(())) => {
                turn.rest = Duration::ZERO;
                return;
            }
            Ok(Err(Failure::Later(rest))) => {
                turn.rest = rest;
                return;
            }
            Ok(Err(Failure::Batch(error))) => error,
            Err(_) => {
                let message = "an internal error was reported on the server's standard error";
                BatchError::whole("internal_error", message)
            }
        };
        let told = catch_unwind(AssertUnwindSafe(|| self.fail(&turn.id, vec![failed])));
        if matches!(told, Ok(Ok(()))) {
            turn.rest = Duration::ZERO;
        }
    }

    /// Ends a batch as failed. What was answered of it is kept.
    fn fail(&self, id: &str, errors: Vec<BatchError>) -> Result<(), BatchesError> {
        let Some(batch) = self.batches.any_batch(id) else { return Ok(()) };
        let left = self.batches.put_away(&batch)?;
        self.batches.change(id, |batch| {
            if batch.status.is_final() {
                return Ok(());
            }
            batch.keep(left);
            (batch.status, batch.times.failed_at) = (Status::Failed, Some(now()));
            batch.errors = errors;
            Ok(())
        })?;
        Ok(())
    }

    /// Brings a batch to its end, or as far as its turn goes.
    fn go_on(&self, turn: &Turn<'_>, lane: &Lane<'_>) -> Result<(), Failure> {
        loop {
            let batch = self.batches.any_batch(&turn.id).filter(|batch| !batch.status.is_final());
            let Some(batch) = batch else { return Ok(()) };
            if (self.is_ending)() {
                return Err(Failure::Later(RETRY_AFTER));
            }
            match batch.status {
                Status::Validating => self.validate(&batch)?,
                Status::InProgress => self.answer(&batch, turn, lane)?,
                Status::Finalizing => self.finish(&batch, Status::Completed)?,
                Status::Cancelling => self.finish(&batch, Status::Cancelled)?,
                Status::Completed | Status::Failed | Status::Cancelled => return Ok(()),
            }
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
                return Err(Failure::Later(RETRY_AFTER));
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
            return Ok(self.fail(&batch.id, errors)?);
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
    fn answer(&self, batch: &BatchObject, turn: &Turn<'_>, lane: &Lane<'_>) -> Result<(), Failure> {
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
        let from = BatchSender { owner: batch.owner.clone(), created: batch.created_at };
        let mut sink =
            Outputs { worker: self, turn, output, errors, counts, failure: None, steps_aside: None };
        let outcome = run(&mut input, self.answerer, &from, lane, &mut sink);
        let Outputs { output, errors, counts, failure, steps_aside, .. } = sink;
        if let Some(error) = failure {
            return Err(error.into());
        }
        match outcome {
            Ok(Outcome::Whole) => {}
            Ok(Outcome::Stopped) => return Err(Failure::Later(steps_aside.unwrap_or(ASK_EVERY))),
            Err(error) => return Err(self.failure(error)),
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

    /// What an error of a run means for its batch.
    fn failure(&self, error: RunError) -> Failure {
        let failed = |code: &str, message: &str| Failure::Batch(BatchError::whole(code, message));
        match error {
            RunError::Input(error) | RunError::Output(error) => error.into(),
            RunError::Threads(_) => Failure::Later(RETRY_AFTER),
            RunError::Refused(code, message) => failed(code, &message),
            RunError::Panicked => {
                failed("internal_error", "an internal error was reported on the server's standard error")
            }
            RunError::Failed(reason) => {
                // A server whose engine has ended is about to end; started again, it goes on.
                std::thread::sleep(ASK_EVERY);
                if (self.is_ending)() {
                    return Failure::Later(RETRY_AFTER);
                }
                failed("engine_stopped", &format!("nothing is answered any more: {reason}"))
            }
        }
    }

    /// Puts the outputs of a batch away.
    fn finish(&self, batch: &BatchObject, status: Status) -> Result<(), Failure> {
        let left = self.batches.put_away(batch)?;
        self.batches.change(&batch.id, |batch| {
            batch.keep(left);
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

/// The outputs of a batch that runs.
struct Outputs<'o, 'w> {
    worker: &'o Worker<'w>,
    turn: &'o Turn<'o>,
    output: Journal,
    errors: Journal,
    counts: Counts,
    /// Why no more can be written.
    failure: Option<BatchesError>,
    /// How long the batch rests, once it lets another one run.
    steps_aside: Option<Duration>,
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
        if let Err(error) = self.worker.batches.count(&self.turn.id, self.counts, bytes) {
            self.failure = Some(error);
        }
        Ok(())
    }

    fn wants(&mut self, is_idle: bool) -> Wanted {
        let Worker { batches, rules, is_ending, .. } = self.worker;
        if self.failure.is_some() || is_ending() || !batches.is_wanted(&self.turn.id) {
            return Wanted::Nothing;
        }
        if self.steps_aside.is_none() && self.turn.is_over(rules, is_idle) {
            self.steps_aside = Some(if is_idle { rules.rest } else { Duration::ZERO });
        }
        if self.steps_aside.is_some() { Wanted::Begun } else { Wanted::All }
    }
}

#[cfg(test)]
mod tests;
