//! Waiting for sockets, and how many descriptors may be open.
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::time::Duration;

/// What a call of [`wait`] waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interest {
    /// Bytes to read, or the other side's end.
    Read,
    /// Room to write more bytes.
    Write,
    /// Only that the other side sends no more, or that the connection is broken.
    End,
}

/// The state of a socket, as [`wait`] found it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// Whether that came which was waited for; an error or a hang-up counts.
    pub ready: bool,
    /// Whether the other side has said that it sends no more. It may still read.
    pub ended: bool,
    /// Whether the connection is gone in both directions.
    pub broken: bool,
}

/// `poll` wants milliseconds; less than one is rounded up, so that nobody spins.
fn milliseconds(timeout: Option<Duration>) -> libc::c_int {
    let Some(timeout) = timeout else { return -1 };
    let up = timeout.as_micros().div_ceil(1000);
    libc::c_int::try_from(up).unwrap_or(libc::c_int::MAX)
}

fn poll(fds: &mut [libc::pollfd], timeout: Option<Duration>) -> io::Result<usize> {
    // SAFETY: the pointer and the count are those of one slice.
    let count = unsafe { libc::poll(fds.as_mut_ptr(), fds.len() as libc::nfds_t, milliseconds(timeout)) };
    match usize::try_from(count) {
        Ok(count) => Ok(count),
        Err(_) => match io::Error::last_os_error() {
            error if error.kind() == io::ErrorKind::Interrupted => Ok(0),
            error => Err(error),
        },
    }
}

/// Waits until a socket is ready, for `timeout` at most; a signal may end the wait early, with
/// nothing seen.
pub fn wait(socket: BorrowedFd<'_>, interest: Interest, timeout: Duration) -> io::Result<Seen> {
    let events = match interest {
        Interest::Read => libc::POLLIN | libc::POLLRDHUP,
        Interest::Write => libc::POLLOUT,
        Interest::End => libc::POLLRDHUP,
    };
    let mut fds = [libc::pollfd { fd: socket.as_raw_fd(), events, revents: 0 }];
    poll(&mut fds, Some(timeout))?;
    let seen = fds[0].revents;
    Ok(Seen {
        ready: seen != 0,
        ended: seen & libc::POLLRDHUP != 0,
        broken: seen & (libc::POLLERR | libc::POLLHUP | libc::POLLNVAL) != 0,
    })
}

/// Waits until one of some descriptors can be read, for `timeout` at most (`None`: without limit);
/// says of each whether it can. A signal may end the wait early.
pub fn wait_for_any(sockets: &[BorrowedFd<'_>], timeout: Option<Duration>) -> io::Result<Vec<bool>> {
    let of =
        |socket: &BorrowedFd<'_>| libc::pollfd { fd: socket.as_raw_fd(), events: libc::POLLIN, revents: 0 };
    let mut fds: Vec<_> = sockets.iter().map(of).collect();
    poll(&mut fds, timeout)?;
    Ok(fds.iter().map(|fd| fd.revents != 0).collect())
}

/// Lets up to `count` connections wait to be accepted, as far as the system allows. The standard
/// library's 128 are too few for a burst.
pub fn set_backlog(listener: BorrowedFd<'_>, count: usize) -> io::Result<()> {
    let count = libc::c_int::try_from(count).unwrap_or(libc::c_int::MAX);
    // SAFETY: a descriptor that its owner keeps open, and a number.
    match unsafe { libc::listen(listener.as_raw_fd(), count) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Whether accepting failed because no descriptor, or no memory for one, is free.
pub fn is_out_of_descriptors(error: &io::Error) -> bool {
    let codes = [libc::EMFILE, libc::ENFILE, libc::ENOBUFS, libc::ENOMEM];
    error.raw_os_error().is_some_and(|code| codes.contains(&code))
}

/// Raises the limit on open descriptors as far as is allowed, to at most 65536 (the usual soft
/// limit is 1024), and returns it. Failure leaves it as it was.
pub fn raise_descriptor_limit() -> usize {
    let mut limit = libc::rlimit { rlim_cur: 1024, rlim_max: 1024 };
    // SAFETY: both calls get a valid rlimit.
    unsafe {
        if libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) == 0 {
            let raised = limit.rlim_max.min(1 << 16).max(limit.rlim_cur);
            let wanted = libc::rlimit { rlim_cur: raised, ..limit };
            if libc::setrlimit(libc::RLIMIT_NOFILE, &raw const wanted) == 0 {
                limit = wanted;
            }
        }
    }
    usize::try_from(limit.rlim_cur).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::net::Shutdown;
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixStream;

    #[test]
    fn ends_and_breaks_are_told_apart() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let look = |interest| wait(ours.as_fd(), interest, Duration::ZERO).unwrap();
        assert_eq!(look(Interest::Read), Seen::default());
        assert_eq!(look(Interest::Write), Seen { ready: true, ..Seen::default() });
        theirs.write_all(b"x").unwrap();
        assert_eq!(look(Interest::Read), Seen { ready: true, ..Seen::default() });
        assert_eq!(look(Interest::End), Seen::default(), "bytes are no end");
        theirs.shutdown(Shutdown::Write).unwrap();
        assert_eq!(look(Interest::End), Seen { ready: true, ended: true, broken: false });
        drop(theirs);
        assert!(look(Interest::End).broken);
    }

    #[test]
    fn less_than_a_millisecond_is_not_none() {
        assert_eq!(milliseconds(Some(Duration::from_micros(1))), 1);
        assert_eq!(milliseconds(Some(Duration::ZERO)), 0);
        assert_eq!(milliseconds(Some(Duration::MAX)), libc::c_int::MAX);
        assert_eq!(milliseconds(None), -1);
    }
}
