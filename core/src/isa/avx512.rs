//! AVX-512: sixteen lanes are one register. Two proofs: with the bf16 dot product and without.
use super::avx2::{max_of_8, sum_of_8};
use super::bf16_12::DecodeBf16x12;
use super::dequantized::Dequantized;
use super::dot::Dot;
use super::grouped::{Group, GroupBits, UnpackGroup};
use super::instruction_set::{InstructionSet, SimdOp};
use super::simd::{LANES, Simd, tile_sizes};
use super::tuning::Strategy;
use crate::dtype::{Bf16x12, FLUSH_BELOW, Int4, Int8};
use core::arch::x86_64::*;
use half::bf16;

/// Proof that the CPU has AVX-512 F, BW, VL and VNNI.
#[derive(Clone, Copy)]
pub struct Avx512(());

/// Proof that the CPU has, besides, `vdpbf16ps`, and that it behaves ([`bf16_dot_is_two_fmas`]).
#[derive(Clone, Copy)]
pub struct Avx512Bf16(());

/// Runs `op` compiled for AVX-512 without the bf16 dot product.
///
/// # Safety
/// The CPU has AVX2, FMA, AVX-512 F, BW, VL and VNNI, and the operating system saves their state.
#[target_feature(enable = "avx2,fma,avx512f,avx512bw,avx512vl,avx512vnni")]
pub(super) unsafe fn enter_fma<O: SimdOp>(op: O) -> O::Output {
    op.eval(Avx512(()))
}

/// Runs `op` compiled for AVX-512 with the bf16 dot product.
///
/// # Safety
/// As [`enter_fma`], and the CPU has AVX512-BF16.
#[target_feature(enable = "avx2,fma,avx512f,avx512bw,avx512vl,avx512vnni,avx512bf16")]
pub(super) unsafe fn enter_bf16<O: SimdOp>(op: O) -> O::Output {
    op.eval(Avx512Bf16(()))
}

/// The numbers of 4 bits in 64 bytes: those in the low halves, and those in the high ones.
///
/// # Safety
/// The CPU has AVX-512 BW.
#[inline(always)]
unsafe fn load_halves(bytes: &[u8; 4 * LANES]) -> (__m512i, __m512i) {
    // SAFETY: the caller vouches for the CPU; 64 bytes are borrowed.
    unsafe {
        let raw = _mm512_loadu_si512(bytes.as_ptr().cast());
        let nibble = _mm512_set1_epi8(15);
        (_mm512_and_si512(raw, nibble), _mm512_and_si512(_mm512_srli_epi16::<4>(raw), nibble))
    }
}

/// The scales and the zeros of a group of 16 columns, one in each lane.
///
/// # Safety
/// The CPU has AVX-512 F.
#[inline(always)]
unsafe fn load_scales_and_zeros<G: GroupBits>(bytes: &[u8; LANES]) -> (__m512i, __m512i) {
    // SAFETY: the caller vouches for the CPU; 16 bytes are borrowed.
    unsafe {
        let both = _mm512_cvtepu8_epi32(_mm_loadu_si128(bytes.as_ptr().cast()));
        let scales = _mm512_and_si512(both, _mm512_set1_epi32(i32::from(G::SCALE_MAX)));
        (scales, _mm512_srl_epi32(both, _mm_cvtsi32_si128(G::SCALE_BITS as i32)))
    }
}

/// The high bits of two quads, from a plane whose bits begin at `first`, in their places above the
/// low four.
///
/// # Safety
/// The CPU has AVX-512 F and BW.
#[inline(always)]
unsafe fn load_high_bits<G: GroupBits>((plane, first): (&[u8; 4 * LANES], u32)) -> (__m512i, __m512i) {
    // Shifts are of 16 bits: what comes from the byte above does not pass the mask.
    // SAFETY: the caller vouches for the CPU; 64 bytes are borrowed.
    unsafe {
        let bits = _mm512_loadu_si512(plane.as_ptr().cast());
        let bits = _mm512_srl_epi16(bits, _mm_cvtsi32_si128(first as i32));
        let mask = _mm512_set1_epi8((1 << G::HIGH) - 1);
        let second = _mm512_srl_epi16(bits, _mm_cvtsi32_si128(G::HIGH as i32));
        let [low, high] = [_mm512_and_si512(bits, mask), _mm512_and_si512(second, mask)];
        (_mm512_slli_epi16::<4>(low), _mm512_slli_epi16::<4>(high))
    }
}

/// The operations of [`Simd`] that both proofs share.
macro_rules! general {
    () => {
        type F = __m512;
        #[inline(always)]
        unsafe fn store_offset_int8(self, p: *mut Int8, x: Self::F) {
            // SAFETY: self proves AVX-512 F; the caller vouches for 16 elements. The conversion
            // rounds to nearest even.
            unsafe {
                let offset = _mm512_add_epi32(_mm512_cvtps_epi32(x), _mm512_set1_epi32(128));
                _mm_storeu_si128(p.cast(), _mm512_cvtepi32_epi8(offset));
            }
        }
        #[inline(always)]
        unsafe fn store_transposed(self, rows: *const u8, row_stride: usize, p: *mut u8, stride: usize) {
            // Words, pairs of words, then quarters of a register change places; each stage halves
            // the rows that meet.
            // SAFETY: self proves AVX-512 F; the caller vouches for 64 bytes at each multiple of
            // either stride.
            unsafe {
                let mut r = [_mm512_setzero_si512(); 16];
                for (i, r) in r.iter_mut().enumerate() {
                    *r = _mm512_loadu_si512(rows.add(i * row_stride).cast());
                }
                for i in (0..16).step_by(2) {
                    let (a, b) = (r[i], r[i + 1]);
                    (r[i], r[i + 1]) = (_mm512_unpacklo_epi32(a, b), _mm512_unpackhi_epi32(a, b));
                }
                // Of rows 4q .. 4q + 4: register 4q + c holds column c of each quarter.
                for q in (0..16).step_by(4) {
                    let (a, b, c, d) = (r[q], r[q + 1], r[q + 2], r[q + 3]);
                    (r[q], r[q + 1]) = (_mm512_unpacklo_epi64(a, c), _mm512_unpackhi_epi64(a, c));
                    (r[q + 2], r[q + 3]) = (_mm512_unpacklo_epi64(b, d), _mm512_unpackhi_epi64(b, d));
                }
                for c in 0..4 {
                    let low = _mm512_shuffle_i32x4::<0x44>(r[c], r[4 + c]);
                    let high = _mm512_shuffle_i32x4::<0xee>(r[c], r[4 + c]);
                    let low2 = _mm512_shuffle_i32x4::<0x44>(r[8 + c], r[12 + c]);
                    let high2 = _mm512_shuffle_i32x4::<0xee>(r[8 + c], r[12 + c]);
                    let column = |quarter: usize| p.add((4 * quarter + c) * stride).cast();
                    _mm512_storeu_si512(column(0), _mm512_shuffle_i32x4::<0x88>(low, low2));
                    _mm512_storeu_si512(column(1), _mm512_shuffle_i32x4::<0xdd>(low, low2));
                    _mm512_storeu_si512(column(2), _mm512_shuffle_i32x4::<0x88>(high, high2));
                    _mm512_storeu_si512(column(3), _mm512_shuffle_i32x4::<0xdd>(high, high2));
                }
            }
        }
        #[inline(always)]
        fn splat(self, x: f32) -> Self::F {
            // SAFETY: self proves AVX-512 F.
            unsafe { _mm512_set1_ps(x) }
        }
        #[inline(always)]
        unsafe fn load(self, p: *const f32) -> Self::F {
            // SAFETY: the caller vouches for 16 floats.
            unsafe { _mm512_loadu_ps(p) }
        }
        #[inline(always)]
        unsafe fn store(self, p: *mut f32, x: Self::F) {
            // SAFETY: the caller vouches for 16 floats.
            unsafe { _mm512_storeu_ps(p, x) }
        }
        #[inline(always)]
        fn add(self, a: Self::F, b: Self::F) -> Self::F {
            // SAFETY: self proves AVX-512 F.
            unsafe { _mm512_add_ps(a, b) }
        }
        #[inline(always)]
        fn sub(self, a: Self::F, b: Self::F) -> Self::F {
            // SAFETY: self proves AVX-512 F.
            unsafe { _mm512_sub_ps(a, b) }
        }
        #[inline(always)]
        fn mul(self, a: Self::F, b: Self::F) -> Self::F {
            // SAFETY: self proves AVX-512 F.
            unsafe { _mm512_mul_ps(a, b) }
        }
        #[inline(always)]
        fn div(self, a: Self::F, b: Self::F) -> Self::F {
            // SAFETY: self proves AVX-512 F.
            unsafe { _mm512_div_ps(a, b) }
        }
        #[inline(always)]
        fn fma(self, a: Self::F, b: Self::F, c: Self::F) -> Self::F {
            // SAFETY: self proves AVX-512 F.
            unsafe { _mm512_fmadd_ps(a, b, c) }
        }
        #[inline(always)]
        fn max(self, a: Self::F, b: Self::F) -> Self::F {
            // SAFETY: self proves AVX-512 F.
            unsafe { _mm512_max_ps(a, b) }
        }
        #[inline(always)]
        fn min(self, a: Self::F, b: Self::F) -> Self::F {
            // SAFETY: self proves AVX-512 F.
            unsafe { _mm512_min_ps(a, b) }
        }
        #[inline(always)]
        fn select_lt(self, a: Self::F, b: Self::F, x: Self::F, y: Self::F) -> Self::F {
            // SAFETY: self proves AVX-512 F.
            unsafe { _mm512_mask_blend_ps(_mm512_cmp_ps_mask::<_CMP_LT_OQ>(a, b), y, x) }
        }
        #[inline(always)]
        fn abs(self, a: Self::F) -> Self::F {
            // SAFETY: self proves AVX-512 F.
            unsafe { _mm512_abs_ps(a) }
        }
        #[inline(always)]
        fn sum_lanes(self, x: Self::F) -> f32 {
            // SAFETY: self proves AVX-512 F, and so AVX.
            unsafe {
                let high = _mm256_castpd_ps(_mm512_extractf64x4_pd::<1>(_mm512_castps_pd(x)));
                sum_of_8(_mm256_add_ps(_mm512_castps512_ps256(x), high))
            }
        }
        #[inline(always)]
        fn max_lanes(self, x: Self::F) -> f32 {
            // SAFETY: self proves AVX-512 F, and so AVX.
            unsafe {
                let high = _mm256_castpd_ps(_mm512_extractf64x4_pd::<1>(_mm512_castps_pd(x)));
                max_of_8(_mm256_max_ps(_mm512_castps512_ps256(x), high))
            }
        }
        #[inline(always)]
        fn scale_by_power_of_two(self, p: Self::F, n: Self::F) -> Self::F {
            // SAFETY: self proves AVX-512 F.
            unsafe {
                let exponent = _mm512_add_epi32(_mm512_cvtps_epi32(n), _mm512_set1_epi32(127));
                _mm512_mul_ps(p, _mm512_castsi512_ps(_mm512_slli_epi32::<23>(exponent)))
            }
        }
        #[inline(always)]
        fn split_exponent(self, x: Self::F) -> (Self::F, Self::F) {
            // SAFETY: self proves AVX-512 F.
            unsafe {
                let bits = _mm512_castps_si512(x);
                let fraction = _mm512_and_si512(bits, _mm512_set1_epi32(0x007f_ffff));
                let m = _mm512_castsi512_ps(_mm512_or_si512(fraction, _mm512_set1_epi32(0x3f80_0000)));
                let biased = _mm512_srli_epi32::<23>(bits);
                (m, _mm512_cvtepi32_ps(_mm512_sub_epi32(biased, _mm512_set1_epi32(127))))
            }
        }
        #[inline(always)]
        unsafe fn load_bf16(self, p: *const bf16) -> Self::F {
            // SAFETY: the caller vouches for 16 bf16.
            unsafe {
                let narrow = _mm256_loadu_si256(p.cast());
                _mm512_castsi512_ps(_mm512_slli_epi32::<16>(_mm512_cvtepu16_epi32(narrow)))
            }
        }
        #[inline(always)]
        unsafe fn store_bf16(self, p: *mut bf16, x: Self::F) {
            // SAFETY: self proves AVX-512 F; the caller vouches for 16 bf16.
            unsafe {
                let keep = _mm512_cmp_ps_mask::<_CMP_NLT_UQ>(_mm512_abs_ps(x), _mm512_set1_ps(FLUSH_BELOW));
                let bits = _mm512_maskz_mov_epi32(keep, _mm512_castps_si512(x));
                let odd = _mm512_and_si512(_mm512_srli_epi32::<16>(bits), _mm512_set1_epi32(1));
                let half_ulp = _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff));
                let nearest = _mm512_srli_epi32::<16>(_mm512_add_epi32(bits, half_ulp));
                let quiet = _mm512_or_si512(_mm512_srli_epi32::<16>(bits), _mm512_set1_epi32(0x40));
                let nan = _mm512_cmp_ps_mask::<_CMP_UNORD_Q>(x, x);
                let rounded = _mm512_mask_blend_epi32(nan, nearest, quiet);
                _mm256_storeu_si256(p.cast(), _mm512_cvtepi32_epi16(rounded));
            }
        }
        #[inline(always)]
        fn prefetch(self, p: *const u8) {
            // SAFETY: a prefetch cannot fault.
            unsafe { _mm_prefetch::<_MM_HINT_T1>(p.cast()) }
        }
    };
}

/// The operations of [`Dot`] that both proofs share: all but those of pairs.
macro_rules! quads {
    () => {
        type Ints = __m512i;
        type Quads = __m512i;
        type QuadRow = __m512i;
        type Words = [__m512i; 2];
        #[inline(always)]
        unsafe fn load_ints(self, p: *const i32) -> Self::Ints {
            // SAFETY: the caller vouches for 16 integers.
            unsafe { _mm512_loadu_si512(p.cast()) }
        }
        #[inline(always)]
        fn ints_to_floats(self, x: Self::Ints) -> Self::F {
            // SAFETY: self proves AVX-512 F.
            unsafe { _mm512_cvtepi32_ps(x) }
        }
        #[inline(always)]
        unsafe fn load_quads(self, p: *const Int8) -> Self::Quads {
            // SAFETY: the caller vouches for 64 elements.
            unsafe { _mm512_loadu_si512(p.cast()) }
        }
        #[inline(always)]
        unsafe fn splat_quad(self, p: *const Int8) -> Self::QuadRow {
            // SAFETY: the caller vouches for 4 elements, 4 bytes.
            unsafe { _mm512_set1_epi32(p.cast::<i32>().read_unaligned()) }
        }
        #[inline(always)]
        fn dot_quads(self, a: Self::QuadRow, b: Self::Quads, c: Self::Ints) -> Self::Ints {
            // SAFETY: self proves AVX512-VNNI.
            unsafe { _mm512_dpbusd_epi32(c, a, b) }
        }
        #[inline(always)]
        unsafe fn store_quads(self, p: *mut Int8, x: Self::Quads) {
            // SAFETY: the caller vouches for 64 elements.
            unsafe { _mm512_storeu_si512(p.cast(), x) }
        }
        #[inline(always)]
        unsafe fn load_words(self, p: [*const bf16; 2]) -> Self::Words {
            // SAFETY: the caller vouches for 32 bf16 each.
            unsafe { [_mm512_loadu_si512(p[0].cast()), _mm512_loadu_si512(p[1].cast())] }
        }
        #[inline(always)]
        unsafe fn store_words(self, p: *mut bf16, words: Self::Words) {
            // SAFETY: the caller vouches for 64 bf16.
            unsafe {
                _mm512_storeu_si512(p.cast(), words[0]);
                _mm512_storeu_si512(p.add(32).cast(), words[1]);
            }
        }
    };
}

/// What the packed formats need, for one of the two proofs.
macro_rules! packed {
    ($simd:ty) => {
        impl UnpackGroup for $simd {
            /// The scale in both halves of a lane; scale times zero in all four bytes.
            type GroupScales = (__m512i, __m512i);
            #[inline(always)]
            fn load_group_scales<G: GroupBits>(self, bytes: &[u8; LANES]) -> Self::GroupScales {
                // SAFETY: self proves AVX-512 F and BW.
                unsafe {
                    let (scale, zero) = load_scales_and_zeros::<G>(bytes);
                    let product = _mm512_mullo_epi16(scale, zero);
                    let bytes = _mm512_mullo_epi16(
                        _mm512_or_si512(product, _mm512_slli_epi32::<16>(product)),
                        _mm512_set1_epi16(0x0101),
                    );
                    (_mm512_or_si512(scale, _mm512_slli_epi32::<16>(scale)), bytes)
                }
            }
            #[inline(always)]
            fn load_group_quads<G: GroupBits>(
                self,
                low: &[u8; 4 * LANES],
                plane: (&[u8; 4 * LANES], u32),
                scales: Self::GroupScales,
            ) -> (Self::Quads, Self::Quads) {
                // A 16-bit product is two 8-bit ones: the maximal scale times the maximal weight
                // is below 256, so there is no carry.
                // SAFETY: self proves AVX-512 BW.
                unsafe {
                    let (mut low, mut high) = load_halves(low);
                    if G::HIGH > 0 {
                        let bits = load_high_bits::<G>(plane);
                        (low, high) = (_mm512_or_si512(low, bits.0), _mm512_or_si512(high, bits.1));
                    }
                    (
                        _mm512_sub_epi8(_mm512_mullo_epi16(low, scales.0), scales.1),
                        _mm512_sub_epi8(_mm512_mullo_epi16(high, scales.0), scales.1),
                    )
                }
            }
            #[inline(always)]
            fn add_int4_group(
                self,
                row: &[Int8; 2 * LANES],
                group: Group<'_>,
                sums: [Self::Ints; 2],
            ) -> [Self::Ints; 2] {
                // A row's sum is at most 32 · 255 < 2^15, so the 16-bit products of zeros are
                // exact; what a scale multiplies is less than 15 · 32 · 255 < 2^17 either way.
                // SAFETY: self proves AVX-512 F, BW and VNNI; what is read of the row lies within
                // it.
                unsafe {
                    let (mut products, mut row_sum) = ([_mm512_setzero_si512(); 2], _mm512_setzero_si512());
                    for pair in 0..4 {
                        let a = row.as_ptr().add(8 * pair);
                        let (low, high) = (self.splat_quad(a), self.splat_quad(a.add(4)));
                        for (half, products) in products.iter_mut().enumerate() {
                            let quads = load_halves(group.quads(pair, half));
                            *products = self.dot_quads(low, quads.0, *products);
                            *products = self.dot_quads(high, quads.1, *products);
                        }
                        row_sum = self.dot_quads(low, _mm512_set1_epi8(1), row_sum);
                        row_sum = self.dot_quads(high, _mm512_set1_epi8(1), row_sum);
                    }
                    let mut sums = sums;
                    for half in 0..2 {
                        let (scale, zero) = load_scales_and_zeros::<Int4>(group.scales(half));
                        let of_zero = _mm512_madd_epi16(zero, row_sum);
                        let scaled = _mm512_mullo_epi32(_mm512_sub_epi32(products[half], of_zero), scale);
                        sums[half] = _mm512_add_epi32(sums[half], scaled);
                    }
                    sums
                }
            }
        }
        impl DecodeBf16x12 for $simd {
            /// The exponents in their place in a bf16, twice: the fifth bit of an index does not
            /// matter.
            type CodeTable = __m512i;
            #[inline(always)]
            fn load_code_table(self, exponents: &[Bf16x12; LANES]) -> Self::CodeTable {
                // SAFETY: 16 bytes are borrowed; self proves AVX-512 BW and VL.
                unsafe {
                    let bytes = _mm_loadu_si128(exponents.as_ptr().cast());
                    let exponents = _mm256_maskz_cvtepu8_epi16(0x7fff, bytes);
                    _mm512_broadcast_i64x4(_mm256_slli_epi16::<7>(exponents))
                }
            }
            #[inline(always)]
            fn decode_words<const SECOND: bool>(
                self,
                rest: &[Bf16x12; 4 * LANES],
                codes: &[Bf16x12; 4 * LANES],
                table: Self::CodeTable,
            ) -> Self::Words {
                // SAFETY: 64 bytes each are borrowed; self proves AVX-512 BW.
                unsafe {
                    let rest = _mm512_loadu_si512(rest.as_ptr().cast());
                    let codes = _mm512_loadu_si512(codes.as_ptr().cast());
                    let (first, second) = if SECOND {
                        (_mm512_srli_epi16::<8>(codes), _mm512_srli_epi16::<12>(codes))
                    } else {
                        (codes, _mm512_srli_epi16::<4>(codes))
                    };
                    // The bytes of each word change places.
                    let swap = _mm512_set4_epi32(0x0e0f_0c0d, 0x0a0b_0809, 0x0607_0405, 0x0203_0001);
                    let swapped = _mm512_shuffle_epi8(rest, swap);
                    // exponent | (rest & mask)
                    let mask = _mm512_set1_epi16(0x807f_u16 as i16);
                    [
                        _mm512_ternarylogic_epi32::<0xf8>(_mm512_permutexvar_epi16(first, table), rest, mask),
                        _mm512_ternarylogic_epi32::<0xf8>(
                            _mm512_permutexvar_epi16(second, table),
                            swapped,
                            mask,
                        ),
                    ]
                }
            }
            #[inline(always)]
            fn with_exponent(self, words: Self::Words, position: usize, exponent: u8) -> Self::Words {
                let which = 1_u64 << (position % 64);
                // SAFETY: self proves AVX-512 BW.
                unsafe {
                    let exponent = _mm512_set1_epi16(i16::from(exponent) << 7);
                    [
                        _mm512_or_si512(words[0], _mm512_maskz_mov_epi16(which as u32, exponent)),
                        _mm512_or_si512(words[1], _mm512_maskz_mov_epi16((which >> 32) as u32, exponent)),
                    ]
                }
            }
        }
    };
}

/// The even elements of 16 pairs, and the odd ones.
#[inline(always)]
fn widened(raw: __m512i) -> (__m512, __m512) {
    // SAFETY: only the two proofs call this, which have AVX-512 F.
    unsafe {
        let even = _mm512_castsi512_ps(_mm512_slli_epi32::<16>(raw));
        let upper = _mm512_set1_epi32(0xffff_0000_u32 as i32);
        (even, _mm512_castsi512_ps(_mm512_and_si512(raw, upper)))
    }
}

/// Without the bf16 dot product both operands are widened, once for several tiles.
const WIDENING: Strategy = Strategy { pairs_factor: 2, widens_rows: true, ..DOT };

/// `vpdpbusd` and `vdpbf16ps` multiply what is stored; a single row of int4 is scaled in its sums.
const DOT: Strategy = Strategy { int4_scales_sums: true, ..Strategy::AS_STORED };

// SAFETY: `Avx512` is only made in `enter_fma`, whose caller vouches for the instructions. Each
// operation is the IEEE one of its name; min and max return the second operand on NaN, as the trait
// asks.
unsafe impl Simd for Avx512 {
    general!();
    // 12 rows x 2 registers of columns = 24 accumulators of the 32 registers; pairs of columns take
    // four more.
    tile_sizes!(
        Avx512,
        #[target_feature(enable = "avx2,fma,avx512f,avx512bw,avx512vl,avx512vnni")]
        1 2 3 4 5 6 7 8 9 10 11 | 12; dequantizing 8; WIDENING
    );
}

impl Dot for Avx512 {
    quads!();
    type Pairs = (__m512, __m512);
    #[inline(always)]
    unsafe fn load_pairs(self, p: *const bf16) -> Self::Pairs {
        // SAFETY: the caller vouches for 32 bf16.
        widened(unsafe { _mm512_loadu_si512(p.cast()) })
    }
    #[inline(always)]
    fn pairs_of_words(self, words: Self::Words) -> [Self::Pairs; 2] {
        [widened(words[0]), widened(words[1])]
    }
    #[inline(always)]
    unsafe fn splat_pair(self, p: *const bf16) -> Self::Pairs {
        // SAFETY: the caller vouches for 2 bf16, 4 bytes.
        widened(unsafe { _mm512_set1_epi32(p.cast::<i32>().read_unaligned()) })
    }
    #[inline(always)]
    fn dot_pairs(self, a: Self::Pairs, b: Self::Pairs, c: Self::F) -> Self::F {
        self.fma(a.0, b.0, self.fma(a.1, b.1, c))
    }
}

impl Dequantized for Avx512 {
    #[inline(always)]
    unsafe fn store_dequantized_pairs(self, p: *mut bf16, words: Self::Words) {
        let p = p.cast::<f32>();
        for (v, words) in words.into_iter().enumerate() {
            let (even, odd) = widened(words);
            // SAFETY: the caller vouches for 128 bf16: 32 odd elements as f32, then 32 even ones.
            unsafe {
                _mm512_storeu_ps(p.add(LANES * v), odd);
                _mm512_storeu_ps(p.add(LANES * (2 + v)), even);
            }
        }
    }
    #[inline(always)]
    unsafe fn load_dequantized_pairs(self, p: *const bf16) -> [Self::Pairs; 2] {
        let p = p.cast::<f32>();
        // SAFETY: the caller vouches for 128 bf16, which are 32 odd elements and 32 even ones as
        // f32.
        let column = |i: usize| unsafe { _mm512_loadu_ps(p.add(LANES * i)) };
        [(column(2), column(0)), (column(3), column(1))]
    }
    #[inline(always)]
    unsafe fn widen_pairs(self, from: *const bf16, pairs: usize, to: *mut f32) {
        for first in (0..pairs).step_by(LANES) {
            let mask = (u32::MAX >> (32 - LANES.min(pairs - first))) as u16;
            // SAFETY: masked to the pairs that there are; there is room for 16.
            unsafe {
                let (even, odd) = widened(_mm512_maskz_loadu_epi32(mask, from.add(2 * first).cast()));
                _mm512_storeu_ps(to.add(2 * first), odd);
                _mm512_storeu_ps(to.add(2 * first + LANES), even);
            }
        }
    }
    #[inline(always)]
    unsafe fn splat_wide_pair(self, p: *const f32) -> Self::Pairs {
        // SAFETY: the caller vouches for both floats.
        unsafe { (self.splat(p.add(LANES).read()), self.splat(p.read())) }
    }
}

packed!(Avx512);

// SAFETY: `Avx512Bf16` is only made in `enter_bf16`, whose caller vouches for the instructions. The
// dot product equals two fused multiply-adds on flushed operands: `dtype` says why, the self-check
// proves it on the CPU at hand.
unsafe impl Simd for Avx512Bf16 {
    general!();
    // 12 rows x 2 registers of columns = 24 accumulators of the 32 registers.
    tile_sizes!(
        Avx512Bf16,
        #[target_feature(enable = "avx2,fma,avx512f,avx512bw,avx512vl,avx512vnni,avx512bf16")]
        1 2 3 4 5 6 7 8 9 10 11 | 12; dequantizing 8; DOT
    );
}

impl Dot for Avx512Bf16 {
    quads!();
    type Pairs = __m512bh;
    #[inline(always)]
    unsafe fn load_pairs(self, p: *const bf16) -> Self::Pairs {
        // SAFETY: the caller vouches for 32 bf16; the types have the same size and no invalid bits.
        unsafe { core::mem::transmute(_mm512_loadu_si512(p.cast())) }
    }
    #[inline(always)]
    fn pairs_of_words(self, words: Self::Words) -> [Self::Pairs; 2] {
        // SAFETY: the types have the same size and no invalid bits.
        unsafe { core::mem::transmute::<[__m512i; 2], [__m512bh; 2]>(words) }
    }
    #[inline(always)]
    unsafe fn splat_pair(self, p: *const bf16) -> Self::Pairs {
        // SAFETY: the caller vouches for 2 bf16, 4 bytes; the types have the same size.
        unsafe { core::mem::transmute(_mm512_set1_epi32(p.cast::<i32>().read_unaligned())) }
    }
    #[inline(always)]
    fn dot_pairs(self, a: Self::Pairs, b: Self::Pairs, c: Self::F) -> Self::F {
        // SAFETY: self proves AVX512-BF16.
        unsafe { _mm512_dpbf16_ps(c, a, b) }
    }
}

impl Dequantized for Avx512Bf16 {}

packed!(Avx512Bf16);

/// The start-up self-check: 16 × 64 dot products of drawn operands, `vdpbf16ps` against the soft
/// form.
///
/// Call only where CPUID reports AVX512-BF16. Magnitudes cover the whole range that flushed
/// operands and their sums can have; a CPU that rounds or orders otherwise gets two FMAs.
pub(super) fn bf16_dot_is_two_fmas() -> bool {
    struct Check;
    impl SimdOp for Check {
        type Output = bool;
        #[inline(always)]
        fn eval<S: InstructionSet>(self, simd: S) -> bool {
            let mut state = 0x9e37_79b9_7f4a_7c15_u64;
            let mut draw = || {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                let exponent = 127 - 50 + (state >> 40) as u32 % 70; // 2^-50 ..= 2^19
                (state as u16 & 0x807f) | (exponent as u16) << 7
            };
            let mut acc = [0.0_f32; 16];
            for round in 0..64 {
                let a: [bf16; 32] = core::array::from_fn(|_| bf16::from_bits(draw()));
                let b: [bf16; 32] = core::array::from_fn(|_| bf16::from_bits(draw()));
                if round % 8 == 0 {
                    acc = [0.0; 16];
                }
                // SAFETY: both arrays are 32 bf16.
                let (pa, pb) = unsafe { (simd.load_pairs(a.as_ptr()), simd.load_pairs(b.as_ptr())) };
                let got = simd.to_array(simd.dot_pairs(pa, pb, simd.lanes_of(acc)));
                for i in 0..16 {
                    let (a0, a1) = (a[2 * i].to_f32(), a[2 * i + 1].to_f32());
                    let (b0, b1) = (b[2 * i].to_f32(), b[2 * i + 1].to_f32());
                    let expected = super::portable::fma(a0, b0, super::portable::fma(a1, b1, acc[i]));
                    if got[i].to_bits() != expected.to_bits() {
                        return false;
                    }
                }
                acc = got;
            }
            true
        }
    }
    // SAFETY: the caller saw the feature bits.
    unsafe { enter_bf16(Check) }
}
