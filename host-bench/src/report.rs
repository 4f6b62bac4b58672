//! What a measurement prints: a table for people, or one JSON object a line.
use serde_json::json;
pub(crate) use verbatim::measure::speed::median;
use verbatim::sys::cpu::model_name;
use verbatim_core::isa::Isa;

/// Load average for each core from which a report marks itself: others were at work.
const BUSY: f64 = 0.5;

/// Prints the lines of one benchmark.
#[derive(Debug)]
pub(crate) struct Report {
    bench: &'static str,
    json: bool,
}

/// One figure of a report, with what it is compared with.
#[derive(Clone, Debug, Default)]
pub(crate) struct Line {
    pub(crate) case: String,
    pub(crate) value: f64,
    pub(crate) unit: &'static str,
    /// The most that the machine could do, in the same unit, measured in the same run.
    pub(crate) limit: Option<f64>,
    /// A peer's name, and its figure in the same run.
    pub(crate) peer: Option<(String, f64)>,
    /// The bar that the value must reach.
    pub(crate) bar: Option<Bar>,
    /// A remark for the reader; empty for none.
    pub(crate) note: String,
}

/// A bar, in the unit of what it is for.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Bar {
    AtLeast(f64),
    AtMost(f64),
}

impl Bar {
    fn value(self) -> f64 {
        let (Self::AtLeast(bar) | Self::AtMost(bar)) = self;
        bar
    }

    pub(crate) fn holds(self, value: f64) -> bool {
        match self {
            Self::AtLeast(bar) => value >= bar,
            Self::AtMost(bar) => value <= bar,
        }
    }
}

impl Line {
    pub(crate) fn new(case: impl Into<String>, value: f64, unit: &'static str) -> Self {
        Self { case: case.into(), value, unit, ..Self::default() }
    }

    pub(crate) fn limit(self, limit: f64) -> Self {
        Self { limit: Some(limit), ..self }
    }

    pub(crate) fn peer(self, name: impl Into<String>, value: f64) -> Self {
        Self { peer: Some((name.into(), value)), ..self }
    }

    pub(crate) fn bar(self, bar: Bar) -> Self {
        Self { bar: Some(bar), ..self }
    }

    pub(crate) fn note(self, note: impl Into<String>) -> Self {
        Self { note: note.into(), ..self }
    }

    /// The value as a share of the limit.
    pub(crate) fn share(&self) -> Option<f64> {
        self.limit.map(|limit| self.value / limit)
    }
}

/// The one-minute load average, of all cores.
pub(crate) fn load_average() -> f64 {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').next().and_then(|number| number.parse().ok()).unwrap_or(0.0)
}

/// The commit that is measured, if the source tree is still there.
fn commit() -> String {
    let git = |arguments: &[&str]| {
        let directory = env!("CARGO_MANIFEST_DIR");
        let output =
            std::process::Command::new("git").arg("-C").arg(directory).args(arguments).output().ok()?;
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let changed = git(&["status", "--porcelain"]).is_some_and(|changes| !changes.is_empty());
    let id = git(&["rev-parse", "--short=12", "HEAD"]).unwrap_or_else(|| "unknown".to_owned());
    if changed { format!("{id}, changed since") } else { id }
}

impl Report {
    /// Begins a report: says what machine this is and how busy.
    pub(crate) fn new(bench: &'static str, json: bool, workers: usize) -> Self {
        Self::begin(bench, json, Some(workers))
    }

    /// Begins a report on a server, whose workers are its own affair.
    pub(crate) fn of_server(bench: &'static str, json: bool) -> Self {
        Self::begin(bench, json, None)
    }

    fn begin(bench: &'static str, json: bool, workers: Option<usize>) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let load = load_average();
        let busy = load / cores as f64 > BUSY;
        let (cpu, isa, commit) = (model_name(), Isa::detect().name(), commit());
        if json {
            let line = json!({
                "bench": bench, "cpu": cpu, "isa": isa, "cores": cores, "workers": workers,
                "load_average": load, "busy": busy, "commit": commit,
            });
            println!("{line}");
        } else {
            let used = workers.map_or_else(String::new, |workers| format!("{workers} of "));
            println!("{bench}: {cpu}, {isa}, {used}{cores} cores, load average {load:.2}, commit {commit}");
            if busy {
                println!("BUSY: others use this machine; compare shares and ratios only, and measure again");
            }
        }
        Self { bench, json }
    }

    /// Prints a heading, in a table only.
    pub(crate) fn section(&self, title: &str) {
        if !self.json {
            println!("{title}");
        }
    }

    /// Prints one figure as a line of the table, or as a JSON object.
    pub(crate) fn line(&self, line: &Line) {
        if self.json {
            let (peer, ratio) = match &line.peer {
                Some((name, value)) => {
                    (Some(json!({"name": name, "value": value})), Some(line.value / value))
                }
                None => (None, None),
            };
            let object = json!({
                "bench": self.bench, "case": line.case, "value": line.value, "unit": line.unit,
                "limit": line.limit, "share": line.share(), "peer": peer, "ratio": ratio,
                "bar": line.bar.map(Bar::value), "holds": line.bar.map(|bar| bar.holds(line.value)),
                "note": line.note,
            });
            println!("{object}");
            return;
        }
        let digits = if line.value.abs() < 10.0 { 3 } else { 1 };
        print!("  {:44} {:10.digits$} {:9}", line.case, line.value, line.unit);
        if let Some(share) = line.share() {
            print!(" {share:5.2} of limit");
        }
        if let Some((name, value)) = &line.peer {
            print!(" {:5.2} x {name} ({value:.1})", line.value / value);
        }
        if let Some(bar) = line.bar {
            let sign = if matches!(bar, Bar::AtLeast(_)) { ">=" } else { "<=" };
            let verdict = if bar.holds(line.value) { "holds" } else { "FALLS SHORT" };
            print!(" {sign} {:.2}  {verdict}", bar.value());
        }
        println!("{}{}", if line.note.is_empty() { "" } else { "  " }, line.note);
    }

    /// Says what was not measured, and why.
    pub(crate) fn left_out(&self, case: &str, why: &str) {
        if self.json {
            println!("{}", json!({"bench": self.bench, "case": case, "value": null, "note": why}));
        } else {
            println!("  {case:44} not measured: {why}");
        }
    }
}
