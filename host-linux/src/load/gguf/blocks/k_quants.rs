//! The types `_K`: 256 elements, in groups of 16 or 32. A group's scale is a small integer times
//! the block's f16, its minimum likewise.
//!
//! Bits of an element are spread over the block so that a byte has those of elements 32 or 64
//! apart; each `unpack` walks the elements in their order.
use super::{Block, Parts, half};

/// Two bits; scales and minima of four bits for each 16.
pub(super) struct Q2K;
/// Three bits less 4, the highest of them apart; scales of six bits less 32 for each 16.
pub(super) struct Q3K;
/// Four bits; scales and minima of six bits for each 32.
pub(super) struct Q4K;
/// Five bits, the highest of them apart; otherwise as [`Q4K`].
pub(super) struct Q5K;
/// Six bits less 32, the two highest of them apart; scales of eight bits with a sign for each 16.
pub(super) struct Q6K;

impl Block for Q2K {
    const ELEMENTS: usize = 256;
    const BYTES: usize = 84;
    const GROUP: usize = 16;
    const HAS_MINIMA: bool = true;
    #[inline(always)]
    fn unpack(bytes: &[u8], parts: &mut Parts) {
        let (scales, rest) = bytes.split_at(16);
        let (codes, ends) = rest.split_at(64);
        let (scale, minimum) = (half(ends, 0), half(ends, 2));
        for (group, byte) in scales.iter().enumerate() {
            parts.scales[group] = scale * f32::from(byte & 15);
            parts.minima[group] = minimum * f32::from(byte >> 4);
        }
        for (eighth, out) in parts.codes.chunks_exact_mut(32).enumerate() {
            let shift = 2 * (eighth % 4);
            for (code, byte) in out.iter_mut().zip(&codes[eighth / 4 * 32..][..32]) {
                *code = (byte >> shift & 3) as i8;
            }
        }
    }
}

impl Block for Q3K {
    const ELEMENTS: usize = 256;
    const BYTES: usize = 110;
    const GROUP: usize = 16;
    const HAS_MINIMA: bool = false;
    #[inline(always)]
    fn unpack(bytes: &[u8], parts: &mut Parts) {
        let (third_bits, rest) = bytes.split_at(32);
        let (codes, rest) = rest.split_at(64);
        let (scales, scale) = rest.split_at(12);
        let scale = half(scale, 0);
        for group in 0..16 {
            // Four bits in the first eight bytes, two more in the last four.
            let low = scales[group % 8] >> (group / 8 * 4) & 15;
            let high = scales[8 + group % 4] >> (group / 4 * 2) & 3;
            parts.scales[group] = scale * f32::from((low | high << 4) as i8 - 32);
        }
        for (eighth, out) in parts.codes.chunks_exact_mut(32).enumerate() {
            let shift = 2 * (eighth % 4);
            let bytes = codes[eighth / 4 * 32..][..32].iter().zip(&third_bits[..32]);
            for (code, (byte, third)) in out.iter_mut().zip(bytes) {
                *code = (byte >> shift & 3 | (third >> eighth & 1) << 2) as i8 - 4;
            }
        }
    }
}

/// Scales and minima of eight groups: six bits each, in twelve bytes.
#[inline(always)]
fn six_bit_scales(bytes: &[u8], (scale, minimum): (f32, f32), parts: &mut Parts) {
    for group in 0..4 {
        let (first, second, third) = (bytes[group], bytes[group + 4], bytes[group + 8]);
        parts.scales[group] = scale * f32::from(first & 63);
        parts.minima[group] = minimum * f32::from(second & 63);
        // The later four have four bits here and two above the bits of the earlier ones.
        parts.scales[group + 4] = scale * f32::from(third & 15 | first >> 6 << 4);
        parts.minima[group + 4] = minimum * f32::from(third >> 4 | second >> 6 << 4);
    }
}

/// 128 bytes of nibbles: 32 bytes for the low and then the high ones of 64 elements.
#[inline(always)]
fn nibbles(bytes: &[u8], codes: &mut [i8]) {
    for (bytes, out) in bytes[..128].chunks_exact(32).zip(codes.chunks_exact_mut(64)) {
        let (low, high) = out.split_at_mut(32);
        for ((low, high), byte) in low.iter_mut().zip(high).zip(bytes) {
            *low = (byte & 15) as i8;
            *high = (byte >> 4) as i8;
        }
    }
}

impl Block for Q4K {
    const ELEMENTS: usize = 256;
    const BYTES: usize = 144;
    const GROUP: usize = 32;
    const HAS_MINIMA: bool = true;
    #[inline(always)]
    fn unpack(bytes: &[u8], parts: &mut Parts) {
        six_bit_scales(&bytes[4..16], (half(bytes, 0), half(bytes, 2)), parts);
        nibbles(&bytes[16..], &mut parts.codes);
    }
}

impl Block for Q5K {
    const ELEMENTS: usize = 256;
    const BYTES: usize = 176;
    const GROUP: usize = 32;
    const HAS_MINIMA: bool = true;
    #[inline(always)]
    fn unpack(bytes: &[u8], parts: &mut Parts) {
        six_bit_scales(&bytes[4..16], (half(bytes, 0), half(bytes, 2)), parts);
        nibbles(&bytes[48..], &mut parts.codes);
        // Bit `g` of a byte is that of group `g`.
        for (group, out) in parts.codes.chunks_exact_mut(32).enumerate() {
            for (code, byte) in out.iter_mut().zip(&bytes[16..48]) {
                *code += ((byte >> group & 1) << 4) as i8;
            }
        }
    }
}

impl Block for Q6K {
    const ELEMENTS: usize = 256;
    const BYTES: usize = 210;
    const GROUP: usize = 16;
    const HAS_MINIMA: bool = false;
    #[inline(always)]
    fn unpack(bytes: &[u8], parts: &mut Parts) {
        let (low_bits, rest) = bytes.split_at(128);
        let (high_bits, rest) = rest.split_at(64);
        let (scales, scale) = rest.split_at(16);
        let scale = half(scale, 0);
        for (out, byte) in parts.scales.iter_mut().zip(scales) {
            *out = scale * f32::from(byte.cast_signed());
        }
        for (eighth, out) in parts.codes.chunks_exact_mut(32).enumerate() {
            let (block_half, quarter) = (eighth / 4, eighth % 4);
            let low = &low_bits[block_half * 64 + quarter % 2 * 32..][..32];
            let high = &high_bits[block_half * 32..][..32];
            for (code, (low, high)) in out.iter_mut().zip(low.iter().zip(high)) {
                let nibble = low >> (quarter / 2 * 4) & 15;
                *code = (nibble | (high >> (2 * quarter) & 3) << 4) as i8 - 32;
            }
        }
    }
}
