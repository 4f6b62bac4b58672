//! What commands print: what they were asked for on standard output, notes on standard error.
//!
//! Nobody has to read either. A note that nobody can read is lost, and the command goes on. Where a
//! pipe from standard output has lost its reader (`verbatim list | head -1`), the command ends
//! without a word, as is the custom in a shell.
use crate::sys::signals::end_by_closed_pipe;
use std::fmt::Display;
use std::io::{self, ErrorKind, Write};

/// Writes a line to standard output. The error tells why it cannot be written, such as a full disk.
/// It does not return where a pipe has no reader any more.
pub(super) fn line(line: impl Display) -> Result<(), String> {
    let line = format!("{line}\n");
    io::stdout().lock().write_all(line.as_bytes()).map_err(lost)
}

/// As [`line`], for each of these.
pub(super) fn lines(lines: &[String]) -> Result<(), String> {
    lines.iter().try_for_each(line)
}

/// Writes a line to standard error, as far as anybody can read it.
pub(super) fn note(note: impl Display) {
    // In one call, so that notes of several threads do not mix.
    let line = format!("{note}\n");
    let _ = io::stderr().lock().write_all(line.as_bytes());
}

/// An error of standard output in words. It does not return where a pipe has no reader any more.
pub(super) fn lost(error: io::Error) -> String {
    if error.kind() == ErrorKind::BrokenPipe {
        end_by_closed_pipe();
    }
    format!("standard output: {error}")
}
