//! `verbatim bench`: how fast a model is here, beside what the machine can do.
//!
//! * `result`: what was measured, and its object of JSON. `text`: the same with bars for a
//!   terminal. `svg`: the same as a picture.
mod result;
mod svg;
mod text;

use super::args::BenchArgs;
use super::hub::missing::fetch_missing;
use super::output;
use super::paint::Paint;
use super::session::{open, tell_notes};
use crate::doctor::root::Root;
use crate::doctor::{Level, neighbours};
use crate::measure::machine::Machine;
use crate::measure::probe::{Bench, measure};
use result::Outcome;
use std::path::Path;
use std::time::Duration;

/// The time of each measurement of the model: a prompt, decoding alone, decoding together.
const TIME: Duration = Duration::from_secs(3);

/// Opens a model, measures the machine and the model, and tells both.
pub(super) fn bench(args: &BenchArgs) -> Result<(), String> {
    let options = args.options()?;
    fetch_missing(&options, args.hub())?;
    let served = open(&options)?;
    tell_notes(&served);
    let busy = neighbours::load(&Root::at(Path::new("/"))).filter(|load| load.level != Level::Well);
    output::note("measuring for some 20 seconds; whatever else runs makes it slower");
    let limits = || {
        let measured = Machine::measure(served.isa, &served.pool);
        measured.map_err(|error| format!("memory to read from: {error}"))
    };
    let before = limits()?;
    let bench = Bench {
        loaded: &served.loaded,
        isa: served.isa,
        pool: &served.pool,
        kv_format: served.limits.kv_format,
    };
    let counts = if args.sequences > 1 { vec![1, args.sequences] } else { vec![1] };
    let measured = measure(bench, &counts, TIME)?;
    // Others only slow a machine down, so the better of two looks is nearer to what it can do.
    let machine = before.better_of(limits()?);
    let outcome = Outcome::new(&served, machine, &measured);
    if args.json {
        output::line(outcome.as_json())?;
    } else {
        output::lines(&text::lines(&outcome, Paint::stdout()))?;
        if let Some(load) = busy {
            output::line(format_args!("measured on a busy machine: {}", load.found))?;
        }
    }
    // Last, so that a file which cannot be written costs no measurement.
    if let Some(file) = &args.svg {
        let written = std::fs::write(file, svg::picture(&outcome));
        written.map_err(|error| format!("--svg {}: {error}", file.display()))?;
    }
    Ok(())
}
