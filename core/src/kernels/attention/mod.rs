//! Grouped-query attention over blocks: exact, online, with a fixed order (Milakov and Gimelshein, 2018; Dao et
//! al., 2022).
//!
//! For a query `q` at position `p`, over keys and values `0..=p`, in **tiles** of 64 positions, ascending:
//!
//! 1. `s[j] = (q · k[j]) · scale`, −inf past `p`; the dot product adds its terms in ascending order of the head's
//!    elements (pairs odd first in bf16), as a matrix product does.
//! 2. `m' = max(m, max s)`. If the maximum rose: `l = l · e^(m − m')`, `o = o · e^(m − m')`, an element of `o` below
//!    2^-100 becoming +0.
//! 3. `P[j] = e^(s[j] − m')` as an operand of the KV format, flushed; `l += Σ P`, 16 lanes over the tile's four
//!    vectors in order, then the merge tree.
//! 4. `o += Σ P[j] v[j]`, positions ascending, in the accumulator.
//!
//! Every 1024 positions a **split** begins from nothing, so that long contexts can go to several workers; splits
//! merge in ascending order: `M' = max(M, m)`, `L = L · e^(M − M') + l · e^(m − M')`, likewise `O`. The result is `O / L`.
//! Splits are a matter of positions alone, for one row and for a prefill chunk, on one worker and on many.
//!
//! **Why a row cannot see its neighbours.** Rows of a chunk share tiles; a row's own probabilities past its position
//! are +0, and what they multiply is finite (blocks are zeroed when handed out). Adding `0 · v` changes an accumulator
//! only if it is −0. It never is: P and V are 0 or at least 2^-50, so a nonzero sum of products is a multiple of
//! 2^-146 and cannot round to zero; rescaled elements are at least 2^-100 or +0; and +0 plus anything that
//! cancels is +0. In bf16, no operand or sum can be subnormal, for the same reason.
use crate::dtype::{FLUSH_BELOW, FLUSH_RESCALED_BELOW, KvFormat};
use crate::isa::{Isa, LANES, RowTile, Simd, SimdOp};
use crate::kernels::cache_write::Queries;
use crate::kernels::math::exp;
use crate::kernels::matmul::micro::{Element, each_tile, tile};
use crate::kernels::rmsnorm::{store_part, store_part_bf16};
use crate::paging::kv::{KvView, Plane};
use crate::paging::{BLOCK, BlockId};
use crate::tensor::Shared;
use half::bf16;

pub mod reference;

/// Positions taken at a time: a constant of the numerics.
pub const TILE: usize = 64;
/// Positions after which a context may go to another worker: a constant of the numerics.
pub const SPLIT: usize = 1024;
/// Queries (rows times heads of a group) that a task takes at once, where the group is not larger by itself:
/// enough to use each key many times, few enough that scores and accumulators stay in L1.
pub const QUERIES: usize = 48;

const LANE_NUMBERS: [f32; LANES] =
    [0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0, 10.0, 11.0, 12.0, 13.0, 14.0, 15.0];
const TILE_BLOCKS: usize = TILE / BLOCK;
const _: () = assert!(TILE.is_multiple_of(BLOCK) && SPLIT.is_multiple_of(TILE));

/// Rows of one sequence that a task takes together.
pub const fn rows_per_task(group_size: usize) -> usize {
    if group_size >= QUERIES { 1 } else { QUERIES / group_size }
}

/// Splits that a context of `len` positions has.
pub const fn split_count(len: usize) -> usize {
    len.div_ceil(SPLIT)
}

/// Floats of [`Scratch`] for one worker.
pub const fn scratch_len(group_size: usize, value_dim: usize) -> usize {
    let queries = rows_per_task(group_size) * group_size;
    queries * (2 * TILE) + 2 * partial_len(queries, value_dim)
}

/// Floats of a [`Partial`] for that many queries.
pub const fn partial_len(queries: usize, value_dim: usize) -> usize {
    // Maxima and sums are padded so that what follows stays aligned.
    2 * queries.next_multiple_of(LANES) + queries * value_dim
}

/// Running maximum, sum and weighted values of some queries.
#[derive(Debug)]
pub struct Partial<'a> {
    max: &'a mut [f32],
    sum: &'a mut [f32],
    values: &'a mut [f32],
    value_dim: usize,
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

    fn begin(&mut self) {
        self.max.fill(f32::NEG_INFINITY);
        self.sum.fill(0.0);
        self.values.fill(0.0);
    }

    fn values_of(&mut self, query: usize) -> &mut [f32] {
        &mut self.values[query * self.value_dim..][..self.value_dim]
    }
}

/// Consecutive rows of one sequence under one KV head.
#[derive(Clone, Copy, Debug)]
pub struct Attend<'a> {
    /// Keys and values.
    pub kv: KvView<'a>,
    /// The layer.
    pub layer: usize,
    /// The KV head.
    pub kv_head: usize,
    /// The sequence's blocks.
    pub table: &'a [BlockId],
    /// Query operands.
    pub queries: Queries,
    /// The first row's index in the step.
    pub first_row: usize,
    /// How many rows.
    pub row_count: usize,
    /// The first row's position; the others follow.
    pub first_position: usize,
    /// Query heads that share the KV head.
    pub group_size: usize,
    /// `1 / sqrt(head_dim)`
    pub scale: f32,
}

impl Attend<'_> {
    fn query_count(&self) -> usize {
        self.row_count * self.group_size
    }

    /// Positions that the last row sees.
    pub fn context_len(&self) -> usize {
        self.first_position + self.row_count
    }

    /// The first query whose row sees `position`.
    fn first_query_seeing(&self, position: usize) -> usize {
        position.saturating_sub(self.first_position).min(self.row_count) * self.group_size
    }

    fn position_of(&self, query: usize) -> usize {
        self.first_position + query / self.group_size
    }
}

/// Where attention's results go: `[rows, stride]`, head `h` of a row at `h · head_dim`.
#[derive(Clone, Copy, Debug)]
pub enum AttentionOut<'a> {
    /// For f32 weights.
    F32(Shared<'a, f32>),
    /// For bf16 weights: operands.
    Bf16(Shared<'a, bf16>),
}

/// All splits of some rows, on one worker: `scratch` is [`scratch_len`] floats.
///
/// # Safety
/// The queries, keys and values of the rows' positions are written and nobody writes them meanwhile; no other
/// task has these rows and heads of `out`.
pub unsafe fn attend(isa: Isa, a: &Attend<'_>, scratch: &mut [f32], out: AttentionOut<'_>, stride: usize) {
    let (count, value_dim) = (a.query_count(), a.kv.layout().value_dim());
    let (tiles, rest) = scratch.split_at_mut(count * 2 * TILE);
    let (total, part) = rest.split_at_mut(partial_len(count, value_dim));
    let mut total = Partial::over(total, count, value_dim);
    let mut part = Partial::over(part, count, value_dim);
    for split in 0..split_count(a.context_len()) {
        let state = if split == 0 { &mut total } else { &mut part };
        isa.run(OneSplit { a, split, scratch: tiles, state });
        if split > 0 {
            let first = a.first_query_seeing(split * SPLIT);
            isa.run(Merge { total: &mut total, part: &mut part, first });
        }
    }
    isa.run(Finish { a, total: &mut total, out, stride });
}

/// One split of some rows, for a context that several workers share. Rows that do not reach it are left alone.
///
/// # Safety
/// As [`attend`].
pub unsafe fn attend_split(
    isa: Isa,
    a: &Attend<'_>,
    split: usize,
    scratch: &mut [f32],
    state: &mut Partial<'_>,
) {
    isa.run(OneSplit { a, split, scratch, state });
}

struct OneSplit<'a, 'p> {
    a: &'a Attend<'a>,
    split: usize,
    scratch: &'a mut [f32],
    state: &'a mut Partial<'p>,
}

impl SimdOp for OneSplit<'_, '_> {
    type Output = ();
    #[inline(always)]
    fn eval<S: Simd>(self, s: S) {
        let Self { a, split, scratch, state } = self;
        match a.kv.layout().format {
            KvFormat::F32 => split_in::<S, f32>(s, a, split, scratch, state),
            KvFormat::Bf16 => split_in::<S, bf16>(s, a, split, scratch, state),
        }
    }
}

struct Merge<'a, 'p, 'q> {
    total: &'a mut Partial<'p>,
    part: &'a mut Partial<'q>,
    first: usize,
}

impl SimdOp for Merge<'_, '_, '_> {
    type Output = ();
    #[inline(always)]
    fn eval<S: Simd>(self, s: S) {
        merge(s, self.total, self.part, self.first);
    }
}

struct Finish<'a, 'p> {
    a: &'a Attend<'a>,
    total: &'a mut Partial<'p>,
    out: AttentionOut<'a>,
    stride: usize,
}

impl SimdOp for Finish<'_, '_> {
    type Output = ();
    #[inline(always)]
    fn eval<S: Simd>(self, s: S) {
        finish(s, self.a, self.total, self.out, self.stride);
    }
}

/// Merges the splits of some rows, each `partial_len` floats apart in `partials`, in order, and writes the result.
///
/// # Safety
/// No other task has these rows and heads of `out`.
pub unsafe fn merge_splits(
    isa: Isa,
    a: &Attend<'_>,
    partials: &mut [f32],
    out: AttentionOut<'_>,
    stride: usize,
) {
    let (count, value_dim) = (a.query_count(), a.kv.layout().value_dim());
    let len = partial_len(count, value_dim);
    let (total, rest) = partials.split_at_mut(len);
    let mut total = Partial::over(total, count, value_dim);
    for split in 1..split_count(a.context_len()) {
        let mut part = Partial::over(&mut rest[(split - 1) * len..][..len], count, value_dim);
        let first = a.first_query_seeing(split * SPLIT);
        isa.run(Merge { total: &mut total, part: &mut part, first });
    }
    isa.run(Finish { a, total: &mut total, out, stride });
}

/// What the two KV formats differ in beyond [`Element`]: how probabilities become operands.
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

#[inline(always)]
fn split_in<S: Simd, E: KvElement<S>>(
    s: S,
    a: &Attend<'_>,
    split: usize,
    scratch: &mut [f32],
    state: &mut Partial<'_>,
) {
    state.begin();
    let count = a.query_count();
    let (scores, probabilities) = scratch.split_at_mut(count * TILE);
    assert!(probabilities.len() >= count * TILE && a.table.len() * BLOCK >= a.context_len());
    // An f32 has room for an element of either format.
    let probabilities = probabilities.as_mut_ptr().cast::<E>();
    let end = a.context_len().min((split + 1) * SPLIT);
    let mut start = split * SPLIT;
    while start < end {
        let first_query = a.first_query_seeing(start);
        let positions = (end - start).min(TILE);
        let blocks = &a.table[start / BLOCK..][..positions.div_ceil(BLOCK)];
        score::<S, E>(s, a, first_query, blocks, scores);
        for query in first_query..count {
            let valid = (a.position_of(query) + 1 - start).min(TILE);
            // SAFETY: a query's probabilities are TILE elements, and there is room for `count` of them.
            unsafe {
                let p = probabilities.add(query * TILE);
                softmax_tile::<S, E>(s, a.scale, &scores[query * TILE..][..TILE], valid, p, query, state);
            }
        }
        weigh::<S, E>(s, a, first_query, blocks, positions, probabilities, state);
        start += TILE;
    }
}

/// Step 1 without the scale: `scores[query][position]` for the queries from `first` on; positions of blocks that are
/// not there get nothing (they are masked).
#[inline(always)]
fn score<S: Simd, E: KvElement<S>>(
    s: S,
    a: &Attend<'_>,
    first: usize,
    blocks: &[BlockId],
    scores: &mut [f32],
) {
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

/// Steps 2 and 3 for one query and one tile, of which it sees `valid` positions.
///
/// # Safety
/// `probabilities` is valid for writing TILE elements.
#[inline(always)]
unsafe fn softmax_tile<S: Simd, E: KvElement<S>>(
    s: S,
    scale: f32,
    scores: &[f32],
    valid: usize,
    probabilities: *mut E,
    query: usize,
    state: &mut Partial<'_>,
) {
    let lane_numbers = s.lanes_of(LANE_NUMBERS);
    let masked = s.splat(f32::NEG_INFINITY);
    let mut scaled = [masked; TILE_BLOCKS];
    for v in 0..TILE_BLOCKS {
        let left = valid.saturating_sub(v * LANES);
        if left > 0 {
            // SAFETY: TILE scores are four vectors.
            let x = s.mul(unsafe { s.load(scores[v * LANES..][..LANES].as_ptr()) }, s.splat(scale));
            scaled[v] =
                if left >= LANES { x } else { s.select_lt(lane_numbers, s.splat(left as f32), x, masked) };
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
            // SAFETY: the chunk is 16 floats.
            unsafe {
                let x = s.mul(s.load(part.as_ptr()), alpha);
                let tiny = s.splat(FLUSH_RESCALED_BELOW);
                s.store(part.as_mut_ptr(), s.select_lt(s.abs(x), tiny, s.splat(0.0), x));
            }
        }
    }
    let mut stored = [masked; TILE_BLOCKS];
    for v in 0..TILE_BLOCKS {
        let p = exp(s, s.sub(scaled[v], s.splat(max)));
        // SAFETY: the caller vouches for TILE elements.
        stored[v] = unsafe { E::store_probabilities(s, probabilities.add(v * LANES), p) };
    }
    let total = s.add(s.add(s.add(stored[0], stored[1]), stored[2]), stored[3]);
    state.sum[query] += s.sum_lanes(total);
}

/// Step 4 for the queries from `first` on.
#[inline(always)]
fn weigh<S: Simd, E: KvElement<S>>(
    s: S,
    a: &Attend<'_>,
    first: usize,
    blocks: &[BlockId],
    positions: usize,
    probabilities: *const E,
    state: &mut Partial<'_>,
) {
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

/// Merges a later split into the total, for the queries from `first` on.
#[inline(always)]
fn merge<S: Simd>(s: S, total: &mut Partial<'_>, part: &mut Partial<'_>, first: usize) {
    for query in first..total.max.len() {
        let (m0, m1) = (total.max[query], part.max[query]);
        let max = if m0 > m1 { m0 } else { m1 };
        let (a, b) = (exp(s, s.splat(m0 - max)), exp(s, s.splat(m1 - max)));
        let (a0, b0) = (s.to_array(a)[0], s.to_array(b)[0]);
        total.max[query] = max;
        total.sum[query] = total.sum[query] * a0 + part.sum[query] * b0;
        let others = part.values_of(query).chunks_exact(LANES);
        for (out, other) in total.values_of(query).chunks_exact_mut(LANES).zip(others) {
            // SAFETY: both chunks are 16 floats.
            unsafe {
                let sum = s.add(s.mul(s.load(out.as_ptr()), a), s.mul(s.load(other.as_ptr()), b));
                s.store(out.as_mut_ptr(), sum);
            }
        }
    }
}

/// `O / L`, to the output of each row and head.
#[inline(always)]
fn finish<S: Simd>(s: S, a: &Attend<'_>, total: &mut Partial<'_>, out: AttentionOut<'_>, stride: usize) {
    let d = a.kv.layout().head_dim;
    for query in 0..a.query_count() {
        let row = a.first_row + query / a.group_size;
        let head = a.kv_head * a.group_size + query % a.group_size;
        let sum = s.splat(total.sum[query]);
        let values = &total.values_of(query)[..];
        let start = row * stride + head * d;
        for column in (0..d).step_by(LANES) {
            let len = LANES.min(d - column);
            // SAFETY: values are whole vectors. The part is this row's and head's, which no other task has.
            unsafe {
                let y = s.div(s.load(values[column..][..LANES].as_ptr()), sum);
                match out {
                    AttentionOut::F32(out) => store_part(s, out.part(start + column, len), y),
                    AttentionOut::Bf16(out) => store_part_bf16(s, out.part(start + column, len), y),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
