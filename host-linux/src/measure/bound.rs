//! What bounds a model on a machine, and what other weight formats would give there.
//!
//! A step reads the weights once, however many rows it has, and multiplies them with each of its
//! rows. It takes at least the longer of the two times; which of them it is, and how close the step
//! comes to it, says what would make it faster.
use super::machine::Machine;
use super::speed::{bytes_read, multiplied};
use crate::load::WeightChoice;
use verbatim_core::dtype::WeightFormat;
use verbatim_core::model::ModelConfig;

/// The share of a limit from which that is what bounds.
const CLOSE: f64 = 0.5;

/// The share of a limit beyond which that was no limit.
const BEYOND: f64 = 1.1;

/// What keeps a step from being faster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bound {
    /// Reading the weights from memory.
    Memory,
    /// Multiplying, however fast weights come.
    Arithmetic,
    /// Neither of them is near: the rest is attention, small operations, or other programs.
    Neither,
    /// It is faster than memory could be: the weights stay in the caches.
    Caches,
    /// It is faster than the machine seemed to be: other programs took its time while that was
    /// measured.
    Unsettled,
}

impl Bound {
    /// Its name in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Arithmetic => "arithmetic",
            Self::Neither => "neither",
            Self::Caches => "caches",
            Self::Unsettled => "unsettled",
        }
    }
}

/// The most that a machine could do of something, in tokens a second.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Limit {
    /// If reading the weights were all that takes time.
    pub by_memory: f64,
    /// If multiplying were all that takes time.
    pub by_arithmetic: f64,
    /// Whether the caches may hold the weights, which then need not be read from memory.
    pub fits_caches: bool,
}

impl Limit {
    /// The lower of the two.
    pub fn tokens(self) -> f64 {
        self.by_memory.min(self.by_arithmetic)
    }

    /// What bounds a model that reaches `rate` tokens a second.
    pub fn bound(self, rate: f64) -> Bound {
        let is_read = self.by_memory <= self.by_arithmetic;
        match rate / self.tokens() {
            share if share > BEYOND => {
                if is_read && self.fits_caches {
                    Bound::Caches
                } else {
                    Bound::Unsettled
                }
            }
            share if share < CLOSE => Bound::Neither,
            _ if is_read => Bound::Memory,
            _ => Bound::Arithmetic,
        }
    }
}

/// Seconds that a machine needs for the products of `rows` rows, of which all that `sample` go
/// through the head.
fn multiply_time(machine: &Machine, config: &ModelConfig, rows: f64, sample: f64) -> f64 {
    let (layers, head) = multiplied(config);
    let layers = 2.0 * layers as f64 * rows / machine.peaks.for_operands(config.weight_format.operands());
    layers + 2.0 * head as f64 * sample / machine.peaks.for_operands(config.head_format.operands())
}

/// The limit of decoding `sequences` at once, all of them together.
pub fn decode_limit(machine: &Machine, config: &ModelConfig, sequences: usize) -> Limit {
    let rows = sequences as f64;
    Limit {
        fits_caches: bytes_read(config) <= machine.caches,
        by_memory: rows * machine.read / bytes_read(config),
        by_arithmetic: rows / multiply_time(machine, config, rows, rows),
    }
}

/// The limit of a prompt of so many tokens, computed in one step.
pub fn prefill_limit(machine: &Machine, config: &ModelConfig, prompt: usize) -> Limit {
    let rows = prompt as f64;
    Limit {
        fits_caches: bytes_read(config) <= machine.caches,
        by_memory: rows * machine.read / bytes_read(config),
        by_arithmetic: rows / multiply_time(machine, config, rows, 1.0),
    }
}

/// What a weight format would give, if the model came as close to the limits in it as in its own.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Estimate {
    /// The format, as a choice of weights names it.
    pub format: WeightFormat,
    /// Bytes of weights that a step reads.
    pub bytes: f64,
    /// Tokens a second of one sequence.
    pub decode: f64,
    /// Tokens a second of a prompt.
    pub prefill: f64,
}

/// The estimates of all formats but the model's own, by bytes and measured rates. `decode` and
/// `prefill` are tokens a second in its own format, of one sequence and of a prompt of that length.
pub fn estimates(
    machine: &Machine,
    config: &ModelConfig,
    (decode, prefill): (f64, f64),
    prompt: usize,
) -> Vec<Estimate> {
    let shares = (
        decode / decode_limit(machine, config, 1).tokens(),
        prefill / prefill_limit(machine, config, prompt).tokens(),
    );
    let formats = WeightFormat::ALL.into_iter().filter(|format| *format != config.weight_format);
    formats
        .map(|format| {
            let mut other = *config;
            WeightChoice { format: Some(format), ..WeightChoice::default() }.apply(format, &mut other);
            Estimate {
                format,
                bytes: bytes_read(&other),
                decode: shares.0 * decode_limit(machine, &other, 1).tokens(),
                prefill: shares.1 * prefill_limit(machine, &other, prompt).tokens(),
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::{NoProgress, builtin, load_model};
    use crate::sys::rates::peaks::Peaks;
    use verbatim_core::pool::Serial;

    const MACHINE: Machine = Machine {
        read: 1e10,
        peaks: Peaks { f32_fma: 1e11, bf16_dot: 2e11, int8_dot: 4e11, int8_tiles: 0.0 },
        caches: 0.0,
    };

    fn config() -> ModelConfig {
        let choice = WeightChoice::all(WeightFormat::Bf16);
        *load_model(&builtin::folder(), choice, &Serial, &NoProgress)
            .expect("the built-in model")
            .model()
            .config()
    }

    #[test]
    fn one_sequence_reads_and_a_prompt_multiplies() {
        let config = config();
        let (one, prompt) = (decode_limit(&MACHINE, &config, 1), prefill_limit(&MACHINE, &config, 512));
        assert_eq!(one.tokens(), one.by_memory);
        assert_eq!(one.by_memory, 1e10 / bytes_read(&config));
        assert_eq!(prompt.tokens(), prompt.by_arithmetic);
        let many = decode_limit(&MACHINE, &config, 8);
        assert_eq!(many.by_memory, 8.0 * one.by_memory, "the weights are read once for all");
        assert!((many.by_arithmetic / one.by_arithmetic - 1.0).abs() < 1e-9);
    }

    #[test]
    fn the_nearer_limit_bounds() {
        let read = Limit { by_memory: 10.0, by_arithmetic: 100.0, fits_caches: true };
        assert_eq!(
            [9.0, 4.0, 30.0].map(|rate| read.bound(rate)),
            [Bound::Memory, Bound::Neither, Bound::Caches]
        );
        let large = Limit { fits_caches: false, ..read };
        assert_eq!(large.bound(30.0), Bound::Unsettled, "what fits no cache is read from memory");
        let multiplied = Limit { by_memory: 100.0, by_arithmetic: 10.0, fits_caches: true };
        assert_eq!(
            [9.0, 4.0, 30.0].map(|rate| multiplied.bound(rate)),
            [Bound::Arithmetic, Bound::Neither, Bound::Unsettled]
        );
    }

    #[test]
    fn smaller_weights_are_estimated_to_decode_faster() {
        let config = config();
        let told = estimates(&MACHINE, &config, (100.0, 1000.0), 512);
        assert!(told.iter().all(|estimate| estimate.format != WeightFormat::Bf16));
        let of = |format| *told.iter().find(|estimate| estimate.format == format).expect("it is there");
        let (int8, f32) = (of(WeightFormat::Int8), of(WeightFormat::F32));
        assert!(int8.decode > 150.0 && int8.decode < 210.0, "half the bytes: {int8:?}");
        assert!(f32.decode > 45.0 && f32.decode < 55.0, "twice the bytes: {f32:?}");
        assert!(int8.prefill > 1500.0 && f32.prefill < 600.0, "by the peaks: {int8:?} {f32:?}");
    }
}
