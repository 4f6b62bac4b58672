//! Grouped-query attention over blocks: exact, online, with a fixed order (Milakov and Gimelshein,
//! 2018; Dao et al., 2022).
//!
//! For a query `q` at position `p`, over keys and values `0..=p`, in **tiles** of 64 positions,
//! ascending:
//!
//! 1. `s[j] = (q · k[j]) · scale`, −inf past `p`; the dot product adds its terms in ascending order
//!    of the head's elements (pairs odd first in bf16), as a matrix product does.
//! 2. `m' = max(m, max s)`. If the maximum rose: `l = l · e^(m − m')`, `o = o · e^(m − m')`, an
//!    element of `o` below 2^-100 becoming +0.
//! 3. `P[j] = e^(s[j] − m')` as an operand of the KV format, flushed; `l += Σ P`, 16 lanes over the
//!    tile's four vectors in order, then the merge tree.
//! 4. `o += Σ P[j] v[j]`, positions ascending, in the accumulator.
//!
//! That is f32 and bf16; of int8 the `int8` module says what steps 1, 3 and 4 are.
//!
//! Every 1024 positions a **split** begins from nothing, so that long contexts can go to several
//! workers; splits merge in ascending order: `M' = max(M, m)`, `L = L · e^(M − M') + l · e^(m −
//! M')`, likewise `O`. The result is `O / L`. Splits are a matter of positions alone, for one row
//! and for a prefill chunk, on one worker and on many.
//!
//! **Why a row cannot see its neighbours.** Rows of a chunk share tiles; a row's own probabilities
//! past its position are +0, and what they multiply is finite (blocks are zeroed when handed out).
//! Adding `0 · v` changes an accumulator only if it is −0. It never is: P and V are 0 or at least
//! 2^-50, so a nonzero sum of products is a multiple of 2^-146 and cannot round to zero; rescaled
//! elements are at least 2^-100 or +0; and +0 plus anything that cancels is +0. In bf16, no operand
//! or sum can be subnormal, for the same reason. In int8 a weight of 0 adds the integer 0.
#![allow(unsafe_code)]

use crate::cache::planes::KvView;
use crate::cache::{BLOCK, BlockId};
use crate::dtype::{Int8, KvFormat};
use crate::isa::{InstructionSet, Isa, LANES, SimdOp};
use crate::kernels::cache_write::Queries;
use crate::kernels::matmul::dequantized::WIDE_STEPS;
use crate::tensor::Shared;
use half::bf16;

mod float;
mod int8;
mod online;
pub mod reference;

pub use online::Partial;

/// Positions taken at a time: a constant of the numerics.
pub const TILE: usize = 64;
/// Positions after which a context may go to another worker: a constant of the numerics.
pub const SPLIT: usize = 1024;
/// Queries (rows times heads of a group) that a task takes at once, where the group is not larger
/// by itself: enough to use each key many times, few enough that scores and accumulators stay in
/// L1.
pub const QUERIES: usize = 48;

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

/// Floats of scratch for one worker: widened columns, scores and probabilities, and the states of a
/// total and of a split.
pub const fn scratch_len(group_size: usize, value_dim: usize) -> usize {
    let queries = rows_per_task(group_size) * group_size;
    WIDENED_LEN + queries * (2 * TILE) + 2 * partial_len(queries, value_dim)
}

/// Floats of the columns that a tile of either product widens.
const WIDENED_LEN: usize = WIDE_STEPS * 4 * LANES;

/// Floats of a [`Partial`] for that many queries.
pub const fn partial_len(queries: usize, value_dim: usize) -> usize {
    // Maxima and sums are padded so that what follows stays aligned.
    2 * queries.next_multiple_of(LANES) + queries * value_dim
}

/// Consecutive rows of one sequence under one KV head.
#[derive(Clone, Copy, Debug)]
pub struct Attend<'a> {
    /// Keys and values of all layers and blocks.
    pub kv: KvView<'a>,
    /// The layer, from 0.
    pub layer: usize,
    /// The KV head, from 0.
    pub kv_head: usize,
    /// The sequence's KV blocks, in order of position.
    pub table: &'a [BlockId],
    /// The query operands of all rows of the step.
    pub queries: Queries,
    /// The first row's index in the step.
    pub first_row: usize,
    /// How many rows the task has.
    pub row_count: usize,
    /// The first row's position; the others follow.
    pub first_position: usize,
    /// Query heads that share the KV head.
    pub group_size: usize,
    /// The factor of `q · k`, mostly `1 / sqrt(head_dim)`.
    pub scale: f32,
    /// Positions that a row sees, its own and those just before it; `None` is all of them. A window
    /// that is narrower than the context is not implemented.
    pub window: Option<usize>,
    /// The bound `c` of scores `c · tanh(s / c)`; `None` leaves scores as they are. It is not
    /// implemented.
    pub soft_cap: Option<f32>,
}

impl Attend<'_> {
    /// # Panics
    /// If it asks for what is not implemented, which `LayerSpec::check` refuses with an error.
    fn assert_implemented(&self) {
        let is_whole = self.window.is_none_or(|window| window >= self.context_len());
        assert!(is_whole && self.soft_cap.is_none(), "windows and soft caps are not implemented");
    }

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
    /// Rows of f32, where the output product has f32 operands.
    F32(Shared<'a, f32>),
    /// Rows of bf16 operands, where the output product has those.
    Bf16(Shared<'a, bf16>),
}

/// All splits of some rows, on one worker: `scratch` is [`scratch_len`] floats.
///
/// # Panics
/// If a window or a soft cap is asked for.
///
/// # Safety
/// The queries, keys and values of the rows' positions are written and nobody writes them
/// meanwhile; no other task has these rows and heads of `out`.
pub unsafe fn attend(isa: Isa, a: &Attend<'_>, scratch: &mut [f32], out: AttentionOut<'_>, stride: usize) {
    a.assert_implemented();
    let (count, value_dim) = (a.query_count(), a.kv.layout().value_dim());
    let (tiles, rest) = scratch.split_at_mut(WIDENED_LEN + count * 2 * TILE);
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

/// One split of some rows, for a context that several workers share. Rows that do not reach it are
/// left alone.
///
/// # Panics
/// If a window or a soft cap is asked for.
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
    a.assert_implemented();
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
    fn eval<S: InstructionSet>(self, s: S) {
        let Self { a, split, scratch, state } = self;
        match a.kv.layout().format {
            KvFormat::F32 => split_in::<S, f32>(s, a, split, scratch, state),
            KvFormat::Bf16 => split_in::<S, bf16>(s, a, split, scratch, state),
            KvFormat::Int8 => split_in::<S, Int8>(s, a, split, scratch, state),
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
    const MULTIPLIES_PAIRS: bool = false;
    #[inline(always)]
    fn eval<S: InstructionSet>(self, s: S) {
        online::merge(s, self.total, self.part, self.first);
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
    const MULTIPLIES_PAIRS: bool = false;
    #[inline(always)]
    fn eval<S: InstructionSet>(self, s: S) {
        online::finish(s, self.a, self.total, self.out, self.stride);
    }
}

/// Merges the splits of some rows, each `partial_len` floats apart in `partials`, in order, and
/// writes the result.
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

/// A tile of one split.
#[derive(Clone, Copy)]
struct Tile<'a> {
    /// The first query that sees it.
    first: usize,
    /// Its blocks, at most `TILE_BLOCKS`.
    blocks: &'a [BlockId],
    /// Its positions, at most `TILE`.
    positions: usize,
}

/// For each block of values its part, its number of steps (at most `steps_max`), and the number of
/// steps before it.
#[inline(always)]
fn block_steps<T>(
    parts: &[*const T],
    steps: usize,
    steps_max: usize,
) -> impl Iterator<Item = (*const T, usize, usize)> {
    parts
        .iter()
        .enumerate()
        .map(move |(i, part)| (*part, (steps - i * steps_max).min(steps_max), i * steps_max))
}

/// The steps of attention in which the KV formats differ.
trait TileFormat<S: InstructionSet> {
    /// What all queries of a tile need to make operands of their probabilities.
    type Shared;
    /// Step 1 without the factor: `scores[query][position]` for the queries that see the tile;
    /// positions of blocks that are not there get nothing (they are masked).
    fn score(s: S, a: &Attend<'_>, tile: Tile<'_>, scores: &mut [f32], widened: &mut [f32; WIDENED_LEN]);
    /// The factor that makes a query's scores of the numbers that [`TileFormat::score`] wrote.
    fn factor(a: &Attend<'_>, query: usize) -> f32;
    /// Loads the values of a tile that all its queries need.
    fn shared(s: S, a: &Attend<'_>, tile: Tile<'_>) -> Self::Shared;
    /// Step 3 for one query, which sees `valid` positions: widens its probabilities as operands in
    /// its part of `operands`, `TILE` floats a query; returns what is to be added to its sum.
    fn store(
        s: S,
        shared: &Self::Shared,
        p: [S::F; TILE_BLOCKS],
        valid: usize,
        query: usize,
        operands: &mut [f32],
    ) -> S::F;
    /// Step 4 for the queries that see the tile.
    fn weigh(
        s: S,
        a: &Attend<'_>,
        tile: Tile<'_>,
        operands: &[f32],
        state: &mut Partial<'_>,
        widened: &mut [f32; WIDENED_LEN],
    );
}

#[inline(always)]
fn split_in<S: InstructionSet, E: TileFormat<S>>(
    s: S,
    a: &Attend<'_>,
    split: usize,
    scratch: &mut [f32],
    state: &mut Partial<'_>,
) {
    state.begin();
    let count = a.query_count();
    let (widened, scratch) = scratch.split_first_chunk_mut().expect("there is scratch");
    let (scores, operands) = scratch.split_at_mut(count * TILE);
    let operands = &mut operands[..count * TILE];
    assert!(a.table.len() * BLOCK >= a.context_len());
    let end = a.context_len().min((split + 1) * SPLIT);
    let mut start = split * SPLIT;
    while start < end {
        let positions = (end - start).min(TILE);
        let blocks = &a.table[start / BLOCK..][..positions.div_ceil(BLOCK)];
        let tile = Tile { first: a.first_query_seeing(start), blocks, positions };
        E::score(s, a, tile, scores, widened);
        let shared = E::shared(s, a, tile);
        for query in tile.first..count {
            let valid = (a.position_of(query) + 1 - start).min(TILE);
            let factor = E::factor(a, query);
            let p = online::probabilities(s, factor, &scores[query * TILE..][..TILE], valid, query, state);
            let total = E::store(s, &shared, p, valid, query, operands);
            state.sum[query] += s.sum_lanes(total);
        }
        E::weigh(s, a, tile, operands, state, widened);
        start += TILE;
    }
}

#[cfg(test)]
mod tests;
