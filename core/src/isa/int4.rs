//! The operations that 4-bit weights need beyond [`Dot`]: unpacking, and one row's product with a
//! whole group.
//!
//! `kernels::matmul::formats::int4` says what a group is; its weights here are `[4][32 columns][4]`
//! bytes, input `8 i + j` in the low half of byte `j` of quad `i` and input `8 i + 4 + j` in the
//! high half.
use super::dot::Dot;
use super::simd::LANES;
use crate::dtype::{Int4, Int8};

/// A group of 32 inputs of 32 columns.
#[derive(Clone, Copy, Debug)]
pub struct Int4Group<'p> {
    /// Of each column the scale (the low 4 bits) and the zero (the high 4 bits).
    pub scales: &'p [Int4; 2 * LANES],
    /// The weights, `[4][32 columns][4]` bytes of two inputs each.
    pub weights: &'p [Int4; 32 * LANES],
}

impl<'p> Int4Group<'p> {
    /// The scales of the first 16 columns, or of the last 16.
    ///
    /// # Panics
    /// If `half` is neither 0 nor 1.
    #[inline(always)]
    pub fn scales(self, half: usize) -> &'p [Int4; LANES] {
        &self.scales.as_chunks().0[half]
    }

    /// The weights of 8 inputs of 16 columns.
    ///
    /// # Panics
    /// If `pair` is not below 4, or `half` not below 2.
    #[inline(always)]
    pub fn quads(self, pair: usize, half: usize) -> &'p [Int4; 4 * LANES] {
        &self.weights.as_chunks().0[2 * pair + half]
    }
}

/// The operations that unpack 4-bit weights to 8 bits.
pub trait UnpackInt4: Dot {
    /// The scale and zero of a group of 16 columns, in each lane its own.
    type GroupScales: Copy;

    /// Reads 16 bytes: in each the scale `s` of a group (its low 4 bits) and the zero `z` (its high
    /// 4 bits).
    fn load_group_scales(self, bytes: &[Int4; LANES]) -> Self::GroupScales;
    /// Reads 64 bytes of two 4-bit weights each: 16 quads from the low halves and 16 from the high
    /// ones. A weight is `s q − s z` modulo 2^8.
    fn load_nibbles(self, bytes: &[Int4; 4 * LANES], scales: Self::GroupScales)
    -> (Self::Quads, Self::Quads);
    /// `sums + Σ a[i] (s q[i] − s z)` over a group: [`Dot::dot_quads`] with the weights that
    /// [`UnpackInt4::load_nibbles`] makes, exactly (modulo 2^32), where each of them is an 8-bit
    /// number. Only where `Strategy::int4_scales_sums`.
    #[inline(always)]
    fn add_group(
        self,
        row: &[Int8; 2 * LANES],
        group: Int4Group<'_>,
        sums: [Self::Ints; 2],
    ) -> [Self::Ints; 2] {
        let _ = (row, group, sums);
        unreachable!("only where `int4_scales_sums`");
    }
}
