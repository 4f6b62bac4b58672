//! An output file to which whole lines are appended. A process that is killed leaves at most one
//! line that is not whole, the last one.
use super::entry::Entry;
use super::lines::Lines;
use serde::Deserialize;
use std::fs::{File, OpenOptions};
use std::io::{self, BufReader, Read, Seek, SeekFrom, Write};
use std::path::Path;

/// Bytes of a line of an output, at most, when it is read again.
const LINE_MAX: usize = 1 << 30;

/// What is read of a line that was written before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    /// The number of the line, from 1.
    pub number: usize,
    /// Its `id`; none if it is no line of a batch's output.
    pub id: Option<String>,
    /// Whether its request failed.
    pub is_error: bool,
    /// The fingerprint of the model that made it, if it tells one.
    pub fingerprint: Option<String>,
    /// The place in the file behind it.
    pub end: u64,
}

#[derive(Deserialize)]
struct Shape {
    id: String,
    response: Option<Response>,
}

#[derive(Deserialize)]
struct Response {
    status_code: u16,
    body: Option<Body>,
}

#[derive(Deserialize)]
struct Body {
    system_fingerprint: Option<String>,
}

/// What every line of an output begins with.
const BEGINNING: &[u8] = b"{\"id\":\"batch_req_";

/// Whether bytes are the beginning of a line of an output: what a user has in a file is not lost.
fn is_own(bytes: &[u8]) -> bool {
    bytes.iter().zip(BEGINNING).all(|(byte, own)| byte == own)
}

/// An output of a batch. While it is open, no other process can have it open.
#[derive(Debug)]
pub struct Journal {
    file: File,
    before: Lines<BufReader<File>>,
    /// The next line that was written before, if it was looked at.
    next: Option<Written>,
    /// The bytes that are kept.
    length: u64,
}

impl Journal {
    /// Opens the output at a path, and makes it if it is not there.
    pub fn open(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
        file.try_lock().map_err(|error| match error {
            std::fs::TryLockError::WouldBlock => {
                io::Error::new(io::ErrorKind::ResourceBusy, "another process writes to it")
            }
            std::fs::TryLockError::Error(error) => error,
        })?;
        let before = Lines::new(BufReader::new(File::open(path)?), LINE_MAX);
        Ok(Self { file, before, next: None, length: 0 })
    }

    /// The next whole line that was written before this was opened.
    pub fn peek(&mut self) -> io::Result<Option<&Written>> {
        if self.next.is_none()
            && let Some(line) = self.before.next_line()?.filter(|line| !(line.is_torn && is_own(&line.bytes)))
        {
            let shape = serde_json::from_slice::<Shape>(&line.bytes).ok();
            let response = shape.as_ref().and_then(|shape| shape.response.as_ref());
            let fingerprint =
                response.and_then(|response| response.body.as_ref()?.system_fingerprint.clone());
            self.next = Some(Written {
                number: line.number,
                is_error: response.is_none_or(|response| response.status_code != 200),
                fingerprint,
                id: shape.map(|shape| shape.id),
                end: line.end,
            });
        }
        Ok(self.next.as_ref())
    }

    /// Keeps the line that was looked at.
    pub fn keep(&mut self) {
        if let Some(written) = self.next.take() {
            self.length = written.end;
        }
    }

    /// Drops all that was not kept; what is appended comes behind the rest.
    pub fn cut(&mut self) -> io::Result<()> {
        self.next = None;
        self.file.set_len(self.length)?;
        self.file.seek(SeekFrom::Start(self.length)).map(drop)
    }

    /// Appends a line, in one write. If that fails, nothing of it stays.
    pub fn append(&mut self, entry: &Entry) -> io::Result<()> {
        if let Err(error) = self.file.write_all(&entry.bytes) {
            // What cannot be cut now is a torn line, which is dropped when the batch goes on.
            let _ = self.cut();
            return Err(error);
        }
        self.length += entry.bytes.len() as u64;
        Ok(())
    }

    /// The bytes of its whole lines.
    pub fn bytes(&self) -> u64 {
        self.length
    }

    /// Waits until all of it is on the disk.
    pub fn sync(&self) -> io::Result<()> {
        self.file.sync_all()
    }
}

/// Cuts what stands behind the last line end of a file, which a process that was killed may have
/// left; its lines, and its bytes then. A file that is not there has none.
pub fn cut_torn_line(path: &Path) -> io::Result<(usize, u64)> {
    let mut file = match OpenOptions::new().read(true).write(true).open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok((0, 0)),
        opened => opened?,
    };
    let (mut lines, mut read, mut end) = (0, 0, 0);
    let mut buffer = vec![0; 64 << 10];
    loop {
        let length = match file.read(&mut buffer) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            length => length?,
        };
        if length == 0 {
            break;
        }
        for (at, _) in buffer[..length].iter().enumerate().filter(|(_, byte)| **byte == b'\n') {
            (lines, end) = (lines + 1, read + at as u64 + 1);
        }
        read += length as u64;
    }
    if end < read {
        file.set_len(end)?;
        file.sync_all()?;
    }
    Ok((lines, end))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_torn_line_is_cut() {
        let path = std::env::temp_dir().join(format!("verbatim-torn-{}", std::process::id()));
        let _ = std::fs::remove_file(&path);
        assert_eq!(cut_torn_line(&path).expect("none"), (0, 0));
        let long = "x".repeat(100_000);
        for (text, kept, lines) in [
            ("", 0, 0),
            ("{}", 0, 0),
            ("{}\n", 3, 1),
            ("{}\n{}\n{", 6, 2),
            (&format!("{{}}\n{long}"), 3, 1),
            (&format!("{long}\n{long}"), 100_001, 1),
        ] {
            std::fs::write(&path, text).expect("written");
            assert_eq!(cut_torn_line(&path).expect("cut"), (lines, kept as u64));
            assert_eq!(std::fs::read_to_string(&path).expect("read"), text[..kept]);
        }
        std::fs::remove_file(&path).expect("removed");
    }
}
