//! Types whose codes of four bits name an entry of a table: levels that fit a bell curve, or the
//! sixteen floats of four bits. Byte `j` holds the codes of elements `j` (low) and, half a group
//! later, of another (high).
use super::{Block, Parts, half};

/// The levels of the types IQ4.
const BELL: [i8; 16] = [-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113];

/// Twice the floats with two bits of exponent and one of fraction, which makes them whole numbers.
const FLOAT: [i8; 16] = [0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12];

/// 32 elements with an f16 for their scale.
pub(super) struct Iq4Nl;
/// 256 elements in groups of 32, with scales of six bits less 32.
pub(super) struct Iq4Xs;
/// 32 floats of four bits, with a power of two for their scale.
pub(super) struct Mxfp4;
/// 64 floats of four bits in groups of 16, with scales of four bits of exponent and three of
/// fraction.
pub(super) struct Nvfp4;

/// The entries that nibbles name: the low ones of all bytes first, then the high ones.
#[inline(always)]
fn look_up(table: &[i8; 16], bytes: &[u8], codes: &mut [i8]) {
    let (low, high) = codes.split_at_mut(bytes.len());
    for ((low, high), byte) in low.iter_mut().zip(high).zip(bytes) {
        *low = table[usize::from(byte & 15)];
        *high = table[usize::from(byte >> 4)];
    }
}

impl Block for Iq4Nl {
    const ELEMENTS: usize = 32;
    const BYTES: usize = 18;
    const GROUP: usize = 32;
    const HAS_MINIMA: bool = false;
    #[inline(always)]
    fn unpack(bytes: &[u8], parts: &mut Parts) {
        parts.scales[0] = half(bytes, 0);
        look_up(&BELL, &bytes[2..18], &mut parts.codes[..32]);
    }
}

impl Block for Iq4Xs {
    const ELEMENTS: usize = 256;
    const BYTES: usize = 136;
    const GROUP: usize = 32;
    const HAS_MINIMA: bool = false;
    #[inline(always)]
    fn unpack(bytes: &[u8], parts: &mut Parts) {
        let scale = half(bytes, 0);
        let high = u16::from_le_bytes([bytes[2], bytes[3]]);
        for group in 0..8 {
            let low = bytes[4 + group / 2] >> (group % 2 * 4) & 15;
            let six_bits = low | ((high >> (2 * group) & 3) as u8) << 4;
            parts.scales[group] = scale * f32::from(six_bits as i8 - 32);
        }
        for (bytes, codes) in bytes[8..136].chunks_exact(16).zip(parts.codes.chunks_exact_mut(32)) {
            look_up(&BELL, bytes, codes);
        }
    }
}

/// Half of the power of two that a byte of exponent means: 2^(e − 128).
#[inline(always)]
fn half_power(exponent: u8) -> f32 {
    match exponent {
        // These are subnormal, so their bits are those of the fraction.
        0 | 1 => f32::from_bits(1 << (21 + exponent)),
        _ => f32::from_bits(u32::from(exponent - 1) << 23),
    }
}

impl Block for Mxfp4 {
    const ELEMENTS: usize = 32;
    const BYTES: usize = 17;
    const GROUP: usize = 32;
    const HAS_MINIMA: bool = false;
    #[inline(always)]
    fn unpack(bytes: &[u8], parts: &mut Parts) {
        parts.scales[0] = half_power(bytes[0]);
        look_up(&FLOAT, &bytes[1..17], &mut parts.codes[..32]);
    }
}

/// Half of an unsigned float with four bits of exponent and three of fraction; its one NaN is 0.
#[inline(always)]
fn half_float(byte: u8) -> f32 {
    let (exponent, fraction) = (u32::from(byte >> 3 & 15), u32::from(byte & 7));
    match (exponent, fraction) {
        (15, 7) if byte == 0x7f => 0.0,
        // In units of 2^-9, and half of that.
        (0, _) => fraction as f32 / 1024.0,
        // The exponent is biased by 7; half a float has one less.
        _ => f32::from_bits((exponent + 127 - 7 - 1) << 23 | fraction << 20),
    }
}

impl Block for Nvfp4 {
    const ELEMENTS: usize = 64;
    const BYTES: usize = 36;
    const GROUP: usize = 16;
    const HAS_MINIMA: bool = false;
    #[inline(always)]
    fn unpack(bytes: &[u8], parts: &mut Parts) {
        let (scales, rest) = bytes.split_at(4);
        for (scale, byte) in parts.scales.iter_mut().zip(scales) {
            *scale = half_float(*byte);
        }
        for (bytes, codes) in rest[..32].chunks_exact(8).zip(parts.codes.chunks_exact_mut(16)) {
            look_up(&FLOAT, bytes, codes);
        }
    }
}
