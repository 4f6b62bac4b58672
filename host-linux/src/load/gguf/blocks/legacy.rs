//! The oldest types: 32 elements with an f16 for their scale, and one for their minimum in the
//! types `_1`. Byte `j` of sixteen holds the codes of elements `j` (low) and `j + 16` (high).
use super::{Block, Parts, half};

/// Four bits less 8.
pub(super) struct Q4_0;
/// Four bits, and a number to add.
pub(super) struct Q4_1;
/// Five bits less 16.
pub(super) struct Q5_0;
/// Five bits, and a number to add.
pub(super) struct Q5_1;
/// Eight bits with a sign.
pub(super) struct Q8_0;

/// The sixteen bytes of nibbles as 32 codes from 0 to 15.
#[inline(always)]
fn nibbles(bytes: &[u8], codes: &mut [i8]) {
    let (low, high) = codes[..32].split_at_mut(16);
    for ((low, high), byte) in low.iter_mut().zip(high).zip(&bytes[..16]) {
        *low = (byte & 15) as i8;
        *high = (byte >> 4) as i8;
    }
}

/// Adds the fifth bits, bit `i` of four bytes for element `i`.
#[inline(always)]
fn add_fifth_bits(bytes: &[u8], codes: &mut [i8]) {
    let bits = u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
    for (i, code) in codes[..32].iter_mut().enumerate() {
        *code += ((bits >> i & 1) << 4) as i8;
    }
}

#[inline(always)]
fn subtract(offset: i8, codes: &mut [i8]) {
    codes[..32].iter_mut().for_each(|code| *code -= offset);
}

impl Block for Q4_0 {
    const ELEMENTS: usize = 32;
    const BYTES: usize = 18;
    const GROUP: usize = 32;
    const HAS_MINIMA: bool = false;
    #[inline(always)]
    fn unpack(bytes: &[u8], parts: &mut Parts) {
        parts.scales[0] = half(bytes, 0);
        nibbles(&bytes[2..], &mut parts.codes);
        subtract(8, &mut parts.codes);
    }
}

impl Block for Q4_1 {
    const ELEMENTS: usize = 32;
    const BYTES: usize = 20;
    const GROUP: usize = 32;
    const HAS_MINIMA: bool = true;
    #[inline(always)]
    fn unpack(bytes: &[u8], parts: &mut Parts) {
        parts.scales[0] = half(bytes, 0);
        parts.minima[0] = -half(bytes, 2);
        nibbles(&bytes[4..], &mut parts.codes);
    }
}

impl Block for Q5_0 {
    const ELEMENTS: usize = 32;
    const BYTES: usize = 22;
    const GROUP: usize = 32;
    const HAS_MINIMA: bool = false;
    #[inline(always)]
    fn unpack(bytes: &[u8], parts: &mut Parts) {
        parts.scales[0] = half(bytes, 0);
        nibbles(&bytes[6..], &mut parts.codes);
        add_fifth_bits(&bytes[2..], &mut parts.codes);
        subtract(16, &mut parts.codes);
    }
}

impl Block for Q5_1 {
    const ELEMENTS: usize = 32;
    const BYTES: usize = 24;
    const GROUP: usize = 32;
    const HAS_MINIMA: bool = true;
    #[inline(always)]
    fn unpack(bytes: &[u8], parts: &mut Parts) {
        parts.scales[0] = half(bytes, 0);
        parts.minima[0] = -half(bytes, 2);
        nibbles(&bytes[8..], &mut parts.codes);
        add_fifth_bits(&bytes[4..], &mut parts.codes);
    }
}

impl Block for Q8_0 {
    const ELEMENTS: usize = 32;
    const BYTES: usize = 34;
    const GROUP: usize = 32;
    const HAS_MINIMA: bool = false;
    #[inline(always)]
    fn unpack(bytes: &[u8], parts: &mut Parts) {
        parts.scales[0] = half(bytes, 0);
        for (code, byte) in parts.codes[..32].iter_mut().zip(&bytes[2..34]) {
            *code = byte.cast_signed();
        }
    }
}
