//! RMSNorm: `y[i] = w[i] · (x[i] · inv)`, `inv = 1 / sqrt(Σ x² / n + eps)` (Zhang and Sennrich,
//! 2019).
//!
//! The squares are summed by fused multiply-add in 16 virtual lanes, lane `i mod 16` taking its
//! elements in ascending order, and the lanes by the one merge tree. The root and the divisions are
//! correctly rounded.
use super::quantize::quantize_from;
use crate::dtype::Int8;
use crate::isa::slices::{load_part, store_part, store_part_bf16};
use crate::isa::{Isa, LANES, Simd, SimdOp};
use half::bf16;

/// Where a normalised row goes.
#[derive(Debug)]
pub enum Normed<'a> {
    /// As f32, without rounding.
    F32(&'a mut [f32]),
    /// Rounded to bf16 operands.
    Bf16(&'a mut [bf16]),
    /// Rotated and rounded to 8 bits, as [`quantize`](super::quantize::quantize) does it; whole
    /// vectors of 16.
    Int8 {
        /// The row before it is rounded; what it held is lost.
        floats: &'a mut [f32],
        /// The rotated row, rounded to 8 bits.
        rounded: &'a mut [Int8],
        /// The scale of the rounded row.
        scale: &'a mut f32,
    },
}

/// Normalises `x` with the weights `w`; all slices have the row's true width `n`, or are zero from
/// there on, in which case `n` says what to divide by.
///
/// # Panics
/// If the lengths differ.
pub fn rms_norm(isa: Isa, x: &[f32], w: &[f32], n: usize, eps: f32, out: Normed<'_>) {
    isa.run(RmsNorm { x, w, n, eps, out });
}

struct RmsNorm<'a> {
    x: &'a [f32],
    w: &'a [f32],
    n: usize,
    eps: f32,
    out: Normed<'a>,
}

/// `1 / sqrt(Σ x² / n + eps)`
#[inline(always)]
fn inverse_root_mean_square<S: Simd>(s: S, x: &[f32], n: usize, eps: f32) -> f32 {
    let mut squares = s.splat(0.0);
    for chunk in x.chunks(LANES) {
        let v = load_part(s, chunk);
        squares = s.fma(v, v, squares);
    }
    1.0 / libm::sqrtf(s.sum_lanes(squares) / n as f32 + eps)
}

/// `w · (x · inv)` for the elements from `i` on.
#[inline(always)]
fn normed_part<S: Simd>(s: S, x: &[f32], w: &[f32], inv: S::F, i: usize) -> S::F {
    let end = x.len().min(i + LANES);
    s.mul(load_part(s, &w[i..end]), s.mul(load_part(s, &x[i..end]), inv))
}

impl SimdOp for RmsNorm<'_> {
    type Output = ();
    const MULTIPLIES_PAIRS: bool = false;
    #[inline(always)]
    fn eval<S: Simd>(self, s: S) {
        let Self { x, w, n, eps, out } = self;
        assert!(x.len() == w.len() && n <= x.len() && n > 0);
        let inv = s.splat(inverse_root_mean_square(s, x, n, eps));
        match out {
            Normed::F32(out) => {
                assert!(out.len() == x.len());
                for (chunk, part) in out.chunks_mut(LANES).enumerate() {
                    store_part(s, part, normed_part(s, x, w, inv, chunk * LANES));
                }
            }
            Normed::Bf16(out) => {
                assert!(out.len() == x.len());
                for (chunk, part) in out.chunks_mut(LANES).enumerate() {
                    store_part_bf16(s, part, normed_part(s, x, w, inv, chunk * LANES));
                }
            }
            Normed::Int8 { floats, rounded, scale } => {
                assert!(floats.len() == x.len());
                *scale = quantize_from(
                    s,
                    n,
                    floats,
                    rounded,
                    #[inline(always)]
                    |_, start, i| normed_part(s, x, w, inv, start + i),
                );
            }
        }
    }
}

/// Normalises in place, for the heads of Q and K; call within code compiled for `S`.
#[inline(always)]
pub(crate) fn rms_norm_in_place<S: Simd>(s: S, x: &mut [f32], w: &[f32], eps: f32) {
    let inv = s.splat(inverse_root_mean_square(s, x, x.len(), eps));
    for (part, w) in x.chunks_mut(LANES).zip(w.chunks(LANES)) {
        let y = s.mul(load_part(s, w), s.mul(load_part(s, part), inv));
        store_part(s, part, y);
    }
}

/// One element at a time: what [`rms_norm`] equals bit for bit.
pub fn reference(x: &[f32], w: &[f32], n: usize, eps: f32, out: &mut [f32]) {
    let mut lanes = [0.0_f32; LANES];
    for (i, x) in x.iter().enumerate() {
        lanes[i % LANES] = crate::isa::portable::fma(*x, *x, lanes[i % LANES]);
    }
    for width in [8, 4, 2, 1] {
        for i in 0..width {
            lanes[i] += lanes[i + width];
        }
    }
    let inv = 1.0 / libm::sqrtf(lanes[0] / n as f32 + eps);
    for i in 0..x.len() {
        out[i] = w[i] * (x[i] * inv);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dtype::bf16_operand;
    use crate::kernels::matmul::tests::noise;
    use crate::kernels::quantize;
    use proptest::prelude::*;
    use std::vec;
    use std::vec::Vec;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(100))]
        #[test]
        fn equals_the_reference_and_the_formula(seed: u64, n in 1_usize..300, padding in 0_usize..40) {
            let len = n + padding;
            let x: Vec<f32> = (0..len).map(|i| if i < n { noise(seed, i) * 3.0 } else { 0.0 }).collect();
            let w: Vec<f32> = (0..len).map(|i| if i < n { 1.0 + noise(seed ^ 1, i) } else { 0.0 }).collect();
            let mut expected = vec![0.0; len];
            reference(&x, &w, n, 1e-5, &mut expected);
            let mean = x.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>() / n as f64;
            for i in 0..len {
                let exact = f64::from(w[i]) * f64::from(x[i]) / (mean + 1e-5).sqrt();
                prop_assert!((f64::from(expected[i]) - exact).abs() <= 1e-6 * exact.abs() + 1e-12);
            }
            for isa in Isa::available().iter() {
                let mut out = vec![f32::NAN; len];
                rms_norm(*isa, &x, &w, n, 1e-5, Normed::F32(&mut out));
                let mut narrow = vec![bf16::ONE; len];
                rms_norm(*isa, &x, &w, n, 1e-5, Normed::Bf16(&mut narrow));
                let whole = len.next_multiple_of(LANES);
                let [x, w] = [&x, &w].map(|x| x.iter().copied().chain([0.0; LANES]).take(whole).collect::<Vec<f32>>());
                let (mut floats, mut rounded, mut scale) = (vec![f32::NAN; whole], vec![Int8(9); whole], 0.0);
                let int8 = Normed::Int8 { floats: &mut floats, rounded: &mut rounded, scale: &mut scale };
                rms_norm(*isa, &x, &w, n, 1e-5, int8);
                let (mut row, mut expected_int8) = (expected.clone(), vec![Int8(9); whole]);
                row.resize(whole, 0.0);
                let expected_scale = quantize::reference(n, &mut row, &mut expected_int8);
                prop_assert_eq!(scale.to_bits(), expected_scale.to_bits(), "{}", isa.name());
                prop_assert_eq!(&rounded, &expected_int8, "{}", isa.name());
                for i in 0..len {
                    prop_assert_eq!(out[i].to_bits(), expected[i].to_bits(), "{} at {}", isa.name(), i);
                    prop_assert_eq!(narrow[i].to_bits(), bf16_operand(expected[i]).to_bits());
                }
            }
        }
    }
}
