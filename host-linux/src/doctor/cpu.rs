//! Cores, their clock, and the nodes of memory that they are near to.
use super::Finding;
use super::root::{Root, list_len};
use crate::sys::cpu::physical_cores;
use crate::text::quote::quote;

const CPUS: &str = "sys/devices/system/cpu";
const NODES: &str = "sys/devices/system/node";
/// The share of its greatest clock that a CPU may reach without a word about it.
const CLOCK_SHARE: f64 = 0.9;

/// The CPU's name, its cores, and those of them that the process may run on.
pub fn cores(root: &Root) -> Option<Finding> {
    let name = root.field("proc/cpuinfo", "model name").map_or_else(|| "CPU".to_owned(), |name| quote(&name));
    let allowed = root.field("proc/self/status", "Cpus_allowed_list").and_then(|list| list_len(&list));
    let online = root.text(&format!("{CPUS}/online")).and_then(|list| list_len(&list));
    let cores = physical_cores(&root.path(CPUS)).map(|count| count as u64);
    let (allowed, online) = (allowed.or(online)?, online.or(allowed)?);
    let cores = cores.unwrap_or(online);
    let found = format!("{name}: {cores} cores, {online} CPUs, of which this process may use {allowed}");
    if allowed < cores {
        return Some(Finding::doubtful(
            "cores",
            format!("{found}: the others stay idle"),
            "run it without taskset, or give the container's or unit's cpuset more CPUs",
        ));
    }
    Some(Finding::well("cores", found))
}

/// The governor of the clock, and whether the clock is held down.
pub fn clock(root: &Root) -> Option<Finding> {
    const SUBJECT: &str = "clock";
    let file = |cpu: &str, name: &str| format!("{CPUS}/{cpu}/cpufreq/{name}");
    let cpus = root.numbered(CPUS, "cpu");
    let first = cpus.iter().find(|cpu| root.text(&file(cpu, "scaling_governor")).is_some());
    let Some(first) = first else {
        return Some(Finding::well(SUBJECT, "no governor is told, as in most virtual machines"));
    };
    let of = |name: &str| root.text(&file(first, name)).unwrap_or_default();
    let (governor, driver) = (of("scaling_governor"), of("scaling_driver"));
    // These drivers leave the clock to the hardware, whatever the governor is called.
    let is_by_hardware = driver == "intel_pstate" || driver.starts_with("amd-pstate-epp");
    let told = format!("governor {} ({})", quote(&governor), quote(&driver));
    if governor == "powersave" && !is_by_hardware {
        return Some(Finding::doubtful(
            SUBJECT,
            format!("{told}: CPUs stay at their lowest clock"),
            "cpupower frequency-set -g performance (as root)",
        ));
    }
    let (least, most) = cpus
        .iter()
        .filter_map(|cpu| {
            let limit = root.number(&file(cpu, "scaling_max_freq"))?;
            Some((limit, root.number(&file(cpu, "cpuinfo_max_freq"))?))
        })
        .min_by_key(|(limit, _)| *limit)
        .unwrap_or_default();
    if (least as f64) < most as f64 * CLOCK_SHARE {
        return Some(Finding::doubtful(
            SUBJECT,
            format!("{told}: the clock may reach {least} kHz of {most}"),
            format!("cpupower frequency-set -u {most}kHz (as root)"),
        ));
    }
    Some(Finding::well(SUBJECT, told))
}

/// Whether the memory has near and far parts.
pub fn nodes(root: &Root) -> Option<Finding> {
    const SUBJECT: &str = "NUMA";
    let nodes = root.numbered(NODES, "node");
    let list = root.field("proc/self/status", "Cpus_allowed_list");
    let (count, allowed) = (nodes.len(), list.as_deref().map(numbers).unwrap_or_default());
    if count < 2 {
        return (count == 1).then(|| Finding::well(SUBJECT, "all memory is equally near"));
    }
    let used = nodes.iter().filter(|node| {
        let cpus = root.text(&format!("{NODES}/{node}/cpulist")).unwrap_or_default();
        let here = numbers(&cpus);
        allowed.iter().any(|(first, last)| here.iter().any(|(a, b)| first <= b && a <= last))
    });
    let used = used.count();
    if used == 1 {
        return Some(Finding::well(SUBJECT, format!("the process runs on one of {count} nodes")));
    }
    Some(Finding::doubtful(
        SUBJECT,
        format!("the process runs on {used} of {count} nodes, and reads far memory more slowly"),
        "one server for each node: numactl -N NODE -m NODE verbatim serve …",
    ))
}

/// The first and last numbers of the parts of a list such as `0-3,8`.
fn numbers(list: &str) -> Vec<(u32, u32)> {
    let of_part = |part: &str| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        Some((first.trim().parse().ok()?, last.trim().parse().ok()?))
    };
    list.split(',').filter_map(of_part).collect()
}
