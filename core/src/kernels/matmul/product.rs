//! One task of a product: a range of panels, some rows, and what is done with the sums.
//!
//! ```text
//! for a group of panels, for a block of rows                    both stay in L2 (blocks)
//!   for each panel of the output                                a weight is read from memory once
//!     for each slice of K                                       half of L1 (dequantized)
//!       for each panel of the weight that makes the output's    gate and up, or one
//!         first tile of rows: multiplies stored columns, leaves them dequantized in L1
//!         other tiles: multiply the dequantized columns
//!           for each step of K, for each row of the tile        registers (micro)
//!     for each row: sums to numbers, bias, epilogue
//! ```
//!
//! Columns are *stored* as the panel has them, *dequantized* once they are unpacked or *widened* to
//! what is multiplied ([`dequantized`](super::dequantized)); where stored columns are multiplied as
//! they are, no tile is first. A tile's sums wait in the worker's scratch from slice to slice,
//! exactly, so slices change no bit. Every tile fetches its share of the next slice while it
//! computes: memory is read all the time, not between computations. Where one tile holds all rows
//! there is one slice, the whole panel, and nothing is dequantized. Where it does not, a unit that
//! multiplies whole tiles ([`Isa::matrix`](crate::isa::Isa)) takes slices of bytes, for all rows.
#![allow(unsafe_code)]

use super::activations::Activations;
use super::blocks::Blocks;
use super::dequantized::{SLICE_BYTES, slice_inputs, slice_tile};
use super::epilogue::{Epilogue, biased};
use super::formats::{ColumnSums, Format, Slice, Weight};
use super::linear::{Linear, Panels};
use super::micro::{Element, TileRows, each_tile};
use super::panel::PANEL;
use super::prefetch::{Ahead, BURST_BYTES};
use crate::dtype::{OperandFormat, WeightFormat, weight_formats};
use crate::isa::matrix::ByteRows;
use crate::isa::{InstructionSet, Isa, Matrix, RowTile, SimdOp, Tiles};
use crate::memory::{bytes_mut, cast_mut};
use crate::tensor::Rows;
use core::ops::Range;

/// Bytes of scratch that a task of [`multiply`] needs for `rows` rows: sums, and a slice of
/// dequantized columns. A multiple of 64.
pub const fn scratch_bytes(rows: usize, panels_per_output: usize) -> usize {
    SLICE_BYTES + rows * panels_per_output * SUMS_BYTES
}

/// Bytes of the sums of a row and a panel.
const SUMS_BYTES: usize = PANEL * size_of::<f32>();

/// Computes the output panels `panels` (each [`PANEL`] columns of the output) of `act · weightᵀ`;
/// rows of the output are `out_stride` elements apart. `scratch` has at least [`scratch_bytes`],
/// from a multiple of 64.
///
/// # Safety
/// No other task works on the same panels of the same rows of the output at the same time.
///
/// # Panics
/// If formats or shapes do not fit each other.
pub unsafe fn multiply(
    isa: Isa,
    act: Activations<'_>,
    weight: &Linear<'_>,
    panels: Range<usize>,
    (epilogue, out_stride): (Epilogue<'_>, usize),
    scratch: &mut [u8],
) {
    let per_output = epilogue.panels_per_output();
    assert!(panels.start <= panels.end && panels.end * per_output <= weight.panel_count());
    let k = weight.inputs();
    assert!(panels.end * PANEL <= out_stride);
    assert!(epilogue.len() >= act.count() * out_stride, "the output is shorter than the product");
    assert!(act.format() == weight.operands(), "the activations are not in the format of the weights");
    assert!(act.width() == k, "the rows are not as wide as the weight has inputs");
    assert!(
        scratch.len() >= scratch_bytes(act.count(), per_output) && scratch.as_ptr().addr().is_multiple_of(64)
    );
    if let Activations::Int8(rows, scales) = act {
        assert!(scales.len() >= rows.count());
    }
    for segment in weight.segments() {
        // Panels that are multiplied together lie in one segment.
        assert!(segment.first.is_multiple_of(per_output) && segment.end.is_multiple_of(per_output));
        let (first, end) = (segment.first / per_output, segment.end / per_output);
        let range = panels.start.max(first)..panels.end.min(end);
        if range.is_empty() {
            continue;
        }
        let local = range.start - first..range.end - first;
        let epilogue = epilogue.after(first * PANEL);
        let bias = weight.bias().map(|bias| &bias[segment.first * PANEL..]);
        let blocks = Blocks::new(act.count(), act.row_bytes(), per_output * weight.panel_bytes(segment));
        for panels in blocks.panels(local) {
            for rows in blocks.rows() {
                let epilogue = epilogue.after(rows.start * out_stride);
                let task = Task { k, bias, epilogue, out_stride, panels: panels.clone() };
                run_block(isa, act.part(rows), segment.panels, task, scratch);
            }
        }
    }
}

/// The product of a block of rows and a range of panels, apart from their formats.
struct Task<'a> {
    k: usize,
    bias: Option<&'a [f32]>,
    epilogue: Epilogue<'a>,
    out_stride: usize,
    /// The panels of the output that the block has.
    panels: Range<usize>,
}

/// The inputs that all panels of a block share; `O` is the type of the operands.
struct Job<'a, O> {
    task: Task<'a>,
    rows: Rows<'a, O>,
    /// The rows' scales; empty where the operands have none.
    scales: &'a [f32],
    /// Bytes ahead of the reader that a single tile of rows fetches ([`Isa::fetch_ahead`]).
    ahead: usize,
    matrix: Option<Matrix>,
}

/// A block's product with panels of `W`.
struct Product<'a, W: Format> {
    job: Job<'a, W::Operand>,
    data: &'a [W],
    scratch: &'a mut [u8],
}

macro_rules! products {
    ($(
        $(#[doc = $doc:literal])* $(#[cfg($cfg:meta)])?
        $variant:ident = $number:literal { element: $element:ty, $($rest:tt)* }
    )*) => {
        $(
            $(#[cfg($cfg)])?
            impl SimdOp for Product<'_, $element> {
                type Output = ();
                const MULTIPLIES_PAIRS: bool =
                    matches!(WeightFormat::$variant.operands(), OperandFormat::Bf16);
                #[inline(always)]
                fn eval<S: InstructionSet>(self, s: S) {
                    product::<S, $element>(s, self);
                }
            }
        )*

        /// Runs a block in the weight's format, compiled for the instruction set.
        fn run_block(isa: Isa, act: Activations<'_>, panels: Panels<'_>, task: Task<'_>, scratch: &mut [u8]) {
            let (ahead, matrix) = (isa.fetch_ahead(), isa.matrix());
            match panels {
                $($(#[cfg($cfg)])? Panels::$variant(data) => {
                    let (rows, scales) = act.operands();
                    isa.run(Product { job: Job { task, rows, scales, ahead, matrix }, data, scratch })
                })*
            }
        }
    };
}
weight_formats!(products);

#[inline(always)]
fn product<S: InstructionSet, W: Weight<S>>(s: S, product: Product<'_, W>) {
    const { assert!(size_of::<ColumnSums<S, W>>() == SUMS_BYTES && align_of::<ColumnSums<S, W>>() <= 64) };
    let Product { job, data, scratch } = product;
    let (k, rows, per_output) = (job.task.k, job.rows.count(), job.task.epilogue.panels_per_output());
    let panel_len = W::panel_len(k);
    // One tile keeps its sums in registers from end to end. More of them share each slice while it
    // is in L1.
    let one_tile = rows <= if W::DEQUANTIZES { S::STRATEGY.dequantizing_rows } else { S::STRATEGY.tile_rows };
    let slice_len = if one_tile { k } else { const { slice_inputs::<S, W::Operand>() } };
    let (dequantized, sums) = scratch.split_at_mut(SLICE_BYTES);
    let dequantized = cast_mut(dequantized).expect("the scratch is aligned");
    let sums = sums.as_mut_ptr().cast::<ColumnSums<S, W>>();
    let takes_tiles = const { <W::Operand as Element<S>>::BYTES } && !one_tile;
    // SAFETY: the only use of the unit, once in a task, and a thread runs one task at a time.
    let mut tiles = job.matrix.filter(|_| takes_tiles).map(|unit| unsafe { unit.tiles() });
    for panel in job.task.panels.clone() {
        let weights = [0, per_output - 1].map(|i| &data[(panel * per_output + i) * panel_len..][..panel_len]);
        let mut cursors = weights.map(|panel| W::cursor(k, panel));
        for first in (0..k).step_by(slice_len) {
            for i in 0..per_output {
                let slice = Slice { panel: weights[i], k, first, len: slice_len.min(k - first) };
                let ahead = if one_tile { after(slice, job.ahead) } else { next(slice, per_output) };
                // SAFETY: there is room for the sums of so many rows of so many panels, which
                // `multiply` asked for.
                let sums = unsafe { sums.add(i * rows) };
                let begin = W::begin(s, slice.panel);
                let tile = SliceTile { job: &job, first, len: W::read_len(slice.len), begin, sums, ahead };
                let (cursor, out) = (&mut cursors[i], &mut *dequantized);
                if let Some(tiles) = &mut tiles {
                    Dequantizing { tile, slice, cursor, out }.run_tiles(s, tiles);
                } else if W::DEQUANTIZES && !one_tile {
                    s.run_dequantizing_tile(&mut Dequantizing { tile, slice, cursor, out });
                    let rest = S::STRATEGY.dequantizing_rows..rows;
                    each_tile(s, rest, &mut Dequantized { tile, columns: dequantized });
                } else {
                    each_tile(s, 0..rows, &mut Stored { tile, slice, cursor });
                }
            }
        }
        for row in 0..rows {
            finish_row::<S, W>(s, &job, (weights, panel), row, sums);
        }
    }
}

/// What one tile of rows reads soon: as many bytes as the panel has, from `ahead` bytes after its
/// start, or a little before, where a burst may begin.
#[inline(always)]
fn after<W>(slice: Slice<'_, W>, ahead: usize) -> Ahead {
    let from = slice.panel.as_ptr().cast::<u8>().wrapping_add(ahead);
    Ahead::new(from.map_addr(|addr| addr - addr % BURST_BYTES), size_of_val(slice.panel))
}

/// The slice after this one: the next of the panel, or the first of the next output.
#[inline(always)]
fn next<W: Format>(slice: Slice<'_, W>, panels_per_output: usize) -> Ahead {
    let Slice { panel, k, first, len } = slice;
    let at = if first + len < k { W::offset(first + len) } else { panels_per_output * panel.len() };
    let bytes = (W::offset(first + len) - W::offset(first)) * size_of::<W>();
    Ahead::new(panel.as_ptr().wrapping_add(at).cast(), bytes)
}

/// What tiles of rows share in a slice, whatever format its columns have: `O` is that of the
/// operands.
struct SliceTile<'t, 'a, S: InstructionSet, O: Element<S>> {
    job: &'t Job<'a, O>,
    /// The first input of the slice, and the elements of a row from there that it multiplies.
    first: usize,
    len: usize,
    /// What the sums of every row are before the first slice.
    begin: [O::Sums; 2],
    /// The sums of each row from the slices before, `[rows]`.
    sums: *mut [O::Sums; 2],
    /// Memory of the next slice, of which each tile fetches its share.
    ahead: Ahead,
}

impl<S: InstructionSet, O: Element<S>> Clone for SliceTile<'_, '_, S, O> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<S: InstructionSet, O: Element<S>> Copy for SliceTile<'_, '_, S, O> {}

/// Tiles that multiply stored columns.
struct Stored<'t, 'w, 'a, S: InstructionSet, W: Weight<S>> {
    tile: SliceTile<'t, 'a, S, W::Operand>,
    slice: Slice<'w, W>,
    cursor: &'t mut W::Cursor<'w>,
}

/// The tile that leaves the slice dequantized in `out`.
struct Dequantizing<'t, 'w, 'a, S: InstructionSet, W: Weight<S>> {
    tile: SliceTile<'t, 'a, S, W::Operand>,
    slice: Slice<'w, W>,
    cursor: &'t mut W::Cursor<'w>,
    out: &'t mut [W::Operand],
}

/// Tiles that multiply dequantized columns: the same for all formats with such operands.
struct Dequantized<'t, 'a, S: InstructionSet, O: Element<S>> {
    tile: SliceTile<'t, 'a, S, O>,
    columns: &'t [O],
}

impl<S: InstructionSet, W: Weight<S>> RowTile<S> for Stored<'_, '_, '_, S, W> {
    // More rows meet dequantized columns, where there are such.
    const ROWS_MAX: usize = if W::DEQUANTIZES { S::STRATEGY.dequantizing_rows } else { usize::MAX };

    #[inline(always)]
    fn run<const MR: usize>(&mut self, s: S, row: usize) {
        let Self { tile, slice, cursor } = self;
        tile.run(
            row,
            #[inline(always)]
            |rows, sums: &mut [_; MR], ahead| {
                W::accumulate::<MR, false>(s, *slice, cursor, rows, sums, &mut [], ahead);
            },
        );
    }
}

impl<S: InstructionSet, W: Weight<S>> RowTile<S> for Dequantizing<'_, '_, '_, S, W> {
    #[inline(always)]
    fn run<const MR: usize>(&mut self, s: S, row: usize) {
        let Self { tile, slice, cursor, out } = self;
        tile.run(
            row,
            #[inline(always)]
            |rows, sums: &mut [_; MR], ahead| {
                W::accumulate::<MR, true>(s, *slice, cursor, rows, sums, out, ahead);
            },
        );
    }
}

impl<S: InstructionSet, O: Element<S>> RowTile<S> for Dequantized<'_, '_, S, O> {
    #[inline(always)]
    fn run<const MR: usize>(&mut self, s: S, row: usize) {
        let Self { tile, columns } = *self;
        tile.run(
            row,
            #[inline(always)]
            |rows, sums: &mut [_; MR], ahead| slice_tile(s, tile.len, columns, rows, sums, ahead),
        );
    }
}

impl<S: InstructionSet, W: Weight<S>> Dequantizing<'_, '_, '_, S, W> {
    /// Takes the sums of all rows on, by a unit that multiplies tiles of bytes.
    #[inline(always)]
    fn run_tiles(self, s: S, tiles: &mut Tiles) {
        let Self { tile, slice, cursor, out } = self;
        let (rows, mut ahead) = (tile.job.rows, tile.ahead);
        let quads = tile.len / 4;
        let columns = if W::DEQUANTIZES {
            // Dequantized for no row yet.
            let none = TileRows::<_, 0>::new(rows, 0, 0, 0);
            W::accumulate::<0, true>(s, slice, cursor, none, &mut [], out, ahead);
            ahead = Ahead::NOTHING;
            bytes_mut(out)[..quads * 4 * PANEL].as_ptr()
        } else {
            slice.panel[W::offset(slice.first)..][..quads * 4 * PANEL].as_ptr().cast()
        };
        let stride = rows.stride();
        let from = &rows.data()[slice.first..][..(rows.count() - 1) * stride + 4 * quads];
        let bytes = ByteRows { data: from.as_ptr().cast(), stride, count: rows.count() };
        let begin = [tile.begin];
        let sums = tile.sums.cast::<u8>();
        let start =
            if slice.first == 0 { (begin.as_ptr().cast(), 0) } else { (sums.cast_const(), SUMS_BYTES) };
        // SAFETY: rows and columns were just sliced; sums of bytes are 32 `i32` (`Element::BYTES`),
        // for which there is room.
        unsafe { tiles.add_products(bytes, (columns, quads), start, sums, ahead.parts()) };
    }
}

impl<'a, S: InstructionSet, O: Element<S>> SliceTile<'_, 'a, S, O> {
    /// Takes the sums of MR rows on from where the slice before left them.
    #[inline(always)]
    fn run<const MR: usize>(
        &self,
        row: usize,
        accumulate: impl FnOnce(TileRows<'a, O, MR>, &mut [[O::Sums; 2]; MR], Ahead),
    ) {
        let rows = self.job.rows;
        let operands = TileRows::new(rows, row, self.first, self.len);
        let ahead = self.ahead.share(row..row + MR, rows.count());
        let mut sums = [self.begin; MR];
        if self.first > 0 {
            for (r, sums) in sums.iter_mut().enumerate() {
                // SAFETY: the first slice left the sums of every row there.
                *sums = unsafe { self.sums.add(row + r).read() };
            }
        }
        accumulate(operands, &mut sums, ahead);
        for (r, sums) in sums.iter().enumerate() {
            // SAFETY: there is room for the sums of every row, aligned; nobody else has the
            // worker's scratch.
            unsafe { self.sums.add(row + r).write(*sums) };
        }
    }
}

/// Turns the sums of a row into a panel of the output; two panels of the weight where gate and up
/// meet, else one twice.
#[inline(always)]
fn finish_row<S: InstructionSet, W: Weight<S>>(
    s: S,
    job: &Job<'_, W::Operand>,
    (weights, panel): ([&[W]; 2], usize),
    row: usize,
    sums: *const ColumnSums<S, W>,
) {
    let task = &job.task;
    let per_output = task.epilogue.panels_per_output();
    let row_scale = if job.scales.is_empty() { 1.0 } else { job.scales[row] };
    let mut numbers = [[s.splat(0.0); 2]; 2];
    for i in 0..per_output {
        // SAFETY: every tile of every slice has left its sums.
        let sums = unsafe { sums.add(i * job.rows.count() + row).read() };
        numbers[i] = W::finish(s, sums, weights[i], row_scale);
        if let Some(bias) = task.bias {
            numbers[i] = biased(s, numbers[i], &bias[(panel * per_output + i) * PANEL..]);
        }
    }
    // SAFETY: no other task has this panel of the output (`multiply`'s condition).
    unsafe { task.epilogue.write(s, row * task.out_stride + panel * PANEL, numbers) };
}
