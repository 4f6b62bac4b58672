//! The tensor `rope_freqs.weight`: what Llama 3's scaling divides each frequency by.
//!
//! A converter computes it from the four numbers of the scaling, which are not in the file. They
//! are found again by trying: the factor is the largest divisor, and the other numbers are those
//! with which the same divisors come out. The frequencies are then computed from them, in the order
//! of operations of transformers, as from a `config.json`; a quotient by the divisors would differ
//! in the last bit.
use serde_json::{Value, json};
use verbatim_core::kernels::rope::{RopeConfig, RopeScaling, frequencies};

/// The name of the tensor.
pub(super) const TENSOR: &str = "rope_freqs.weight";

/// How far a divisor may lie from the file's, relative to it. Converters compute in f32 and in
/// f64, in orders of their own.
const TOLERANCE: f32 = 1e-4;

/// Original contexts that are tried where the file does not name one.
const CONTEXTS: [u32; 8] = [8192, 4096, 2048, 1024, 16_384, 32_768, 65_536, 131_072];

/// Factors of high frequencies that are tried. That of low ones is 1: a context and both factors
/// twice as large divide by the same numbers.
const HIGH_FACTORS: [f32; 5] = [4.0, 2.0, 8.0, 16.0, 32.0];

/// The scaling whose divisors these are, as a `config.json` has it; `None` if it divides nothing.
/// The error is what was expected.
pub(super) fn recognise(
    factors: &[f32],
    theta: f64,
    original: Option<u64>,
    head_dim: u64,
) -> Result<Option<Value>, String> {
    if factors.len() as u64 != head_dim / 2 {
        return Err(format!("{}, one for each pair of a head's dimensions", head_dim / 2));
    }
    if !factors.iter().all(|factor| factor.is_finite() && *factor >= 1.0) {
        return Err("finite divisors of at least 1".to_owned());
    }
    let largest = factors.iter().copied().fold(1.0, f32::max);
    if largest == 1.0 {
        return Ok(None);
    }
    let named = original.and_then(|original| u32::try_from(original).ok());
    for original_positions in named.into_iter().chain(CONTEXTS) {
        for high_freq_factor in HIGH_FACTORS {
            let scaling = RopeScaling::Llama3 {
                factor: largest,
                low_freq_factor: 1.0,
                high_freq_factor,
                original_positions,
            };
            if are_of(factors, theta, scaling) {
                return Ok(Some(json!({
                    "rope_type": "llama3", "factor": largest, "low_freq_factor": 1.0,
                    "high_freq_factor": high_freq_factor,
                    "original_max_position_embeddings": original_positions,
                })));
            }
        }
    }
    Err("the divisors of Llama 3's scaling: no other is implemented".to_owned())
}

/// Whether a scaling divides the frequencies by these numbers, nearly.
fn are_of(factors: &[f32], theta: f64, scaling: RopeScaling) -> bool {
    let mut plain = vec![0.0; factors.len()];
    let mut scaled = plain.clone();
    frequencies(&RopeConfig { theta, scaling: RopeScaling::None }, &mut plain);
    frequencies(&RopeConfig { theta, scaling }, &mut scaled);
    let pairs = plain.iter().zip(&scaled).zip(factors);
    pairs.into_iter().all(|((plain, scaled), factor)| (plain / scaled - factor).abs() <= TOLERANCE * factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The divisors as a converter computes them: from the definition, in f64.
    fn divisors(theta: f64, pairs: usize, factor: f64, (low, high, original): (f64, f64, f64)) -> Vec<f32> {
        let divisor = |i: usize| {
            let wavelength = std::f64::consts::TAU * theta.powf(i as f64 / pairs as f64);
            let smooth = (original / wavelength - low) / (high - low);
            if wavelength < original / high {
                1.0
            } else if wavelength > original / low {
                factor
            } else {
                1.0 / ((1.0 - smooth) / factor + smooth)
            }
        };
        (0..pairs).map(|i| divisor(i) as f32).collect()
    }

    #[test]
    fn the_numbers_behind_the_divisors_are_found() {
        for (factor, numbers) in
            [(8.0, (1.0, 4.0, 8192.0)), (32.0, (1.0, 4.0, 8192.0)), (4.0, (1.0, 8.0, 4096.0))]
        {
            let found = recognise(&divisors(5e5, 64, factor, numbers), 5e5, None, 128).unwrap().unwrap();
            let number = |key: &str| found[key].as_f64().unwrap();
            assert_eq!(number("factor"), factor);
            let found =
                ["low_freq_factor", "high_freq_factor", "original_max_position_embeddings"].map(number);
            assert_eq!(found, [numbers.0, numbers.1, numbers.2]);
        }
        // A context that is no power of two is found where the file names it.
        let odd = divisors(5e5, 64, 8.0, (1.0, 4.0, 5000.0));
        assert!(recognise(&odd, 5e5, None, 128).is_err());
        assert!(recognise(&odd, 5e5, Some(5000), 128).unwrap().is_some());
    }

    #[test]
    fn other_divisors_are_refused() {
        assert_eq!(recognise(&[1.0; 64], 5e5, None, 128), Ok(None));
        let told = |factors: &[f32]| recognise(factors, 5e5, None, 128).unwrap_err();
        assert_eq!(told(&[1.0; 3]), "64, one for each pair of a head's dimensions");
        assert_eq!(told(&[0.0; 64]), "finite divisors of at least 1");
        assert_eq!(told(&[f32::NAN; 64]), "finite divisors of at least 1");
        let mut other = divisors(5e5, 64, 8.0, (1.0, 4.0, 8192.0));
        other[40] *= 1.01;
        assert_eq!(told(&other), "the divisors of Llama 3's scaling: no other is implemented");
    }
}
