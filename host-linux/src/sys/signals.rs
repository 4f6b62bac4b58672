//! Signals: requests to stop and to open files again, and writing to a pipe that nobody reads.
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::flag;
use signal_hook::low_level::pipe;
use std::io;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// What signals have asked for since [`Signals::catch`].
#[derive(Clone, Debug, Default)]
pub struct Signals {
    stop: Arc<AtomicBool>,
    hang_up: Arc<AtomicBool>,
}

impl Signals {
    /// From now on SIGINT, SIGTERM and SIGHUP do not end the process: each is noted, and a byte is
    /// written to `wake`. A second SIGINT or SIGTERM ends the process at once, with the exit code
    /// that a shell would give a program that the signal had killed: 130 or 143.
    pub fn catch(wake: &UnixStream) -> io::Result<Self> {
        let signals = Self::default();
        for (signal, code) in [(SIGINT, 130), (SIGTERM, 143)] {
            // The order matters: the first signal finds the flag unset, and sets it.
            flag::register_conditional_shutdown(signal, code, Arc::clone(&signals.stop))?;
            flag::register(signal, Arc::clone(&signals.stop))?;
            pipe::register(signal, wake.try_clone()?)?;
        }
        flag::register(SIGHUP, Arc::clone(&signals.hang_up))?;
        pipe::register(SIGHUP, wake.try_clone()?)?;
        Ok(signals)
    }

    /// Whether SIGINT or SIGTERM has come.
    pub fn stop_is_requested(&self) -> bool {
        self.stop.load(Ordering::SeqCst)
    }

    /// Whether SIGHUP has come since this was asked last.
    pub fn take_hang_up(&self) -> bool {
        self.hang_up.swap(false, Ordering::SeqCst)
    }
}

/// From now on writing to a pipe without a reader ends the process without a word, as is the custom
/// of programs in a shell (`verbatim inspect | head`). A server must not call this: it outlives its
/// clients.
pub fn end_at_closed_pipes() {
    // SAFETY: the default action runs no code of ours.
    unsafe { libc::signal(libc::SIGPIPE, libc::SIG_DFL) };
}
