//! One task of a product: a range of panels, some rows, and what is done with the sums.
//!
//! The loops: panels outermost, so that a weight is read from memory once, whatever the number of
//! rows; then **slices** of K, that half of L1 holds; then tiles of rows. A tile's sums wait in the
//! worker's scratch from slice to slice, exactly, so slices change no bit. Every tile fetches its
//! share of the next slice while it computes: memory is read all the time, not between
//! computations. Where one tile holds all rows there is one slice, the whole panel. Where it does
//! not, a unit that multiplies whole tiles ([`Isa::matrix`](crate::isa::Isa)) takes slices of
//! bytes, for all rows. All that for one block of rows after the other (`blocks`).
use super::blocks::Blocks;
use super::micro::{Ahead, BURST_BYTES, Element, each_tile};
use super::panel::{Linear, PANEL, Panels, panel_len};
use super::weight::{SLICE_BYTES, Slice, SliceRows, Sums, Weight, accumulate_kept, slice_inputs};
use crate::dtype::{Bf16x12, Int4, Int8, OperandFormat};
use crate::isa::matrix::ByteRows;
use crate::isa::{InstructionSet, Isa, LANES, Matrix, RowTile, SimdOp, Tiles};
use crate::kernels::math::silu;
use crate::tensor::{Rows, Shared};
use core::ops::Range;
use half::bf16;

/// The rows that are multiplied: `[R, K]`, in the format that the weights ask for.
#[derive(Clone, Copy, Debug)]
pub enum Activations<'a> {
    /// For f32 weights.
    F32(Rows<'a, f32>),
    /// For bf16 weights: operands, zero beyond K.
    Bf16(Rows<'a, bf16>),
    /// For int8 and int4 weights: rows offset by 128, and the scale of each.
    Int8(Rows<'a, Int8>, &'a [f32]),
}

impl Activations<'_> {
    /// R.
    pub fn count(&self) -> usize {
        match self {
            Self::F32(rows) => rows.count(),
            Self::Bf16(rows) => rows.count(),
            Self::Int8(rows, _) => rows.count(),
        }
    }

    /// Some of the rows.
    pub fn part(&self, rows: Range<usize>) -> Self {
        match self {
            Self::F32(all) => Self::F32(all.part(rows)),
            Self::Bf16(all) => Self::Bf16(all.part(rows)),
            Self::Int8(all, scales) => Self::Int8(all.part(rows.clone()), &scales[rows]),
        }
    }

    /// K.
    fn width(&self) -> usize {
        match self {
            Self::F32(rows) => rows.width(),
            Self::Bf16(rows) => rows.width(),
            Self::Int8(rows, _) => rows.width(),
        }
    }

    /// Bytes from row to row.
    fn row_bytes(&self) -> usize {
        match self {
            Self::F32(rows) => rows.stride() * size_of::<f32>(),
            Self::Bf16(rows) => rows.stride() * size_of::<bf16>(),
            Self::Int8(rows, _) => rows.stride(),
        }
    }

    fn format(&self) -> OperandFormat {
        match self {
            Self::F32(_) => OperandFormat::F32,
            Self::Bf16(_) => OperandFormat::Bf16,
            Self::Int8(..) => OperandFormat::Int8,
        }
    }
}

/// Where the sums go: rows of whole panels.
#[derive(Clone, Copy, Debug)]
pub enum Epilogue<'a> {
    /// `out = sum (+ bias)`
    Store(Shared<'a, f32>),
    /// `out = out + (sum (+ bias))`: the residual.
    Add(Shared<'a, f32>),
    /// Panels come in pairs (gate, up): `out = silu(gate) · up`, f32.
    SwigluF32(Shared<'a, f32>),
    /// The same, as bf16 operands for the next product.
    SwigluBf16(Shared<'a, bf16>),
}

impl Epilogue<'_> {
    /// The same for the output after so many elements.
    pub fn after(self, start: usize) -> Self {
        match self {
            Self::Store(out) => Self::Store(out.after(start)),
            Self::Add(out) => Self::Add(out.after(start)),
            Self::SwigluF32(out) => Self::SwigluF32(out.after(start)),
            Self::SwigluBf16(out) => Self::SwigluBf16(out.after(start)),
        }
    }

    /// Panels of the weight that make one panel of the output.
    pub fn panels_per_output(&self) -> usize {
        match self {
            Self::Store(_) | Self::Add(_) => 1,
            Self::SwigluF32(_) | Self::SwigluBf16(_) => 2,
        }
    }
}

/// Bytes of scratch that a task of [`multiply`] needs for `rows` rows: sums, and a slice of
/// unpacked weights. A multiple of 64.
pub const fn scratch_bytes(rows: usize, panels_per_output: usize) -> usize {
    SLICE_BYTES + rows * panels_per_output * SUMS_BYTES
}

/// Sums of a row and a panel.
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
    let out_len = match epilogue {
        Epilogue::Store(out) | Epilogue::Add(out) | Epilogue::SwigluF32(out) => out.len(),
        Epilogue::SwigluBf16(out) => out.len(),
    };
    assert!(out_len >= act.count() * out_stride, "the output is shorter than the product");
    let format = weight.panels().format();
    assert!(act.format() == format.operands(), "the activations are not in the format of the weights");
    assert!(act.width() == k, "the rows are not as wide as the weight has inputs");
    assert!(
        scratch.len() >= scratch_bytes(act.count(), per_output) && scratch.as_ptr().addr().is_multiple_of(64)
    );
    let (bias, panel_len) = (weight.bias(), panel_len(format, k));
    let (ahead, matrix) = (isa.fetch_ahead(), isa.matrix());
    if let Activations::Int8(rows, scales) = act {
        assert!(scales.len() >= rows.count());
    }
    let panel_bytes = per_output * panel_len * format.element_bytes();
    let blocks = Blocks::new(act.count(), act.row_bytes(), panel_bytes);
    for panels in blocks.panels(panels) {
        for rows in blocks.rows() {
            let (epilogue, panels) = (epilogue.after(rows.start * out_stride), panels.clone());
            let scratch = &mut *scratch;
            macro_rules! run {
                ($rows:expr, $scales:expr, $data:expr) => {{
                    let job =
                        Job { rows: $rows, scales: $scales, k, bias, epilogue, out_stride, ahead, matrix };
                    isa.run(Product { job, data: $data, panel_len, panels, scratch })
                }};
            }
            match (act.part(rows), weight.panels()) {
                (Activations::F32(rows), Panels::F32(data)) => run!(rows, &[], data),
                (Activations::Bf16(rows), Panels::Bf16(data)) => run!(rows, &[], data),
                (Activations::Bf16(rows), Panels::Coded(data)) => run!(rows, &[], data),
                (Activations::Int8(rows, scales), Panels::Int8(data)) => run!(rows, scales, data),
                (Activations::Int8(rows, scales), Panels::Int4(data)) => run!(rows, scales, data),
                _ => unreachable!("the formats were compared"),
            }
        }
    }
}

/// What is the same for all panels of a task; `O` is the type of the operands.
struct Job<'a, O> {
    rows: Rows<'a, O>,
    /// Of the rows; empty where they have none.
    scales: &'a [f32],
    k: usize,
    bias: Option<&'a [f32]>,
    epilogue: Epilogue<'a>,
    out_stride: usize,
    /// Bytes ahead of the reader that a single tile of rows fetches ([`Isa::fetch_ahead`]).
    ahead: usize,
    matrix: Option<Matrix>,
}

/// The panels `panels` of the output, from panels of `W`.
struct Product<'a, W, O> {
    job: Job<'a, O>,
    data: &'a [W],
    panel_len: usize,
    panels: Range<usize>,
    scratch: &'a mut [u8],
}

macro_rules! product_of {
    ($weight:ty, $operand:ty) => {
        impl SimdOp for Product<'_, $weight, $operand> {
            type Output = ();
            #[inline(always)]
            fn eval<S: InstructionSet>(self, s: S) {
                product::<S, $weight>(s, self);
            }
        }
    };
}
product_of!(f32, f32);
product_of!(bf16, bf16);
product_of!(Int8, Int8);
product_of!(Int4, Int8);
product_of!(Bf16x12, bf16);

#[inline(always)]
fn product<S: InstructionSet, W: Weight<S>>(s: S, product: Product<'_, W, W::Operand>) {
    const { assert!(size_of::<[Sums<S, W>; 2]>() == SUMS_BYTES && align_of::<Sums<S, W>>() <= 64) };
    let Product { job, data, panel_len, panels, scratch } = product;
    let (k, rows, per_output) = (job.k, job.rows.count(), job.epilogue.panels_per_output());
    // One tile keeps its sums in registers from end to end. More of them share each slice while it
    // is in L1.
    let one_tile = rows <= if W::PACKED { S::STRATEGY.dequantizing_rows } else { S::STRATEGY.tile_rows };
    let slice_len = if one_tile { k } else { const { slice_inputs::<S, W::Operand>() } };
    let (unpacked, sums) = scratch.split_at_mut(SLICE_BYTES);
    let (unpacked, sums) =
        (unpacked.as_mut_ptr().cast::<W::Operand>(), sums.as_mut_ptr().cast::<[Sums<S, W>; 2]>());
    let takes_tiles = const { <W::Operand as Element<S>>::BYTES } && !one_tile;
    // SAFETY: the only use of the unit, once in a task, and a thread runs one task at a time.
    let mut tiles = job.matrix.filter(|_| takes_tiles).map(|unit| unsafe { unit.tiles() });
    for panel in panels {
        let weights = [0, per_output - 1].map(|i| &data[(panel * per_output + i) * panel_len..][..panel_len]);
        let mut cursors = weights.map(|panel| W::cursor(k, panel));
        for first in (0..k).step_by(slice_len) {
            for i in 0..per_output {
                let slice = Slice { panel: weights[i], k, first, len: slice_len.min(k - first) };
                let ahead =
                    if one_tile { after::<S, W>(slice, job.ahead) } else { next::<S, W>(slice, per_output) };
                // SAFETY: there is room for the sums of so many rows of so many panels, which
                // `multiply` asked for.
                let sums = unsafe { sums.add(i * rows) };
                let mut tile = SliceTile { job: &job, slice, sums, unpacked, cursor: &mut cursors[i], ahead };
                if let Some(tiles) = &mut tiles {
                    tile.run_tiles(s, tiles);
                } else if W::PACKED && !one_tile {
                    s.run_dequantizing_tile(&mut Unpacking(tile));
                    let tile = SliceTile { job: &job, slice, sums, unpacked, cursor: &mut cursors[i], ahead };
                    each_tile(s, S::STRATEGY.dequantizing_rows..rows, &mut Unpacked(tile));
                } else {
                    each_tile(s, 0..rows, &mut Direct(tile));
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
fn after<S: InstructionSet, W: Weight<S>>(slice: Slice<'_, W>, ahead: usize) -> (*const u8, usize) {
    let from = slice.panel.as_ptr().cast::<u8>().wrapping_add(ahead);
    (from.map_addr(|addr| addr - addr % BURST_BYTES), size_of_val(slice.panel))
}

/// Where the slice after this one lies, and how long it is: the next of the panel, or the first of
/// the next output.
#[inline(always)]
fn next<S: InstructionSet, W: Weight<S>>(
    slice: Slice<'_, W>,
    panels_per_output: usize,
) -> (*const u8, usize) {
    let Slice { panel, k, first, len } = slice;
    let at = if first + len < k { W::offset(first + len) } else { panels_per_output * panel.len() };
    let bytes = (W::offset(first + len) - W::offset(first)) * size_of::<W>();
    (panel.as_ptr().wrapping_add(at).cast(), bytes)
}

/// A slice of a panel for tiles of rows.
struct SliceTile<'t, 'w, 'a, S: InstructionSet, W: Weight<S>> {
    job: &'t Job<'a, W::Operand>,
    slice: Slice<'w, W>,
    /// `[rows]`
    sums: *mut [Sums<S, W>; 2],
    unpacked: *mut W::Operand,
    cursor: &'t mut W::Cursor<'w>,
    /// What is needed next: where, and how many bytes, which all tiles fetch together.
    ahead: (*const u8, usize),
}

/// A tile that reads the panel as it is stored.
struct Direct<'t, 'w, 'a, S: InstructionSet, W: Weight<S>>(SliceTile<'t, 'w, 'a, S, W>);
/// The tile that unpacks the slice.
struct Unpacking<'t, 'w, 'a, S: InstructionSet, W: Weight<S>>(SliceTile<'t, 'w, 'a, S, W>);
/// A tile that reads what was unpacked.
struct Unpacked<'t, 'w, 'a, S: InstructionSet, W: Weight<S>>(SliceTile<'t, 'w, 'a, S, W>);

impl<S: InstructionSet, W: Weight<S>> RowTile<S> for Direct<'_, '_, '_, S, W> {
    #[inline(always)]
    fn run<const MR: usize>(&mut self, s: S, row: usize) {
        self.0.run(
            s,
            row,
            #[inline(always)]
            |tile, rows, sums: &mut [_; MR], ahead| {
                // SAFETY: `SliceTile::run` gives rows of the right length; slices come in order.
                unsafe {
                    W::accumulate::<MR, false>(s, tile.slice, tile.cursor, rows, sums, tile.unpacked, ahead)
                }
            },
        );
    }
}

impl<S: InstructionSet, W: Weight<S>> RowTile<S> for Unpacking<'_, '_, '_, S, W> {
    #[inline(always)]
    fn run<const MR: usize>(&mut self, s: S, row: usize) {
        self.0.run(
            s,
            row,
            #[inline(always)]
            |tile, rows, sums: &mut [_; MR], ahead| {
                // SAFETY: as above; the scratch has room for a slice, whose length `product` chose.
                unsafe {
                    W::accumulate::<MR, true>(s, tile.slice, tile.cursor, rows, sums, tile.unpacked, ahead)
                }
            },
        );
    }
}

impl<S: InstructionSet, W: Weight<S>> RowTile<S> for Unpacked<'_, '_, '_, S, W> {
    #[inline(always)]
    fn run<const MR: usize>(&mut self, s: S, row: usize) {
        self.0.run(
            s,
            row,
            #[inline(always)]
            |tile, rows, sums: &mut [_; MR], ahead| {
                let (len, columns) = (W::read_len(tile.slice.len), tile.unpacked.cast_const());
                // SAFETY: as above; the tile before wrote the slice's operands.
                unsafe { accumulate_kept(s, len, columns, rows, sums, ahead) }
            },
        );
    }
}

impl<S: InstructionSet, W: Weight<S>> SliceTile<'_, '_, '_, S, W> {
    /// Takes the sums of all rows on, by a unit that multiplies tiles of bytes.
    #[inline(always)]
    fn run_tiles(&mut self, s: S, tiles: &mut Tiles) {
        let (rows, slice, mut next) = (self.job.rows, self.slice, self.ahead);
        let quads = W::read_len(slice.len) / 4;
        let columns = if W::PACKED {
            // Unpacked for no row yet.
            let ahead = Ahead::share(next, 0..1, 1);
            next.1 = 0;
            // SAFETY: the scratch has room for a slice, whose length `product` chose; slices come
            // in order.
            unsafe {
                let none = (rows.data().as_ptr(), 0);
                W::accumulate::<0, true>(s, slice, self.cursor, none, &mut [], self.unpacked, ahead);
            }
            self.unpacked.cast_const().cast()
        } else {
            slice.panel[W::offset(slice.first)..][..quads * 4 * PANEL].as_ptr().cast()
        };
        let stride = rows.stride();
        let from = &rows.data()[slice.first..][..(rows.count() - 1) * stride + 4 * quads];
        let bytes = ByteRows { data: from.as_ptr().cast(), stride, count: rows.count() };
        let begin = [W::begin(s, slice.panel)];
        let sums = self.sums.cast::<u8>();
        let start =
            if slice.first == 0 { (begin.as_ptr().cast(), 0) } else { (sums.cast_const(), SUMS_BYTES) };
        // SAFETY: rows and columns were just sliced, or unpacked; sums of bytes are 32 `i32`
        // (`Element::BYTES`), for which there is room.
        unsafe { tiles.add_products(bytes, (columns, quads), start, sums, next) };
    }

    /// Takes the sums of MR rows on from where the slice before left them.
    #[inline(always)]
    fn run<const MR: usize>(
        &mut self,
        s: S,
        row: usize,
        accumulate: impl FnOnce(&mut Self, SliceRows<W::Operand>, &mut [[Sums<S, W>; 2]; MR], Ahead),
    ) {
        let (rows, slice) = (self.job.rows, self.slice);
        let stride = rows.stride();
        let from = row * stride + slice.first;
        let a = rows.data()[from..][..(MR - 1) * stride + W::read_len(slice.len)].as_ptr();
        let ahead = Ahead::share(self.ahead, row..row + MR, rows.count());
        let mut sums = [W::begin(s, slice.panel); MR];
        if slice.first > 0 {
            for (r, sums) in sums.iter_mut().enumerate() {
                // SAFETY: the first slice left the sums of every row there.
                *sums = unsafe { self.sums.add(row + r).read() };
            }
        }
        accumulate(self, (a, stride), &mut sums, ahead);
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
    sums: *const [Sums<S, W>; 2],
) {
    let per_output = job.epilogue.panels_per_output();
    let row_scale = if job.scales.is_empty() { 1.0 } else { job.scales[row] };
    let mut numbers = [[s.splat(0.0); 2]; 2];
    for i in 0..per_output {
        // SAFETY: every tile of every slice has left its sums.
        let sums = unsafe { sums.add(i * job.rows.count() + row).read() };
        numbers[i] = W::finish(s, sums, weights[i], row_scale);
        if let Some(bias) = job.bias {
            let bias = &bias[(panel * per_output + i) * PANEL..][..PANEL];
            // SAFETY: the slice is 32 floats.
            let columns = unsafe { [s.load(bias.as_ptr()), s.load(bias.as_ptr().add(LANES))] };
            numbers[i] = [s.add(numbers[i][0], columns[0]), s.add(numbers[i][1], columns[1])];
        }
    }
    let [sums, ups] = numbers;
    for v in 0..2 {
        let at = row * job.out_stride + panel * PANEL + v * LANES;
        // SAFETY: no other task has this panel of the output (`multiply`'s condition), and within
        // this one each part is taken once; it is 16 elements, half a panel.
        unsafe {
            match job.epilogue {
                Epilogue::Store(out) => s.store(out.part(at, LANES).as_mut_ptr(), sums[v]),
                Epilogue::Add(out) => {
                    let part = out.part(at, LANES).as_mut_ptr();
                    s.store(part, s.add(s.load(part), sums[v]));
                }
                Epilogue::SwigluF32(out) => {
                    let y = s.mul(silu(s, sums[v]), ups[v]);
                    s.store(out.part(at, LANES).as_mut_ptr(), y);
                }
                Epilogue::SwigluBf16(out) => {
                    let y = s.mul(silu(s, sums[v]), ups[v]);
                    s.store_bf16(out.part(at, LANES).as_mut_ptr(), y);
                }
            }
        }
    }
}
