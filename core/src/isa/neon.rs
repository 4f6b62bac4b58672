//! NEON on AArch64: sixteen lanes as four registers of four.
//!
//! BFDOT and BFMMLA round differently from two fused multiply-adds, so bf16 goes through FMLA.
use super::bf16_12::DecodeBf16x12;
use super::dequantized::Dequantized;
use super::dot::Dot;
use super::grouped::{GroupBits, UnpackGroup};
use super::instruction_set::SimdOp;
use super::simd::{LANES, Simd, tile_sizes};
use super::tuning::Strategy;
use crate::dtype::{Bf16x12, FLUSH_BELOW, Int8};
use core::arch::aarch64::*;
use half::bf16;

/// Proof that the CPU has NEON, which the target makes a baseline.
#[derive(Clone, Copy)]
pub struct Neon(());

/// Runs `op` compiled for NEON.
pub(super) fn enter<O: SimdOp>(op: O) -> O::Output {
    op.eval(Neon(()))
}

/// One expression for each register. A macro, since a closure might not be inlined into code that
/// is compiled for the instruction set.
macro_rules! four {
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
            {
                #[allow(dead_code, non_upper_case_globals)]
                const $i: usize = 2;
                $e
            },
            {
                #[allow(dead_code, non_upper_case_globals)]
                const $i: usize = 3;
                $e
            },
        ]
    };
}

/// The even elements of 16 pairs, and the odd ones.
#[inline(always)]
fn widened(raw: [uint32x4_t; 4]) -> ([float32x4_t; 4], [float32x4_t; 4]) {
    // SAFETY: NEON is part of the target.
    unsafe {
        let even = four!(i => vreinterpretq_f32_u32(vshlq_n_u32::<16>(raw[i])));
        (even, four!(i => vreinterpretq_f32_u32(vandq_u32(raw[i], vdupq_n_u32(0xffff_0000)))))
    }
}

// SAFETY: NEON is part of the target. Each operation is the IEEE one of its name; max, min and
// select are compare-and-select, which gives the second operand on NaN, as the trait asks (FMAX
// would not).
unsafe impl Simd for Neon {
    // 3 rows x 8 registers of columns = 24 accumulators of the 32 registers.
    tile_sizes!(Neon, 1 2 | 3; dequantizing 3; Strategy::AS_STORED);
    type F = [float32x4_t; 4];
    #[inline(always)]
    fn splat(self, x: f32) -> Self::F {
        // SAFETY: self proves NEON.
        four!(_i => unsafe { vdupq_n_f32(x) })
    }
    #[inline(always)]
    unsafe fn load(self, p: *const f32) -> Self::F {
        // SAFETY: the caller vouches for 16 floats.
        four!(i => unsafe { vld1q_f32(p.add(4 * i)) })
    }
    #[inline(always)]
    unsafe fn store(self, p: *mut f32, x: Self::F) {
        for i in 0..4 {
            // SAFETY: the caller vouches for 16 floats.
            unsafe { vst1q_f32(p.add(4 * i), x[i]) };
        }
    }
    #[inline(always)]
    fn add(self, a: Self::F, b: Self::F) -> Self::F {
        // SAFETY: self proves NEON.
        four!(i => unsafe { vaddq_f32(a[i], b[i]) })
    }
    #[inline(always)]
    fn sub(self, a: Self::F, b: Self::F) -> Self::F {
        // SAFETY: self proves NEON.
        four!(i => unsafe { vsubq_f32(a[i], b[i]) })
    }
    #[inline(always)]
    fn mul(self, a: Self::F, b: Self::F) -> Self::F {
        // SAFETY: self proves NEON.
        four!(i => unsafe { vmulq_f32(a[i], b[i]) })
    }
    #[inline(always)]
    fn div(self, a: Self::F, b: Self::F) -> Self::F {
        // SAFETY: self proves NEON.
        four!(i => unsafe { vdivq_f32(a[i], b[i]) })
    }
    #[inline(always)]
    fn fma(self, a: Self::F, b: Self::F, c: Self::F) -> Self::F {
        // SAFETY: self proves NEON.
        four!(i => unsafe { vfmaq_f32(c[i], a[i], b[i]) })
    }
    #[inline(always)]
    fn max(self, a: Self::F, b: Self::F) -> Self::F {
        // SAFETY: self proves NEON.
        four!(i => unsafe { vbslq_f32(vcgtq_f32(a[i], b[i]), a[i], b[i]) })
    }
    #[inline(always)]
    fn min(self, a: Self::F, b: Self::F) -> Self::F {
        // SAFETY: self proves NEON.
        four!(i => unsafe { vbslq_f32(vcltq_f32(a[i], b[i]), a[i], b[i]) })
    }
    #[inline(always)]
    fn select_lt(self, a: Self::F, b: Self::F, x: Self::F, y: Self::F) -> Self::F {
        // SAFETY: self proves NEON.
        four!(i => unsafe { vbslq_f32(vcltq_f32(a[i], b[i]), x[i], y[i]) })
    }
    #[inline(always)]
    fn abs(self, a: Self::F) -> Self::F {
        // SAFETY: self proves NEON.
        four!(i => unsafe { vabsq_f32(a[i]) })
    }
    #[inline(always)]
    fn scale_by_power_of_two(self, p: Self::F, n: Self::F) -> Self::F {
        // SAFETY: self proves NEON.
        four!(i => unsafe {
            let exponent = vaddq_s32(vcvtq_s32_f32(n[i]), vdupq_n_s32(127));
            vmulq_f32(p[i], vreinterpretq_f32_s32(vshlq_n_s32::<23>(exponent)))
        })
    }
    #[inline(always)]
    fn split_exponent(self, x: Self::F) -> (Self::F, Self::F) {
        // SAFETY: self proves NEON.
        let m = four!(i => unsafe {
            let fraction = vandq_u32(vreinterpretq_u32_f32(x[i]), vdupq_n_u32(0x007f_ffff));
            vreinterpretq_f32_u32(vorrq_u32(fraction, vdupq_n_u32(0x3f80_0000)))
        });
        // SAFETY: self proves NEON.
        let e = four!(i => unsafe {
            let biased = vreinterpretq_s32_u32(vshrq_n_u32::<23>(vreinterpretq_u32_f32(x[i])));
            vcvtq_f32_s32(vsubq_s32(biased, vdupq_n_s32(127)))
        });
        (m, e)
    }
    #[inline(always)]
    unsafe fn load_bf16(self, p: *const bf16) -> Self::F {
        // SAFETY: the caller vouches for 16 bf16.
        four!(i => unsafe { vreinterpretq_f32_u32(vshll_n_u16::<16>(vld1_u16(p.add(4 * i).cast()))) })
    }
    #[inline(always)]
    unsafe fn store_bf16(self, p: *mut bf16, x: Self::F) {
        for i in 0..4 {
            // SAFETY: the caller vouches for 16 bf16.
            unsafe {
                let small = vcltq_f32(vabsq_f32(x[i]), vdupq_n_f32(FLUSH_BELOW));
                let bits = vbicq_u32(vreinterpretq_u32_f32(x[i]), small);
                let odd = vandq_u32(vshrq_n_u32::<16>(bits), vdupq_n_u32(1));
                let half_ulp = vaddq_u32(odd, vdupq_n_u32(0x7fff));
                let nearest = vshrq_n_u32::<16>(vaddq_u32(bits, half_ulp));
                let quiet = vorrq_u32(vshrq_n_u32::<16>(bits), vdupq_n_u32(0x40));
                let number = vceqq_f32(x[i], x[i]);
                vst1_u16(p.add(4 * i).cast(), vmovn_u32(vbslq_u32(number, nearest, quiet)));
            }
        }
    }
}

impl Dot for Neon {
    type Pairs = ([float32x4_t; 4], [float32x4_t; 4]);
    type Ints = [int32x4_t; 4];
    type Quads = [int8x16_t; 4];
    /// The four activations twice over, as 16 bits.
    type QuadRow = int16x8_t;
    type Words = [[uint8x16_t; 4]; 2];
    #[inline(always)]
    unsafe fn load_pairs(self, p: *const bf16) -> Self::Pairs {
        // SAFETY: the caller vouches for 32 bf16.
        widened(four!(i => unsafe { vreinterpretq_u32_u16(vld1q_u16(p.add(8 * i).cast())) }))
    }
    #[inline(always)]
    fn pairs_of_words(self, words: Self::Words) -> [Self::Pairs; 2] {
        // SAFETY: self proves NEON.
        let pairs = words.map(|words| four!(i => unsafe { vreinterpretq_u32_u8(words[i]) }));
        [widened(pairs[0]), widened(pairs[1])]
    }
    #[inline(always)]
    unsafe fn load_words(self, p: [*const bf16; 2]) -> Self::Words {
        // SAFETY: the caller vouches for 32 bf16 each.
        unsafe {
            [four!(i => vld1q_u8(p[0].add(8 * i).cast())), four!(i => vld1q_u8(p[1].add(8 * i).cast()))]
        }
    }
    #[inline(always)]
    unsafe fn store_words(self, p: *mut bf16, words: Self::Words) {
        for i in 0..8 {
            // SAFETY: the caller vouches for 64 bf16.
            unsafe { vst1q_u8(p.add(8 * i).cast(), words[i / 4][i % 4]) };
        }
    }
    #[inline(always)]
    unsafe fn splat_pair(self, p: *const bf16) -> Self::Pairs {
        // SAFETY: the caller vouches for 2 bf16, 4 bytes.
        let pair = unsafe { p.cast::<u32>().read_unaligned() };
        (self.splat(f32::from_bits(pair << 16)), self.splat(f32::from_bits(pair & 0xffff_0000)))
    }
    #[inline(always)]
    unsafe fn load_ints(self, p: *const i32) -> Self::Ints {
        // SAFETY: the caller vouches for 16 integers.
        four!(i => unsafe { vld1q_s32(p.add(4 * i)) })
    }
    #[inline(always)]
    fn ints_to_floats(self, x: Self::Ints) -> Self::F {
        // SAFETY: self proves NEON.
        four!(i => unsafe { vcvtq_f32_s32(x[i]) })
    }
    #[inline(always)]
    unsafe fn load_quads(self, p: *const Int8) -> Self::Quads {
        // SAFETY: the caller vouches for 64 elements.
        four!(i => unsafe { vld1q_s8(p.add(16 * i).cast()) })
    }
    #[inline(always)]
    unsafe fn splat_quad(self, p: *const Int8) -> Self::QuadRow {
        // SAFETY: the caller vouches for 4 elements, 4 bytes.
        let quad = unsafe { p.cast::<u32>().read_unaligned() };
        // SAFETY: self proves NEON.
        unsafe { vreinterpretq_s16_u16(vmovl_u8(vreinterpret_u8_u32(vdup_n_u32(quad)))) }
    }
    #[inline(always)]
    unsafe fn store_quads(self, p: *mut Int8, x: Self::Quads) {
        for i in 0..4 {
            // SAFETY: the caller vouches for 64 elements.
            unsafe { vst1q_s8(p.add(16 * i).cast(), x[i]) };
        }
    }
    #[inline(always)]
    fn dot_quads(self, a: Self::QuadRow, b: Self::Quads, c: Self::Ints) -> Self::Ints {
        // SAFETY: self proves NEON. Each register of weights is four lanes of four: products of two
        // lanes at a time, summed in pairs, and the pairs of both halves in pairs again.
        four!(i => unsafe {
            let (low, high) = (vmovl_s8(vget_low_s8(b[i])), vmovl_s8(vget_high_s8(b[i])));
            let first = vmull_s16(vget_low_s16(low), vget_low_s16(a));
            let second = vmull_s16(vget_high_s16(low), vget_high_s16(a));
            let third = vmull_s16(vget_low_s16(high), vget_low_s16(a));
            let fourth = vmull_s16(vget_high_s16(high), vget_high_s16(a));
            let sums = vpaddq_s32(vpaddq_s32(first, second), vpaddq_s32(third, fourth));
            vaddq_s32(c[i], sums)
        })
    }
    #[inline(always)]
    fn dot_pairs(self, a: Self::Pairs, b: Self::Pairs, c: Self::F) -> Self::F {
        self.fma(a.0, b.0, self.fma(a.1, b.1, c))
    }
}

impl Dequantized for Neon {}

impl UnpackGroup for Neon {
    /// The scale, and scale times zero, in all four bytes of a lane.
    type GroupScales = ([uint8x16_t; 4], [uint8x16_t; 4]);
    #[inline(always)]
    fn load_group_scales<G: GroupBits>(self, bytes: &[u8; LANES]) -> Self::GroupScales {
        const SPREAD: [u8; 16] = [0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3];
        // SAFETY: 16 bytes are borrowed.
        let (both, spread) = unsafe { (vld1q_u8(bytes.as_ptr()), vld1q_u8(SPREAD.as_ptr())) };
        // SAFETY: self proves NEON.
        let wide = four!(i => unsafe { vqtbl1q_u8(both, vaddq_u8(spread, vdupq_n_u8(4 * i as u8))) });
        // SAFETY: self proves NEON.
        let scales = four!(i => unsafe { vandq_u8(wide[i], vdupq_n_u8(G::SCALE_MAX)) });
        let right = -(G::SCALE_BITS as i8);
        // SAFETY: self proves NEON.
        let offsets = four!(i => unsafe { vmulq_u8(scales[i], vshlq_u8(wide[i], vdupq_n_s8(right))) });
        (scales, offsets)
    }
    #[inline(always)]
    fn load_group_quads<G: GroupBits>(
        self,
        low: &[u8; 4 * LANES],
        (plane, first): (&[u8; 4 * LANES], u32),
        scales: Self::GroupScales,
    ) -> (Self::Quads, Self::Quads) {
        // SAFETY: 16 of the 64 bytes.
        let raw = four!(i => unsafe { vld1q_u8(low.as_ptr().add(16 * i)) });
        // SAFETY: 16 of the 64 bytes.
        let bits = four!(i => unsafe { vld1q_u8(plane.as_ptr().add(16 * i)) });
        let quads = |second: u32| {
            let right = -((first + second * G::HIGH as u32) as i8);
            // SAFETY: self proves NEON.
            four!(i => unsafe {
                let low = if second == 0 { vandq_u8(raw[i], vdupq_n_u8(15)) } else { vshrq_n_u8::<4>(raw[i]) };
                let mut q = low;
                if G::HIGH > 0 {
                    let high = vandq_u8(vshlq_u8(bits[i], vdupq_n_s8(right)), vdupq_n_u8((1 << G::HIGH) - 1));
                    q = vorrq_u8(low, vshlq_n_u8::<4>(high));
                }
                vreinterpretq_s8_u8(vsubq_u8(vmulq_u8(q, scales.0[i]), scales.1[i]))
            })
        };
        (quads(0), quads(1))
    }
}

impl DecodeBf16x12 for Neon {
    /// The exponents of 15 codes, one byte each; the last byte is 0.
    type CodeTable = uint8x16_t;
    #[inline(always)]
    fn load_code_table(self, exponents: &[Bf16x12; LANES]) -> Self::CodeTable {
        // SAFETY: 16 bytes are borrowed; self proves NEON.
        unsafe { vsetq_lane_u8::<15>(0, vld1q_u8(exponents.as_ptr().cast())) }
    }
    #[inline(always)]
    fn decode_words<const SECOND: bool>(
        self,
        rest: &[Bf16x12; 4 * LANES],
        codes: &[Bf16x12; 4 * LANES],
        table: Self::CodeTable,
    ) -> Self::Words {
        // The upper byte of an index is beyond the table, which looks up 0.
        // SAFETY: 64 bytes each are borrowed; self proves NEON.
        unsafe {
            let rest = four!(i => vld1q_u8(rest.as_ptr().add(16 * i).cast()));
            let codes = four!(i => vreinterpretq_u16_u8(vld1q_u8(codes.as_ptr().add(16 * i).cast())));
            let code = four!(i => if SECOND { vshrq_n_u16::<8>(codes[i]) } else { codes[i] });
            let (nibble, none) = (vdupq_n_u16(15), vdupq_n_u16(0x8000));
            let mask = vreinterpretq_u8_u16(vdupq_n_u16(0x807f));
            macro_rules! word {
                ($rest:expr, $code:expr) => {{
                    let index = vreinterpretq_u8_u16(vorrq_u16(vandq_u16($code, nibble), none));
                    let exponent = vshlq_n_u16::<7>(vreinterpretq_u16_u8(vqtbl1q_u8(table, index)));
                    vorrq_u8(vandq_u8($rest, mask), vreinterpretq_u8_u16(exponent))
                }};
            }
            [
                four!(i => word!(rest[i], code[i])),
                four!(i => word!(vrev16q_u8(rest[i]), vshrq_n_u16::<4>(code[i]))),
            ]
        }
    }
}
