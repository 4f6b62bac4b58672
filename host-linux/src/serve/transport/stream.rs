//! The socket of a client, over TCP or a Unix socket, with a bound on every wait.
//!
//! Sockets are non-blocking: a read or a write is tried, and only where it cannot go on is it
//! waited for, until a deadline.
use crate::sys::sockets::{Interest, Seen, wait};
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Bytes that a client must take within the time for a write, for the next ones to get that time
/// anew. A client that takes one byte, or one event, now and then has no claim on a thread.
const PROGRESS_BYTES: usize = 64 << 10;

/// A socket that is connected to a client.
#[derive(Debug)]
enum Socket {
    /// Over IPv4 or IPv6.
    Tcp(TcpStream),
    /// Over a socket file.
    Unix(UnixStream),
}

/// A connection to a client.
#[derive(Debug)]
pub(in crate::serve) struct Stream {
    socket: Socket,
    start: Instant,
    /// Milliseconds from `start` to when a write began to wait for the client to read, and one
    /// more; 0 while none waits.
    waits_since: AtomicU64,
}

impl From<TcpStream> for Stream {
    fn from(stream: TcpStream) -> Self {
        Self::new(Socket::Tcp(stream))
    }
}

impl From<UnixStream> for Stream {
    fn from(stream: UnixStream) -> Self {
        Self::new(Socket::Unix(stream))
    }
}

impl AsFd for Stream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match &self.socket {
            Socket::Tcp(stream) => stream.as_fd(),
            Socket::Unix(stream) => stream.as_fd(),
        }
    }
}

/// How long a client may keep the server waiting, over all that is written to it.
#[derive(Clone, Copy, Debug)]
pub(in crate::serve) struct Patience {
    time: Duration,
    /// How long it has been waited for since it took [`PROGRESS_BYTES`].
    waited: Duration,
    /// Bytes that it has taken since then.
    taken: usize,
}

impl Patience {
    /// So much time for each [`PROGRESS_BYTES`], or for what is left of fewer.
    pub(in crate::serve) fn new(time: Duration) -> Self {
        Self { time, waited: Duration::ZERO, taken: 0 }
    }

    /// Who has not read by now is not waited for.
    pub(in crate::serve) fn end(&mut self) {
        self.time = Duration::ZERO;
    }

    fn left(&self) -> Duration {
        self.time.saturating_sub(self.waited)
    }

    fn has_taken(&mut self, bytes: usize) {
        self.taken = self.taken.saturating_add(bytes);
        if self.taken >= PROGRESS_BYTES {
            (self.waited, self.taken) = (Duration::ZERO, 0);
        }
    }
}

impl Stream {
    fn new(socket: Socket) -> Self {
        Self { socket, start: Instant::now(), waits_since: AtomicU64::new(0) }
    }

    /// How long a write has been waiting for the client to read, if one is.
    pub(super) fn waits_for(&self) -> Option<Duration> {
        let since = self.waits_since.load(Ordering::Relaxed).checked_sub(1)?;
        Some(self.start.elapsed().saturating_sub(Duration::from_millis(since)))
    }

    /// Prepares a socket that was just accepted: no call waits for it, and over TCP the small
    /// pieces of a stream do not wait for each other.
    pub(in crate::serve) fn prepare(&self) -> io::Result<()> {
        match &self.socket {
            Socket::Tcp(stream) => {
                // Without it answers come later, but they come.
                let _ = stream.set_nodelay(true);
                stream.set_nonblocking(true)
            }
            Socket::Unix(stream) => stream.set_nonblocking(true),
        }
    }

    /// Looks at the other side without waiting.
    pub(in crate::serve) fn look(&self) -> io::Result<Seen> {
        wait(self.as_fd(), Interest::End, Duration::ZERO)
    }

    /// Reads what has come, without waiting; 0 at the end.
    pub(in crate::serve) fn try_read(&self, into: &mut [u8]) -> io::Result<usize> {
        match &self.socket {
            Socket::Tcp(stream) => (&*stream).read(into),
            Socket::Unix(stream) => (&*stream).read(into),
        }
    }

    /// Writes what there is room for, without waiting.
    pub(in crate::serve) fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        match &self.socket {
            Socket::Tcp(stream) => (&*stream).write(bytes),
            Socket::Unix(stream) => (&*stream).write(bytes),
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

    /// Writes all of `bytes`, in one call where the socket has room. `TimedOut` if the client has
    /// kept `patience` waiting for too long, now and before.
    pub(in crate::serve) fn write_all(&self, mut bytes: &[u8], patience: &mut Patience) -> io::Result<()> {
        while !bytes.is_empty() {
            match self.try_write(bytes) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(count) => {
                    bytes = &bytes[count..];
                    patience.has_taken(count);
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    let since = Instant::now();
                    let millis = u64::try_from((since - self.start).as_millis()).unwrap_or(u64::MAX - 1);
                    self.waits_since.store(millis + 1, Ordering::Relaxed);
                    let waited = self.await_ready(Interest::Write, since + patience.left());
                    self.waits_since.store(0, Ordering::Relaxed);
                    patience.waited += since.elapsed();
                    waited?;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Ends a direction, or both. A connection that is gone has none.
    pub(in crate::serve) fn shutdown(&self, how: Shutdown) {
        let _ = match &self.socket {
            Socket::Tcp(stream) => stream.shutdown(how),
            Socket::Unix(stream) => stream.shutdown(how),
        };
    }
}

#[cfg(test)]
impl Stream {
    /// A connection over a pair of sockets, prepared as if it was accepted, and its other side.
    pub(in crate::serve) fn pair() -> (Self, UnixStream) {
        let (ours, theirs) = UnixStream::pair().expect("a pair");
        let ours = Self::from(ours);
        ours.prepare().expect("a socket");
        (ours, theirs)
    }

    /// This connection, as if one of its writes had been waiting for so long.
    pub(super) fn waiting_for(self, time: Duration) -> Self {
        let start = Instant::now().checked_sub(time).expect("the system has been up for longer");
        Self { start, waits_since: AtomicU64::new(1), ..self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::AtomicBool;

    #[test]
    fn reads_and_writes_end_at_their_deadline() {
        let (ours, theirs) = Stream::pair();
        let mut piece = [0; 8];
        let soon = Instant::now() + Duration::from_millis(5);
        assert_eq!(ours.read(&mut piece, soon, false).unwrap_err().kind(), ErrorKind::TimedOut);
        let much = vec![7; 16 << 20];
        let written = ours.write_all(&much, &mut Patience::new(Duration::from_millis(5)));
        assert_eq!(written.unwrap_err().kind(), ErrorKind::TimedOut);
        drop(theirs);
        assert!(ours.write_all(&much, &mut Patience::new(Duration::from_secs(60))).is_err());
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
        let mut patience = Patience::new(Duration::from_millis(50));
        // It makes no difference whether it is one long answer or many events.
        let written = (0..1 << 20).try_for_each(|_| ours.write_all(&[7; 16], &mut patience));
        assert_eq!(written.unwrap_err().kind(), ErrorKind::TimedOut);
        let written = ours.write_all(&vec![7; 16 << 20], &mut Patience::new(Duration::from_millis(50)));
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
        ours.write_all(&much, &mut Patience::new(Duration::from_secs(60))).unwrap();
        drop(ours);
        assert!(reader.join().unwrap().unwrap() == much);
    }
}
