//! What a person reads: the sum of many runs, and the story of one that failed.
use super::coverage::{Class, Coverage};
use super::options::{Options, Over, Setup};
use super::run::Outcome;
use super::shrink::Small;
use std::fmt;
use std::time::Duration;

/// The sum over runs.
#[derive(Clone, Debug, Default)]
pub struct Summary {
    /// The number of runs.
    pub seeds: u64,
    /// Of these, with contexts beyond two attention splits.
    pub long_seeds: u64,
    /// Sums over runs; the hash is that of the hashes, in any order.
    pub total: Outcome,
}

impl Summary {
    /// Adds the outcome of a run.
    pub fn add(&mut self, outcome: &Outcome) {
        let mut run = Self { seeds: 1, long_seeds: u64::from(outcome.is_long), total: outcome.clone() };
        run.total.coverage = Coverage::default();
        run.total.coverage.add_seed(&outcome.coverage);
        self.merge(&run);
    }

    /// Adds the sum over other runs.
    pub fn merge(&mut self, other: &Summary) {
        self.seeds += other.seeds;
        self.long_seeds += other.long_seeds;
        let (total, more) = (&mut self.total, &other.total);
        total.steps += more.steps;
        total.rows += more.rows;
        total.requests += more.requests;
        total.compared += more.compared;
        total.tokens += more.tokens;
        total.oracle_steps += more.oracle_steps;
        total.live += more.live;
        total.running += more.running;
        total.lost += more.lost;
        total.worst_wait_percent = total.worst_wait_percent.max(more.worst_wait_percent);
        total.log_hash ^= more.log_hash;
        total.coverage.merge(&more.coverage);
    }

    /// Live sequences in the mean step.
    pub fn mean_live(&self) -> f64 {
        self.total.live as f64 / self.total.steps.max(1) as f64
    }

    /// What is wrong with the runs as a whole: an event class that none of them reached, too few
    /// long contexts, too small a crowd.
    pub fn shortcomings(&self) -> Vec<String> {
        let missing = self.total.coverage.missing();
        let mut list: Vec<String> =
            missing.map(|class| format!("never reached: {}", class.label())).collect();
        if self.long_seeds * 20 < self.seeds {
            list.push(format!(
                "{} of {} seeds passed two attention splits: fewer than 5%",
                self.long_seeds, self.seeds
            ));
        }
        if self.mean_live() < 4.0 {
            list.push(format!("{:.1} live sequences in the mean step: fewer than 4", self.mean_live()));
        }
        list
    }

    /// Writes the report, with the time that the runs took if it is given.
    pub fn print(&self, f: &mut impl fmt::Write, took: Option<Duration>) -> fmt::Result {
        let t = &self.total;
        write!(f, "{} seeds, {} steps", self.seeds, t.steps)?;
        if let Some(took) = took {
            let seconds = took.as_secs_f64().max(1e-9);
            write!(f, " in {seconds:.1} s: {:.0} steps/s", t.steps as f64 / seconds)?;
        }
        writeln!(f)?;
        writeln!(
            f,
            "{} requests, {} choices compared with their solo runs ({} steps), {} tokens, {} rows",
            t.requests, t.compared, t.oracle_steps, t.tokens, t.rows
        )?;
        writeln!(
            f,
            "mean step: {:.1} rows, {:.1} live sequences, {:.1} of them running; longest wait {}% of what is allowed",
            t.rows as f64 / t.steps.max(1) as f64,
            self.mean_live(),
            t.running as f64 / t.steps.max(1) as f64,
            t.worst_wait_percent
        )?;
        writeln!(
            f,
            "{} seeds passed two attention splits; hash of all events {:016x}",
            self.long_seeds, t.log_hash
        )?;
        writeln!(f, "\n{:<40} {:>12} {:>8}", "event", "times", "seeds")?;
        let Coverage { times, seeds } = &t.coverage;
        for (class, (times, seeds)) in Class::ALL.iter().zip(times.iter().zip(seeds)) {
            writeln!(f, "{:<40} {times:>12} {seeds:>8}", class.label())?;
        }
        Ok(())
    }
}

/// The command line that repeats a run.
pub fn command(setup: &Setup, mutant: Option<&str>) -> String {
    let mut command = "cargo run --release -p verbatim-tests --bin verbatim-sim -- --seeds 1".to_owned();
    command.push_str(&format!(" --seed {} --steps {}", setup.seed, setup.steps));
    let list = |items: Vec<String>| items.join(",");
    if let Some(only) = &setup.only {
        command.push_str(&format!(" --only {}", list(only.iter().map(usize::to_string).collect())));
    }
    let without: Vec<String> = setup.without.list().map(|feature| feature.name().into()).collect();
    if !without.is_empty() {
        command.push_str(&format!(" --without {}", list(without)));
    }
    match setup.over {
        Over::Cpu => {}
        Over::Late { lost_at: None } => command.push_str(" --late"),
        Over::Late { lost_at: Some(at) } => command.push_str(&format!(" --late --lost-at {at}")),
    }
    if let Some(mutant) = mutant {
        command.push_str(&format!(" --mutant {mutant}"));
    }
    command
}

/// What a person reads of a failure: the seed, the shrunk run, and how to repeat it.
pub fn story(setup: &Setup, small: &Small, mutant: Option<&str>) -> String {
    let Small { setup: smaller, failure, attempts } = small;
    let requests = smaller.only.as_ref().map_or("all".into(), |only| only.len().to_string());
    format!(
        "seed {} fails.\n  {}\nShrunk in {attempts} runs to {} steps, {requests} requests, {} features less; there, in step {}:\n  {}\n  {}\nReplay it with\n  {}\n",
        setup.seed,
        Options::draw(setup),
        smaller.steps,
        smaller.without.list().count(),
        failure.step,
        failure.what,
        Options::draw(smaller),
        command(smaller, mutant),
    )
}
