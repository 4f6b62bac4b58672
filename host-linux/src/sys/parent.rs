//! The process that started this one: whether it has ended, and a signal that comes when it has.
//!
//! The system sends that signal when the *thread* ends that has started this process, which may be
//! one of many of its parent. So the signal alone means nothing: whoever gets it asks
//! [`Parent::has_ended`].
use signal_hook::consts::SIGUSR1;
use std::io;

/// The signal that [`tell_of_end`] has the system send. Nothing else here uses it.
pub(super) const END_SIGNAL: libc::c_int = SIGUSR1;

/// The process that started this one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parent(u32);

impl Parent {
    /// The parent as it is now: to be asked for as early as can be, since another process takes the
    /// place of one that has ended.
    ///
    /// # Errors
    /// This is the first process of a container, or its parent is outside of it: its end cannot be
    /// seen from here.
    pub fn now() -> io::Result<Self> {
        match std::os::unix::process::parent_id() {
            0 => Err(io::Error::other("the end of a parent outside of this container cannot be seen")),
            id => Ok(Self(id)),
        }
    }

    /// Whether the parent has ended. May be asked where a signal is handled.
    pub fn has_ended(self) -> bool {
        std::os::unix::process::parent_id() != self.0
    }
}

/// Has the system send [`END_SIGNAL`] to this process when the thread that started it ends. To be
/// called on a thread that lives as long as the process does: the wish ends with it.
pub(super) fn tell_of_end() -> io::Result<()> {
    // SAFETY: no memory is involved; the number is the one argument that this operation reads.
    let done = unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, END_SIGNAL as libc::c_ulong) };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_runs_the_tests_has_not_ended() {
        let parent = Parent::now().expect("tests have a parent");
        assert!(!parent.has_ended());
        assert!(Parent(u32::MAX).has_ended());
    }
}
