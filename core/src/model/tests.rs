//! The forward pass against itself: however the rows come, on whichever instruction set and worker,
//! the logits are the same bits. (That they are the right ones is for the goldens in `tests`.)
#![allow(unsafe_code)]

use super::spec::{LayerKind, LayerPattern};
use super::*;
use super::{BlockTables, Forward, ForwardLimits, HeadWants, Row, RowOutput, StepRows};
use crate::cache::{BLOCK, BlockId, KvCache};
use crate::dtype::{KvFormat, WeightFormat};
use crate::isa::Isa;
use crate::kernels::matmul::tests::noise;
use crate::memory::{Arena, Carver, Layout, REGION_ALIGN};
use crate::model::image::{TensorKind, TensorPlace};
use crate::pool::{Phase, Pool, Serial};
use std::vec;
use std::vec::Vec;

/// Zeroed memory that starts at a multiple of 64.
pub(crate) struct Memory(Vec<u8>, usize);

impl Memory {
    pub(crate) fn new(len: usize) -> Self {
        let bytes = vec![0; len + REGION_ALIGN];
        let skip = bytes.as_ptr().align_offset(REGION_ALIGN);
        Self(bytes, skip)
    }

    pub(crate) fn bytes(&mut self, len: usize) -> &mut [u8] {
        &mut self.0[self.1..][..len]
    }
}

/// Runs tasks backwards on three workers in turn.
struct Backwards;

// SAFETY: a plain loop on one thread: each task once, calls do not overlap.
unsafe impl Pool for Backwards {
    fn workers(&self) -> usize {
        3
    }
    fn run(&self, _phase: Phase, tasks: usize, job: &(dyn Fn(usize, usize) + Sync)) {
        for task in (0..tasks).rev() {
            job(task, task * 7 % 3);
        }
    }
}

pub(crate) fn config(architecture: Architecture, weight_format: WeightFormat) -> ModelConfig {
    let family = architecture.family();
    ModelConfig {
        architecture,
        vocab_size: 150,
        hidden_size: 48,
        intermediate_size: 70,
        layer_count: 2,
        head_count: 6,
        kv_head_count: 2,
        head_dim: 20,
        position_count: 4096,
        rms_norm_eps: 1e-5,
        rope: RopeConfig { theta: 10_000.0, scaling: RopeScaling::None },
        tied_head: architecture == Architecture::Qwen2,
        qkv_bias: family.qkv_bias,
        attention_output_bias: false,
        mlp_bias: false,
        qk_norm: family.qk_norm,
        features: LayerFeatures::PLAIN,
        weight_format,
        head_format: weight_format,
        mix: FormatMix::NONE,
    }
}

pub(crate) fn image(config: &ModelConfig) -> Memory {
    image_without(config, None)
}

/// The image of [`image`] with NaN for the embedding of a token.
pub(crate) fn image_without(config: &ModelConfig, token: Option<usize>) -> Memory {
    let layout = ImageLayout::new(config, &[]).unwrap();
    let mut memory = Memory::new(layout.total_bytes());
    let mut writer = ImageWriter::new(&layout, memory.bytes(layout.total_bytes())).unwrap();
    let tensors: Vec<_> = layout.tensors().collect();
    for (i, TensorPlace { kind, layer, .. }) in tensors.into_iter().enumerate() {
        let seed = i as u64 * 77;
        writer.fill(kind, layer.unwrap_or(0), |row, column| {
            let x = noise(seed, row * 4096 + column);
            if kind == TensorKind::Embedding && Some(row) == token {
                return f32::NAN;
            }
            if kind.is_norm() { 1.0 + 0.3 * x } else { 0.5 * x }
        });
    }
    writer.header(&[7; 32], 0);
    memory
}

fn token(sequence: usize, position: usize) -> u32 {
    ((sequence * 31 + position * 17 + position * position) % 150) as u32
}

/// How a test feeds sequences to the forward pass.
struct Feed<'a> {
    isa: Isa,
    pool: &'a dyn Pool,
    /// Rows of a step.
    chunk: usize,
    /// Sequences that share every step.
    sequences: usize,
    /// What block ids are multiplied by.
    block_step: usize,
    /// The token of a sequence at a position.
    token: fn(usize, usize) -> u32,
}

impl Feed<'_> {
    /// One sequence in one step, on one thread.
    fn alone(len: usize) -> Self {
        Self { isa: Isa::detect(), pool: &Serial, chunk: len, sequences: 1, block_step: 1, token }
    }
}

/// The logits of the last position of sequence 0.
fn logits(config: &ModelConfig, kv_format: KvFormat, len: usize, feed: &Feed<'_>) -> Vec<u32> {
    let mut image = image(config);
    let total = ImageLayout::new(config, &[]).unwrap().total_bytes();
    let model = PackedModel::parse(image.bytes(total)).unwrap();
    let blocks_each = len.div_ceil(BLOCK);
    let block_total = (feed.sequences * blocks_each + 1).next_power_of_two();
    let rows_max = feed.chunk * feed.sequences;
    let limits = ForwardLimits { rows: rows_max, head_rows: 1, workers: 3, model_len: len, kv_format };
    fn carve<'a>(
        carver: &mut impl Carver<'a>,
        config: &ModelConfig,
        limits: &ForwardLimits,
        blocks: usize,
    ) -> (Forward<'a>, KvCache<'a>) {
        let layout = config.kv_layout(limits.kv_format, blocks);
        (Forward::carve(carver, config, limits).unwrap(), KvCache::carve(carver, layout).unwrap())
    }
    let mut plan = Layout::default();
    carve(&mut plan, config, &limits, block_total);
    let mut memory = Memory::new(plan.total_bytes());
    let mut arena = Arena::new(memory.bytes(plan.total_bytes())).unwrap();
    let (mut forward, mut kv) = carve(&mut arena, config, &limits, block_total);
    let guards = arena.finish();
    kv.bytes_mut().fill(0xff);
    let ids: Vec<BlockId> = (0..feed.sequences * blocks_each)
        .map(|i| ((i * feed.block_step + 3) % block_total) as BlockId)
        .collect();
    let tables = BlockTables { ids: &ids, stride: blocks_each };
    let mut done = 0;
    let mut last_row = 0;
    while done < len {
        let end = len.min(done + feed.chunk);
        let rows: Vec<Row> = (0..feed.sequences)
            .flat_map(|s| {
                (done..end).map(move |position| Row {
                    token: (feed.token)(s, position),
                    position: position as u32,
                    sequence: s as u32,
                    output: RowOutput::None,
                })
            })
            .collect();
        let fresh: Vec<BlockId> = (0..feed.sequences)
            .flat_map(|s| (done.div_ceil(BLOCK)..end.div_ceil(BLOCK)).map(move |b| (s, b)))
            .map(|(s, b)| tables.of(s as u32)[b])
            .collect();
        forward.layers(feed.isa, feed.pool, &model, &mut kv, StepRows { rows: &rows, tables, fresh: &fresh });
        last_row = end - done - 1;
        done = end;
    }
    forward.head(feed.isa, feed.pool, &model, &[last_row as u32], HeadWants::BOTH);
    assert_eq!(guards.check(), Ok(()));
    forward.logits().row(0).iter().map(|x| x.to_bits()).collect()
}

#[test]
fn logits_do_not_depend_on_how_the_rows_come() {
    let families = [Architecture::Llama, Architecture::Mistral, Architecture::Qwen2, Architecture::Qwen3];
    for (architecture, (weights, kv)) in families.into_iter().cycle().zip([
        (WeightFormat::F32, KvFormat::F32),
        (WeightFormat::Bf16, KvFormat::Bf16),
        (WeightFormat::F32, KvFormat::Bf16),
        (WeightFormat::Bf16, KvFormat::F32),
        (WeightFormat::F32, KvFormat::Int8),
        (WeightFormat::Int4, KvFormat::Bf16),
    ]) {
        let mut config = config(architecture, weights);
        if weights == WeightFormat::Int4 {
            let int8 = Some(WeightFormat::Int8);
            config.mix = FormatMix { value: int8, attention_output: None, down: int8 };
            config.head_format = WeightFormat::Int8;
        }
        let len = 70;
        let expected = logits(&config, kv, len, &Feed::alone(len));
        assert!(expected.iter().all(|bits| f32::from_bits(*bits).is_finite()));
        for isa in Isa::available().iter().copied() {
            for (chunk, sequences, block_step) in [(1, 1, 3), (7, 3, 5), (16, 8, 1), (70, 2, 7), (70, 1, 1)] {
                let feed = Feed { isa, pool: &Backwards, chunk, sequences, block_step, token };
                let got = logits(&config, kv, len, &feed);
                let what = (isa.name(), architecture, weights, kv, chunk, sequences, block_step);
                assert!(got == expected, "{what:?}");
            }
        }
    }
}

#[test]
fn long_contexts_give_the_same_bits_split_or_not() {
    let config = config(Architecture::Llama, WeightFormat::Bf16);
    let len = 2100;
    let isa = Isa::detect();
    for kv in [KvFormat::Bf16, KvFormat::Int8] {
        let expected = logits(&config, kv, len, &Feed::alone(len));
        // The last row comes alone, so its three splits go to three workers.
        let parts = Feed { isa, pool: &Backwards, chunk: 2099, sequences: 1, block_step: 5, token };
        assert!(logits(&config, kv, len, &parts) == expected, "{kv:?}");
    }
}

/// Logits of a short sequence in f32 by a model with these features.
fn logits_with(features: LayerFeatures, layer_count: usize, token: fn(usize, usize) -> u32) -> Vec<u32> {
    let plain = config(Architecture::Llama, WeightFormat::F32);
    let config = ModelConfig { features, layer_count, ..plain };
    logits(&config, KvFormat::F32, 40, &Feed { token, ..Feed::alone(40) })
}

fn kinds(ropes: [Option<u32>; 2]) -> [LayerKind; 2] {
    ropes.map(|rope| LayerKind { window: None, rope })
}

#[test]
fn a_layer_rotates_by_the_table_that_its_kind_names() {
    let plain = LayerFeatures::PLAIN;
    let rope = |theta| RopeConfig { theta, scaling: RopeScaling::None };
    let (own, other) = (rope(10_000.0), rope(500.0));
    let of = |pattern, ropes, second_rope| {
        logits_with(LayerFeatures { pattern, kinds: kinds(ropes), second_rope, ..plain }, 2, token)
    };
    let (uniform, second) = (LayerPattern::Uniform, LayerPattern::EveryNth(2));
    let expected = logits_with(plain, 2, token);
    // Equal tables give equal bits, whichever of them a layer names, and an unused one is unused.
    assert!(of(second, [Some(0), Some(1)], own) == expected);
    assert!(of(uniform, [Some(1), Some(0)], own) == expected);
    assert!(of(uniform, [Some(0), Some(1)], other) == expected);
    // Another table in the second layer, in both, or none at all is another model each.
    let models = [
        expected,
        of(second, [Some(0), Some(1)], other),
        of(second, [Some(1), Some(0)], other),
        of(uniform, [Some(1), Some(1)], other),
        of(second, [Some(0), None], other),
        of(uniform, [None, None], other),
    ];
    for (i, model) in models.iter().enumerate() {
        assert!(model.iter().all(|bits| f32::from_bits(*bits).is_finite()));
        assert!(models[..i].iter().all(|earlier| earlier != model), "{i}");
    }
}

/// Without rotation one layer of attention does not know in which order the earlier tokens came.
#[test]
fn a_layer_without_a_table_does_not_see_the_order_of_tokens() {
    let swapped = |sequence, position| {
        token(
            sequence,
            match position {
                3 => 17,
                17 => 3,
                position => position,
            },
        )
    };
    let largest_difference = |ropes| {
        let features = LayerFeatures { kinds: kinds(ropes), ..LayerFeatures::PLAIN };
        let (a, b) = (logits_with(features, 1, token), logits_with(features, 1, swapped));
        let differences = a.iter().zip(&b).map(|(a, b)| (f32::from_bits(*a) - f32::from_bits(*b)).abs());
        differences.fold(0.0, f32::max)
    };
    assert!(largest_difference([Some(0); 2]) > 1e-3, "{}", largest_difference([Some(0); 2]));
    assert!(largest_difference([None; 2]) < 1e-5, "{}", largest_difference([None; 2]));
}

#[test]
fn the_scale_of_scores_is_the_layers() {
    let of =
        |attention_scale| logits_with(LayerFeatures { attention_scale, ..LayerFeatures::PLAIN }, 2, token);
    assert!(of(Some(1.0 / libm::sqrtf(20.0))) == of(None));
    assert!(of(Some(0.5)) != of(None));
}

#[test]
fn every_nth_layer_is_of_the_second_kind() {
    let of = |pattern: LayerPattern| (0..12).map(|layer| pattern.kind_of(layer)).collect::<Vec<_>>();
    assert_eq!(of(LayerPattern::Uniform), [0; 12]);
    assert_eq!(of(LayerPattern::EveryNth(6)), [0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 1]);
    assert_eq!(of(LayerPattern::EveryNth(1)), [1; 12]);
}
