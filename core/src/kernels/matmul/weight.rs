//! What a stored format does in a product: from a slice of a panel to sums, and from sums to
//! numbers.
//!
//! A plain format's elements are operands. A packed one is unpacked in registers while the first
//! tile of rows is multiplied; with `KEEP` the unpacked slice is left behind, in L1, for the other
//! tiles. So unpacking costs no pass of its own.
use super::coded::{self, Escapes};
use super::int4;
use super::micro::{
    Ahead, Element, keeping_tile, kept_as_stored, kept_tile, tile, tile_widens_rows, wide_tile,
};
use super::panel::{INT8_TAIL, PANEL};
use crate::dtype::{Bf16x12, Int4, Int8};
use crate::isa::{InstructionSet, LANES};
use half::bf16;

/// Bytes of a slice's operands: half of a 32 KiB L1.
pub(super) const SLICE_BYTES: usize = 16 << 10;

/// Inputs of a slice whose operands are kept. Slices are whole blocks in every format.
pub(super) const fn slice_inputs<S: InstructionSet, E: Element<S>>() -> usize {
    let steps = SLICE_BYTES / (E::KEPT * size_of::<E>());
    assert!((steps * 4).is_multiple_of(int4::BLOCK) && SLICE_BYTES.is_multiple_of(64));
    steps * E::STEP
}

/// The inputs `first..first + len` of a panel.
#[derive(Clone, Copy)]
pub(super) struct Slice<'p, W> {
    pub(super) panel: &'p [W],
    /// Inputs of the panel.
    pub(super) k: usize,
    pub(super) first: usize,
    pub(super) len: usize,
}

/// Rows of operands from the first input of a slice on: a pointer, and elements from row to row.
pub(super) type SliceRows<O> = (*const O, usize);

/// A format of weights; `Operand` is what the rows are made of, and the unpacked weights.
pub(super) trait Weight<S: InstructionSet>: Copy {
    type Operand: Element<S>;
    /// What is remembered of a panel from slice to slice.
    type Cursor<'p>: Copy;
    /// Whether the elements are not operands.
    const PACKED: bool;

    /// Elements of a panel before an input at which a slice may begin.
    fn offset(input: usize) -> usize;
    /// Elements of a row that the first `k` inputs are multiplied with.
    fn read_len(k: usize) -> usize;
    /// Before the first slice.
    fn cursor(k: usize, panel: &[Self]) -> Self::Cursor<'_>;
    /// Where the sums of a panel's 32 columns start.
    fn begin(s: S, panel: &[Self]) -> [Sums<S, Self>; 2];
    /// The sums as numbers, for a row with that scale.
    fn finish(s: S, sums: [Sums<S, Self>; 2], panel: &[Self], row_scale: f32) -> [S::F; 2];

    /// Adds the products of a slice with MR rows; with `KEEP`, writes the slice's operands to
    /// `keep`.
    ///
    /// # Safety
    /// `slice` is part of a whole panel and `cursor` that panel's, after the slices before. Each of
    /// the MR rows is readable for [`Weight::read_len`] of the slice. With `KEEP`, `keep` is valid
    /// for writing [`SLICE_BYTES`], and the slice at most [`slice_inputs`] long.
    unsafe fn accumulate<const MR: usize, const KEEP: bool>(
        s: S,
        slice: Slice<'_, Self>,
        cursor: &mut Self::Cursor<'_>,
        rows: SliceRows<Self::Operand>,
        sums: &mut [[Sums<S, Self>; 2]; MR],
        keep: *mut Self::Operand,
        ahead: Ahead,
    );
}

pub(super) type Sums<S, W> = <<W as Weight<S>>::Operand as Element<S>>::Sums;

/// Adds the products of MR rows and `len` inputs of 32 columns, whose operands lie at `columns` as
/// they are kept.
///
/// # Safety
/// `columns` is valid for reading 32 columns of `len` inputs, rounded up to whole steps, and so is
/// each row.
#[inline(always)]
pub(super) unsafe fn accumulate_kept<S: InstructionSet, E: Element<S>, const MR: usize>(
    s: S,
    len: usize,
    columns: *const E,
    rows: SliceRows<E>,
    sums: &mut [[E::Sums; 2]; MR],
    ahead: Ahead,
) {
    // SAFETY: the caller vouches for rows and columns.
    unsafe {
        if kept_as_stored::<S, E>() && !S::STRATEGY.columns_one_by_one {
            accumulate_operands(s, len, columns, rows, sums, ahead);
        } else {
            kept_tile::<S, E, MR>(s, len.div_ceil(E::STEP), rows, columns, sums, Some(ahead));
        }
    }
}

/// Adds the products of MR rows and `len` inputs of 32 columns, whose operands lie at `columns` as
/// a panel has them.
///
/// # Safety
/// `columns` is valid for reading 32 columns of `len` inputs, rounded up to whole steps, and so is
/// each row.
#[inline(always)]
pub(super) unsafe fn accumulate_operands<S: InstructionSet, E: Element<S>, const MR: usize>(
    s: S,
    len: usize,
    columns: *const E,
    (a, a_stride): SliceRows<E>,
    sums: &mut [[E::Sums; 2]; MR],
    ahead: Ahead,
) {
    let width = LANES * E::STEP;
    // SAFETY: the caller vouches for rows and columns; two vectors of 16 columns stand side by
    // side.
    unsafe {
        let b = [columns, columns.add(width)];
        tile::<S, E, MR, 2>(s, len.div_ceil(E::STEP), (a, a_stride), (b, 2 * width), sums, Some(ahead));
    }
}

macro_rules! plain {
    ($element:ty) => {
        type Operand = $element;
        type Cursor<'p> = ();
        const PACKED: bool = !kept_as_stored::<S, $element>();

        #[inline(always)]
        fn offset(input: usize) -> usize {
            input * PANEL
        }
        #[inline(always)]
        fn read_len(k: usize) -> usize {
            k.next_multiple_of(<$element as Element<S>>::STEP)
        }
        #[inline(always)]
        fn cursor(_k: usize, _panel: &[$element]) {}

        #[inline(always)]
        unsafe fn accumulate<const MR: usize, const KEEP: bool>(
            s: S,
            slice: Slice<'_, $element>,
            (): &mut (),
            rows: SliceRows<$element>,
            sums: &mut [[Sums<S, Self>; 2]; MR],
            keep: *mut $element,
            ahead: Ahead,
        ) {
            let from = slice.first * PANEL;
            let columns = &slice.panel[from..][..<Self as Weight<S>>::read_len(slice.len) * PANEL];
            let steps = slice.len.div_ceil(<$element as Element<S>>::STEP);
            // SAFETY: the columns were just sliced; the caller vouches for the rows and for `keep`.
            unsafe {
                if KEEP {
                    keeping_tile(s, steps, rows, columns.as_ptr(), sums, keep, ahead);
                } else if kept_as_stored::<S, $element>() {
                    accumulate_kept(s, slice.len, columns.as_ptr(), rows, sums, ahead);
                } else if const { tile_widens_rows::<S, $element>(MR) } {
                    wide_tile(s, steps, rows, columns.as_ptr(), sums, ahead);
                } else {
                    accumulate_operands(s, slice.len, columns.as_ptr(), rows, sums, ahead);
                }
            }
        }
    };
}

macro_rules! unscaled {
    () => {
        #[inline(always)]
        fn begin(s: S, _panel: &[Self]) -> [S::F; 2] {
            [s.splat(0.0); 2]
        }
        #[inline(always)]
        fn finish(_s: S, sums: [S::F; 2], _panel: &[Self], _row_scale: f32) -> [S::F; 2] {
            sums
        }
    };
}

macro_rules! scaled {
    () => {
        #[inline(always)]
        fn begin(s: S, panel: &[Self]) -> [S::Ints; 2] {
            let starts = panel[panel.len() - INT8_TAIL..].as_ptr().cast::<i32>();
            // SAFETY: the tail begins with 32 integers.
            unsafe { [s.load_ints(starts), s.load_ints(starts.add(LANES))] }
        }
        #[inline(always)]
        fn finish(s: S, sums: [S::Ints; 2], panel: &[Self], row_scale: f32) -> [S::F; 2] {
            let scales = panel[panel.len() - PANEL * size_of::<f32>()..].as_ptr().cast::<f32>();
            // SAFETY: the tail ends with 32 floats.
            let scales = unsafe { [s.load(scales), s.load(scales.add(LANES))] };
            let row_scale = s.splat(row_scale);
            let [first, second] = [s.ints_to_floats(sums[0]), s.ints_to_floats(sums[1])];
            [s.mul(s.mul(first, row_scale), scales[0]), s.mul(s.mul(second, row_scale), scales[1])]
        }
    };
}

impl<S: InstructionSet> Weight<S> for f32 {
    plain!(f32);
    unscaled!();
}

impl<S: InstructionSet> Weight<S> for bf16 {
    plain!(bf16);
    unscaled!();
}

impl<S: InstructionSet> Weight<S> for Int8 {
    plain!(Int8);
    scaled!();
}

impl<S: InstructionSet> Weight<S> for Int4 {
    scaled!();
    type Operand = Int8;
    type Cursor<'p> = ();
    const PACKED: bool = true;

    #[inline(always)]
    fn offset(input: usize) -> usize {
        input / int4::BLOCK * int4::BLOCK_BYTES
    }
    #[inline(always)]
    fn read_len(k: usize) -> usize {
        k.next_multiple_of(int4::GROUP)
    }
    #[inline(always)]
    fn cursor(_k: usize, _panel: &[Int4]) {}

    #[inline(always)]
    unsafe fn accumulate<const MR: usize, const KEEP: bool>(
        s: S,
        slice: Slice<'_, Int4>,
        (): &mut (),
        rows: SliceRows<Int8>,
        sums: &mut [[S::Ints; 2]; MR],
        keep: *mut Int8,
        ahead: Ahead,
    ) {
        let blocks = slice.len.div_ceil(int4::BLOCK) * int4::BLOCK_BYTES;
        let panel = &slice.panel[<Self as Weight<S>>::offset(slice.first)..][..blocks];
        let groups = slice.len.div_ceil(int4::GROUP);
        // SAFETY: the caller vouches for the rows and for `keep`; the slice has that many blocks.
        unsafe { int4::tile::<S, MR, KEEP>(s, groups, rows, panel.as_ptr(), sums, keep, ahead) };
    }
}

impl<S: InstructionSet> Weight<S> for Bf16x12 {
    unscaled!();
    type Operand = bf16;
    type Cursor<'p> = Escapes<'p>;
    const PACKED: bool = true;

    #[inline(always)]
    fn offset(input: usize) -> usize {
        coded::offset(input)
    }
    #[inline(always)]
    fn read_len(k: usize) -> usize {
        k.next_multiple_of(coded::BLOCK_INPUTS)
    }
    #[inline(always)]
    fn cursor(k: usize, panel: &[Bf16x12]) -> Escapes<'_> {
        Escapes::of(k, panel)
    }

    #[inline(always)]
    unsafe fn accumulate<const MR: usize, const KEEP: bool>(
        s: S,
        slice: Slice<'_, Bf16x12>,
        escapes: &mut Escapes<'_>,
        rows: SliceRows<bf16>,
        sums: &mut [[S::F; 2]; MR],
        keep: *mut bf16,
        ahead: Ahead,
    ) {
        // SAFETY: the caller vouches for the rows, for `keep` as the panel's escapes.
        unsafe { coded::tile::<S, MR, KEEP>(s, slice, escapes, rows, sums, keep, ahead) };
    }
}
