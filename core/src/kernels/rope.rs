//! Rotary position embedding (Su et al., 2021), Hugging Face's half rotation.
//!
//! A head of width D is rotated in pairs `(i, i + D/2)` by the angle `position · f[i]`:
//!
//! * `f[i] = 1 / theta^(2i / D)`, each operation rounded to f32 as transformers rounds it;
//! * the angle is an f32 product; its cosine and sine are taken in f64 and rounded once;
//! * `y[i] = x[i] cos − x[i + D/2] sin`, `y[i + D/2] = x[i + D/2] cos + x[i] sin`: two products and
//!   a sum, each rounded.
use crate::isa::slices::{load_part, store_part};
use crate::isa::{LANES, Simd};

/// How RoPE's frequencies are made from `theta`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum RopeScaling {
    /// The frequencies stay as they are.
    None,
    /// Llama 3.1's: long wavelengths divided by `factor`, a smooth passage between the two bounds.
    Llama3 {
        /// The divisor of low frequencies.
        factor: f32,
        /// Wavelengths above `original_positions / low_freq_factor` are divided.
        low_freq_factor: f32,
        /// Wavelengths below `original_positions / high_freq_factor` are kept.
        high_freq_factor: f32,
        /// The context the model was first trained for.
        original_positions: u32,
    },
}

/// The frequencies of one RoPE table.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RopeConfig {
    /// The base of the frequencies.
    pub theta: f64,
    /// How the frequencies are scaled for contexts beyond the one of training.
    pub scaling: RopeScaling,
}

/// Fills `out` (`[head_dim / 2]`) with the frequencies.
pub fn frequencies(config: &RopeConfig, out: &mut [f32]) {
    let head_dim = (out.len() * 2) as f32;
    for (i, f) in out.iter_mut().enumerate() {
        let exponent = (2 * i) as f32 / head_dim;
        let power = libm::pow(config.theta, f64::from(exponent)) as f32;
        *f = scaled(1.0 / power, config.scaling);
    }
}

/// Llama 3.1's rule, in the order of operations of transformers.
fn scaled(frequency: f32, scaling: RopeScaling) -> f32 {
    let RopeScaling::Llama3 { factor, low_freq_factor, high_freq_factor, original_positions } = scaling
    else {
        return frequency;
    };
    let original = original_positions as f32;
    let wavelength = core::f32::consts::TAU / frequency;
    if wavelength > original / low_freq_factor {
        frequency / factor
    } else if wavelength < original / high_freq_factor {
        frequency
    } else {
        let smooth = (original / wavelength - low_freq_factor) / (high_freq_factor - low_freq_factor);
        (1.0 - smooth) * frequency / factor + smooth * frequency
    }
}

/// The cosines and sines of a position: each `[head_dim / 2]`.
pub fn rotation(frequencies: &[f32], position: u32, cos: &mut [f32], sin: &mut [f32]) {
    for (i, f) in frequencies.iter().enumerate() {
        let angle = f64::from(position as f32 * f);
        cos[i] = libm::cos(angle) as f32;
        sin[i] = libm::sin(angle) as f32;
    }
}

/// Rotates one head in place; `cos` and `sin` are `[head_dim / 2]`.
#[inline(always)]
pub fn rotate<S: Simd>(s: S, head: &mut [f32], cos: &[f32], sin: &[f32]) {
    let (low, high) = head.split_at_mut(cos.len());
    let halves = low.chunks_mut(LANES).zip(high.chunks_mut(LANES));
    for ((low, high), (cos, sin)) in halves.zip(cos.chunks(LANES).zip(sin.chunks(LANES))) {
        let (x, y) = (load_part(s, low), load_part(s, high));
        let (c, n) = (load_part(s, cos), load_part(s, sin));
        store_part(s, low, s.sub(s.mul(x, c), s.mul(y, n)));
        store_part(s, high, s.add(s.mul(y, c), s.mul(x, n)));
    }
}

/// One element at a time: what [`rotate`] equals bit for bit.
pub fn reference(head: &mut [f32], cos: &[f32], sin: &[f32]) {
    let half = cos.len();
    for i in 0..half {
        let (x, y) = (head[i], head[i + half]);
        head[i] = x * cos[i] - y * sin[i];
        head[i + half] = y * cos[i] + x * sin[i];
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::isa::{Isa, SimdOp};
    use crate::kernels::matmul::tests::noise;
    use std::vec;
    use std::vec::Vec;

    struct Rotate<'a>(&'a mut [f32], &'a [f32], &'a [f32]);
    impl SimdOp for Rotate<'_> {
        type Output = ();
        #[inline(always)]
        fn eval<S: Simd>(self, s: S) {
            rotate(s, self.0, self.1, self.2);
        }
    }

    #[test]
    fn equals_the_reference_and_a_complex_rotation() {
        for head_dim in [2, 8, 40, 64, 80, 128] {
            let config = RopeConfig { theta: 10000.0, scaling: RopeScaling::None };
            let mut f = vec![0.0; head_dim / 2];
            frequencies(&config, &mut f);
            for position in [0, 1, 7, 1500, 131_071] {
                let (mut cos, mut sin) = (f.clone(), f.clone());
                rotation(&f, position, &mut cos, &mut sin);
                let x: Vec<f32> = (0..head_dim).map(|i| noise(9, i)).collect();
                let mut expected = x.clone();
                reference(&mut expected, &cos, &sin);
                for isa in Isa::available().iter() {
                    let mut y = x.clone();
                    isa.run(Rotate(&mut y, &cos, &sin));
                    assert_eq!(
                        y.iter().map(|y| y.to_bits()).collect::<Vec<_>>(),
                        expected.iter().map(|y| y.to_bits()).collect::<Vec<_>>(),
                        "{}",
                        isa.name()
                    );
                }
                for i in 0..head_dim / 2 {
                    // The angle in f64 throughout: what is left is the f32 rounding of frequency
                    // and angle.
                    let angle = f64::from(position) * libm::pow(10000.0, -2.0 * i as f64 / head_dim as f64);
                    let (a, b) = (f64::from(x[i]), f64::from(x[i + head_dim / 2]));
                    let exact = a * libm::cos(angle) - b * libm::sin(angle);
                    let bound = 1e-6 + 4e-7 * angle;
                    assert!((f64::from(expected[i]) - exact).abs() < bound, "{head_dim} {position} {i}");
                }
            }
        }
    }

    #[test]
    fn llama3_scaling_divides_long_waves_and_keeps_short_ones() {
        let scaling = RopeScaling::Llama3 {
            factor: 32.0,
            low_freq_factor: 1.0,
            high_freq_factor: 4.0,
            original_positions: 8192,
        };
        let mut plain = [0.0; 32];
        let mut scaled = [0.0; 32];
        frequencies(&RopeConfig { theta: 500_000.0, scaling: RopeScaling::None }, &mut plain);
        frequencies(&RopeConfig { theta: 500_000.0, scaling }, &mut scaled);
        assert_eq!(plain[0], scaled[0]);
        assert_eq!(plain[31] / 32.0, scaled[31]);
        let ratio = scaled.iter().zip(&plain).map(|(s, p)| s / p);
        assert!(ratio.clone().zip(ratio.skip(1)).all(|(a, b)| b <= a), "the factor never rises");
    }
}
