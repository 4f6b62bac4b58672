//! The CPU's vector instructions as one abstraction: sixteen lanes of `f32`.
//!
//! [`Simd`] is implemented by zero-sized proofs, one per instruction set; holding one means that
//! this CPU has the instructions, so the operations are safe to call. A kernel is written once,
//! generic over `Simd`, and entered through [`Isa::run`], which calls it inside a function compiled
//! for that instruction set. All implementations give the same bits, operation by operation: that
//! is what makes the answers independent of the CPU.
//!
//! [`Isa`] is chosen once, by [`Isa::detect`] from CPUID and XCR0, or by name.
//!
//! To see that inlining went wrong: a kernel that is ten times too slow has a `call` in its inner
//! loop; every function between [`Isa::run`] and the operations must be `#[inline(always)]`.
pub(crate) mod matrix;
pub mod portable;
mod tiles;

#[cfg(all(target_arch = "x86_64", target_feature = "sse2"))]
mod amx;
#[cfg(all(target_arch = "x86_64", target_feature = "sse2"))]
pub mod avx2;
#[cfg(all(target_arch = "x86_64", target_feature = "sse2"))]
pub mod avx512;
#[cfg(all(target_arch = "aarch64", target_feature = "neon"))]
pub mod neon;
#[cfg(all(target_arch = "x86_64", target_feature = "sse2"))]
mod x86_detect;

use crate::dtype::{Int4, Int8, nearest_int};
use half::bf16;
use matrix::Matrix;
pub use portable::Portable;
pub use tiles::RowTile;
use tiles::tile_sizes;

/// Lanes of every vector, on every instruction set: a constant of the numerics.
pub const LANES: usize = 16;

/// Sixteen lanes of `f32`, and pairs of bf16 beneath them.
///
/// Every operation is IEEE 754 binary32, round to nearest even, subnormals kept, lane by lane.
///
/// # Safety
///
/// A value of the implementing type is a proof that the CPU has its instructions; it must be
/// impossible to make one otherwise. The methods' bits must equal those of [`Portable`].
pub unsafe trait Simd: Copy + Send + Sync + 'static {
    /// Rows of a matrix product kept in registers at a time, beside two vectors of columns.
    const TILE_ROWS: usize;
    /// Rows that are multiplied while weights are unpacked for the tiles that follow: fewer, for
    /// what unpacking takes.
    const UNPACK_ROWS: usize;
    /// Sixteen lanes.
    type F: Copy;
    /// Sixteen lanes of bf16 pairs (even element, odd element).
    type Pairs: Copy;
    /// Sixteen lanes of `i32`.
    type Ints: Copy;
    /// Sixteen lanes of four 8-bit weights.
    type Quads: Copy;
    /// Four 8-bit activations, in every lane.
    type QuadRow: Copy;
    /// The scale and zero of a group of 4-bit weights, in each lane its own.
    type GroupScales: Copy;
    /// Two vectors of 32 bf16, as they lie in memory.
    type Words: Copy;
    /// Fifteen exponents of bf16, to be looked up by a code of 4 bits; the last code has none, 0.
    type CodeTable: Copy;

    /// `x` in every lane.
    fn splat(self, x: f32) -> Self::F;
    /// Reads 16 floats.
    ///
    /// # Safety
    /// `p` is valid for reading 16 floats; no alignment is needed.
    unsafe fn load(self, p: *const f32) -> Self::F;
    /// Writes 16 floats.
    ///
    /// # Safety
    /// `p` is valid for writing 16 floats; no alignment is needed.
    unsafe fn store(self, p: *mut f32, x: Self::F);
    /// `a + b`
    fn add(self, a: Self::F, b: Self::F) -> Self::F;
    /// `a - b`
    fn sub(self, a: Self::F, b: Self::F) -> Self::F;
    /// `a * b`
    fn mul(self, a: Self::F, b: Self::F) -> Self::F;
    /// `a / b`
    fn div(self, a: Self::F, b: Self::F) -> Self::F;
    /// `a * b + c`, rounded once.
    fn fma(self, a: Self::F, b: Self::F, c: Self::F) -> Self::F;
    /// `if a > b { a } else { b }`: with a NaN on either side, `b`.
    fn max(self, a: Self::F, b: Self::F) -> Self::F;
    /// `if a < b { a } else { b }`: with a NaN on either side, `b`.
    fn min(self, a: Self::F, b: Self::F) -> Self::F;
    /// `if a < b { x } else { y }`; a NaN compares false.
    fn select_lt(self, a: Self::F, b: Self::F, x: Self::F, y: Self::F) -> Self::F;
    /// `|a|`
    fn abs(self, a: Self::F) -> Self::F;
    /// `p * 2^n` for integral `n` in `-126..=127`, `n` given as floats.
    fn scale_by_power_of_two(self, p: Self::F, n: Self::F) -> Self::F;
    /// For positive normal `x`: `(m, e)` with `x = m * 2^e` and `1 <= m < 2`.
    fn split_exponent(self, x: Self::F) -> (Self::F, Self::F);

    /// Reads 16 bf16, widened.
    ///
    /// # Safety
    /// `p` is valid for reading 16 bf16; no alignment is needed.
    unsafe fn load_bf16(self, p: *const bf16) -> Self::F;
    /// Writes 16 bf16 operands: flushed, then rounded to nearest even (`dtype::bf16_operand`).
    ///
    /// # Safety
    /// `p` is valid for writing 16 bf16; no alignment is needed.
    unsafe fn store_bf16(self, p: *mut bf16, x: Self::F);
    /// Reads 16 pairs: lane `i` holds elements `2i` and `2i + 1`.
    ///
    /// # Safety
    /// `p` is valid for reading 32 bf16; no alignment is needed.
    unsafe fn load_pairs(self, p: *const bf16) -> Self::Pairs;
    /// One pair in every lane.
    ///
    /// # Safety
    /// `p` is valid for reading 2 bf16; no alignment is needed.
    unsafe fn splat_pair(self, p: *const bf16) -> Self::Pairs;
    /// `fma(a.even, b.even, fma(a.odd, b.odd, c))`: the odd element first, as `vdpbf16ps` does it.
    fn dot_pairs(self, a: Self::Pairs, b: Self::Pairs, c: Self::F) -> Self::F;
    /// Reads 16 integers.
    ///
    /// # Safety
    /// `p` is valid for reading 16 integers; no alignment is needed.
    unsafe fn load_ints(self, p: *const i32) -> Self::Ints;
    /// The integers, each rounded to nearest even.
    fn ints_to_floats(self, x: Self::Ints) -> Self::F;
    /// Reads 16 quads of weights: lane `i` holds elements `4i` to `4i + 3`, signed.
    ///
    /// # Safety
    /// `p` is valid for reading 64 elements; no alignment is needed.
    unsafe fn load_quads(self, p: *const Int8) -> Self::Quads;
    /// Four activations in every lane, unsigned.
    ///
    /// # Safety
    /// `p` is valid for reading 4 elements; no alignment is needed.
    unsafe fn splat_quad(self, p: *const Int8) -> Self::QuadRow;
    /// `c + Σ a[j] b[j]` over the four elements of each lane, exactly (modulo 2^32).
    fn dot_quads(self, a: Self::QuadRow, b: Self::Quads, c: Self::Ints) -> Self::Ints;
    /// Writes 16 quads of weights.
    ///
    /// # Safety
    /// `p` is valid for writing 64 elements; no alignment is needed.
    unsafe fn store_quads(self, p: *mut Int8, x: Self::Quads);
    /// Reads 16 bytes: in each the scale `s` of a group (its low 4 bits) and the zero `z` (its high
    /// 4 bits).
    ///
    /// # Safety
    /// `p` is valid for reading 16 bytes; no alignment is needed.
    unsafe fn load_group_scales(self, p: *const Int4) -> Self::GroupScales;
    /// Reads 64 bytes of two 4-bit weights each: 16 quads from the low halves and 16 from the high
    /// ones. A weight is `s q − s z` modulo 2^8.
    ///
    /// # Safety
    /// `p` is valid for reading 64 bytes; no alignment is needed.
    unsafe fn load_nibbles(self, p: *const Int4, scales: Self::GroupScales) -> (Self::Quads, Self::Quads);
    /// Whether one row multiplies a group of 4-bit weights as they are stored, and its sums are
    /// scaled instead: [`Simd::add_group`].
    const SCALES_SUMS: bool = false;
    /// `sums + Σ a[i] (s q[i] − s z)` over a group, 32 inputs of two times 16 columns:
    /// [`Simd::dot_quads`] with the weights that [`Simd::load_nibbles`] makes, exactly (modulo
    /// 2^32), where each of them is an 8-bit number. Scales and zeros are as
    /// [`Simd::load_group_scales`] has them, 32 bytes; weights `[4][32 columns][4]`, input `8 i +
    /// j` low and `8 i + 4 + j` high. Only where [`Simd::SCALES_SUMS`].
    ///
    /// # Safety
    /// `a` is valid for reading 32 elements, `scales` for 32 bytes, `weights` for 512 bytes; no
    /// alignment is needed.
    #[inline(always)]
    unsafe fn add_group(
        self,
        a: *const Int8,
        (scales, weights): (*const Int4, *const Int4),
        sums: [Self::Ints; 2],
    ) -> [Self::Ints; 2] {
        let _ = (a, scales, weights, sums);
        unreachable!("only where `SCALES_SUMS`");
    }
    /// Reads the exponents of 15 codes.
    ///
    /// # Safety
    /// `p` is valid for reading 16 bytes.
    unsafe fn load_code_table(self, p: *const u8) -> Self::CodeTable;
    /// Decodes 64 bf16. Word `i` of `rest` holds of element `i` the sign and the mantissa where
    /// bf16 has them, and of element `32 + i` the same with its bytes swapped; word `i` of `codes`
    /// their codes, in its bits 0–3 and 4–7 or, if `SECOND`, 8–11 and 12–15.
    ///
    /// # Safety
    /// `rest` and `codes` are valid for reading 64 bytes.
    unsafe fn decode_words<const SECOND: bool>(
        self,
        rest: *const u8,
        codes: *const u8,
        table: Self::CodeTable,
    ) -> Self::Words;
    /// Gives an exponent to the element at `position`, which has none yet. Rare, so that it may go
    /// through memory.
    #[inline(always)]
    fn with_exponent(self, words: Self::Words, position: usize, exponent: u8) -> Self::Words {
        let mut elements = [bf16::ZERO; 64];
        // SAFETY: 64 elements, written and read.
        unsafe {
            self.store_words(elements.as_mut_ptr(), words);
            let element = &mut elements[position % 64];
            *element = bf16::from_bits(element.to_bits() | u16::from(exponent) << 7);
            self.load_words([elements.as_ptr(), elements.as_ptr().add(2 * LANES)])
        }
    }
    /// Reads two vectors of 32 bf16.
    ///
    /// # Safety
    /// Each of `p` is valid for reading 32 bf16; no alignment is needed.
    unsafe fn load_words(self, p: [*const bf16; 2]) -> Self::Words;
    /// The two vectors as pairs.
    fn pairs_of_words(self, words: Self::Words) -> [Self::Pairs; 2];
    /// Writes 64 bf16.
    ///
    /// # Safety
    /// `p` is valid for writing 64 bf16; no alignment is needed.
    unsafe fn store_words(self, p: *mut bf16, words: Self::Words);
    /// What a step of 32 columns of bf16 takes when several tiles of rows are to read it, as a
    /// multiple of its 128 bytes: 1 where an instruction multiplies it as it is stored, 2 where it
    /// is widened first, once for all tiles.
    const KEPT_PAIRS: usize = 1;
    /// The same for 8-bit operands.
    const KEPT_QUADS: usize = 1;
    /// Whether registers hold a tile's sums and its rows, but not two columns beside: they are then
    /// loaded one at a time.
    const COLUMNS_ONE_BY_ONE: bool = false;
    /// Whether rows of bf16 are widened, too, once for a tile, before they meet columns that are
    /// kept or, in some tiles, a panel's.
    const WIDENS_ROWS: bool = false;
    /// Writes the pairs of 32 columns for [`Simd::add_kept_pairs`].
    ///
    /// # Safety
    /// `p` is valid for writing `64 * KEPT_PAIRS` elements.
    #[inline(always)]
    unsafe fn keep_pairs(self, p: *mut bf16, words: Self::Words) {
        // SAFETY: the caller vouches for 64 elements.
        unsafe { self.store_words(p, words) };
    }
    /// Reads what [`Simd::keep_pairs`] wrote, as the pairs of 32 columns.
    ///
    /// # Safety
    /// `p` is valid for reading `64 * KEPT_PAIRS` elements.
    #[inline(always)]
    unsafe fn load_kept_pairs(self, p: *const bf16) -> [Self::Pairs; 2] {
        // SAFETY: the caller vouches for 64 elements, which are kept as they were.
        unsafe { [self.load_pairs(p), self.load_pairs(p.add(2 * LANES))] }
    }
    /// Writes the quads of 32 columns for [`Simd::add_kept_quads`].
    ///
    /// # Safety
    /// `p` is valid for writing `128 * KEPT_QUADS` elements.
    #[inline(always)]
    unsafe fn keep_quads(self, p: *mut Int8, columns: [Self::Quads; 2]) {
        // SAFETY: the caller vouches for 128 elements.
        unsafe {
            self.store_quads(p, columns[0]);
            self.store_quads(p.add(4 * LANES), columns[1]);
        }
    }
    /// `sums[r][v] += a[r] b[v]`: one step of the product of MR rows, `stride` apart, and 32
    /// columns.
    ///
    /// # Safety
    /// Each row is valid for reading 1 element, `b` for 32.
    #[inline(always)]
    unsafe fn add_floats<const MR: usize>(
        self,
        (a, stride): (*const f32, usize),
        b: *const f32,
        sums: &mut [[Self::F; 2]; MR],
    ) {
        // SAFETY: the caller's promises are those asked.
        unsafe {
            let columns = [self.load(b), self.load(b.add(LANES))];
            for (r, sums) in sums.iter_mut().enumerate() {
                let row = self.splat(a.add(r * stride).read());
                *sums = [self.fma(row, columns[0], sums[0]), self.fma(row, columns[1], sums[1])];
            }
        }
    }
    /// The same for pairs, of columns that [`Simd::keep_pairs`] wrote: [`Simd::dot_pairs`].
    ///
    /// # Safety
    /// Each row is valid for reading 2 elements, `b` for what was written.
    #[inline(always)]
    unsafe fn add_kept_pairs<const MR: usize>(
        self,
        (a, stride): (*const bf16, usize),
        b: *const bf16,
        sums: &mut [[Self::F; 2]; MR],
    ) {
        // SAFETY: the caller's promises are those asked.
        unsafe {
            let columns = self.load_kept_pairs(b);
            for (r, sums) in sums.iter_mut().enumerate() {
                let row = self.splat_pair(a.add(r * stride));
                *sums = [self.dot_pairs(row, columns[0], sums[0]), self.dot_pairs(row, columns[1], sums[1])];
            }
        }
    }
    /// Writes pairs as floats: 16 odd elements, 16 even ones, and so on.
    ///
    /// # Safety
    /// `from` is valid for reading `2 * pairs` elements, `to` for writing as many, rounded up to a
    /// multiple of 32.
    #[inline(always)]
    unsafe fn widen_pairs(self, from: *const bf16, pairs: usize, to: *mut f32) {
        for pair in 0..pairs {
            // SAFETY: two of the elements that the caller vouches for, and their places.
            unsafe {
                let to = to.add(pair / LANES * 2 * LANES + pair % LANES);
                to.write(from.add(2 * pair + 1).read().to_f32());
                to.add(LANES).write(from.add(2 * pair).read().to_f32());
            }
        }
    }
    /// [`Simd::splat_pair`] from a row that [`Simd::widen_pairs`] wrote, where
    /// [`Simd::WIDENS_ROWS`]: `p` is the odd element of the pair.
    ///
    /// # Safety
    /// `p` is valid for reading floats 0 and 16.
    #[inline(always)]
    unsafe fn splat_wide_pair(self, p: *const f32) -> Self::Pairs {
        let _ = p;
        unreachable!("only where `WIDENS_ROWS`");
    }
    /// [`Simd::add_kept_pairs`] for rows that [`Simd::widen_pairs`] wrote: `a` is the odd element
    /// of the first.
    ///
    /// # Safety
    /// Each row is valid for reading floats 0 and 16, `b` for what was written.
    #[inline(always)]
    unsafe fn add_wide_pairs<const MR: usize>(
        self,
        (a, stride): (*const f32, usize),
        b: *const bf16,
        sums: &mut [[Self::F; 2]; MR],
    ) {
        // SAFETY: the caller's promises are those asked.
        unsafe {
            self.add_floats((a, stride), b.cast(), sums);
            self.add_floats((a.add(LANES), stride), b.cast::<f32>().add(2 * LANES), sums);
        }
    }
    /// The same for quads, of columns that [`Simd::keep_quads`] wrote: [`Simd::dot_quads`].
    ///
    /// # Safety
    /// Each row is valid for reading 4 elements, `b` for what was written.
    #[inline(always)]
    unsafe fn add_kept_quads<const MR: usize>(
        self,
        (a, stride): (*const Int8, usize),
        b: *const Int8,
        sums: &mut [[Self::Ints; 2]; MR],
    ) {
        // SAFETY: the caller's promises are those asked.
        unsafe {
            let columns = [self.load_quads(b), self.load_quads(b.add(4 * LANES))];
            for (r, sums) in sums.iter_mut().enumerate() {
                let row = self.splat_quad(a.add(r * stride));
                *sums = [self.dot_quads(row, columns[0], sums[0]), self.dot_quads(row, columns[1], sums[1])];
            }
        }
    }
    /// Writes `nearest_int(x) + 128` as 16 elements, for `x` between -128 and 127; what a NaN
    /// becomes is not said.
    ///
    /// # Safety
    /// `p` is valid for writing 16 elements.
    #[inline(always)]
    unsafe fn store_offset_int8(self, p: *mut Int8, x: Self::F) {
        for (i, x) in self.to_array(x).into_iter().enumerate() {
            // SAFETY: the caller vouches for 16 elements.
            unsafe { p.add(i).write(Int8((nearest_int(x) + 128) as u8)) };
        }
    }
    /// Writes 16 rows of 16 words of 4 bytes as columns: word `j` of row `i`, at `rows + i *
    /// row_stride + 4 * j`, goes to `p + j * stride + 4 * i`.
    ///
    /// # Safety
    /// For each `i < 16`, `rows + i * row_stride` is valid for reading 64 bytes and `p + i *
    /// stride` for writing 64; no alignment is needed, and they do not overlap.
    #[inline(always)]
    unsafe fn store_transposed(self, rows: *const u8, row_stride: usize, p: *mut u8, stride: usize) {
        for i in 0..LANES {
            for j in 0..LANES {
                // SAFETY: four of the 64 bytes that the caller vouches for in each row.
                unsafe {
                    let word = rows.add(i * row_stride + 4 * j).cast::<[u8; 4]>().read();
                    p.add(j * stride + 4 * i).cast::<[u8; 4]>().write(word);
                }
            }
        }
    }
    /// Calls `tile.run::<ROWS>(self, row)` for `rows` in `1..=TILE_ROWS`: each implementation lists
    /// its sizes, so that no path compiles tiles that its registers cannot hold.
    ///
    /// # Panics
    /// For other numbers of rows.
    fn run_tile<T: RowTile<Self>>(self, rows: usize, row: usize, tile: &mut T);
    /// Calls `tile.run::<UNPACK_ROWS>(self, 0)`.
    fn run_unpacking_tile<T: RowTile<Self>>(self, tile: &mut T);

    /// Hints that the cache line at `p` will be read soon. Any address is allowed.
    #[inline(always)]
    fn prefetch(self, p: *const u8) {
        let _ = p;
    }

    /// The sum of the lanes by the one merge tree: halves folded 8, 4, 2, 1.
    #[inline(always)]
    fn sum_lanes(self, x: Self::F) -> f32 {
        let mut lanes = self.to_array(x);
        let mut width = LANES / 2;
        while width > 0 {
            for i in 0..width {
                lanes[i] += lanes[i + width];
            }
            width /= 2;
        }
        lanes[0]
    }

    /// The greatest lane, by the same tree and the rule of [`Simd::max`].
    #[inline(always)]
    fn max_lanes(self, x: Self::F) -> f32 {
        let mut lanes = self.to_array(x);
        let mut width = LANES / 2;
        while width > 0 {
            for i in 0..width {
                lanes[i] = if lanes[i] > lanes[i + width] { lanes[i] } else { lanes[i + width] };
            }
            width /= 2;
        }
        lanes[0]
    }

    /// The lanes as an array.
    #[inline(always)]
    fn to_array(self, x: Self::F) -> [f32; LANES] {
        let mut lanes = [0.0; LANES];
        // SAFETY: `lanes` is 16 floats.
        unsafe { self.store(lanes.as_mut_ptr(), x) };
        lanes
    }

    /// The lanes of an array.
    #[inline(always)]
    fn lanes_of(self, lanes: [f32; LANES]) -> Self::F {
        // SAFETY: `lanes` is 16 floats.
        unsafe { self.load(lanes.as_ptr()) }
    }
}

/// A piece of work that can be compiled for every instruction set.
pub trait SimdOp {
    /// What it returns.
    type Output;
    /// The work. Implement it `#[inline(always)]`, and so everything it calls on the hot path.
    fn eval<S: Simd>(self, simd: S) -> Self::Output;
}

/// The instruction set in use: a proof that the CPU has it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Isa {
    level: Level,
    /// See [`Isa::fetch_ahead`].
    ahead: usize,
    /// See [`Isa::coded_sequences`].
    coded_sequences: usize,
    /// See [`Isa::matrix`].
    matrix: Option<Matrix>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
#[allow(dead_code)] // which levels can be made depends on the target
enum Level {
    Portable,
    Avx2,
    Avx512,
    Avx512Bf16,
    Neon,
}

impl core::fmt::Debug for Isa {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(self.name())
    }
}

/// Whether this CPU is a Zen 4, which computes 512 bits in two cycles and is slowed by fetches into
/// L2.
pub fn is_zen4() -> bool {
    #[cfg(all(target_arch = "x86_64", target_feature = "sse2"))]
    return x86_detect::features().zen4;
    #[cfg(not(all(target_arch = "x86_64", target_feature = "sse2")))]
    false
}

/// Bytes that are fetched ahead: more than are on their way to a core at full bandwidth (bandwidth
/// times latency, some 6 KiB).
const FETCHED_AHEAD: usize = 8192;

impl Isa {
    /// Scalar code in sixteen virtual lanes, which runs everywhere; with a soft fused multiply-add
    /// unless the target is compiled for one.
    pub const PORTABLE: Isa = Isa::at(Level::Portable);

    const fn at(level: Level) -> Isa {
        let coded_sequences = match level {
            // AVX2 looks up bytes, not words: one sequence is 1.38 times as fast on Zen 3 but 0.77
            // on Zen 1, eight are 0.73.
            Level::Portable | Level::Avx2 | Level::Neon => 0,
            // Eight and sixteen sequences are 0.86 and 0.90 times as fast on Zen 4, 0.95 and 0.96
            // on a Xeon; four are no slower on either.
            Level::Avx512 | Level::Avx512Bf16 => 4,
        };
        Isa { level, ahead: FETCHED_AHEAD, coded_sequences, matrix: None }
    }

    /// The fastest path that this CPU and its operating system allow.
    pub fn detect() -> Isa {
        *Self::available().last()
    }

    /// The paths that this CPU allows, slowest first.
    pub fn available() -> Available {
        #[cfg(test)]
        tests::allow_matrix_unit();
        #[allow(unused_mut)] // nothing is added where the target has the portable path alone
        let mut list = Available { isas: [Isa::PORTABLE; 5], count: 1 };
        #[cfg(all(target_arch = "x86_64", target_feature = "sse2"))]
        {
            let cpu = x86_detect::features();
            // AVX-512 fetches into L2 (AVX2 into L1), which on Zen 4 is slower than leaving it to
            // the hardware, by a quarter and more.
            let ahead = if cpu.zen4 { 0 } else { FETCHED_AHEAD };
            if cpu.avx2_fma {
                list.push(Isa::at(Level::Avx2));
            }
            if cpu.avx2_fma && cpu.avx512 {
                let [fma, dot] = [Level::Avx512, Level::Avx512Bf16].map(|level| {
                    let isa = Isa { ahead, ..Isa::at(level) };
                    if cpu.zen5 { Isa { coded_sequences: usize::MAX, ..isa } } else { isa }
                });
                let has_dot = cpu.avx512_bf16 && avx512::bf16_dot_is_two_fmas();
                // On Intel's the dot product had half the throughput of two FMAs (a Xeon with AMX).
                match (has_dot, cpu.intel) {
                    (true, true) => [dot, fma].into_iter().for_each(|isa| list.push(isa)),
                    (true, false) => [fma, dot].into_iter().for_each(|isa| list.push(isa)),
                    (false, _) => list.push(fma),
                }
                if let Some(matrix) = Matrix::new(cpu.amx_int8) {
                    list.push(Isa { matrix: Some(matrix), ..*list.last() });
                }
            }
        }
        #[cfg(all(target_arch = "aarch64", target_feature = "neon"))]
        list.push(Isa::at(Level::Neon));
        list
    }

    /// Says that the CPU's matrix unit may be used, if it has one: [`Isa::available`] lists its
    /// path from then on.
    ///
    /// # Safety
    /// The operating system gives the unit's state to every thread that will run a kernel. On Linux
    /// a process asks for that by `arch_prctl(ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA)`; on bare
    /// metal it is a matter of XCR0 and XFD. Without it the first product is an invalid
    /// instruction.
    pub unsafe fn allow_matrix_unit() {
        #[cfg(all(target_arch = "x86_64", target_feature = "sse2"))]
        amx::allow();
    }

    /// The path of that name, where this CPU has it: `portable`, `avx2`, `avx512` (the best of
    /// those that begin so), `avx512-fma` (without a bf16 dot product), `avx512-bf16` (with),
    /// `avx512-amx` (with the matrix unit, and the better of those two), `neon`, `auto`.
    pub fn from_name(name: &str) -> Option<Isa> {
        if name == "auto" {
            return Some(Self::detect());
        }
        Self::available().iter().rev().copied().find(|isa| isa.name() == name || isa.family() == name)
    }

    /// The name of the path.
    pub fn name(self) -> &'static str {
        match self.level {
            _ if self.matrix.is_some() => "avx512-amx",
            Level::Portable => "portable",
            Level::Avx2 => "avx2",
            Level::Avx512 => "avx512-fma",
            Level::Avx512Bf16 => "avx512-bf16",
            Level::Neon => "neon",
        }
    }

    fn family(self) -> &'static str {
        match self.level {
            Level::Avx512 | Level::Avx512Bf16 => "avx512",
            _ => self.name(),
        }
    }

    /// Sequences at once up to which bf16 weights in 12 bits are known to pay: one decodes faster,
    /// and so many no more than 3% slower; prompts, in any case, up to 4% slower (`verbatim-bench
    /// bars`). `usize::MAX` where any number does, 0 where none is known to. Rows of guesses, which
    /// are verified where they pay, are not counted. Speed alone depends on it.
    pub fn coded_sequences(self) -> usize {
        self.coded_sequences
    }

    /// Bytes from what a kernel reads to what it fetches meanwhile; 0, lines that it has just read
    /// or is about to, leaves fetching to the hardware. Speed alone depends on it.
    pub(crate) fn fetch_ahead(self) -> usize {
        self.ahead
    }

    /// The unit that multiplies whole tiles of bytes, where the path has one. The rest of the path
    /// is that of its vectors, whose sums are 16 `i32`.
    pub(crate) fn matrix(self) -> Option<Matrix> {
        self.matrix
    }

    /// Runs `op` compiled for this instruction set.
    #[inline]
    pub fn run<O: SimdOp>(self, op: O) -> O::Output {
        match self.level {
            #[cfg(all(target_arch = "x86_64", target_feature = "sse2"))]
            // SAFETY: this level is only made after `features` saw the instructions.
            Level::Avx2 => unsafe { avx2::enter(op) },
            #[cfg(all(target_arch = "x86_64", target_feature = "sse2"))]
            // SAFETY: as above.
            Level::Avx512 => unsafe { avx512::enter_fma(op) },
            #[cfg(all(target_arch = "x86_64", target_feature = "sse2"))]
            // SAFETY: as above.
            Level::Avx512Bf16 => unsafe { avx512::enter_bf16(op) },
            #[cfg(all(target_arch = "aarch64", target_feature = "neon"))]
            Level::Neon => neon::enter(op),
            _ => op.eval(Portable),
        }
    }
}

/// The paths of one CPU, slowest first: at least the portable one.
#[derive(Clone, Copy, Debug)]
pub struct Available {
    isas: [Isa; 5],
    count: usize,
}

impl Available {
    #[allow(dead_code)] // unused where the target has the portable path alone
    fn push(&mut self, isa: Isa) {
        self.isas[self.count] = isa;
        self.count += 1;
    }

    /// The fastest.
    pub fn last(&self) -> &Isa {
        &self.isas[self.count - 1]
    }
}

impl core::ops::Deref for Available {
    type Target = [Isa];
    fn deref(&self) -> &[Isa] {
        &self.isas[..self.count]
    }
}

#[cfg(test)]
mod tests;
