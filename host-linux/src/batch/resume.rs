//! How far the outputs of a batch have come with its input, after its process was killed.
use super::entry::entry_id;
use super::input::{Input, Task};
use super::journal::{Journal, Written};
use std::io::{self, BufRead};

/// What was done before.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Resumed {
    /// Lines of the input that need no answer any more.
    pub lines: usize,
    /// How many of them failed.
    pub failed: usize,
    /// The fingerprint of the model that answered, if any answer tells one.
    pub fingerprint: Option<String>,
}

/// Reads the tasks that were done, and keeps their lines in the outputs: each task's line is the
/// next one of one of them. Lines that belong to no task, or come late, are not kept; nothing is
/// cut yet.
pub fn resume<R: BufRead>(input: &mut Input<'_, R>, outputs: &mut [&mut Journal]) -> io::Result<Resumed> {
    let mut resumed = Resumed::default();
    while let Some(task) = input.next_task()? {
        let Some(written) = take(&task, outputs)? else {
            input.give_back(task);
            break;
        };
        resumed.lines += 1;
        resumed.failed += usize::from(written.is_error);
        resumed.fingerprint = written.fingerprint.or(resumed.fingerprint);
    }
    Ok(resumed)
}

/// Keeps the line of a task, if it is the next one of an output.
fn take(task: &Task, outputs: &mut [&mut Journal]) -> io::Result<Option<Written>> {
    let id = entry_id(&task.id);
    for output in outputs {
        if let Some(written) = output.peek()?.filter(|written| written.id.as_ref() == Some(&id)) {
            let written = written.clone();
            output.keep();
            return Ok(Some(written));
        }
    }
    Ok(None)
}
