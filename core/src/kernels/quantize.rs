//! Rows of activations to 8 bits: the row is [rotated](super::rotation::rows), then `q[i] =
//! round(x[i] · 127 / max |x|) + 128`, ties to even, and its scale is `max |x| / 127`.
//!
//! A row's scale knows nothing of other rows, so a row is the same bits alone and in a batch. Where
//! an element is not finite, or not any more once rotated, the scale is NaN, and with it every
//! output of the product: a broken row is never served as a number.
use super::rotation;
use super::rotation::rows::BLOCK;
use crate::dtype::{INT8_MAX, Int8, int8_scale};
use crate::isa::slices::{load_part, store_offset_int8};
use crate::isa::{Isa, LANES, Simd, SimdOp};

/// An activation of value 0: 8 bits offset by 128.
const ZERO: Int8 = Int8(128);

/// Rotates the first `width` elements of `x` in place and rounds them to 8 bits offset by 128; what
/// follows in `out` becomes zero. Returns the scale. Both slices are whole vectors of 16.
///
/// # Panics
/// If the lengths differ, are no multiple of 16, or are less than the width.
pub fn quantize(isa: Isa, width: usize, x: &mut [f32], out: &mut [Int8]) -> f32 {
    isa.run(Quantize { width, x, out })
}

struct Quantize<'a> {
    width: usize,
    x: &'a mut [f32],
    out: &'a mut [Int8],
}

impl SimdOp for Quantize<'_> {
    type Output = f32;
    const MULTIPLIES_PAIRS: bool = false;
    #[inline(always)]
    fn eval<S: Simd>(self, s: S) -> f32 {
        let Self { width, x, out } = self;
        quantize_from(
            s,
            width,
            x,
            out,
            #[inline(always)]
            |block, _, i| load_part(s, &block[i..]),
        )
    }
}

/// [`quantize`] for a row that is read by `part(block, start, i)`: the 16 elements from `start + i`
/// on, `block` being what `x` holds from `start` on. Call within code compiled for `S`.
#[inline(always)]
pub(crate) fn quantize_from<S: Simd>(
    s: S,
    width: usize,
    x: &mut [f32],
    out: &mut [Int8],
    part: impl Fn(&[f32], usize, usize) -> S::F,
) -> f32 {
    assert!(x.len() == out.len() && x.len().is_multiple_of(LANES) && width <= x.len());
    let (mut max, mut poison) = (s.splat(0.0), s.splat(0.0));
    for (number, block) in x[..width].chunks_mut(BLOCK).enumerate() {
        rotation::rows::rotate_from(
            s,
            block,
            #[inline(always)]
            |block, i| part(block, number * BLOCK, i),
        );
        for part in block.chunks(LANES) {
            let x = load_part(s, part);
            max = s.max(s.abs(x), max);
            // Zero times what is not finite is NaN, and a NaN stays in a sum.
            poison = s.add(poison, s.mul(x, s.splat(0.0)));
        }
    }
    let max = s.max_lanes(max);
    let (scale, inverse) = int8_scale(max);
    for (part, out) in x.chunks_exact(LANES).zip(out.chunks_exact_mut(LANES)) {
        round_part(s, part, inverse, out);
    }
    out[width..].fill(ZERO);
    scale + s.sum_lanes(poison)
}

/// The scale of a row of any length, NaN where an element is not finite, and what makes its
/// elements 8-bit numbers.
#[inline(always)]
pub(crate) fn row_scale<S: Simd>(s: S, x: &[f32]) -> (f32, f32) {
    let (mut max, mut poison) = (s.splat(0.0), s.splat(0.0));
    for part in x.chunks(LANES) {
        let x = load_part(s, part);
        max = s.max(s.abs(x), max);
        // Zero times what is not finite is NaN, and a NaN stays in a sum.
        poison = s.add(poison, s.mul(x, s.splat(0.0)));
    }
    let (scale, inverse) = int8_scale(s.max_lanes(max));
    (scale + s.sum_lanes(poison), inverse)
}

/// Rounds at most 16 elements of a row to 8 bits offset by 128; lanes past the last one become 128,
/// which stands for 0.
///
/// # Panics
/// If `out` has less than 16 elements.
#[inline(always)]
pub(crate) fn round_part<S: Simd>(s: S, part: &[f32], inverse: f32, out: &mut [Int8]) {
    let scaled = s.mul(load_part(s, part), s.splat(inverse));
    let bounded = s.min(s.max(scaled, s.splat(-INT8_MAX)), s.splat(INT8_MAX));
    store_offset_int8(s, out, bounded);
}

/// One element at a time: what [`quantize`] equals bit for bit on finite rows.
pub fn reference(width: usize, x: &mut [f32], out: &mut [Int8]) -> f32 {
    let x = &mut x[..width];
    rotation::rows::reference(x);
    out.fill(ZERO);
    round_reference(x, out)
}

/// A row as it is, rounded one element at a time: what [`row_scale`] and [`round_part`] equal.
pub(crate) fn round_reference(x: &[f32], out: &mut [Int8]) -> f32 {
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
        fn equals_the_reference_and_errs_by_half_a_step(seed: u64, width in 1_usize..700, exponent in -60_i32..60) {
            let size = libm::ldexpf(1.0, exponent);
            let len = crate::tensor::padded(width);
            // What lies behind the row does not matter.
            let x: Vec<f32> = (0..len).map(|i| noise(seed, i) * size).collect();
            let (mut rotated, mut expected) = (x.clone(), vec![Int8(0); len]);
            let scale = reference(width, &mut rotated, &mut expected);
            for isa in Isa::available().iter() {
                let (mut x, mut out) = (x.clone(), vec![Int8(9); len]);
                prop_assert_eq!(quantize(*isa, width, &mut x, &mut out).to_bits(), scale.to_bits(), "{}", isa.name());
                prop_assert_eq!(&out, &expected, "{}", isa.name());
                prop_assert_eq!(&x[..width], &rotated[..width], "{}", isa.name());
            }
            for (x, q) in rotated[..width].iter().zip(&expected) {
                let back = (f64::from(q.0) - 128.0) * f64::from(scale);
                let step = if scale == 0.0 { f64::from(crate::dtype::FLUSH_BELOW) } else { f64::from(scale) * 0.501 };
                prop_assert!((back - f64::from(*x)).abs() <= step, "{x} {back} {scale}");
            }
            prop_assert!(expected[width..].iter().all(|q| *q == ZERO));
        }
    }

    #[test]
    fn what_is_not_finite_poisons_the_row() {
        for isa in Isa::available().iter() {
            for width in [5, 16, 40, 300] {
                let len = crate::tensor::padded(width);
                let mut out = vec![Int8(0); len];
                for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
                    for at in [0, width / 2, width - 1] {
                        let mut broken: Vec<f32> = (0..len).map(|i| noise(1, i)).collect();
                        broken[at] = bad;
                        let scale = quantize(*isa, width, &mut broken, &mut out);
                        assert!(scale.is_nan(), "{} {bad} at {at} of {width}", isa.name());
                    }
                }
                assert_eq!(quantize(*isa, width, &mut vec![0.0; len], &mut out), 0.0);
                assert!(out.iter().all(|q| *q == ZERO));
            }
        }
    }

    #[test]
    fn ties_go_to_even() {
        // Rotated back, so that the rotation gives these exactly: a block of 16 is scaled by a
        // quarter.
        let wanted = [127.0, 0.5, 1.5, -0.5, -2.5, -127.0, 0.0, 3.5, 4.5, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0];
        for isa in Isa::available().iter() {
            let (mut x, mut out) = (wanted, [Int8(0); LANES]);
            rotation::rows::rotate_back(&mut x);
            assert_eq!(quantize(*isa, LANES, &mut x, &mut out), 1.0);
            assert_eq!(x, wanted);
            assert_eq!(
                out[..9].iter().map(|q| i32::from(q.0) - 128).collect::<Vec<_>>(),
                [127, 0, 2, 0, -2, -127, 0, 4, 4]
            );
        }
    }
}
