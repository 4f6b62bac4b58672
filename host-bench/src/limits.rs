//! What the machine can do at most: the denominators of every ratio.
//!
//! Bandwidth: sums over more than any cache holds, by several access patterns, with and without
//! huge pages; the best that any reached in the run is the limit. Peaks: 24 independent
//! accumulators in registers, enough for the latency of any of the instructions. Patterns
//! alternate, and the best of several rounds counts: other users of a machine only slow it down.
use super::report::{Line, Report};
use super::tile_peak;
use std::hint::black_box;
use std::time::Instant;
use verbatim::sys::cpu::worker_count;
use verbatim::sys::memory::AlignedMemory;
use verbatim::sys::pool::FutexPool;
use verbatim_core::dtype::Int8;
use verbatim_core::isa::{InstructionSet, Isa, LANES, Simd, SimdOp};
use verbatim_core::pool::{Phase, Pool, Serial};

const ROUNDS: usize = 4;
/// Steps of a peak loop: tens of milliseconds.
const STEPS: usize = 2_000_000;
const ACCUMULATORS_MAX: usize = 24;

/// Accumulators of a peak loop: as many as the instruction set's registers hold, 24 of them, or 6
/// in two registers each.
const fn accumulators<S: Simd>() -> usize {
    if S::STRATEGY.tile_rows >= ACCUMULATORS_MAX / 2 { ACCUMULATORS_MAX } else { 6 }
}

struct Accumulators;
impl SimdOp for Accumulators {
    type Output = usize;
    #[inline(always)]
    fn eval<S: Simd>(self, _: S) -> usize {
        accumulators::<S>()
    }
}

/// The limits, for one worker and for all.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Limits {
    /// Bytes read in a second.
    pub(crate) read: f64,
    /// f32 operations a second, two for each multiply-add.
    pub(crate) f32_fma: f64,
    /// bf16 operations a second, two for each product and its sum.
    pub(crate) bf16_dot: f64,
    /// int8 operations a second of vectors, two for each product and its sum.
    pub(crate) int8_dot: f64,
    /// int8 operations a second of a unit that multiplies tiles; 0 without one.
    pub(crate) int8_tiles: f64,
}

impl Limits {
    /// Products of bytes by whatever is fastest.
    pub(crate) fn int8(&self) -> f64 {
        self.int8_dot.max(self.int8_tiles)
    }
}

struct Read<'a> {
    data: &'a [f32],
    pattern: Pattern,
}

/// How memory is read.
#[derive(Clone, Copy)]
struct Pattern {
    /// Streams that a worker reads from at once.
    streams: usize,
    /// Bytes ahead that lines are fetched, 0 for what the hardware fetches by itself.
    ahead: usize,
}

impl SimdOp for Read<'_> {
    type Output = f32;
    #[inline(always)]
    fn eval<S: Simd>(self, s: S) -> f32 {
        let mut sums = [s.splat(0.0); 8];
        let Pattern { streams, ahead } = self.pattern;
        let part = self.data.len() / streams;
        let step = 8 * LANES / streams;
        let mut at = 0;
        while at + step <= part {
            let mut i = 0;
            for stream in 0..streams {
                let mut offset = 0;
                while offset < step {
                    // SAFETY: `stream * part + at + step` is at most the length, and a vector
                    // starts a multiple of 16 before the end of its step.
                    let x = unsafe { self.data.as_ptr().add(stream * part + at + offset) };
                    if ahead > 0 {
                        s.prefetch(x.cast::<u8>().wrapping_add(ahead));
                    }
                    // SAFETY: as above.
                    let x = unsafe { s.load(x) };
                    sums[i] = s.add(sums[i], x);
                    i += 1;
                    offset += LANES;
                }
            }
            at += step;
        }
        let mut total = sums[0];
        for sum in &sums[1..] {
            total = s.add(total, *sum);
        }
        s.sum_lanes(total)
    }
}

struct FmaPeak(usize);
impl SimdOp for FmaPeak {
    type Output = f32;
    #[inline(always)]
    fn eval<S: Simd>(self, s: S) -> f32 {
        let (a, b) = (s.splat(black_box(0.999)), s.splat(black_box(0.001)));
        let mut acc = [s.splat(0.5); ACCUMULATORS_MAX];
        for _ in 0..self.0 {
            for x in &mut acc[..accumulators::<S>()] {
                *x = s.fma(*x, a, b);
            }
        }
        let mut total = acc[0];
        for x in &acc[1..] {
            total = s.add(total, *x);
        }
        s.sum_lanes(total)
    }
}

struct DotPeak(usize);
impl SimdOp for DotPeak {
    type Output = f32;
    #[inline(always)]
    fn eval<S: InstructionSet>(self, s: S) -> f32 {
        let ones = [half::bf16::from_f32(black_box(0.01)); 2];
        // SAFETY: two elements.
        let a = unsafe { s.splat_pair(ones.as_ptr()) };
        let mut acc = [s.splat(0.0); ACCUMULATORS_MAX];
        for _ in 0..self.0 {
            for x in &mut acc[..accumulators::<S>()] {
                *x = s.dot_pairs(a, a, *x);
            }
        }
        let mut total = acc[0];
        for x in &acc[1..] {
            total = s.add(total, *x);
        }
        s.sum_lanes(total)
    }
}

struct QuadPeak(usize);
impl SimdOp for QuadPeak {
    type Output = f32;
    #[inline(always)]
    fn eval<S: InstructionSet>(self, s: S) -> f32 {
        let ones = [Int8(black_box(1)); 4 * LANES];
        // SAFETY: 4 and 64 elements, and 16 integers.
        let (a, b, zero) = unsafe {
            (s.splat_quad(ones.as_ptr()), s.load_quads(ones.as_ptr()), s.load_ints([0; LANES].as_ptr()))
        };
        let mut acc = [zero; ACCUMULATORS_MAX];
        for _ in 0..self.0 {
            // Where a product takes several instructions, the compiler must not move those that do
            // not add out of the loop.
            let (a, b) = black_box((a, b));
            for x in &mut acc[..accumulators::<S>()] {
                *x = s.dot_quads(a, b, *x);
            }
        }
        acc.into_iter().map(|x| s.sum_lanes(s.ints_to_floats(x))).sum()
    }
}

/// Operations a second of `each(worker)` run on all workers, the best of the rounds; `operations`
/// is one worker's.
fn best(pool: &dyn Pool, operations: f64, each: &(dyn Fn(usize) + Sync)) -> f64 {
    best_of(ROUNDS, pool, operations, each)
}

fn best_of(rounds: usize, pool: &dyn Pool, operations: f64, each: &(dyn Fn(usize) + Sync)) -> f64 {
    let mut rate = 0.0_f64;
    for _ in 0..rounds {
        let start = Instant::now();
        pool.run(Phase::Load, pool.workers(), &|task, _| each(task));
        rate = rate.max(operations * pool.workers() as f64 / start.elapsed().as_secs_f64());
    }
    rate
}

/// Bytes that no cache holds: twice the last level, as Linux tells its size, but this many at least
/// and 2 GiB at most.
pub(crate) fn beyond_caches(bytes_min: usize) -> usize {
    let of_level = |level: usize| {
        let text =
            std::fs::read_to_string(format!("/sys/devices/system/cpu/cpu0/cache/index{level}/size")).ok()?;
        text.trim().strip_suffix('K')?.parse::<usize>().ok()
    };
    let last = (0..5).filter_map(of_level).max().unwrap_or(0);
    last.saturating_mul(2 << 10).min(2 << 30).max(bytes_min)
}

/// Memory to read from, larger than any cache.
pub(crate) struct Reader(AlignedMemory);

impl Reader {
    pub(crate) fn new(huge_pages: bool) -> Result<Self, String> {
        let mut memory = AlignedMemory::with_pages(beyond_caches(768 << 20), huge_pages)
            .map_err(|error| error.to_string())?;
        memory.as_mut_slice().fill(1);
        Ok(Self(memory))
    }

    /// Bytes read a second in that pattern, the best of the rounds.
    fn rate(&self, pool: &dyn Pool, pattern: Pattern, rounds: usize) -> f64 {
        let bytes = self.0.as_slice();
        // SAFETY: any bytes are floats; the memory is 2 MiB-aligned.
        let floats = unsafe { std::slice::from_raw_parts(bytes.as_ptr().cast::<f32>(), bytes.len() / 4) };
        let part = floats.len() / pool.workers() / 1024 * 1024;
        let isa = Isa::detect();
        best_of(rounds, pool, (part * 4) as f64, &|task| {
            black_box(isa.run(Read { data: &floats[task * part..][..part], pattern }));
        })
    }

    /// The best of all patterns now. On a shared machine it differs from minute to minute.
    pub(crate) fn now(&self, pool: &dyn Pool) -> f64 {
        PATTERNS.into_iter().map(|pattern| self.rate(pool, pattern, 2)).fold(0.0, f64::max)
    }
}

const PATTERNS: [Pattern; 4] = [
    Pattern { streams: 1, ahead: 0 },
    Pattern { streams: 1, ahead: 8192 },
    Pattern { streams: 2, ahead: 0 },
    Pattern { streams: 4, ahead: 0 },
];

/// Measures; `say` hears each pattern's bandwidth.
pub(crate) fn measure(pool: &dyn Pool, say: &mut dyn FnMut(&str, f64)) -> Result<Limits, String> {
    let mut read = 0.0_f64;
    for huge in [true, false] {
        let reader = Reader::new(huge)?;
        for pattern in PATTERNS {
            let rate = reader.rate(pool, pattern, ROUNDS);
            let pages = if huge { "huge pages" } else { "4 KiB pages" };
            let Pattern { streams, ahead } = pattern;
            let plural = if streams > 1 { "s" } else { "" };
            let fetched = if ahead > 0 { ", fetched ahead" } else { "" };
            say(&format!("read, {streams} stream{plural} a worker{fetched}, {pages}"), rate);
            read = read.max(rate);
        }
    }
    let isa = Isa::detect();
    let operations = tile_peak::operations(isa) * STEPS as f64;
    let int8_tiles = best(pool, operations, &|_| tile_peak::run(isa, STEPS));
    Ok(Limits { read, int8_tiles, ..peaks(pool) })
}

/// Measures the peaks of vector instructions only.
pub(crate) fn peaks(pool: &dyn Pool) -> Limits {
    let isa = Isa::detect();
    let lanes = (STEPS * isa.run(Accumulators) * LANES) as f64;
    let peak = |operations: f64, job: &(dyn Fn() + Sync)| best(pool, operations * lanes, &|_| job());
    Limits {
        read: 0.0,
        int8_tiles: 0.0,
        f32_fma: peak(2.0, &|| _ = black_box(isa.run(FmaPeak(STEPS)))),
        bf16_dot: peak(4.0, &|| _ = black_box(isa.run(DotPeak(STEPS)))),
        int8_dot: peak(8.0, &|| _ = black_box(isa.run(QuadPeak(STEPS)))),
    }
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
        let limits = measure(pool, &mut |what, rate| line(what, rate, "GB/s"))?;
        line("read, best", limits.read, "GB/s");
        line("f32 FMA", limits.f32_fma, "GFLOP/s");
        line("bf16 dot", limits.bf16_dot, "GFLOP/s");
        line("int8 dot", limits.int8_dot, "GOP/s");
        if limits.int8_tiles > 0.0 {
            line("int8 tiles", limits.int8_tiles, "GOP/s");
        }
    }
    Ok(())
}
