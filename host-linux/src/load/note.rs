//! What a user should know about a model that was loaded, though nothing is wrong.
use super::choice::NoGain;
use std::fmt;
use verbatim_core::dtype::WeightFormat;
use verbatim_core::model::ImageError;

/// Something about a loaded model that its user may not expect. `Display` is one line.
#[derive(Clone, Debug, PartialEq)]
pub enum LoadNote {
    /// Weights of a wider type are rounded to bf16.
    RoundedToBf16 {
        /// The type of the checkpoint: `f16` or `f32`.
        from: &'static str,
        /// The significant bits of that type, of which bf16 keeps 8.
        significant_bits: u32,
    },
    /// Weights are rounded to whole numbers of this format.
    Quantized(WeightFormat),
    /// A large bf16 model is not stored in 12 bits a weight.
    NotCompressed(NotCompressed),
    /// An image is stored in 12 bits a weight, which does not pay here.
    Compressed(NoGain),
}

/// Why a large bf16 model is not stored in 12 bits a weight.
#[derive(Clone, Debug, PartialEq)]
pub enum NotCompressed {
    /// It would not be faster.
    NoGain(NoGain),
    /// Its image would not be valid.
    Image(ImageError),
    /// The exponents of this tensor are too many.
    TooManyExponents {
        /// The tensor, as the checkpoint names it.
        tensor: String,
    },
}

/// What a format rounds to whole numbers, in a note's words; `None` if it rounds nothing so.
///
/// Every format is named, so that a new one does not compile before it has words here.
pub(super) fn rounding(format: WeightFormat) -> Option<&'static str> {
    match format {
        WeightFormat::F32 | WeightFormat::Bf16 | WeightFormat::Bf16x12 => None,
        WeightFormat::Int8 => Some(
            "weights are rounded to 8 bits with a scale for each output, activations with one for each row",
        ),
        WeightFormat::Int4 => Some(
            "weights are rounded to 4 bits with a scale and a zero for 32 of them, activations to 8 bits",
        ),
        WeightFormat::Int5 => Some(
            "weights are rounded to 5 bits with a scale and a zero for 32 of them, activations to 8 bits",
        ),
        WeightFormat::Int6 => Some(
            "weights are rounded to 6 bits with a scale and a zero for 32 of them, activations to 8 bits",
        ),
    }
}

impl fmt::Display for LoadNote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::RoundedToBf16 { from, significant_bits } => write!(
                f,
                "{from} weights are rounded to bf16, which keeps 8 of their {significant_bits} significant bits"
            ),
            Self::Quantized(format) => f.write_str(rounding(*format).unwrap_or("weights are rounded")),
            Self::NotCompressed(why) => write!(f, "weights are not compressed: {why}"),
            Self::Compressed(why) => write!(f, "weights are compressed: {why}"),
        }
    }
}

impl fmt::Display for NotCompressed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoGain(why) => why.fmt(f),
            Self::Image(error) => error.fmt(f),
            Self::TooManyExponents { tensor } => write!(f, "{tensor} has too many different exponents"),
        }
    }
}
