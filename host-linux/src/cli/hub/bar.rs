//! How a download goes, on standard error: a bar on a terminal, else a line a file.
use crate::cli::output;
use crate::hub::{HubError, PullPlan, Watch};
use crate::text::figures;
use crate::text::quote::shorten;
use indicatif::{ProgressBar, ProgressStyle};
use std::io::IsTerminal;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Characters of a file's name beside the bar.
const NAME_WIDTH: usize = 28;

/// Shows how the files of a plan come.
#[derive(Debug)]
pub(super) struct Bar {
    bar: ProgressBar,
    is_terminal: bool,
    /// Bytes of the files before the one that comes now.
    before: AtomicU64,
    /// Bytes of the file that comes now.
    current: AtomicU64,
}

impl Bar {
    /// No bar, while nothing is known of what is to come; what is said is said all the same.
    pub(super) fn hidden() -> Self {
        Self::around(ProgressBar::hidden())
    }

    /// A bar that fills once `total` bytes are there, for what a plan does not have yet.
    pub(super) fn of(plan: &PullPlan, total: u64) -> Self {
        let is_terminal = std::io::stderr().is_terminal();
        let bar = if is_terminal { ProgressBar::new(total) } else { ProgressBar::hidden() };
        // Beside the bar, which takes the rest of a line, there are 66 columns.
        let template = "{msg:28} {wide_bar} {decimal_bytes:>9}/{decimal_total_bytes:9} {decimal_bytes_per_sec:>11} {eta:>4}";
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        // What an earlier command left is no speed of this one.
        bar.set_position(total.saturating_sub(plan.missing_bytes));
        bar.reset_eta();
        Self::around(bar)
    }

    fn around(bar: ProgressBar) -> Self {
        let is_terminal = std::io::stderr().is_terminal();
        Self { bar, is_terminal, before: AtomicU64::new(0), current: AtomicU64::new(0) }
    }

    /// Takes the bar away.
    pub(super) fn finish(&self) {
        self.bar.finish_and_clear();
    }

    fn say(&self, line: &str) {
        if self.is_terminal { self.bar.suspend(|| output::note(line)) } else { output::note(line) }
    }
}

impl Watch for Bar {
    fn begins(&self, file: &str, bytes: u64, number: usize, count: usize) {
        self.current.store(bytes, Ordering::Relaxed);
        self.bar.set_message(shorten(&format!("{number}/{count} {file}"), NAME_WIDTH));
    }

    fn reaches(&self, bytes: u64) {
        self.bar.set_position(self.before.load(Ordering::Relaxed) + bytes);
    }

    fn ends(&self, file: &str) {
        let bytes = self.current.load(Ordering::Relaxed);
        self.before.fetch_add(bytes, Ordering::Relaxed);
        if !self.is_terminal {
            output::note(format_args!("{}: {}", shorten(file, 100), figures::bytes(bytes)));
        }
    }

    fn pauses(&self, why: &HubError, pause: Duration) {
        self.say(&format!("note: {why}; again in {:.1} s", pause.as_secs_f64()));
    }

    fn is_locked_out(&self, file: &str) {
        self.say(&format!("note: another process fetches {}; this one waits for it", shorten(file, 100)));
    }
}
