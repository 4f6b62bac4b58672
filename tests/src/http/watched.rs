//! What the system says of a process: whether it runs, its descriptors, threads and memory.
use std::time::{Duration, Instant};

/// A process of this machine.
#[derive(Clone, Copy, Debug)]
pub struct Watched(pub u32);

/// What a process holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Holdings {
    /// Descriptors that are open.
    pub descriptor_count: usize,
    /// Threads that run or wait.
    pub thread_count: usize,
    /// Bytes of resident memory.
    pub resident_bytes: usize,
}

impl std::fmt::Display for Holdings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { descriptor_count, thread_count, resident_bytes } = self;
        let mib = *resident_bytes as f64 / f64::from(1 << 20);
        write!(f, "{descriptor_count} descriptors, {thread_count} threads, {mib:.1} MiB")
    }
}

impl Watched {
    fn read(self, file: &str) -> Option<String> {
        std::fs::read_to_string(format!("/proc/{}/{file}", self.0)).ok()
    }

    /// Whether the process has not ended.
    pub fn is_alive(self) -> bool {
        // The state stands behind the name, which is in parentheses and may hold anything.
        let state =
            self.read("stat").and_then(|text| text.rsplit_once(") ").map(|(_, rest)| rest.as_bytes()[0]));
        state.is_some_and(|state| state != b'Z' && state != b'X')
    }

    /// Bytes of resident memory; `None` once the process has ended.
    pub fn resident_bytes(self) -> Option<usize> {
        let status = self.read("status")?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
        line.trim().split(' ').next()?.parse().ok().map(|kib: usize| kib << 10)
    }

    /// Everything that it holds; `None` once it has ended.
    pub fn holdings(self) -> Option<Holdings> {
        let count =
            |folder: &str| std::fs::read_dir(format!("/proc/{}/{folder}", self.0)).ok().map(Iterator::count);
        Some(Holdings {
            descriptor_count: count("fd")?,
            thread_count: count("task")?,
            resident_bytes: self.resident_bytes()?,
        })
    }

    /// Waits until what it holds satisfies `is_right`, at most so long; the last holdings.
    pub fn wait_until(self, patience: Duration, is_right: impl Fn(&Holdings) -> bool) -> Option<Holdings> {
        let end = Instant::now() + patience;
        loop {
            let holdings = self.holdings()?;
            if is_right(&holdings) || Instant::now() > end {
                return Some(holdings);
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

/// Allows this process as many open files as the system lets it have, and returns how many.
pub fn allow_many_files() -> usize {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `limit` is a structure of the kind that both calls read or write, and nothing else.
    unsafe {
        if libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) != 0 {
            return 1024;
        }
        let wanted = libc::rlimit { rlim_cur: limit.rlim_max.min(1 << 16), ..limit };
        if libc::setrlimit(libc::RLIMIT_NOFILE, &wanted) == 0 {
            limit = wanted;
        }
    }
    limit.rlim_cur as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_seen_until_it_has_ended() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().expect("sleep runs");
        let watched = Watched(child.id());
        assert!(watched.is_alive());
        // Between its birth and its program's start it is hardly there.
        let is_there = |held: &Holdings| held.descriptor_count >= 3 && held.resident_bytes > 1 << 16;
        let holdings = watched.wait_until(Duration::from_secs(10), is_there).expect("it runs");
        assert!(is_there(&holdings) && holdings.thread_count == 1, "{holdings}");
        child.kill().expect("it can be ended");
        // Until it is waited for, it is a zombie.
        let end = Instant::now() + Duration::from_secs(10);
        while watched.is_alive() && Instant::now() < end {
            std::thread::sleep(Duration::from_millis(5));
        }
        assert!(!watched.is_alive());
        child.wait().expect("it has ended");
        assert!(watched.holdings().is_none());
    }
}
