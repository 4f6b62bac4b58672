//! The state of the online softmax: a tile's probabilities, splits merged, the result written.
use super::{Attend, AttentionOut, TILE, TILE_BLOCKS};
use crate::dtype::FLUSH_RESCALED_BELOW;
use crate::isa::slices::{self, store_part, store_part_bf16};
use crate::isa::{LANES, Simd};
use crate::kernels::math::exp;

const LANE_NUMBERS: [f32; LANES] =
    [0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0, 10.0, 11.0, 12.0, 13.0, 14.0, 15.0];

/// Running maximum, sum and weighted values of some queries.
#[derive(Debug)]
pub struct Partial<'a> {
    pub(super) max: &'a mut [f32],
    pub(super) sum: &'a mut [f32],
    pub(super) values: &'a mut [f32],
    pub(super) value_dim: usize,
}

impl<'a> Partial<'a> {
    /// Lays the state of `queries` out over `partial_len` floats.
    ///
    /// # Panics
    /// If there are fewer.
    pub fn over(floats: &'a mut [f32], queries: usize, value_dim: usize) -> Self {
        let padded = queries.next_multiple_of(LANES);
        let (max, rest) = floats.split_at_mut(padded);
        let (sum, rest) = rest.split_at_mut(padded);
        Self {
            max: &mut max[..queries],
            sum: &mut sum[..queries],
            values: &mut rest[..queries * value_dim],
            value_dim,
        }
    }

    pub(super) fn begin(&mut self) {
        self.max.fill(f32::NEG_INFINITY);
        self.sum.fill(0.0);
        self.values.fill(0.0);
    }

    pub(super) fn values_of(&mut self, query: usize) -> &mut [f32] {
        &mut self.values[query * self.value_dim..][..self.value_dim]
    }
}

/// `x`, or `other` in the lanes of vector `v` of a tile that lie past its first `valid` positions.
#[inline(always)]
pub(super) fn masked<S: Simd>(s: S, valid: usize, v: usize, x: S::F, other: S::F) -> S::F {
    let left = valid.saturating_sub(v * LANES);
    if left >= LANES { x } else { s.select_lt(s.lanes_of(LANE_NUMBERS), s.splat(left as f32), x, other) }
}

/// Step 2 for one query and one tile, of which it sees `valid` positions: moves the state to the
/// new maximum and returns the probabilities `e^(s − m')`.
#[inline(always)]
pub(super) fn probabilities<S: Simd>(
    s: S,
    factor: f32,
    scores: &[f32],
    valid: usize,
    query: usize,
    state: &mut Partial<'_>,
) -> [S::F; TILE_BLOCKS] {
    let scores = &scores[..TILE];
    let past = s.splat(f32::NEG_INFINITY);
    let mut scaled = [past; TILE_BLOCKS];
    for v in 0..TILE_BLOCKS {
        if v * LANES < valid {
            let x = s.mul(slices::load(s, &scores[v * LANES..]), s.splat(factor));
            scaled[v] = masked(s, valid, v, x, past);
        }
    }
    let pairs = [s.max(scaled[0], scaled[1]), s.max(scaled[2], scaled[3])];
    let tile_max = s.max_lanes(s.max(pairs[0], pairs[1]));
    let old_max = state.max[query];
    let max = if old_max > tile_max { old_max } else { tile_max };
    if max.to_bits() != old_max.to_bits() {
        let alpha = exp(s, s.splat(old_max - max));
        state.max[query] = max;
        state.sum[query] *= s.to_array(alpha)[0];
        for part in state.values_of(query).chunks_exact_mut(LANES) {
            let x = s.mul(slices::load(s, part), alpha);
            let tiny = s.splat(FLUSH_RESCALED_BELOW);
            slices::store(s, part, s.select_lt(s.abs(x), tiny, s.splat(0.0), x));
        }
    }
    let mut p = [past; TILE_BLOCKS];
    for v in 0..TILE_BLOCKS {
        p[v] = exp(s, s.sub(scaled[v], s.splat(max)));
    }
    p
}

/// Merges a later split into the total, for the queries from `first` on.
#[inline(always)]
pub(super) fn merge<S: Simd>(s: S, total: &mut Partial<'_>, part: &mut Partial<'_>, first: usize) {
    for query in first..total.max.len() {
        let (m0, m1) = (total.max[query], part.max[query]);
        let max = if m0 > m1 { m0 } else { m1 };
        let (a, b) = (exp(s, s.splat(m0 - max)), exp(s, s.splat(m1 - max)));
        let (a0, b0) = (s.to_array(a)[0], s.to_array(b)[0]);
        total.max[query] = max;
        total.sum[query] = total.sum[query] * a0 + part.sum[query] * b0;
        let others = part.values_of(query).chunks_exact(LANES);
        for (out, other) in total.values_of(query).chunks_exact_mut(LANES).zip(others) {
            let sum = s.add(s.mul(slices::load(s, out), a), s.mul(slices::load(s, other), b));
            slices::store(s, out, sum);
        }
    }
}

/// `O / L`, to the output of each row and head.
#[inline(always)]
pub(super) fn finish<S: Simd>(
    s: S,
    a: &Attend<'_>,
    total: &mut Partial<'_>,
    out: AttentionOut<'_>,
    stride: usize,
) {
    let d = a.kv.layout().head_dim;
    for query in 0..a.query_count() {
        let row = a.first_row + query / a.group_size;
        let head = a.kv_head * a.group_size + query % a.group_size;
        let sum = s.splat(total.sum[query]);
        let values = &total.values_of(query)[..];
        let start = row * stride + head * d;
        for column in (0..d).step_by(LANES) {
            let len = LANES.min(d - column);
            let y = s.div(slices::load(s, &values[column..]), sum);
            // SAFETY: the part is this row's and head's, which no other task has.
            unsafe {
                match out {
                    AttentionOut::F32(out) => store_part(s, out.part(start + column, len), y),
                    AttentionOut::Bf16(out) => store_part_bf16(s, out.part(start + column, len), y),
                }
            }
        }
    }
}
