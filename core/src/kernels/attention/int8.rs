//! Tiles of int8: both products are sums of integers, exact in any order.
//!
//! A query has one scale, keys and values one for each position (`cache::planes`), so `q · k[j]` is
//! an exact integer times two scales. The scale of a value cannot be taken out of a sum over
//! positions; it goes into its weight before that is rounded: `w[j] = P[j] · scale[j]`, `W[j] =
//! round(w[j] · 255 / max w)`, and `o += (Σ W[j] v[j]) · (max w / 255)`. The maximum is that of one
//! query over one tile, of the positions that it sees. Weights are unsigned, so a position that it
//! does not see adds exactly nothing.
//!
//! What is not finite has a NaN for its scale, and makes the sum `l` of every query that sees it
//! NaN.
use super::online::{Partial, masked};
use super::{Attend, TILE, TILE_BLOCKS, Tile, TileFormat, WIDENED_LEN, block_steps};
use crate::cache::planes::{CORRECTIONS_BYTES, Plane};
use crate::cache::{BLOCK, BlockId};
use crate::dtype::{FLUSH_RESCALED_BELOW, Int8};
use crate::isa::{InstructionSet, LANES, RowTile};
use crate::kernels::cache_write::query_len;
use crate::kernels::matmul::micro::{each_tile, tile as products};

/// Elements of a quad.
const QUAD: usize = 4;
/// The maximum of a weight.
pub(super) const WEIGHT_MAX: f32 = 255.0;
const _: () = assert!(BLOCK == LANES && BLOCK.is_multiple_of(QUAD));

/// The scale of a tile's weights, of which the maximum is `max`, and its reciprocal; both 0 where
/// that is no number to rely on.
#[inline(always)]
pub(super) fn weight_scale(max: f32) -> (f32, f32) {
    if max < FLUSH_RESCALED_BELOW { (0.0, 0.0) } else { (max / WEIGHT_MAX, WEIGHT_MAX / max) }
}

/// The start of a query's operand.
#[inline(always)]
fn query_at(a: &Attend<'_>, query: usize) -> *const u8 {
    let len = query_len(a.kv.layout().format, a.kv.layout().head_dim);
    let offset = a.queries.offset(a.kv_head, a.first_row, a.group_size, len);
    a.queries.start.cast_const().wrapping_add(offset + query * len)
}

/// A query's part of the operands: TILE weights, behind them their scale.
#[inline(always)]
fn weights_of(operands: &mut [f32], query: usize) -> &mut [f32] {
    &mut operands[query * TILE..][..TILE]
}

/// Where the scale of a query's weights lies, in floats.
const SCALE_AT: usize = TILE / size_of::<f32>();

impl<S: InstructionSet> TileFormat<S> for Int8 {
    /// The scales of a tile's values, one lane for each position.
    type Shared = [S::F; TILE_BLOCKS];

    #[inline(always)]
    fn score(s: S, a: &Attend<'_>, tile: Tile<'_>, scores: &mut [f32], _widened: &mut [f32; WIDENED_LEN]) {
        let layout = a.kv.layout();
        let keys = |block: BlockId| a.kv.part(a.layer, Plane::Keys, block as usize, a.kv_head).cast_const();
        let rows = a.query_count() - tile.first;
        let scores = &mut scores[tile.first * TILE..a.query_count() * TILE];
        let (queries, stride) = (query_at(a, tile.first), query_len(layout.format, layout.head_dim));
        let (steps, behind) = (layout.head_dim.div_ceil(QUAD), layout.element_bytes(Plane::Keys));
        let mut pairs = tile.blocks.chunks_exact(2);
        let mut column = 0;
        for pair in &mut pairs {
            let parts = [keys(pair[0]), keys(pair[1])];
            each_tile(s, 0..rows, &mut Score { steps, queries, stride, parts, behind, scores, column });
            column += 2 * BLOCK;
        }
        if let [last] = pairs.remainder() {
            let parts = [keys(*last)];
            each_tile(s, 0..rows, &mut Score { steps, queries, stride, parts, behind, scores, column });
        }
    }

    #[inline(always)]
    fn factor(a: &Attend<'_>, query: usize) -> f32 {
        let len = query_len(a.kv.layout().format, a.kv.layout().head_dim);
        // SAFETY: `attend`'s caller vouches for the operand, whose last four bytes are its scale;
        // operands are whole quads long.
        let scale = unsafe { query_at(a, query).add(len - size_of::<f32>()).cast::<f32>().read() };
        scale * a.scale
    }

    #[inline(always)]
    fn shared(s: S, a: &Attend<'_>, tile: Tile<'_>) -> Self::Shared {
        let mut scales = [s.splat(0.0); TILE_BLOCKS];
        for (scales, block) in scales.iter_mut().zip(tile.blocks) {
            let part = a.kv.part(a.layer, Plane::Values, *block as usize, a.kv_head).cast_const();
            // SAFETY: 16 scales lie behind the elements of a part.
            *scales = unsafe { s.load(part.add(a.kv.layout().element_bytes(Plane::Values)).cast()) };
        }
        scales
    }

    #[inline(always)]
    fn store(
        s: S,
        scales: &Self::Shared,
        p: [S::F; TILE_BLOCKS],
        valid: usize,
        query: usize,
        operands: &mut [f32],
    ) -> S::F {
        let zero = s.splat(0.0);
        let mut weights = [zero; TILE_BLOCKS];
        let mut poison = zero;
        for v in 0..TILE_BLOCKS {
            // A position that the query does not see may have any scale.
            weights[v] = masked(s, valid, v, s.mul(p[v], scales[v]), zero);
            poison = s.fma(weights[v], zero, poison);
        }
        let pairs = [s.max(weights[0], weights[1]), s.max(weights[2], weights[3])];
        let (scale, inverse) = weight_scale(s.max_lanes(s.max(pairs[0], pairs[1])));
        let out = weights_of(operands, query);
        out[SCALE_AT] = scale;
        let out = out.as_mut_ptr().cast::<Int8>();
        for v in 0..TILE_BLOCKS {
            let offset = s.fma(weights[v], s.splat(inverse), s.splat(-128.0));
            // SAFETY: TILE elements lie before the scale. The maximal weight times the reciprocal
            // of its scale is 255 and less than half a step.
            unsafe { s.store_offset_int8(out.add(v * LANES), offset) };
        }
        s.add(s.add(s.add(s.add(p[0], p[1]), p[2]), p[3]), poison)
    }

    #[inline(always)]
    fn weigh(
        s: S,
        a: &Attend<'_>,
        tile: Tile<'_>,
        operands: &[f32],
        state: &mut Partial<'_>,
        _widened: &mut [f32; WIDENED_LEN],
    ) {
        let value_dim = state.value_dim;
        let mut parts = [core::ptr::null::<u8>(); TILE_BLOCKS];
        for (part, block) in parts.iter_mut().zip(tile.blocks) {
            *part = a.kv.part(a.layer, Plane::Values, *block as usize, a.kv_head).cast_const();
        }
        let parts = &parts[..tile.blocks.len()];
        let steps = tile.positions.div_ceil(QUAD);
        let rows = a.query_count() - tile.first;
        let weights = &operands[tile.first * TILE..a.query_count() * TILE];
        let values = &mut state.values[tile.first * value_dim..];
        let mut column = 0;
        while column + 2 * LANES <= value_dim {
            each_tile(s, 0..rows, &mut Weigh::<2> { steps, weights, parts, value_dim, values, column });
            column += 2 * LANES;
        }
        if column < value_dim {
            each_tile(s, 0..rows, &mut Weigh::<1> { steps, weights, parts, value_dim, values, column });
        }
    }
}

struct Score<'a, const NV: usize> {
    steps: usize,
    queries: *const u8,
    /// Bytes from one query to the next.
    stride: usize,
    parts: [*const u8; NV],
    /// Bytes of a part before its zero-point corrections and scales.
    behind: usize,
    scores: &'a mut [f32],
    column: usize,
}

impl<S: InstructionSet, const NV: usize> RowTile<S> for Score<'_, NV> {
    #[inline(always)]
    fn run<const MR: usize>(&mut self, s: S, row: usize) {
        let out = &mut self.scores[row * TILE..(row + MR) * TILE];
        // SAFETY: `attend`'s caller vouches for the queries of these rows, `stride` bytes each,
        // `steps` quads and a scale; a part of keys is `steps` quads of 16 positions, then their
        // zero-point corrections and scales. The stores lie within `out`: MR rows of TILE scores,
        // of which the NV blocks from `column` on are part.
        unsafe {
            let corrections = self.parts.map(|part| part.add(self.behind));
            let mut acc = [[s.load_ints(corrections[0].cast()); NV]; MR];
            for acc in &mut acc {
                for v in 1..NV {
                    acc[v] = s.load_ints(corrections[v].cast());
                }
            }
            let a = self.queries.add(row * self.stride).cast::<Int8>();
            let b = self.parts.map(|part| part.cast::<Int8>());
            products::<S, Int8, MR, NV>(s, self.steps, (a, self.stride), (b, BLOCK * QUAD), &mut acc, None);
            for v in 0..NV {
                let scales = s.load(corrections[v].add(CORRECTIONS_BYTES).cast());
                for (r, acc) in acc.iter().enumerate() {
                    let x = s.mul(s.ints_to_floats(acc[v]), scales);
                    s.store(out.as_mut_ptr().add(r * TILE + self.column + v * BLOCK), x);
                }
            }
        }
    }
}

struct Weigh<'a, const NV: usize> {
    steps: usize,
    weights: &'a [f32],
    parts: &'a [*const u8],
    value_dim: usize,
    values: &'a mut [f32],
    column: usize,
}

impl<S: InstructionSet, const NV: usize> RowTile<S> for Weigh<'_, NV> {
    #[inline(always)]
    fn run<const MR: usize>(&mut self, s: S, row: usize) {
        let out = &mut self.values[row * self.value_dim..(row + MR) * self.value_dim];
        let weights = &self.weights[row * TILE..(row + MR) * TILE];
        // SAFETY: the weights of a row are TILE elements at the start of TILE floats; a part of
        // values is four steps of value_dim columns, of which `column .. column + 16 NV` are read,
        // a quad each; loads and stores of the accumulators lie within `out`, MR rows of value_dim.
        unsafe {
            let mut acc = [[s.load_ints([0; LANES].as_ptr()); NV]; MR];
            for (part, steps, done) in block_steps(self.parts, self.steps, BLOCK / QUAD) {
                let a = weights.as_ptr().cast::<Int8>().add(done * QUAD);
                let mut b = [part.cast::<Int8>().add(self.column * QUAD); NV];
                for (v, b) in b.iter_mut().enumerate() {
                    *b = b.add(v * LANES * QUAD);
                }
                let a = (a, TILE * size_of::<f32>());
                products::<S, Int8, MR, NV>(s, steps, a, (b, self.value_dim * QUAD), &mut acc, None);
            }
            for (r, acc) in acc.iter().enumerate() {
                let scale = s.splat(weights[r * TILE + SCALE_AT]);
                for (v, acc) in acc.iter().enumerate() {
                    let out = out.as_mut_ptr().add(r * self.value_dim + self.column + v * LANES);
                    s.store(out, s.fma(s.ints_to_floats(*acc), scale, s.load(out)));
                }
            }
        }
    }
}
