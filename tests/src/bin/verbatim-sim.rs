//! `verbatim-sim`: simulates a server's days, and stops at the first bit that is not as it should
//! be.
use clap::Parser;
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};
use verbatim_tests::sim::options::{Feature, Options, Over, Setup, Without};
use verbatim_tests::sim::report::{self, Summary};
use verbatim_tests::sim::run::{Failure, run};
use verbatim_tests::sim::shrink::{Small, shrink};

/// Simulates a server of the real engine on a small model: one seed decides what is asked, when, in
/// which memory, on which threads, with which guesses; every answer must be, bit for bit, what the
/// request gets alone. Fails at the first that is not, and when a run as a whole missed an event
/// that it is there to try.
#[derive(Debug, Parser)]
#[command(name = "verbatim-sim")]
struct Arguments {
    /// Seeds to run.
    #[arg(long, default_value_t = 64)]
    seeds: u64,
    /// Steps of each, before faults stop and everything must finish.
    #[arg(long, default_value_t = 400)]
    steps: u64,
    /// The first seed.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Seeds that run at a time.
    #[arg(long, default_value_t = 1)]
    jobs: usize,
    /// Makes only these requests, by number: what a failure prints.
    #[arg(long, value_delimiter = ',')]
    only: Option<Vec<usize>>,
    /// Switches features off: what a failure prints.
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
    /// Switches a bug on (in a build with `--cfg mutants`); one seed at a time.
    #[arg(long)]
    mutant: Option<String>,
    /// Switches every bug on in turn; each must be found within the seeds.
    #[arg(long)]
    mutants: bool,
    /// Prints what each seed decides.
    #[arg(long)]
    verbose: bool,
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

    /// A run that explains itself: nothing is to be shrunk, and one run need not reach everything.
    fn is_replay(&self) -> bool {
        self.seeds == 1
    }
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    std::panic::set_hook(Box::new(|_| {})); // a panic is a failure with a story of its own
    if let Err(why) = switch_on(&arguments) {
        println!("{why}");
        return ExitCode::FAILURE;
    }
    if arguments.mutants {
        return hunt_all(&arguments);
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

#[cfg(not(mutants))]
fn switch_on(arguments: &Arguments) -> Result<(), String> {
    match arguments.mutants || arguments.mutant.is_some() {
        true => Err("this build has no mutants: build with RUSTFLAGS='--cfg mutants'".into()),
        false => Ok(()),
    }
}

#[cfg(not(mutants))]
fn hunt_all(_: &Arguments) -> ExitCode {
    ExitCode::FAILURE
}

#[cfg(mutants)]
fn switch_on(arguments: &Arguments) -> Result<(), String> {
    use verbatim_core::mutants::{Mutant, set};
    use verbatim_tests::sim::mutants::by_name;
    if let Some(name) = &arguments.mutant {
        let names: Vec<_> = Mutant::ALL.iter().map(|mutant| mutant.name()).collect();
        let mutant = by_name(name).ok_or_else(|| format!("mutants are {}", names.join(", ")))?;
        set(Some(mutant));
    }
    Ok(())
}

/// Every bug in turn.
#[cfg(mutants)]
fn hunt_all(arguments: &Arguments) -> ExitCode {
    use verbatim_core::mutants::Mutant;
    use verbatim_tests::sim::mutants::hunt;
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
    // A bug is on or off in the whole process, and off while a judge runs.
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
