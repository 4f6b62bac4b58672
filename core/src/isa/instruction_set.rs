//! An instruction set with all its operations, and the work that is compiled for one.
use super::bf16_12::DecodeBf16x12;
use super::dequantized::Dequantized;
use super::grouped::UnpackGroup;

/// All operations: [`Simd`](super::Simd) and its extensions.
pub trait InstructionSet: Dequantized + UnpackGroup + DecodeBf16x12 {}

impl<S: Dequantized + UnpackGroup + DecodeBf16x12> InstructionSet for S {}

/// A piece of work that can be compiled for every instruction set.
pub trait SimdOp {
    /// The result of the work.
    type Output;
    /// Whether the work multiplies pairs of bf16. Other work is compiled once for AVX-512, be there
    /// instructions for such pairs or not: only the time to compile depends on this.
    const MULTIPLIES_PAIRS: bool = true;
    /// Does the work with the operations of `simd`. Implement it `#[inline(always)]`, and so
    /// everything it calls on the hot path. An implementation may ask for less than all operations:
    /// `eval<S: Simd>`.
    fn eval<S: InstructionSet>(self, simd: S) -> Self::Output;
}
