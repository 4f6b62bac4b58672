//! What busy neighbours cost: decode on one thread and on all, in turns, beside threads that spin
//! on the CPUs that the pool would use.
use super::report::{Bar, Line, Report, median};
use super::speed::{Case, run};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use verbatim::load::LoadedModel;
use verbatim::sys::pool::FutexPool;
use verbatim_core::isa::Isa;
use verbatim_core::pool::Pool;

/// The share of one thread's speed that all workers must reach, however busy the machine is.
const BAR: f64 = 0.95;

/// Threads that do nothing but take time, until this is dropped.
pub(crate) struct Neighbours {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Neighbours {
    pub(crate) fn start(count: usize) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let spin = |stop: Arc<AtomicBool>| {
            move || {
                while !stop.load(Ordering::Relaxed) {
                    std::hint::black_box(0);
                }
            }
        };
        let threads = (0..count).map(|_| std::thread::spawn(spin(Arc::clone(&stop)))).collect();
        Self { stop, threads }
    }
}

impl Drop for Neighbours {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

/// How long one measurement lasts.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Round {
    /// Rounds; each measures one thread and then all.
    pub(crate) rounds: usize,
    /// Tokens of a generation after a prompt of one token.
    pub(crate) tokens: usize,
    /// A round repeats generations until this time has passed.
    pub(crate) at_least: Duration,
}

impl Round {
    /// Rounds for a model whose steps take tens of milliseconds or more; 0, 2 and 4 neighbours
    /// together take under 5 minutes where one thread decodes at least 6 tokens a second.
    pub(crate) fn of_large_model() -> Self {
        Self { rounds: 5, tokens: 16, at_least: Duration::from_millis(1500) }
    }
}

/// Measures tokens a second of a round. All of its decode time counts, pauses too.
fn rate(loaded: &LoadedModel, isa: Isa, pool: &dyn Pool, round: Round) -> Result<f64, String> {
    let start = Instant::now();
    let (mut tokens, mut seconds) = (0, 0.0);
    while tokens == 0 || start.elapsed() < round.at_least {
        let speed = run(loaded, isa, pool, &Case { rounds: 1, ..Case::one(1, round.tokens) })?;
        seconds += speed.decode_sum;
        tokens += round.tokens;
    }
    Ok(tokens as f64 / seconds)
}

/// Prints one thread's tokens a second beside all workers', in turns, for each number of
/// neighbours; returns how many bars do not hold.
pub(crate) fn report(
    report: &Report,
    (name, loaded, isa): (&str, &LoadedModel, Isa),
    workers: usize,
    counts: &[usize],
    round: Round,
) -> Result<usize, String> {
    let new = |workers| FutexPool::new(workers).map_err(|error| error.to_string());
    let (one, all) = (new(1)?, new(workers)?);
    let mut failed = 0;
    for count in counts {
        let neighbours = Neighbours::start(*count);
        // Not counted: the pool finds out what its workers are worth here.
        rate(loaded, isa, &all, round)?;
        let (mut ones, mut alls, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..round.rounds {
            ones.push(rate(loaded, isa, &one, round)?);
            alls.push(rate(loaded, isa, &all, round)?);
            ratios.push(alls[alls.len() - 1] / ones[ones.len() - 1]);
        }
        drop(neighbours);
        let case = format!("{name}, beside {count}");
        report.line(&Line::new(format!("{case}: 1 thread"), median(ones), "tokens/s"));
        report.line(&Line::new(format!("{case}: {workers} threads"), median(alls), "tokens/s"));
        let (bar, ratio) = (Bar::AtLeast(BAR), median(ratios));
        failed += usize::from(!bar.holds(ratio));
        report.line(&Line::new(format!("{case}: {workers} threads over 1"), ratio, "").bar(bar));
    }
    Ok(failed)
}
