//! What the control groups of this process leave it: CPU time, and memory.
//!
//! A limit of a group holds for all groups below it, so what counts is the tightest limit of the
//! process's own group and of those above it. systemd's `MemoryMax` and `CPUQuota`, a container's
//! limits and a pod's are all such limits, in version 2 of control groups or in version 1. Within a
//! container the own group may be mounted as the root, which the walk upwards ends at.
use std::path::{Path, PathBuf};

/// Where Linux mounts control groups, below the root.
const ROOT: &str = "sys/fs/cgroup";

/// The lowest quota of CPU time, in whole CPUs, at least 1.
pub fn cpu_quota() -> Option<usize> {
    Groups::of_this_process()?.cpu_quota()
}

/// Bytes of memory that the limits still leave. `None` where there is no limit.
pub fn memory_left() -> Option<u64> {
    Groups::of_this_process()?.memory_left()
}

/// Bytes of memory that the tightest limit grants all processes of its group. `None` where there is
/// no limit.
pub fn memory_limit() -> Option<u64> {
    Groups::of_this_process()?.memory_limit()
}

/// Periods of a quota of CPU time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Throttled {
    /// Periods in which any process of the group ran.
    pub periods: u64,
    /// Those of them in which all were stopped until the next.
    pub stopped: u64,
}

impl Throttled {
    /// The share of periods in which processes were stopped, from 0 to 1.
    pub fn share(self) -> f64 {
        self.stopped as f64 / self.periods.max(1) as f64
    }
}

/// The control groups of a process.
#[derive(Debug)]
pub struct Groups {
    /// The folder below which the hierarchies are mounted.
    root: PathBuf,
    /// The text of `/proc/self/cgroup`: a line for each hierarchy.
    lines: String,
}

impl Groups {
    fn of_this_process() -> Option<Self> {
        Self::below(Path::new("/"))
    }

    /// Those of this process as the files below `root` tell them, which is `/` but for tests.
    pub fn below(root: &Path) -> Option<Self> {
        let lines = std::fs::read_to_string(root.join("proc/self/cgroup")).ok()?;
        Some(Self { root: root.join(ROOT), lines })
    }

    /// How often the processes of a group had used up their quota, of how many periods of it.
    /// `None` where no quota is kept. The group that was stopped most often counts.
    pub fn throttled(&self) -> Option<Throttled> {
        let of_folder = |folder: PathBuf| {
            let stat = read(&folder, "cpu.stat")?;
            let of = |name: &str| {
                stat.lines().find_map(|line| line.strip_prefix(name)?.trim().parse::<u64>().ok())
            };
            Some(Throttled { periods: of("nr_periods ")?, stopped: of("nr_throttled ")? })
        };
        let groups = self.folders("cpu").into_iter().filter_map(of_folder);
        groups.filter(|group| group.periods > 0).max_by(|a, b| a.share().total_cmp(&b.share()))
    }

    /// The folders of the groups that may limit what `controller` accounts for.
    fn folders(&self, controller: &str) -> Vec<PathBuf> {
        let mut folders = Vec::new();
        for line in self.lines.lines() {
            let mut fields = line.splitn(3, ':').skip(1);
            let (Some(controllers), Some(path)) = (fields.next(), fields.next()) else { continue };
            let mount = match controllers {
                "" => self.root.clone(),
                _ if controllers.split(',').any(|name| name == controller) => self.root.join(controllers),
                _ => continue,
            };
            let mut path = Some(Path::new(path));
            while let Some(here) = path {
                folders.push(mount.join(here.strip_prefix("/").unwrap_or(here)));
                path = here.parent();
            }
        }
        folders
    }

    /// The lowest quota of CPU time, in whole CPUs, at least 1.
    pub fn cpu_quota(&self) -> Option<usize> {
        let of_folder = |folder: PathBuf| {
            let quota = read(&folder, "cpu.max").and_then(|text| parse_cpu_max(&text));
            quota.or_else(|| {
                parse_cfs(&read(&folder, "cpu.cfs_quota_us")?, &read(&folder, "cpu.cfs_period_us")?)
            })
        };
        self.folders("cpu").into_iter().filter_map(of_folder).min()
    }

    /// Bytes of memory that the limits still leave.
    pub fn memory_left(&self) -> Option<u64> {
        let left = |folder: PathBuf| memory_left_v2(&folder).into_iter().chain(memory_left_v1(&folder)).min();
        self.folders("memory").into_iter().filter_map(left).min()
    }

    fn memory_limit(&self) -> Option<u64> {
        self.folders("memory").iter().filter_map(|folder| memory_limits(folder)).min()
    }
}

/// Limits of version 1 above this are none.
const NO_LIMIT: u64 = 1 << 60;

/// The limits of a group, of either version.
fn memory_limits(folder: &Path) -> Option<u64> {
    let limits = ["memory.max", "memory.high", "memory.limit_in_bytes"].map(|name| number(folder, name));
    limits.into_iter().flatten().filter(|limit| *limit < NO_LIMIT).min()
}

fn read(folder: &Path, name: &str) -> Option<String> {
    std::fs::read_to_string(folder.join(name)).ok()
}

/// A number alone in its file; `max`, which is no limit, is none.
fn number(folder: &Path, name: &str) -> Option<u64> {
    read(folder, name)?.trim().parse().ok()
}

/// What a group of version 2 leaves. Above `memory.high` its processes are slowed down until they
/// hardly run, so that is a limit as much as `memory.max`.
fn memory_left_v2(folder: &Path) -> Option<u64> {
    let limits = ["memory.max", "memory.high"].map(|name| number(folder, name));
    let limit = limits.into_iter().flatten().min()?;
    Some(limit.saturating_sub(in_use(folder, number(folder, "memory.current")?, "inactive_file")))
}

/// What a group of version 1 leaves. Without a limit its number is close to `i64::MAX`.
fn memory_left_v1(folder: &Path) -> Option<u64> {
    let limit = number(folder, "memory.limit_in_bytes")?;
    let used = number(folder, "memory.usage_in_bytes")?;
    Some(limit.saturating_sub(in_use(folder, used, "total_inactive_file")))
}

/// Bytes of `charged` that are in use. Pages of files that were read once, as a checkpoint's are,
/// are charged to the group but given up as soon as anybody wants the memory.
fn in_use(folder: &Path, charged: u64, idle: &str) -> u64 {
    let stat = read(folder, "memory.stat").unwrap_or_default();
    let idle = stat.lines().find_map(|line| line.strip_prefix(idle)?.trim().parse::<u64>().ok());
    charged.saturating_sub(idle.unwrap_or(0))
}

fn whole_cpus(quota: u64, period: u64) -> Option<usize> {
    (period > 0).then(|| ((quota / period) as usize).max(1))
}

/// `"max 100000"` or `"150000 100000"`.
fn parse_cpu_max(text: &str) -> Option<usize> {
    let (quota, period) = text.trim().split_once(' ')?;
    whole_cpus(quota.parse().ok()?, period.parse().ok()?)
}

/// −1 is no limit.
fn parse_cfs(quota: &str, period: &str) -> Option<usize> {
    whole_cpus(quota.trim().parse().ok()?, period.trim().parse().ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use verbatim_tests::temporary::TemporaryDirectory;

    /// The groups that `lines` name, in a tree of files.
    fn groups(lines: &str, files: &[(&str, &str)]) -> (TemporaryDirectory, Groups) {
        let directory = TemporaryDirectory::new("cgroup");
        for (path, text) in files {
            let path = directory.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        let groups = Groups { root: directory.path().to_owned(), lines: lines.to_owned() };
        (directory, groups)
    }

    #[test]
    fn quotas_round_down_to_at_least_one() {
        assert_eq!(parse_cpu_max("max 100000\n"), None);
        assert_eq!(parse_cpu_max("250000 100000\n"), Some(2));
        assert_eq!(parse_cpu_max("50000 100000"), Some(1));
        assert_eq!(parse_cpu_max("1 0"), None);
        assert_eq!(parse_cpu_max("rubbish"), None);
        assert_eq!(parse_cfs("-1\n", "100000\n"), None);
        assert_eq!(parse_cfs("399999", "100000"), Some(3));
    }

    #[test]
    fn the_group_that_was_stopped_most_often_counts() {
        let (_directory, groups) = groups(
            "0::/a/b\n",
            &[
                ("a/b/cpu.stat", "usage_usec 9\nnr_periods 100\nnr_throttled 3\nthrottled_usec 1\n"),
                ("a/cpu.stat", "nr_periods 10\nnr_throttled 5\n"),
                ("cpu.stat", "usage_usec 9\n"),
            ],
        );
        let throttled = groups.throttled().expect("a quota is kept");
        assert_eq!(throttled, Throttled { periods: 10, stopped: 5 });
        assert_eq!(throttled.share(), 0.5);
        std::fs::write(groups.root.join("a/cpu.stat"), "nr_periods 0\nnr_throttled 99\n").unwrap();
        assert_eq!(groups.throttled().map(|of| of.periods), Some(100), "without a period nothing is known");
        std::fs::write(groups.root.join("a/b/cpu.stat"), [0xff; 9]).unwrap();
        assert_eq!(groups.throttled(), None);
    }

    #[test]
    fn both_kinds_of_groups_are_found() {
        let folders = |lines: &str| {
            let groups = Groups { root: PathBuf::from("/r"), lines: lines.to_owned() };
            groups.folders("cpu").into_iter().map(|path| path.display().to_string()).collect::<Vec<_>>()
        };
        assert_eq!(folders("0::/user.slice/a\n"), ["/r/user.slice/a", "/r/user.slice", "/r/"]);
        let v1 = folders("3:cpu,cpuacct:/docker/x\n2:memory:/docker/x\nbroken");
        assert_eq!(v1, ["/r/cpu,cpuacct/docker/x", "/r/cpu,cpuacct/docker", "/r/cpu,cpuacct/"]);
        assert!(folders("").is_empty());
    }

    #[test]
    fn a_units_memory_max_is_what_is_left() {
        let (_directory, groups) = groups(
            "0::/system.slice/verbatim.service\n",
            &[
                ("system.slice/verbatim.service/memory.max", "8000\n"),
                ("system.slice/verbatim.service/memory.high", "max\n"),
                ("system.slice/verbatim.service/memory.current", "3000\n"),
                ("system.slice/verbatim.service/memory.stat", "anon 900\ninactive_file 2000\n"),
                ("system.slice/memory.max", "max\n"),
                ("system.slice/memory.current", "90000\n"),
                ("system.slice/verbatim.service/cpu.max", "max 100000\n"),
                ("system.slice/cpu.max", "300000 100000\n"),
            ],
        );
        assert_eq!(groups.memory_limit(), Some(8000));
        assert_eq!(groups.memory_left(), Some(7000), "pages of files that were read once do not count");
        assert_eq!(groups.cpu_quota(), Some(3), "a slice's quota holds for its services");
    }

    #[test]
    fn the_tightest_group_decides() {
        let (_directory, mut groups) = groups(
            "0::/a/b\n",
            &[
                ("a/b/memory.max", "8000\n"),
                ("a/b/memory.current", "1000\n"),
                ("a/memory.high", "5000\n"),
                ("a/memory.current", "4900\n"),
            ],
        );
        assert_eq!(groups.memory_left(), Some(100));
        // Within a container the own group is the root, under whatever name it has outside.
        std::fs::write(groups.root.join("memory.max"), "70").unwrap();
        std::fs::write(groups.root.join("memory.current"), "90").unwrap();
        groups.lines = "0::/docker/0123\n".to_owned();
        assert_eq!(groups.memory_left(), Some(0), "never less than nothing");
        groups.lines = String::new();
        assert_eq!(groups.memory_left(), None);
    }

    #[test]
    fn groups_of_version_1_count_too() {
        let (_directory, groups) = groups(
            "4:memory:/docker/x\n9:cpu,cpuacct:/docker/x\n0::/\n",
            &[
                ("memory/docker/x/memory.limit_in_bytes", "6000\n"),
                ("memory/docker/x/memory.usage_in_bytes", "2500\n"),
                ("memory/docker/x/memory.stat", "inactive_file 1\ntotal_inactive_file 500\n"),
                ("memory/memory.limit_in_bytes", "9223372036854771712\n"),
                ("memory/memory.usage_in_bytes", "70000\n"),
                ("cpu,cpuacct/docker/x/cpu.cfs_quota_us", "150000\n"),
                ("cpu,cpuacct/docker/x/cpu.cfs_period_us", "50000\n"),
            ],
        );
        assert_eq!((groups.memory_left(), groups.memory_limit()), (Some(4000), Some(6000)));
        assert_eq!(groups.cpu_quota(), Some(3));
    }
}
