//! The verbatim contract, compared as bits of logits: a request alone, in a batch, on any number of
//! workers, in any chunks, in any blocks, resumed, on any instruction set, gives the same.
//!
//! The shape is such that the splits are real: 17 panels and more in every product, K beyond two
//! pairs of slices, a context of more than two attention splits.
use verbatim::sys::memory::AlignedMemory;
use verbatim::sys::pool::FutexPool;
use verbatim_core::dtype::{KvFormat, WeightFormat};
use verbatim_core::engine::{
    Budget, Engine, EngineLimits, EventKind, Masks, MemoryPlan, Observer, PlannedRow, Request, RequestId,
};
use verbatim_core::isa::Isa;
use verbatim_core::model::image::{TensorKind, TensorPlace};
use verbatim_core::model::{
    Architecture, FormatMix, ImageLayout, ImageWriter, LayerFeatures, ModelConfig, PackedModel, RopeConfig,
    RopeScaling,
};
use verbatim_core::pool::{Pool, Serial};
use verbatim_core::sampling::SamplingParams;
use verbatim_tests::paths;
use verbatim_tests::pools::{Counting, Permuting};

const LAYERS: usize = 2;

fn config(weight_format: WeightFormat) -> ModelConfig {
    ModelConfig {
        architecture: Architecture::Qwen2,
        vocab_size: 1100,
        hidden_size: 576,
        intermediate_size: 1100,
        layer_count: LAYERS,
        head_count: 9,
        kv_head_count: 3,
        head_dim: 64,
        position_count: 4096,
        rms_norm_eps: 1e-5,
        rope: RopeConfig { theta: 1e5, scaling: RopeScaling::None },
        tied_head: false,
        qkv_bias: true,
        attention_output_bias: false,
        mlp_bias: false,
        qk_norm: false,
        features: LayerFeatures::PLAIN,
        weight_format,
        head_format: weight_format,
        mix: FormatMix::NONE,
    }
}

fn noise(stream: usize, i: usize) -> f32 {
    let mut z = (stream as u64 + 1).wrapping_mul(0xd134_2543_de82_ef95);
    z = z.wrapping_add((i as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    ((z ^ (z >> 31)) >> 40) as f32 / 8_388_608.0 - 1.0
}

fn image(config: &ModelConfig) -> AlignedMemory {
    let layout = ImageLayout::new(config, &[]).expect("a layout");
    let mut memory = AlignedMemory::new(layout.total_bytes()).expect("memory");
    let mut writer = ImageWriter::new(&layout, memory.as_mut_slice()).expect("a writer");
    let tensors: Vec<_> = layout.tensors().collect();
    for (stream, TensorPlace { kind, layer, .. }) in tensors.into_iter().enumerate() {
        let norm =
            matches!(kind, TensorKind::AttentionNorm | TensorKind::FeedForwardNorm | TensorKind::FinalNorm);
        writer.fill(kind, layer.unwrap_or(0), |row, column| {
            let x = noise(stream, row * 8192 + column);
            if norm { 1.0 + 0.25 * x } else { 0.1 * x }
        });
    }
    writer.header(&[1; 32], 0);
    memory
}

fn prompt(stream: usize, len: usize) -> Vec<u32> {
    (0..len).map(|i| ((noise(stream + 1000, i) + 1.0) * 549.0) as u32).collect()
}

/// How the request of interest is run.
#[derive(Clone, Copy)]
struct How<'a> {
    isa: Isa,
    pool: &'a dyn Pool,
    rows: usize,
    mates: usize,
    /// Requests that came and went before, so that block tables are not in order.
    before: usize,
    /// Output tokens that are given instead of generated.
    resume: &'a [u32],
}

/// Tokens, and the bits of the logits that each was drawn from.
#[derive(Clone, Debug, PartialEq)]
struct Answer {
    tokens: Vec<u32>,
    logits: Vec<Vec<u32>>,
}

struct Watch {
    id: Option<RequestId>,
    logits: Vec<Vec<u32>>,
}

impl Observer for Watch {
    fn logits(&mut self, row: &PlannedRow, logits: &[f32]) {
        if Some(row.request) == self.id {
            self.logits.push(logits.iter().map(|x| x.to_bits()).collect());
        }
    }
}

const PARAMS: SamplingParams =
    SamplingParams { temperature: 0.9, seed: 11, frequency_penalty: 0.2, ..SamplingParams::GREEDY };

fn answer(
    model: PackedModel<'_>,
    kv_format: KvFormat,
    prompt_len: usize,
    new: usize,
    how: &How<'_>,
) -> Answer {
    let limits = EngineLimits {
        model_len: prompt_len + new,
        sequences: 8,
        queue: 8,
        kv_tokens: (prompt_len + new + 16) + 8 * 128,
        rows: how.rows,
        head_rows: 3.min(how.rows),
        kv_format,
        workers: how.pool.workers(),
        draft_len: 0,
        top_logprobs: 2,
        logit_bias: 1,
        stop_ids: 1,
    };
    let plan = MemoryPlan::new(model.config(), &limits).expect("a plan");
    let mut memory = AlignedMemory::new(plan.total_bytes()).expect("memory");
    let engine = Engine::on_cpu(model, limits, how.isa, how.pool, memory.as_mut_slice());
    let (mut engine, mut cpu) = engine.expect("an engine");
    cpu.kv_bytes_mut().fill(0xff); // every block starts as NaN
    let mut watch = Watch { id: None, logits: Vec::new() };
    for i in 0..how.before {
        let short = prompt(50 + i, 5 + 9 * i);
        engine.submit(&Request::greedy(&short, 1 + i)).expect("taken");
    }
    while let Some(plan) = engine.plan(Budget::UNLIMITED) {
        engine.execute(plan, Masks::NONE, &mut cpu, how.pool, &mut watch).expect("runs");
    }
    for i in 0..how.mates {
        let mate = prompt(70 + i, 3 + 11 * i);
        let params = SamplingParams { seed: i as u64, ..PARAMS };
        engine.submit(&Request { params, ..Request::greedy(&mate, 20 + 3 * i) }).expect("taken");
    }
    let ids = prompt(7, prompt_len);
    let request = Request { params: PARAMS, generated: how.resume, ..Request::greedy(&ids, new) };
    let id = engine.submit(&request).expect("taken");
    watch.id = Some(id);
    let mut tokens = how.resume.to_vec();
    while let Some(plan) = engine.plan(Budget::UNLIMITED) {
        for event in engine.execute(plan, Masks::NONE, &mut cpu, how.pool, &mut watch).expect("runs") {
            if let (true, EventKind::Token { token, .. }) = (event.request == id, event.kind) {
                tokens.push(token);
            }
        }
    }
    assert_eq!(engine.check_invariants(), Ok(()));
    assert_eq!(tokens.len(), new);
    Answer { tokens, logits: watch.logits }
}

fn holds(weights: WeightFormat, kv: KvFormat) -> Answer {
    let config = config(weights);
    let memory = image(&config);
    let model = || PackedModel::parse(memory.as_slice()).expect("an image");
    let (len, new) = (120, 6);
    let base = How { isa: Isa::detect(), pool: &Serial, rows: 512, mates: 0, before: 0, resume: &[] };
    let alone = answer(model(), kv, len, new, &base);
    assert!(alone.logits.iter().flatten().all(|bits| f32::from_bits(*bits).is_finite()));
    let same = |what: &str, how: How<'_>| {
        let got = answer(model(), kv, len, new, &how);
        assert_eq!(got.tokens, alone.tokens, "{what}");
        assert!(got.logits == alone.logits[how.resume.len()..], "{what}: the logits differ");
    };
    same("in a batch of 7 others", How { mates: 7, ..base });
    same("in other blocks", How { before: 6, ..base });
    for workers in [2, 3, 5] {
        let pool = FutexPool::new(workers).expect("threads");
        same("with more workers", How { pool: &pool, mates: workers, before: 2, ..base });
    }
    same("with tasks in any order", How { pool: &Permuting::new(4), mates: 3, ..base });
    for rows in [1, 7, 16] {
        same("in chunks", How { rows, mates: rows / 3, ..base });
    }
    for at in [1, 3, 5] {
        same("resumed", How { resume: &alone.tokens[..at], mates: 1, ..base });
    }
    for isa in paths().iter() {
        same(isa.name(), How { isa: *isa, pool: &Permuting::new(3), rows: 50, mates: 2, ..base });
    }
    alone
}

#[test]
fn the_contract_holds_in_f32() {
    holds(WeightFormat::F32, KvFormat::F32);
}

#[test]
fn the_contract_holds_in_bf16_and_in_12_bits_the_answer_is_the_same() {
    let plain = holds(WeightFormat::Bf16, KvFormat::Bf16);
    let coded = holds(WeightFormat::Bf16x12, KvFormat::Bf16);
    assert!(plain.tokens == coded.tokens && plain.logits == coded.logits);
}

#[test]
fn the_contract_holds_in_int8() {
    holds(WeightFormat::Int8, KvFormat::Bf16);
    holds(WeightFormat::Int8, KvFormat::Int8);
}

#[test]
fn the_contract_holds_in_int4() {
    holds(WeightFormat::Int4, KvFormat::Bf16);
}

#[test]
fn the_contract_holds_beyond_two_splits_of_attention() {
    for (weights, kv) in [
        (WeightFormat::F32, KvFormat::F32),
        (WeightFormat::Bf16, KvFormat::Bf16),
        (WeightFormat::Int8, KvFormat::F32),
        (WeightFormat::Int8, KvFormat::Int8),
    ] {
        let config = ModelConfig { layer_count: 1, ..config(weights) };
        let memory = image(&config);
        let model = || PackedModel::parse(memory.as_slice()).expect("an image");
        let (len, new) = (2100, 3);
        let base = How { isa: Isa::detect(), pool: &Serial, rows: 512, mates: 0, before: 0, resume: &[] };
        let alone = answer(model(), kv, len, new, &base);
        let pool = FutexPool::new(3).expect("threads");
        for how in [
            How { pool: &pool, rows: 100, mates: 2, before: 3, ..base },
            How { pool: &Permuting::new(5), rows: 333, ..base },
            How { rows: 64, resume: &alone.tokens[..1], ..base },
        ] {
            let got = answer(model(), kv, len, new, &how);
            assert_eq!(got.tokens, alone.tokens);
            assert!(got.logits == alone.logits[how.resume.len()..], "{weights:?}");
        }
    }
}

#[test]
fn a_step_multiplies_each_weight_once_whoever_the_rows_belong_to() {
    let config = config(WeightFormat::Bf16);
    let memory = image(&config);
    let model = PackedModel::parse(memory.as_slice()).expect("an image");
    let limits = EngineLimits {
        model_len: 256,
        sequences: 6,
        queue: 6,
        kv_tokens: 2048,
        rows: 128,
        head_rows: 6,
        workers: 2,
        ..EngineLimits::for_model(&config)
    };
    let plan = MemoryPlan::new(&config, &limits).expect("a plan");
    let mut memory = AlignedMemory::new(plan.total_bytes()).expect("memory");
    let pool = Counting::new(Permuting::new(2));
    let engine = Engine::on_cpu(model, limits, Isa::detect(), &pool, memory.as_mut_slice());
    let (mut engine, mut cpu) = engine.expect("an engine");
    for i in 0..6 {
        engine.submit(&Request::greedy(&prompt(i, 10 + 17 * i), 4)).expect("taken");
    }
    let mut steps = 0;
    while let Some(plan) = engine.plan(Budget::UNLIMITED) {
        let samples = engine.rows(plan).filter(|row| row.samples).count();
        engine.execute(plan, Masks::NONE, &mut cpu, &pool, &mut ()).expect("runs");
        steps += 1;
        // QKV, attention output, gate and up, down; and one head for all rows that sample.
        assert_eq!(pool.take(), (4 * LAYERS, usize::from(samples > 0)));
    }
    assert!(steps >= 4);
}
