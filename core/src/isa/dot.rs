//! Products of pairs of bf16 and of quads of bytes, for which CPUs have instructions of their own.
use super::simd::Simd;
use crate::dtype::Int8;
use half::bf16;

/// Sums of products of pairs and quads.
///
/// The bits of every implementation equal those of [`Portable`](super::Portable), as [`Simd`] asks.
pub trait Dot: Simd {
    /// Sixteen lanes of bf16 pairs (even element, odd element).
    type Pairs: Copy;
    /// Sixteen lanes of `i32`.
    type Ints: Copy;
    /// Sixteen lanes of four 8-bit weights.
    type Quads: Copy;
    /// Four 8-bit activations, in every lane.
    type QuadRow: Copy;
    /// Two vectors of 32 bf16, as they lie in memory.
    type Words: Copy;
    /// Reads 16 pairs: lane `i` holds elements `2i` and `2i + 1`.
    ///
    /// # Safety
    /// `p` is valid for reading 32 bf16; no alignment is needed.
    unsafe fn load_pairs(self, p: *const bf16) -> Self::Pairs;
    /// One pair in every lane.
    ///
    /// # Safety
    /// `p` is valid for reading 2 bf16; no alignment is needed.
    unsafe fn splat_pair(self, p: *const bf16) -> Self::Pairs;
    /// `fma(a.even, b.even, fma(a.odd, b.odd, c))`: the odd element first, as `vdpbf16ps` does it.
    fn dot_pairs(self, a: Self::Pairs, b: Self::Pairs, c: Self::F) -> Self::F;
    /// Reads 16 integers.
    ///
    /// # Safety
    /// `p` is valid for reading 16 integers; no alignment is needed.
    unsafe fn load_ints(self, p: *const i32) -> Self::Ints;
    /// The integers, each rounded to nearest even.
    fn ints_to_floats(self, x: Self::Ints) -> Self::F;
    /// Reads 16 quads of weights: lane `i` holds elements `4i` to `4i + 3`, signed.
    ///
    /// # Safety
    /// `p` is valid for reading 64 elements; no alignment is needed.
    unsafe fn load_quads(self, p: *const Int8) -> Self::Quads;
    /// Four activations in every lane, unsigned.
    ///
    /// # Safety
    /// `p` is valid for reading 4 elements; no alignment is needed.
    unsafe fn splat_quad(self, p: *const Int8) -> Self::QuadRow;
    /// `c + Σ a[j] b[j]` over the four elements of each lane, exactly (modulo 2^32).
    fn dot_quads(self, a: Self::QuadRow, b: Self::Quads, c: Self::Ints) -> Self::Ints;
    /// Writes 16 quads of weights.
    ///
    /// # Safety
    /// `p` is valid for writing 64 elements; no alignment is needed.
    unsafe fn store_quads(self, p: *mut Int8, x: Self::Quads);
    /// Reads two vectors of 32 bf16.
    ///
    /// # Safety
    /// Each of `p` is valid for reading 32 bf16; no alignment is needed.
    unsafe fn load_words(self, p: [*const bf16; 2]) -> Self::Words;
    /// The two vectors as pairs.
    fn pairs_of_words(self, words: Self::Words) -> [Self::Pairs; 2];
    /// Writes 64 bf16.
    ///
    /// # Safety
    /// `p` is valid for writing 64 bf16; no alignment is needed.
    unsafe fn store_words(self, p: *mut bf16, words: Self::Words);
}
