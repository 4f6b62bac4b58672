//! What becomes of the types of a checkpoint's weights, for people to see.
use super::plan::{Parts, Plan};
use std::collections::BTreeMap;
use verbatim_core::model::ModelConfig;
use verbatim_core::model::image::{Storage, TensorKind};

/// Weights that have one type in the checkpoint, and are stored in one format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoredWeights {
    /// The type in the checkpoint, such as `bf16` or `Q4_K`.
    pub source: &'static str,
    /// The format in memory, such as `int8`.
    pub stored: &'static str,
    /// Tensors of the checkpoint.
    pub tensor_count: usize,
    /// Weights of all these.
    pub weight_count: u64,
}

/// The types of a checkpoint and what becomes of them, most weights first.
pub(super) fn stored_weights(plan: &Plan, config: &ModelConfig) -> Vec<StoredWeights> {
    let mut found: BTreeMap<(&str, &str), (usize, u64)> = BTreeMap::new();
    for (kind, _, parts) in &plan.tensors {
        let sources = match parts {
            Parts::Stack(list) => list.clone(),
            Parts::Paired(gate, up) => vec![*gate, *up],
        };
        let mut row = 0;
        for number in sources {
            let source = &plan.sources[number];
            let counts = found.entry((source.elements.name(), format_of(*kind, row, config))).or_default();
            counts.0 += 1;
            counts.1 += source.rows as u64 * source.width as u64;
            row += source.rows;
        }
    }
    let entry = |((source, stored), (tensor_count, weight_count))| StoredWeights {
        source,
        stored,
        tensor_count,
        weight_count,
    };
    let mut all: Vec<_> = found.into_iter().map(entry).collect();
    all.sort_by_key(|weights| std::cmp::Reverse(weights.weight_count));
    all
}

/// The format of a row of a tensor.
fn format_of(kind: TensorKind, row: usize, config: &ModelConfig) -> &'static str {
    match kind.storage(config) {
        Some(Storage::Panels { .. }) => {
            let mut end = 0;
            let mut segments = kind.segments(config);
            let segment = segments.find(|segment| {
                end += segment.outputs;
                row < end
            });
            segment.map_or(config.weight_format, |segment| segment.format).name()
        }
        Some(Storage::Rows { .. }) => config.weight_format.of_rows().name(),
        Some(Storage::Vector { .. }) | None => "f32",
    }
}
