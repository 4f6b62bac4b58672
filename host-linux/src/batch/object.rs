//! Files and batches, as they are kept, and as the API shows them.
use super::answerer::LineError;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

/// A file that was sent, or that a batch has made.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct FileObject {
    /// Its id, `file-` and hexadecimal digits.
    pub id: String,
    /// Its length in bytes.
    pub bytes: u64,
    /// When it came, in seconds since 1970.
    pub created_at: u64,
    /// Its name, as its sender wrote it.
    pub filename: String,
    /// What it is for: `batch`, or `batch_output` of one that a batch has made.
    pub purpose: String,
    /// The owner of the API key that it was sent with, who alone may see it.
    pub owner: Option<String>,
    /// Files and batches are numbered as they come.
    pub number: u64,
}

impl FileObject {
    /// The file as the API shows it.
    pub fn shown(&self) -> Value {
        json!({
            "id": self.id, "object": "file", "bytes": self.bytes, "created_at": self.created_at,
            "filename": self.filename, "purpose": self.purpose, "status": "processed",
            "expires_at": null, "status_details": null,
        })
    }
}

/// How far a batch is.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// It waits for its turn, or its file is looked at.
    Validating,
    /// Its lines are answered.
    InProgress,
    /// Its outputs are put away.
    Finalizing,
    /// All its lines were answered, with errors or without.
    Completed,
    /// It could not be begun, or not go on.
    Failed,
    /// It is about to be cancelled.
    Cancelling,
    /// It was cancelled; what was answered until then is kept.
    Cancelled,
}

impl Status {
    /// Whether nothing more happens to the batch.
    pub fn is_final(self) -> bool {
        matches!(self, Self::Completed | Self::Failed | Self::Cancelled)
    }

    /// Whether the batch is to end without its rest.
    pub fn is_cancelling(self) -> bool {
        self == Self::Cancelling
    }
}

/// When a batch came how far, in seconds since 1970.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
pub struct BatchTimes {
    /// When its first line was begun.
    pub in_progress_at: Option<u64>,
    /// When its last line was answered.
    pub finalizing_at: Option<u64>,
    /// When it was done.
    pub completed_at: Option<u64>,
    /// When it was found that it cannot be done.
    pub failed_at: Option<u64>,
    /// When it was to be cancelled.
    pub cancelling_at: Option<u64>,
    /// When it was cancelled.
    pub cancelled_at: Option<u64>,
}

/// Lines of a batch.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// All lines of its file.
    pub total: usize,
    /// Those that were answered.
    pub completed: usize,
    /// Those that were answered with an error.
    pub failed: usize,
}

/// What is wrong with a batch, at a line of its file.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub struct BatchError {
    /// A word that programs can compare.
    pub code: String,
    /// The number of the line, from 1; none if no line is to blame.
    pub line: Option<usize>,
    /// What is wrong, in a sentence.
    pub message: String,
    /// The name of the field that is to blame, if one is.
    pub param: Option<String>,
}

impl BatchError {
    /// An error that no line is to blame for.
    pub fn whole(code: &str, message: impl Into<String>) -> Self {
        Self { code: code.to_owned(), line: None, message: message.into(), param: None }
    }

    /// The error of a line.
    pub fn of_line(line: usize, error: &LineError) -> Self {
        let param = error.param.map(str::to_owned);
        Self { code: error.code.to_owned(), line: Some(line), message: error.message.clone(), param }
    }
}

/// The files that a batch has left, and how many lines they have.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Left {
    /// The id of the file of its answers, if there are any.
    pub output: Option<String>,
    /// The id of the file of its errors, if there are any.
    pub errors: Option<String>,
    /// Lines of the first and of the second.
    pub lines: [usize; 2],
}

/// A batch of requests, and how far it is.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct BatchObject {
    /// Its id, `batch_` and hexadecimal digits.
    pub id: String,
    /// The endpoint that all its lines are for.
    pub endpoint: String,
    /// The file with its lines.
    pub input_file_id: String,
    /// When it should be done, as its sender wrote it.
    pub completion_window: String,
    /// How far it is.
    pub status: Status,
    /// The file of its answers, once it has ended and if there are any.
    pub output_file_id: Option<String>,
    /// The file of its errors, once it has ended and if there are any.
    pub error_file_id: Option<String>,
    /// When it came, in seconds since 1970.
    pub created_at: u64,
    /// When it came how far.
    pub times: BatchTimes,
    /// How many of its lines were answered.
    pub counts: Counts,
    /// Notes of its sender.
    pub metadata: Option<Map<String, Value>>,
    /// What is wrong with it.
    pub errors: Vec<BatchError>,
    /// The owner of the API key that it was sent with, who alone may see it.
    pub owner: Option<String>,
    /// The fingerprint of the model that has answered lines of it.
    pub fingerprint: Option<String>,
    /// Files and batches are numbered as they come.
    pub number: u64,
}

/// The id of the file of a batch's answers, and of that of its errors.
pub fn output_ids(batch_id: &str) -> (String, String) {
    let digits = batch_id.trim_start_matches("batch_");
    (format!("file-{digits}-output"), format!("file-{digits}-errors"))
}

impl BatchObject {
    /// The id of the file of its answers, and of that of its errors.
    pub fn output_ids(&self) -> (String, String) {
        output_ids(&self.id)
    }

    /// Notes the files that the batch has left, and counts their lines.
    pub fn keep(&mut self, left: Left) {
        [self.counts.completed, self.counts.failed] = left.lines;
        (self.output_file_id, self.error_file_id) = (left.output, left.errors);
    }

    /// The batch as the API shows it.
    pub fn shown(&self) -> Value {
        let BatchTimes {
            in_progress_at,
            finalizing_at,
            completed_at,
            failed_at,
            cancelling_at,
            cancelled_at,
        } = self.times;
        let errors = (!self.errors.is_empty()).then(|| json!({"object": "list", "data": self.errors}));
        json!({
            "id": self.id, "object": "batch", "endpoint": self.endpoint, "errors": errors,
            "input_file_id": self.input_file_id, "completion_window": self.completion_window,
            "status": self.status, "output_file_id": self.output_file_id,
            "error_file_id": self.error_file_id, "created_at": self.created_at,
            "in_progress_at": in_progress_at, "expires_at": null, "finalizing_at": finalizing_at,
            "completed_at": completed_at, "failed_at": failed_at, "expired_at": null,
            "cancelling_at": cancelling_at, "cancelled_at": cancelled_at,
            "request_counts": self.counts, "metadata": self.metadata,
        })
    }
}
