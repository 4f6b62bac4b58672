//! What it costs to hand work to all workers and wait for the end: the futex pool beside the usual
//! ways.
use super::report::{Line, Report, median};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Instant;
use verbatim::cpu::worker_count;
use verbatim::pool::FutexPool;
use verbatim_core::pool::{Phase, Pool};

const RUNS: usize = 2000;

/// Median microseconds of a call.
fn median_us(runs: usize, mut call: impl FnMut()) -> f64 {
    let times = (0..runs)
        .map(|_| {
            let start = Instant::now();
            call();
            start.elapsed().as_secs_f64() * 1e6
        })
        .collect();
    median(times)
}

/// Threads that take closures from one channel and answer on another.
struct ChannelPool {
    tasks: Vec<Sender<()>>,
    done: Receiver<()>,
}

impl ChannelPool {
    fn new(workers: usize) -> Self {
        let (answer, done) = channel();
        let tasks = (0..workers)
            .map(|_| {
                let (send, take) = channel::<()>();
                let answer = answer.clone();
                std::thread::spawn(move || {
                    for task in take {
                        std::hint::black_box(task);
                        if answer.send(()).is_err() {
                            return;
                        }
                    }
                });
                send
            })
            .collect();
        Self { tasks, done }
    }

    fn run(&self) {
        for task in &self.tasks {
            task.send(()).expect("the thread lives");
        }
        for _ in &self.tasks {
            self.done.recv().expect("the threads live");
        }
    }
}

fn measure(report: &Report, workers: usize, when: &str) -> Result<(), String> {
    let nothing = |task: usize, _: usize| {
        std::hint::black_box(task);
    };
    let futex = FutexPool::new(workers).map_err(|error| error.to_string())?;
    futex.run(Phase::Load, workers, &nothing);
    let ours = median_us(RUNS, || futex.run(Phase::Load, workers, &nothing));
    // After 2 ms the workers have gone to sleep: a run must wake them.
    let woken = median_us(RUNS / 20, || {
        std::thread::sleep(std::time::Duration::from_millis(2));
        futex.run(Phase::Load, workers, &nothing);
    }) - median_us(RUNS / 20, || std::thread::sleep(std::time::Duration::from_millis(2)));
    drop(futex);
    report.line(&Line::new(format!("{when}: futex pool, spinning"), ours, "us"));
    report.line(&Line::new(format!("{when}: futex pool, asleep"), woken, "us"));
    let channels = ChannelPool::new(workers);
    let other = median_us(RUNS, || channels.run());
    drop(channels);
    report.line(
        &Line::new(format!("{when}: channels"), other, "us").note(format!("{:.1} x ours", other / ours)),
    );
    let rayon =
        rayon::ThreadPoolBuilder::new().num_threads(workers).build().map_err(|error| error.to_string())?;
    let other = median_us(RUNS, || {
        rayon.broadcast(|_| std::hint::black_box(()));
    });
    report
        .line(&Line::new(format!("{when}: rayon"), other, "us").note(format!("{:.1} x ours", other / ours)));
    let other = median_us(RUNS / 10, || {
        std::thread::scope(|scope| {
            for task in 0..workers {
                scope.spawn(move || std::hint::black_box(task));
            }
        });
    });
    report.line(
        &Line::new(format!("{when}: new threads"), other, "us").note(format!("{:.1} x ours", other / ours)),
    );
    Ok(())
}

/// Prints the latencies, idle and with as many other busy threads as there are workers.
pub(crate) fn report(threads: Option<usize>, json: bool) -> Result<(), String> {
    let workers = worker_count(threads).workers;
    let report = Report::new("pool", json, workers);
    measure(&report, workers, "idle")?;
    let stop = Arc::new(Mutex::new(false));
    let others: Vec<_> = (0..workers)
        .map(|_| {
            let stop = Arc::clone(&stop);
            std::thread::spawn(move || {
                while !*stop.lock().expect("a flag") {
                    for i in 0..100_000 {
                        std::hint::black_box(i);
                    }
                }
            })
        })
        .collect();
    let result = measure(&report, workers, "oversubscribed");
    *stop.lock().expect("a flag") = true;
    for other in others {
        let _ = other.join();
    }
    result
}
