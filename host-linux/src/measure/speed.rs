//! What a model does in a second: prefill by chunks, decode of some sequences at some depth.
use crate::load::LoadedModel;
use crate::sys::memory::AlignedMemory;
use std::time::Instant;
use verbatim_core::dtype::KvFormat;
use verbatim_core::engine::{Budget, Engine, EngineLimits, Masks, MemoryPlan, Request};
use verbatim_core::isa::Isa;
use verbatim_core::model::ModelConfig;
use verbatim_core::pool::Pool;

/// One case: how many sequences, how long, in how many rounds.
#[derive(Clone, Copy, Debug)]
pub struct Case {
    /// Sequences that run at once.
    pub sequences: usize,
    /// Prompt tokens of each sequence.
    pub prompt: usize,
    /// Tokens decoded by each.
    pub tokens: usize,
    /// Rows of a step, at most.
    pub rows: usize,
    /// Rounds, of which the best counts.
    pub rounds: usize,
    /// The KV format; `None` is as for serving.
    pub kv_format: Option<KvFormat>,
}

impl Case {
    /// The case of one sequence.
    pub fn one(prompt: usize, tokens: usize) -> Self {
        Self { sequences: 1, prompt, tokens, rows: 512, rounds: 3, kv_format: None }
    }
}

/// The times of a case, in seconds.
#[derive(Clone, Debug)]
pub struct Speed {
    /// The rows and the best time of each prefill step, in order.
    pub prefill: Vec<(usize, f64)>,
    /// The time of a decode step of all sequences: the best of the rounds' medians.
    pub decode: f64,
    /// The time of all decode steps of all rounds together.
    pub decode_sum: f64,
}

impl Speed {
    /// The time of the whole prompt.
    pub fn prompt_s(&self) -> f64 {
        self.prefill.iter().map(|(_, s)| s).sum()
    }
}

/// Runs a case on a loaded model.
pub fn run(loaded: &LoadedModel, isa: Isa, pool: &dyn Pool, case: &Case) -> Result<Speed, String> {
    let config = *loaded.model().config();
    let len = case.prompt + case.tokens + 1;
    if len > config.position_count {
        return Err(format!("the model has {} positions, the case needs {len}", config.position_count));
    }
    let defaults = EngineLimits::for_model(&config);
    let limits = EngineLimits {
        model_len: len,
        sequences: case.sequences,
        queue: case.sequences,
        kv_tokens: len.next_multiple_of(16) * case.sequences,
        rows: case.rows.min(case.prompt * case.sequences).max(case.sequences),
        head_rows: case.sequences,
        workers: pool.workers(),
        kv_format: case.kv_format.unwrap_or(defaults.kv_format),
        ..defaults
    };
    let plan = MemoryPlan::new(&config, &limits).map_err(|error| error.to_string())?;
    let mut memory = AlignedMemory::new(plan.total_bytes()).map_err(|error| error.to_string())?;
    let engine = Engine::on_cpu(loaded.model(), limits, isa, pool, memory.as_mut_slice());
    let (mut engine, mut runner) = engine.map_err(|error| error.to_string())?;
    let mut speed = Speed { prefill: Vec::new(), decode: f64::MAX, decode_sum: 0.0 };
    for _ in 0..case.rounds {
        for sequence in 0..case.sequences {
            let prompt: Vec<u32> =
                (0..case.prompt).map(|i| ((i + 31 * sequence) * 7919 % config.vocab_size) as u32).collect();
            engine.submit(&Request::greedy(&prompt, case.tokens)).map_err(|error| error.to_string())?;
        }
        let (mut steps, mut chunk) = (Vec::new(), 0);
        while let Some(plan) = engine.plan(Budget::UNLIMITED) {
            let rows = engine.rows(plan).count();
            let samples = engine.rows(plan).filter(|row| row.samples).count();
            let start = Instant::now();
            let events = engine.execute(plan, Masks::NONE, &mut runner, pool, &mut ());
            events.map_err(|error| error.to_string())?;
            let took = start.elapsed().as_secs_f64();
            if rows == case.sequences && samples == rows {
                steps.push(took);
            } else {
                match speed.prefill.get_mut(chunk) {
                    Some((_, best)) => *best = best.min(took),
                    None => speed.prefill.push((rows, took)),
                }
                chunk += 1;
            }
        }
        if !steps.is_empty() {
            speed.decode_sum += steps.iter().sum::<f64>();
            // The median leaves out pauses of the machine.
            speed.decode = speed.decode.min(median(steps));
        }
    }
    Ok(speed)
}

/// Weights that one row multiplies, without the head and with it.
pub fn multiplied(c: &ModelConfig) -> (usize, usize) {
    let layer =
        c.qkv_size() * c.hidden_size + c.q_size() * c.hidden_size + 3 * c.intermediate_size * c.hidden_size;
    (layer * c.layer_count, c.vocab_size * c.hidden_size)
}

/// Bytes of packed weights that a step reads, scales and all.
pub fn bytes_read(c: &ModelConfig) -> f64 {
    c.row_weight_bytes() as f64
}

/// Operations of a prefill of `rows` whose last one alone goes through the head, without attention.
pub fn operations(c: &ModelConfig, rows: usize) -> f64 {
    let (layers, head) = multiplied(c);
    2.0 * (layers as f64 * rows as f64 + head as f64)
}

/// The median; 0 if there are no figures.
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(0.0)
}
