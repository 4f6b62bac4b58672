//! Tiles of f32 and bf16: products in floating point, in the order of the matrix product.
//!
//! Where an instruction set widens bf16 before it multiplies, and several tiles of queries meet the
//! same keys or values, those are widened once for all, two vectors of columns at a time
//! ([`Element::store_dequantized`]): not a last odd one, nor keys of more than 128 elements.
use super::online::Partial;
use super::{Attend, TILE, TILE_BLOCKS, Tile, TileFormat, WIDENED_LEN, block_steps};
use crate::cache::planes::Plane;
use crate::cache::{BLOCK, BlockId};
use crate::dtype::FLUSH_BELOW;
use crate::isa::{InstructionSet, LANES, RowTile};
use crate::kernels::matmul::dequantized::{WIDE_STEPS, dequantized_as_stored, dequantized_tile};
use crate::kernels::matmul::micro::{Element, each_tile, tile};
use half::bf16;

/// How probabilities become operands of the two formats.
trait KvElement<S: InstructionSet>: Element<S, Sums = <S as crate::isa::Simd>::F> {
    /// Stores 16 probabilities as operands and returns them as stored.
    ///
    /// # Safety
    /// `p` is valid for 16 elements.
    unsafe fn store_probabilities(s: S, p: *mut Self, x: S::F) -> S::F;
}

impl<S: InstructionSet> KvElement<S> for f32 {
    #[inline(always)]
    unsafe fn store_probabilities(s: S, p: *mut f32, x: S::F) -> S::F {
        let flushed = s.select_lt(x, s.splat(FLUSH_BELOW), s.splat(0.0), x);
        // SAFETY: the caller vouches for 16 floats.
        unsafe { s.store(p, flushed) };
        flushed
    }
}

impl<S: InstructionSet> KvElement<S> for bf16 {
    #[inline(always)]
    unsafe fn store_probabilities(s: S, p: *mut bf16, x: S::F) -> S::F {
        // SAFETY: the caller vouches for 16 bf16.
        unsafe {
            s.store_bf16(p, x);
            s.load_bf16(p)
        }
    }
}

macro_rules! tile_format {
    ($element:ty) => {
        impl<S: InstructionSet> TileFormat<S> for $element {
            type Shared = ();
            #[inline(always)]
            fn score(
                s: S,
                a: &Attend<'_>,
                tile: Tile<'_>,
                scores: &mut [f32],
                widened: &mut [f32; WIDENED_LEN],
            ) {
                score::<S, $element>(s, a, tile, scores, widened);
            }
            #[inline(always)]
            fn factor(a: &Attend<'_>, _query: usize) -> f32 {
                a.scale
            }
            #[inline(always)]
            fn shared(_s: S, _a: &Attend<'_>, _tile: Tile<'_>) {}
            #[inline(always)]
            fn store(
                s: S,
                _shared: &(),
                p: [S::F; TILE_BLOCKS],
                _valid: usize,
                query: usize,
                operands: &mut [f32],
            ) -> S::F {
                // An f32 has room for an element of either format.
                let out = operands[..(query + 1) * TILE].as_mut_ptr().cast::<$element>();
                let mut stored = p;
                for v in 0..TILE_BLOCKS {
                    // SAFETY: a query's probabilities are TILE elements, one query's after the
                    // other's.
                    stored[v] = unsafe {
                        <$element>::store_probabilities(s, out.add(query * TILE + v * LANES), p[v])
                    };
                }
                s.add(s.add(s.add(stored[0], stored[1]), stored[2]), stored[3])
            }
            #[inline(always)]
            fn weigh(
                s: S,
                a: &Attend<'_>,
                tile: Tile<'_>,
                operands: &[f32],
                state: &mut Partial<'_>,
                widened: &mut [f32; WIDENED_LEN],
            ) {
                let operands = operands[..a.query_count() * TILE].as_ptr().cast::<$element>();
                weigh::<S, $element>(s, a, tile, operands, state, widened);
            }
        }
    };
}
tile_format!(f32);
tile_format!(bf16);

/// Whether widening columns of `steps` steps once for all tiles pays with `rows` rows.
#[inline(always)]
fn widens<S: InstructionSet, E: Element<S>>(rows: usize, steps: usize) -> bool {
    const {
        assert!(
            E::DEQUANTIZED_LEN * size_of::<E>() <= 4 * LANES * size_of::<f32>(),
            "more than a step's share of `WIDENED_LEN`"
        )
    };
    !dequantized_as_stored::<S, E>() && rows > S::STRATEGY.tile_rows && steps <= WIDE_STEPS
}

/// Widens `steps` steps of two vectors of columns, `stride` elements from one step to the next.
///
/// # Safety
/// Each step of both is valid for reading `16 * STEP` elements, `out` for writing `steps *
/// DEQUANTIZED_LEN`.
#[inline(always)]
unsafe fn widen<S: InstructionSet, E: Element<S>>(
    s: S,
    steps: usize,
    (columns, stride): ([*const E; 2], usize),
    out: *mut E,
) {
    for step in 0..steps {
        // SAFETY: the function's own conditions.
        unsafe {
            let lines = E::load_lines(s, columns.map(|column| column.add(step * stride)));
            E::store_dequantized(s, lines, out.add(step * E::DEQUANTIZED_LEN));
        };
    }
}

/// NV vectors of columns that rows are multiplied with.
trait Columns<S: InstructionSet, E: KvElement<S>, const NV: usize> {
    /// Adds the products of MR rows. `rows` is the first row, and the elements from one to the
    /// next.
    ///
    /// # Safety
    /// The columns are there, and each row is valid for reading the elements that they are
    /// multiplied with.
    unsafe fn add<const MR: usize>(&self, s: S, rows: (*const E, usize), sums: &mut [[S::F; NV]; MR]);
}

/// NV blocks of keys: `steps` steps of 16 positions each.
struct Keys<E, const NV: usize> {
    steps: usize,
    parts: [*const E; NV],
}

impl<S: InstructionSet, E: KvElement<S>, const NV: usize> Columns<S, E, NV> for Keys<E, NV> {
    #[inline(always)]
    unsafe fn add<const MR: usize>(&self, s: S, rows: (*const E, usize), sums: &mut [[S::F; NV]; MR]) {
        // SAFETY: the caller vouches for rows and columns.
        unsafe { tile::<S, E, MR, NV>(s, self.steps, rows, (self.parts, BLOCK * E::STEP), sums, None) };
    }
}

/// NV vectors, from `column` on, of the values of some blocks: `steps` steps of `value_dim` columns
/// in all.
struct Values<'a, E> {
    steps: usize,
    parts: &'a [*const E],
    value_dim: usize,
    column: usize,
}

impl<S: InstructionSet, E: KvElement<S>, const NV: usize> Columns<S, E, NV> for Values<'_, E> {
    #[inline(always)]
    unsafe fn add<const MR: usize>(
        &self,
        s: S,
        (a, a_stride): (*const E, usize),
        sums: &mut [[S::F; NV]; MR],
    ) {
        for (part, steps, done) in block_steps(self.parts, self.steps, BLOCK / E::STEP) {
            // SAFETY: the caller vouches for rows and columns.
            unsafe {
                let mut b = [part.add(self.column * E::STEP); NV];
                for (v, b) in b.iter_mut().enumerate() {
                    *b = b.add(v * LANES * E::STEP);
                }
                let a = (a.add(done * E::STEP), a_stride);
                tile::<S, E, MR, NV>(s, steps, a, (b, self.value_dim * E::STEP), sums, None);
            }
        }
    }
}

/// Two vectors of either, widened.
struct Widened<E> {
    steps: usize,
    columns: *const E,
}

impl<S: InstructionSet, E: KvElement<S>> Columns<S, E, 2> for Widened<E> {
    #[inline(always)]
    unsafe fn add<const MR: usize>(&self, s: S, rows: (*const E, usize), sums: &mut [[S::F; 2]; MR]) {
        // SAFETY: the caller vouches for rows and columns.
        unsafe { dequantized_tile::<S, E, MR>(s, self.steps, rows, self.columns, sums, None) };
    }
}

/// Products of rows and some columns. They are written to the columns of `out` from `column` on, or
/// with `ADD` added to them; a row of `out` is `out_stride` floats. `rows` is the first row, and
/// the elements from one row to the next.
struct Products<'a, E, C, const NV: usize, const ADD: bool> {
    rows: (*const E, usize),
    columns: C,
    out: &'a mut [f32],
    out_stride: usize,
    column: usize,
}

impl<S: InstructionSet, E: KvElement<S>, C: Columns<S, E, NV>, const NV: usize, const ADD: bool> RowTile<S>
    for Products<'_, E, C, NV, ADD>
{
    #[inline(always)]
    fn run<const MR: usize>(&mut self, s: S, row: usize) {
        let (a, a_stride) = self.rows;
        let out = &mut self.out[row * self.out_stride..(row + MR) * self.out_stride];
        // SAFETY: `score` and `weigh` give rows and columns that are there; loads and stores lie
        // within `out`: MR rows, of which the NV vectors from `column` on are part.
        unsafe {
            let first = out.as_mut_ptr().add(self.column);
            let mut sums = [[s.splat(0.0); NV]; MR];
            if ADD {
                for (r, sums) in sums.iter_mut().enumerate() {
                    for (v, sum) in sums.iter_mut().enumerate() {
                        *sum = s.load(first.add(r * self.out_stride + v * LANES));
                    }
                }
            }
            self.columns.add(s, (a.add(row * a_stride), a_stride), &mut sums);
            for (r, sums) in sums.iter().enumerate() {
                for (v, sum) in sums.iter().enumerate() {
                    s.store(first.add(r * self.out_stride + v * LANES), *sum);
                }
            }
        }
    }
}

/// Step 1 without the scale: `scores[query][position]` for the queries from `first` on; positions
/// of blocks that are not there get nothing (they are masked).
///
/// `attend`'s caller vouches for the queries, d elements each, one after the other; a key part is
/// d/STEP steps of 16 positions.
#[inline(always)]
fn score<S: InstructionSet, E: KvElement<S>>(
    s: S,
    a: &Attend<'_>,
    tile: Tile<'_>,
    scores: &mut [f32],
    widened: &mut [f32; WIDENED_LEN],
) {
    let Tile { first, blocks, .. } = tile;
    let layout = a.kv.layout();
    let d = layout.head_dim;
    let offset = a.queries.offset(a.kv_head, a.first_row, a.group_size, d) + first * d;
    let rows = (a.queries.start.cast::<E>().cast_const().wrapping_add(offset), d);
    let keys =
        |block: BlockId| a.kv.part(a.layer, Plane::Keys, block as usize, a.kv_head).cast::<E>().cast_const();
    let scores = &mut scores[first * TILE..a.query_count() * TILE];
    let count = a.query_count() - first;
    let steps = d / <E as Element<S>>::STEP;
    let mut pairs = blocks.chunks_exact(2);
    let mut column = 0;
    macro_rules! products {
        ($columns:expr, $vectors:literal) => {{
            let (columns, out) = ($columns, &mut *scores);
            let mut products =
                Products::<E, _, $vectors, false> { rows, columns, out, out_stride: TILE, column };
            each_tile(s, 0..count, &mut products);
        }};
    }
    for pair in &mut pairs {
        let parts = [keys(pair[0]), keys(pair[1])];
        if widens::<S, E>(count, steps) {
            let columns = widened.as_mut_ptr().cast::<E>();
            // SAFETY: a key part is `steps` steps of 16 positions; `widens` says that there is
            // room.
            unsafe { widen(s, steps, (parts, BLOCK * <E as Element<S>>::STEP), columns) };
            products!(Widened { steps, columns: columns.cast_const() }, 2);
        } else {
            products!(Keys { steps, parts }, 2);
        }
        column += 2 * BLOCK;
    }
    if let [last] = pairs.remainder() {
        products!(Keys { steps, parts: [keys(*last)] }, 1);
    }
}

/// Step 4 for the queries from `first` on.
///
/// The probabilities of a query are TILE elements; a value part is BLOCK / STEP steps of
/// `value_dim` columns.
#[inline(always)]
fn weigh<S: InstructionSet, E: KvElement<S>>(
    s: S,
    a: &Attend<'_>,
    tile: Tile<'_>,
    probabilities: *const E,
    state: &mut Partial<'_>,
    widened: &mut [f32; WIDENED_LEN],
) {
    let Tile { first, blocks, positions } = tile;
    let value_dim = state.value_dim;
    let mut parts = [core::ptr::null::<E>(); TILE_BLOCKS];
    for (part, block) in parts.iter_mut().zip(blocks) {
        *part = a.kv.part(a.layer, Plane::Values, *block as usize, a.kv_head).cast::<E>().cast_const();
    }
    let parts = &parts[..blocks.len()];
    let steps = positions.div_ceil(<E as Element<S>>::STEP);
    let count = a.query_count() - first;
    let rows = (probabilities.wrapping_add(first * TILE), TILE);
    let values = &mut state.values[first * value_dim..];
    let mut column = 0;
    macro_rules! products {
        ($columns:expr, $vectors:literal) => {{
            let (columns, out) = ($columns, &mut *values);
            let mut products =
                Products::<E, _, $vectors, true> { rows, columns, out, out_stride: value_dim, column };
            each_tile(s, 0..count, &mut products);
        }};
    }
    while column + 2 * LANES <= value_dim {
        if widens::<S, E>(count, steps) {
            let columns = widened.as_mut_ptr().cast::<E>();
            for (part, steps, done) in block_steps(parts, steps, BLOCK / E::STEP) {
                let two = [column, column + LANES].map(|column| part.wrapping_add(column * E::STEP));
                // SAFETY: a value part is as said above; `widens` says that there is room.
                unsafe {
                    widen(s, steps, (two, value_dim * E::STEP), columns.add(done * E::DEQUANTIZED_LEN))
                };
            }
            products!(Widened { steps, columns: columns.cast_const() }, 2);
        } else {
            products!(Values { steps, parts, value_dim, column }, 2);
        }
        column += 2 * LANES;
    }
    if column < value_dim {
        products!(Values { steps, parts, value_dim, column }, 1);
    }
}
