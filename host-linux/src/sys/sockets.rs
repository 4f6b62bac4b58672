//! Waiting for one of two sockets, and how many may be open.
use std::os::fd::AsRawFd;

/// The state of two sockets, as [`wait_for_either`] found it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ready {
    /// Whether the first descriptor has bytes, its end, or an error.
    pub first: bool,
    /// Whether the second has, where it was listened to; an error is told in any case.
    pub second: bool,
    /// Whether the second is broken.
    pub second_is_broken: bool,
}

/// Waits without a time limit until one of two descriptors can be read. `None` if a signal came
/// first. With `listen_to_second` unset, of the second only an error or a hang-up ends the wait.
pub fn wait_for_either(first: &impl AsRawFd, second: &impl AsRawFd, listen_to_second: bool) -> Option<Ready> {
    let listen = if listen_to_second { libc::POLLIN } else { 0 };
    let mut fds = [
        libc::pollfd { fd: first.as_raw_fd(), events: libc::POLLIN, revents: 0 },
        libc::pollfd { fd: second.as_raw_fd(), events: listen, revents: 0 },
    ];
    // SAFETY: two descriptors that their owners keep open, in an array of two.
    let count = unsafe { libc::poll(fds.as_mut_ptr(), 2, -1) };
    (count >= 0).then(|| Ready {
        first: fds[0].revents != 0,
        second: fds[1].revents != 0,
        second_is_broken: fds[1].revents & (libc::POLLERR | libc::POLLNVAL) != 0,
    })
}

/// Raises the limit on open descriptors as far as is allowed, to at most 65536 (the usual soft
/// limit is 1024). Failure leaves it as it was.
pub fn raise_descriptor_limit() {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: both calls get a valid rlimit.
    unsafe {
        if libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) == 0 {
            limit.rlim_cur = limit.rlim_max.min(1 << 16).max(limit.rlim_cur);
            libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit);
        }
    }
}
