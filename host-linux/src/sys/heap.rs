//! The allocator's settings: how much freed memory it keeps. They are glibc's; another allocator
//! keeps its own.

/// Pools of small memory that threads share. Each keeps what it got at its peak.
#[cfg(target_env = "gnu")]
const ARENAS: libc::c_int = 2;
/// Bytes of an allocation that is mapped alone and goes back to the system when it is freed.
#[cfg(target_env = "gnu")]
const MAPPED_BYTES: libc::c_int = 256 << 10;
/// Freed bytes at the end of a pool that go back to the system.
#[cfg(target_env = "gnu")]
const KEPT_BYTES: libc::c_int = 1 << 20;

/// Bounds what the allocator keeps of freed memory. Called when a server starts, before it has
/// threads; otherwise each of hundreds of threads may get a pool, and the largest body so far
/// decides how much is kept.
pub fn bound_arenas() {
    #[cfg(target_env = "gnu")]
    for (setting, value) in [
        (libc::M_ARENA_MAX, ARENAS),
        (libc::M_MMAP_THRESHOLD, MAPPED_BYTES),
        (libc::M_TRIM_THRESHOLD, KEPT_BYTES),
    ] {
        // SAFETY: a setting of the allocator's own; one that it refuses changes nothing.
        unsafe { libc::mallopt(setting, value) };
    }
}

/// Gives freed memory back to the system, which takes some milliseconds for each gigabyte in use.
pub fn trim() {
    #[cfg(target_env = "gnu")]
    // SAFETY: it may be called at any time, from any thread.
    unsafe {
        libc::malloc_trim(0);
    }
}
