//! What the system says of the server's memory and threads, asked once a second at most.
use super::event::{MemoryPart, WorkerPart};
use crate::runtime::ServedModel;
use crate::sys::threads::{ThreadTimes, Threads};
use crate::sys::{cgroup, cpu, process};
use std::time::{Duration, Instant};

/// How long an answer of the system is told.
const ASKED_EVERY: Duration = Duration::from_secs(1);
/// The thread that owns the engine, which computes along with the others.
const ENGINE: &str = "verbatim-engine";
/// How the names of the other threads begin that compute; a number follows.
const WORKER: &str = "verbatim-";

/// Memory and threads as they were when the system was asked last.
#[derive(Debug)]
pub(super) struct Machine {
    threads: Threads,
    /// What the threads had had by then, and when that was.
    before: Vec<ThreadTimes>,
    asked: Option<Instant>,
    pub(super) workers: Vec<WorkerPart>,
    pub(super) memory: MemoryPart,
}

/// Whether a thread of this name computes.
fn computes(name: &str) -> bool {
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    name == ENGINE || name.strip_prefix(WORKER).is_some_and(is_number)
}

/// What a thread is called on the dashboard.
fn shown(name: &str) -> String {
    if name == ENGINE { "engine".to_owned() } else { name.replace(WORKER, "worker ") }
}

/// The shares of `time` that a thread ran and waited for a processor, between two readings.
fn shares(before: &ThreadTimes, after: &ThreadTimes, time: Duration) -> (f64, f64) {
    let share = |from: Duration, to: Duration| {
        let share = to.saturating_sub(from).as_secs_f64() / time.as_secs_f64();
        (share.min(1.0) * 1e3).round() / 1e3
    };
    (share(before.ran, after.ran), share(before.delayed, after.delayed))
}

impl Machine {
    pub(super) fn new() -> Self {
        Self {
            threads: Threads::new(computes),
            before: Vec::new(),
            asked: None,
            workers: Vec::new(),
            memory: MemoryPart::default(),
        }
    }

    /// Asks the system, if that is long enough ago.
    pub(super) fn refresh(&mut self, model: &ServedModel) {
        let now = Instant::now();
        let time = self.asked.map(|asked| now.saturating_duration_since(asked));
        if time.is_some_and(|time| time < ASKED_EVERY) {
            return;
        }
        self.asked = Some(now);
        self.memory = memory(model);
        let after = self.threads.read();
        let workers = after.iter().map(|of| {
            let before = self.before.iter().find(|before| before.name == of.name);
            let shares = before.zip(time).map(|(before, time)| shares(before, of, time));
            let (cpu, delayed) = shares.unzip();
            WorkerPart { name: shown(&of.name), cpu, delayed }
        });
        self.workers = workers.collect();
        self.before = after;
    }
}

fn memory(model: &ServedModel) -> MemoryPart {
    let draft = model.draft_model.as_ref().map_or(0, |draft| draft.loaded.image().len());
    let bytes = |bytes: usize| bytes as u64;
    MemoryPart {
        weights: bytes(model.loaded.image().len() + draft),
        engine: bytes(model.plan.total_bytes()),
        kv: bytes(model.plan.kv_bytes()),
        resident: process::resident_bytes(),
        available: cpu::available_memory(),
        limit: cgroup::memory_limit(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_that_compute_are_known_by_name() {
        for (name, is_one) in [
            ("verbatim-engine", true),
            ("verbatim-1", true),
            ("verbatim-12", true),
            ("verbatim-watch", false),
            ("verbatim-", false),
            ("verbatim", false),
        ] {
            assert_eq!(computes(name), is_one, "{name}");
        }
        assert_eq!(
            (shown("verbatim-engine").as_str(), shown("verbatim-12").as_str()),
            ("engine", "worker 12")
        );
        let times = |ran, delayed| ThreadTimes {
            name: String::new(),
            ran: Duration::from_millis(ran),
            delayed: Duration::from_millis(delayed),
        };
        assert_eq!(shares(&times(100, 0), &times(850, 250), Duration::from_secs(1)), (0.75, 0.25));
        assert_eq!(shares(&times(100, 9), &times(2000, 1), Duration::from_secs(1)), (1.0, 0.0));
    }
}
