//! Columns of a weight as the operands that they are multiplied as.
//!
//! * **Stored** columns are as the panel has them.
//! * **Unpacked** columns were made operands from fewer bits, in registers ([`Unpack`]).
//! * **Dequantized** columns were unpacked, or widened where the instruction set multiplies wider
//!   numbers than are stored, and written to a slice's room in L1, for further tiles of rows.
//!
//! The first tile of rows multiplies columns as it dequantizes them, so that costs no pass of its
//! own. Where nothing has to be unpacked or widened, dequantized columns are stored ones.
#![allow(unsafe_code)]

use super::micro::{Element, TileRows, tile};
use super::panel::PANEL;
use super::prefetch::{Ahead, Bursts, FETCH_STEPS, WIDE_FETCH_STEPS};
use crate::isa::{InstructionSet, LANES};
use core::mem::MaybeUninit;

/// Bytes of a slice of dequantized columns: half of a 32 KiB L1.
pub const SLICE_BYTES: usize = 16 << 10;

/// Inputs that every slice is a multiple of: no format has larger blocks.
pub const SLICE_STEP: usize = 64;

/// Inputs of a slice whose columns are dequantized. Slices are whole blocks in every format.
pub const fn slice_inputs<S: InstructionSet, E: Element<S>>() -> usize {
    let steps = SLICE_BYTES / (E::DEQUANTIZED_LEN * size_of::<E>());
    assert!((steps * E::STEP).is_multiple_of(SLICE_STEP));
    steps * E::STEP
}

/// Whether dequantized columns of a plain format are stored ones.
pub const fn dequantized_as_stored<S: InstructionSet, E: Element<S>>() -> bool {
    E::DEQUANTIZED_LEN == 2 * LANES * E::STEP
}

/// Adds the products of MR rows and 32 columns that lie as a plain panel has them, whole steps of
/// K; with `DEQUANTIZE`, leaves the columns dequantized in `out`.
///
/// # Panics
/// If rows or `out` are shorter than the columns.
#[inline(always)]
pub fn plain_tile<S: InstructionSet, E: Element<S>, const MR: usize, const DEQUANTIZE: bool>(
    s: S,
    columns: &[E],
    rows: TileRows<'_, E, MR>,
    sums: &mut [[E::Sums; 2]; MR],
    out: &mut [E],
    ahead: Ahead,
) {
    let steps = columns.len() / (PANEL * E::STEP);
    assert!(MR == 0 || rows.row_len() >= steps * E::STEP);
    assert!(!DEQUANTIZE || out.len() >= steps * E::DEQUANTIZED_LEN);
    let (rows, columns) = (rows.pointers(), columns.as_ptr());
    // SAFETY: rows, columns and `out` have as many steps, as was just asserted.
    unsafe {
        if DEQUANTIZE {
            dequantizing_tile(s, steps, rows, columns, sums, out.as_mut_ptr(), ahead);
        } else if dequantized_as_stored::<S, E>() {
            dequantized_or_stored_tile(s, steps, rows, columns, sums, ahead);
        } else if const { tile_widens_rows::<S, E>(MR) } {
            wide_tile(s, steps, rows, columns, sums, ahead);
        } else {
            stored_tile(s, steps, rows, columns, sums, ahead);
        }
    }
}

/// Adds the products of MR rows and `len` inputs of 32 dequantized columns, those of one slice.
///
/// # Panics
/// If rows or columns are shorter than `len`, rounded up to whole steps, or `len` is longer than a
/// slice.
#[inline(always)]
pub fn slice_tile<S: InstructionSet, E: Element<S>, const MR: usize>(
    s: S,
    len: usize,
    columns: &[E],
    rows: TileRows<'_, E, MR>,
    sums: &mut [[E::Sums; 2]; MR],
    ahead: Ahead,
) {
    let steps = len.div_ceil(E::STEP);
    assert!(rows.row_len() >= steps * E::STEP && columns.len() >= steps * E::DEQUANTIZED_LEN);
    // SAFETY: rows and columns have as many steps, as was just asserted.
    unsafe { dequantized_or_stored_tile(s, steps, rows.pointers(), columns.as_ptr(), sums, ahead) };
}

/// # Safety
/// As [`dequantized_tile`].
#[inline(always)]
unsafe fn dequantized_or_stored_tile<S: InstructionSet, E: Element<S>, const MR: usize>(
    s: S,
    steps: usize,
    rows: (*const E, usize),
    columns: *const E,
    sums: &mut [[E::Sums; 2]; MR],
    ahead: Ahead,
) {
    // SAFETY: the caller vouches for rows and columns.
    unsafe {
        if dequantized_as_stored::<S, E>() && !S::STRATEGY.columns_one_by_one {
            stored_tile(s, steps, rows, columns, sums, ahead);
        } else {
            dequantized_tile::<S, E, MR>(s, steps, rows, columns, sums, Some(ahead));
        }
    }
}

/// Adds the products of MR rows and 32 columns that lie as a plain panel has them: two vectors of
/// 16 columns side by side.
///
/// # Safety
/// `columns` is valid for reading `steps` steps of 32 columns, and so is each row.
#[inline(always)]
unsafe fn stored_tile<S: InstructionSet, E: Element<S>, const MR: usize>(
    s: S,
    steps: usize,
    rows: (*const E, usize),
    columns: *const E,
    sums: &mut [[E::Sums; 2]; MR],
    ahead: Ahead,
) {
    let width = LANES * E::STEP;
    // SAFETY: the caller vouches for rows and columns.
    unsafe {
        let b = [columns, columns.add(width)];
        tile::<S, E, MR, 2>(s, steps, rows, (b, 2 * width), sums, Some(ahead));
    }
}

/// [`stored_tile`] that leaves the columns dequantized at `out`.
///
/// # Safety
/// As [`stored_tile`]; `out` is valid for writing `steps * DEQUANTIZED_LEN` elements.
#[inline(always)]
unsafe fn dequantizing_tile<S: InstructionSet, E: Element<S>, const MR: usize>(
    s: S,
    steps: usize,
    (a, a_stride): (*const E, usize),
    b: *const E,
    acc: &mut [[E::Sums; 2]; MR],
    out: *mut E,
    ahead: Ahead,
) {
    let mut sums = *acc;
    let mut ahead = ahead.cut(steps * 2);
    for step in 0..steps {
        ahead.fetch(s);
        ahead.fetch(s);
        // SAFETY: the function's own conditions; what is added was just written.
        unsafe {
            let dequantized = out.add(step * E::DEQUANTIZED_LEN);
            let columns = b.add(step * 2 * LANES * E::STEP);
            let lines = E::load_lines(s, [columns, columns.add(LANES * E::STEP)]);
            E::store_dequantized(s, lines, dequantized);
            E::add_dequantized(s, (a.add(step * E::STEP), a_stride), dequantized, &mut sums);
        }
    }
    *acc = sums;
}

/// Adds the products of MR rows and 32 dequantized columns: at most [`WIDE_STEPS`] steps where rows
/// are widened.
///
/// # Safety
/// For each `r < MR`, `a + r * a_stride` is valid for reading `steps * STEP` elements, and `b` for
/// `steps * DEQUANTIZED_LEN`.
#[inline(always)]
pub unsafe fn dequantized_tile<S: InstructionSet, E: Element<S>, const MR: usize>(
    s: S,
    steps: usize,
    (a, a_stride): (*const E, usize),
    b: *const E,
    acc: &mut [[E::Sums; 2]; MR],
    ahead: Option<Ahead>,
) {
    let mut sums = *acc;
    let mut ahead = ahead.map(|ahead| ahead.cut(steps * 2));
    let mut wide = WideRows::<MR>::new();
    if E::WIDENS_ROWS {
        const { assert!(!E::WIDENS_ROWS || slice_inputs::<S, E>() <= WIDE_STEPS * E::STEP) };
        // SAFETY: the function's own conditions.
        unsafe { wide.widen(s, (a, a_stride), steps) };
    }
    let mut first = 0;
    while first < steps {
        let last = if ahead.is_some() { (first + FETCH_STEPS).min(steps) } else { steps };
        if let Some(ahead) = &mut ahead {
            for _ in 0..FETCH_STEPS * 2 {
                ahead.fetch(s);
            }
        }
        for step in first..last {
            // SAFETY: the function's own conditions; what is wide was written above, 16 odd
            // elements and 16 even ones at a time.
            unsafe {
                let b = b.add(step * E::DEQUANTIZED_LEN);
                if E::WIDENS_ROWS {
                    E::add_wide(s, (wide.at(step), WIDE_STRIDE), b, &mut sums);
                } else {
                    E::add_dequantized(s, (a.add(step * E::STEP), a_stride), b, &mut sums);
                }
            }
        }
        first = last;
    }
    *acc = sums;
}

/// Steps of rows that are widened at a time, and the maximum that [`dequantized_tile`] takes where
/// rows are widened.
pub const WIDE_STEPS: usize = 64;

/// Floats from one widened row to the next: a slice, and a line more, so that rows do not meet in a
/// set of the L1 cache.
const WIDE_STRIDE: usize = 2 * WIDE_STEPS + LANES;
// Rows are widened 16 steps at a time.
const _: () = assert!(WIDE_STEPS.is_multiple_of(LANES));

/// Slices of MR rows of pairs, widened once for all columns.
struct WideRows<const MR: usize>([MaybeUninit<[f32; WIDE_STRIDE]>; MR]);

impl<const MR: usize> WideRows<MR> {
    /// Uninitialised room for a slice of MR rows.
    #[inline(always)]
    fn new() -> Self {
        Self([const { MaybeUninit::uninit() }; MR])
    }

    /// Widens the first `steps` steps of rows that begin `stride` elements apart.
    ///
    /// # Safety
    /// Each row is valid for reading `steps * STEP` elements.
    ///
    /// # Panics
    /// For more steps than [`WIDE_STEPS`], and where the instruction set widens no rows.
    #[inline(always)]
    unsafe fn widen<S: InstructionSet, E: Element<S>>(
        &mut self,
        s: S,
        (a, stride): (*const E, usize),
        steps: usize,
    ) {
        assert!(steps <= WIDE_STEPS, "more steps than a row has room for");
        for (r, row) in self.0.iter_mut().enumerate() {
            // SAFETY: the caller vouches for the row; there is room for as many steps, rounded up
            // to 16.
            unsafe { E::widen(s, a.add(r * stride), steps, row.as_mut_ptr().cast()) };
        }
    }

    /// The odd element of a step of the first row; row `r` has it `r * WIDE_STRIDE` floats on, the
    /// even one lies 16 floats on.
    #[inline(always)]
    fn at(&self, step: usize) -> *const f32 {
        self.0.as_ptr().cast::<f32>().wrapping_add(step / LANES * 2 * LANES + step % LANES)
    }

    /// A step of row `r`.
    ///
    /// # Safety
    /// `r < MR`, and the last [`WideRows::widen`] took more than `step` steps.
    #[inline(always)]
    unsafe fn splat<S: InstructionSet, E: Element<S>>(&self, s: S, r: usize, step: usize) -> E::Row {
        // SAFETY: the caller's promise.
        unsafe { E::splat_wide(s, self.at(step).add(r * WIDE_STRIDE)) }
    }
}

/// Whether a tile of MR rows widens them, a slice at a time, before they meet columns of a panel
/// ([`wide_tile`]): fewer rows are cheaper to widen as they are read, and more than
/// `Strategy::dequantizing_rows` meet dequantized columns.
const fn tile_widens_rows<S: InstructionSet, E: Element<S>>(mr: usize) -> bool {
    E::WIDENS_ROWS && mr >= 5 && mr <= S::STRATEGY.dequantizing_rows
}

/// [`stored_tile`] where [`tile_widens_rows`].
///
/// # Safety
/// As [`stored_tile`].
#[inline(always)]
unsafe fn wide_tile<S: InstructionSet, E: Element<S>, const MR: usize>(
    s: S,
    steps: usize,
    (a, a_stride): (*const E, usize),
    b: *const E,
    acc: &mut [[E::Sums; 2]; MR],
    ahead: Ahead,
) {
    const { assert!(WIDE_STEPS.is_multiple_of(WIDE_FETCH_STEPS)) };
    let mut sums = *acc;
    let mut ahead = ahead.cut(steps * 2);
    let mut wide = WideRows::<MR>::new();
    let mut first = 0;
    while first < steps {
        if first.is_multiple_of(WIDE_STEPS) {
            // SAFETY: the function's own conditions.
            unsafe { wide.widen(s, (a.add(first * E::STEP), a_stride), WIDE_STEPS.min(steps - first)) };
        }
        for _ in 0..WIDE_FETCH_STEPS * 2 {
            ahead.fetch(s);
        }
        let last = (first + WIDE_FETCH_STEPS).min(steps);
        for step in first..last {
            // SAFETY: the function's own conditions; `r < MR`, and the slice that was widened last
            // has the step.
            unsafe {
                let columns = b.add(step * 2 * LANES * E::STEP);
                let columns = [E::load(s, columns), E::load(s, columns.add(LANES * E::STEP))];
                for (r, sums) in sums.iter_mut().enumerate() {
                    let row = wide.splat::<S, E>(s, r, step % WIDE_STEPS);
                    *sums =
                        [E::product(s, row, columns[0], sums[0]), E::product(s, row, columns[1], sums[1])];
                }
            }
        }
        first = last;
    }
    *acc = sums;
}

/// How a format of fewer bits than its operands becomes operands, in registers: unit after unit of
/// inputs, each unit two steps after the other.
pub trait Unpack<S: InstructionSet>: Copy {
    /// What the weights are multiplied as.
    type Operand: Element<S>;
    /// What is remembered of a panel from unit to unit.
    type Cursor<'p>: Copy;
    /// What all units of a panel share, in registers.
    type Shared: Copy;
    /// A unit's part of the panel, with what all of its inputs share in registers.
    type Unit<'p>: Copy;
    /// Inputs of a unit: whole pairs of steps.
    const UNIT: usize;
    /// Elements of a panel before its first block.
    const HEADER_LEN: usize = 0;
    /// Elements of a block: whole cache lines.
    const BLOCK_LEN: usize;
    /// Units of a block.
    const BLOCK_UNITS: usize;
    /// Whether a single row is multiplied by [`Unpack::add_to_one`].
    const HAS_ONE: bool = false;

    /// Loads the values of a panel that all its units need.
    fn shared(s: S, panel: &[Self]) -> Self::Shared;
    /// The unit of that number in a panel, which lies in this block.
    fn unit(s: S, shared: Self::Shared, block: &[Self], number: usize) -> Self::Unit<'_>;
    /// The columns of two steps of a unit: steps `2 pair` and `2 pair + 1`.
    fn unpack(
        s: S,
        unit: Self::Unit<'_>,
        pair: usize,
        cursor: &mut Self::Cursor<'_>,
    ) -> [<Self::Operand as Element<S>>::Lines; 2];
    /// Adds the products of one row and a whole unit, where [`Unpack::HAS_ONE`]; `row` are the
    /// row's operands for the unit.
    #[inline(always)]
    fn add_to_one(
        s: S,
        unit: Self::Unit<'_>,
        row: &[Self::Operand],
        sums: [<Self::Operand as Element<S>>::Sums; 2],
    ) -> [<Self::Operand as Element<S>>::Sums; 2] {
        let _ = (s, unit, row, sums);
        unreachable!("only where `HAS_ONE`");
    }
}

/// Some units of a panel.
#[derive(Clone, Copy)]
pub struct Units<'p, W> {
    /// The elements of the whole panel.
    pub panel: &'p [W],
    /// The number of the first unit of the slice.
    pub first: usize,
    /// How many units the slice has.
    pub count: usize,
}

/// Adds the products of MR rows and the 32 columns of some units; with `DEQUANTIZE`, leaves the
/// columns dequantized in `out`.
///
/// # Panics
/// If the panel, rows or `out` are shorter than the units.
#[inline(always)]
pub fn unpacking_tile<S: InstructionSet, U: Unpack<S>, const MR: usize, const DEQUANTIZE: bool>(
    s: S,
    Units { panel, first, count }: Units<'_, U>,
    rows: TileRows<'_, U::Operand, MR>,
    cursor: &mut U::Cursor<'_>,
    acc: &mut [[<U::Operand as Element<S>>::Sums; 2]; MR],
    out: &mut [U::Operand],
    ahead: Ahead,
) {
    let step_len = <U::Operand as Element<S>>::STEP;
    let dequantized_len = <U::Operand as Element<S>>::DEQUANTIZED_LEN;
    let unit_steps = const { U::UNIT / <U::Operand as Element<S>>::STEP };
    assert!(MR == 0 || rows.row_len() >= count * U::UNIT);
    assert!(!DEQUANTIZE || out.len() >= count * unit_steps * dequantized_len);
    let ((a, a_stride), out) = (rows.pointers(), out.as_mut_ptr());
    let (mut sums, mut passed) = (*acc, *cursor);
    let block_lines = const { U::BLOCK_LEN * size_of::<U>() / 64 };
    // Units of the first block that come before the slice: only where blocks are longer than what
    // slices are multiples of.
    let whole = const { SLICE_STEP.is_multiple_of(U::UNIT * U::BLOCK_UNITS) };
    assert!(!whole || first.is_multiple_of(U::BLOCK_UNITS));
    let skipped = if whole { 0 } else { first % U::BLOCK_UNITS };
    let block_count = (skipped + count).div_ceil(U::BLOCK_UNITS);
    let blocks = &panel[U::HEADER_LEN + first / U::BLOCK_UNITS * U::BLOCK_LEN..];
    let blocks = &blocks[..block_count * U::BLOCK_LEN];
    let shared = U::shared(s, panel);
    let mut bursts = Bursts::cut(ahead, block_count * block_lines);
    for number in 0..count {
        if (skipped + number).is_multiple_of(U::BLOCK_UNITS) {
            bursts.fetch(s, block_lines);
        }
        // SAFETY: there are blocks for `count` units, and this is the one that unit `number` of
        // them lies in. A check here would cost a register that eight rows need.
        let block = unsafe {
            let start = blocks.as_ptr().add((skipped + number) / U::BLOCK_UNITS * U::BLOCK_LEN);
            core::slice::from_raw_parts(start, U::BLOCK_LEN)
        };
        let unit = U::unit(s, shared, block, first + number);
        if MR == 1 && !DEQUANTIZE && U::HAS_ONE {
            // SAFETY: the row has operands for all units.
            let row = unsafe { core::slice::from_raw_parts(a.add(number * U::UNIT), U::UNIT) };
            sums[0] = U::add_to_one(s, unit, row, sums[0]);
            continue;
        }
        for pair in 0..unit_steps / 2 {
            let lines = U::unpack(s, unit, pair, &mut passed);
            for i in 0..2 {
                let lines = lines[i];
                let step = number * unit_steps + 2 * pair + i;
                // SAFETY: the step is one of a unit's, for which rows and `out` have room; `r <
                // MR`.
                unsafe {
                    if DEQUANTIZE {
                        U::Operand::store_dequantized(s, lines, out.add(step * dequantized_len));
                    }
                    let columns = U::Operand::columns(s, lines);
                    for r in 0..MR {
                        let row = U::Operand::splat(s, a.add(r * a_stride + step * step_len));
                        sums[r][0] = U::Operand::product(s, row, columns[0], sums[r][0]);
                        sums[r][1] = U::Operand::product(s, row, columns[1], sums[r][1]);
                    }
                }
            }
        }
    }
    (*acc, *cursor) = (sums, passed);
}
