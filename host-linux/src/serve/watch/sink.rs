//! Where the lines of the log go: standard error or a file, written by a thread of its own.
//!
//! Whoever has a line hands it over and goes on. A reader that is stopped, or a disk that is slow,
//! delays no request: then lines are lost, and counted.
use crate::runtime::meters::Counter;
use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

/// Lines that wait to be written, at most; a line has some hundred bytes.
const LINES_MAX: usize = 4096;
/// Bytes that are written at once, unless one line is longer.
const BATCH_BYTES: usize = 64 << 10;

/// Takes lines of the log; cheap to clone.
#[derive(Clone, Debug)]
pub struct Sink {
    lines: SyncSender<Message>,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    /// Lines that were not written.
    lost: Counter,
    /// Whether the file is to be opened anew before the next line.
    is_moved: AtomicBool,
}

#[derive(Debug)]
enum Message {
    /// A line with its end.
    Line(Vec<u8>),
    /// The file was moved away.
    Reopen,
    /// To be answered when all lines before it are written.
    Flush(SyncSender<()>),
}

/// What lines are written to.
#[derive(Debug)]
enum Output {
    Stderr,
    File { path: PathBuf, file: File },
}

impl Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Stderr => io::stderr().write_all(bytes),
            Self::File { file, .. } => file.write_all(bytes),
        }
    }

    /// Opens a file anew by its name. Where that fails lines go on to the one that was open.
    fn reopen(&mut self) {
        if let Self::File { path, file } = self
            && let Ok(new) = open(path)
        {
            *file = new;
        }
    }
}

/// Opens a log file at its end, creating it for its owner and group.
fn open(path: &Path) -> io::Result<File> {
    File::options().append(true).create(true).mode(0o640).open(path)
}

impl Sink {
    /// A sink that writes to standard error.
    pub fn stderr() -> io::Result<Self> {
        Self::start(Output::Stderr)
    }

    /// A sink that appends to a file.
    pub fn file(path: &Path) -> io::Result<Self> {
        Self::start(Output::File { path: path.to_owned(), file: open(path)? })
    }

    fn start(output: Output) -> io::Result<Self> {
        let (lines, inbox) = sync_channel(LINES_MAX);
        let sink = Self { lines, shared: Arc::default() };
        let shared = Arc::clone(&sink.shared);
        let run = move || write_all(output, &inbox, &shared);
        std::thread::Builder::new().name("verbatim-log".to_owned()).spawn(run)?;
        Ok(sink)
    }

    /// Opens the file anew, by its name, before the next line.
    pub fn reopen(&self) {
        self.shared.is_moved.store(true, Ordering::Release);
        // Where the queue is full a line will come soon enough.
        let _ = self.lines.try_send(Message::Reopen);
    }

    /// Lines that were not written.
    pub fn lost(&self) -> u64 {
        self.shared.lost.get()
    }

    /// Waits until all lines so far are written, for `patience` at most.
    pub fn flush(&self, patience: Duration) {
        let (done, is_done) = sync_channel(1);
        if self.lines.try_send(Message::Flush(done)).is_ok() {
            let _ = is_done.recv_timeout(patience);
        }
    }
}

/// Takes one whole line at a time, as `tracing` writes its events.
impl Write for Sink {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if self.lines.try_send(Message::Line(line.to_vec())).is_err() {
            self.shared.lost.add(1);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Writes lines until all sinks are gone, several at once where they come fast.
fn write_all(mut output: Output, inbox: &Receiver<Message>, shared: &Shared) {
    let mut batch = Vec::new();
    while let Ok(first) = inbox.recv() {
        let (mut next, mut count, mut waiting) = (Some(first), 0, None);
        batch.clear();
        while let Some(message) = next {
            match message {
                Message::Line(line) => {
                    batch.extend_from_slice(&line);
                    count += 1;
                }
                Message::Reopen => {}
                Message::Flush(done) => {
                    waiting = Some(done);
                    break;
                }
            }
            next = (batch.len() < BATCH_BYTES).then(|| inbox.try_recv().ok()).flatten();
        }
        if shared.is_moved.swap(false, Ordering::AcqRel) {
            output.reopen();
        }
        if count > 0 && output.write(&batch).is_err() {
            shared.lost.add(count);
        }
        // Who asked may have lost patience.
        waiting.map(|done| done.try_send(()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicUsize;

    /// A path of its own below the folder for temporary files; removed when dropped.
    struct Place(PathBuf);

    impl Place {
        fn new() -> Self {
            static COUNT: AtomicUsize = AtomicUsize::new(0);
            let number = COUNT.fetch_add(1, Ordering::Relaxed);
            let name = format!("verbatim-log-{}-{number}", std::process::id());
            let folder = std::env::temp_dir().join(name);
            std::fs::create_dir(&folder).expect("a folder");
            Self(folder)
        }
    }

    impl Drop for Place {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    const PATIENCE: Duration = Duration::from_secs(20);

    #[test]
    fn lines_go_to_the_file_that_has_the_name() {
        let place = Place::new();
        let (path, moved) = (place.0.join("log"), place.0.join("log.1"));
        std::fs::write(&path, "before\n").expect("a file");
        let mut sink = Sink::file(&path).expect("a sink");
        let _ = sink.write(b"one\n");
        Sink::flush(&sink, PATIENCE);
        std::fs::rename(&path, &moved).expect("moved");
        let _ = sink.write(b"two\n");
        Sink::flush(&sink, PATIENCE);
        sink.reopen();
        let _ = sink.write(b"three\n");
        Sink::flush(&sink, PATIENCE);
        let read = |path: &Path| std::fs::read_to_string(path).expect("a file");
        assert_eq!((read(&moved).as_str(), read(&path).as_str()), ("before\none\ntwo\n", "three\n"));
        assert_eq!(sink.lost(), 0);
        assert!(Sink::file(&place.0.join("none").join("log")).is_err());
    }

    /// A pipe that is full stands for a reader that is stopped.
    #[test]
    fn a_reader_that_is_stopped_delays_nobody() {
        let (reader, writer) = io::pipe().expect("a pipe");
        let file = File::from(std::os::fd::OwnedFd::from(writer));
        let mut sink = Sink::start(Output::File { path: PathBuf::new(), file }).expect("a sink");
        let line = vec![b'x'; 1024];
        for _ in 0..3 * LINES_MAX {
            let _ = sink.write(&line);
        }
        assert!(sink.lost() >= LINES_MAX as u64, "{} lines were lost", sink.lost());
        drop(reader);
    }
}
