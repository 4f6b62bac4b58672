//! `exp` in sixteen lanes: one polynomial for every instruction set.
//!
//! 1. `n = round(x / ln 2)`, to nearest even, by adding and subtracting 1.5 · 2^23.
//! 2. `r = x - n ln 2`, with ln 2 in two parts (Cody and Waite), so `|r| <= 0.347`.
//! 3. The Taylor polynomial of degree 7 at `r`: its remainder is below 5.3e-9, a tenth of an ulp.
//! 4. Scale by `2^n`.
//!
//! The result is within 2 ulp of the true value where that is normal (tested over the whole range).
//! Below -87.33 it is +0, above 88 it stays at `exp(88)`; NaN stays NaN.
use crate::isa::Simd;

const LOG2_E: f32 = core::f32::consts::LOG2_E;
/// The upper bits of ln 2: its product with any `n` here is exact.
const LN2_HIGH: f32 = 355.0 / 512.0;
/// ln 2 − [`LN2_HIGH`].
const LN2_LOW: f32 = -2.121_944_4e-4;
/// Adding it to a float below 2^22 in magnitude rounds that float to an integer.
const ROUND: f32 = 12_582_912.0;
/// Where exp leaves the normal range.
const UNDERFLOW: f32 = -87.33;
const SATURATE: f32 = 88.0;

/// `e^x`, lane by lane.
#[inline(always)]
pub fn exp<S: Simd>(s: S, x: S::F) -> S::F {
    // The constant comes first: min and max then let a NaN in `x` through.
    let clamped = s.max(s.splat(UNDERFLOW), s.min(s.splat(SATURATE), x));
    let n = s.sub(s.fma(clamped, s.splat(LOG2_E), s.splat(ROUND)), s.splat(ROUND));
    let r = s.fma(n, s.splat(-LN2_HIGH), clamped);
    let r = s.fma(n, s.splat(-LN2_LOW), r);
    let mut p = s.splat(1.0 / 5040.0);
    for coefficient in [1.0 / 720.0, 1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 0.5, 1.0, 1.0] {
        p = s.fma(p, r, s.splat(coefficient));
    }
    let y = s.scale_by_power_of_two(p, n);
    s.select_lt(x, s.splat(UNDERFLOW), s.splat(0.0), y)
}

/// `x / (1 + e^-x)`, lane by lane.
#[inline(always)]
pub fn silu<S: Simd>(s: S, x: S::F) -> S::F {
    let e = exp(s, s.sub(s.splat(0.0), x));
    s.div(x, s.add(s.splat(1.0), e))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::isa::{Isa, LANES, SimdOp};

    struct Apply([f32; LANES], bool);
    impl SimdOp for Apply {
        type Output = [f32; LANES];
        #[inline(always)]
        fn eval<S: Simd>(self, s: S) -> [f32; LANES] {
            let x = s.lanes_of(self.0);
            s.to_array(if self.1 { exp(s, x) } else { silu(s, x) })
        }
    }

    fn on_every_instruction_set(x: [f32; LANES], is_exp: bool) -> [f32; LANES] {
        let expected = Isa::PORTABLE.run(Apply(x, is_exp));
        for isa in Isa::available().iter() {
            let got = isa.run(Apply(x, is_exp));
            for i in 0..LANES {
                let same =
                    got[i].to_bits() == expected[i].to_bits() || got[i].is_nan() && expected[i].is_nan();
                assert!(same, "{} at {:e}: {:e} and {:e}", isa.name(), x[i], got[i], expected[i]);
            }
        }
        expected
    }

    #[test]
    fn exp_is_within_two_ulp_over_its_range() {
        let mut worst = 0.0_f64;
        // Every 997th float of the range, both signs; every 7976th near 0, where most floats are
        // and the curve is a line.
        let mut bits = 0_u32;
        while f32::from_bits(bits) < 88.0 {
            let mut x = [0.0; LANES];
            for (i, lane) in x.iter_mut().enumerate() {
                let sign = if i % 2 == 0 { 1.0 } else { -1.0 };
                *lane = sign * f32::from_bits(bits.wrapping_add(i as u32 * 61_001)).clamp(0.0, 87.3);
            }
            let y = on_every_instruction_set(x, true);
            for i in 0..LANES {
                let exact = libm::exp(f64::from(x[i]));
                let ulp = f64::from(f32::from_bits((exact as f32).to_bits() + 1)) - f64::from(exact as f32);
                worst = worst.max((f64::from(y[i]) - exact).abs() / ulp);
            }
            bits += 997 * 16 * if f32::from_bits(bits) < 1.0 / 4096.0 { 8 } else { 1 };
        }
        assert!(worst <= 2.0, "{worst} ulp");
    }

    #[test]
    fn exp_has_exact_edges() {
        let mut x = [0.0; LANES];
        x[..8].copy_from_slice(&[0.0, -0.0, f32::NEG_INFINITY, f32::INFINITY, f32::NAN, -87.4, -1e30, 1e30]);
        let y = on_every_instruction_set(x, true);
        assert_eq!((y[0], y[1], y[2].to_bits()), (1.0, 1.0, 0));
        assert_eq!((y[3], y[7]), (y[3], y[3]));
        assert!(y[3].is_finite() && y[4].is_nan());
        assert_eq!((y[5].to_bits(), y[6].to_bits()), (0, 0));
    }

    #[test]
    fn silu_is_x_times_sigmoid() {
        for step in -400..400 {
            let x: [f32; LANES] = core::array::from_fn(|i| step as f32 * 0.25 + i as f32 * 0.015);
            let y = on_every_instruction_set(x, false);
            for i in 0..LANES {
                let exact = f64::from(x[i]) / (1.0 + libm::exp(-f64::from(x[i])));
                let error = (f64::from(y[i]) - exact).abs();
                assert!(error <= 4e-7 * exact.abs() + 1e-30, "{} {} {}", x[i], y[i], exact);
            }
        }
    }
}
