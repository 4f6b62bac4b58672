//! The micro-kernel: MR rows times NV vectors of 16 columns, accumulators in registers.
//!
//! Per step of K it loads NV vectors of weights, broadcasts one element (f32), pair (bf16) or quad
//! (int8) of each row, and issues MR · NV fused multiply-adds or pair products. At 12 × 2 that is
//! 24 independent chains, enough for the latency of either on every CPU measured; one broadcast
//! serves two products, which keeps the load ports below their limit (one vector of columns would
//! not: 70% of peak).
//!
//! Each vector of columns has a pointer of its own, so the same code multiplies by a weight panel
//! (two vectors side by side), by keys (a block of 16 positions a vector) and by values.
use super::weight::slice_inputs;
use crate::dtype::Int8;
use crate::isa::{InstructionSet, LANES, RowTile};
use core::mem::MaybeUninit;
use core::ops::Range;
use half::bf16;

/// What the kinds of product differ in: an element is a step of K.
pub trait Element<S: InstructionSet>: Copy + 'static {
    /// Elements of K taken at a time: 1, 2 for pairs, 4 for quads.
    const STEP: usize;
    /// Sixteen columns' operand.
    type Column: Copy;
    /// One row's operand, in every lane.
    type Row: Copy;
    /// Sixteen sums.
    type Sums: Copy;
    /// Loads 16 columns.
    ///
    /// # Safety
    /// `p` is valid for `16 * STEP` elements.
    unsafe fn load(s: S, p: *const Self) -> Self::Column;
    /// Broadcasts one row's element or pair.
    ///
    /// # Safety
    /// `p` is valid for `STEP` elements.
    unsafe fn splat(s: S, p: *const Self) -> Self::Row;
    /// Adds the product to the accumulator.
    fn product(s: S, a: Self::Row, b: Self::Column, acc: Self::Sums) -> Self::Sums;
    /// Elements that a step of 32 columns takes when it is kept for several tiles of rows.
    const KEPT: usize;
    /// Writes a step of two times 16 columns as it is kept.
    ///
    /// # Safety
    /// Each of `from` is valid for reading `16 * STEP` elements, `to` for writing
    /// [`Element::KEPT`].
    unsafe fn keep(s: S, from: [*const Self; 2], to: *mut Self);
    /// Adds the products of one step of MR rows, so many elements apart, and 32 columns as they are
    /// kept.
    ///
    /// # Safety
    /// Each row is valid for `STEP` elements, `b` for [`Element::KEPT`], which [`Element::keep`]
    /// wrote.
    unsafe fn add_kept<const MR: usize>(
        s: S,
        a: (*const Self, usize),
        b: *const Self,
        sums: &mut [[Self::Sums; 2]; MR],
    );
    /// Whether rows are widened, once for all columns of a tile, before they meet columns as they
    /// are kept; tiles of some rows widen theirs before they meet a panel's, too:
    /// [`tile_widens_rows`].
    const WIDENS_ROWS: bool = false;
    /// Widens the steps of a row: [`Simd::widen_pairs`].
    ///
    /// # Safety
    /// As there.
    #[inline(always)]
    unsafe fn widen(s: S, from: *const Self, steps: usize, to: *mut f32) {
        let _ = (s, from, steps, to);
        unreachable!("only where `WIDENS_ROWS`");
    }
    /// One step of a row that was widened: [`Simd::splat_wide_pair`].
    ///
    /// # Safety
    /// As there.
    #[inline(always)]
    unsafe fn splat_wide(s: S, p: *const f32) -> Self::Row {
        let _ = (s, p);
        unreachable!("only where `WIDENS_ROWS`");
    }
    /// [`Element::add_kept`] for rows that were widened: [`Simd::add_wide_pairs`].
    ///
    /// # Safety
    /// As there.
    #[inline(always)]
    unsafe fn add_wide<const MR: usize>(
        s: S,
        a: (*const f32, usize),
        b: *const Self,
        sums: &mut [[Self::Sums; 2]; MR],
    ) {
        let _ = (s, a, b, sums);
        unreachable!("only where `WIDENS_ROWS`");
    }
    /// Whether a unit that multiplies tiles of bytes ([`Isa::matrix`](crate::isa::Isa)) takes them,
    /// and its sums are theirs.
    const BYTES: bool = false;
}

impl<S: InstructionSet> Element<S> for f32 {
    const STEP: usize = 1;
    type Column = S::F;
    type Row = S::F;
    type Sums = S::F;
    #[inline(always)]
    unsafe fn load(s: S, p: *const f32) -> S::F {
        // SAFETY: the caller's promise is the one asked.
        unsafe { s.load(p) }
    }
    #[inline(always)]
    unsafe fn splat(s: S, p: *const f32) -> S::F {
        // SAFETY: one float is readable.
        s.splat(unsafe { p.read() })
    }
    #[inline(always)]
    fn product(s: S, a: S::F, b: S::F, acc: S::F) -> S::F {
        s.fma(a, b, acc)
    }
    const KEPT: usize = 2 * LANES;
    #[inline(always)]
    unsafe fn keep(s: S, from: [*const f32; 2], to: *mut f32) {
        // SAFETY: the caller's promises are those asked.
        unsafe {
            s.store(to, s.load(from[0]));
            s.store(to.add(LANES), s.load(from[1]));
        }
    }
    #[inline(always)]
    unsafe fn add_kept<const MR: usize>(
        s: S,
        a: (*const f32, usize),
        b: *const f32,
        sums: &mut [[S::F; 2]; MR],
    ) {
        // SAFETY: the caller's promises are those asked.
        unsafe { s.add_floats(a, b, sums) };
    }
}

impl<S: InstructionSet> Element<S> for bf16 {
    const STEP: usize = 2;
    type Column = S::Pairs;
    type Row = S::Pairs;
    type Sums = S::F;
    #[inline(always)]
    unsafe fn load(s: S, p: *const bf16) -> S::Pairs {
        // SAFETY: the caller's promise is the one asked.
        unsafe { s.load_pairs(p) }
    }
    #[inline(always)]
    unsafe fn splat(s: S, p: *const bf16) -> S::Pairs {
        // SAFETY: the caller's promise is the one asked.
        unsafe { s.splat_pair(p) }
    }
    #[inline(always)]
    fn product(s: S, a: S::Pairs, b: S::Pairs, acc: S::F) -> S::F {
        s.dot_pairs(a, b, acc)
    }
    const KEPT: usize = 4 * LANES * S::STRATEGY.pairs_factor;
    #[inline(always)]
    unsafe fn keep(s: S, from: [*const bf16; 2], to: *mut bf16) {
        // SAFETY: the caller's promises are those asked.
        unsafe {
            s.store_dequantized_pairs(to, s.load_words(from));
        }
    }
    #[inline(always)]
    unsafe fn add_kept<const MR: usize>(
        s: S,
        a: (*const bf16, usize),
        b: *const bf16,
        sums: &mut [[S::F; 2]; MR],
    ) {
        // SAFETY: the caller's promises are those asked.
        unsafe { s.add_dequantized_pairs(a, b, sums) };
    }
    const WIDENS_ROWS: bool = S::STRATEGY.widens_rows;
    #[inline(always)]
    unsafe fn widen(s: S, from: *const bf16, steps: usize, to: *mut f32) {
        // SAFETY: the caller's promises are those asked.
        unsafe { s.widen_pairs(from, steps, to) };
    }
    #[inline(always)]
    unsafe fn splat_wide(s: S, p: *const f32) -> S::Pairs {
        // SAFETY: the caller's promise is the one asked.
        unsafe { s.splat_wide_pair(p) }
    }
    #[inline(always)]
    unsafe fn add_wide<const MR: usize>(
        s: S,
        a: (*const f32, usize),
        b: *const bf16,
        sums: &mut [[S::F; 2]; MR],
    ) {
        // SAFETY: the caller's promises are those asked.
        unsafe { s.add_wide_pairs(a, b, sums) };
    }
}

impl<S: InstructionSet> Element<S> for Int8 {
    const STEP: usize = 4;
    const BYTES: bool = true;
    type Column = S::Quads;
    type Row = S::QuadRow;
    type Sums = S::Ints;
    #[inline(always)]
    unsafe fn load(s: S, p: *const Int8) -> S::Quads {
        // SAFETY: the caller's promise is the one asked.
        unsafe { s.load_quads(p) }
    }
    #[inline(always)]
    unsafe fn splat(s: S, p: *const Int8) -> S::QuadRow {
        // SAFETY: the caller's promise is the one asked.
        unsafe { s.splat_quad(p) }
    }
    #[inline(always)]
    fn product(s: S, a: S::QuadRow, b: S::Quads, acc: S::Ints) -> S::Ints {
        s.dot_quads(a, b, acc)
    }
    const KEPT: usize = 8 * LANES * S::STRATEGY.quads_factor;
    #[inline(always)]
    unsafe fn keep(s: S, from: [*const Int8; 2], to: *mut Int8) {
        // SAFETY: the caller's promises are those asked.
        unsafe {
            s.store_dequantized_quads(to, [s.load_quads(from[0]), s.load_quads(from[1])]);
        }
    }
    #[inline(always)]
    unsafe fn add_kept<const MR: usize>(
        s: S,
        a: (*const Int8, usize),
        b: *const Int8,
        sums: &mut [[S::Ints; 2]; MR],
    ) {
        // SAFETY: the caller's promises are those asked.
        unsafe { s.add_dequantized_quads(a, b, sums) };
    }
}

/// Whether a step of 32 columns is kept as it is stored.
pub const fn kept_as_stored<S: InstructionSet, E: Element<S>>() -> bool {
    E::KEPT == 2 * LANES * E::STEP
}

/// Memory that is needed soon, fetched in bunches while a tile computes.
#[derive(Clone, Copy)]
pub struct Ahead {
    next: *const u8,
    bytes: usize,
}

impl Ahead {
    /// What the rows `rows` of `count` fetch of what all of them do.
    #[inline(always)]
    pub fn share((from, bytes): (*const u8, usize), rows: Range<usize>, count: usize) -> Self {
        Self { next: from.wrapping_add(bytes * rows.start / count), bytes: bytes * rows.len() / count }
    }

    /// Cuts it into so many fetches, a line apart at most: what a panel has besides its blocks
    /// would move bursts from their places.
    #[inline(always)]
    pub fn cut(self, fetches: usize) -> Self {
        Self { next: self.next, bytes: (self.bytes / fetches).min(64) }
    }

    /// One of the fetches.
    #[inline(always)]
    pub fn fetch<S: InstructionSet>(&mut self, s: S) {
        s.prefetch(self.next);
        self.next = self.next.wrapping_add(self.bytes);
    }
}

/// Bytes that a tile fetches at once: what `FETCH_STEPS` steps of 32 columns take. A single tile's
/// bursts begin at multiples of it, so that none lies across two OS pages: the hardware reads on
/// from what is fetched, but not into the next page.
pub const BURST_BYTES: usize = BURST_LINES * 64;
const BURST_LINES: usize = 2 * FETCH_STEPS;
const _: () = assert!(4096_usize.is_multiple_of(BURST_BYTES));

/// Fetches in bursts of as many as [`BURST_BYTES`] has lines, one for each line of the blocks that
/// a tile reads.
pub struct Bursts {
    ahead: Ahead,
    /// Lines of blocks that no burst was for yet, and at first one less than a burst's: the first
    /// comes before the first block, the last fetches what is left.
    due: usize,
}

impl Bursts {
    /// For so many blocks of so many lines.
    #[inline(always)]
    pub fn cut(ahead: Ahead, blocks: usize, lines: usize) -> Self {
        Self { ahead: ahead.cut(blocks * lines), due: BURST_LINES - 1 }
    }

    /// Those that are due before a block of so many lines is read.
    #[inline(always)]
    pub fn fetch<S: InstructionSet>(&mut self, s: S, lines: usize) {
        self.due += lines;
        while self.due >= BURST_LINES {
            self.due -= BURST_LINES;
            for _ in 0..BURST_LINES {
                self.ahead.fetch(s);
            }
        }
    }
}

/// `acc[r][v] += Σ a[r][k] b[v][k]` over `steps` steps of K, in ascending order.
///
/// Row `r` of the activations starts at `a + r * a_stride`, vector `v` of the columns at `b[v]`,
/// and each step of K moves it by `b_stride` elements.
///
/// # Safety
/// For each `r < MR`, `a + r * a_stride` is valid for reading `steps * STEP` elements; for each `v
/// < NV` and step `i`, `b[v] + i * b_stride` is valid for reading `16 * STEP` elements.
#[inline(always)]
pub unsafe fn tile<S: InstructionSet, E: Element<S>, const MR: usize, const NV: usize>(
    s: S,
    steps: usize,
    (a, a_stride): (*const E, usize),
    (b, b_stride): ([*const E; NV], usize),
    acc: &mut [[E::Sums; NV]; MR],
    ahead: Option<Ahead>,
) {
    let mut sums = *acc;
    let mut ahead = ahead.map(|ahead| ahead.cut(steps * NV));
    let mut first = 0;
    while first < steps {
        // In bunches, outside of the inner loop, whose registers the compiler would else lose sight
        // of.
        let last = if ahead.is_some() { (first + FETCH_STEPS).min(steps) } else { steps };
        if let Some(ahead) = &mut ahead {
            for _ in 0..FETCH_STEPS * NV {
                ahead.fetch(s);
            }
        }
        for step in first..last {
            // SAFETY: the function's own conditions; `step < steps`, `r < MR`, `v < NV`.
            let mut columns = [unsafe { E::load(s, b[0].add(step * b_stride)) }; NV];
            for v in 1..NV {
                // SAFETY: as above.
                columns[v] = unsafe { E::load(s, b[v].add(step * b_stride)) };
            }
            for r in 0..MR {
                // SAFETY: as above.
                let row = unsafe { E::splat(s, a.add(r * a_stride + step * E::STEP)) };
                for v in 0..NV {
                    sums[r][v] = E::product(s, row, columns[v], sums[r][v]);
                }
            }
        }
        first = if ahead.is_some() { last } else { steps };
    }
    *acc = sums;
}

/// The same for 32 columns of a panel, which it leaves at `keep` as they are kept.
///
/// # Safety
/// As for [`tile`]; `keep` is valid for writing `steps * KEPT` elements.
#[inline(always)]
pub unsafe fn keeping_tile<S: InstructionSet, E: Element<S>, const MR: usize>(
    s: S,
    steps: usize,
    (a, a_stride): (*const E, usize),
    b: *const E,
    acc: &mut [[E::Sums; 2]; MR],
    keep: *mut E,
    ahead: Ahead,
) {
    let mut sums = *acc;
    let mut ahead = ahead.cut(steps * 2);
    for step in 0..steps {
        ahead.fetch(s);
        ahead.fetch(s);
        // SAFETY: the function's own conditions; what is added was just kept.
        unsafe {
            let kept = keep.add(step * E::KEPT);
            let columns = b.add(step * 2 * LANES * E::STEP);
            E::keep(s, [columns, columns.add(LANES * E::STEP)], kept);
            E::add_kept(s, (a.add(step * E::STEP), a_stride), kept, &mut sums);
        }
    }
    *acc = sums;
}

/// The same for 32 columns as they are kept, step after step: at most [`KEPT_STEPS`] where rows are
/// widened.
///
/// # Safety
/// For each `r < MR`, `a + r * a_stride` is valid for reading `steps * STEP` elements, and `b` for
/// `steps * KEPT`.
#[inline(always)]
pub unsafe fn kept_tile<S: InstructionSet, E: Element<S>, const MR: usize>(
    s: S,
    steps: usize,
    (a, a_stride): (*const E, usize),
    b: *const E,
    acc: &mut [[E::Sums; 2]; MR],
    ahead: Option<Ahead>,
) {
    let mut sums = *acc;
    let mut ahead = ahead.map(|ahead| ahead.cut(steps * 2));
    let mut wide = WideRows::<MR>::new();
    if E::WIDENS_ROWS {
        const { assert!(!E::WIDENS_ROWS || slice_inputs::<S, E>() <= KEPT_STEPS * E::STEP) };
        // SAFETY: the function's own conditions.
        unsafe { wide.widen(s, (a, a_stride), steps) };
    }
    let mut first = 0;
    while first < steps {
        let last = if ahead.is_some() { (first + FETCH_STEPS).min(steps) } else { steps };
        if let Some(ahead) = &mut ahead {
            for _ in 0..FETCH_STEPS * 2 {
                ahead.fetch(s);
            }
        }
        for step in first..last {
            // SAFETY: the function's own conditions; what is wide was written above, 16 odd
            // elements and 16 even ones at a time.
            unsafe {
                let b = b.add(step * E::KEPT);
                if E::WIDENS_ROWS {
                    E::add_wide(s, (wide.at(step), WIDE_STRIDE), b, &mut sums);
                } else {
                    E::add_kept(s, (a.add(step * E::STEP), a_stride), b, &mut sums);
                }
            }
        }
        first = last;
    }
    *acc = sums;
}

/// Steps of rows that are widened at a time; so many, at most, [`kept_tile`] takes.
pub const KEPT_STEPS: usize = 64;

/// Floats from one widened row to the next: a slice, and a line more, so that rows do not meet in a
/// set of the L1 cache.
const WIDE_STRIDE: usize = 2 * KEPT_STEPS + LANES;
// Rows are widened 16 steps at a time.
const _: () = assert!(KEPT_STEPS.is_multiple_of(LANES));

/// Slices of MR rows of pairs, widened once for all columns.
struct WideRows<const MR: usize>([MaybeUninit<[f32; WIDE_STRIDE]>; MR]);

impl<const MR: usize> WideRows<MR> {
    /// Room for them.
    #[inline(always)]
    fn new() -> Self {
        Self([const { MaybeUninit::uninit() }; MR])
    }

    /// Widens the first `steps` steps of rows that begin `stride` elements apart.
    ///
    /// # Safety
    /// Each row is valid for reading `steps * STEP` elements.
    ///
    /// # Panics
    /// For more steps than [`KEPT_STEPS`], and on paths that widen no rows.
    #[inline(always)]
    unsafe fn widen<S: InstructionSet, E: Element<S>>(
        &mut self,
        s: S,
        (a, stride): (*const E, usize),
        steps: usize,
    ) {
        assert!(steps <= KEPT_STEPS, "more steps than a row has room for");
        for (r, row) in self.0.iter_mut().enumerate() {
            // SAFETY: the caller vouches for the row; there is room for as many steps, rounded up
            // to 16.
            unsafe { E::widen(s, a.add(r * stride), steps, row.as_mut_ptr().cast()) };
        }
    }

    /// The odd element of a step of the first row; row `r` has it `r * WIDE_STRIDE` floats on, the
    /// even one lies 16 floats on.
    #[inline(always)]
    fn at(&self, step: usize) -> *const f32 {
        self.0.as_ptr().cast::<f32>().wrapping_add(step / LANES * 2 * LANES + step % LANES)
    }

    /// A step of row `r`.
    ///
    /// # Safety
    /// `r < MR`, and the last [`WideRows::widen`] took more than `step` steps.
    #[inline(always)]
    unsafe fn splat<S: InstructionSet, E: Element<S>>(&self, s: S, r: usize, step: usize) -> E::Row {
        // SAFETY: the caller's promise.
        unsafe { E::splat_wide(s, self.at(step).add(r * WIDE_STRIDE)) }
    }
}

/// Whether a tile of MR rows widens them, a slice at a time, before they meet columns of a panel
/// ([`wide_tile`]): fewer rows are cheaper to widen as they are read, and more than
/// [`Simd::UNPACK_ROWS`] meet columns that are kept.
pub const fn tile_widens_rows<S: InstructionSet, E: Element<S>>(mr: usize) -> bool {
    E::WIDENS_ROWS && mr >= 5 && mr <= S::STRATEGY.dequantizing_rows
}

/// [`tile`] for 32 columns as a panel has them, where [`tile_widens_rows`].
///
/// # Safety
/// For each `r < MR`, `a + r * a_stride` is valid for reading `steps * STEP` elements, and `b` for
/// `steps * 32 * STEP`.
#[inline(always)]
pub unsafe fn wide_tile<S: InstructionSet, E: Element<S>, const MR: usize>(
    s: S,
    steps: usize,
    (a, a_stride): (*const E, usize),
    b: *const E,
    acc: &mut [[E::Sums; 2]; MR],
    ahead: Ahead,
) {
    const { assert!(KEPT_STEPS.is_multiple_of(WIDE_FETCH_STEPS)) };
    let mut sums = *acc;
    let mut ahead = ahead.cut(steps * 2);
    let mut wide = WideRows::<MR>::new();
    let mut first = 0;
    while first < steps {
        if first.is_multiple_of(KEPT_STEPS) {
            // SAFETY: the function's own conditions.
            unsafe { wide.widen(s, (a.add(first * E::STEP), a_stride), KEPT_STEPS.min(steps - first)) };
        }
        for _ in 0..WIDE_FETCH_STEPS * 2 {
            ahead.fetch(s);
        }
        let last = (first + WIDE_FETCH_STEPS).min(steps);
        for step in first..last {
            // SAFETY: the function's own conditions; `r < MR`, and the slice that was widened last
            // has the step.
            unsafe {
                let columns = b.add(step * 2 * LANES * E::STEP);
                let columns = [E::load(s, columns), E::load(s, columns.add(LANES * E::STEP))];
                for (r, sums) in sums.iter_mut().enumerate() {
                    let row = wide.splat::<S, E>(s, r, step % KEPT_STEPS);
                    *sums =
                        [E::product(s, row, columns[0], sums[0]), E::product(s, row, columns[1], sums[1])];
                }
            }
        }
        first = last;
    }
    *acc = sums;
}

/// Steps of K between fetches.
const FETCH_STEPS: usize = 8;
/// The same in [`wide_tile`], where two bursts at once are 3 to 5% faster.
const WIDE_FETCH_STEPS: usize = 2 * FETCH_STEPS;

/// Cuts rows into as few tiles as the registers allow, as even as they can be.
#[inline(always)]
pub fn each_tile<S: InstructionSet, T: RowTile<S>>(s: S, rows: Range<usize>, tile: &mut T) {
    let mut row = rows.start;
    while row < rows.end {
        let left = rows.end - row;
        let mr = left.div_ceil(left.div_ceil(S::STRATEGY.tile_rows));
        s.run_tile(mr, row, tile);
        row += mr;
    }
}
