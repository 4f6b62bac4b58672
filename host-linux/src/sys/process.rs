//! What the system says of this process: the numbers that every Prometheus client tells.
use std::path::Path;

/// This process as the system sees it. A number that cannot be read is none.
#[derive(Clone, Copy, Debug, Default)]
pub struct ProcessFigures {
    /// Bytes of memory that it holds.
    pub resident_bytes: Option<u64>,
    /// Threads that run in it.
    pub threads: Option<u64>,
    /// Descriptors that are open.
    pub open_fds: Option<u64>,
    /// Descriptors that may be open.
    pub max_fds: Option<u64>,
    /// Seconds of processor time that it has used.
    pub cpu_seconds: Option<f64>,
}

/// Reads all figures, from some small files below `/proc/self`.
pub fn figures() -> ProcessFigures {
    let root = Path::new("/proc/self");
    let read = |name: &str| std::fs::read_to_string(root.join(name)).unwrap_or_default();
    let (status, limits, stat) = (read("status"), read("limits"), read("stat"));
    // The one descriptor that the listing itself needs is not counted.
    let listed = std::fs::read_dir(root.join("fd")).ok().map(|listing| listing.flatten().count() as u64);
    ProcessFigures {
        resident_bytes: resident(&status),
        threads: first_number(&status, "Threads:"),
        open_fds: listed.map(|count| count.saturating_sub(1)),
        max_fds: first_number(&limits, "Max open files"),
        cpu_seconds: cpu_ticks(&stat).map(|ticks| ticks as f64 / TICKS_A_SECOND),
    }
}

/// Bytes of memory that this process holds: what [`figures`] tells, without the rest.
pub fn resident_bytes() -> Option<u64> {
    resident(&std::fs::read_to_string("/proc/self/status").unwrap_or_default())
}

fn resident(status: &str) -> Option<u64> {
    first_number(status, "VmRSS:").map(|kilobytes| kilobytes * 1024)
}

/// What the kernel calls `USER_HZ`, the unit of times in `/proc`: 100 on every architecture that is
/// supported.
const TICKS_A_SECOND: f64 = 100.0;

/// The first number after a line's beginning.
fn first_number(text: &str, beginning: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(beginning))?;
    line.split_whitespace().next()?.parse().ok()
}

/// User and system time. The name of the program, which may hold anything, ends at the last
/// parenthesis; times are the 12th and 13th field after it.
fn cpu_ticks(stat: &str) -> Option<u64> {
    let (_, fields) = stat.rsplit_once(") ")?;
    let mut times = fields.split(' ').skip(11).map(str::parse::<u64>);
    Some(times.next()?.ok()? + times.next()?.ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_has_figures() {
        let before = figures();
        let file = std::fs::File::open("/proc/self/stat").expect("a file");
        let ProcessFigures { resident_bytes, threads, open_fds, max_fds, cpu_seconds } = figures();
        assert!(super::resident_bytes() > Some(1 << 20));
        assert!(resident_bytes > Some(1 << 20) && threads >= Some(1) && cpu_seconds >= Some(0.0));
        assert!(open_fds <= max_fds && before.open_fds >= Some(3), "{open_fds:?} {max_fds:?}");
        drop(file);
        assert_eq!(cpu_ticks("1 (a) b) S 1 1 1 0 -1 4 0 0 0 0 250 50 0 0 20"), Some(300));
    }
}
