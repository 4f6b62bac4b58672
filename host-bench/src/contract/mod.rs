//! What the contract costs, and what it makes possible at no cost: each case with its bar.
//!
//! * [`traffic`]: mixed traffic beside a fixed batch; a prefix that many prompts share.
//! * [`drafting`]: speculation by lookup and by the model itself in int4, on text that is copied,
//!   random, and real.
//! * [`gap`]: a running stream while a long prompt arrives.
//! * [`constrained`]: streams whose output has a form beside free ones.
//! * [`cycle`]: the model that cycles; [`drive`]: requests through an engine; [`served`]:
//!   a model behind an engine thread.
mod constrained;
mod cycle;
mod drafting;
mod drive;
mod gap;
mod served;
mod traffic;

use super::model::ModelChoice;
use super::report::{Bar, Line, Report};
use std::path::PathBuf;
use verbatim::sys::cpu::worker_count;
use verbatim::sys::pool::FutexPool;
use verbatim_core::isa::Isa;

/// The cases to run, and what they need besides the model.
#[derive(Debug, clap::Args)]
pub(crate) struct ContractArgs {
    /// Cases to run: mixed, prefix, cycle, copies, random, self, gap, constrained [default: all].
    #[arg(long, value_delimiter = ',')]
    cases: Vec<String>,
    /// Real models, checkpoints with a tokenizer, on which agreement of int4 with bf16 is measured
    /// beside the built-in model.
    #[arg(long = "real", value_name = "PATH")]
    real: Vec<PathBuf>,
    /// Milliseconds that a step should take, in the case gap.
    #[arg(long, default_value_t = 200)]
    step_ms: u64,
    /// Instruction set: auto, avx512, avx512-amx, avx512-bf16, avx512-fma, avx2, neon or portable.
    #[arg(long, default_value = "auto")]
    isa: String,
}

const CASES: [&str; 8] = ["mixed", "prefix", "cycle", "copies", "random", "self", "gap", "constrained"];

/// The rows of the table so far.
struct Table {
    report: Report,
    failed: usize,
}

impl Table {
    fn row(&mut self, line: Line, bar: Bar) {
        self.failed += usize::from(!bar.holds(line.value));
        self.report.line(&line.bar(bar));
    }

    /// Adds a ratio that must reach a bar.
    fn at_least(&mut self, case: &str, value: f64, bar: f64, note: &str) {
        self.row(Line::new(case, value, "x").note(note), Bar::AtLeast(bar));
    }

    /// Adds a time in milliseconds that must not pass a bar.
    fn at_most_ms(&mut self, case: &str, value: f64, bar: f64, note: &str) {
        self.row(Line::new(case, value, "ms").note(note), Bar::AtMost(bar));
    }

    /// Adds a figure without a bar.
    fn figure(&mut self, case: &str, value: f64, unit: &'static str, note: &str) {
        self.report.line(&Line::new(case, value, unit).note(note));
    }
}

/// Prints the table; an error if a bar does not hold.
pub(crate) fn report(
    model: &ModelChoice,
    args: &ContractArgs,
    threads: Option<usize>,
    json: bool,
) -> Result<(), String> {
    if let Some(case) = args.cases.iter().find(|case| !CASES.contains(&case.as_str())) {
        return Err(format!("--cases {case}: expected some of {}", CASES.join(", ")));
    }
    let is_asked = |case: &str| args.cases.is_empty() || args.cases.iter().any(|asked| asked == case);
    let isa = Isa::from_name(&args.isa).ok_or_else(|| format!("--isa {}: this CPU has it not", args.isa))?;
    let path = model.resolve()?;
    let workers = worker_count(threads).workers;
    let pool = FutexPool::new(workers).map_err(|error| error.to_string())?;
    let mut table = Table { report: Report::new("contract", json, workers), failed: 0 };
    let machine = (isa, &pool);
    traffic::report(&mut table, (&path, model.access()), machine, &is_asked)?;
    drafting::report(&mut table, (&path, model.access()), machine, &is_asked, &args.real)?;
    drop(pool);
    if is_asked("gap") {
        gap::report(&mut table, &path, (isa, threads), args.step_ms)?;
    }
    if is_asked("constrained") {
        constrained::report(&mut table, &path, (isa, threads))?;
    }
    let failed = table.failed;
    if failed == 0 { Ok(()) } else { Err(format!("{failed} bars do not hold on this machine in this run")) }
}
