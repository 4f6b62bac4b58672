//! Tiles of f32 and bf16: products in floating point, in the order of the matrix product.
//!
//! Where an instruction set widens bf16 before it multiplies, and several tiles of queries meet the same keys or values, those are widened
//! once for all, two vectors of columns at a time ([`Element::keep`]): not a last odd one, nor keys of more than 128 elements.
use super::online::Partial;
use super::{Attend, KEPT_LEN, TILE, TILE_BLOCKS, Tile, TileFormat};
use crate::dtype::FLUSH_BELOW;
use crate::isa::{LANES, RowTile, Simd};
use crate::kernels::matmul::micro::{Element, KEPT_STEPS, each_tile, kept_tile, tile};
use crate::paging::kv::Plane;
use crate::paging::{BLOCK, BlockId};
use half::bf16;

/// How probabilities become operands of the two formats.
trait KvElement<S: Simd>: Element<S, Sums = <S as Simd>::F> {
    /// Stores 16 probabilities as operands and returns them as stored.
    ///
    /// # Safety
    /// `p` is valid for 16 elements.
    unsafe fn store_probabilities(s: S, p: *mut Self, x: S::F) -> S::F;
}

impl<S: Simd> KvElement<S> for f32 {
    #[inline(always)]
    unsafe fn store_probabilities(s: S, p: *mut f32, x: S::F) -> S::F {
        let flushed = s.select_lt(x, s.splat(FLUSH_BELOW), s.splat(0.0), x);
        // SAFETY: the caller vouches for 16 floats.
        unsafe { s.store(p, flushed) };
        flushed
    }
}

impl<S: Simd> KvElement<S> for bf16 {
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
        impl<S: Simd> TileFormat<S> for $element {
            type Shared = ();
            #[inline(always)]
            fn score(s: S, a: &Attend<'_>, tile: Tile<'_>, scores: &mut [f32], kept: &mut [f32; KEPT_LEN]) {
                score::<S, $element>(s, a, tile, scores, kept);
            }
            #[inline(always)]
            fn factor(a: &Attend<'_>, _query: usize) -> f32 {
                a.scale
            }
            #[inline(always)]
            fn shared(_s: S, _a: &Attend<'_>, _tile: Tile<'_>) {}
            #[inline(always)]
            fn keep(
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
                    // SAFETY: a query's probabilities are TILE elements, one query's after the other's.
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
                kept: &mut [f32; KEPT_LEN],
            ) {
                let operands = operands[..a.query_count() * TILE].as_ptr().cast::<$element>();
                weigh::<S, $element>(s, a, tile, operands, state, kept);
            }
        }
    };
}
tile_format!(f32);
tile_format!(bf16);

/// Whether so many rows make it worth keeping columns of that many steps.
#[inline(always)]
fn keeps<S: Simd, E: Element<S>>(rows: usize, steps: usize) -> bool {
    const {
        assert!(
            E::KEPT * size_of::<E>() <= 4 * LANES * size_of::<f32>(),
            "more than a step's share of `KEPT_LEN`"
        )
    };
    let as_stored = E::KEPT == 2 * LANES * E::STEP;
    !as_stored && rows > S::TILE_ROWS && steps <= KEPT_STEPS
}

/// Keeps `steps` steps, so many elements apart, of two vectors of columns.
///
/// # Safety
/// Each step of both is valid for reading `16 * STEP` elements, `kept` for writing `steps * KEPT`.
#[inline(always)]
unsafe fn keep<S: Simd, E: Element<S>>(
    s: S,
    steps: usize,
    (columns, stride): ([*const E; 2], usize),
    kept: *mut E,
) {
    for step in 0..steps {
        // SAFETY: the function's own conditions.
        unsafe { E::keep(s, columns.map(|column| column.add(step * stride)), kept.add(step * E::KEPT)) };
    }
}

/// Reads vectors of MR rows, `stride` floats apart.
///
/// # Safety
/// Each row is valid for reading `16 * NV` floats.
#[inline(always)]
unsafe fn load_rows<S: Simd, const MR: usize, const NV: usize>(
    s: S,
    from: *const f32,
    stride: usize,
) -> [[S::F; NV]; MR] {
    let mut rows = [[s.splat(0.0); NV]; MR];
    for (r, row) in rows.iter_mut().enumerate() {
        for (v, x) in row.iter_mut().enumerate() {
            // SAFETY: the function's own condition.
            *x = unsafe { s.load(from.add(r * stride + v * LANES)) };
        }
    }
    rows
}

/// Writes them.
///
/// # Safety
/// Each row is valid for writing `16 * NV` floats.
#[inline(always)]
unsafe fn store_rows<S: Simd, const MR: usize, const NV: usize>(
    s: S,
    rows: [[S::F; NV]; MR],
    to: *mut f32,
    stride: usize,
) {
    for (r, row) in rows.iter().enumerate() {
        for (v, x) in row.iter().enumerate() {
            // SAFETY: the function's own condition.
            unsafe { s.store(to.add(r * stride + v * LANES), *x) };
        }
    }
}

/// Step 1 without the scale: `scores[query][position]` for the queries from `first` on; positions of blocks that are
/// not there get nothing (they are masked).
#[inline(always)]
fn score<S: Simd, E: KvElement<S>>(
    s: S,
    a: &Attend<'_>,
    tile: Tile<'_>,
    scores: &mut [f32],
    kept: &mut [f32; KEPT_LEN],
) {
    let Tile { first, blocks, .. } = tile;
    let layout = a.kv.layout();
    let d = layout.head_dim;
    let offset = a.queries.offset(a.kv_head, a.first_row, a.group_size, d) + first * d;
    let queries = a.queries.start.cast::<E>().cast_const().wrapping_add(offset);
    let keys =
        |block: BlockId| a.kv.part(a.layer, Plane::Keys, block as usize, a.kv_head).cast::<E>().cast_const();
    let scores = &mut scores[first * TILE..a.query_count() * TILE];
    let rows = a.query_count() - first;
    let steps = d / <E as Element<S>>::STEP;
    let mut pairs = blocks.chunks_exact(2);
    let mut column = 0;
    for pair in &mut pairs {
        let b = [keys(pair[0]), keys(pair[1])];
        if keeps::<S, E>(rows, steps) {
            let kept = kept.as_mut_ptr().cast::<E>();
            // SAFETY: a key part is `steps` steps of 16 positions; `keeps` says that there is room.
            unsafe { keep(s, steps, (b, BLOCK * <E as Element<S>>::STEP), kept) };
            each_tile(
                s,
                0..rows,
                &mut KeptScore { steps, queries, d, kept: kept.cast_const(), scores, column },
            );
        } else {
            each_tile(s, 0..rows, &mut Score { steps, queries, d, b, scores, column });
        }
        column += 2 * BLOCK;
    }
    if let [last] = pairs.remainder() {
        each_tile(s, 0..rows, &mut Score { steps, queries, d, b: [keys(*last)], scores, column });
    }
}

/// Queries times NV blocks of keys.
struct Score<'a, E, const NV: usize> {
    steps: usize,
    queries: *const E,
    d: usize,
    b: [*const E; NV],
    scores: &'a mut [f32],
    column: usize,
}

impl<S: Simd, E: KvElement<S>, const NV: usize> RowTile<S> for Score<'_, E, NV> {
    #[inline(always)]
    fn run<const MR: usize>(&mut self, s: S, row: usize) {
        let mut acc = [[s.splat(0.0); NV]; MR];
        let out = &mut self.scores[row * TILE..(row + MR) * TILE];
        // SAFETY: `attend`'s caller vouches for the queries of these rows, d elements each, one after the other;
        // a key part is d/STEP steps of 16 positions. The stores lie within `out`: MR rows of TILE scores, of
        // which the NV blocks from `column` on are part.
        unsafe {
            let a = self.queries.add(row * self.d);
            tile::<S, E, MR, NV>(s, self.steps, (a, self.d), (self.b, BLOCK * E::STEP), &mut acc, None);
            store_rows(s, acc, out.as_mut_ptr().add(self.column), TILE);
        }
    }
}

/// Queries times two blocks of keys that were kept.
struct KeptScore<'a, E> {
    steps: usize,
    queries: *const E,
    d: usize,
    kept: *const E,
    scores: &'a mut [f32],
    column: usize,
}

impl<S: Simd, E: KvElement<S>> RowTile<S> for KeptScore<'_, E> {
    #[inline(always)]
    fn run<const MR: usize>(&mut self, s: S, row: usize) {
        let mut acc = [[s.splat(0.0); 2]; MR];
        let out = &mut self.scores[row * TILE..(row + MR) * TILE];
        // SAFETY: as above; as many steps were kept.
        unsafe {
            let a = self.queries.add(row * self.d);
            kept_tile::<S, E, MR>(s, self.steps, (a, self.d), self.kept, &mut acc, None);
            store_rows(s, acc, out.as_mut_ptr().add(self.column), TILE);
        }
    }
}

/// Step 4 for the queries from `first` on.
#[inline(always)]
fn weigh<S: Simd, E: KvElement<S>>(
    s: S,
    a: &Attend<'_>,
    tile: Tile<'_>,
    probabilities: *const E,
    state: &mut Partial<'_>,
    kept: &mut [f32; KEPT_LEN],
) {
    let Tile { first, blocks, positions } = tile;
    let value_dim = state.value_dim;
    let mut parts = [core::ptr::null::<E>(); TILE_BLOCKS];
    for (part, block) in parts.iter_mut().zip(blocks) {
        *part = a.kv.part(a.layer, Plane::Values, *block as usize, a.kv_head).cast::<E>().cast_const();
    }
    let parts = &parts[..blocks.len()];
    let steps = positions.div_ceil(<E as Element<S>>::STEP);
    let rows = a.query_count() - first;
    let probabilities = probabilities.wrapping_add(first * TILE);
    let values = &mut state.values[first * value_dim..];
    let mut column = 0;
    while column + 2 * LANES <= value_dim {
        if keeps::<S, E>(rows, steps) {
            let kept = kept.as_mut_ptr().cast::<E>();
            for (part, steps, done) in block_steps::<S, E>(parts, steps) {
                let columns = [column, column + LANES].map(|column| part.wrapping_add(column * E::STEP));
                // SAFETY: a value part is BLOCK / STEP steps of `value_dim` columns; `keeps` says that there is room.
                unsafe { keep(s, steps, (columns, value_dim * E::STEP), kept.add(done * E::KEPT)) };
            }
            let kept = kept.cast_const();
            each_tile(s, 0..rows, &mut KeptWeigh { steps, probabilities, kept, value_dim, values, column });
        } else {
            each_tile(
                s,
                0..rows,
                &mut Weigh::<E, 2> { steps, probabilities, parts, value_dim, values, column },
            );
        }
        column += 2 * LANES;
    }
    if column < value_dim {
        each_tile(s, 0..rows, &mut Weigh::<E, 1> { steps, probabilities, parts, value_dim, values, column });
    }
}

/// The parts of some blocks, how many of `steps` steps each has, and how many those before it have.
#[inline(always)]
fn block_steps<S: Simd, E: Element<S>>(
    parts: &[*const E],
    steps: usize,
) -> impl Iterator<Item = (*const E, usize, usize)> {
    let most = BLOCK / E::STEP;
    parts.iter().enumerate().map(move |(i, part)| (*part, (steps - i * most).min(most), i * most))
}

/// Probabilities times NV vectors of the values of some blocks.
struct Weigh<'a, E, const NV: usize> {
    steps: usize,
    probabilities: *const E,
    parts: &'a [*const E],
    value_dim: usize,
    values: &'a mut [f32],
    column: usize,
}

impl<S: Simd, E: KvElement<S>, const NV: usize> RowTile<S> for Weigh<'_, E, NV> {
    #[inline(always)]
    fn run<const MR: usize>(&mut self, s: S, row: usize) {
        let out = &mut self.values[row * self.value_dim..(row + MR) * self.value_dim];
        // SAFETY: the probabilities of these rows are TILE elements each; a value part is BLOCK / STEP steps of
        // value_dim columns, of which `column .. column + 16 NV` are read, STEP elements each; loads and stores of
        // the accumulators lie within `out`, MR rows of value_dim.
        unsafe {
            let first = out.as_mut_ptr().add(self.column);
            let mut acc = load_rows::<S, MR, NV>(s, first, self.value_dim);
            for (part, steps, done) in block_steps::<S, E>(self.parts, self.steps) {
                let a = self.probabilities.add(row * TILE + done * E::STEP);
                let mut b = [part.add(self.column * E::STEP); NV];
                for (v, b) in b.iter_mut().enumerate() {
                    *b = b.add(v * LANES * E::STEP);
                }
                tile::<S, E, MR, NV>(s, steps, (a, TILE), (b, self.value_dim * E::STEP), &mut acc, None);
            }
            store_rows(s, acc, first, self.value_dim);
        }
    }
}

/// Probabilities times two vectors of values that were kept.
struct KeptWeigh<'a, E> {
    steps: usize,
    probabilities: *const E,
    kept: *const E,
    value_dim: usize,
    values: &'a mut [f32],
    column: usize,
}

impl<S: Simd, E: KvElement<S>> RowTile<S> for KeptWeigh<'_, E> {
    #[inline(always)]
    fn run<const MR: usize>(&mut self, s: S, row: usize) {
        let out = &mut self.values[row * self.value_dim..(row + MR) * self.value_dim];
        // SAFETY: as above; as many steps were kept.
        unsafe {
            let first = out.as_mut_ptr().add(self.column);
            let mut acc = load_rows(s, first, self.value_dim);
            let a = self.probabilities.add(row * TILE);
            kept_tile::<S, E, MR>(s, self.steps, (a, TILE), self.kept, &mut acc, None);
            store_rows(s, acc, first, self.value_dim);
        }
    }
}
