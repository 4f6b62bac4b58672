//! What it costs to hand work to all workers and to wait for the end, for the futex pool and for
//! the usual ways; and whether more threads are ever slower than one.
use super::model::{load, made};
use super::neighbours::{self, Neighbours, Round};
use super::report::{Line, Report, median};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};
use verbatim::load::{Compress, ImageAccess, NoProgress, WeightChoice, builtin, load_model};
use verbatim::sys::cpu::worker_count;
use verbatim::sys::pool::FutexPool;
use verbatim_core::dtype::WeightFormat;
use verbatim_core::isa::Isa;
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
    let wakes = (0..RUNS / 20).map(|_| {
        std::thread::sleep(Duration::from_millis(2));
        let start = Instant::now();
        futex.run(Phase::Load, workers, &nothing);
        start.elapsed().as_secs_f64() * 1e6
    });
    let woken = median(wakes.collect());
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

/// What `verbatim-bench pool` measures, and how often.
#[derive(Debug, clap::Args)]
pub(crate) struct PoolArgs {
    /// Workers [default: as for serving].
    #[arg(long)]
    threads: Option<usize>,
    /// Spinning neighbours beside which one thread and all are compared.
    #[arg(long, value_delimiter = ',', default_values_t = [0, 2, 4])]
    neighbours: Vec<usize>,
    /// Besides the built-in model: a shape to make in the system's temporary folder, such as
    /// tinyllama, in bf16, int8 and int4. Minutes.
    #[arg(long)]
    shape: Option<String>,
}

/// Prints the latencies, idle and beside as many busy threads as there are workers, and then how
/// models fare with neighbours; an error if a bar does not hold.
pub(crate) fn report(args: &PoolArgs, json: bool) -> Result<(), String> {
    let workers = worker_count(args.threads).workers;
    let report = Report::new("pool", json, workers);
    measure(&report, workers, "idle")?;
    let neighbours = Neighbours::start(workers);
    measure(&report, workers, "oversubscribed")?;
    drop(neighbours);
    report.section("decode, one thread and all in turns, beside spinning neighbours");
    let mut failed = 0;
    let isa = Isa::detect();
    let pool = FutexPool::new(workers).map_err(|error| error.to_string())?;
    let loaded = load_model(&builtin::folder(), WeightChoice::default(), &pool, &NoProgress);
    let loaded = loaded.map_err(|error| error.to_string())?;
    let round = Round { rounds: 11, tokens: 256, at_least: Duration::from_millis(600) };
    failed += neighbours::report(&report, ("built-in", &loaded, isa), workers, &args.neighbours, round)?;
    if let Some(shape) = &args.shape {
        let path = made(shape)?;
        for format in [WeightFormat::Bf16, WeightFormat::Int8, WeightFormat::Int4] {
            let choice = WeightChoice { compress: Compress::Off, ..WeightChoice::all(format) };
            let loaded = load(&path, choice, ImageAccess { copy: false, verify: false }, &pool)?;
            let name = format!("{shape} {}", format.name());
            let (model, round) = ((name.as_str(), &loaded, isa), Round::of_large_model());
            failed += neighbours::report(&report, model, workers, &args.neighbours, round)?;
        }
    }
    if failed == 0 { Ok(()) } else { Err(format!("{failed} bars do not hold on this machine in this run")) }
}
