//! Pools that run tasks in unusual orders, which must change no result.
use std::sync::atomic::{AtomicUsize, Ordering};
use verbatim_core::pool::{Phase, Pool};

/// Runs all tasks on one thread, in an order and under worker numbers that differ from run to run.
#[derive(Debug)]
pub struct Permuting {
    workers: usize,
    runs: AtomicUsize,
}

impl Permuting {
    /// A pool that claims to have this many workers.
    pub fn new(workers: usize) -> Self {
        assert!(workers > 0);
        Self { workers, runs: AtomicUsize::new(0) }
    }
}

// SAFETY: one thread runs each task once; calls do not overlap; workers are in range.
unsafe impl Pool for Permuting {
    fn workers(&self) -> usize {
        self.workers
    }

    fn run(&self, _phase: Phase, tasks: usize, job: &(dyn Fn(usize, usize) + Sync)) {
        let run = self.runs.fetch_add(1, Ordering::Relaxed);
        // Multiplying by an odd number and adding permutes the numbers below a power of two.
        let padded = tasks.next_power_of_two();
        for i in 0..padded {
            let task = (i * (2 * run + 1) + run) % padded;
            if task < tasks {
                job(task, (task + run) % self.workers);
            }
        }
    }
}

/// Counts runs by phase and hands the tasks on.
#[derive(Debug)]
pub struct Counting<P> {
    inner: P,
    heads: AtomicUsize,
    products: AtomicUsize,
}

impl<P> Counting<P> {
    /// Counts what `inner` runs.
    pub fn new(inner: P) -> Self {
        Self { inner, heads: AtomicUsize::new(0), products: AtomicUsize::new(0) }
    }

    /// How many products of layers, and how many of the output head, ran since the last call. A
    /// product of a single task does not reach the pool and is not counted.
    pub fn take(&self) -> (usize, usize) {
        (self.products.swap(0, Ordering::Relaxed), self.heads.swap(0, Ordering::Relaxed))
    }
}

// SAFETY: everything is the inner pool's.
unsafe impl<P: Pool> Pool for Counting<P> {
    fn workers(&self) -> usize {
        self.inner.workers()
    }

    fn run(&self, phase: Phase, tasks: usize, job: &(dyn Fn(usize, usize) + Sync)) {
        self.count(phase);
        self.inner.run(phase, tasks, job);
    }

    fn run_sized(&self, phase: Phase, tasks: usize, elements: usize, job: &(dyn Fn(usize, usize) + Sync)) {
        self.count(phase);
        self.inner.run_sized(phase, tasks, elements, job);
    }

    fn begin_step(&self, size: usize) {
        self.inner.begin_step(size);
    }

    fn end_step(&self) {
        self.inner.end_step();
    }
}

impl<P> Counting<P> {
    fn count(&self, phase: Phase) {
        match phase {
            Phase::Qkv | Phase::AttentionOutput | Phase::GateUp | Phase::Down => {
                self.products.fetch_add(1, Ordering::Relaxed);
            }
            Phase::Head => {
                self.heads.fetch_add(1, Ordering::Relaxed);
            }
            _ => {}
        }
    }
}
