//! Signals: a request to stop, and writing to a pipe that nobody reads.
use std::sync::atomic::{AtomicBool, Ordering};

static STOP: AtomicBool = AtomicBool::new(false);

extern "C" fn on_stop(_: libc::c_int) {
    STOP.store(true, Ordering::Relaxed);
}

/// From now on SIGINT and SIGTERM do not end the process; [`stop_is_requested`] tells of them.
pub fn catch_stop_signals() {
    for signal in [libc::SIGINT, libc::SIGTERM] {
        // SAFETY: the handler only stores to an atomic.
        unsafe { libc::signal(signal, on_stop as extern "C" fn(libc::c_int) as libc::sighandler_t) };
    }
}

/// Whether SIGINT or SIGTERM has come since [`catch_stop_signals`].
pub fn stop_is_requested() -> bool {
    STOP.load(Ordering::Relaxed)
}

/// From now on writing to a pipe without a reader ends the process without a word, as is the custom
/// of programs in a shell (`verbatim inspect | head`). A server must not call this: it outlives its
/// clients.
pub fn end_at_closed_pipes() {
    // SAFETY: the default action runs no code of ours.
    unsafe { libc::signal(libc::SIGPIPE, libc::SIG_DFL) };
}
