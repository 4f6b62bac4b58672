//! Weights that come in blocks: codes of a few bits, with a scale for some of them.
//!
//! Whatever the type, element `i` of a block is
//!
//! ```text
//! value[i] = scale[i / G] · code[i] − minimum[i / G]
//! ```
//!
//! with a whole number for a code, f32 for scale and minimum, and `G` of 16 or 32 ([`Block`]). The
//! product is exact: a scale has at most 19 significant bits (those of an f16 and of an integer of
//! 8) and a code 5 more. So the one rounding is that of the difference, and the floats that are
//! made here are ggml's to the bit, with fused multiplications and without.
//!
//! * [`legacy`]: 32 elements with one scale, and with a minimum in the types `_1`.
//! * [`k_quants`]: 256 elements, whose groups have scales in units of the block's.
//! * [`tables`]: codes that name an entry of a table of 16.
mod k_quants;
mod legacy;
mod tables;

use std::marker::PhantomData;
use verbatim_core::isa::{Isa, Simd, SimdOp};

/// Elements of the largest block.
const ELEMENTS_MAX: usize = 256;
/// Elements of the smallest group that has a scale.
const GROUP_MIN: usize = 16;

/// A block taken apart. Of each part, as much is used as the type has.
struct Parts {
    /// A whole number for each element.
    codes: [i8; ELEMENTS_MAX],
    /// What the codes of a group are multiplied by.
    scales: [f32; ELEMENTS_MAX / GROUP_MIN],
    /// What is subtracted from the products of a group; used by types that have minima.
    minima: [f32; ELEMENTS_MAX / GROUP_MIN],
}

/// How one type stores a block.
trait Block {
    /// Elements of a block.
    const ELEMENTS: usize;
    /// Bytes of a block.
    const BYTES: usize;
    /// Elements of a group, which have one scale.
    const GROUP: usize;
    /// Whether something is subtracted from the products.
    const HAS_MINIMA: bool;

    /// Takes the bytes of a block apart, in the order of its elements.
    fn unpack(bytes: &[u8], parts: &mut Parts);
}

/// Does something for a type that is known when it is compiled.
trait BlockVisitor {
    type Output;
    fn visit<B: Block>(self) -> Self::Output;
}

/// The list of types.
macro_rules! block_formats {
    ($($variant:ident = $block:path, $name:literal;)*) => {
        /// A type of blocks that is served.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[allow(missing_docs)] // the names are the documentation
        pub enum BlockFormat {
            $($variant,)*
        }

        impl BlockFormat {
            /// All of them, in the order of the list.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The name that other tools print.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)*
                }
            }

            /// Elements of a block.
            pub const fn block_elements(self) -> usize {
                match self {
                    $(Self::$variant => <$block as Block>::ELEMENTS,)*
                }
            }

            /// Bytes of a block.
            pub const fn block_bytes(self) -> usize {
                match self {
                    $(Self::$variant => <$block as Block>::BYTES,)*
                }
            }

            fn visit<V: BlockVisitor>(self, visitor: V) -> V::Output {
                match self {
                    $(Self::$variant => visitor.visit::<$block>(),)*
                }
            }
        }
    };
}
block_formats! {
    Q4_0 = legacy::Q4_0, "Q4_0";
    Q4_1 = legacy::Q4_1, "Q4_1";
    Q5_0 = legacy::Q5_0, "Q5_0";
    Q5_1 = legacy::Q5_1, "Q5_1";
    Q8_0 = legacy::Q8_0, "Q8_0";
    Q2K = k_quants::Q2K, "Q2_K";
    Q3K = k_quants::Q3K, "Q3_K";
    Q4K = k_quants::Q4K, "Q4_K";
    Q5K = k_quants::Q5K, "Q5_K";
    Q6K = k_quants::Q6K, "Q6_K";
    Iq4Nl = tables::Iq4Nl, "IQ4_NL";
    Iq4Xs = tables::Iq4Xs, "IQ4_XS";
    Mxfp4 = tables::Mxfp4, "MXFP4";
    Nvfp4 = tables::Nvfp4, "NVFP4";
}

/// Makes the floats of whole blocks, in the order of their elements.
///
/// # Panics
/// If the bytes are not whole blocks, or make another number of floats than `out` has.
pub fn dequantize(isa: Isa, format: BlockFormat, bytes: &[u8], out: &mut [f32]) {
    struct Typed<'a> {
        isa: Isa,
        bytes: &'a [u8],
        out: &'a mut [f32],
    }
    impl BlockVisitor for Typed<'_> {
        type Output = ();
        fn visit<B: Block>(self) {
            let Self { isa, bytes, out } = self;
            assert!(bytes.len().is_multiple_of(B::BYTES), "whole blocks");
            assert_eq!(bytes.len() / B::BYTES * B::ELEMENTS, out.len());
            isa.run(Dequantize::<B> { bytes, out, block: PhantomData });
        }
    }
    format.visit(Typed { isa, bytes, out });
}

/// [`dequantize`] in code for an instruction set: its loops over bytes become vectors.
struct Dequantize<'a, B> {
    bytes: &'a [u8],
    out: &'a mut [f32],
    block: PhantomData<B>,
}

impl<B: Block> SimdOp for Dequantize<'_, B> {
    type Output = ();
    const MULTIPLIES_PAIRS: bool = false;
    #[inline(always)]
    fn eval<S: Simd>(self, _s: S) {
        let groups = ELEMENTS_MAX / GROUP_MIN;
        let mut parts = Parts { codes: [0; ELEMENTS_MAX], scales: [0.0; 16], minima: [0.0; 16] };
        debug_assert!(B::ELEMENTS / B::GROUP <= groups);
        for (block, out) in self.bytes.chunks_exact(B::BYTES).zip(self.out.chunks_exact_mut(B::ELEMENTS)) {
            B::unpack(block, &mut parts);
            let groups = out.chunks_exact_mut(B::GROUP).zip(parts.codes.chunks_exact(B::GROUP));
            for ((out, codes), (scale, minimum)) in groups.zip(parts.scales.iter().zip(&parts.minima)) {
                for (value, code) in out.iter_mut().zip(codes) {
                    let product = scale * f32::from(*code);
                    *value = if B::HAS_MINIMA { product - minimum } else { product };
                }
            }
        }
    }
}

/// The f16 in two bytes of a block.
#[inline(always)]
fn half(bytes: &[u8], at: usize) -> f32 {
    half::f16::from_le_bytes([bytes[at], bytes[at + 1]]).to_f32_const()
}

#[cfg(test)]
mod tests;
