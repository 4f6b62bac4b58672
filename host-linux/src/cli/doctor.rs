//! `verbatim doctor`: what of this machine is well, what is not, and how to mend it.
use super::args::DoctorArgs;
use super::output;
use super::paint::Paint;
use super::selftest::wrong_sets;
use crate::doctor::root::Root;
use crate::doctor::{Finding, Level, disk, examine};
use crate::load::resolve::CacheLocations;
use crate::sys::cpu::allow_matrix_unit;
use serde_json::{Value, json};
use std::path::Path;
use std::time::Duration;
use verbatim_core::isa::Isa;

/// The time between two looks at who takes the time of the CPUs.
const PAUSE: Duration = Duration::from_millis(500);

/// Looks at the machine; an error if something is wrong.
pub(super) fn doctor(args: &DoctorArgs) -> Result<(), String> {
    let mut all = examine(&Root::at(Path::new("/")), PAUSE);
    all.insert(0, instructions());
    all.push(disk::cache(&CacheLocations::from_env()));
    all.push(bits());
    if args.json {
        output::line(as_json(&all))?;
    } else {
        output::lines(&lines(&all, Paint::stdout()))?;
    }
    match count(&all, Level::Wrong) {
        0 => Ok(()),
        1 => Err("one thing is wrong with this machine".to_owned()),
        wrong => Err(format!("{wrong} things are wrong with this machine")),
    }
}

fn instructions() -> Finding {
    const SUBJECT: &str = "instructions";
    allow_matrix_unit();
    let best = Isa::detect();
    let known: Vec<_> = Isa::available().iter().map(|isa| isa.name()).collect();
    let found = format!("{}, the best of {}", best.name(), known.join(", "));
    if best == Isa::PORTABLE {
        return Finding::doubtful(
            SUBJECT,
            format!("{found}: the same answers, many times slower"),
            "a CPU with AVX2 or NEON; in a virtual machine, a CPU model that shows them (host-passthrough)",
        );
    }
    Finding::well(SUBJECT, found)
}

/// Whether the self-test finds the right bits.
fn bits() -> Finding {
    const SUBJECT: &str = "bits";
    const MEND: &str = "take the machine out of service, and report it with what verbatim selftest prints";
    match wrong_sets(None, |_, _, _| Ok(())) {
        Ok(wrong) if wrong.is_empty() => {
            Finding::well(SUBJECT, "every instruction set gives those that are stored")
        }
        Ok(wrong) => Finding::wrong(SUBJECT, format!("they differ on {}", wrong.join(", ")), MEND),
        Err(error) => Finding::wrong(SUBJECT, format!("the self-test cannot run: {error}"), MEND),
    }
}

fn count(all: &[Finding], level: Level) -> usize {
    all.iter().filter(|finding| finding.level == level).count()
}

/// A line for each finding, one more for what mends it, and the sum of it.
fn lines(all: &[Finding], paint: Paint) -> Vec<String> {
    let mut lines = Vec::new();
    for finding in all {
        let level = format!("{:<8}", finding.level.name());
        let level = match finding.level {
            Level::Well => paint.good(&level),
            Level::Doubtful => paint.doubtful(&level),
            Level::Wrong => paint.bad(&level),
        };
        lines.push(format!(
            "{level}  {}  {}",
            paint.bold(&format!("{:<13}", finding.subject)),
            finding.found
        ));
        lines.extend(finding.mend.as_ref().map(|mend| format!("{:25}{mend}", "")));
    }
    lines.push(match (count(all, Level::Wrong), count(all, Level::Doubtful)) {
        (0, 0) => paint.good("all is well"),
        (0, doubtful) => paint.doubtful(&format!("nothing is wrong; {doubtful} of these might be better")),
        (wrong, _) => paint.bad(&format!("{wrong} of these must be mended")),
    });
    lines
}

fn as_json(all: &[Finding]) -> Value {
    let checks = all.iter().map(|finding| {
        json!({
            "subject": finding.subject,
            "level": finding.level.name(),
            "found": finding.found,
            "mend": finding.mend,
        })
    });
    json!({"is_well": count(all, Level::Wrong) == 0, "checks": checks.collect::<Vec<_>>()})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_is_summed_up() {
        let mut all = vec![Finding::well("a", "is fine"), Finding::doubtful("b", "is slow", "do this")];
        let told = lines(&all, Paint::plain());
        let expected = [
            "well      a              is fine",
            "doubtful  b              is slow",
            "                         do this",
            "nothing is wrong; 1 of these might be better",
        ];
        assert_eq!(told, expected);
        assert_eq!(as_json(&all)["is_well"], true);
        all.push(Finding::wrong("c", "is broken", "do that"));
        assert_eq!(lines(&all, Paint::plain()).last().map(String::as_str), Some("1 of these must be mended"));
        let told = as_json(&all);
        assert_eq!(told["is_well"], false);
        assert_eq!(
            told["checks"][2],
            json!({"subject": "c", "level": "wrong", "found": "is broken", "mend": "do that"})
        );
        assert_eq!(told["checks"][0]["mend"], Value::Null);
    }

    #[test]
    fn this_machine_computes_the_right_bits() {
        assert_eq!((bits().level, instructions().subject), (Level::Well, "instructions"));
    }
}
