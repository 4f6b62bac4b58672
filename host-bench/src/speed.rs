//! Where the time of a model goes: a pool that notes how long the tasks of each phase took. How
//! fast a model is, the server's own library measures.
use std::sync::Mutex;
use std::time::{Duration, Instant};
pub(crate) use verbatim::measure::speed::{Case, Speed, bytes_read, multiplied, operations, run};
use verbatim_core::pool::{Phase, Pool};

/// A pool that notes how long the tasks of each phase took.
pub(crate) struct Timed<'p> {
    pool: &'p dyn Pool,
    /// The time of each phase: in each run, that of the worker whose tasks took longest.
    phases: Mutex<Vec<(Phase, Duration)>>,
}

impl<'p> Timed<'p> {
    pub(crate) fn new(pool: &'p dyn Pool) -> Self {
        Self { pool, phases: Mutex::new(Vec::new()) }
    }

    /// Takes the seconds of each phase since the last call.
    pub(crate) fn take(&self) -> Vec<(Phase, Duration)> {
        std::mem::take(&mut self.phases.lock().expect("nobody panics with the lock"))
    }
}

// SAFETY: every run goes to another pool as it is.
unsafe impl Pool for Timed<'_> {
    fn workers(&self) -> usize {
        self.pool.workers()
    }

    fn run(&self, phase: Phase, tasks: usize, job: &(dyn Fn(usize, usize) + Sync)) {
        self.timed(phase, job, &|job| self.pool.run(phase, tasks, job));
    }

    fn run_sized(&self, phase: Phase, tasks: usize, elements: usize, job: &(dyn Fn(usize, usize) + Sync)) {
        self.timed(phase, job, &|job| self.pool.run_sized(phase, tasks, elements, job));
    }

    fn begin_step(&self, size: usize) {
        self.pool.begin_step(size);
    }

    fn end_step(&self) {
        self.pool.end_step();
    }
}

type Job<'a> = &'a (dyn Fn(usize, usize) + Sync);

impl Timed<'_> {
    /// Hands a run on, with a job that notes its time.
    fn timed(&self, phase: Phase, job: Job<'_>, run: &dyn Fn(Job<'_>)) {
        let busy: Vec<Mutex<Duration>> = (0..self.workers()).map(|_| Mutex::default()).collect();
        run(&|task, worker| {
            let start = Instant::now();
            job(task, worker);
            *busy[worker].lock().expect("one worker") += start.elapsed();
        });
        let longest = busy.iter().map(|busy| *busy.lock().expect("all have ended")).max().unwrap_or_default();
        let mut phases = self.phases.lock().expect("nobody panics with the lock");
        match phases.iter_mut().find(|(known, _)| *known == phase) {
            Some((_, sum)) => *sum += longest,
            None => phases.push((phase, longest)),
        }
    }
}
