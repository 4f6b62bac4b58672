//! What a run stands on: models, built once a process, memory with a margin that nobody may touch,
//! pools.
use super::options::{DraftModelChoice, PoolKind};
use super::rng::{Rng, Stream};
use crate::pools::Permuting;
use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::{Mutex, OnceLock};
use verbatim::sys::memory::AlignedMemory;
use verbatim::sys::pool::FutexPool;
use verbatim_core::dtype::WeightFormat;
use verbatim_core::engine::{DraftCache, DraftModel};
use verbatim_core::memory::REGION_ALIGN;
use verbatim_core::model::image::{TensorKind, TensorPlace};
use verbatim_core::model::{
    Architecture, FormatMix, ImageLayout, ImageWriter, LayerFeatures, ModelConfig, PackedModel, RopeConfig,
    RopeScaling,
};
use verbatim_core::pool::{Pool, Serial};

/// Layers of the served model.
const SERVED_LAYERS: usize = 2;

/// Ids of the vocabulary: 17 panels of the head, more than four for each of four workers.
pub const VOCAB: usize = 520;

/// A model with all that the kernels distinguish, and little of it: two layers, two queries to a
/// key, biases.
fn config(weights: WeightFormat, layer_count: usize) -> ModelConfig {
    ModelConfig {
        architecture: Architecture::Qwen2,
        vocab_size: VOCAB,
        hidden_size: 64,
        intermediate_size: 96,
        layer_count,
        head_count: 4,
        kv_head_count: 2,
        head_dim: 16,
        position_count: 4096,
        rms_norm_eps: 1e-5,
        rope: RopeConfig { theta: 1e5, scaling: RopeScaling::None },
        tied_head: false,
        qkv_bias: true,
        attention_output_bias: false,
        mlp_bias: false,
        qk_norm: false,
        features: LayerFeatures::PLAIN,
        weight_format: weights,
        head_format: weights,
        mix: FormatMix {
            value: (weights == WeightFormat::Int4).then_some(WeightFormat::Int8),
            ..FormatMix::NONE
        },
    }
}

/// Random weights. Those of a layer are the same whatever the number of layers, so that a model of
/// one layer often draws what a model of two draws; the embedding is large beside what layers
/// add, so that outputs fall into cycles and lookup proposes what is accepted.
fn build(config: &ModelConfig) -> AlignedMemory {
    let layout = ImageLayout::new(config, &[]).expect("a layout");
    let mut memory = AlignedMemory::new(layout.total_bytes()).expect("memory");
    let mut writer = ImageWriter::new(&layout, memory.as_mut_slice()).expect("a writer");
    let tensors: Vec<_> = layout.tensors().collect();
    for TensorPlace { kind, layer, .. } in tensors {
        let layer = layer.unwrap_or(0);
        let (scale, offset) = match kind {
            TensorKind::AttentionNorm | TensorKind::FeedForwardNorm | TensorKind::FinalNorm => (0.25, 1.0),
            TensorKind::Embedding => (0.5, 0.0),
            TensorKind::Head => (0.4, 0.0),
            _ => (0.15, 0.0),
        };
        let of = (kind as u64) << 48 | (layer as u64) << 40;
        writer.fill(kind, layer, |row, column| {
            let mut rng = Rng::new(0, Stream::Weights, of | (row as u64) << 20 | column as u64);
            offset + scale * rng.signed()
        });
    }
    writer.header(&[1; 32], 0);
    memory
}

fn model_of(weights: WeightFormat, layer_count: usize) -> PackedModel<'static> {
    PackedModel::parse(image_of(weights, layer_count)).expect("an image")
}

fn image_of(weights: WeightFormat, layer_count: usize) -> &'static [u8] {
    static BUILT: OnceLock<Mutex<HashMap<(u32, usize), &'static AlignedMemory>>> = OnceLock::new();
    let mut built = BUILT.get_or_init(Mutex::default).lock().expect("nobody panics while building");
    let image = *built
        .entry((weights as u32, layer_count))
        .or_insert_with(|| Box::leak(Box::new(build(&config(weights, layer_count)))));
    image.as_slice()
}

/// The image of the served model.
pub fn served_image(weights: WeightFormat) -> &'static [u8] {
    image_of(weights, SERVED_LAYERS)
}

/// The image of the draft model, and where its keys and values lie.
pub fn draft_image(of: DraftModelChoice) -> Option<(&'static [u8], DraftCache)> {
    match of {
        DraftModelChoice::None => None,
        DraftModelChoice::Itself => Some((image_of(WeightFormat::Int4, SERVED_LAYERS), DraftCache::Shared)),
        DraftModelChoice::Other => Some((image_of(WeightFormat::Int8, 1), DraftCache::Own)),
    }
}

/// The packed model that is served, built once for each format.
pub fn served(weights: WeightFormat) -> PackedModel<'static> {
    model_of(weights, SERVED_LAYERS)
}

/// The draft model, parsed from its image.
pub fn draft_model(of: DraftModelChoice) -> Option<DraftModel<'static>> {
    let (image, cache) = draft_image(of)?;
    Some(DraftModel { model: PackedModel::parse(image).expect("an image"), cache })
}

/// Bytes to lend to an engine, with a margin of patterned bytes on either side.
#[derive(Debug)]
pub struct Memory {
    bytes: Vec<u8>,
    start: usize,
    len: usize,
}

const MARGIN: usize = 4 * REGION_ALIGN;
const PATTERN: u8 = 0xc3;

impl Memory {
    /// Memory of this many bytes, with margins.
    pub fn new(len: usize) -> Self {
        let bytes = vec![PATTERN; len + 2 * MARGIN + REGION_ALIGN];
        let start = MARGIN + bytes[MARGIN..].as_ptr().align_offset(REGION_ALIGN);
        Self { bytes, start, len }
    }

    /// What is lent: the bytes, and the margins before and behind them.
    pub fn parts(&mut self) -> (&mut [u8], Margins<'_>) {
        let (before, rest) = self.bytes.split_at_mut(self.start);
        let (lent, behind) = rest.split_at_mut(self.len);
        (lent, Margins { before, behind })
    }
}

/// The margins of lent memory.
#[derive(Clone, Copy, Debug)]
pub struct Margins<'a> {
    before: &'a [u8],
    behind: &'a [u8],
}

impl Margins<'_> {
    /// Whether the margins still hold their pattern.
    pub fn are_intact(&self) -> bool {
        self.before.iter().chain(self.behind).all(|byte| *byte == PATTERN)
    }
}

/// A pool of that kind. Threads are started once for each calling thread, and kept.
pub fn with_pool<R>(kind: PoolKind, run: impl FnOnce(&dyn Pool) -> R) -> R {
    thread_local! {
        static POOLS: RefCell<HashMap<usize, Rc<FutexPool>>> = RefCell::default();
    }
    match kind {
        PoolKind::Serial => run(&Serial),
        PoolKind::Permuting(workers) => run(&Permuting::new(workers)),
        PoolKind::Futex(workers) => {
            let pool = POOLS.with_borrow_mut(|pools| {
                let new = || Rc::new(FutexPool::new(workers).expect("threads"));
                Rc::clone(pools.entry(workers).or_insert_with(new))
            });
            run(&*pool)
        }
    }
}
