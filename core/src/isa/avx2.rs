//! AVX2 and FMA: sixteen lanes as two registers of eight.
use super::bf16_12::DecodeBf16x12;
use super::dequantized::Dequantized;
use super::dot::Dot;
use super::grouped::{GroupBits, UnpackGroup};
use super::instruction_set::SimdOp;
use super::simd::{LANES, Simd, tile_sizes};
use super::tuning::Strategy;
use crate::dtype::{Bf16x12, Int8};
use core::arch::x86_64::*;
use half::bf16;

/// Proof that the CPU has AVX2 and FMA.
#[derive(Clone, Copy)]
pub struct Avx2(());

/// Runs `op` compiled for AVX2 and FMA.
///
/// # Safety
/// The CPU has AVX2 and FMA and the operating system saves YMM state.
#[target_feature(enable = "avx2,fma")]
pub(super) unsafe fn enter<O: SimdOp>(op: O) -> O::Output {
    op.eval(Avx2(()))
}

/// The vector of each row `0..MR`, in an unsafe block. `core::array::from_fn` would call its
/// closure, compiled for no instruction set.
macro_rules! each_row {
    ($r:ident => $e:expr) => {{
        // Zeros are a vector.
        let mut rows = [core::mem::zeroed(); MR];
        for ($r, row) in rows.iter_mut().enumerate() {
            *row = $e;
        }
        rows
    }};
}

/// One expression for each register. A macro, since a closure might not be inlined into code that
/// is compiled for the instruction set.
macro_rules! both {
    ($i:ident => $e:expr) => {
        [
            {
                #[allow(dead_code, non_upper_case_globals)]
                const $i: usize = 0;
                $e
            },
            {
                #[allow(dead_code, non_upper_case_globals)]
                const $i: usize = 1;
                $e
            },
        ]
    };
}

/// The even elements of 16 pairs, and the odd ones.
#[inline(always)]
fn widened(raw: [__m256i; 2]) -> ([__m256; 2], [__m256; 2]) {
    // SAFETY: only `Avx2` calls this, whose value proves the instructions.
    unsafe {
        let even = both!(i => _mm256_castsi256_ps(_mm256_slli_epi32::<16>(raw[i])));
        let upper = _mm256_set1_epi32(0xffff_0000_u32 as i32);
        (even, both!(i => _mm256_castsi256_ps(_mm256_and_si256(raw[i], upper))))
    }
}

/// Four bytes in every lane, read from memory by `vpbroadcastd`, which takes no port that products
/// or shifts need. The empty assembly keeps the compiler from reading once what is needed twice,
/// which would take a register from the sums, and from parting the bytes in an integer register
/// before it broadcasts them. It treats reads with different `TIME` as different values.
///
/// # Safety
/// `p` is valid for reading 4 bytes; the CPU has AVX2.
#[inline]
#[target_feature(enable = "avx2")]
#[allow(clippy::pointers_in_nomem_asm_block)] // it passes through and is not followed
unsafe fn spread<T, const TIME: usize>(mut p: *const T) -> __m256i {
    // SAFETY: the caller vouches for the bytes; the assembly has no instructions.
    unsafe {
        core::arch::asm!("/* {0} {1} */", inout(reg) p, const TIME, options(pure, nomem, nostack, preserves_flags));
        let mut all = _mm256_set1_epi32(p.cast::<i32>().read_unaligned());
        core::arch::asm!("/* {0} */", inout(ymm_reg) all, options(pure, nomem, nostack, preserves_flags));
        all
    }
}

/// Makes the compiler read what was written before from memory again, instead of keeping it in
/// registers that the sums need.
#[inline(always)]
fn written() {
    // SAFETY: there is no instruction.
    unsafe { core::arch::asm!("", options(nostack, preserves_flags)) };
}

/// The sum of 8 lanes by the merge tree: 4, 2, 1.
///
/// # Safety
/// The CPU has AVX.
#[inline(always)]
pub(super) unsafe fn sum_of_8(x: __m256) -> f32 {
    // SAFETY: the caller vouches for AVX.
    unsafe {
        let four = _mm_add_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps::<1>(x));
        let two = _mm_add_ps(four, _mm_movehl_ps(four, four));
        _mm_cvtss_f32(_mm_add_ss(two, _mm_shuffle_ps::<1>(two, two)))
    }
}

/// The maximum of 8 lanes by the tree of [`sum_of_8`]; of two with a NaN the second.
///
/// # Safety
/// The CPU has AVX.
#[inline(always)]
pub(super) unsafe fn max_of_8(x: __m256) -> f32 {
    // SAFETY: the caller vouches for AVX.
    unsafe {
        let four = _mm_max_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps::<1>(x));
        let two = _mm_max_ps(four, _mm_movehl_ps(four, four));
        _mm_cvtss_f32(_mm_max_ss(two, _mm_shuffle_ps::<1>(two, two)))
    }
}

/// A row's elements 0 and 2 as 16 bits, and its elements 1 and 3.
#[inline(always)]
fn parted_quad(quad: __m256i) -> (__m256i, __m256i) {
    // SAFETY: only `Avx2` calls this, whose value proves the instructions.
    unsafe { (_mm256_and_si256(quad, _mm256_set1_epi16(0xff)), _mm256_srli_epi16::<8>(quad)) }
}

/// Elements 0 and 2 of 8 quads as 16 bits, and elements 1 and 3.
#[inline(always)]
fn widened_quads(raw: __m256i) -> (__m256i, __m256i) {
    // SAFETY: as above.
    unsafe { (_mm256_srai_epi16::<8>(_mm256_slli_epi16::<8>(raw)), _mm256_srai_epi16::<8>(raw)) }
}

/// `sums[r] += rows[r] b` for 32 columns.
///
/// # Safety
/// `b` is valid for reading 32 floats.
#[inline(always)]
unsafe fn add_columns<const MR: usize>(rows: [__m256; MR], b: *const f32, sums: &mut [[[__m256; 2]; 2]; MR]) {
    for i in 0..4 {
        // SAFETY: 8 of the 32 floats; only `Avx2` calls this.
        unsafe {
            let columns = _mm256_loadu_ps(b.add(8 * i));
            for r in 0..MR {
                let sum = &mut sums[r][i / 2][i % 2];
                *sum = _mm256_fmadd_ps(rows[r], columns, *sum);
            }
        }
    }
}

/// `sums[r] += rows[r] b` for 32 columns of pairs of 16 bits.
///
/// # Safety
/// `b` is valid for reading 128 bytes.
#[inline(always)]
unsafe fn add_int_columns<const MR: usize>(
    rows: [__m256i; MR],
    b: *const Int8,
    sums: &mut [[[__m256i; 2]; 2]; MR],
) {
    for i in 0..4 {
        // SAFETY: 32 of the 128 bytes; only `Avx2` calls this.
        unsafe {
            let columns = _mm256_loadu_si256(b.add(32 * i).cast());
            for r in 0..MR {
                let sum = &mut sums[r][i / 2][i % 2];
                *sum = _mm256_add_epi32(*sum, _mm256_madd_epi16(rows[r], columns));
            }
        }
    }
}

/// A register of columns is read when all rows are at hand: 12 sums, 3 rows and 1 register of
/// columns are the 16 that there are. Widened bf16 and bytes take twice their room.
const STRATEGY: Strategy =
    Strategy { columns_one_by_one: true, pairs_factor: 2, quads_factor: 2, ..Strategy::AS_STORED };

// SAFETY: `Avx2` is only made in `enter`, whose caller vouches for the instructions. Each operation
// is the IEEE one of its name; min and max return the second operand on NaN, as the trait asks.
unsafe impl Simd for Avx2 {
    // 3 rows x 4 registers of columns = 12 accumulators of the 16 registers.
    tile_sizes!(Avx2, #[target_feature(enable = "avx2,fma")] 1 2 | 3; dequantizing 3; STRATEGY);
    type F = [__m256; 2];
    #[inline(always)]
    fn splat(self, x: f32) -> Self::F {
        // SAFETY: self proves AVX2.
        both!(_i => unsafe { _mm256_set1_ps(x) })
    }
    #[inline(always)]
    unsafe fn load(self, p: *const f32) -> Self::F {
        // SAFETY: the caller vouches for 16 floats.
        both!(i => unsafe { _mm256_loadu_ps(p.add(8 * i)) })
    }
    #[inline(always)]
    unsafe fn store(self, p: *mut f32, x: Self::F) {
        // SAFETY: the caller vouches for 16 floats.
        unsafe {
            _mm256_storeu_ps(p, x[0]);
            _mm256_storeu_ps(p.add(8), x[1]);
        }
    }
    #[inline(always)]
    fn add(self, a: Self::F, b: Self::F) -> Self::F {
        // SAFETY: self proves AVX2.
        both!(i => unsafe { _mm256_add_ps(a[i], b[i]) })
    }
    #[inline(always)]
    fn sub(self, a: Self::F, b: Self::F) -> Self::F {
        // SAFETY: self proves AVX2.
        both!(i => unsafe { _mm256_sub_ps(a[i], b[i]) })
    }
    #[inline(always)]
    fn mul(self, a: Self::F, b: Self::F) -> Self::F {
        // SAFETY: self proves AVX2.
        both!(i => unsafe { _mm256_mul_ps(a[i], b[i]) })
    }
    #[inline(always)]
    fn div(self, a: Self::F, b: Self::F) -> Self::F {
        // SAFETY: self proves AVX2.
        both!(i => unsafe { _mm256_div_ps(a[i], b[i]) })
    }
    #[inline(always)]
    fn fma(self, a: Self::F, b: Self::F, c: Self::F) -> Self::F {
        // SAFETY: self proves FMA.
        both!(i => unsafe { _mm256_fmadd_ps(a[i], b[i], c[i]) })
    }
    #[inline(always)]
    fn max(self, a: Self::F, b: Self::F) -> Self::F {
        // SAFETY: self proves AVX2.
        both!(i => unsafe { _mm256_max_ps(a[i], b[i]) })
    }
    #[inline(always)]
    fn min(self, a: Self::F, b: Self::F) -> Self::F {
        // SAFETY: self proves AVX2.
        both!(i => unsafe { _mm256_min_ps(a[i], b[i]) })
    }
    #[inline(always)]
    fn select_lt(self, a: Self::F, b: Self::F, x: Self::F, y: Self::F) -> Self::F {
        // SAFETY: self proves AVX2.
        both!(i => unsafe { _mm256_blendv_ps(y[i], x[i], _mm256_cmp_ps::<_CMP_LT_OQ>(a[i], b[i])) })
    }
    #[inline(always)]
    fn abs(self, a: Self::F) -> Self::F {
        // SAFETY: self proves AVX2.
        both!(i => unsafe { _mm256_andnot_ps(_mm256_set1_ps(-0.0), a[i]) })
    }
    #[inline(always)]
    fn sum_lanes(self, x: Self::F) -> f32 {
        // SAFETY: self proves AVX2.
        unsafe { sum_of_8(_mm256_add_ps(x[0], x[1])) }
    }
    #[inline(always)]
    fn max_lanes(self, x: Self::F) -> f32 {
        // SAFETY: self proves AVX2.
        unsafe { max_of_8(_mm256_max_ps(x[0], x[1])) }
    }
    #[inline(always)]
    unsafe fn store_offset_int8(self, p: *mut Int8, x: Self::F) {
        // SAFETY: self proves AVX2; the caller vouches for 16 elements. The conversion rounds to
        // nearest even. Packing works within 128-bit halves; the permute puts the quarters back in
        // order.
        unsafe {
            let offset = both!(i => _mm256_add_epi32(_mm256_cvtps_epi32(x[i]), _mm256_set1_epi32(128)));
            let words = _mm256_packs_epi32(offset[0], offset[1]);
            let bytes = _mm256_packus_epi16(words, words);
            let order = _mm256_setr_epi32(0, 4, 1, 5, 0, 4, 1, 5);
            let bytes = _mm256_permutevar8x32_epi32(bytes, order);
            _mm_storeu_si128(p.cast(), _mm256_castsi256_si128(bytes));
        }
    }
    #[inline(always)]
    fn scale_by_power_of_two(self, p: Self::F, n: Self::F) -> Self::F {
        // SAFETY: self proves AVX2.
        both!(i => unsafe {
            let exponent = _mm256_add_epi32(_mm256_cvtps_epi32(n[i]), _mm256_set1_epi32(127));
            _mm256_mul_ps(p[i], _mm256_castsi256_ps(_mm256_slli_epi32::<23>(exponent)))
        })
    }
    #[inline(always)]
    fn split_exponent(self, x: Self::F) -> (Self::F, Self::F) {
        // SAFETY: self proves AVX2.
        let m = both!(i => unsafe {
            let fraction = _mm256_and_si256(_mm256_castps_si256(x[i]), _mm256_set1_epi32(0x007f_ffff));
            _mm256_castsi256_ps(_mm256_or_si256(fraction, _mm256_set1_epi32(0x3f80_0000)))
        });
        // SAFETY: self proves AVX2.
        let e = both!(i => unsafe {
            let biased = _mm256_srli_epi32::<23>(_mm256_castps_si256(x[i]));
            _mm256_cvtepi32_ps(_mm256_sub_epi32(biased, _mm256_set1_epi32(127)))
        });
        (m, e)
    }
    #[inline(always)]
    unsafe fn load_bf16(self, p: *const bf16) -> Self::F {
        // SAFETY: the caller vouches for 16 bf16.
        both!(i => unsafe {
            let narrow = _mm_loadu_si128(p.add(8 * i).cast());
            _mm256_castsi256_ps(_mm256_slli_epi32::<16>(_mm256_cvtepu16_epi32(narrow)))
        })
    }
    #[inline(always)]
    unsafe fn store_bf16(self, p: *mut bf16, x: Self::F) {
        macro_rules! rounded {
            ($v:expr) => {{
                let v = $v;
                let small = _mm256_cmp_ps::<_CMP_LT_OQ>(
                    _mm256_andnot_ps(_mm256_set1_ps(-0.0), v),
                    _mm256_set1_ps(crate::dtype::FLUSH_BELOW),
                );
                let bits = _mm256_castps_si256(_mm256_andnot_ps(small, v));
                let odd = _mm256_and_si256(_mm256_srli_epi32::<16>(bits), _mm256_set1_epi32(1));
                let half_ulp = _mm256_add_epi32(odd, _mm256_set1_epi32(0x7fff));
                let nearest = _mm256_srli_epi32::<16>(_mm256_add_epi32(bits, half_ulp));
                let quiet = _mm256_or_si256(_mm256_srli_epi32::<16>(bits), _mm256_set1_epi32(0x40));
                let nan = _mm256_castps_si256(_mm256_cmp_ps::<_CMP_UNORD_Q>(v, v));
                _mm256_blendv_epi8(nearest, quiet, nan)
            }};
        }
        // SAFETY: the caller vouches for 16 bf16. `packus` works within 128-bit halves; the permute
        // puts the quarters back in order.
        unsafe {
            let packed = _mm256_packus_epi32(rounded!(x[0]), rounded!(x[1]));
            _mm256_storeu_si256(p.cast(), _mm256_permute4x64_epi64::<0b11_01_10_00>(packed));
        }
    }
    #[inline(always)]
    unsafe fn store_transposed(self, rows: *const u8, row_stride: usize, p: *mut u8, stride: usize) {
        // Blocks of 8 rows and 8 words.
        for (i, j) in [(0, 0), (0, 8), (8, 0), (8, 8)] {
            // SAFETY: self proves AVX2; the caller vouches for 64 bytes at each multiple of either
            // stride, of which these are 32.
            unsafe {
                let mut r = [_mm256_setzero_si256(); 8];
                for (row, r) in r.iter_mut().enumerate() {
                    *r = _mm256_loadu_si256(rows.add((i + row) * row_stride + 4 * j).cast());
                }
                for q in [0, 2, 4, 6] {
                    let (a, b) = (r[q], r[q + 1]);
                    (r[q], r[q + 1]) = (_mm256_unpacklo_epi32(a, b), _mm256_unpackhi_epi32(a, b));
                }
                for q in [0, 4] {
                    let (a, b, c, d) = (r[q], r[q + 1], r[q + 2], r[q + 3]);
                    (r[q], r[q + 1]) = (_mm256_unpacklo_epi64(a, c), _mm256_unpackhi_epi64(a, c));
                    (r[q + 2], r[q + 3]) = (_mm256_unpacklo_epi64(b, d), _mm256_unpackhi_epi64(b, d));
                }
                for c in 0..4 {
                    let out = p.add((j + c) * stride + 4 * i);
                    _mm256_storeu_si256(out.cast(), _mm256_permute2x128_si256::<0x20>(r[c], r[4 + c]));
                    let out = out.add(4 * stride);
                    _mm256_storeu_si256(out.cast(), _mm256_permute2x128_si256::<0x31>(r[c], r[4 + c]));
                }
            }
        }
    }
    #[inline(always)]
    fn prefetch(self, p: *const u8) {
        // SAFETY: a prefetch cannot fault.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(p.cast()) }
    }
}

impl Dot for Avx2 {
    type Pairs = ([__m256; 2], [__m256; 2]);
    type Ints = [__m256i; 2];
    type Quads = [__m256i; 2];
    /// Elements 0 and 2, and elements 1 and 3, as 16 bits each.
    type QuadRow = (__m256i, __m256i);
    type Words = [[__m256i; 2]; 2];
    #[inline(always)]
    unsafe fn load_pairs(self, p: *const bf16) -> Self::Pairs {
        // SAFETY: the caller vouches for 32 bf16.
        widened(both!(i => unsafe { _mm256_loadu_si256(p.add(16 * i).cast()) }))
    }
    #[inline(always)]
    fn pairs_of_words(self, words: Self::Words) -> [Self::Pairs; 2] {
        [widened(words[0]), widened(words[1])]
    }
    #[inline(always)]
    unsafe fn splat_pair(self, p: *const bf16) -> Self::Pairs {
        // SAFETY: the caller vouches for 2 bf16, 4 bytes. From memory to all lanes at once, then
        // parted: by way of an integer register it would take the one port that moves lanes four
        // times.
        unsafe {
            let pair = _mm256_set1_epi32(p.cast::<i32>().read_unaligned());
            let (even, odd) = widened([pair, pair]);
            ([even[0], even[0]], [odd[0], odd[0]])
        }
    }
    #[inline(always)]
    unsafe fn load_ints(self, p: *const i32) -> Self::Ints {
        // SAFETY: the caller vouches for 16 integers.
        both!(i => unsafe { _mm256_loadu_si256(p.add(8 * i).cast()) })
    }
    #[inline(always)]
    fn ints_to_floats(self, x: Self::Ints) -> Self::F {
        // SAFETY: self proves AVX2.
        both!(i => unsafe { _mm256_cvtepi32_ps(x[i]) })
    }
    #[inline(always)]
    unsafe fn load_quads(self, p: *const Int8) -> Self::Quads {
        // SAFETY: the caller vouches for 64 elements.
        both!(i => unsafe { _mm256_loadu_si256(p.add(32 * i).cast()) })
    }
    #[inline(always)]
    unsafe fn splat_quad(self, p: *const Int8) -> Self::QuadRow {
        // SAFETY: the caller vouches for 4 elements, 4 bytes.
        unsafe { parted_quad(_mm256_set1_epi32(p.cast::<i32>().read_unaligned())) }
    }
    #[inline(always)]
    unsafe fn load_words(self, p: [*const bf16; 2]) -> Self::Words {
        // SAFETY: the caller vouches for 32 bf16 each.
        unsafe {
            [
                both!(i => _mm256_loadu_si256(p[0].add(16 * i).cast())),
                both!(i => _mm256_loadu_si256(p[1].add(16 * i).cast())),
            ]
        }
    }
    #[inline(always)]
    unsafe fn store_words(self, p: *mut bf16, words: Self::Words) {
        for i in 0..4 {
            // SAFETY: the caller vouches for 64 bf16.
            unsafe { _mm256_storeu_si256(p.add(16 * i).cast(), words[i / 2][i % 2]) };
        }
    }
    #[inline(always)]
    unsafe fn store_quads(self, p: *mut Int8, x: Self::Quads) {
        for i in 0..2 {
            // SAFETY: the caller vouches for 64 elements.
            unsafe { _mm256_storeu_si256(p.add(32 * i).cast(), x[i]) };
        }
    }
    /// `vpmaddubsw` would saturate: 2 · 255 · 127 does not fit 16 bits. Widened to 16 bits,
    /// `vpmaddwd` is exact.
    #[inline(always)]
    fn dot_quads(self, a: Self::QuadRow, b: Self::Quads, c: Self::Ints) -> Self::Ints {
        // SAFETY: self proves AVX2.
        both!(i => unsafe {
            let (even, odd) = widened_quads(b[i]);
            let products = _mm256_add_epi32(_mm256_madd_epi16(a.0, even), _mm256_madd_epi16(a.1, odd));
            _mm256_add_epi32(c[i], products)
        })
    }
    #[inline(always)]
    fn dot_pairs(self, a: Self::Pairs, b: Self::Pairs, c: Self::F) -> Self::F {
        self.fma(a.0, b.0, self.fma(a.1, b.1, c))
    }
}

impl Dequantized for Avx2 {
    #[inline(always)]
    unsafe fn store_dequantized_pairs(self, p: *mut bf16, words: Self::Words) {
        for (v, words) in words.into_iter().enumerate() {
            let (even, odd) = widened(words);
            for i in 0..2 {
                // SAFETY: the caller vouches for 128 bf16: 32 odd elements as f32, then 32 even
                // ones.
                unsafe {
                    let p = p.cast::<f32>().add(16 * v + 8 * i);
                    _mm256_storeu_ps(p, odd[i]);
                    _mm256_storeu_ps(p.add(32), even[i]);
                }
            }
        }
        written();
    }
    #[inline(always)]
    unsafe fn store_dequantized_quads(self, p: *mut Int8, columns: [Self::Quads; 2]) {
        for (v, columns) in columns.into_iter().enumerate() {
            for (i, quads) in columns.into_iter().enumerate() {
                // SAFETY: the caller vouches for 256 elements: elements 0 and 2 as 16 bits, then
                // elements 1 and 3.
                unsafe {
                    let p = p.add(64 * v + 32 * i);
                    let (even, odd) = widened_quads(quads);
                    _mm256_storeu_si256(p.cast(), even);
                    _mm256_storeu_si256(p.add(128).cast(), odd);
                }
            }
        }
        written();
    }
    #[inline(always)]
    unsafe fn add_floats<const MR: usize>(
        self,
        (a, stride): (*const f32, usize),
        b: *const f32,
        sums: &mut [[Self::F; 2]; MR],
    ) {
        // SAFETY: the caller vouches for an element of each row, and for 32 columns.
        unsafe {
            let rows = each_row!(r => _mm256_broadcast_ss(&*a.add(r * stride)));
            add_columns::<MR>(rows, b, sums);
        }
    }
    #[inline(always)]
    unsafe fn add_dequantized_pairs<const MR: usize>(
        self,
        (a, stride): (*const bf16, usize),
        b: *const bf16,
        sums: &mut [[Self::F; 2]; MR],
    ) {
        let b = b.cast::<f32>();
        // SAFETY: the caller vouches for a pair of each row, and for 32 odd and 32 even columns.
        unsafe {
            let rows = each_row!(r => widened([spread::<_, 0>(a.add(r * stride)); 2]).1[0]);
            add_columns::<MR>(rows, b, sums);
            let rows = each_row!(r => widened([spread::<_, 1>(a.add(r * stride)); 2]).0[0]);
            add_columns::<MR>(rows, b.add(32), sums);
        }
    }
    #[inline(always)]
    unsafe fn add_dequantized_quads<const MR: usize>(
        self,
        (a, stride): (*const Int8, usize),
        b: *const Int8,
        sums: &mut [[Self::Ints; 2]; MR],
    ) {
        // SAFETY: the caller vouches for a quad of each row, and for 32 columns of even elements
        // and of odd ones.
        unsafe {
            let rows = each_row!(r => parted_quad(spread::<_, 0>(a.add(r * stride))).0);
            add_int_columns::<MR>(rows, b, sums);
            let rows = each_row!(r => parted_quad(spread::<_, 1>(a.add(r * stride))).1);
            add_int_columns::<MR>(rows, b.add(128), sums);
        }
    }
}

impl UnpackGroup for Avx2 {
    /// The scale in both halves of a lane, and scale times zero in all four bytes, for each
    /// register.
    type GroupScales = ([__m256i; 2], [__m256i; 2]);
    #[inline(always)]
    fn load_group_scales<G: GroupBits>(self, bytes: &[u8; LANES]) -> Self::GroupScales {
        // SAFETY: 8 of the 16 bytes.
        let both = both!(i => unsafe {
            _mm256_cvtepu8_epi32(_mm_loadl_epi64(bytes.as_ptr().add(8 * i).cast()))
        });
        let scale_max = i32::from(G::SCALE_MAX);
        // SAFETY: self proves AVX2.
        let scales = both!(i => unsafe { _mm256_and_si256(both[i], _mm256_set1_epi32(scale_max)) });
        // SAFETY: self proves AVX2.
        let offsets = both!(i => unsafe {
            let zeros = _mm256_srl_epi32(both[i], _mm_cvtsi32_si128(G::SCALE_BITS as i32));
            let product = _mm256_mullo_epi16(scales[i], zeros);
            let twice = _mm256_or_si256(product, _mm256_slli_epi32::<16>(product));
            _mm256_mullo_epi16(twice, _mm256_set1_epi16(0x0101))
        });
        // SAFETY: self proves AVX2.
        let scales = both!(i => unsafe { _mm256_or_si256(scales[i], _mm256_slli_epi32::<16>(scales[i])) });
        (scales, offsets)
    }
    #[inline(always)]
    fn load_group_quads<G: GroupBits>(
        self,
        low: &[u8; 4 * LANES],
        (plane, first): (&[u8; 4 * LANES], u32),
        scales: Self::GroupScales,
    ) -> (Self::Quads, Self::Quads) {
        // SAFETY: 32 of the 64 bytes.
        let raw = both!(i => unsafe { _mm256_loadu_si256(low.as_ptr().add(32 * i).cast()) });
        // Shifts are of 16 bits: what comes from the byte above does not pass the mask.
        // SAFETY: 32 of the 64 bytes; self proves AVX2.
        let bits = both!(i => unsafe {
            let bits = _mm256_loadu_si256(plane.as_ptr().add(32 * i).cast());
            _mm256_srl_epi16(bits, _mm_cvtsi32_si128(first as i32))
        });
        // A 16-bit product is two 8-bit ones: the maximal scale times the maximal weight is below
        // 256, so there is no carry.
        let mut quads = [raw; 2];
        for (second, quads) in quads.iter_mut().enumerate() {
            // SAFETY: self proves AVX2.
            *quads = both!(i => unsafe {
                let low = _mm256_srl_epi16(raw[i], _mm_cvtsi32_si128(4 * second as i32));
                let mut q = _mm256_and_si256(low, _mm256_set1_epi8(15));
                if G::HIGH > 0 {
                    let high = _mm256_srl_epi16(bits[i], _mm_cvtsi32_si128((second * G::HIGH) as i32));
                    let high = _mm256_and_si256(high, _mm256_set1_epi8((1 << G::HIGH) - 1));
                    q = _mm256_or_si256(q, _mm256_slli_epi16::<4>(high));
                }
                _mm256_sub_epi8(_mm256_mullo_epi16(q, scales.0[i]), scales.1[i])
            });
        }
        (quads[0], quads[1])
    }
}

impl DecodeBf16x12 for Avx2 {
    /// The exponents, in both halves.
    type CodeTable = __m256i;
    #[inline(always)]
    fn load_code_table(self, exponents: &[Bf16x12; LANES]) -> Self::CodeTable {
        // SAFETY: 16 bytes are borrowed; self proves AVX2.
        unsafe {
            let exponents = _mm_insert_epi8::<15>(_mm_loadu_si128(exponents.as_ptr().cast()), 0);
            _mm256_broadcastsi128_si256(exponents)
        }
    }
    #[inline(always)]
    fn decode_words<const SECOND: bool>(
        self,
        rest: &[Bf16x12; 4 * LANES],
        codes: &[Bf16x12; 4 * LANES],
        table: Self::CodeTable,
    ) -> Self::Words {
        // The upper byte of an index has its highest bit set, which looks up 0.
        // SAFETY: 64 bytes each are borrowed; self proves AVX2.
        unsafe {
            let rest = both!(i => _mm256_loadu_si256(rest.as_ptr().add(32 * i).cast()));
            let codes = both!(i => _mm256_loadu_si256(codes.as_ptr().add(32 * i).cast()));
            let code = both!(i => if SECOND { _mm256_srli_epi16::<8>(codes[i]) } else { codes[i] });
            let (nibble, none) = (_mm256_set1_epi16(15), _mm256_set1_epi16(i16::MIN));
            let mask = _mm256_set1_epi16(0x807f_u16 as i16);
            macro_rules! word {
                ($rest:expr, $code:expr) => {{
                    let index = _mm256_or_si256(_mm256_and_si256($code, nibble), none);
                    let exponent = _mm256_slli_epi16::<7>(_mm256_shuffle_epi8(table, index));
                    _mm256_or_si256(_mm256_and_si256($rest, mask), exponent)
                }};
            }
            [
                both!(i => word!(rest[i], code[i])),
                both!(i => {
                    let swapped = _mm256_or_si256(_mm256_slli_epi16::<8>(rest[i]), _mm256_srli_epi16::<8>(rest[i]));
                    word!(swapped, _mm256_srli_epi16::<4>(code[i]))
                }),
            ]
        }
    }
}

const _: () = assert!(LANES == 16);
