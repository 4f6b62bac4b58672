//! Counter-based Gumbel noise: a pure function of (seed, choice, position, token id).
//!
//! The key is three rounds of the splitmix64 finaliser (Steele, Lea and Flood, 2014), a bijection
//! of 64 bits, over seed, choice and position; a token's word is one more over key and id. The
//! upper 53 bits give `v` in (0, 1), with full relative precision near 0; `E = −ln(1 − v)` is
//! exponential and `−ln E` Gumbel. Small `v` make large noise: the tail is exact to 2^-54, so rare
//! tokens come as often as they should.
use crate::isa::{LANES, Simd};
use crate::kernels::log::{exponential, ln};

const GAMMA: u64 = 0x9e37_79b9_7f4a_7c15;

fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// The part of the noise's argument that all tokens of one draw share: seed, choice and position.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoiseKey(u64);

impl NoiseKey {
    /// The key of the draw at `position` of `choice`.
    pub fn new(seed: u64, choice: u32, position: u64) -> Self {
        let key = mix(seed.wrapping_add(GAMMA));
        let key = mix(key ^ u64::from(choice).wrapping_add(1).wrapping_mul(GAMMA));
        Self(mix(key ^ position.wrapping_add(1).wrapping_mul(GAMMA)))
    }

    /// The uniform number `v` of a token, in (0, 1].
    #[inline(always)]
    pub fn uniform(self, token: u32) -> f32 {
        let word = mix(self.0.wrapping_add(u64::from(token).wrapping_add(1).wrapping_mul(GAMMA)));
        // The sum is exact in f64; rounding to f32 may reach 1, which `exponential` allows.
        ((word >> 11) as f64 + 0.5) as f32 * (1.0 / 9_007_199_254_740_992.0)
    }
}

/// Gumbel noise of sixteen tokens, one in each lane.
#[inline(always)]
pub fn gumbel<S: Simd>(s: S, key: NoiseKey, tokens: [u32; LANES]) -> S::F {
    let mut v = [0.0; LANES];
    for (v, token) in v.iter_mut().zip(tokens) {
        *v = key.uniform(token);
    }
    s.sub(s.splat(0.0), ln(s, exponential(s, s.lanes_of(v))))
}
