//! What a benchmark measured.
use crate::load::formats_of;
use crate::measure::bound::{Bound, Estimate, Limit, decode_limit, estimates, prefill_limit};
use crate::measure::machine::Machine;
use crate::measure::probe::Measured;
use crate::measure::speed::bytes_read;
use crate::runtime::ServedModel;
use crate::sys::cpu::model_name;
use serde_json::{Value, json};

/// One figure beside its limit.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Row {
    /// What was measured, in a word or two.
    pub(super) label: String,
    /// Sequences, or tokens of the prompt.
    pub(super) count: usize,
    /// Tokens a second, of all sequences together.
    pub(super) rate: f64,
    /// What the machine allows.
    pub(super) limit: Limit,
}

impl Row {
    /// The rate as a share of the limit.
    pub(super) fn share(&self) -> f64 {
        self.rate / self.limit.tokens()
    }

    /// What keeps it from being faster.
    pub(super) fn bound(&self) -> Bound {
        self.limit.bound(self.rate)
    }
}

/// All that was measured.
#[derive(Clone, Debug)]
pub(super) struct Outcome {
    /// The model's name, and its fingerprint.
    pub(super) model: String,
    pub(super) fingerprint: String,
    /// The formats of its weights, in words.
    pub(super) format: String,
    /// Bytes of weights that a step reads.
    pub(super) bytes: f64,
    pub(super) cpu: String,
    pub(super) isa: &'static str,
    pub(super) workers: usize,
    pub(super) machine: Machine,
    pub(super) prefill: Row,
    /// Decoding, one sequence first.
    pub(super) decode: Vec<Row>,
    /// What other formats would give; none where the weights stay in caches.
    pub(super) others: Vec<Estimate>,
}

impl Outcome {
    /// Puts a model's figures beside the limits.
    pub(super) fn new(served: &ServedModel, machine: Machine, measured: &Measured) -> Self {
        let config = *served.loaded.model().config();
        let prompt = measured.prompt;
        let prefill = Row {
            label: format!("prefill {prompt}"),
            count: prompt,
            rate: measured.prefill,
            limit: prefill_limit(&machine, &config, prompt),
        };
        let decode = measured.decode.iter().map(|decode| Row {
            label: format!("decode x{}", decode.sequences),
            count: decode.sequences,
            rate: decode.rate,
            limit: decode_limit(&machine, &config, decode.sequences),
        });
        let decode: Vec<Row> = decode.collect();
        let rates = (decode.first().map_or(0.0, |row| row.rate), measured.prefill);
        // Where memory is not what is read, or its rate is not known, bytes tell nothing.
        let is_known = |row: &Row| !matches!(row.bound(), Bound::Caches | Bound::Unsettled);
        let is_read = decode.first().is_some_and(is_known);
        let others = if is_read { estimates(&machine, &config, rates, prompt) } else { Vec::new() };
        Self {
            model: served.name.clone(),
            fingerprint: served.fingerprint.clone(),
            format: formats_of(&config),
            bytes: bytes_read(&config),
            cpu: model_name(),
            isa: served.isa.name(),
            workers: served.workers.workers,
            machine,
            prefill,
            decode,
            others,
        }
    }

    /// Every figure beside its limit, prefill first.
    pub(super) fn rows(&self) -> impl Iterator<Item = &Row> {
        std::iter::once(&self.prefill).chain(&self.decode)
    }

    /// All of it as one object; rates are of a second.
    pub(super) fn as_json(&self) -> Value {
        let figure = |row: &Row, count: &str| {
            json!({
                count: row.count,
                "tokens": row.rate,
                "limit": row.limit.tokens(),
                "limit_by_memory": row.limit.by_memory,
                "limit_by_arithmetic": row.limit.by_arithmetic,
                "share": row.share(),
                "bound": row.bound().name(),
            })
        };
        let others = self.others.iter().map(|other| {
            json!({
                "format": other.format.name(),
                "bytes_read": other.bytes,
                "decode_tokens": other.decode,
                "prefill_tokens": other.prefill,
            })
        });
        let peaks = &self.machine.peaks;
        json!({
            "model": {
                "name": self.model,
                "fingerprint": self.fingerprint,
                "format": self.format,
                "bytes_read": self.bytes,
            },
            "machine": {
                "cpu": self.cpu,
                "isa": self.isa,
                "workers": self.workers,
                "read_bytes": self.machine.read,
                "f32_operations": peaks.f32_fma,
                "bf16_operations": peaks.bf16_dot,
                "int8_operations": peaks.int8_dot.max(peaks.int8_tiles),
            },
            "prefill": figure(&self.prefill, "prompt"),
            "decode": self.decode.iter().map(|row| figure(row, "sequences")).collect::<Vec<_>>(),
            "estimates": others.collect::<Vec<_>>(),
        })
    }
}

/// An outcome for tests of how it is shown.
#[cfg(test)]
pub(super) fn example() -> Outcome {
    use crate::sys::rates::peaks::Peaks;
    use verbatim_core::dtype::WeightFormat;
    let row = |label: &str, count, rate, by_memory, by_arithmetic| Row {
        label: label.to_owned(),
        count,
        rate,
        limit: Limit { by_memory, by_arithmetic, fits_caches: false },
    };
    Outcome {
        model: "a<b>&c".to_owned(),
        fingerprint: "vb-1".to_owned(),
        format: "bf16".to_owned(),
        bytes: 2.2e9,
        cpu: "A CPU".to_owned(),
        isa: "avx2",
        workers: 2,
        machine: Machine {
            read: 20e9,
            peaks: Peaks { f32_fma: 1e11, bf16_dot: 2e11, int8_dot: 4e11, int8_tiles: 0.0 },
            caches: 0.0,
        },
        prefill: row("prefill 512", 512, 60.0, 4000.0, 80.0),
        decode: vec![row("decode x1", 1, 8.0, 10.0, 80.0), row("decode x8", 8, 30.0, 80.0, 79.0)],
        others: vec![Estimate { format: WeightFormat::Int8, bytes: 1.1e9, decode: 16.0, prefill: 120.0 }],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_object_has_figures_limits_and_bounds() {
        let told = example().as_json();
        assert_eq!(told["decode"][0]["sequences"], 1);
        assert_eq!((&told["decode"][0]["limit"], &told["decode"][0]["share"]), (&json!(10.0), &json!(0.8)));
        assert_eq!(told["decode"][0]["bound"], "memory");
        assert_eq!(told["decode"][1]["bound"], "neither");
        assert_eq!(
            (&told["prefill"]["prompt"], &told["prefill"]["bound"]),
            (&json!(512), &json!("arithmetic"))
        );
        assert_eq!(told["estimates"][0]["format"], "int8");
        assert_eq!(told["machine"]["int8_operations"], 4e11);
    }
}
