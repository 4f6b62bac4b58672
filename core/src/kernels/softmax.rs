//! The stable softmax of a row, and its normaliser.
//!
//! `m = max x`, in 16 lanes (lane `i mod 16`) and the merge tree; `Σ e^(x − m)` likewise, elements
//! ascending in each lane. A row with a NaN or an infinity is reported, not computed.
use crate::isa::slices::{load_part, store_part};
use crate::isa::{Isa, LANES, Simd, SimdOp};
use crate::kernels::log::ln;
use crate::kernels::math::exp;

/// What log-softmax subtracts: `log p(i) = (x[i] − max) − log_sum`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Normaliser {
    /// The maximum of the row.
    pub max: f32,
    /// The logarithm of the sum, `ln Σ e^(x − max)`.
    pub log_sum: f32,
}

impl Normaliser {
    /// The log-probability of an element.
    pub fn logprob(&self, x: f32) -> f32 {
        (x - self.max) - self.log_sum
    }
}

/// The normaliser of a row, or `None` if an element is not finite or there is none.
pub fn log_sum_exp(isa: Isa, x: &[f32]) -> Option<Normaliser> {
    isa.run(LogSumExp(x))
}

struct LogSumExp<'a>(&'a [f32]);

/// Lanes past the end of a row hold its first element for the maximum, and −inf for the sum.
#[inline(always)]
fn load_or<S: Simd>(s: S, part: &[f32], other: f32) -> S::F {
    if part.len() >= LANES {
        return load_part(s, part);
    }
    let mut lanes = [other; LANES];
    lanes[..part.len()].copy_from_slice(part);
    s.lanes_of(lanes)
}

#[inline(always)]
fn finite_max<S: Simd>(s: S, x: &[f32]) -> Option<f32> {
    let first = *x.first()?;
    let mut max = s.splat(first);
    let mut poison = s.splat(0.0);
    for part in x.chunks(LANES) {
        let v = load_or(s, part, first);
        max = s.max(max, v);
        poison = s.fma(v, s.splat(0.0), poison); // NaN once an element is NaN or infinite
    }
    (s.sum_lanes(poison) == 0.0).then(|| s.max_lanes(max))
}

impl SimdOp for LogSumExp<'_> {
    type Output = Option<Normaliser>;
    const MULTIPLIES_PAIRS: bool = false;
    #[inline(always)]
    fn eval<S: Simd>(self, s: S) -> Option<Normaliser> {
        let max = finite_max(s, self.0)?;
        let mut sum = s.splat(0.0);
        for part in self.0.chunks(LANES) {
            let v = load_or(s, part, f32::NEG_INFINITY);
            sum = s.add(sum, exp(s, s.sub(v, s.splat(max))));
        }
        let log_sum = s.to_array(ln(s, s.splat(s.sum_lanes(sum))))[0];
        Some(Normaliser { max, log_sum })
    }
}

/// `x = e^(x − max)`, in place; returns the sum. The elements may be −inf, not all of them, but not
/// NaN or +inf.
pub fn exp_weights(isa: Isa, x: &mut [f32], max: f32) -> f32 {
    isa.run(ExpWeights(x, max))
}

struct ExpWeights<'a>(&'a mut [f32], f32);

impl SimdOp for ExpWeights<'_> {
    type Output = f32;
    const MULTIPLIES_PAIRS: bool = false;
    #[inline(always)]
    fn eval<S: Simd>(self, s: S) -> f32 {
        let mut sum = s.splat(0.0);
        for part in self.0.chunks_mut(LANES) {
            let y = exp(s, s.sub(load_or(s, part, f32::NEG_INFINITY), s.splat(self.1)));
            sum = s.add(sum, y);
            store_part(s, part, y);
        }
        s.sum_lanes(sum)
    }
}

/// Softmax in place: [`exp_weights`], each divided by the sum. `false`, and nothing done, if an
/// element is not finite or there is none.
pub fn softmax(isa: Isa, x: &mut [f32]) -> bool {
    let Some(Normaliser { max, .. }) = log_sum_exp(isa, x) else { return false };
    let sum = exp_weights(isa, x, max);
    for x in x {
        *x /= sum;
    }
    true
}

/// One element at a time: what [`softmax`] equals bit for bit.
pub fn reference(x: &mut [f32]) {
    use crate::isa::Portable;
    let max = x.iter().fold(f32::NEG_INFINITY, |m, x| if *x > m { *x } else { m });
    let mut lanes = [0.0_f32; LANES];
    for (i, x) in x.iter_mut().enumerate() {
        *x = exp(Portable, Portable.splat(*x - max))[0];
        lanes[i % LANES] += *x;
    }
    for width in [8, 4, 2, 1] {
        for i in 0..width {
            lanes[i] += lanes[i + width];
        }
    }
    for x in x {
        *x /= lanes[0];
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::matmul::tests::noise;
    use proptest::prelude::*;
    use std::vec::Vec;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(100))]
        #[test]
        fn equals_the_reference_and_the_formula(seed: u64, n in 1_usize..200, scale in 0.1_f32..60.0) {
            let x: Vec<f32> = (0..n).map(|i| noise(seed, i) * scale).collect();
            let mut expected = x.clone();
            reference(&mut expected);
            let max = x.iter().copied().fold(f32::MIN, f32::max);
            let sum: f64 = x.iter().map(|x| libm::exp(f64::from(*x) - f64::from(max))).sum();
            for isa in Isa::available().iter() {
                let mut y = x.clone();
                prop_assert!(softmax(*isa, &mut y));
                let normaliser = log_sum_exp(*isa, &x).unwrap();
                prop_assert_eq!(normaliser, log_sum_exp(Isa::PORTABLE, &x).unwrap());
                for i in 0..n {
                    prop_assert_eq!(y[i].to_bits(), expected[i].to_bits(), "{}", isa.name());
                    let exact = libm::exp(f64::from(x[i]) - f64::from(max)) / sum;
                    prop_assert!((f64::from(y[i]) - exact).abs() <= 1e-5 * exact + 1e-30);
                    let logprob = f64::from(x[i]) - f64::from(max) - libm::log(sum);
                    prop_assert!((f64::from(normaliser.logprob(x[i])) - logprob).abs() < 4e-5);
                }
            }
        }
    }

    #[test]
    fn what_is_not_finite_is_reported() {
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            for at in [0, 16, 36] {
                let mut x = [1.0; 37];
                x[at] = bad;
                for isa in Isa::available().iter() {
                    assert_eq!(log_sum_exp(*isa, &x), None);
                    assert!(!softmax(*isa, &mut x.clone()));
                }
            }
        }
        assert_eq!(log_sum_exp(Isa::PORTABLE, &[]), None);
    }
}
