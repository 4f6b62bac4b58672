//! How many workers a machine is good for, how much memory is free, what the CPU is called, and
//! permission to use its matrix unit.
//!
//! The number of workers is the lowest of: the CPUs this process may run on (affinity), the CPU
//! time its cgroup may use (quota, rounded down), and the physical cores (two threads of a core
//! share the vector units that a kernel keeps busy).
use super::cgroup;
use std::collections::BTreeSet;
use std::path::Path;

/// A number of workers and what bounds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WorkerCount {
    /// Threads, the caller's included; at least 1.
    pub workers: usize,
    /// The lowest bound, which decided.
    pub bound: Bound,
}

/// What bounds the number of workers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bound {
    /// The caller gave the number.
    Requested,
    /// The CPUs this process may run on.
    Affinity,
    /// The CPU time that the cgroup may use.
    Quota,
    /// The physical cores, of which each counts once.
    Cores,
}

impl Bound {
    /// What to call the bound in a report.
    pub fn name(self) -> &'static str {
        match self {
            Self::Requested => "request",
            Self::Affinity => "CPU affinity",
            Self::Quota => "cgroup quota",
            Self::Cores => "physical cores",
        }
    }
}

/// As many workers as are requested, else as many as the machine is good for.
pub fn worker_count(requested: Option<usize>) -> WorkerCount {
    if let Some(workers) = requested {
        return WorkerCount { workers: workers.max(1), bound: Bound::Requested };
    }
    let bounds = [
        (Some(affinity()), Bound::Affinity),
        (physical_cores(Path::new("/sys/devices/system/cpu")), Bound::Cores),
        (cgroup::cpu_quota(), Bound::Quota),
    ];
    let mut min = WorkerCount { workers: usize::MAX, bound: Bound::Affinity };
    for (workers, bound) in bounds {
        if let Some(workers) = workers.filter(|workers| *workers < min.workers) {
            min = WorkerCount { workers: workers.max(1), bound };
        }
    }
    min
}

fn affinity() -> usize {
    // SAFETY: the set is plain bits, and sched_getaffinity writes at most its size.
    unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        if libc::sched_getaffinity(0, size_of::<libc::cpu_set_t>(), &raw mut set) == 0 {
            return libc::CPU_COUNT(&set).max(1) as usize;
        }
    }
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Distinct cores, from the lists of threads that share one in `root`, which Linux has at
/// `/sys/devices/system/cpu`.
pub fn physical_cores(root: &Path) -> Option<usize> {
    let mut cores = BTreeSet::new();
    for entry in std::fs::read_dir(root).ok()?.flatten() {
        let name = entry.file_name();
        let Some(number) = name.to_str().and_then(|name| name.strip_prefix("cpu")) else { continue };
        if number.parse::<u32>().is_err() {
            continue;
        }
        let siblings = std::fs::read_to_string(entry.path().join("topology/thread_siblings_list"));
        cores.insert(siblings.ok()?.trim().to_owned());
    }
    (!cores.is_empty()).then_some(cores.len())
}

/// Asks Linux for the state of the matrix unit (AMX), without which the unit cannot be used, and
/// tells the core. Where there is no such unit, or a kernel before 5.16, nothing happens: the other
/// instruction sets give the same bits.
pub fn allow_matrix_unit() {
    #[cfg(target_arch = "x86_64")]
    {
        const ARCH_REQ_XCOMP_PERM: libc::c_int = 0x1023;
        const XFEATURE_XTILEDATA: libc::c_ulong = 18;
        // SAFETY: the call lets this process use more state, in all its threads, and touches no
        // memory. The kernel refuses where a thread's signal stack is too small for it.
        unsafe {
            if libc::syscall(libc::SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA) == 0 {
                verbatim_core::isa::Isa::allow_matrix_unit();
            }
        }
    }
}

/// The name of the CPU model, as Linux tells it.
pub fn model_name() -> String {
    let text = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let name = text.lines().find_map(|line| {
        let (key, value) = line.split_once(':')?;
        (key.trim() == "model name").then(|| value.trim().to_owned())
    });
    name.unwrap_or_else(|| std::env::consts::ARCH.to_owned())
}

/// Memory that this process may still take, in bytes: the lower of what the system has and what the
/// limits of its control groups leave. `None` if neither is known.
pub fn available_memory() -> Option<u64> {
    system_memory().into_iter().chain(cgroup::memory_left()).min()
}

/// What the system could give without swapping, as Linux estimates it.
fn system_memory() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let kibibytes = text.lines().find_map(|line| {
        line.strip_prefix("MemAvailable:")?.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()
    })?;
    Some(kibibytes.saturating_mul(1024))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_a_worker() {
        assert_eq!(worker_count(Some(0)).workers, 1);
        assert_eq!(worker_count(Some(7)), WorkerCount { workers: 7, bound: Bound::Requested });
        assert!((1..4096).contains(&worker_count(None).workers));
        assert!(!model_name().is_empty());
    }

    #[test]
    fn memory_is_left() {
        // Other processes may take some between the two looks, so one of many pairs must be right.
        let is_right = || {
            let left = available_memory().expect("Linux tells it");
            left > 1 << 20 && system_memory().is_some_and(|system| left <= system)
        };
        assert!((0..100).any(|_| is_right()));
    }
}
