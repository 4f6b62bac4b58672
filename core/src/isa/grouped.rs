//! The operations that weights of 4, 5 and 6 bits need beyond [`Dot`]: unpacking, and one row's
//! product with a whole group.
//!
//! `kernels::matmul::formats::grouped` says what a group is. The low 4 bits of its weights are
//! `[4][32 columns][4]` bytes, input `8 i + j` in the low half of byte `j` of quad `i` and input
//! `8 i + 4 + j` in the high half. The bits above them, if there are any, come for 16 columns at a
//! time, in **planes** of 64 bytes: byte `4 lane + j` has `b` bits of quad after quad of that
//! column, where `b` is 1 or 2.
use super::dot::Dot;
use super::simd::LANES;
use crate::dtype::Int8;

/// How many bits a weight of a group has.
pub trait GroupBits {
    /// Bits of a weight: 4, 5 or 6. The scale of a group has the bits of a byte that its zero
    /// leaves.
    const BITS: usize;

    /// Bits of a weight above the low four.
    const HIGH: usize = Self::BITS - 4;
    /// The maximal weight before it is scaled.
    const WEIGHT_MAX: u8 = (1 << Self::BITS) - 1;
    /// Bits of a scale, which is above 0.
    const SCALE_BITS: usize = 8 - Self::BITS;
    /// The maximal scale of a group.
    const SCALE_MAX: u8 = (1 << Self::SCALE_BITS) - 1;
}

/// A group of 32 inputs of 32 columns.
#[derive(Clone, Copy, Debug)]
pub struct Group<'p> {
    /// Of each column the scale (the low bits, [`GroupBits::SCALE_BITS`]) and the zero (those
    /// above).
    pub scales: &'p [u8; 2 * LANES],
    /// The low 4 bits of the weights, `[4][32 columns][4]` bytes of two inputs each.
    pub weights: &'p [u8; 32 * LANES],
    /// The planes of the bits above: those of the first 16 columns, then those of the others; none
    /// where weights have 4 bits.
    pub high: &'p [u8],
}

impl<'p> Group<'p> {
    /// The scales of the first 16 columns, or of the last 16.
    ///
    /// # Panics
    /// If `half` is neither 0 nor 1.
    #[inline(always)]
    pub fn scales(self, half: usize) -> &'p [u8; LANES] {
        &self.scales.as_chunks().0[half]
    }

    /// The low bits of 8 inputs of 16 columns.
    ///
    /// # Panics
    /// If `pair` is not below 4, or `half` not below 2.
    #[inline(always)]
    pub fn quads(self, pair: usize, half: usize) -> &'p [u8; 4 * LANES] {
        &self.weights.as_chunks().0[2 * pair + half]
    }

    /// The plane with the high bits of 8 inputs of 16 columns, and the number of the lowest of them
    /// in each byte; [`Group::quads`] and 0 where weights have 4 bits.
    ///
    /// # Panics
    /// If `pair` is not below 4, or `half` not below 2.
    #[inline(always)]
    pub fn plane<G: GroupBits>(self, pair: usize, half: usize) -> (&'p [u8; 4 * LANES], u32) {
        if G::HIGH == 0 {
            return (self.quads(pair, half), 0);
        }
        // Bits of the plane before those of the pair, which has two quads.
        let bits = 2 * pair * G::HIGH;
        (&self.high.as_chunks().0[half * G::HIGH + bits / 8], (bits % 8) as u32)
    }
}

/// The operations that unpack weights of 4, 5 and 6 bits to 8.
pub trait UnpackGroup: Dot {
    /// The scale and zero of a group of 16 columns, in each lane its own.
    type GroupScales: Copy;

    /// Reads 16 bytes: in each the scale `s` of a group (its low [`GroupBits::SCALE_BITS`]) and the
    /// zero `z` (the bits above).
    fn load_group_scales<G: GroupBits>(self, bytes: &[u8; LANES]) -> Self::GroupScales;
    /// Unpacks 8 inputs of 16 columns: 64 bytes with the low 4 bits of two weights each, and the
    /// plane of the bits above them ([`Group::plane`]). Gives 16 quads of the low halves, and 16 of
    /// the high ones. A weight is `s q − s z` modulo 2^8.
    fn load_group_quads<G: GroupBits>(
        self,
        low: &[u8; 4 * LANES],
        plane: (&[u8; 4 * LANES], u32),
        scales: Self::GroupScales,
    ) -> (Self::Quads, Self::Quads);
    /// `sums + Σ a[i] (s q[i] − s z)` over a group of 4-bit weights: [`Dot::dot_quads`] with the
    /// weights that [`UnpackGroup::load_group_quads`] makes, exactly (modulo 2^32), where each of
    /// them is an 8-bit number. Only where `Strategy::int4_scales_sums`.
    #[inline(always)]
    fn add_int4_group(
        self,
        row: &[Int8; 2 * LANES],
        group: Group<'_>,
        sums: [Self::Ints; 2],
    ) -> [Self::Ints; 2] {
        let _ = (row, group, sums);
        unreachable!("only where `int4_scales_sums`");
    }
}
