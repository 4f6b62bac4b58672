//! What a process may have: CPU time, descriptors, threads, addresses.
use super::Finding;
use super::root::Root;
use crate::sys::cgroup::Groups;

/// Descriptors that a server has for other things than connections.
const OTHER_DESCRIPTORS: u64 = 80;
/// Connections that few servers need more of.
const CONNECTIONS: u64 = 1024;
/// Threads that a busy server may have: one of each connection, and its workers.
const THREADS: u64 = 512;
/// The share of a quota's periods at whose ends processes may be stopped.
const STOPPED_SHARE: f64 = 0.05;

/// The quota of CPU time, and how often it ran out.
pub fn quota(root: &Root) -> Option<Finding> {
    const SUBJECT: &str = "CPU quota";
    let groups = Groups::below(root.folder())?;
    let Some(cpus) = groups.cpu_quota() else {
        return Some(Finding::well(SUBJECT, "none is set"));
    };
    let plural = if cpus == 1 { "" } else { "s" };
    let found = format!("{cpus} CPU{plural}, in whole ones");
    match groups.throttled().map(|of| of.share()) {
        Some(share) if share > STOPPED_SHARE => Some(Finding::doubtful(
            SUBJECT,
            format!("{found}; processes were stopped in {:.0}% of its periods", 100.0 * share),
            "raise the quota (CPUQuota of a unit, limits.cpu of a pod), or run fewer threads in the group",
        )),
        _ => Some(Finding::well(SUBJECT, found)),
    }
}

/// The hard limit of a line of `/proc/self/limits`; `u64::MAX` where there is none.
fn hard_limit(root: &Root, name: &str) -> Option<u64> {
    let text = root.text("proc/self/limits")?;
    let rest = text.lines().find_map(|line| line.strip_prefix(name))?;
    match rest.split_whitespace().nth(1)? {
        "unlimited" => Some(u64::MAX),
        number => number.parse().ok(),
    }
}

/// How many connections there can be.
pub fn descriptors(root: &Root) -> Option<Finding> {
    const SUBJECT: &str = "descriptors";
    const MEND: &str =
        "raise the hard limit: ulimit -Hn 65536, LimitNOFILE= of a unit, nofile of a container";
    let limit = hard_limit(root, "Max open files")?;
    let connections = limit.saturating_sub(OTHER_DESCRIPTORS);
    if connections == 0 {
        return Some(Finding::wrong(SUBJECT, format!("{limit}: too few for any connection"), MEND));
    }
    if connections < CONNECTIONS - OTHER_DESCRIPTORS {
        let found = format!("{limit}, which is {connections} connections at once");
        return Some(Finding::doubtful(SUBJECT, found, MEND));
    }
    Some(Finding::well(SUBJECT, format!("{limit}, enough for {connections} connections")))
}

/// How many threads there can be.
pub fn threads(root: &Root) -> Option<Finding> {
    let limit = hard_limit(root, "Max processes")?;
    if limit >= THREADS {
        return None;
    }
    let found = format!("{limit} for all programs of this user: connections may find none");
    Some(Finding::doubtful("threads", found, "ulimit -Hu 4096, TasksMax= of a unit, pids.max of a container"))
}

/// Whether large files can be mapped.
pub fn address_space(root: &Root) -> Option<Finding> {
    let limit = hard_limit(root, "Max address space")?;
    if limit == u64::MAX {
        return None;
    }
    let found = format!("{limit} bytes: a model that is larger can be neither read nor mapped");
    Some(Finding::doubtful("address space", found, "ulimit -Hv unlimited, LimitAS=infinity of a unit"))
}
