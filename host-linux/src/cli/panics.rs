//! What the program says of a panic: one line, in place of Rust's own.
use crate::runtime::panic_text::panic_text;
use std::backtrace::{Backtrace, BacktraceStatus};
use std::io::Write;
use std::panic::PanicHookInfo;

/// From now on a panic on any thread is one line on standard error: the thread, the place, and what
/// the panic says, bounded. A backtrace follows only where `RUST_BACKTRACE` asks for one.
pub(super) fn tell_in_one_line() {
    std::panic::set_hook(Box::new(|panic| {
        let mut text = line(panic);
        let backtrace = Backtrace::capture();
        if backtrace.status() == BacktraceStatus::Captured {
            text.push_str(&format!("\n{backtrace}"));
        }
        // Standard error may be closed; a panic in here would end the process.
        let _ = writeln!(std::io::stderr().lock(), "{text}");
    }));
}

fn line(panic: &PanicHookInfo<'_>) -> String {
    let thread = std::thread::current();
    let thread = thread.name().unwrap_or("unnamed");
    let place = panic.location().map_or_else(|| "an unknown place".to_owned(), ToString::to_string);
    format!("internal error: thread {thread} panicked at {place}: {}", panic_text(panic.payload()))
}
