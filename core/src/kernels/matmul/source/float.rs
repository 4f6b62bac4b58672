//! Checkpoints whose elements are floating-point numbers by themselves: f32, f16 and bf16.
//!
//! | from | to bf16 | to f32 | to int8 and int4 |
//! |---|---|---|---|
//! | bf16 | exact | exact | scaled by the row's maximal magnitude, rounded to nearest even |
//! | f16 | rounded to nearest even | exact | likewise |
//! | f32 | rounded to nearest even | exact | likewise |
//!
//! A bf16 weight is an operand: below 2^-50 it is flushed to +0. Rows of bf16 that are operands
//! already, which a look at their extremes tells, are packed as bytes.
use super::{CHUNK, Found, OPERAND_BYTES, PanelRows};
use crate::dtype::FLUSH_BELOW;
use crate::isa::{Isa, Simd, SimdOp};
use core::marker::PhantomData;

/// What is done for a type of element that is known when it is compiled.
pub(in super::super) trait SourceVisitor {
    /// The result of the visit.
    type Output;
    /// Does the work for elements of type `E`.
    fn visit<E: Element>(self) -> Self::Output;
}

/// The list of types.
macro_rules! source_types {
    ($($variant:ident = $name:literal;)*) => {
        /// What the elements of a checkpoint are.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[allow(missing_docs)] // the names are the documentation
        pub enum SourceType {
            $($variant,)*
        }

        impl SourceType {
            /// As models and their fingerprints name it.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)*
                }
            }

            /// Bytes an element takes.
            pub const fn element_bytes(self) -> usize {
                match self {
                    $(Self::$variant => <$variant as Element>::BYTES,)*
                }
            }

            /// Calls `visitor` with the type.
            #[inline(always)]
            pub(in super::super) fn visit<V: SourceVisitor>(self, visitor: V) -> V::Output {
                match self {
                    $(Self::$variant => visitor.visit::<$variant>(),)*
                }
            }
        }
    };
}
source_types! {
    F32 = "f32";
    F16 = "f16";
    Bf16 = "bf16";
}

/// Rows of a checkpoint, one after another, as little-endian bytes of any alignment.
pub(in super::super) struct FloatRows<'a, E> {
    /// What the conversion of a chunk is compiled for.
    isa: Isa,
    bytes: &'a [u8],
    inputs: usize,
    element: PhantomData<E>,
}

impl<'a, E: Element> FloatRows<'a, E> {
    /// Rows of `inputs` elements each.
    ///
    /// # Panics
    /// If the bytes are not whole rows.
    pub(in super::super) fn new(isa: Isa, bytes: &'a [u8], inputs: usize) -> Self {
        assert!(inputs > 0 && bytes.len().is_multiple_of(inputs * E::BYTES));
        Self { isa, bytes, inputs, element: PhantomData }
    }

    fn chunk<'t>(&'t self, row: usize, start: usize, tail: &'t mut [u8; CHUNK * 4]) -> &'t [u8] {
        let row_bytes = self.inputs * E::BYTES;
        chunk::<E>(&self.bytes[row * row_bytes..][..row_bytes], start, tail)
    }
}

impl<E: Element> PanelRows for FloatRows<'_, E> {
    fn count(&self) -> usize {
        self.bytes.len() / (self.inputs * E::BYTES)
    }
    fn inputs(&self) -> usize {
        self.inputs
    }
    fn floats(&self, row: usize, start: usize, out: &mut [u32]) {
        let row_bytes = self.inputs * E::BYTES;
        let row = &self.bytes[row * row_bytes..][..row_bytes];
        self.isa.run(ToFloats::<E> { row, start, out, element: PhantomData });
    }
    fn operands(&self, row: usize, start: usize, out: &mut [u8; OPERAND_BYTES], rare: &mut [u16; CHUNK]) {
        let mut tail = [0; CHUNK * 4];
        let bytes = self.chunk(row, start, &mut tail);
        self.isa.run(ToOperands::<E> { bytes, out, rare, element: PhantomData });
    }
    fn count_rare(&self, row: usize, start: usize, found: &mut Found) {
        count::<E>(self.chunk(row, start, &mut [0; CHUNK * 4]), found);
    }
    fn as_operands(&self) -> Option<(&[u8], usize)> {
        let are_operands = self.isa.run(AreOperands::<E> { rows: self.bytes, element: PhantomData });
        are_operands.then_some((self.bytes, self.inputs * E::BYTES))
    }
}

/// [`PanelRows::floats`] of a row's bytes.
struct ToFloats<'a, E> {
    row: &'a [u8],
    start: usize,
    out: &'a mut [u32],
    element: PhantomData<E>,
}

impl<E: Element> SimdOp for ToFloats<'_, E> {
    type Output = ();
    const MULTIPLIES_PAIRS: bool = false;
    #[inline(always)]
    fn eval<S: Simd>(self, _s: S) {
        let mut tail = [0; CHUNK * 4];
        for (i, out) in self.out.as_chunks_mut().0.iter_mut().enumerate() {
            floats::<E>(chunk::<E>(self.row, self.start + i * CHUNK, &mut tail), out);
        }
    }
}

/// [`PanelRows::operands`] of a chunk's bytes.
struct ToOperands<'a, E> {
    bytes: &'a [u8],
    out: &'a mut [u8; OPERAND_BYTES],
    rare: &'a mut [u16; CHUNK],
    element: PhantomData<E>,
}

impl<E: Element> SimdOp for ToOperands<'_, E> {
    type Output = ();
    const MULTIPLIES_PAIRS: bool = false;
    #[inline(always)]
    fn eval<S: Simd>(self, _s: S) {
        operands::<E>(self.bytes, self.out, self.rare);
    }
}

/// [`Element::are_operands`], compiled for the instruction set that packs.
struct AreOperands<'a, E> {
    rows: &'a [u8],
    element: PhantomData<E>,
}

impl<E: Element> SimdOp for AreOperands<'_, E> {
    type Output = bool;
    const MULTIPLIES_PAIRS: bool = false;
    #[inline(always)]
    fn eval<S: Simd>(self, _s: S) -> bool {
        E::are_operands(self.rows)
    }
}

/// Rows whose elements a function gives: `value(row, k)`.
pub struct Values<'a> {
    /// How many rows, 32 at most.
    pub count: usize,
    /// Elements of a row, K.
    pub inputs: usize,
    /// Element `k` of a row, called as `value(row, k)`.
    pub value: &'a dyn Fn(usize, usize) -> f32,
}

impl core::fmt::Debug for Values<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Values {{ count: {}, inputs: {} }}", self.count, self.inputs)
    }
}

impl Values<'_> {
    /// A chunk as the bytes of f32.
    fn chunk(&self, row: usize, start: usize) -> [u8; CHUNK * 4] {
        let mut bytes = [0; CHUNK * 4];
        for (k, bytes) in (start..self.inputs).zip(bytes.chunks_exact_mut(4)) {
            bytes.copy_from_slice(&(self.value)(row, k).to_le_bytes());
        }
        bytes
    }
}

impl PanelRows for Values<'_> {
    fn count(&self) -> usize {
        self.count
    }
    fn inputs(&self) -> usize {
        self.inputs
    }
    fn floats(&self, row: usize, start: usize, out: &mut [u32]) {
        for (i, out) in out.as_chunks_mut().0.iter_mut().enumerate() {
            floats::<F32>(&self.chunk(row, start + i * CHUNK), out);
        }
    }
    fn operands(&self, row: usize, start: usize, out: &mut [u8; OPERAND_BYTES], rare: &mut [u16; CHUNK]) {
        operands::<F32>(&self.chunk(row, start), out, rare);
    }
    fn count_rare(&self, row: usize, start: usize, found: &mut Found) {
        count::<F32>(&self.chunk(row, start), found);
    }
}

/// A type of the checkpoint. Every method is straight-line, so that loops over a chunk become
/// vectors.
pub(in super::super) trait Element {
    /// Bytes of an element in the checkpoint.
    const BYTES: usize;
    /// An integer that holds an element's bits.
    type Raw: Copy;
    /// Reads an element's bits from its little-endian bytes.
    fn read(bytes: &[u8]) -> Self::Raw;
    /// The f32 with the element's value, which is exact.
    fn widen(x: Self::Raw) -> f32;
    /// Bits of the bf16 operand; NaN and infinity have all exponent bits set.
    #[inline(always)]
    fn operand(x: Self::Raw) -> u16 {
        let x = Self::widen(x);
        let bits = x.to_bits();
        let rounded = (bits.wrapping_add(0x7fff + ((bits >> 16) & 1)) >> 16) as u16;
        // A NaN whose rounding would carry out of the exponent; which NaN it is does not matter, it
        // is an error.
        let rounded = if bits & 0x7fff_ffff > 0x7f80_0000 { 0x7fc0 } else { rounded };
        if bits & 0x7fff_ffff < FLUSH_BELOW.to_bits() { 0 } else { rounded }
    }
    /// Whether it is +0 or −0.
    fn is_zero(x: Self::Raw) -> bool;
    /// Whether the bytes of rows are those of their operands, all of them finite. It may say no.
    #[inline(always)]
    fn are_operands(_rows: &[u8]) -> bool {
        false
    }
}

/// Elements of f32, IEEE binary32.
pub(in super::super) struct F32;
/// Elements of f16, IEEE binary16.
pub(in super::super) struct F16;
/// Elements of bf16, the upper half of f32.
pub(in super::super) struct Bf16;

impl Element for F32 {
    const BYTES: usize = 4;
    type Raw = u32;
    #[inline(always)]
    fn read(bytes: &[u8]) -> u32 {
        u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])
    }
    #[inline(always)]
    fn widen(x: u32) -> f32 {
        f32::from_bits(x)
    }
    #[inline(always)]
    fn is_zero(x: u32) -> bool {
        x << 1 == 0
    }
}

impl Element for F16 {
    const BYTES: usize = 2;
    type Raw = u16;
    #[inline(always)]
    fn read(bytes: &[u8]) -> u16 {
        u16::from_le_bytes([bytes[0], bytes[1]])
    }
    #[inline(always)]
    fn widen(x: u16) -> f32 {
        let magnitude = u32::from(x & 0x7fff);
        // Exponent bias 15 becomes 127; an f16 subnormal m·2^-24 is (1 + m/1024)·2^-14 − 2^-14,
        // exactly.
        let normal = (magnitude << 13) + ((127 - 15) << 23);
        let subnormal =
            f32::from_bits((magnitude << 13) + ((127 - 14) << 23)) - f32::from_bits((127 - 14) << 23);
        let special = (magnitude << 13) | 0x7f80_0000;
        let bits = if magnitude < 0x400 { subnormal.to_bits() } else { normal };
        let bits = if magnitude >= 0x7c00 { special } else { bits };
        f32::from_bits(bits | u32::from(x & 0x8000) << 16)
    }
    #[inline(always)]
    fn is_zero(x: u16) -> bool {
        x << 1 == 0
    }
}

impl Element for Bf16 {
    const BYTES: usize = 2;
    type Raw = u16;
    #[inline(always)]
    fn read(bytes: &[u8]) -> u16 {
        u16::from_le_bytes([bytes[0], bytes[1]])
    }
    #[inline(always)]
    fn widen(x: u16) -> f32 {
        f32::from_bits(u32::from(x) << 16)
    }
    #[inline(always)]
    fn operand(x: u16) -> u16 {
        if x & 0x7fff < (FLUSH_BELOW.to_bits() >> 16) as u16 { 0 } else { x }
    }
    #[inline(always)]
    fn are_operands(rows: &[u8]) -> bool {
        const UNFLUSHED_FROM: u16 = (FLUSH_BELOW.to_bits() >> 16) as u16;
        let (mut max, mut min, mut signed) = ([0_u16; CHUNK], [u16::MAX; CHUNK], [0_i16; CHUNK]);
        let (chunks, rest) = rows.as_chunks::<{ 2 * CHUNK }>();
        for chunk in chunks {
            for (i, bytes) in chunk.chunks_exact(2).enumerate() {
                let x = Self::read(bytes);
                max[i] = max[i].max(x & 0x7fff);
                // A zero wraps round to the maximum, and passes; a −0 is found by its sign.
                min[i] = min[i].min((x & 0x7fff).wrapping_sub(1));
                signed[i] = signed[i].min(x as i16);
            }
        }
        rest.is_empty()
            && max.iter().all(|x| *x < 0x7f80)
            && min.iter().all(|x| *x >= UNFLUSHED_FROM - 1)
            && signed.iter().all(|x| *x > i16::MIN)
    }
    #[inline(always)]
    fn is_zero(x: u16) -> bool {
        x << 1 == 0
    }
}

/// A chunk as bf16 operands. Where an element of any chunk was flushed or is not finite, its place
/// in `rare` is not 0.
#[inline(always)]
pub(in super::super) fn operands<E: Element>(
    bytes: &[u8],
    out: &mut [u8; 2 * CHUNK],
    rare: &mut [u16; CHUNK],
) {
    for ((out, rare), bytes) in out.chunks_exact_mut(2).zip(rare).zip(bytes.chunks_exact(E::BYTES)) {
        let raw = E::read(bytes);
        let x = E::operand(raw);
        out.copy_from_slice(&x.to_le_bytes());
        *rare |= u16::from((x == 0) & !E::is_zero(raw)) | u16::from(x & 0x7f80 == 0x7f80);
    }
}

/// Counts what [`operands`] found.
#[cold]
#[inline(never)]
pub(in super::super) fn count<E: Element>(bytes: &[u8], found: &mut Found) {
    for bytes in bytes.chunks_exact(E::BYTES) {
        let raw = E::read(bytes);
        let x = E::operand(raw);
        found.flushed += usize::from((x == 0) & !E::is_zero(raw));
        found.bad |= x & 0x7f80 == 0x7f80;
    }
}

/// A chunk as bits of f32.
#[inline(always)]
pub(in super::super) fn floats<E: Element>(bytes: &[u8], out: &mut [u32; CHUNK]) {
    for (x, bytes) in out.iter_mut().zip(bytes.chunks_exact(E::BYTES)) {
        *x = E::widen(E::read(bytes)).to_bits();
    }
}

/// The chunk of a row that starts at element `start`; past the row's end zeros.
#[inline(always)]
pub(in super::super) fn chunk<'a, E: Element>(
    row: &'a [u8],
    start: usize,
    tail: &'a mut [u8; CHUNK * 4],
) -> &'a [u8] {
    let rest = &row[start * E::BYTES..];
    if rest.len() >= CHUNK * E::BYTES {
        return &rest[..CHUNK * E::BYTES];
    }
    tail.fill(0);
    tail[..rest.len()].copy_from_slice(rest);
    &tail[..CHUNK * E::BYTES]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dtype::{bf16_operand, bf16_round};

    #[test]
    fn every_f16_widens_as_in_half() {
        for bits in 0..=u16::MAX {
            let expected = half::f16::from_bits(bits).to_f32();
            let got = F16::widen(bits);
            assert!(got.to_bits() == expected.to_bits() || (got.is_nan() && expected.is_nan()), "{bits:#x}");
        }
    }

    #[test]
    fn every_bf16_is_an_operand_as_the_rule_says() {
        for bits in 0..=u16::MAX {
            let wide = Bf16::widen(bits);
            if !wide.is_nan() {
                assert_eq!(Bf16::operand(bits), bf16_operand(wide).to_bits(), "{bits:#x}");
                assert_eq!(F32::operand(wide.to_bits()), bf16_operand(wide).to_bits(), "{bits:#x}");
            }
        }
        assert_eq!(bf16_round(1.0).to_bits(), F32::operand(1.0_f32.to_bits()));
    }
}
