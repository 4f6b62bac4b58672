//! The self-test: it runs tiny random models through every layer, sampling and the engine, and
//! hashes the bits of the results.
//!
//! The hash must be [`EXPECTED`] on every machine, instruction set, pool and host: that is the
//! contract in one number. Four models cover every weight format, every KV format, grouped queries,
//! biases, norms of heads, tied and untied heads and a context of more than one tile; a few seconds
//! of one core at most, under a second on any instruction set with vectors.
use crate::cache::{BLOCK, BlockId, KvCache};
use crate::dtype::{KvFormat, WeightFormat};
use crate::engine::{Budget, Engine, EngineLimits, EventKind, Masks, MemoryPlan, MemoryPlanError, Request};
use crate::isa::Isa;
use crate::memory::{Arena, ArenaError, Carver, Layout, REGION_ALIGN};
use crate::model::image::TensorPlace;
use crate::model::{
    Architecture, FormatMix, ImageError, ImageLayout, ImageWriter, LayerFeatures, ModelConfig, PackedModel,
    RopeConfig, RopeScaling,
};
use crate::model::{BlockTables, Forward, ForwardLimits, HeadWants, Row, RowOutput, Runner, StepRows};
use crate::pool::Pool;
use crate::sampling::SamplingParams;

/// The hash that [`run`] returns under numerics version 2.
pub const EXPECTED: u64 = 0x0a3a_8a36_e3a3_366b;

/// Positions of each model's sequence: two tiles of attention, the second ragged.
const POSITIONS: usize = 75;
const BLOCKS: usize = POSITIONS.div_ceil(BLOCK);
/// Rows of a step: prefill in ragged chunks.
const CHUNK: usize = 29;
/// Workers that a pool may have here.
const WORKERS_MAX: usize = 64;

const MODELS: [(ModelConfig, KvFormat); 4] = [
    (
        ModelConfig {
            architecture: Architecture::Qwen3,
            vocab_size: 300,
            hidden_size: 72,
            intermediate_size: 110,
            layer_count: 2,
            head_count: 6,
            kv_head_count: 2,
            head_dim: 22,
            position_count: POSITIONS,
            rms_norm_eps: 1e-6,
            rope: RopeConfig { theta: 1e6, scaling: RopeScaling::None },
            tied_head: true,
            qkv_bias: false,
            attention_output_bias: false,
            mlp_bias: false,
            qk_norm: true,
            features: LayerFeatures::PLAIN,
            weight_format: WeightFormat::Bf16,
            head_format: WeightFormat::Bf16,
            mix: FormatMix::NONE,
        },
        KvFormat::Bf16,
    ),
    (
        ModelConfig {
            architecture: Architecture::Llama,
            vocab_size: 290,
            hidden_size: 64,
            intermediate_size: 96,
            layer_count: 2,
            head_count: 4,
            kv_head_count: 4,
            head_dim: 32,
            position_count: POSITIONS,
            rms_norm_eps: 1e-5,
            rope: RopeConfig {
                theta: 5e5,
                scaling: RopeScaling::Llama3 {
                    factor: 8.0,
                    low_freq_factor: 1.0,
                    high_freq_factor: 4.0,
                    original_positions: 64,
                },
            },
            tied_head: false,
            qkv_bias: true,
            attention_output_bias: true,
            mlp_bias: true,
            qk_norm: false,
            features: LayerFeatures::PLAIN,
            weight_format: WeightFormat::F32,
            head_format: WeightFormat::F32,
            mix: FormatMix::NONE,
        },
        KvFormat::F32,
    ),
    (
        ModelConfig {
            architecture: Architecture::Qwen2,
            vocab_size: 270,
            hidden_size: 70,
            intermediate_size: 90,
            layer_count: 2,
            head_count: 5,
            kv_head_count: 1,
            head_dim: 14,
            position_count: POSITIONS,
            rms_norm_eps: 1e-6,
            rope: RopeConfig { theta: 1e4, scaling: RopeScaling::None },
            tied_head: false,
            qkv_bias: true,
            attention_output_bias: false,
            mlp_bias: false,
            qk_norm: false,
            features: LayerFeatures::PLAIN,
            weight_format: WeightFormat::Int8,
            head_format: WeightFormat::Int8,
            mix: FormatMix::NONE,
        },
        KvFormat::Bf16,
    ),
    (
        ModelConfig {
            architecture: Architecture::Mistral,
            vocab_size: 280,
            hidden_size: 76,
            intermediate_size: 150,
            layer_count: 2,
            head_count: 4,
            kv_head_count: 2,
            head_dim: 18,
            position_count: POSITIONS,
            rms_norm_eps: 1e-5,
            rope: RopeConfig { theta: 1e4, scaling: RopeScaling::None },
            tied_head: false,
            qkv_bias: false,
            attention_output_bias: false,
            mlp_bias: false,
            qk_norm: false,
            features: LayerFeatures::PLAIN,
            weight_format: WeightFormat::Int4,
            head_format: WeightFormat::Bf16x12,
            mix: FormatMix {
                value: None,
                attention_output: Some(WeightFormat::Int6),
                down: Some(WeightFormat::Int5),
            },
        },
        KvFormat::Int8,
    ),
];

/// Why the self-test could not run; a wrong hash is not an error but a result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SelftestError {
    /// The memory is too small or crooked.
    Arena(ArenaError),
    /// The image does not fit.
    Image(ImageError),
    /// The engine cannot be built.
    MemoryPlan(MemoryPlanError),
    /// The engine did not do what it was asked.
    Engine,
    /// The pool has more workers than the test's scratch.
    Workers,
}

impl From<ArenaError> for SelftestError {
    fn from(error: ArenaError) -> Self {
        Self::Arena(error)
    }
}

impl From<ImageError> for SelftestError {
    fn from(error: ImageError) -> Self {
        Self::Image(error)
    }
}

impl From<MemoryPlanError> for SelftestError {
    fn from(error: MemoryPlanError) -> Self {
        Self::MemoryPlan(error)
    }
}

impl core::fmt::Display for SelftestError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Arena(error) => error.fmt(f),
            Self::Image(error) => error.fmt(f),
            Self::MemoryPlan(error) => error.fmt(f),
            Self::Engine => f.write_str("the engine refused what the self-test asks"),
            Self::Workers => write!(f, "the self-test runs on at most {WORKERS_MAX} workers"),
        }
    }
}

impl core::error::Error for SelftestError {}

fn limits(kv_format: KvFormat, workers: usize) -> ForwardLimits {
    ForwardLimits { rows: CHUNK, head_rows: 1, workers, model_len: POSITIONS, kv_format }
}

/// Room for two sequences, but not for both at full length: one of them is preempted.
fn engine_limits(kv_format: KvFormat, workers: usize) -> EngineLimits {
    EngineLimits {
        model_len: POSITIONS,
        sequences: 2,
        queue: 2,
        kv_tokens: 64,
        rows: CHUNK,
        head_rows: 2,
        kv_format,
        workers,
        draft_len: 0,
        top_logprobs: 2,
        logit_bias: 1,
        stop_ids: 1,
    }
}

fn carve<'a>(
    carver: &mut impl Carver<'a>,
    config: &ModelConfig,
    limits: &ForwardLimits,
) -> Result<(Forward<'a>, KvCache<'a>), ArenaError> {
    let layout = config.kv_layout(limits.kv_format, BLOCKS);
    Ok((Forward::carve(carver, config, limits)?, KvCache::carve(carver, layout)?))
}

/// Bytes of memory that [`run`] needs on a pool of that many workers.
pub fn memory_bytes(workers: usize) -> Result<usize, SelftestError> {
    let mut bytes_max = 0;
    for (config, kv_format) in &MODELS {
        let mut plan = Layout::default();
        carve(&mut plan, config, &limits(*kv_format, workers))?;
        let image = ImageLayout::new(config, &[])?.total_bytes().next_multiple_of(REGION_ALIGN);
        let engine = MemoryPlan::new(config, &engine_limits(*kv_format, workers))?;
        bytes_max = bytes_max.max(plan.total_bytes().max(engine.total_bytes()) + image);
    }
    Ok(bytes_max)
}

/// Runs the test in `memory`, which starts at a multiple of 64; returns the hash.
pub fn run(isa: Isa, pool: &dyn Pool, memory: &mut [u8]) -> Result<u64, SelftestError> {
    if pool.workers() > WORKERS_MAX {
        return Err(SelftestError::Workers);
    }
    let mut hash = HASH_START;
    for (config, kv_format) in &MODELS {
        let layout = ImageLayout::new(config, &[])?;
        let image_bytes = layout.total_bytes();
        let (image, state) = memory
            .split_at_mut_checked(image_bytes.next_multiple_of(REGION_ALIGN))
            .ok_or(ArenaError::TooSmall { region: "image", needed_bytes: image_bytes, left_bytes: 0 })?;
        let image = &mut image[..image_bytes];
        write_weights(&layout, image)?;
        let model = PackedModel::parse(image)?;
        let mut arena = Arena::new(&mut *state)?;
        let (mut forward, mut kv) = carve(&mut arena, config, &limits(*kv_format, pool.workers()))?;
        let table: [BlockId; BLOCKS] = core::array::from_fn(|i| ((i * 3 + 2) % BLOCKS) as BlockId);
        let tables = BlockTables { ids: &table, stride: BLOCKS };
        let mut done = 0;
        while done < POSITIONS {
            let end = POSITIONS.min(done + CHUNK);
            let rows: [Row; CHUNK] = core::array::from_fn(|i| Row {
                token: (draw(3, i + done) % config.vocab_size as u64) as u32,
                position: (done + i) as u32,
                sequence: 0,
                output: RowOutput::None,
            });
            let rows = &rows[..end - done];
            let fresh = &table[done.div_ceil(BLOCK)..end.div_ceil(BLOCK)];
            forward.layers(isa, pool, &model, &mut kv, StepRows { rows, tables, fresh });
            for row in [0, rows.len() - 1] {
                forward.head(isa, pool, &model, &[row as u32], HeadWants::LOGITS);
                for x in forward.logits().row(0) {
                    add(&mut hash, x.to_bits());
                }
            }
            done = end;
        }
        let limits = engine_limits(*kv_format, pool.workers());
        let (mut engine, mut runner) = Engine::on_cpu(model, limits, isa, pool, state)?;
        generate(&mut engine, &mut runner, pool, &mut hash)?;
    }
    Ok(hash)
}

/// The initial value of an FNV-1a hash of 64 bits.
const HASH_START: u64 = 0xcbf2_9ce4_8422_2325;

fn add(hash: &mut u64, word: u32) {
    *hash = (*hash ^ u64::from(word)).wrapping_mul(0x100_0000_01b3);
}

/// Two requests at once, one greedy, one drawn; every token and log-probability is hashed.
fn generate(
    engine: &mut Engine<'_>,
    runner: &mut dyn Runner,
    pool: &dyn Pool,
    hash: &mut u64,
) -> Result<(), SelftestError> {
    let vocab = engine.config().vocab_size as u64;
    let prompt: [u32; 30] = core::array::from_fn(|i| (draw(5, i) % vocab) as u32);
    let params = SamplingParams {
        temperature: 0.8,
        top_p: 0.9,
        top_k: 40,
        repetition_penalty: 1.1,
        seed: 3,
        ..SamplingParams::GREEDY
    };
    for request in [
        Request::greedy(&prompt[..20], 24),
        Request { params, logit_bias: &[(7, 1.5)], ..Request::greedy(&prompt, 24) },
    ] {
        engine.submit(&request).map_err(|_| SelftestError::Engine)?;
    }
    // One hash for each request, since the order in which they run is not what is tested.
    let mut hashes = [HASH_START; 2];
    while let Some(plan) = engine.plan(Budget::UNLIMITED) {
        let events = engine.execute(plan, Masks::NONE, runner, pool, &mut ());
        let events = events.map_err(|_| SelftestError::Engine)?;
        for event in events {
            if let EventKind::Token { token, logprob, .. } = event.kind {
                let hash = &mut hashes[event.request.0 as usize % 2];
                add(hash, token);
                add(hash, logprob.to_bits());
            }
        }
    }
    for of in hashes {
        add(hash, of as u32);
        add(hash, (of >> 32) as u32);
    }
    Ok(())
}

/// splitmix64 of a stream and an index.
fn draw(stream: u64, i: usize) -> u64 {
    let mut z = stream.wrapping_add(1).wrapping_mul(0xd134_2543_de82_ef95);
    z = z.wrapping_add((i as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

fn write_weights(layout: &ImageLayout<'_>, image: &mut [u8]) -> Result<(), SelftestError> {
    let mut writer = ImageWriter::new(layout, image)?;
    for (stream, TensorPlace { kind, layer, .. }) in layout.tensors().enumerate() {
        let (middle, scale) = if kind.is_norm() { (1.0, 0.25) } else { (0.0, 0.25) };
        writer.fill(kind, layer.unwrap_or(0), |row, column| {
            let uniform =
                (draw(stream as u64 + 10, row * 65_536 + column) >> 40) as f32 * (1.0 / 8_388_608.0) - 1.0;
            middle + scale * uniform
        });
    }
    writer.header(&[0; 32], 0);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::tests::Memory;
    use crate::pool::Serial;

    #[test]
    fn every_instruction_set_gives_the_stored_hash() {
        let bytes = memory_bytes(1).unwrap();
        for isa in Isa::available().iter() {
            let mut memory = Memory::new(bytes);
            let hash = run(*isa, &Serial, memory.bytes(bytes)).unwrap();
            assert_eq!(hash, EXPECTED, "{}: {hash:#018x}", isa.name());
        }
    }

    #[test]
    fn too_little_memory_is_an_error() {
        let bytes = memory_bytes(1).unwrap();
        let mut memory = Memory::new(bytes);
        assert!(run(Isa::PORTABLE, &Serial, memory.bytes(bytes / 2)).is_err());
        assert!(run(Isa::PORTABLE, &Serial, memory.bytes(64)).is_err());
    }
}
