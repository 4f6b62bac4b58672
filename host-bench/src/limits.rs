//! What the machine can do at most: the denominators of every ratio.
//!
//! Bandwidth by several access patterns, with and without huge pages; the best that any reached in
//! the run is the limit. Patterns alternate, and the best of several rounds counts: other users of
//! a machine only slow it down.
use super::report::{Line, Report};
use verbatim::sys::cpu::worker_count;
use verbatim::sys::pool::FutexPool;
use verbatim::sys::rates::peaks::Peaks;
use verbatim::sys::rates::read::{PATTERNS, Pattern, Reader, beyond_caches};
use verbatim::sys::rates::rounds::Effort;
use verbatim_core::isa::Isa;
use verbatim_core::pool::{Pool, Serial};

const EFFORT: Effort = Effort::rounds(4);
/// Bytes to read from, at least.
const READ_BYTES: usize = 768 << 20;

/// The limits, for one worker and for all.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Limits {
    /// Bytes read in a second.
    pub(crate) read: f64,
    /// Operations in a second.
    pub(crate) peaks: Peaks,
}

/// Memory to read from, larger than any cache.
pub(crate) fn reader(huge_pages: bool) -> Result<Reader, String> {
    Reader::new(beyond_caches(READ_BYTES), huge_pages).map_err(|error| error.to_string())
}

/// The best bandwidth of all patterns now.
pub(crate) fn read_now(reader: &Reader, pool: &dyn Pool) -> f64 {
    reader.now(Isa::detect(), pool, Effort::rounds(2))
}

/// Measures; `say` hears each pattern's bandwidth.
pub(crate) fn measure(pool: &dyn Pool, say: &mut dyn FnMut(&str, f64)) -> Result<Limits, String> {
    let isa = Isa::detect();
    let mut read = 0.0_f64;
    for huge in [true, false] {
        let reader = reader(huge)?;
        for pattern in PATTERNS {
            let rate = reader.rate(isa, pool, pattern, EFFORT);
            let pages = if huge { "huge pages" } else { "4 KiB pages" };
            let Pattern { streams, ahead } = pattern;
            let plural = if streams > 1 { "s" } else { "" };
            let fetched = if ahead > 0 { ", fetched ahead" } else { "" };
            say(&format!("read, {streams} stream{plural} a worker{fetched}, {pages}"), rate);
            read = read.max(rate);
        }
    }
    Ok(Limits { read, peaks: Peaks::of(isa, pool, EFFORT) })
}

/// Measures the peaks of vector instructions only.
pub(crate) fn peaks(pool: &dyn Pool) -> Limits {
    Limits { read: 0.0, peaks: Peaks::of_vectors(Isa::detect(), pool, EFFORT) }
}

/// Prints the limits for one worker and for all.
pub(crate) fn report(threads: Option<usize>, json: bool) -> Result<(), String> {
    let workers = worker_count(threads).workers;
    let report = Report::new("limits", json, workers);
    let pool = FutexPool::new(workers).map_err(|error| error.to_string())?;
    for (pool, workers) in [(&Serial as &dyn Pool, 1), (&pool, workers)] {
        let title = format!("{workers} worker{}", if workers > 1 { "s" } else { "" });
        report.section(&title);
        let line = |what: &str, value: f64, unit| {
            report.line(&Line::new(format!("{title}: {what}"), value / 1e9, unit));
        };
        let Limits { read, peaks } = measure(pool, &mut |what, rate| line(what, rate, "GB/s"))?;
        line("read, best", read, "GB/s");
        line("f32 FMA", peaks.f32_fma, "GFLOP/s");
        line("bf16 dot", peaks.bf16_dot, "GFLOP/s");
        line("int8 dot", peaks.int8_dot, "GOP/s");
        if peaks.int8_tiles > 0.0 {
            line("int8 tiles", peaks.int8_tiles, "GOP/s");
        }
    }
    Ok(())
}
