//! Priorities of threads, as the system schedules them.

/// How nice a thread is that does work in the background: beside a busy thread it gets about a
/// tenth of a processor, alone all of it.
const NICE: libc::c_int = 10;

/// Lowers the priority of the calling thread for the rest of its life: without privileges it cannot
/// be raised again. Failure leaves it as it was.
pub fn lower_this_thread() {
    // SAFETY: no memory is involved; 0 is the calling thread, not the whole process.
    unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, NICE) };
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nice() -> libc::c_int {
        // SAFETY: no memory is involved.
        unsafe { libc::getpriority(libc::PRIO_PROCESS, 0) }
    }

    #[test]
    fn only_the_calling_thread_becomes_nicer() {
        let before = nice();
        let inner = std::thread::spawn(|| {
            lower_this_thread();
            nice()
        });
        assert_eq!(inner.join().expect("it ends"), before.max(NICE));
        assert_eq!(nice(), before);
    }
}
