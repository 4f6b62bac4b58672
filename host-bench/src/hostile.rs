//! Every attack of the hostile suite on a server of its own, at full size and with times: what
//! died, what good streams lost, how long they and /health waited, and what memory came back.
use super::report::{Bar, Line, Report};
use std::path::PathBuf;
use std::time::Duration;
use verbatim_tests::http::arena::{Arena, Outcome};
use verbatim_tests::http::attacks::ALL;
use verbatim_tests::http::attacks::target::{Attack, Scale};
use verbatim_tests::http::watched::{Watched, allow_many_files};
use verbatim_tests::process::{self, Running};

/// The attacks, and the server that meets them.
#[derive(Debug, clap::Args)]
pub(crate) struct HostileArgs {
    /// Attacks to make, in their order [default: all].
    #[arg(long, value_delimiter = ',')]
    attacks: Vec<String>,
    /// Only say what each attack does.
    #[arg(long)]
    list: bool,
    /// Make the attacks as small as the tests do.
    #[arg(long)]
    small: bool,
    /// The program to serve with [default: verbatim beside this program, else the one that is built
    /// for tests].
    #[arg(long, value_name = "FILE")]
    server: Option<PathBuf>,
    /// Descriptors that the server may have.
    #[arg(long, default_value_t = 1024)]
    descriptors: usize,
    /// Arguments for the server, behind `--`.
    #[arg(last = true)]
    arguments: Vec<String>,
}

/// The longest that /health may take, in milliseconds.
const HEALTH_MS: f64 = 50.0;
/// Memory after everything over that at the start, and how long the server has to give it back.
const MEMORY: f64 = 1.2;
const MEMORY_PATIENCE: Duration = Duration::from_secs(30);
/// How long gaps are measured before each attack.
const IDLE: Duration = Duration::from_secs(2);

/// How long a gap may be under attack, in milliseconds.
fn gap_bar(idle_ms: f64) -> f64 {
    2.0 * idle_ms + 1.0
}

/// Prints the table; an error if a bar does not hold.
pub(crate) fn report(args: &HostileArgs, json: bool) -> Result<(), String> {
    if let Some(name) = args.attacks.iter().find(|name| ALL.iter().all(|attack| attack.name != **name)) {
        return Err(format!("--attacks {name}: --list names all attacks"));
    }
    let is_asked =
        |attack: &&Attack| args.attacks.is_empty() || args.attacks.iter().any(|n| n == attack.name);
    let attacks: Vec<&Attack> = ALL.iter().filter(is_asked).collect();
    if args.list {
        attacks.iter().for_each(|attack| println!("{:20} {}", attack.name, attack.what));
        return Ok(());
    }
    let report = Report::of_server("hostile", json);
    let files = allow_many_files();
    if files < 3 * args.descriptors {
        eprintln!(
            "note: this process may open {files} files, so that crowds are smaller than they should be"
        );
    }
    let scale = if args.small { Scale::Small } else { Scale::Full };
    let mut failed = 0;
    let mut server = None;
    for attack in attacks {
        // A server that an attack has ended is replaced for the next one.
        let (running, arena) = match server.take() {
            Some(pair) => pair,
            None => start(args, scale)?,
        };
        let idle = arena.idle_gap_ms(IDLE);
        let outcome = arena.face(attack, idle);
        failed += print(&report, &outcome);
        if !outcome.has_died {
            server = Some((running, arena));
        }
    }
    if let Some((running, arena)) = server {
        let at_start = arena.at_start;
        let result = arena.close(MEMORY, MEMORY_PATIENCE);
        failed += usize::from(result.is_err());
        let held = Watched(running.pid()).holdings();
        let ratio = held.map_or(0.0, |held| held.resident_bytes as f64 / at_start.resident_bytes as f64);
        let note = match (&result, held) {
            (Err(fault), _) => fault.clone(),
            (Ok(_), Some(held)) => format!("{held}; at the start {at_start}"),
            (Ok(_), None) => String::new(),
        };
        report.line(
            &Line::new("after all: memory over the start's", ratio, "").bar(Bar::AtMost(MEMORY)).note(note),
        );
    }
    if failed == 0 { Ok(()) } else { Err(format!("{failed} bars do not hold on this machine in this run")) }
}

/// Starts a server, and good clients at it.
fn start(args: &HostileArgs, scale: Scale) -> Result<(Running, Arena), String> {
    let beside = std::env::current_exe().ok().map(|path| path.with_file_name("verbatim"));
    let program = args.server.clone().or_else(|| beside.filter(|path| path.is_file()));
    let command = program.map_or_else(process::command, process::command_of);
    let command = process::limited(command, args.descriptors);
    let arguments: Vec<&str> = args.arguments.iter().map(String::as_str).collect();
    let running = Running::start_by(command, &arguments);
    let arena = Arena::open(running.socket_address(), Watched(running.pid()), scale)?;
    Ok((running, arena))
}

/// Prints the lines of one attack, and returns how many bars do not hold.
fn print(report: &Report, outcome: &Outcome) -> usize {
    let mut failed = 0;
    let mut line = |case: &str, value: f64, unit: &'static str, bar: Option<Bar>, note: String| {
        failed += usize::from(bar.is_some_and(|bar| !bar.holds(value)));
        let line = Line::new(format!("{}: {case}", outcome.attack), value, unit).note(note);
        report.line(&match bar {
            Some(bar) => line.bar(bar),
            None => line,
        });
    };
    let none = Some(Bar::AtMost(0.0));
    let seen = &outcome.seen;
    line("deaths", f64::from(u8::from(outcome.has_died)), "", none, outcome.tally.to_string());
    let why = seen.why.clone().unwrap_or_default();
    line("tokens lost by good streams", seen.lost_tokens as f64, "", none, why.clone());
    line("good answers with other bits", seen.wrong as f64, "", none, why);
    line("good requests refused", seen.refused as f64, "", None, format!("{} whole", seen.whole));
    let idle = outcome.idle_gap_ms;
    let note = format!("{idle:.2} without the attack");
    line("gap of good streams, p99", outcome.gap_ms(), "ms", Some(Bar::AtMost(gap_bar(idle))), note);
    let first = seen.firsts_ms.iter().copied().fold(0.0, f64::max);
    line("longest time to a first token", first, "ms", None, String::new());
    let failures = outcome.health_failures.first().cloned().unwrap_or_default();
    line("/health, longest", outcome.health_ms, "ms", Some(Bar::AtMost(HEALTH_MS)), String::new());
    line("/health, failures", outcome.health_failures.len() as f64, "", none, failures);
    let mib = outcome.resident_bytes as f64 / f64::from(1 << 20);
    line("memory right after", mib, "MiB", None, format!("{:.1} s", outcome.seconds));
    if let Some(complaint) = &outcome.complaint {
        line("complaints", 1.0, "", none, complaint.clone());
    }
    failed
}
