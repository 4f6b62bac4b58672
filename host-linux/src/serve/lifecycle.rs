//! Where a server stands between its start and its end, and how it is told to go on.
use crate::sys::parent::Parent;
use crate::sys::signals::Signals;
use std::io::{ErrorKind, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

/// Where a server stands. It never goes back to an earlier phase.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// It does not accept connections yet.
    Starting,
    /// It takes requests of every kind.
    Ready,
    /// It was asked to stop: what runs goes on, and nothing new is begun.
    Draining,
    /// It cannot go on, and the process is about to end.
    Failed,
}

impl Phase {
    /// The phase as one lower-case word, for answers and logs.
    pub fn name(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Ready => "ready",
            Self::Draining => "draining",
            Self::Failed => "failed",
        }
    }
}

type OnHangUp = Box<dyn Fn() + Send + Sync>;

/// The state of one server. Whoever starts the server keeps it to stop the server; requests ask it
/// whether they may begin, and whether they must end.
pub struct Lifecycle {
    phase: AtomicU8,
    /// Whether the time is over in which requests may go on after the server was asked to stop.
    is_cut: AtomicBool,
    failure: Mutex<Option<String>>,
    on_hang_up: Mutex<Vec<OnHangUp>>,
    /// What signals ask for, once they are caught.
    signals: OnceLock<Signals>,
    /// A byte written to the first end makes the second readable, which ends a wait.
    wake: (UnixStream, UnixStream),
}

impl std::fmt::Debug for Lifecycle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Lifecycle").field("phase", &self.phase()).finish_non_exhaustive()
    }
}

impl Lifecycle {
    /// The state of a server that has not begun. An error is the system's, which has no descriptor
    /// to give.
    pub fn new() -> std::io::Result<Self> {
        let wake = UnixStream::pair()?;
        wake.0.set_nonblocking(true)?;
        wake.1.set_nonblocking(true)?;
        Ok(Self {
            phase: AtomicU8::new(Phase::Starting as u8),
            is_cut: AtomicBool::new(false),
            failure: Mutex::default(),
            on_hang_up: Mutex::default(),
            signals: OnceLock::new(),
            wake,
        })
    }

    /// Where the server stands.
    pub fn phase(&self) -> Phase {
        match self.phase.load(Ordering::SeqCst) {
            0 => Phase::Starting,
            1 => Phase::Ready,
            2 => Phase::Draining,
            _ => Phase::Failed,
        }
    }

    fn advance(&self, to: Phase) {
        self.phase.fetch_max(to as u8, Ordering::SeqCst);
    }

    /// From now on signals are for the server: SIGHUP waits until it runs, and SIGTERM ends the
    /// process until then. Whoever loads a model first should call this before. An error is the
    /// system's.
    pub fn catch_signals(&self) -> std::io::Result<()> {
        if self.signals.get().is_none() {
            // Whoever else calls this at the same time has caught them, too.
            let _ = self.signals.set(Signals::catch(&self.wake.0)?);
        }
        Ok(())
    }

    /// From now on the server stops when `parent` has ended, as on SIGTERM; signals are for the
    /// server, as after [`catch_signals`](Self::catch_signals). To be called on a thread that lives
    /// as long as the process. An error is the system's.
    pub fn stop_with(&self, parent: Parent) -> std::io::Result<()> {
        self.catch_signals()?;
        self.signals.get().map_or(Ok(()), |signals| signals.end_with(parent, &self.wake.0))
    }

    /// Connections are accepted from now on.
    pub(super) fn begin(&self) {
        self.advance(Phase::Ready);
        if let Some(signals) = self.signals.get() {
            signals.begin();
        }
    }

    /// Does what signals have asked for since this was called last.
    pub(super) fn obey_signals(&self) {
        let Some(signals) = self.signals.get() else { return };
        if signals.take_hang_up() {
            self.hang_up();
        }
        if signals.stop_is_requested() {
            self.stop();
        }
    }

    /// Whether requests that cost compute are refused, since the server is about to end.
    pub fn is_ending(&self) -> bool {
        self.phase() >= Phase::Draining
    }

    /// Asks the server to stop, as SIGTERM does: it becomes unready at once, refuses what is new,
    /// and ends when what runs has ended or its time is over.
    pub fn stop(&self) {
        self.advance(Phase::Draining);
        self.wake();
    }

    /// Ends the server with an error: it cannot go on, for this reason.
    pub fn fail(&self, reason: impl Into<String>) {
        lock(&self.failure).get_or_insert(reason.into());
        self.advance(Phase::Failed);
        self.wake();
    }

    /// Why the server cannot go on, if it cannot.
    pub fn failure(&self) -> Option<String> {
        lock(&self.failure).clone()
    }

    /// Whether requests that still run must end now, because the time to drain is over.
    pub fn is_cut(&self) -> bool {
        self.is_cut.load(Ordering::SeqCst)
    }

    pub(super) fn cut(&self) {
        self.is_cut.store(true, Ordering::SeqCst);
    }

    /// Has `run` called whenever SIGHUP comes, on the thread that accepts connections, so it must
    /// be quick: the place to open logs and read keys again.
    pub fn on_hangup(&self, run: impl Fn() + Send + Sync + 'static) {
        lock(&self.on_hang_up).push(Box::new(run));
    }

    fn hang_up(&self) {
        lock(&self.on_hang_up).iter().for_each(|run| run());
    }

    /// Ends the wait of the thread that accepts connections, which then looks at everything anew.
    pub(super) fn wake(&self) {
        // A full pipe wakes too.
        let _ = (&self.wake.0).write(&[0]);
    }

    /// The descriptor that can be read once someone has called [`wake`](Self::wake).
    pub(super) fn woken(&self) -> BorrowedFd<'_> {
        self.wake.1.as_fd()
    }

    /// Takes the bytes of all calls of [`wake`](Self::wake), so that the next wait is one.
    pub(super) fn clear_wakes(&self) {
        let mut piece = [0; 64];
        loop {
            match (&self.wake.1).read(&mut piece) {
                Ok(1..) => {}
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                _ => break,
            }
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::sockets::wait_for_any;
    use std::sync::Arc;
    use std::sync::atomic::AtomicUsize;
    use std::time::Duration;

    #[test]
    fn phases_only_advance() {
        let lifecycle = Lifecycle::new().unwrap();
        assert_eq!(lifecycle.phase(), Phase::Starting);
        lifecycle.begin();
        assert!(lifecycle.phase() == Phase::Ready && !lifecycle.is_ending());
        lifecycle.fail("first");
        lifecycle.fail("second");
        lifecycle.stop();
        assert!(lifecycle.phase() == Phase::Failed && lifecycle.is_ending());
        assert_eq!(lifecycle.failure().as_deref(), Some("first"));
    }

    #[test]
    fn who_waits_is_woken_until_it_has_noticed() {
        let lifecycle = Lifecycle::new().unwrap();
        let is_woken = || wait_for_any(&[lifecycle.woken()], Some(Duration::ZERO)).unwrap()[0];
        assert!(!is_woken());
        (0..100_000).for_each(|_| lifecycle.wake());
        assert!(is_woken());
        lifecycle.clear_wakes();
        assert!(!is_woken());
    }

    #[test]
    fn everybody_hears_of_a_hang_up() {
        let lifecycle = Lifecycle::new().unwrap();
        let count = Arc::new(AtomicUsize::new(0));
        for _ in 0..3 {
            let count = Arc::clone(&count);
            lifecycle.on_hangup(move || {
                count.fetch_add(1, Ordering::Relaxed);
            });
        }
        lifecycle.hang_up();
        assert_eq!(count.load(Ordering::Relaxed), 3);
    }
}
