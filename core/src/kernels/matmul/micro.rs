//! The micro-kernel: MR rows times NV vectors of 16 columns, accumulators in registers.
//!
//! Per step of K it loads NV vectors of weights, broadcasts one element (f32), pair (bf16) or quad
//! (int8) of each row, and issues MR · NV fused multiply-adds or pair products. At 12 × 2 that is
//! 24 independent chains, enough for the latency of either on every CPU measured; one broadcast
//! serves two products, which keeps the load ports below their limit (one vector of columns would
//! not: 70% of peak).
//!
//! Each vector of columns has a pointer of its own, so the same code multiplies by a weight panel
//! (two vectors side by side), by keys (a block of 16 positions a vector) and by values.
#![allow(unsafe_code)]

use super::prefetch::{Ahead, FETCH_STEPS};
use crate::dtype::Int8;
use crate::isa::{InstructionSet, LANES, RowTile};
use crate::tensor::Rows;
use core::ops::Range;
use half::bf16;

/// What the kinds of product differ in: an element is a step of K.
pub trait Element<S: InstructionSet>: Copy + 'static {
    /// Elements of K taken at a time: 1, 2 for pairs, 4 for quads.
    const STEP: usize;
    /// A vector of the operands of sixteen columns.
    type Column: Copy;
    /// One row's operand, in every lane.
    type Row: Copy;
    /// A vector of the sums of sixteen columns.
    type Sums: Copy;
    /// A step of two times 16 columns in registers, as it lies in memory.
    type Lines: Copy;
    /// Loads 16 columns.
    ///
    /// # Safety
    /// `p` is valid for `16 * STEP` elements.
    unsafe fn load(s: S, p: *const Self) -> Self::Column;
    /// Broadcasts one row's element, pair or quad.
    ///
    /// # Safety
    /// `p` is valid for `STEP` elements.
    unsafe fn splat(s: S, p: *const Self) -> Self::Row;
    /// Adds the product to the accumulator.
    fn product(s: S, a: Self::Row, b: Self::Column, acc: Self::Sums) -> Self::Sums;
    /// Loads a step of two times 16 columns.
    ///
    /// # Safety
    /// Each of `from` is valid for reading `16 * STEP` elements.
    unsafe fn load_lines(s: S, from: [*const Self; 2]) -> Self::Lines;
    /// The lines as operands.
    fn columns(s: S, lines: Self::Lines) -> [Self::Column; 2];
    /// Elements that a dequantized step of 32 columns takes.
    const DEQUANTIZED_LEN: usize;
    /// Writes a step of two times 16 columns as it is dequantized.
    ///
    /// # Safety
    /// `to` is valid for writing [`Element::DEQUANTIZED_LEN`] elements.
    unsafe fn store_dequantized(s: S, lines: Self::Lines, to: *mut Self);
    /// Adds the products of one step of MR rows and 32 dequantized columns. `a` is the first row,
    /// and the elements from one row to the next.
    ///
    /// # Safety
    /// Each row is valid for `STEP` elements, `b` for [`Element::DEQUANTIZED_LEN`], which
    /// [`Element::store_dequantized`] wrote.
    unsafe fn add_dequantized<const MR: usize>(
        s: S,
        a: (*const Self, usize),
        b: *const Self,
        sums: &mut [[Self::Sums; 2]; MR],
    );
    /// Whether rows are widened, once for all columns of a tile, before they meet dequantized
    /// columns; tiles of some rows widen theirs before they meet a panel's, too.
    const WIDENS_ROWS: bool = false;
    /// Widens the steps of a row (`Dequantized::widen_pairs`), where rows are widened.
    ///
    /// # Safety
    /// `from` is valid for reading `steps * STEP` elements, `to` for writing as many, rounded up to
    /// a multiple of 32.
    #[inline(always)]
    unsafe fn widen(s: S, from: *const Self, steps: usize, to: *mut f32) {
        let _ = (s, from, steps, to);
        unreachable!("only where `WIDENS_ROWS`");
    }
    /// One step of a row that was widened.
    ///
    /// # Safety
    /// `p` is valid for reading floats 0 and 16.
    #[inline(always)]
    unsafe fn splat_wide(s: S, p: *const f32) -> Self::Row {
        let _ = (s, p);
        unreachable!("only where `WIDENS_ROWS`");
    }
    /// [`Element::add_dequantized`] for rows that were widened.
    ///
    /// # Safety
    /// Each row is valid for reading floats 0 and 16, `b` for what was written.
    #[inline(always)]
    unsafe fn add_wide<const MR: usize>(
        s: S,
        a: (*const f32, usize),
        b: *const Self,
        sums: &mut [[Self::Sums; 2]; MR],
    ) {
        let _ = (s, a, b, sums);
        unreachable!("only where `WIDENS_ROWS`");
    }
    /// Whether a unit that multiplies tiles of bytes (`Isa::matrix`) takes them, and its sums are
    /// theirs.
    const BYTES: bool = false;
}

impl<S: InstructionSet> Element<S> for f32 {
    const STEP: usize = 1;
    type Column = S::F;
    type Row = S::F;
    type Sums = S::F;
    type Lines = [S::F; 2];
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
    #[inline(always)]
    unsafe fn load_lines(s: S, from: [*const f32; 2]) -> [S::F; 2] {
        // SAFETY: the caller's promises are those asked.
        unsafe { [s.load(from[0]), s.load(from[1])] }
    }
    #[inline(always)]
    fn columns(_s: S, lines: [S::F; 2]) -> [S::F; 2] {
        lines
    }
    const DEQUANTIZED_LEN: usize = 2 * LANES;
    #[inline(always)]
    unsafe fn store_dequantized(s: S, lines: [S::F; 2], to: *mut f32) {
        // SAFETY: the caller's promises are those asked.
        unsafe {
            s.store(to, lines[0]);
            s.store(to.add(LANES), lines[1]);
        }
    }
    #[inline(always)]
    unsafe fn add_dequantized<const MR: usize>(
        s: S,
        a: (*const f32, usize),
        b: *const f32,
        sums: &mut [[S::F; 2]; MR],
    ) {
        // SAFETY: the caller's promises are those asked.
        unsafe { s.add_floats(a, b, sums) };
    }
}

impl<S: InstructionSet> Element<S> for bf16 {
    const STEP: usize = 2;
    type Column = S::Pairs;
    type Row = S::Pairs;
    type Sums = S::F;
    type Lines = S::Words;
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
    #[inline(always)]
    unsafe fn load_lines(s: S, from: [*const bf16; 2]) -> S::Words {
        // SAFETY: the caller's promises are those asked.
        unsafe { s.load_words(from) }
    }
    #[inline(always)]
    fn columns(s: S, lines: S::Words) -> [S::Pairs; 2] {
        s.pairs_of_words(lines)
    }
    const DEQUANTIZED_LEN: usize = 4 * LANES * S::STRATEGY.pairs_factor;
    #[inline(always)]
    unsafe fn store_dequantized(s: S, lines: S::Words, to: *mut bf16) {
        // SAFETY: the caller's promise is the one asked.
        unsafe { s.store_dequantized_pairs(to, lines) };
    }
    #[inline(always)]
    unsafe fn add_dequantized<const MR: usize>(
        s: S,
        a: (*const bf16, usize),
        b: *const bf16,
        sums: &mut [[S::F; 2]; MR],
    ) {
        // SAFETY: the caller's promises are those asked.
        unsafe { s.add_dequantized_pairs(a, b, sums) };
    }
    const WIDENS_ROWS: bool = S::STRATEGY.widens_rows;
    #[inline(always)]
    unsafe fn widen(s: S, from: *const bf16, steps: usize, to: *mut f32) {
        // SAFETY: the caller's promises are those asked.
        unsafe { s.widen_pairs(from, steps, to) };
    }
    #[inline(always)]
    unsafe fn splat_wide(s: S, p: *const f32) -> S::Pairs {
        // SAFETY: the caller's promise is the one asked.
        unsafe { s.splat_wide_pair(p) }
    }
    #[inline(always)]
    unsafe fn add_wide<const MR: usize>(
        s: S,
        a: (*const f32, usize),
        b: *const bf16,
        sums: &mut [[S::F; 2]; MR],
    ) {
        // SAFETY: the caller's promises are those asked.
        unsafe { s.add_wide_pairs(a, b, sums) };
    }
}

impl<S: InstructionSet> Element<S> for Int8 {
    const STEP: usize = 4;
    const BYTES: bool = true;
    type Column = S::Quads;
    type Row = S::QuadRow;
    type Sums = S::Ints;
    type Lines = [S::Quads; 2];
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
    #[inline(always)]
    unsafe fn load_lines(s: S, from: [*const Int8; 2]) -> [S::Quads; 2] {
        // SAFETY: the caller's promises are those asked.
        unsafe { [s.load_quads(from[0]), s.load_quads(from[1])] }
    }
    #[inline(always)]
    fn columns(_s: S, lines: [S::Quads; 2]) -> [S::Quads; 2] {
        lines
    }
    const DEQUANTIZED_LEN: usize = 8 * LANES * S::STRATEGY.quads_factor;
    #[inline(always)]
    unsafe fn store_dequantized(s: S, lines: [S::Quads; 2], to: *mut Int8) {
        // SAFETY: the caller's promise is the one asked.
        unsafe { s.store_dequantized_quads(to, lines) };
    }
    #[inline(always)]
    unsafe fn add_dequantized<const MR: usize>(
        s: S,
        a: (*const Int8, usize),
        b: *const Int8,
        sums: &mut [[S::Ints; 2]; MR],
    ) {
        // SAFETY: the caller's promises are those asked.
        unsafe { s.add_dequantized_quads(a, b, sums) };
    }
}

/// The operands of MR rows that follow each other, from one input on.
#[derive(Clone, Copy)]
pub struct TileRows<'a, O, const MR: usize> {
    /// From the first operand of the first row to the last of the last.
    data: &'a [O],
    stride: usize,
    len: usize,
}

impl<'a, O: Copy, const MR: usize> TileRows<'a, O, MR> {
    /// `len` operands of each of the rows from `row` on, from input `first` on.
    ///
    /// # Panics
    /// If the rows do not have them.
    #[inline(always)]
    pub fn new(rows: Rows<'a, O>, row: usize, first: usize, len: usize) -> Self {
        let stride = rows.stride();
        let all = if MR == 0 { 0 } else { (MR - 1) * stride + len };
        Self { data: &rows.data()[row * stride + first..][..all], stride, len }
    }

    /// Operands of each row.
    #[inline(always)]
    pub fn row_len(&self) -> usize {
        self.len
    }

    /// The first row, and how many elements after it the next begins. Each of the MR rows is valid
    /// for reading [`TileRows::row_len`] elements.
    #[inline(always)]
    pub fn pointers(&self) -> (*const O, usize) {
        (self.data.as_ptr(), self.stride)
    }
}

/// `acc[r][v] += Σ a[r][k] b[v][k]` over `steps` steps of K, in ascending order.
///
/// Row `r` of the activations starts at `a + r * a_stride`, vector `v` of the columns at `b[v]`,
/// and each step of K moves it by `b_stride` elements.
///
/// # Safety
/// For each `r < MR`, `a + r * a_stride` is valid for reading `steps * STEP` elements; for each `v
/// < NV` and step `i`, `b[v] + i * b_stride` is valid for reading `16 * STEP` elements.
#[inline(always)]
pub unsafe fn tile<S: InstructionSet, E: Element<S>, const MR: usize, const NV: usize>(
    s: S,
    steps: usize,
    (a, a_stride): (*const E, usize),
    (b, b_stride): ([*const E; NV], usize),
    acc: &mut [[E::Sums; NV]; MR],
    ahead: Option<Ahead>,
) {
    let mut sums = *acc;
    let mut ahead = ahead.map(|ahead| ahead.cut(steps * NV));
    let mut first = 0;
    while first < steps {
        // In bursts, outside of the inner loop, whose registers the compiler would else lose sight
        // of.
        let last = if ahead.is_some() { (first + FETCH_STEPS).min(steps) } else { steps };
        if let Some(ahead) = &mut ahead {
            for _ in 0..FETCH_STEPS * NV {
                ahead.fetch(s);
            }
        }
        for step in first..last {
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
        first = if ahead.is_some() { last } else { steps };
    }
    *acc = sums;
}

/// Cuts rows into as few tiles as the registers allow, as even as they can be.
#[inline(always)]
pub fn each_tile<S: InstructionSet, T: RowTile<S>>(s: S, rows: Range<usize>, tile: &mut T) {
    let mut row = rows.start;
    while row < rows.end {
        let left = rows.end - row;
        let mr = left.div_ceil(left.div_ceil(S::STRATEGY.tile_rows));
        s.run_tile(mr, row, tile);
        row += mr;
    }
}
