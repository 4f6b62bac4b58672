//! What is chosen of a model before it is loaded: formats of weights, and whether bf16 is stored in
//! 12 bits.
//!
//! A choice has a name: that of a format for all weights, or of a format and what differs from it:
//! `int4:down=int8`. A few weights are worth more bits than the others: rounding the values and the
//! head to 4 bits costs half as much as rounding all other weights (docs/performance.md has the
//! measurements), so `int4`, `int5` and `int6` alone keep those two in 8.
use crate::text::quote::quote;
use std::fmt::Write;
use verbatim_core::dtype::WeightFormat;
use verbatim_core::isa::Isa;
use verbatim_core::kernels::matmul::panel::PANEL;
use verbatim_core::model::{FormatMix, ModelConfig};

/// How weights are stored once they are loaded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WeightChoice {
    /// The format of the weights; `None` is the source's own: int8 if any of its matrices is of a
    /// GGUF file's blocks, else f32 if any is, else bf16.
    pub format: Option<WeightFormat>,
    /// The format of the output head; `None` is int8 with int4, int5 and int6 weights, else that of
    /// the weights.
    pub head: Option<WeightFormat>,
    /// The products of the layers that have a format of their own; where none is said for the
    /// values, they are int8 with int4, int5 and int6 weights, if Q and K are whole panels.
    pub mix: FormatMix,
    /// Whether bf16 takes 12 bits a weight; it changes no result.
    pub compress: Compress,
    /// The instruction set that will serve the model; `None` is the best of this CPU. With
    /// `sequences` it decides whether 12-bit bf16 pays.
    pub isa: Option<Isa>,
    /// Sequences that will be served at once; `None` is any number. A few may gain from 12-bit bf16
    /// where many do not.
    pub sequences: Option<usize>,
}

impl WeightChoice {
    /// One format for all weights, the output head's included.
    pub const fn all(format: WeightFormat) -> Self {
        Self {
            format: Some(format),
            head: Some(format),
            mix: FormatMix { value: Some(format), ..FormatMix::NONE },
            compress: Compress::Auto,
            isa: None,
            sequences: None,
        }
    }

    /// The choice of that name, and of that format of the head, which may be `same`. Errors begin
    /// with what is wrong, `weights` or `head`.
    pub fn named(weights: Option<&str>, head: Option<&str>) -> Result<Self, String> {
        let mut choice = weights.map_or_else(|| Ok(Self::default()), Self::parse)?;
        match head {
            None => {}
            Some("same") => choice.head = choice.format,
            Some(name) => choice.head = Some(format_of("head", name)?),
        }
        Ok(choice)
    }

    /// The choice of that name.
    fn parse(weights: &str) -> Result<Self, String> {
        let field = "weights";
        let (format, rest) = weights.split_once(':').map_or((weights, None), |(f, rest)| (f, Some(rest)));
        let mut choice = Self { format: Some(format_of(field, format)?), ..Self::default() };
        for part in rest.into_iter().flat_map(|rest| rest.split(',')) {
            let mix = &mut choice.mix;
            let Some((product, name)) = part.split_once('=') else {
                return Err(format!("{field} …{}: expected PRODUCT=FORMAT, such as value=int8", quote(part)));
            };
            let format = Some(format_of(field, name)?);
            match product {
                "value" => mix.value = format,
                "output" => mix.attention_output = format,
                "down" => mix.down = format,
                "head" => choice.head = format,
                _ => {
                    let product = quote(product);
                    return Err(format!("{field} …{product}: expected one of value, output, down, head"));
                }
            }
        }
        Ok(choice)
    }

    /// Sets a model's formats; `own` is that of its source.
    pub fn apply(&self, own: WeightFormat, model: &mut ModelConfig) {
        let format = self.format.unwrap_or(own);
        let has_few_bits = matches!(format, WeightFormat::Int4 | WeightFormat::Int5 | WeightFormat::Int6);
        model.weight_format = format;
        model.head_format = self.head.unwrap_or(if has_few_bits { WeightFormat::Int8 } else { format });
        let has_panels = (model.q_size() + model.kv_size()).is_multiple_of(PANEL);
        let value = (has_few_bits && has_panels).then_some(WeightFormat::Int8);
        let other = |product: Option<WeightFormat>| product.filter(|product| *product != format);
        model.mix = FormatMix {
            value: other(self.mix.value.or(value)),
            attention_output: other(self.mix.attention_output),
            down: other(self.mix.down),
        };
    }
}

/// A model's formats in words: that of its weights, and what differs from it.
pub fn formats_of(config: &ModelConfig) -> String {
    let mut words = config.weight_format.name().to_owned();
    let head = (config.head_format != config.weight_format).then_some(config.head_format);
    for (product, format) in config.mix.products().into_iter().chain([("head", head)]) {
        if let Some(format) = format {
            let _ = write!(words, ", {product} {}", format.name());
        }
    }
    words
}

/// The format of that name.
fn format_of(field: &str, name: &str) -> Result<WeightFormat, String> {
    let known = WeightFormat::ALL.into_iter().find(|format| format.name() == name);
    known.ok_or_else(|| {
        let names = WeightFormat::ALL.map(WeightFormat::name).join(", ");
        format!("{field} {}: expected one of {names}", quote(name))
    })
}

/// Whether bf16 weights are stored in 12 bits each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Compress {
    /// Where it pays: in models too large for the caches, for as many sequences as it does on this
    /// CPU, if the exponents allow it.
    #[default]
    Auto,
    /// Always; weights whose exponents do not allow it are an error.
    On,
    /// Never, whatever it would gain.
    Off,
}

/// Bytes of bf16 weights from which reading them takes longer than decoding three quarters of them.
pub(super) const COMPRESS_BYTES_MIN: usize = 64 << 20;

/// Why 12-bit bf16 does not pay for a [`WeightChoice`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoGain {
    /// It is not known to pay for any number of sequences on this instruction set.
    InstructionSet {
        /// The name of the instruction set.
        isa: &'static str,
    },
    /// Fewer sequences would gain from it.
    Sequences {
        /// Sequences that are to be served at once; `None` is any number.
        served: Option<usize>,
        /// Sequences up to which it pays.
        max: usize,
    },
}

impl std::fmt::Display for NoGain {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (served, max) = match *self {
            Self::InstructionSet { isa } => return write!(f, "that is not known to pay on {isa}"),
            Self::Sequences { served, max } => (served, max),
        };
        match served {
            None => f.write_str("with many sequences")?,
            Some(served) => write!(f, "with {served} sequences at once")?,
        }
        write!(f, " that is slower on this CPU, with up to {max} it is faster")
    }
}

/// Why 12-bit bf16 does not pay for the instruction set and the sequences of a choice; `None` if it
/// does.
pub(super) fn no_gain(weights: WeightChoice) -> Option<NoGain> {
    let isa = weights.isa.unwrap_or_else(Isa::detect);
    no_gain_beyond(isa.bf16_12_sequences(), weights.sequences, isa.name())
}

/// `max` is as [`Isa::bf16_12_sequences`] says.
fn no_gain_beyond(max: usize, served: Option<usize>, isa: &'static str) -> Option<NoGain> {
    if served.unwrap_or(usize::MAX) <= max {
        return None;
    }
    Some(if max == 0 { NoGain::InstructionSet { isa } } else { NoGain::Sequences { served, max } })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn products_that_are_not_named_keep_their_default() {
        let named = |name| WeightChoice::named(Some(name), None).unwrap();
        let [int4, int8] = [Some(WeightFormat::Int4), Some(WeightFormat::Int8)];
        let mix = named("int4:down=int8").mix;
        assert_eq!(mix, FormatMix { down: int8, ..FormatMix::NONE }, "values: the default of int4");
        assert_eq!(named("int4:value=int4").mix.value, int4, "values in 4 bits only where that is said");
        assert_eq!(WeightChoice::all(WeightFormat::Int4).mix.value, int4);
    }

    #[test]
    fn whether_12_bits_pay_depends_on_how_many_are_served() {
        const MANY: usize = usize::MAX;
        let of = |max, served| no_gain_beyond(max, served, "avx2");
        for (max, served) in [(4, Some(1)), (4, Some(4)), (MANY, Some(1)), (MANY, Some(500)), (MANY, None)] {
            assert_eq!(of(max, served), None);
        }
        let told = |max, served| of(max, served).unwrap().to_string();
        let beyond = |who: &str| format!("{who} that is slower on this CPU, with up to 4 it is faster");
        assert_eq!(told(4, Some(5)), beyond("with 5 sequences at once"));
        assert_eq!(told(4, None), beyond("with many sequences"));
        for served in [Some(1), Some(8), None] {
            assert_eq!(told(0, served), "that is not known to pay on avx2");
        }
    }
}
