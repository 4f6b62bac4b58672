//! Memory: what is free, what lies in swap, how large its pages are, and how it is promised.
use super::root::Root;
use super::{Finding, gib};
use crate::sys::cgroup::Groups;
use crate::text::quote::quote;

const MEMINFO: &str = "proc/meminfo";
/// What a server takes beside its model, in bytes; with less none will start.
const LEAST: u64 = 100 << 20;
/// With less than this hardly a model fits.
const LITTLE: u64 = 1 << 30;
/// The share of swap in use at which it is worth a word.
const SWAP_SHARE: f64 = 0.1;

/// What may be taken: the lower of what the system has and what control groups leave.
pub fn free(root: &Root) -> Option<Finding> {
    const SUBJECT: &str = "memory";
    let total = root.kilobytes(MEMINFO, "MemTotal");
    let system = root.kilobytes(MEMINFO, "MemAvailable");
    let group = Groups::below(root.folder()).and_then(|groups| groups.memory_left());
    let free = system.into_iter().chain(group).min()?;
    let of = total.map(|total| format!(" of {}", gib(total))).unwrap_or_default();
    let (whose, mend) = match group {
        Some(left) if left == free => (
            ", by the limit of a control group",
            "raise MemoryMax of the unit, or the memory limit of the container or pod",
        ),
        _ => ("", "end programs that hold memory (top -o RES), or take a smaller model or format"),
    };
    let found = format!("{} are free{of}{whose}", gib(free));
    Some(match free {
        ..LEAST => Finding::wrong(SUBJECT, format!("{found}: too little for any server"), mend),
        LEAST..LITTLE => Finding::doubtful(SUBJECT, format!("{found}: small models alone fit"), mend),
        _ => Finding::well(SUBJECT, found),
    })
}

/// What of programs lies on a disk.
pub fn swap(root: &Root) -> Option<Finding> {
    let total = root.kilobytes(MEMINFO, "SwapTotal")?;
    let used = total.saturating_sub(root.kilobytes(MEMINFO, "SwapFree")?);
    if total == 0 {
        return Some(Finding::well("swap", "there is none"));
    }
    let found = format!("{} of {} are in use", gib(used), gib(total));
    if used as f64 > total as f64 * SWAP_SHARE {
        return Some(Finding::doubtful(
            "swap",
            format!("{found}: memory is short, and a server whose pages lie there waits for the disk"),
            "free memory, then swapoff -a && swapon -a (as root); MemorySwapMax=0 keeps a unit out of it",
        ));
    }
    Some(Finding::well("swap", found))
}

/// Whether large tables of addresses are spared.
pub fn huge_pages(root: &Root) -> Option<Finding> {
    const SUBJECT: &str = "huge pages";
    let text = root.text("sys/kernel/mm/transparent_hugepage/enabled")?;
    let chosen = text.split('[').nth(1).and_then(|rest| rest.split(']').next()).unwrap_or(&text);
    Some(match chosen {
        "always" | "madvise" => Finding::well(SUBJECT, format!("transparent, {chosen}")),
        _ => Finding::doubtful(
            SUBJECT,
            format!(
                "transparent huge pages: {}, so weights are read through 4 KiB pages, somewhat slower",
                quote(chosen)
            ),
            "echo madvise > /sys/kernel/mm/transparent_hugepage/enabled (as root)",
        ),
    })
}

/// Whether memory that is free may be refused.
pub fn overcommit(root: &Root) -> Option<Finding> {
    let mode = root.number("proc/sys/vm/overcommit_memory")?;
    (mode == 2).then(|| {
        Finding::doubtful(
            "overcommit",
            "vm.overcommit_memory is 2: memory may be refused though it is free",
            "sysctl vm.overcommit_memory=0 (as root)",
        )
    })
}
