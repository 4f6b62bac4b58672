//! The lines of a batch as tasks, in order.
use super::answerer::{Answerer, LineError, LineRequest};
use super::entry::{CUSTOM_ID_MAX, id_of};
use super::lines::Lines;
use std::collections::HashSet;
use std::io::{self, BufRead};

/// A line of a batch, read.
#[derive(Clone, Debug, PartialEq)]
pub struct Task {
    /// The number of the line in its file, from 1.
    pub number: usize,
    /// The name of its request.
    pub id: String,
    /// What it asks for, or why it is no request.
    pub request: Result<LineRequest, LineError>,
}

/// Reads tasks. It remembers of each only a hash of what its sender calls it.
pub struct Input<'a, R> {
    lines: Lines<R>,
    answerer: &'a dyn Answerer,
    line_bytes: usize,
    seen: HashSet<[u8; 16]>,
    /// A task that was read and given back.
    returned: Option<Task>,
}

impl<R> std::fmt::Debug for Input<'_, R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Input").field("line_bytes", &self.line_bytes).finish_non_exhaustive()
    }
}

impl<'a, R: BufRead> Input<'a, R> {
    /// The tasks of a file whose lines have at most `line_bytes` bytes.
    pub fn new(from: R, line_bytes: usize, answerer: &'a dyn Answerer) -> Self {
        let lines = Lines::new(from, line_bytes);
        Self { lines, answerer, line_bytes, seen: HashSet::new(), returned: None }
    }

    /// The next task; `None` at the end.
    pub fn next_task(&mut self) -> io::Result<Option<Task>> {
        if let Some(task) = self.returned.take() {
            return Ok(Some(task));
        }
        let Some(line) = self.lines.next_line()? else { return Ok(None) };
        let id = id_of(&line);
        let request = if line.is_too_long {
            let message = format!("the line is longer than {} bytes", self.line_bytes);
            Err(LineError::new("line_too_long", None, message))
        } else {
            self.answerer.read(&line.bytes).and_then(|request| self.unique(request))
        };
        Ok(Some(Task { number: line.number, id, request }))
    }

    /// Takes back a task, which is the next one then.
    pub fn give_back(&mut self, task: Task) {
        self.returned = Some(task);
    }

    /// Refuses a request that is called as one before it.
    fn unique(&mut self, request: LineRequest) -> Result<LineRequest, LineError> {
        let wrong = |code, message: String| LineError {
            custom_id: Some(request.custom_id.clone()),
            ..LineError::new(code, Some("custom_id"), message)
        };
        let length = request.custom_id.chars().count();
        if !(1..=CUSTOM_ID_MAX).contains(&length) {
            let message = format!("custom_id must have 1 to {CUSTOM_ID_MAX} characters, found {length}");
            return Err(wrong("invalid_custom_id", message));
        }
        let mut hash = [0; 16];
        hash.copy_from_slice(&blake3::hash(request.custom_id.as_bytes()).as_bytes()[..16]);
        if self.seen.insert(hash) {
            return Ok(request);
        }
        Err(wrong("duplicate_custom_id", "another line before this one has the same custom_id".to_owned()))
    }
}
