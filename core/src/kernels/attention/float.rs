//! Tiles of f32 and bf16: products in floating point, in the order of the matrix product.
use super::online::Partial;
use super::{Attend, TILE, TILE_BLOCKS, Tile, TileFormat};
use crate::dtype::FLUSH_BELOW;
use crate::isa::{LANES, RowTile, Simd};
use crate::kernels::matmul::micro::{Element, each_tile, tile};
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
            fn score(s: S, a: &Attend<'_>, tile: Tile<'_>, scores: &mut [f32]) {
                score::<S, $element>(s, a, tile, scores);
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
            fn weigh(s: S, a: &Attend<'_>, tile: Tile<'_>, operands: &[f32], state: &mut Partial<'_>) {
                let operands = operands[..a.query_count() * TILE].as_ptr().cast::<$element>();
                weigh::<S, $element>(s, a, tile, operands, state);
            }
        }
    };
}
tile_format!(f32);
tile_format!(bf16);

/// Step 1 without the scale: `scores[query][position]` for the queries from `first` on; positions of blocks that are
/// not there get nothing (they are masked).
#[inline(always)]
fn score<S: Simd, E: KvElement<S>>(s: S, a: &Attend<'_>, tile: Tile<'_>, scores: &mut [f32]) {
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
        each_tile(s, 0..rows, &mut Score { steps, queries, d, b, scores, column });
        column += 2 * BLOCK;
    }
    if let [last] = pairs.remainder() {
        each_tile(s, 0..rows, &mut Score { steps, queries, d, b: [keys(*last)], scores, column });
    }
}

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
            for (r, acc) in acc.iter().enumerate() {
                for (v, acc) in acc.iter().enumerate() {
                    s.store(out.as_mut_ptr().add(r * TILE + self.column + v * BLOCK), *acc);
                }
            }
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
        each_tile(s, 0..rows, &mut Weigh::<E, 2> { steps, probabilities, parts, value_dim, values, column });
        column += 2 * LANES;
    }
    if column < value_dim {
        each_tile(s, 0..rows, &mut Weigh::<E, 1> { steps, probabilities, parts, value_dim, values, column });
    }
}

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
        let block_steps = BLOCK / E::STEP;
        // SAFETY: the probabilities of these rows are TILE elements each; a value part is BLOCK / STEP steps of
        // value_dim columns, of which `column .. column + 16 NV` are read, STEP elements each; loads and stores of
        // the accumulators lie within `out`, MR rows of value_dim.
        unsafe {
            let first = out.as_mut_ptr().add(self.column);
            let mut acc = [[s.splat(0.0); NV]; MR];
            for (r, acc) in acc.iter_mut().enumerate() {
                for (v, acc) in acc.iter_mut().enumerate() {
                    *acc = s.load(first.add(r * self.value_dim + v * LANES));
                }
            }
            let mut left = self.steps;
            for (block, part) in self.parts.iter().enumerate() {
                let steps = left.min(block_steps);
                let a = self.probabilities.add(row * TILE + block * BLOCK);
                let mut b = [part.add(self.column * E::STEP); NV];
                for (v, b) in b.iter_mut().enumerate() {
                    *b = b.add(v * LANES * E::STEP);
                }
                tile::<S, E, MR, NV>(s, steps, (a, TILE), (b, self.value_dim * E::STEP), &mut acc, None);
                left -= steps;
            }
            for (r, acc) in acc.iter().enumerate() {
                for (v, acc) in acc.iter().enumerate() {
                    s.store(first.add(r * self.value_dim + v * LANES), *acc);
                }
            }
        }
    }
}
