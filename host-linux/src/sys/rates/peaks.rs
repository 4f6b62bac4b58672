//! Peaks of arithmetic: 24 independent accumulators in registers, enough for the latency of any of
//! the instructions.
use super::rounds::{Effort, best_of};
use super::tiles;
use std::hint::black_box;
use std::time::{Duration, Instant};
use verbatim_core::dtype::{Int8, OperandFormat};
use verbatim_core::isa::{InstructionSet, Isa, LANES, Simd, SimdOp};
use verbatim_core::pool::Pool;

/// Steps of a peak loop, at most: tens of milliseconds where instructions do the work.
const STEPS: usize = 2_000_000;
/// Steps that show how many are enough where a library does it.
const FIRST_STEPS: usize = 2_000;
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

/// Operations that all workers together do in a second at most, on one instruction set.
#[derive(Clone, Copy, Debug, Default)]
pub struct Peaks {
    /// f32 operations a second, two for each multiply-add.
    pub f32_fma: f64,
    /// bf16 operations a second, two for each product and its sum.
    pub bf16_dot: f64,
    /// int8 operations a second of vectors, two for each product and its sum.
    pub int8_dot: f64,
    /// int8 operations a second of a unit that multiplies tiles; 0 without one.
    pub int8_tiles: f64,
}

impl Peaks {
    /// Measures vector instructions, the best of the rounds.
    pub fn of_vectors(isa: Isa, pool: &dyn Pool, effort: Effort) -> Self {
        let lanes = (isa.run(Accumulators) * LANES) as f64;
        let peak = |operations: f64, job: &(dyn Fn(usize) + Sync)| {
            let steps = steps_of(effort.round, job);
            best_of(effort, pool, operations * lanes * steps as f64, &|_| job(steps))
        };
        Self {
            f32_fma: peak(2.0, &|steps| _ = black_box(isa.run(FmaPeak(steps)))),
            bf16_dot: peak(4.0, &|steps| _ = black_box(isa.run(DotPeak(steps)))),
            int8_dot: peak(8.0, &|steps| _ = black_box(isa.run(QuadPeak(steps)))),
            int8_tiles: 0.0,
        }
    }

    /// Measures vector instructions and the matrix unit, if the instruction set has one.
    pub fn of(isa: Isa, pool: &dyn Pool, effort: Effort) -> Self {
        let operations = tiles::operations(isa) * STEPS as f64;
        let int8_tiles = best_of(effort, pool, operations, &|_| tiles::run(isa, STEPS));
        Self { int8_tiles, ..Self::of_vectors(isa, pool, effort) }
    }

    /// The peak of products whose operands have this format, by whatever is fastest.
    pub fn for_operands(&self, operands: OperandFormat) -> f64 {
        match operands {
            OperandFormat::F32 => self.f32_fma,
            OperandFormat::Bf16 => self.bf16_dot,
            OperandFormat::Int8 => self.int8_dot.max(self.int8_tiles),
        }
    }
}

/// Steps that take about that time, if nobody interrupts the first ones.
fn steps_of(time: Duration, job: &dyn Fn(usize)) -> usize {
    let once = |_| {
        let begun = Instant::now();
        job(FIRST_STEPS);
        begun.elapsed().as_secs_f64() / FIRST_STEPS as f64
    };
    let each = (0..3).map(once).fold(f64::MAX, f64::min);
    ((time.as_secs_f64() / each.max(1e-12)) as usize).clamp(FIRST_STEPS, STEPS)
}

/// The sum of all accumulators, so that none of them is computed in vain.
#[inline(always)]
fn total<S: Simd>(s: S, acc: [S::F; ACCUMULATORS_MAX]) -> f32 {
    let mut total = acc[0];
    for x in &acc[1..] {
        total = s.add(total, *x);
    }
    s.sum_lanes(total)
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
        total(s, acc)
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
        total(s, acc)
    }
}

struct QuadPeak(usize);
impl SimdOp for QuadPeak {
    type Output = f32;
    #[inline(always)]
    fn eval<S: InstructionSet>(self, s: S) -> f32 {
        let ones = black_box([Int8(1); 8 * LANES]);
        // SAFETY: 4 elements, and 16 integers.
        let (a, zero) = unsafe { (s.splat_quad(ones.as_ptr()), s.load_ints([0; LANES].as_ptr())) };
        let mut acc = [zero; ACCUMULATORS_MAX];
        for step in 0..self.0 {
            // Where a product takes several instructions, the compiler must not move those that do
            // not add out of the loop, so each step loads an operand.
            // SAFETY: 64 elements, of the first or the second half of 128.
            let b = unsafe { s.load_quads(ones.as_ptr().add(4 * LANES * (step % 2))) };
            for x in &mut acc[..accumulators::<S>()] {
                *x = s.dot_quads(a, b, *x);
            }
        }
        let mut total = 0.0;
        for x in acc {
            total += s.sum_lanes(s.ints_to_floats(x));
        }
        total
    }
}
