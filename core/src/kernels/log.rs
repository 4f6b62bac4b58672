//! `ln` in sixteen lanes, and the exponential variate `−ln(1 − v)`: one series for both.
//!
//! `x = m · 2^e` with `m` in [√½, √2); `s = (m − 1) / (m + 1)`; `ln m = 2 atanh s = 2s (1 + z/3 +
//! z²/5 + z³/7 + z⁴/9)`, `z = s² ≤ 0.0295`, whose remainder is below 2.1e-9. ln 2 comes in two
//! parts. Within 3 ulp of the true value, or 1.2e-7 near 1 (tested over the whole range).
use crate::isa::Simd;

const LN2_HIGH: f32 = 355.0 / 512.0;
const LN2_LOW: f32 = -2.121_944_4e-4;

/// `2 atanh s` for `|s| <= 0.1716`.
#[inline(always)]
fn twice_atanh<S: Simd>(s: S, x: S::F) -> S::F {
    let z = s.mul(x, x);
    let mut p = s.splat(1.0 / 9.0);
    for coefficient in [1.0 / 7.0, 1.0 / 5.0, 1.0 / 3.0] {
        p = s.fma(p, z, s.splat(coefficient));
    }
    // 2x + 2x · z p: the small part is added last.
    let twice = s.add(x, x);
    s.fma(s.mul(twice, z), p, twice)
}

/// `ln x` for positive normal `x`, lane by lane; other lanes are unspecified, the same on every
/// instruction set.
#[inline(always)]
pub fn ln<S: Simd>(s: S, x: S::F) -> S::F {
    let (m, e) = s.split_exponent(x);
    let root = s.splat(core::f32::consts::SQRT_2);
    let one = s.splat(1.0);
    let low = s.select_lt(m, root, m, s.mul(m, s.splat(0.5)));
    let e = s.select_lt(m, root, e, s.add(e, one));
    let f = s.sub(low, one);
    let y = twice_atanh(s, s.div(f, s.add(low, one)));
    s.fma(e, s.splat(LN2_HIGH), s.fma(e, s.splat(LN2_LOW), y))
}

/// `−ln(1 − v)` for `v` in (0, 1): relative precision is kept down to the smallest `v`.
#[inline(always)]
pub fn exponential<S: Simd>(s: S, v: S::F) -> S::F {
    let rest = s.sub(s.splat(1.0), v);
    let large = s.sub(s.splat(0.0), ln(s, s.max(rest, s.splat(f32::from_bits((127 - 25) << 23)))));
    let small = twice_atanh(s, s.div(v, s.sub(s.splat(2.0), v)));
    s.select_lt(v, s.splat(0.25), small, large)
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
            s.to_array(if self.1 { ln(s, x) } else { exponential(s, x) })
        }
    }

    fn on_every_instruction_set(x: [f32; LANES], is_ln: bool) -> [f32; LANES] {
        let expected = Isa::PORTABLE.run(Apply(x, is_ln));
        for isa in Isa::available().iter() {
            let got = isa.run(Apply(x, is_ln));
            assert_eq!(got.map(f32::to_bits), expected.map(f32::to_bits), "{} {x:?}", isa.name());
        }
        expected
    }

    #[test]
    fn ln_is_close_over_the_normal_range() {
        let mut bits = 0x0080_0000_u32;
        while bits < 0x7f80_0000 - 16 * 12_007 {
            let x: [f32; LANES] = core::array::from_fn(|i| f32::from_bits(bits + i as u32 * 12_007));
            let y = on_every_instruction_set(x, true);
            for i in 0..LANES {
                let exact = libm::log(f64::from(x[i]));
                let error = (f64::from(y[i]) - exact).abs();
                assert!(error <= 3.0 * exact.abs() * 6e-8 + 1.2e-7 * exact.abs().min(1.0), "{:e}", x[i]);
            }
            bits += 16 * 12_007;
        }
        assert_eq!(on_every_instruction_set([1.0; LANES], true)[0], 0.0);
    }

    #[test]
    fn exponential_variates_keep_their_precision() {
        let mut v = 1e-16_f32;
        while v < 0.9999 {
            let x: [f32; LANES] = core::array::from_fn(|i| (v * (1.0 + i as f32 * 0.01)).min(0.9999));
            let y = on_every_instruction_set(x, false);
            for i in 0..LANES {
                let exact = -libm::log1p(-f64::from(x[i]));
                assert!((f64::from(y[i]) - exact).abs() <= 6e-7 * exact, "{:e} {:e} {exact:e}", x[i], y[i]);
            }
            v *= 1.17;
        }
        assert!(on_every_instruction_set([1.0; LANES], false)[0].is_finite());
    }
}
