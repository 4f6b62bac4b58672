//! Drawing one token: the steps of sampling, in their order.
use super::error::SampleError;
use super::filters;
use super::logprobs::{TokenLogprob, best, normaliser};
use super::noise::{NoiseKey, gumbel};
use super::params::SamplingParams;
use super::penalties::{self, History};
use crate::isa::{Isa, LANES, Simd, SimdOp};
use crate::kernels::softmax::exp_weights;

/// The result of a draw.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sampled {
    /// The id that was drawn.
    pub token: u32,
    /// Its log-probability under the raw logits.
    pub logprob: f32,
    /// How many alternatives were written to `top`.
    pub top_count: usize,
}

/// The memory that a draw works in: each part is as long as the vocabulary.
#[derive(Debug)]
pub struct Scratch<'a> {
    /// Logits after bias, penalties, mask and temperature.
    pub adjusted: &'a mut [f32],
    /// Weights, `e^(z − max)`.
    pub weights: &'a mut [f32],
    /// Ids in the order of their weights, as far as a filter needs it.
    pub ids: &'a mut [u32],
    /// How often each id occurs in the history; zero between draws.
    pub counts: &'a mut [u32],
}

/// The inputs of a draw besides logits and bias.
#[derive(Clone, Copy, Debug)]
pub struct Draw<'a> {
    /// How the request wants its tokens drawn.
    pub params: &'a SamplingParams,
    /// The tokens before `position`, which the penalties look at.
    pub history: History<'a>,
    /// A bit for each id of the vocabulary, set if the id may be drawn; id 0 is the lowest bit of
    /// the first word. Without a mask every id may.
    pub mask: Option<&'a [u32]>,
    /// Ids that are not drawn, whatever the mask says.
    pub banned: &'a [u32],
    /// Which of its request's choices is drawn for.
    pub choice: u32,
    /// The position of the token that is drawn.
    pub position: u64,
}

/// Draws a token from raw logits, one for each id of the vocabulary, to which `bias` is added. The
/// likeliest alternatives go to `top`.
///
/// # Panics
/// If the scratch is not as long as the logits.
pub fn sample(
    isa: Isa,
    logits: &[f32],
    bias: impl Iterator<Item = (u32, f32)>,
    draw: &Draw<'_>,
    scratch: &mut Scratch<'_>,
    top: &mut [TokenLogprob],
) -> Result<Sampled, SampleError> {
    let Draw { params, history, mask, banned, choice, position } = *draw;
    let normaliser = normaliser(isa, logits)?;
    let top_count = best(logits, &normaliser, top);
    let len = logits.len();
    let adjusted = &mut scratch.adjusted[..len];
    adjusted.copy_from_slice(logits);
    penalties::apply(adjusted, params, bias, history, &mut scratch.counts[..len]);
    if let Some(mask) = mask {
        for (id, z) in adjusted.iter_mut().enumerate() {
            if mask.get(id / 32).is_none_or(|word| word >> (id % 32) & 1 == 0) {
                *z = f32::NEG_INFINITY;
            }
        }
    }
    for id in banned {
        if let Some(z) = adjusted.get_mut(*id as usize) {
            *z = f32::NEG_INFINITY;
        }
    }
    let (likeliest, max) = argmax(adjusted);
    if max == f32::NEG_INFINITY {
        return Err(SampleError::MaskEmpty);
    }
    if !max.is_finite() {
        return Err(SampleError::NonFinite);
    }
    let token = if params.temperature == 0.0 {
        likeliest
    } else {
        // Relative to the maximum, so that no temperature, however small, makes it infinite.
        for z in adjusted.iter_mut() {
            *z = (*z - max) / params.temperature;
        }
        let key = NoiseKey::new(params.seed, choice, position);
        if params.top_k == 0 && params.top_p >= 1.0 && params.min_p == 0.0 {
            isa.run(NoisyArgmax { z: adjusted, ids: None, key })
        } else {
            let weights = &mut scratch.weights[..len];
            weights.copy_from_slice(adjusted);
            let total = exp_weights(isa, weights, 0.0);
            let ids = &mut scratch.ids[..len];
            let kept = filters::keep(params, weights, total, ids);
            isa.run(NoisyArgmax { z: adjusted, ids: Some(&ids[len - kept..]), key })
        }
    };
    Ok(Sampled { token, logprob: normaliser.logprob(logits[token as usize]), top_count })
}

/// The index of the maximum, the lowest of several, and the maximum itself.
fn argmax(x: &[f32]) -> (u32, f32) {
    let mut best = (0, f32::NEG_INFINITY);
    for (i, x) in x.iter().enumerate() {
        if *x > best.1 {
            best = (i as u32, *x);
        }
    }
    best
}

/// Finds the id whose `z + noise` is the maximum, ties to the lower id.
struct NoisyArgmax<'a> {
    z: &'a [f32],
    /// The ids that take part; all of them without a list.
    ids: Option<&'a [u32]>,
    key: NoiseKey,
}

impl SimdOp for NoisyArgmax<'_> {
    type Output = u32;
    const MULTIPLIES_PAIRS: bool = false;
    #[inline(always)]
    fn eval<S: Simd>(self, s: S) -> u32 {
        let count = self.ids.map_or(self.z.len(), <[u32]>::len);
        let mut best = (u32::MAX, f32::NEG_INFINITY);
        let mut start = 0;
        while start < count {
            let here = LANES.min(count - start);
            let mut tokens = [0; LANES];
            let mut z = [f32::NEG_INFINITY; LANES];
            for i in 0..here {
                tokens[i] = self.ids.map_or((start + i) as u32, |ids| ids[start + i]);
                z[i] = self.z[tokens[i] as usize];
            }
            let noisy = s.to_array(s.add(s.lanes_of(z), gumbel(s, self.key, tokens)));
            for i in 0..here {
                if noisy[i] > best.1 || (noisy[i] == best.1 && tokens[i] < best.0) {
                    best = (tokens[i], noisy[i]);
                }
            }
            start += LANES;
        }
        best.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_sums_go_to_the_lower_id_in_whatever_order_ids_come() {
        // So large that no noise changes them.
        let z = [1e30; 40];
        let descending: [u32; 40] = core::array::from_fn(|i| 39 - i as u32);
        for (ids, expected) in [(None, 0), (Some(&descending[..]), 0), (Some(&[9, 30, 5, 7]), 5)] {
            let key = NoiseKey::new(1, 0, 0);
            for isa in Isa::available().iter() {
                assert_eq!(isa.run(NoisyArgmax { z: &z, ids, key }), expected, "{isa:?}");
            }
        }
    }
}
