//! The operations that 12-bit bf16 weights need beyond [`Dot`]: a look-up of exponents.
//!
//! `kernels::matmul::formats::bf16_12` says how they are stored.
use super::dot::Dot;
use super::simd::LANES;
use super::slices;
use crate::dtype::Bf16x12;
use half::bf16;

/// The operations that decode 12-bit bf16 weights.
pub trait DecodeBf16x12: Dot {
    /// Fifteen exponents of bf16, to be looked up by a code of 4 bits; the last code has none, 0.
    type CodeTable: Copy;

    /// Reads the exponents of 15 codes; the last byte is ignored.
    fn load_code_table(self, exponents: &[Bf16x12; LANES]) -> Self::CodeTable;
    /// Decodes 64 bf16. Word `i` of `rest` holds of element `i` the sign and the mantissa where
    /// bf16 has them, and of element `32 + i` the same with its bytes swapped; word `i` of `codes`
    /// their codes, in its bits 0–3 and 4–7 or, if `SECOND`, 8–11 and 12–15.
    fn decode_words<const SECOND: bool>(
        self,
        rest: &[Bf16x12; 4 * LANES],
        codes: &[Bf16x12; 4 * LANES],
        table: Self::CodeTable,
    ) -> Self::Words;
    /// Gives an exponent to the element at `position`, which has none yet. Rare, so that it may go
    /// through memory.
    #[inline(always)]
    fn with_exponent(self, words: Self::Words, position: usize, exponent: u8) -> Self::Words {
        let mut elements = slices::words_to_array(self, words);
        let element = &mut elements[position % (4 * LANES)];
        *element = bf16::from_bits(element.to_bits() | u16::from(exponent) << 7);
        slices::words_of_array(self, &elements)
    }
}
