//! Which tensors of a checkpoint make which tensor of the image.
//!
//! [`Names`] has what the checkpoint calls them. Every tensor that the model needs must be there in
//! its shape, and one that nothing consumes is refused: a checkpoint with more than the forward
//! pass knows would be served wrongly.
use super::checkpoint::{Checkpoint, Elements, Naming, RowOrder};
use super::error::LoadError;
use super::names::Names;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use verbatim_core::dtype::WeightFormat;
use verbatim_core::kernels::matmul::panel::PANEL;
use verbatim_core::kernels::matmul::source::SourceType;
use verbatim_core::model::ModelConfig;
use verbatim_core::model::image::{ImageLayout, TensorKind, TensorPlace, gate_up_source};

/// Rows that are hashed together: those of a panel.
pub(crate) const LEAF_ROWS: usize = PANEL;

/// A tensor of the checkpoint. A vector is one row.
#[derive(Debug)]
pub(crate) struct Source {
    pub(crate) name: String,
    pub(crate) file: usize,
    pub(crate) offset: u64,
    pub(crate) elements: Elements,
    pub(crate) order: RowOrder,
    pub(crate) shape: Vec<usize>,
    pub(crate) rows: usize,
    pub(crate) width: usize,
    /// The number of its first leaf.
    pub(crate) leaf: usize,
}

impl Source {
    pub(crate) fn row_bytes(&self) -> usize {
        self.elements.row_bytes(self.width)
    }

    pub(crate) fn leaf_count(&self) -> usize {
        self.rows.div_ceil(LEAF_ROWS)
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.rows as u64 * self.row_bytes() as u64
    }

    /// Where row `row`, in the order of a Hugging Face checkpoint, starts in the file.
    pub(crate) fn row_offset(&self, row: usize) -> u64 {
        let in_file = if self.is_matrix() { self.order.in_file(row) } else { row };
        self.offset + in_file as u64 * self.row_bytes() as u64
    }

    pub(crate) fn is_matrix(&self) -> bool {
        self.shape.len() == 2
    }
}

/// How sources make a tensor of the image: indices into [`Plan::sources`].
#[derive(Clone, Debug)]
pub(crate) enum Parts {
    /// One below the other.
    Stack(Vec<usize>),
    /// Gate and up, alternating by panels.
    Paired(usize, usize),
}

/// Rows of one source that lie next to each other in a panel.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Segment {
    pub(crate) source: usize,
    pub(crate) first_row: usize,
    pub(crate) rows: usize,
}

/// Everything there is to read.
#[derive(Debug)]
pub(crate) struct Plan {
    /// In order of name.
    pub(crate) sources: Vec<Source>,
    /// In the image's order.
    pub(crate) tensors: Vec<(TensorKind, usize, Parts)>,
    pub(crate) leaf_count: usize,
}

/// The tensors of the checkpoint that make one of the image's, in order: the name of each and its
/// shape, `[rows, width]` or `[len]`.
fn tensors_of(
    (kind, layer): (TensorKind, usize),
    c: &ModelConfig,
    naming: Naming,
) -> Vec<(String, Vec<usize>)> {
    let spec = c.layer(layer);
    let (hidden, width) = (c.hidden_size, spec.feed_forward.width);
    let (q, kv) = (spec.attention.q_size(), spec.attention.kv_size());
    let shapes: Vec<Vec<usize>> = match kind {
        TensorKind::Embedding | TensorKind::Head => vec![vec![c.vocab_size, hidden]],
        TensorKind::FinalNorm | TensorKind::AttentionNorm | TensorKind::FeedForwardNorm => vec![vec![hidden]],
        TensorKind::Qkv => vec![vec![q, hidden], vec![kv, hidden], vec![kv, hidden]],
        TensorKind::QkvBias => vec![vec![q], vec![kv], vec![kv]],
        TensorKind::QNorm | TensorKind::KNorm => vec![vec![spec.attention.head_dim]],
        TensorKind::AttentionOutput => vec![vec![hidden, q]],
        TensorKind::AttentionOutputBias | TensorKind::DownBias => vec![vec![hidden]],
        TensorKind::GateUp => vec![vec![width, hidden], vec![width, hidden]],
        TensorKind::GateUpBias => vec![vec![width], vec![width]],
        TensorKind::Down => vec![vec![hidden, width]],
    };
    // A tied head is made from the embedding.
    let named = if kind == TensorKind::Head && c.tied_head { TensorKind::Embedding } else { kind };
    let names = Names::of(c.architecture, naming).tensor(named, layer);
    assert_eq!(names.len(), shapes.len(), "{kind:?} has a name for each of its parts");
    names.into_iter().zip(shapes).collect()
}

/// Every tensor of a Hugging Face checkpoint for the model: name and shape, each once.
pub fn shapes(config: &ModelConfig) -> Result<Vec<(String, Vec<usize>)>, LoadError> {
    let layout =
        ImageLayout::new(config, &[]).map_err(|error| LoadError::image(Path::new("config.json"), error))?;
    let tensors = layout.tensors().map(|tensor| (tensor.kind, tensor.layer.unwrap_or(0)));
    Ok(tensors.flat_map(|tensor| tensors_of(tensor, config, Naming::HuggingFace)).collect())
}

/// Whether a checkpoint may carry a tensor that nothing consumes.
fn is_needless(name: &str, config: &ModelConfig, naming: Naming) -> bool {
    let names = Names::of(config.architecture, naming);
    let is_head = || names.tensor(TensorKind::Head, 0).iter().any(|head| head == name);
    names.is_needless(name) || (config.tied_head && is_head())
}

impl Plan {
    /// Finds every tensor that the model needs.
    pub(crate) fn new(config: &ModelConfig, checkpoint: &Checkpoint) -> Result<Plan, LoadError> {
        let directory = &checkpoint.directory;
        // The order and set of tensors do not depend on the format.
        let layout = ImageLayout::new(config, &[]).map_err(|error| LoadError::image(directory, error))?;
        let mut found: BTreeMap<String, Source> = BTreeMap::new();
        for TensorPlace { kind, layer, .. } in layout.tensors() {
            for (name, shape) in tensors_of((kind, layer.unwrap_or(0)), config, checkpoint.naming) {
                let Some(entry) = checkpoint.tensors.get(&name) else {
                    return Err(LoadError::tensor(directory, &name, "nothing", format!("shape {shape:?}")));
                };
                let path = &checkpoint.files[entry.file].path;
                if entry.shape != shape {
                    let found = format!("shape {:?}", entry.shape);
                    return Err(LoadError::tensor(path, &name, found, format!("shape {shape:?}")));
                }
                let Some(elements) = entry.elements else {
                    let found = entry.type_name.clone();
                    return Err(LoadError::tensor(path, &name, found, "F32, F16 or BF16"));
                };
                let (rows, width) = if let [rows, width] = shape[..] { (rows, width) } else { (1, shape[0]) };
                let (file, offset, order) = (entry.file, entry.offset, entry.order);
                let source = Source { name, file, offset, elements, order, shape, rows, width, leaf: 0 };
                found.insert(source.name.clone(), source);
            }
        }
        for (name, entry) in &checkpoint.tensors {
            if !found.contains_key(name) && !is_needless(name, config, checkpoint.naming) {
                let found = format!("shape {:?}", entry.shape);
                let expected =
                    format!("no such tensor in a {} model", config.architecture.family().model_type);
                return Err(LoadError::tensor(&checkpoint.files[entry.file].path, name, found, expected));
            }
        }
        let mut sources: Vec<Source> = found.into_values().collect();
        let mut leaf_count = 0;
        for source in &mut sources {
            source.leaf = leaf_count;
            leaf_count += source.leaf_count();
        }
        let index = |name: &str| {
            sources
                .binary_search_by(|source| source.name.as_str().cmp(name))
                .expect("every name was inserted")
        };
        let tensors = layout.tensors().map(|TensorPlace { kind, layer, .. }| {
            let layer = layer.unwrap_or(0);
            let sources: Vec<usize> = tensors_of((kind, layer), config, checkpoint.naming)
                .iter()
                .map(|(name, _)| index(name))
                .collect();
            let parts = match (kind, &sources[..]) {
                (TensorKind::GateUp | TensorKind::GateUpBias, [gate, up]) => Parts::Paired(*gate, *up),
                _ => Parts::Stack(sources),
            };
            (kind, layer, parts)
        });
        let tensors = tensors.collect();
        Ok(Plan { sources, tensors, leaf_count })
    }

    fn matrix_elements(&self) -> impl Iterator<Item = Elements> {
        self.sources.iter().filter(|source| source.is_matrix()).map(|source| source.elements)
    }

    /// The format of the source's own weights: int8 if any matrix is of blocks, whose weights have
    /// no more bits; else f32 if any is, else bf16.
    pub(crate) fn own_format(&self) -> WeightFormat {
        if self.matrix_elements().any(|elements| matches!(elements, Elements::Blocks(_))) {
            WeightFormat::Int8
        } else if self.matrix_elements().any(|elements| elements == Elements::Float(SourceType::F32)) {
            WeightFormat::F32
        } else {
            WeightFormat::Bf16
        }
    }

    /// The element types that occur in matrices.
    pub(crate) fn matrix_types(&self) -> BTreeSet<&'static str> {
        self.matrix_elements().map(Elements::name).collect()
    }

    /// What the rows `32 · panel ..` of a tensor are made of; fewer than 32 rows at the end.
    pub(crate) fn segments(&self, parts: &Parts, panel: usize) -> Vec<Segment> {
        let first = panel * PANEL;
        match parts {
            Parts::Paired(gate, up) => {
                let (is_up, first_row) = gate_up_source(first);
                let source = if is_up { *up } else { *gate };
                let rows = self.sources[source].rows.saturating_sub(first_row).min(PANEL);
                vec![Segment { source, first_row, rows }]
            }
            Parts::Stack(list) => {
                let mut segments = Vec::with_capacity(1);
                let mut start = 0;
                for source in list {
                    let rows = self.sources[*source].rows;
                    let (from, to) = (first.max(start), (first + PANEL).min(start + rows));
                    if from < to {
                        segments.push(Segment { source: *source, first_row: from - start, rows: to - from });
                    }
                    start += rows;
                }
                segments
            }
        }
    }
}
