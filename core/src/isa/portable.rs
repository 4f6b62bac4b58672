//! Sixteen virtual lanes in scalar Rust: runs on every target, and is the definition of the bits.
//!
//! `core` has no fused multiply-add. Where an x86-64 target is compiled for one, [`fma`] is that
//! instruction. Elsewhere it makes one: the product of two f32 is exact in f64; the sum is rounded
//! to odd there, which makes the second rounding, to f32, the only one that counts (Boldo and
//! Melquiond, "Emulation of FMA and correctly rounded sums: proved algorithms using rounding to
//! odd").
use super::bf16_12::DecodeBf16x12;
use super::dequantized::Dequantized;
use super::dot::Dot;
use super::grouped::{GroupBits, UnpackGroup};
use super::simd::{LANES, Simd, tile_sizes};
use super::tuning::Strategy;
use crate::dtype::{Bf16x12, Int8, bf16_operand, bf16_widen};
use half::bf16;

/// `a * b + c` with one rounding, subnormal results included.
#[inline(always)]
pub fn fma(a: f32, b: f32, c: f32) -> f32 {
    #[cfg(all(target_arch = "x86_64", target_feature = "fma"))]
    {
        use core::arch::x86_64::{_mm_cvtss_f32, _mm_fmadd_ss, _mm_set_ss};
        // SAFETY: the target has FMA, so every CPU that runs this has.
        unsafe { _mm_cvtss_f32(_mm_fmadd_ss(_mm_set_ss(a), _mm_set_ss(b), _mm_set_ss(c))) }
    }
    #[cfg(not(all(target_arch = "x86_64", target_feature = "fma")))]
    soft_fma(a, b, c)
}

/// [`fma`] without the instruction.
#[allow(dead_code)] // unused where the target has the instruction
#[inline(always)]
pub(super) fn soft_fma(a: f32, b: f32, c: f32) -> f32 {
    let product = f64::from(a) * f64::from(b); // exact: 24 + 24 bits
    let c = f64::from(c);
    let sum = product + c;
    // Knuth's two-sum: the rounding error of the sum, exactly.
    let c_part = sum - product;
    let error = (product - (sum - c_part)) + (c - c_part);
    let bits = sum.to_bits();
    // Inexact with an even last bit: step to the odd neighbour on the side of the error. Infinity
    // and NaN have a NaN error, which compares false.
    let inexact = error.abs() > 0.0;
    let away_from_zero = (error > 0.0) == (sum > 0.0);
    let step = if away_from_zero { 1 } else { u64::MAX };
    let odd = if inexact && bits & 1 == 0 { bits.wrapping_add(step) } else { bits };
    f64::from_bits(odd) as f32
}

/// The instruction set that every target has: scalar code.
#[derive(Clone, Copy, Debug)]
pub struct Portable;

#[inline(always)]
fn lanes(f: impl Fn(usize) -> f32) -> [f32; LANES] {
    core::array::from_fn(f)
}

// SAFETY: no instruction beyond the target's own is used; the bits are the definition.
unsafe impl Simd for Portable {
    tile_sizes!(Portable, | 1; dequantizing 1; Strategy::AS_STORED);
    type F = [f32; LANES];
    #[inline(always)]
    fn splat(self, x: f32) -> Self::F {
        [x; LANES]
    }
    #[inline(always)]
    unsafe fn load(self, p: *const f32) -> Self::F {
        // SAFETY: the caller vouches for 16 floats; an array of floats has no invalid bits.
        unsafe { p.cast::<Self::F>().read_unaligned() }
    }
    #[inline(always)]
    unsafe fn store(self, p: *mut f32, x: Self::F) {
        // SAFETY: the caller vouches for 16 floats.
        unsafe { p.cast::<Self::F>().write_unaligned(x) }
    }
    #[inline(always)]
    fn add(self, a: Self::F, b: Self::F) -> Self::F {
        lanes(|i| a[i] + b[i])
    }
    #[inline(always)]
    fn sub(self, a: Self::F, b: Self::F) -> Self::F {
        lanes(|i| a[i] - b[i])
    }
    #[inline(always)]
    fn mul(self, a: Self::F, b: Self::F) -> Self::F {
        lanes(|i| a[i] * b[i])
    }
    #[inline(always)]
    fn div(self, a: Self::F, b: Self::F) -> Self::F {
        lanes(|i| a[i] / b[i])
    }
    #[inline(always)]
    fn fma(self, a: Self::F, b: Self::F, c: Self::F) -> Self::F {
        lanes(|i| fma(a[i], b[i], c[i]))
    }
    #[inline(always)]
    fn max(self, a: Self::F, b: Self::F) -> Self::F {
        lanes(|i| if a[i] > b[i] { a[i] } else { b[i] })
    }
    #[inline(always)]
    fn min(self, a: Self::F, b: Self::F) -> Self::F {
        lanes(|i| if a[i] < b[i] { a[i] } else { b[i] })
    }
    #[inline(always)]
    fn select_lt(self, a: Self::F, b: Self::F, x: Self::F, y: Self::F) -> Self::F {
        lanes(|i| if a[i] < b[i] { x[i] } else { y[i] })
    }
    #[inline(always)]
    fn abs(self, a: Self::F) -> Self::F {
        lanes(|i| a[i].abs())
    }
    #[inline(always)]
    fn scale_by_power_of_two(self, p: Self::F, n: Self::F) -> Self::F {
        lanes(|i| p[i] * f32::from_bits((n[i] as i32).wrapping_add(127).wrapping_shl(23) as u32))
    }
    #[inline(always)]
    fn split_exponent(self, x: Self::F) -> (Self::F, Self::F) {
        let m = lanes(|i| f32::from_bits((x[i].to_bits() & 0x007f_ffff) | 0x3f80_0000));
        let e = lanes(|i| ((x[i].to_bits() >> 23) as i32 - 127) as f32);
        (m, e)
    }
    #[inline(always)]
    unsafe fn load_bf16(self, p: *const bf16) -> Self::F {
        // SAFETY: the caller vouches for 16 bf16.
        lanes(|i| bf16_widen(unsafe { p.add(i).read_unaligned() }))
    }
    #[inline(always)]
    unsafe fn store_bf16(self, p: *mut bf16, x: Self::F) {
        for i in 0..LANES {
            // SAFETY: the caller vouches for 16 bf16.
            unsafe { p.add(i).write_unaligned(bf16_operand(x[i])) };
        }
    }
}

impl Dot for Portable {
    type Pairs = ([f32; LANES], [f32; LANES]);
    type Ints = [i32; LANES];
    type Quads = [[i8; 4]; LANES];
    type QuadRow = [u8; 4];
    type Words = [[bf16; 2 * LANES]; 2];
    #[inline(always)]
    unsafe fn load_pairs(self, p: *const bf16) -> Self::Pairs {
        // SAFETY: the caller vouches for 32 bf16.
        let even = lanes(|i| bf16_widen(unsafe { p.add(2 * i).read_unaligned() }));
        // SAFETY: as above.
        let odd = lanes(|i| bf16_widen(unsafe { p.add(2 * i + 1).read_unaligned() }));
        (even, odd)
    }
    #[inline(always)]
    unsafe fn splat_pair(self, p: *const bf16) -> Self::Pairs {
        // SAFETY: the caller vouches for 2 bf16.
        let [even, odd] = unsafe { p.cast::<[bf16; 2]>().read_unaligned() };
        ([bf16_widen(even); LANES], [bf16_widen(odd); LANES])
    }
    #[inline(always)]
    unsafe fn load_ints(self, p: *const i32) -> Self::Ints {
        // SAFETY: the caller vouches for 16 integers.
        unsafe { p.cast::<Self::Ints>().read_unaligned() }
    }
    #[inline(always)]
    fn ints_to_floats(self, x: Self::Ints) -> Self::F {
        lanes(|i| x[i] as f32)
    }
    #[inline(always)]
    unsafe fn load_quads(self, p: *const Int8) -> Self::Quads {
        // SAFETY: the caller vouches for 64 elements, which are bytes.
        unsafe { p.cast::<Self::Quads>().read_unaligned() }
    }
    #[inline(always)]
    unsafe fn splat_quad(self, p: *const Int8) -> Self::QuadRow {
        // SAFETY: the caller vouches for 4 elements, which are bytes.
        unsafe { p.cast::<Self::QuadRow>().read_unaligned() }
    }
    #[inline(always)]
    unsafe fn store_quads(self, p: *mut Int8, x: Self::Quads) {
        // SAFETY: the caller vouches for 64 elements, which are bytes.
        unsafe { p.cast::<Self::Quads>().write_unaligned(x) }
    }
    #[inline(always)]
    unsafe fn load_words(self, p: [*const bf16; 2]) -> Self::Words {
        // SAFETY: the caller vouches for 32 bf16 each.
        p.map(|p| unsafe { p.cast::<[bf16; 2 * LANES]>().read_unaligned() })
    }
    #[inline(always)]
    fn pairs_of_words(self, words: Self::Words) -> [Self::Pairs; 2] {
        // SAFETY: each array is 32 bf16.
        unsafe { [self.load_pairs(words[0].as_ptr()), self.load_pairs(words[1].as_ptr())] }
    }
    #[inline(always)]
    unsafe fn store_words(self, p: *mut bf16, words: Self::Words) {
        // SAFETY: the caller vouches for 64 bf16.
        unsafe { p.cast::<Self::Words>().write_unaligned(words) }
    }
    #[inline(always)]
    fn dot_quads(self, a: Self::QuadRow, b: Self::Quads, c: Self::Ints) -> Self::Ints {
        let product = |i: usize, j: usize| i32::from(a[j]) * i32::from(b[i][j]);
        core::array::from_fn(|i| (0..4).fold(c[i], |sum, j| sum.wrapping_add(product(i, j))))
    }
    #[inline(always)]
    fn dot_pairs(self, a: Self::Pairs, b: Self::Pairs, c: Self::F) -> Self::F {
        lanes(|i| fma(a.0[i], b.0[i], fma(a.1[i], b.1[i], c[i])))
    }
}

impl Dequantized for Portable {}

impl UnpackGroup for Portable {
    type GroupScales = [u8; LANES];
    #[inline(always)]
    fn load_group_scales<G: GroupBits>(self, bytes: &[u8; LANES]) -> Self::GroupScales {
        *bytes
    }
    #[inline(always)]
    fn load_group_quads<G: GroupBits>(
        self,
        low: &[u8; 4 * LANES],
        (plane, first): (&[u8; 4 * LANES], u32),
        scales: Self::GroupScales,
    ) -> (Self::Quads, Self::Quads) {
        let high_max = (1 << G::HIGH) - 1;
        let quads = |second: u32| {
            core::array::from_fn(|lane| {
                let (scale, zero) = (scales[lane] & G::SCALE_MAX, scales[lane] >> G::SCALE_BITS);
                core::array::from_fn(|j| {
                    let at = 4 * lane + j;
                    let high = (plane[at] >> (first + second * G::HIGH as u32)) & high_max;
                    let q = (low[at] >> (4 * second)) & 15 | high << 4;
                    (scale * q).wrapping_sub(scale * zero) as i8
                })
            })
        };
        (quads(0), quads(1))
    }
}

impl DecodeBf16x12 for Portable {
    type CodeTable = [u8; 16];
    #[inline(always)]
    fn load_code_table(self, exponents: &[Bf16x12; LANES]) -> Self::CodeTable {
        let mut table = exponents.map(|byte| byte.0);
        table[15] = 0;
        table
    }
    #[inline(always)]
    fn decode_words<const SECOND: bool>(
        self,
        rest: &[Bf16x12; 4 * LANES],
        codes: &[Bf16x12; 4 * LANES],
        table: Self::CodeTable,
    ) -> Self::Words {
        let mut words = [[bf16::ZERO; 2 * LANES]; 2];
        for i in 0..2 * LANES {
            let rest = u16::from_le_bytes([rest[2 * i].0, rest[2 * i + 1].0]);
            let codes = codes[2 * i + usize::from(SECOND)].0;
            let parts = [(rest, codes & 15), (rest.swap_bytes(), codes >> 4)];
            for (words, (rest, code)) in words.iter_mut().zip(parts) {
                words[i] = bf16::from_bits(rest & 0x807f | u16::from(table[usize::from(code)]) << 7);
            }
        }
        words
    }
}

/// The types of a matrix unit for targets that have none.
#[cfg(not(all(target_arch = "x86_64", target_feature = "sse2")))]
pub(super) mod no_matrix {
    use crate::isa::matrix::ByteRows;

    /// The proof that there is a matrix unit, of which no value exists.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(crate) enum Matrix {}

    /// A matrix unit in use, of which no value exists.
    pub(crate) enum Tiles {}

    impl Matrix {
        pub(crate) unsafe fn tiles(self) -> Tiles {
            match self {}
        }
    }

    impl Tiles {
        pub(crate) unsafe fn add_products(
            &mut self,
            _: ByteRows,
            _: (*const u8, usize),
            _: (*const u8, usize),
            _: *mut u8,
            _: (*const u8, usize),
        ) {
            match *self {}
        }
    }
}
