//! Signals: requests to stop and to open files again, and writing to a pipe that nobody reads.
use super::parent::{self, END_SIGNAL, Parent};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::low_level::pipe;
use signal_hook::{flag, low_level};
use std::io::{self, Read};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// What signals have asked for since [`Signals::catch`].
#[derive(Clone, Debug, Default)]
pub struct Signals {
    stop: Arc<AtomicBool>,
    hang_up: Arc<AtomicBool>,
    /// Whether nothing runs yet that would have to end in good order.
    is_starting: Arc<AtomicBool>,
}

impl Signals {
    /// From now on SIGHUP is noted. SIGINT and SIGTERM end the process at once, with exit code 0,
    /// until [`begin`](Self::begin) is called; this holds for the first process of a container,
    /// too, which signals without a handler do not reach. After that they are noted as well. A byte
    /// is written to `wake` for each signal. A second SIGINT or SIGTERM ends the process at once,
    /// with the exit code that a shell would give a program that the signal had killed: 130 or 143.
    pub fn catch(wake: &UnixStream) -> io::Result<Self> {
        let signals = Self::default();
        signals.is_starting.store(true, Ordering::SeqCst);
        for (signal, code) in [(SIGINT, 130), (SIGTERM, 143)] {
            flag::register_conditional_shutdown(signal, 0, Arc::clone(&signals.is_starting))?;
            // The order matters: the first signal finds the flag unset, and sets it.
            flag::register_conditional_shutdown(signal, code, Arc::clone(&signals.stop))?;
            flag::register(signal, Arc::clone(&signals.stop))?;
            pipe::register(signal, wake.try_clone()?)?;
        }
        flag::register(SIGHUP, Arc::clone(&signals.hang_up))?;
        pipe::register(SIGHUP, wake.try_clone()?)?;
        Ok(signals)
    }

    /// From now on the end of `parent` asks this process to stop, as its first SIGTERM does. To be
    /// called on a thread that lives as long as the process.
    pub fn end_with(&self, parent: Parent, wake: &UnixStream) -> io::Result<()> {
        let (stop, is_starting) = (Arc::clone(&self.stop), Arc::clone(&self.is_starting));
        let ask = move || {
            // Only a thread of the parent may have ended.
            if !parent.has_ended() {
                return;
            }
            if is_starting.load(Ordering::SeqCst) {
                low_level::exit(0);
            }
            stop.store(true, Ordering::SeqCst);
        };
        // SAFETY: asking for the parent, ending without cleaning up, and reading and setting
        // atomics may all be done where a signal is handled, and nothing in it panics.
        unsafe { low_level::register(END_SIGNAL, ask) }?;
        pipe::register(END_SIGNAL, wake.try_clone()?)?;
        parent::tell_of_end()?;
        // A parent that has ended before the system knew of the wish sends no signal.
        if parent.has_ended() { low_level::raise(END_SIGNAL) } else { Ok(()) }
    }

    /// There is something now that has to end in good order.
    pub fn begin(&self) {
        self.is_starting.store(false, Ordering::SeqCst);
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

/// From now on SIGINT ends nothing: it sets the flag that is returned, for whoever asks for it. The
/// system calls that it falls into go on.
pub fn note_interrupts() -> io::Result<Arc<AtomicBool>> {
    let interrupted = Arc::<AtomicBool>::default();
    flag::register(SIGINT, Arc::clone(&interrupted))?;
    Ok(interrupted)
}

/// From now on the first SIGINT runs `does` on a thread of its own, which then ends the process
/// with exit code 130, and a second one ends it at once. SIGINT is what Ctrl-C sends.
pub fn end_at_interrupt(does: impl FnOnce() + Send + 'static) -> io::Result<()> {
    let (mut woken, wake) = UnixStream::pair()?;
    let has_come = Arc::new(AtomicBool::new(false));
    // The order matters: the first signal finds the flag unset, and sets it.
    flag::register_conditional_shutdown(SIGINT, 130, Arc::clone(&has_come))?;
    flag::register(SIGINT, has_come)?;
    pipe::register(SIGINT, wake)?;
    std::thread::Builder::new().name("interrupt".to_owned()).spawn(move || {
        if woken.read_exact(&mut [0]).is_ok() {
            does();
            std::process::exit(130);
        }
    })?;
    Ok(())
}

/// From now on SIGINT and SIGTERM set the flag that is returned, for a program that has to leave
/// its terminal as it was. SIGHUP still ends it: there is no terminal any more then.
pub fn note_ends() -> io::Result<Arc<AtomicBool>> {
    let ends = Arc::<AtomicBool>::default();
    for signal in [SIGINT, SIGTERM] {
        flag::register(signal, Arc::clone(&ends))?;
    }
    Ok(ends)
}

/// Ends the process without a word, as the system ends one that writes to a pipe without a reader:
/// shells give it the exit code 141. Rust's runtime has that signal ignored until then.
pub fn end_by_closed_pipe() -> ! {
    // SAFETY: the default action runs no code of ours, and it ends the process.
    unsafe {
        libc::signal(libc::SIGPIPE, libc::SIG_DFL);
        libc::raise(libc::SIGPIPE);
    }
    // Only where whoever started this process has blocked the signal.
    std::process::exit(128 + libc::SIGPIPE)
}
