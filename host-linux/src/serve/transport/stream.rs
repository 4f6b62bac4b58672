//! The socket of a client, over TCP or a Unix socket, with a bound on every wait.
//!
//! Sockets are non-blocking: a read or a write is tried, and only where it cannot go on is it
//! waited for, until a deadline.
use crate::sys::sockets::{Interest, Seen, wait};
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

/// Bytes that a client must take within the time for a write, for the next ones to get that time
/// anew. A client that takes one byte now and then has no claim on a thread.
const PROGRESS_BYTES: usize = 64 << 10;

/// A socket that is connected to a client.
#[derive(Debug)]
pub(in crate::serve) enum Stream {
    /// A connection over IPv4 or IPv6.
    Tcp(TcpStream),
    /// A connection over a socket file.
    Unix(UnixStream),
}

impl AsFd for Stream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Tcp(stream) => stream.as_fd(),
            Self::Unix(stream) => stream.as_fd(),
        }
    }
}

impl Stream {
    /// Prepares a socket that was just accepted: no call waits for it, and over TCP the small
    /// pieces of a stream do not wait for each other.
    pub(in crate::serve) fn prepare(&self) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => {
                // Without it answers come later, but they come.
                let _ = stream.set_nodelay(true);
                stream.set_nonblocking(true)
            }
            Self::Unix(stream) => stream.set_nonblocking(true),
        }
    }

    /// Looks at the other side without waiting.
    pub(in crate::serve) fn look(&self) -> io::Result<Seen> {
        wait(self.as_fd(), Interest::End, Duration::ZERO)
    }

    /// Reads what has come, without waiting; 0 at the end.
    pub(in crate::serve) fn try_read(&self, into: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => (&*stream).read(into),
            Self::Unix(stream) => (&*stream).read(into),
        }
    }

    /// Writes what there is room for, without waiting.
    pub(in crate::serve) fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => (&*stream).write(bytes),
            Self::Unix(stream) => (&*stream).write(bytes),
        }
    }

    /// Waits for bytes until `deadline`; `TimedOut` if none come.
    fn await_ready(&self, interest: Interest, deadline: Instant) -> io::Result<()> {
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if wait(self.as_fd(), interest, left)?.ready {
                return Ok(());
            }
            if left.is_zero() {
                return Err(ErrorKind::TimedOut.into());
            }
        }
    }

    /// Reads what comes first, and waits for it until `deadline`; 0 at the end. With `wait_first`
    /// it is not tried before it is waited for, which saves a call where nothing can be there yet.
    pub(in crate::serve) fn read(
        &self,
        into: &mut [u8],
        deadline: Instant,
        wait_first: bool,
    ) -> io::Result<usize> {
        let mut is_awaited = wait_first;
        loop {
            if is_awaited {
                self.await_ready(Interest::Read, deadline)?;
            }
            match self.try_read(into) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => is_awaited = true,
                result => return result,
            }
        }
    }

    /// Writes all of `bytes`, in one call where the socket has room. `TimedOut` if the client does
    /// not take [`PROGRESS_BYTES`], or what is left of fewer, within `patience`.
    pub(in crate::serve) fn write_all(&self, mut bytes: &[u8], patience: Duration) -> io::Result<()> {
        let mut since: Option<(Instant, usize)> = None;
        while !bytes.is_empty() {
            match self.try_write(bytes) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(count) => bytes = &bytes[count..],
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    let (start, left) = match since {
                        Some((start, left)) if left - bytes.len() < PROGRESS_BYTES => (start, left),
                        _ => (Instant::now(), bytes.len()),
                    };
                    since = Some((start, left));
                    self.await_ready(Interest::Write, start + patience)?;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Ends a direction, or both. A connection that is gone has none.
    pub(in crate::serve) fn shutdown(&self, how: Shutdown) {
        let _ = match self {
            Self::Tcp(stream) => stream.shutdown(how),
            Self::Unix(stream) => stream.shutdown(how),
        };
    }
}

#[cfg(test)]
impl Stream {
    /// A connection over a pair of sockets, prepared as if it was accepted, and its other side.
    pub(in crate::serve) fn pair() -> (Self, UnixStream) {
        let (ours, theirs) = UnixStream::pair().expect("a pair");
        let ours = Self::Unix(ours);
        ours.prepare().expect("a socket");
        (ours, theirs)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    #[test]
    fn reads_and_writes_end_at_their_deadline() {
        let (ours, theirs) = Stream::pair();
        let mut piece = [0; 8];
        let soon = Instant::now() + Duration::from_millis(5);
        assert_eq!(ours.read(&mut piece, soon, false).unwrap_err().kind(), ErrorKind::TimedOut);
        let much = vec![7; 16 << 20];
        let written = ours.write_all(&much, Duration::from_millis(5));
        assert_eq!(written.unwrap_err().kind(), ErrorKind::TimedOut);
        drop(theirs);
        assert!(ours.write_all(&much, Duration::from_secs(60)).is_err());
    }

    #[test]
    fn a_reader_that_takes_a_little_now_and_then_is_given_up() {
        let (ours, theirs) = Stream::pair();
        let is_given_up = Arc::new(AtomicBool::new(false));
        let reader = {
            let is_given_up = Arc::clone(&is_given_up);
            std::thread::spawn(move || {
                while !is_given_up.load(Ordering::Relaxed) {
                    let _ = (&theirs).read(&mut [0]);
                    std::thread::sleep(Duration::from_millis(1));
                }
            })
        };
        let written = ours.write_all(&vec![7; 16 << 20], Duration::from_millis(50));
        assert_eq!(written.unwrap_err().kind(), ErrorKind::TimedOut);
        is_given_up.store(true, Ordering::Relaxed);
        reader.join().unwrap();
    }

    #[test]
    fn a_reader_that_keeps_up_gets_everything() {
        let (ours, mut theirs) = Stream::pair();
        let reader = std::thread::spawn(move || {
            let mut all = Vec::new();
            theirs.read_to_end(&mut all).map(|_| all)
        });
        let much: Vec<u8> = (0..4 << 20).map(|i| (i % 251) as u8).collect();
        ours.write_all(&much, Duration::from_secs(60)).unwrap();
        drop(ours);
        assert!(reader.join().unwrap().unwrap() == much);
    }
}
