//! What is chosen of a model before it is loaded: formats of weights, and whether bf16 is stored in
//! 12 bits.
use verbatim_core::dtype::WeightFormat;
use verbatim_core::isa::Isa;

/// How weights are stored once they are loaded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WeightChoice {
    /// The format of the weights; `None` is the source's own: int8 if any of its matrices is of a
    /// GGUF file's blocks, else f32 if any is, else bf16.
    pub format: Option<WeightFormat>,
    /// The format of the output head; `None` is that of the other weights.
    pub head: Option<WeightFormat>,
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
        Self { format: Some(format), head: None, compress: Compress::Auto, isa: None, sequences: None }
    }
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
