//! `verbatim-sim`: simulates a server's days, and stops at the first bit that is not as it should
//! be.
use clap::Parser;
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};
use verbatim_tests::cluster::arguments::ClusterArguments;
use verbatim_tests::sim::options::{Feature, Options, Over, Setup, Without};
use verbatim_tests::sim::report::{self, Summary};
use verbatim_tests::sim::run::{Failure, run};
use verbatim_tests::sim::shrink::{Small, shrink};

/// Simulates a server: the real engine with a small model, in virtual time.
///
/// One seed decides the requests, their arrival, memory, threads and draft tokens. Every answer
/// must equal, bit for bit, the one that the request gets alone. The program fails at the first
/// answer that differs, and when the runs together missed a class of events that they are there to
/// try.
///
/// With --cluster it simulates many replicas in place of the engine: what clients wait for and
/// where the limits are, by who gets a request.
#[derive(Debug, Parser)]
#[command(name = "verbatim-sim")]
struct Arguments {
    /// How many seeds to run.
    #[arg(long, default_value_t = 64)]
    seeds: u64,
    /// Steps of each seed before faults stop and all requests must finish.
    #[arg(long, default_value_t = 400)]
    steps: u64,
    /// The first seed; the others follow it.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How many seeds run at a time.
    #[arg(long, default_value_t = 1)]
    jobs: usize,
    /// Makes only the requests with these numbers. A failure prints them.
    #[arg(long, value_delimiter = ',')]
    only: Option<Vec<usize>>,
    /// Switches features off. A failure prints them.
    #[arg(long, value_delimiter = ',', value_parser = feature)]
    without: Vec<Feature>,
    /// Computes the steps of every seed on a runner with a thread and a heap of its own.
    #[arg(long)]
    late: bool,
    /// Loses that runner before the command of this number.
    #[arg(long, requires = "late")]
    lost_at: Option<u64>,
    /// Runs every seed twice and compares the hash of its events.
    #[arg(long)]
    twice: bool,
    /// Switches one planted bug on (`tests/mutants`); seeds run one at a time.
    #[arg(long)]
    mutant: Option<String>,
    /// Switches every planted bug on in turn; each must be found within the seeds.
    #[arg(long, conflicts_with = "mutant")]
    mutants: bool,
    /// Prints the options that each seed draws.
    #[arg(long)]
    verbose: bool,
    #[command(flatten)]
    cluster: ClusterArguments,
}

fn feature(name: &str) -> Result<Feature, String> {
    let found = Feature::ALL.iter().find(|feature| feature.name() == name);
    let names: Vec<_> = Feature::ALL.iter().map(|feature| feature.name()).collect();
    found.copied().ok_or_else(|| format!("features are {}", names.join(", ")))
}

impl Arguments {
    fn setup(&self, seed: u64) -> Setup {
        let without = self.without.iter().fold(Without::default(), |without, feature| without.and(*feature));
        let over = if self.late { Over::Late { lost_at: self.lost_at } } else { Over::Cpu };
        Setup { only: self.only.clone(), without, over, ..Setup::new(seed, self.steps) }
    }

    /// Whether one seed is repeated: nothing is shrunk then, and no class of events must be
    /// reached.
    fn is_replay(&self) -> bool {
        self.seeds == 1
    }
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if arguments.cluster.is_asked() {
        return match arguments.cluster.simulate(arguments.seed, arguments.jobs) {
            Ok(text) => {
                print!("{text}");
                ExitCode::SUCCESS
            }
            Err(why) => {
                eprintln!("{why}");
                ExitCode::FAILURE
            }
        };
    }
    std::panic::set_hook(Box::new(|_| {})); // a panic is a failure with a story of its own
    if arguments.mutants || arguments.mutant.is_some() {
        match with_mutants(&arguments) {
            Ok(Some(code)) => return code,
            Ok(None) => {}
            Err(why) => {
                println!("{why}");
                return ExitCode::FAILURE;
            }
        }
    }
    let (summary, took, failed) = simulate(&arguments);
    if let Some((setup, failure)) = failed {
        let small = if arguments.is_replay() {
            Small { setup: setup.clone(), failure, attempts: 0 }
        } else {
            println!("seed {}, step {}: {}\nshrinking ...", setup.seed, failure.step, failure.what);
            shrink(&setup, &failure)
        };
        println!("{}", report::story(&setup, &small, arguments.mutant.as_deref()));
        return ExitCode::FAILURE;
    }
    let mut text = String::new();
    summary.print(&mut text, Some(took)).expect("a string takes it");
    println!("{text}");
    let shortcomings = if arguments.is_replay() { Vec::new() } else { summary.shortcomings() };
    for shortcoming in &shortcomings {
        println!("{shortcoming}");
    }
    if shortcomings.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Builds this program with the planted bugs, and runs that one with the arguments of this one.
#[cfg(not(mutants))]
fn with_mutants(_: &Arguments) -> Result<Option<ExitCode>, String> {
    let program = verbatim_tests::mutants::build()?;
    let status = std::process::Command::new(&program)
        .args(std::env::args_os().skip(1))
        .status()
        .map_err(|error| format!("{}: {error}", program.display()))?;
    Ok(Some(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE }))
}

/// Switches one bug on and returns `None`, or tries them all.
#[cfg(mutants)]
fn with_mutants(arguments: &Arguments) -> Result<Option<ExitCode>, String> {
    use verbatim_core::mutants::{Mutant, set};
    let Some(name) = &arguments.mutant else { return Ok(Some(hunt_all(arguments))) };
    let names: Vec<_> = Mutant::ALL.iter().map(|mutant| mutant.name()).collect();
    let mutant = verbatim_tests::sim::hunt::by_name(name);
    set(Some(mutant.ok_or_else(|| format!("mutants are {}", names.join(", ")))?));
    Ok(None)
}

/// Tries every bug in turn.
#[cfg(mutants)]
fn hunt_all(arguments: &Arguments) -> ExitCode {
    use verbatim_core::mutants::Mutant;
    use verbatim_tests::sim::hunt::hunt;
    let mut missed = 0;
    for mutant in Mutant::ALL {
        print!("{:<18} {:<72} ", mutant.name(), mutant.story());
        match hunt(*mutant, &arguments.setup(arguments.seed), arguments.seeds) {
            Some(found) => {
                let what: String = found.failure.what.chars().take(110).collect();
                println!("found in seed {}, {} steps: {what}", found.setup.seed, found.steps);
            }
            None => {
                missed += 1;
                println!("NOT FOUND in {} seeds", arguments.seeds);
            }
        }
    }
    println!("{} mutants, {} found", Mutant::ALL.len(), Mutant::ALL.len() - missed);
    if missed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Runs the seeds; the first failure ends it.
fn simulate(arguments: &Arguments) -> (Summary, Duration, Option<(Setup, Failure)>) {
    let started = Instant::now();
    let next = AtomicU64::new(0);
    let stop = AtomicBool::new(false);
    let results = Mutex::new((Summary::default(), None));
    // A bug is on or off in the whole process, and off during a solo run.
    let jobs = if arguments.mutant.is_some() { 1 } else { arguments.jobs.max(1) };
    std::thread::scope(|scope| {
        for _ in 0..jobs {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    let i = next.fetch_add(1, Ordering::Relaxed);
                    if i >= arguments.seeds {
                        return;
                    }
                    let setup = arguments.setup(arguments.seed.wrapping_add(i));
                    if arguments.verbose {
                        println!("seed {}: {}", setup.seed, Options::draw(&setup));
                    }
                    let outcome = run_checked(&setup, arguments.twice);
                    let mut results = results.lock().expect("nobody panics with the lock");
                    match outcome {
                        Ok(outcome) => {
                            results.0.add(&outcome);
                            if results.0.seeds.is_multiple_of(200) {
                                let steps = results.0.total.steps;
                                println!(
                                    "{} seeds, {steps} steps, {:.0?}",
                                    results.0.seeds,
                                    started.elapsed()
                                );
                            }
                        }
                        Err(failure) => {
                            stop.store(true, Ordering::Relaxed);
                            results.1.get_or_insert((setup, failure));
                        }
                    }
                }
            });
        }
    });
    let (summary, failed) = results.into_inner().expect("nobody panics with the lock");
    (summary, started.elapsed(), failed)
}

fn run_checked(setup: &Setup, twice: bool) -> Result<verbatim_tests::sim::run::Outcome, Failure> {
    let outcome = run(setup)?;
    if twice {
        let again = run(setup)?;
        if again.log_hash != outcome.log_hash {
            return Err(Failure { step: 0, what: "the same seed made other events".into() });
        }
    }
    Ok(outcome)
}
