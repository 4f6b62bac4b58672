//! Whether the engine runs, how often it was started again, and who wants to hear of that.
use super::notice::EngineNotice;
use crate::runtime::error::EngineFailure;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

type OnFailure = Box<dyn FnOnce(&EngineFailure) + Send>;
type OnNotice = Arc<dyn Fn(&EngineNotice) + Send + Sync>;

/// Whether the engine runs, how often it was started again, and who wants to hear of that.
#[derive(Default)]
pub(super) struct Condition {
    state: Mutex<State>,
    /// Told when `has_ended` becomes true.
    ended: Condvar,
}

#[derive(Default)]
struct State {
    failure: Option<EngineFailure>,
    restarts: u64,
    /// Whether no engine runs, and none will.
    has_ended: bool,
    on_failure: Vec<OnFailure>,
    on_notice: Option<OnNotice>,
}

impl std::fmt::Debug for Condition {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let State { failure, restarts, has_ended, .. } = &*self.state();
        f.debug_struct("Condition")
            .field("failure", failure)
            .field("restarts", restarts)
            .field("has_ended", has_ended)
            .finish_non_exhaustive()
    }
}

impl Condition {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Why the engine ended for good, if it did by itself.
    pub(super) fn failure(&self) -> Option<EngineFailure> {
        self.state().failure.clone()
    }

    /// How often the engine was started again.
    pub(super) fn restarts(&self) -> u64 {
        self.state().restarts
    }

    /// Counts a restart, which is about to be tried.
    pub(super) fn count_restart(&self) {
        self.state().restarts += 1;
    }

    /// Notes why the engine ends for good. From now on [`Condition::failure`] says so; those who
    /// asked hear of it from [`Condition::end`].
    pub(super) fn fail(&self, failure: EngineFailure) {
        self.state().failure = Some(failure);
    }

    /// Notes that no engine runs, and none will, and tells those who wait for it.
    pub(super) fn end(&self) {
        let (failure, callbacks) = {
            let mut state = self.state();
            state.has_ended = true;
            self.ended.notify_all();
            let failure = state.failure.clone();
            let callbacks =
                if failure.is_some() { std::mem::take(&mut state.on_failure) } else { Vec::new() };
            (failure, callbacks)
        };
        let Some(failure) = failure else { return };
        self.tell(&EngineNotice::Failed(failure.clone()));
        for callback in callbacks {
            // What the listener does wrong was reported by the hook, and is not ours to repeat.
            let _ = catch_unwind(AssertUnwindSafe(|| callback(&failure)));
        }
    }

    /// Calls `callback` once the engine has failed, at once if it has.
    pub(super) fn on_failure(&self, callback: OnFailure) {
        let failure = {
            let mut state = self.state();
            match state.failure.clone().filter(|_| state.has_ended) {
                Some(failure) => failure,
                None => return state.on_failure.push(callback),
            }
        };
        callback(&failure);
    }

    /// Notices go to `listener` from now on.
    pub(super) fn on_notice(&self, listener: OnNotice) {
        self.state().on_notice = Some(listener);
    }

    /// Hands a notice to the listener.
    pub(super) fn tell(&self, notice: &EngineNotice) {
        let listener = self.state().on_notice.clone();
        if let Some(listener) = listener {
            // The watch must outlive its listener's mistakes.
            let _ = catch_unwind(AssertUnwindSafe(|| listener(notice)));
        }
    }

    /// Waits until no engine runs, and none will, for at most `limit`; whether that is so.
    pub(super) fn wait_for_end(&self, limit: Duration) -> bool {
        let waited = self.ended.wait_timeout_while(self.state(), limit, |state| !state.has_ended);
        waited.unwrap_or_else(PoisonError::into_inner).0.has_ended
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[test]
    fn a_failure_is_told_to_each_listener_once() {
        let condition = Condition::default();
        let count = Arc::new(AtomicUsize::new(0));
        let counts = || {
            let count = Arc::clone(&count);
            move |_: &EngineFailure| {
                count.fetch_add(1, Ordering::SeqCst);
            }
        };
        condition.on_failure(Box::new(|_| panic!("a listener's fault")));
        condition.on_failure(Box::new(counts()));
        let told = Arc::clone(&count);
        condition.on_notice(Arc::new(move |_| {
            told.fetch_add(10, Ordering::SeqCst);
            panic!("a listener's fault")
        }));
        assert!(!condition.wait_for_end(Duration::ZERO));
        condition.fail(EngineFailure::NoNewEngine { panic: "p".to_owned(), error: "e".to_owned() });
        assert_eq!(count.load(Ordering::SeqCst), 0, "it has not ended yet");
        condition.end();
        assert_eq!(count.load(Ordering::SeqCst), 11);
        condition.on_failure(Box::new(counts()));
        assert_eq!(count.load(Ordering::SeqCst), 12, "who comes late hears of it at once");
        assert!(condition.wait_for_end(Duration::from_secs(60)));
    }

    #[test]
    fn an_engine_that_was_told_to_stop_has_not_failed() {
        let condition = Condition::default();
        condition.on_failure(Box::new(|_| panic!("it did not fail")));
        condition.end();
        assert!(condition.wait_for_end(Duration::ZERO) && condition.failure().is_none());
    }
}
