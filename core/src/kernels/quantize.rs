//! Rows of activations to 8 bits: `q[i] = round(x[i] · 127 / max |x|) + 128`, ties to even, and the row's scale `max |x| / 127`.
//!
//! A row's scale knows nothing of other rows, so a row is the same bits alone and in a batch. Where an element is not finite the
//! scale is NaN, and with it every output of the product: a broken row is never served as a number.
use crate::dtype::{INT8_MAX, Int8, int8_scale};
use crate::isa::{Isa, LANES, Simd, SimdOp};
use crate::kernels::rmsnorm::load_part;

/// Rounds a row to 8 bits offset by 128; returns its scale. Both slices are whole vectors of 16.
///
/// # Panics
/// If the lengths differ or are no multiple of 16.
pub fn quantize(isa: Isa, x: &[f32], out: &mut [Int8]) -> f32 {
    isa.run(Quantize { x, out })
}

struct Quantize<'a> {
    x: &'a [f32],
    out: &'a mut [Int8],
}

impl SimdOp for Quantize<'_> {
    type Output = f32;
    #[inline(always)]
    fn eval<S: Simd>(self, s: S) -> f32 {
        let Self { x, out } = self;
        assert!(x.len() == out.len() && x.len().is_multiple_of(LANES));
        let (scale, inverse) = row_scale(s, x);
        for (part, out) in x.chunks_exact(LANES).zip(out.chunks_exact_mut(LANES)) {
            // SAFETY: 16 elements.
            unsafe { round_part(s, part, inverse, out.as_mut_ptr()) };
        }
        scale
    }
}

/// The scale of a row of any length, NaN where an element is not finite, and what makes its elements 8-bit numbers.
#[inline(always)]
pub(crate) fn row_scale<S: Simd>(s: S, x: &[f32]) -> (f32, f32) {
    let (mut max, mut poison) = (s.splat(0.0), s.splat(0.0));
    for part in x.chunks(LANES) {
        let x = load_part(s, part);
        max = s.max(s.abs(x), max);
        // Zero times what is not finite is NaN, and a NaN stays in a sum.
        poison = s.add(poison, s.mul(x, s.splat(0.0)));
    }
    let max = s.max_lanes(max);
    #[cfg(mutants)]
    let max = if mutant!(BatchScale) { crate::mutants::greatest(Some(max)) } else { max };
    let (scale, inverse) = int8_scale(max);
    (scale + s.sum_lanes(poison), inverse)
}

/// Rounds at most 16 elements of a row to 8 bits offset by 128; lanes past the last one become 128, which is 0.
///
/// # Safety
/// `out` is valid for writing 16 elements.
#[inline(always)]
pub(crate) unsafe fn round_part<S: Simd>(s: S, part: &[f32], inverse: f32, out: *mut Int8) {
    let scaled = s.mul(load_part(s, part), s.splat(inverse));
    let bounded = s.min(s.max(scaled, s.splat(-INT8_MAX)), s.splat(INT8_MAX));
    // SAFETY: the caller vouches for 16 elements.
    unsafe { s.store_offset_int8(out, bounded) };
}

/// One element at a time: what [`quantize`] equals bit for bit on finite rows.
pub fn reference(x: &[f32], out: &mut [Int8]) -> f32 {
    let max = x.iter().fold(0.0_f32, |max, x| if x.abs() > max { x.abs() } else { max });
    let (scale, inverse) = int8_scale(max);
    for (x, out) in x.iter().zip(out) {
        let rounded = libm::rintf(x * inverse).clamp(-INT8_MAX, INT8_MAX);
        *out = Int8((rounded as i32 + 128) as u8);
    }
    scale
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::matmul::tests::noise;
    use proptest::prelude::*;
    use std::vec;
    use std::vec::Vec;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200))]
        #[test]
        fn equals_the_reference_and_errs_by_half_a_step(seed: u64, vectors in 1_usize..20, exponent in -60_i32..60) {
            let size = libm::ldexpf(1.0, exponent);
            let x: Vec<f32> = (0..vectors * LANES).map(|i| noise(seed, i) * size).collect();
            let mut expected = vec![Int8(0); x.len()];
            let scale = reference(&x, &mut expected);
            for isa in Isa::available().iter() {
                let mut out = vec![Int8(9); x.len()];
                prop_assert_eq!(quantize(*isa, &x, &mut out).to_bits(), scale.to_bits(), "{}", isa.name());
                prop_assert_eq!(&out, &expected, "{}", isa.name());
            }
            for (x, q) in x.iter().zip(&expected) {
                let back = (f64::from(q.0) - 128.0) * f64::from(scale);
                let step = if scale == 0.0 { f64::from(crate::dtype::FLUSH_BELOW) } else { f64::from(scale) * 0.501 };
                prop_assert!((back - f64::from(*x)).abs() <= step, "{x} {back} {scale}");
            }
        }
    }

    #[test]
    fn ties_go_to_even_and_what_is_not_finite_poisons_the_row() {
        let mut x = [0.0; LANES];
        x[..6].copy_from_slice(&[127.0, 0.5, 1.5, -0.5, -2.5, -127.0]);
        for isa in Isa::available().iter() {
            let mut out = [Int8(0); LANES];
            assert_eq!(quantize(*isa, &x, &mut out), 1.0);
            assert_eq!(
                out[..7].iter().map(|q| i32::from(q.0) - 128).collect::<Vec<_>>(),
                [127, 0, 2, 0, -2, -127, 0]
            );
            for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
                let mut broken = x;
                broken[9] = bad;
                assert!(quantize(*isa, &broken, &mut out).is_nan(), "{} {bad}", isa.name());
            }
            assert_eq!(quantize(*isa, &[0.0; LANES], &mut out), 0.0);
            assert_eq!(out, [Int8(128); LANES]);
        }
    }
}
