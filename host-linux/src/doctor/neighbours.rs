//! Who else takes the time of the CPUs: other processes, and other virtual machines.
use super::Finding;
use super::root::{Root, list_len};
use std::time::Duration;

/// Processes that want to run, for each CPU, at which a server shares its cores.
const LOAD: f64 = 0.5;
/// The share of time that the host of a virtual machine may take for others.
const STOLEN: f64 = 0.02;

/// How many processes wanted to run in the last minute.
pub fn load(root: &Root) -> Option<Finding> {
    const SUBJECT: &str = "load";
    let text = root.text("proc/loadavg")?;
    let load: f64 = text.split_whitespace().next()?.parse().ok().filter(|load: &f64| load.is_finite())?;
    let cpus =
        root.text("sys/devices/system/cpu/online").and_then(|list| list_len(&list)).unwrap_or(1).max(1);
    let found = format!("{load:.1} processes wanted to run in the last minute, on {cpus} CPUs");
    if load > LOAD * cpus as f64 {
        return Some(Finding::doubtful(
            SUBJECT,
            format!("{found}: a server shares its cores, and is slower"),
            "see who (top), and give the server CPUs of its own: CPUAffinity=, cpuset, taskset",
        ));
    }
    Some(Finding::well(SUBJECT, found))
}

/// Time of all CPUs since the start, in ticks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Ticks {
    all: u64,
    stolen: u64,
}

/// The first line of `/proc/stat`: `cpu`, then user, nice, system, idle, iowait, irq, softirq,
/// steal; what follows is a part of user and nice.
fn ticks(root: &Root) -> Option<Ticks> {
    let text = root.text("proc/stat")?;
    let line = text.lines().next()?.strip_prefix("cpu ")?;
    let numbers: Vec<u64> = line.split_whitespace().map_while(|word| word.parse().ok()).take(8).collect();
    let all = numbers.iter().fold(0, |sum: u64, number| sum.saturating_add(*number));
    Some(Ticks { all, stolen: numbers.get(7).copied().unwrap_or(0) })
}

/// The share of time that the host of a virtual machine took for others, in the pause between two
/// looks, or since the start where no time has passed.
pub fn stolen(root: &Root, pause: Duration) -> Option<Finding> {
    const SUBJECT: &str = "stolen time";
    let before = ticks(root)?;
    std::thread::sleep(pause);
    let after = ticks(root)?;
    let passed = after.all.saturating_sub(before.all);
    let (of, when) = if passed > 0 {
        (Ticks { all: passed, stolen: after.stolen.saturating_sub(before.stolen) }, "now")
    } else {
        (after, "since the start")
    };
    if of.all == 0 {
        return None;
    }
    let share = of.stolen as f64 / of.all as f64;
    let found = format!("the host takes {:.1}% of the CPUs' time for others {when}", 100.0 * share);
    if share > STOLEN {
        return Some(Finding::doubtful(
            SUBJECT,
            format!("{found}: speed will vary"),
            "a machine with cores of its own (dedicated, or not overcommitted)",
        ));
    }
    Some(Finding::well(SUBJECT, found))
}
