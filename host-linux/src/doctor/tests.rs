//! Machines as folders of files: good ones, poor ones, odd and hostile ones.
use super::disk::cache;
use super::root::{Root, list_len};
use super::*;
use crate::load::resolve::CacheLocations;
use std::fs;
use std::path::Path;
use verbatim_tests::temporary::TemporaryDirectory;

/// A machine with nothing to complain of.
const GOOD: &[(&str, &str)] = &[
    ("proc/cpuinfo", "processor\t: 0\nmodel name\t: Good CPU\n"),
    ("proc/self/status", "Name:\tx\nCpus_allowed_list:\t0-3\n"),
    ("proc/self/cgroup", "0::/a\n"),
    (
        "proc/self/limits",
        "Limit                     Soft Limit           Hard Limit           Units     \n\
         Max processes             62000                62000                processes \n\
         Max open files            1024                 1048576              files     \n\
         Max address space         unlimited            unlimited            bytes     \n",
    ),
    (
        "proc/meminfo",
        "MemTotal:       16000000 kB\nMemAvailable:   12000000 kB\nSwapTotal: 1000 kB\nSwapFree: 990 kB\n",
    ),
    ("proc/loadavg", "0.10 0.20 0.30 1/100 4711\n"),
    ("proc/stat", "cpu  100 0 100 9790 0 0 0 10 0 0\ncpu0 1 2 3\n"),
    ("proc/sys/vm/overcommit_memory", "0\n"),
    ("sys/devices/system/cpu/online", "0-3\n"),
    ("sys/devices/system/cpu/cpu0/topology/thread_siblings_list", "0,2\n"),
    ("sys/devices/system/cpu/cpu1/topology/thread_siblings_list", "1,3\n"),
    ("sys/devices/system/cpu/cpu2/topology/thread_siblings_list", "0,2\n"),
    ("sys/devices/system/cpu/cpu3/topology/thread_siblings_list", "1,3\n"),
    ("sys/devices/system/cpu/cpu0/cpufreq/scaling_governor", "powersave\n"),
    ("sys/devices/system/cpu/cpu0/cpufreq/scaling_driver", "intel_pstate\n"),
    ("sys/devices/system/cpu/cpu0/cpufreq/scaling_max_freq", "3000000\n"),
    ("sys/devices/system/cpu/cpu0/cpufreq/cpuinfo_max_freq", "3100000\n"),
    ("sys/devices/system/node/node0/cpulist", "0-3\n"),
    ("sys/kernel/mm/transparent_hugepage/enabled", "always [madvise] never\n"),
    ("sys/fs/cgroup/a/cpu.max", "max 100000\n"),
    ("sys/fs/cgroup/a/memory.max", "max\n"),
];

fn put(folder: &Path, files: &[(&str, impl AsRef<[u8]>)]) {
    for (name, bytes) in files {
        let path = folder.join(name);
        fs::create_dir_all(path.parent().expect("a folder")).expect("folders are made");
        fs::write(path, bytes).expect("a file is written");
    }
}

/// What is found on a machine that differs from the good one in some files.
fn found(changed: &[(&str, &str)]) -> Vec<Finding> {
    let directory = TemporaryDirectory::new("doctor");
    put(directory.path(), GOOD);
    put(directory.path(), changed);
    examine(&Root::at(directory.path()), Duration::ZERO)
}

/// The one finding about a subject.
fn about(subject: &str, changed: &[(&str, &str)]) -> Finding {
    let mut all = found(changed);
    all.retain(|finding| finding.subject == subject);
    assert_eq!(all.len(), 1, "{subject}: {all:?}");
    all.remove(0)
}

#[test]
fn a_good_machine_is_well() {
    let all = found(&[]);
    assert!(all.iter().all(|finding| finding.level == Level::Well && finding.mend.is_none()), "{all:?}");
    let told: Vec<_> = all.iter().map(|finding| (finding.subject, finding.found.as_str())).collect();
    assert!(
        told.contains(&("cores", "Good CPU: 2 cores, 4 CPUs, of which this process may use 4")),
        "{told:?}"
    );
    assert!(told.contains(&("memory", "11.4 GiB are free of 15.3 GiB")), "{told:?}");
    assert!(told.contains(&("descriptors", "1048576, enough for 1048496 connections")), "{told:?}");
    assert!(
        told.contains(&("stolen time", "the host takes 0.1% of the CPUs' time for others since the start"))
    );
}

#[test]
fn what_is_poor_is_told_with_what_to_do() {
    for (subject, file, text, part) in [
        ("cores", "proc/self/status", "Cpus_allowed_list:\t0\n", "of which this process may use 1"),
        (
            "clock",
            "sys/devices/system/cpu/cpu0/cpufreq/scaling_driver",
            "acpi-cpufreq",
            "CPUs stay at their lowest clock",
        ),
        (
            "clock",
            "sys/devices/system/cpu/cpu0/cpufreq/scaling_max_freq",
            "1000000",
            "the clock may reach 1000000 kHz of 3100000",
        ),
        ("NUMA", "sys/devices/system/node/node1/cpulist", "2-3", "runs on 2 of 2 nodes"),
        ("memory", "proc/meminfo", "MemAvailable: 900000 kB", "small models alone fit"),
        ("swap", "proc/meminfo", "SwapTotal: 1000 kB\nSwapFree: 0 kB", "memory is short"),
        (
            "huge pages",
            "sys/kernel/mm/transparent_hugepage/enabled",
            "always madvise [never]",
            "huge pages: never",
        ),
        ("overcommit", "proc/sys/vm/overcommit_memory", "2", "may be refused"),
        (
            "descriptors",
            "proc/self/limits",
            "Max open files   256   512   files",
            "512, which is 432 connections",
        ),
        ("threads", "proc/self/limits", "Max processes   50  100  processes", "100 for all programs"),
        ("address space", "proc/self/limits", "Max address space   1  1000  bytes", "1000 bytes"),
        ("load", "proc/loadavg", "7.50 0 0 1/1 1", "shares its cores"),
        ("stolen time", "proc/stat", "cpu 50 0 0 40 0 0 0 10", "10.0% of the CPUs' time"),
    ] {
        let finding = about(subject, &[(file, text)]);
        assert_eq!(finding.level, Level::Doubtful, "{finding:?}");
        assert!(finding.found.contains(part), "no {part:?} in {finding:?}");
        assert!(finding.mend.is_some_and(|mend| !mend.is_empty()));
    }
    let within = [("sys/devices/system/node/node1/cpulist", "4-7")];
    assert_eq!(about("NUMA", &within).level, Level::Well, "one node is enough for whoever stays there");
}

#[test]
fn what_cannot_serve_is_wrong() {
    let memory = about("memory", &[("proc/meminfo", "MemAvailable: 1000 kB")]);
    assert_eq!(memory.level, Level::Wrong, "{memory:?}");
    let none = about("descriptors", &[("proc/self/limits", "Max open files  10  64  files")]);
    assert_eq!(none.level, Level::Wrong, "{none:?}");
}

#[test]
fn control_groups_are_asked_below_the_root_too() {
    let quota = [
        ("sys/fs/cgroup/a/cpu.max", "250000 100000"),
        ("sys/fs/cgroup/a/cpu.stat", "nr_periods 100\nnr_throttled 50\n"),
    ];
    let told = about("CPU quota", &quota);
    assert_eq!(
        (told.level, told.found.as_str()),
        (Level::Doubtful, "2 CPUs, in whole ones; processes were stopped in 50% of its periods")
    );
    let limit = [("sys/fs/cgroup/a/memory.max", "600000000"), ("sys/fs/cgroup/a/memory.current", "0")];
    let told = about("memory", &limit);
    assert!(told.found.contains("by the limit of a control group"), "{told:?}");
    assert!(told.mend.is_some_and(|mend| mend.contains("MemoryMax")));
}

#[test]
fn odd_and_hostile_files_are_left_out() {
    let empty = TemporaryDirectory::new("doctor-empty");
    let told = examine(&Root::at(empty.path()), Duration::ZERO);
    assert!(told.iter().all(|finding| finding.level == Level::Well), "nothing is known: {told:?}");
    let long = "9".repeat((1 << 20) + 1);
    for odd in
        ["", "\n\n", "-1", "99999999999999999999999999 kB", "a\u{1b}[31mb", "0-", "4294967295-0", &long]
    {
        // Each file in turn, and all of them at once.
        let all: Vec<_> = GOOD.iter().map(|(name, _)| (*name, odd)).collect();
        for changed in all.chunks(1).chain([&all[..]]) {
            for finding in found(changed) {
                let text = format!("{}{}", finding.found, finding.mend.unwrap_or_default());
                assert!(!text.contains(['\u{1b}', '\n']) && text.len() < 500, "{text}");
            }
        }
    }
    let directory = TemporaryDirectory::new("doctor-odd");
    put(directory.path(), &[("proc/loadavg", [0xff, 0xfe, 0]), ("proc/stat", [0x80; 3])]);
    fs::create_dir_all(directory.path().join("proc/meminfo")).expect("a folder in place of a file");
    let told = examine(&Root::at(directory.path()), Duration::ZERO);
    assert!(told.iter().all(|finding| finding.level == Level::Well), "{told:?}");
}

#[test]
fn lists_of_cpus_are_counted() {
    let cases = [("0", Some(1)), ("0-3,8,10-11", Some(7)), ("", None), ("3-0", None), ("x", None)];
    for (list, count) in cases {
        assert_eq!(list_len(list), count, "{list}");
    }
}

#[test]
fn the_cache_is_where_the_variables_say() {
    let nowhere = cache(&CacheLocations::default());
    assert_eq!(nowhere.level, Level::Doubtful, "{nowhere:?}");
    let directory = TemporaryDirectory::new("doctor-cache");
    let hub = directory.path().join("hub");
    let at = CacheLocations { hub_cache: Some(hub.clone()), ..CacheLocations::default() };
    assert!(cache(&at).found.contains("not there yet"), "{:?}", cache(&at));
    fs::create_dir_all(hub.join("models--a--b")).expect("a model");
    fs::create_dir_all(hub.join("datasets--a--b")).expect("something else");
    assert!(cache(&at).found.contains(": 1 model, "), "{:?}", cache(&at));
    fs::remove_dir_all(&hub).expect("it was there");
    fs::write(&hub, "a file in place of the folder").expect("written");
    assert_eq!(cache(&at).level, Level::Doubtful, "{:?}", cache(&at));
}
