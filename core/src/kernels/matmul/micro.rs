//! The micro-kernel: MR rows times NV vectors of 16 columns, accumulators in registers.
//!
//! Per step of K it loads NV vectors of weights, broadcasts one element (f32), pair (bf16) or quad (int8) of each row, and
//! issues MR · NV fused multiply-adds or pair products. At 12 × 2 that is 24 independent chains, enough for
//! the latency of either on every CPU measured; one broadcast serves two products, which keeps the load ports
//! below their limit (one vector of columns would not: 70% of peak).
//!
//! Each vector of columns has a pointer of its own, so the same code multiplies by a weight panel (two
//! vectors side by side), by keys (a block of 16 positions a vector) and by values.
use crate::dtype::Int8;
use crate::isa::{RowTile, Simd};
use half::bf16;

/// What the kinds of product differ in: an element is a step of K.
pub trait Element<S: Simd>: Copy + 'static {
    /// Elements of K taken at a time: 1, 2 for pairs, 4 for quads.
    const STEP: usize;
    /// Sixteen columns' operand.
    type Column: Copy;
    /// One row's operand, in every lane.
    type Row: Copy;
    /// Sixteen sums.
    type Sums: Copy;
    /// Loads 16 columns.
    ///
    /// # Safety
    /// `p` is valid for `16 * STEP` elements.
    unsafe fn load(s: S, p: *const Self) -> Self::Column;
    /// Broadcasts one row's element or pair.
    ///
    /// # Safety
    /// `p` is valid for `STEP` elements.
    unsafe fn splat(s: S, p: *const Self) -> Self::Row;
    /// Adds the product to the accumulator.
    fn product(s: S, a: Self::Row, b: Self::Column, acc: Self::Sums) -> Self::Sums;
}

impl<S: Simd> Element<S> for f32 {
    const STEP: usize = 1;
    type Column = S::F;
    type Row = S::F;
    type Sums = S::F;
    #[inline(always)]
    unsafe fn load(s: S, p: *const f32) -> S::F {
        // SAFETY: the caller's promise is the one asked.
        unsafe { s.load(p) }
    }
    #[inline(always)]
    unsafe fn splat(s: S, p: *const f32) -> S::F {
        // SAFETY: one float is readable.
        s.splat(unsafe { p.read() })
    }
    #[inline(always)]
    fn product(s: S, a: S::F, b: S::F, acc: S::F) -> S::F {
        s.fma(a, b, acc)
    }
}

impl<S: Simd> Element<S> for bf16 {
    const STEP: usize = 2;
    type Column = S::Pairs;
    type Row = S::Pairs;
    type Sums = S::F;
    #[inline(always)]
    unsafe fn load(s: S, p: *const bf16) -> S::Pairs {
        // SAFETY: the caller's promise is the one asked.
        unsafe { s.load_pairs(p) }
    }
    #[inline(always)]
    unsafe fn splat(s: S, p: *const bf16) -> S::Pairs {
        // SAFETY: the caller's promise is the one asked.
        unsafe { s.splat_pair(p) }
    }
    #[inline(always)]
    fn product(s: S, a: S::Pairs, b: S::Pairs, acc: S::F) -> S::F {
        s.dot_pairs(a, b, acc)
    }
}

impl<S: Simd> Element<S> for Int8 {
    const STEP: usize = 4;
    type Column = S::Quads;
    type Row = S::QuadRow;
    type Sums = S::Ints;
    #[inline(always)]
    unsafe fn load(s: S, p: *const Int8) -> S::Quads {
        // SAFETY: the caller's promise is the one asked.
        unsafe { s.load_quads(p) }
    }
    #[inline(always)]
    unsafe fn splat(s: S, p: *const Int8) -> S::QuadRow {
        // SAFETY: the caller's promise is the one asked.
        unsafe { s.splat_quad(p) }
    }
    #[inline(always)]
    fn product(s: S, a: S::QuadRow, b: S::Quads, acc: S::Ints) -> S::Ints {
        s.dot_quads(a, b, acc)
    }
}

/// `acc[r][v] += Σ a[r][k] b[v][k]` over `steps` steps of K, in ascending order.
///
/// Row `r` of the activations starts at `a + r * a_stride`, vector `v` of the columns at `b[v]`, and each step
/// of K moves it by `b_stride` elements.
///
/// # Safety
/// For each `r < MR`, `a + r * a_stride` is valid for reading `steps * STEP` elements; for each `v < NV` and
/// step `i`, `b[v] + i * b_stride` is valid for reading `16 * STEP` elements.
#[inline(always)]
pub unsafe fn tile<S: Simd, E: Element<S>, const MR: usize, const NV: usize>(
    s: S,
    steps: usize,
    a: *const E,
    a_stride: usize,
    b: [*const E; NV],
    b_stride: usize,
    acc: &mut [[E::Sums; NV]; MR],
) {
    let mut sums = *acc;
    for step in 0..steps {
        // SAFETY: the function's own conditions; `step < steps`, `r < MR`, `v < NV`.
        let mut columns = [unsafe { E::load(s, b[0].add(step * b_stride)) }; NV];
        for v in 1..NV {
            // SAFETY: as above.
            columns[v] = unsafe { E::load(s, b[v].add(step * b_stride)) };
        }
        for r in 0..MR {
            // SAFETY: as above.
            let row = unsafe { E::splat(s, a.add(r * a_stride + step * E::STEP)) };
            for v in 0..NV {
                sums[r][v] = E::product(s, row, columns[v], sums[r][v]);
            }
        }
    }
    *acc = sums;
}

/// Cuts `count` rows into as few tiles as the registers allow, as even as they can be.
#[inline(always)]
pub fn each_tile<S: Simd, T: RowTile<S>>(s: S, count: usize, tile: &mut T) {
    let mut row = 0;
    while row < count {
        let left = count - row;
        let mr = left.div_ceil(left.div_ceil(S::TILE_ROWS));
        s.run_tile(mr, row, tile);
        row += mr;
    }
}
