//! The element formats: `f32`, `bf16`, and what a weight or a KV plane is stored as.
//!
//! bf16 is the upper half of an f32: 8 bits of significand, the same exponents. Widening is exact.
//! Narrowing rounds to nearest even and keeps NaN. **Flush**: a value that becomes a bf16 *operand*
//! of a product (weight, activation, Q, K, V, P) is set to +0 when `|x| < 2^-50`. Every product of
//! two operands is then a multiple of 2^-114, so no partial sum can be subnormal, and the bf16 dot
//! instruction of x86 and two fused multiply-adds agree on every bit (ARCHITECTURE.md, "Numerics").
pub use half::bf16;

/// Operands smaller than this in magnitude are flushed to +0.
pub const FLUSH_BELOW: f32 = f32::from_bits((127 - 50) << 23);

/// Attention accumulators smaller than this in magnitude are flushed to +0 when they are rescaled,
/// for the same reason (`kernels::attention`).
pub const FLUSH_RESCALED_BELOW: f32 = f32::from_bits((127 - 100) << 23);

/// `x`, or +0 where `|x| < 2^-50`. NaN stays.
#[inline(always)]
pub fn flush(x: f32) -> f32 {
    if x.abs() < FLUSH_BELOW { 0.0 } else { x }
}

/// Rounds to bf16, to nearest even. NaN stays NaN (quiet). No flush.
#[inline(always)]
pub fn bf16_round(x: f32) -> bf16 {
    let bits = x.to_bits();
    if x.is_nan() {
        return bf16::from_bits((bits >> 16) as u16 | 0x40);
    }
    let half_ulp = 0x7fff + ((bits >> 16) & 1);
    bf16::from_bits((bits.wrapping_add(half_ulp) >> 16) as u16)
}

/// Rounds to a bf16 operand: [`flush`], then [`bf16_round`].
#[inline(always)]
pub fn bf16_operand(x: f32) -> bf16 {
    bf16_round(flush(x))
}

/// The f32 with the value of a bf16, which is exact.
#[inline(always)]
pub fn bf16_widen(x: bf16) -> f32 {
    f32::from_bits((x.to_bits() as u32) << 16)
}

crate::memory::byte_types! {
    /// An 8-bit element of a product: a weight is signed, an activation is offset by 128, as
    /// `vpdpbusd` takes them.
    Int8;

    /// A byte of an int4 panel: two 4-bit weights, or the scale and zero of a group of them.
    Int4;

    /// A byte of an int5 panel: the low 4 bits of two weights, a bit of eight, or the scale and
    /// zero of a group of them.
    Int5;

    /// A byte of an int6 panel: the low 4 bits of two weights, two bits of four, or the scale and
    /// zero of a group of them.
    Int6;

    /// A byte of a panel of 12-bit bf16 (`kernels::matmul::formats::bf16_12`).
    Bf16x12;
}

/// The maximal magnitude of an 8-bit weight or activation, before the offset.
pub const INT8_MAX: f32 = 127.0;

/// The scale of 8-bit numbers whose maximal magnitude is `max`, and its reciprocal: `x ≈ scale ·
/// round(x · inverse)`. Both are 0 where `max` is below 2^-50, whose reciprocal is no number to
/// rely on.
#[inline(always)]
pub fn int8_scale(max: f32) -> (f32, f32) {
    if max < FLUSH_BELOW { (0.0, 0.0) } else { (max / INT8_MAX, INT8_MAX / max) }
}

/// 1.5 · 2^23: added to a number of magnitude below 2^22 it rounds that to an integer, which then
/// stands in the lowest bits.
pub const ROUND_TO_INT: f32 = 12_582_912.0;

/// The integer nearest to a number of magnitude below 2^22, ties to even. Straight-line, so that
/// loops of it become vectors.
#[inline(always)]
pub fn nearest_int(x: f32) -> i32 {
    ((x + ROUND_TO_INT).to_bits() as i32).wrapping_sub(ROUND_TO_INT.to_bits() as i32)
}

/// What activations are rounded to before a product.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // the names are the documentation
pub enum OperandFormat {
    F32,
    Bf16,
    Int8,
}

/// The list of weight formats. A line is a format's number in an image, and:
///
/// * `element`: the type of a panel's elements, for which `kernels::matmul::formats` has the rest;
/// * `name`: the name in flags and reports;
/// * `operands`: what rows of activations are rounded to;
/// * `rows`: the format of an embedding table, whose rows are looked up, not multiplied;
/// * `results`: the format whose results it has, bit for bit.
///
/// `weight_formats!(name)` hands the list to the macro of that name.
macro_rules! weight_formats {
    ($with:ident) => {
        $with! {
            /// 4 bytes a weight; activations stay f32.
            F32 = 0 { element: f32, name: "f32", operands: F32, rows: F32, results: F32 }
            /// 2 bytes a weight; activations are rounded to bf16 operands.
            Bf16 = 1 { element: crate::dtype::bf16, name: "bf16", operands: Bf16, rows: Bf16, results: Bf16 }
            /// 1 byte a weight and an f32 scale for each output; activations are rounded to 8 bits
            /// with a scale for each row.
            Int8 = 2 { element: crate::dtype::Int8, name: "int8", operands: Int8, rows: Bf16, results: Int8 }
            /// 4.25 bits a weight and an f32 scale for each output. A weight has 4 bits, and each
            /// group of 32 a scale and a zero of 4 bits, which make 8-bit weights of them; these
            /// are multiplied as [`WeightFormat::Int8`]'s are.
            Int4 = 3 { element: crate::dtype::Int4, name: "int4", operands: Int8, rows: Bf16, results: Int4 }
            /// 12-bit bf16: a lossless code of the weights of [`WeightFormat::Bf16`], so every
            /// result has the same bits.
            Bf16x12 = 4 {
                element: crate::dtype::Bf16x12, name: "bf16-12", operands: Bf16, rows: Bf16, results: Bf16
            }
            /// 5.25 bits a weight: as [`WeightFormat::Int4`], with 5 bits for a weight and a
            /// zero, and 3 for a scale.
            Int5 = 5 { element: crate::dtype::Int5, name: "int5", operands: Int8, rows: Bf16, results: Int5 }
            /// 6.25 bits a weight: as [`WeightFormat::Int4`], with 6 bits for a weight and a
            /// zero, and 2 for a scale.
            Int6 = 6 { element: crate::dtype::Int6, name: "int6", operands: Int8, rows: Bf16, results: Int6 }
            /// A format of tests alone: scales and minima for blocks of 32 and 256 inputs.
            #[cfg(test)]
            Toy = 1000 {
                element: crate::kernels::matmul::formats::toy::Toy, name: "toy", operands: F32, rows: F32,
                results: Toy
            }
        }
    };
}
pub(crate) use weight_formats;

macro_rules! weight_format_enum {
    ($(
        $(#[doc = $doc:literal])* $(#[cfg($cfg:meta)])?
        $variant:ident = $number:literal {
            element: $element:ty, name: $name:literal, operands: $operands:ident, rows: $rows:ident,
            results: $results:ident
        }
    )*) => {
        /// How weights are stored, and with it how the operands of their products are rounded.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(u32)]
        pub enum WeightFormat {
            $($(#[doc = $doc])* $(#[cfg($cfg)])? $variant = $number,)*
        }

        impl WeightFormat {
            const LIST: &[Self] = &[$($(#[cfg($cfg)])? Self::$variant,)*];

            /// The format whose results it has, one of [`WeightFormat::ALL`].
            pub const fn numerics(self) -> Self {
                match self {
                    $($(#[cfg($cfg)])? Self::$variant => Self::$results,)*
                }
            }

            /// What the activations that meet such weights are rounded to.
            pub const fn operands(self) -> OperandFormat {
                match self {
                    $($(#[cfg($cfg)])? Self::$variant => OperandFormat::$operands,)*
                }
            }

            /// How an embedding table is stored: rows of it are looked up, not multiplied.
            pub const fn of_rows(self) -> Self {
                match self {
                    $($(#[cfg($cfg)])? Self::$variant => Self::$rows,)*
                }
            }

            /// The name used in flags and reports.
            pub const fn name(self) -> &'static str {
                match self {
                    $($(#[cfg($cfg)])? Self::$variant => $name,)*
                }
            }

            /// Bytes an element of a panel takes; of formats whose weights are no whole bytes, a
            /// byte.
            pub const fn element_bytes(self) -> usize {
                match self {
                    $($(#[cfg($cfg)])? Self::$variant => size_of::<$element>(),)*
                }
            }
        }
    };
}
weight_formats!(weight_format_enum);

impl WeightFormat {
    /// Those that differ in their results.
    pub const ALL: [Self; Self::count(true)] = Self::listed(true);

    /// Those that differ in how they are stored.
    pub const STORED: [Self; Self::count(false)] = Self::listed(false);

    /// How many are listed, or how many of them have results of their own.
    const fn count(own_results: bool) -> usize {
        let (mut count, mut i) = (0, 0);
        while i < Self::LIST.len() {
            if !own_results || Self::LIST[i].numerics() as u32 == Self::LIST[i] as u32 {
                count += 1;
            }
            i += 1;
        }
        count
    }

    const fn listed<const N: usize>(own_results: bool) -> [Self; N] {
        let mut formats = [Self::F32; N];
        let (mut count, mut i) = (0, 0);
        while i < Self::LIST.len() {
            if !own_results || Self::LIST[i].numerics() as u32 == Self::LIST[i] as u32 {
                formats[count] = Self::LIST[i];
                count += 1;
            }
            i += 1;
        }
        formats
    }

    /// The format of that number in an image.
    pub fn from_u32(number: u32) -> Option<Self> {
        Self::LIST.iter().copied().find(|format| *format as u32 == number)
    }

    /// The format of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::LIST.iter().copied().find(|format| format.name() == name)
    }
}

/// How keys and values are stored, and with it how Q and P are rounded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum KvFormat {
    /// 4 bytes an element.
    F32 = 0,
    /// 2 bytes an element.
    Bf16 = 1,
    /// 1 byte an element, and an f32 scale for each position and head; queries and probabilities
    /// are rounded to 8 bits too.
    Int8 = 2,
}

impl KvFormat {
    /// Every KV format, in the order of their numbers.
    pub const ALL: [Self; 3] = [Self::F32, Self::Bf16, Self::Int8];

    /// Elements that share a scale, of heads `head_dim` wide; 0 where there are no scales.
    pub const fn group(self, head_dim: usize) -> usize {
        match self {
            Self::F32 | Self::Bf16 => 0,
            Self::Int8 => head_dim,
        }
    }
}

impl KvFormat {
    /// The name used in flags and reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::Bf16 => "bf16",
            Self::Int8 => "int8",
        }
    }

    /// Bytes an element takes.
    pub const fn element_bytes(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::Bf16 => 2,
            Self::Int8 => 1,
        }
    }

    /// The format of that number in a fingerprint.
    pub fn from_u32(number: u32) -> Option<Self> {
        Self::ALL.into_iter().find(|format| *format as u32 == number)
    }

    /// The format of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|format| format.name() == name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_bf16_survives_the_way_up_and_down() {
        for bits in 0..=u16::MAX {
            let x = bf16::from_bits(bits);
            let back = bf16_round(bf16_widen(x));
            if bf16_widen(x).is_nan() {
                assert!(bf16_widen(back).is_nan());
            } else {
                assert_eq!(back.to_bits(), bits);
            }
        }
    }

    #[test]
    fn rounding_is_to_nearest_even_as_in_half() {
        let mut state = 0x2545_f491_4f6c_dd1d_u64;
        for _ in 0..1_000_000 {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            let x = f32::from_bits(state as u32);
            if !x.is_nan() {
                assert_eq!(bf16_round(x).to_bits(), bf16::from_f32(x).to_bits(), "{x:e}");
            }
        }
        assert!(bf16_widen(bf16_round(f32::NAN)).is_nan());
        // A signalling NaN whose payload lies in the lower half must not round to infinity.
        assert!(bf16_widen(bf16_round(f32::from_bits(0x7f80_0001))).is_nan());
    }

    #[test]
    fn flush_keeps_the_bound_itself() {
        assert_eq!(flush(FLUSH_BELOW), FLUSH_BELOW);
        assert_eq!(flush(-FLUSH_BELOW), -FLUSH_BELOW);
        let below = f32::from_bits(FLUSH_BELOW.to_bits() - 1);
        assert_eq!(flush(below).to_bits(), 0);
        assert_eq!(flush(-below).to_bits(), 0, "the sign goes too");
        assert!(flush(f32::NAN).is_nan());
    }
}
