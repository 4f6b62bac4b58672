//! A model beside the machine's limits: load, memory, prefill, time to first token, decode; one worker to all, on the
//! calling thread and on the pool.
use super::limits::{Limits, load_average, measure};
use std::path::PathBuf;
use std::time::Instant;
use verbatim::cpu::{model_name, worker_count};
use verbatim::load::{LoadedModel, NoProgress, WeightChoice, image_file};
use verbatim::memory::AlignedMemory;
use verbatim::pool::FutexPool;
use verbatim_core::dtype::WeightFormat;
use verbatim_core::engine::{Budget, Engine, EngineLimits, Masks, Plan, Request};
use verbatim_core::isa::Isa;
use verbatim_core::model::ModelConfig;
use verbatim_core::pool::{Pool, Serial};

const ROUNDS: usize = 3;

/// Peak resident memory of this process, in bytes.
fn peak_bytes() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|rest| rest.trim().strip_suffix("kB")?.trim().parse::<f64>().ok()).unwrap_or(0.0) * 1024.0
}

/// Weights that one row multiplies, without the head and with it.
fn multiplied(c: &ModelConfig) -> (usize, usize) {
    let layer =
        c.qkv_size() * c.hidden_size + c.q_size() * c.hidden_size + 3 * c.intermediate_size * c.hidden_size;
    (layer * c.layer_count, c.vocab_size * c.hidden_size)
}

struct Speed {
    prefill_s: f64,
    decode_s: f64,
}

/// The best prefill of `prompt_len` tokens and the best mean time of a token after it.
fn run(
    loaded: &LoadedModel,
    isa: Isa,
    pool: &dyn Pool,
    prompt_len: usize,
    tokens: usize,
) -> Result<Speed, String> {
    let config = *loaded.model().config();
    let limits = EngineLimits {
        model_len: (prompt_len + tokens + 1).min(config.position_count),
        kv_tokens: prompt_len + tokens + 1,
        rows: 512.min(prompt_len),
        workers: pool.workers(),
        ..EngineLimits::for_model(&config)
    };
    let plan = Plan::new(&config, &limits).map_err(|error| error.to_string())?;
    let mut memory = AlignedMemory::new(plan.total_bytes()).map_err(|error| error.to_string())?;
    let engine = Engine::new(loaded.model(), limits, isa, memory.as_mut_slice());
    let mut engine = engine.map_err(|error| error.to_string())?;
    let prompt: Vec<u32> = (0..prompt_len).map(|i| (i * 7919 % config.vocab_size) as u32).collect();
    let mut speed = Speed { prefill_s: f64::MAX, decode_s: f64::MAX };
    for _ in 0..ROUNDS {
        engine.submit(&Request::greedy(&prompt, tokens)).map_err(|error| error.to_string())?;
        let mut steps = Vec::new();
        let mut start = Instant::now();
        while let Some(plan) = engine.plan(Budget::UNLIMITED) {
            let prefill = engine.rows(plan).count() > 1;
            engine.execute(plan, Masks::NONE, pool, &mut ()).map_err(|error| error.to_string())?;
            let took = start.elapsed().as_secs_f64();
            start = Instant::now();
            if prefill {
                speed.prefill_s = speed.prefill_s.min(took);
            } else {
                steps.push(took);
            }
        }
        if !steps.is_empty() {
            steps.sort_by(f64::total_cmp);
            // The median of a round: a pause of the machine is not the model's.
            speed.decode_s = speed.decode_s.min(steps[steps.len() / 2]);
        }
    }
    Ok(speed)
}

/// Prints everything.
pub(crate) fn report(
    path: Option<PathBuf>,
    shape: Option<String>,
    (weights, compress): (Option<&str>, Option<&str>),
    threads: Option<usize>,
    tokens: usize,
) -> Result<(), String> {
    let choice = WeightChoice::from_names(weights, None, compress)?;
    let path = match (path, shape) {
        (Some(path), None) => path,
        (None, shape) => {
            let shape = shape.unwrap_or_else(|| "tinyllama".to_owned());
            let path = std::env::temp_dir().join(format!("verbatim-bench-{shape}"));
            if !path.join("config.json").exists() || !path.join("model.safetensors").exists() {
                super::make_model::make(&shape, 1, &path)?;
            }
            path
        }
        (Some(_), Some(_)) => return Err("give a path or --shape, not both".to_owned()),
    };
    let isa = Isa::detect();
    let workers = worker_count(threads).workers;
    let pool = FutexPool::new(workers).map_err(|error| error.to_string())?;
    println!("{}, {}, {workers} workers, load average {}", model_name(), isa.name(), load_average());
    let mut load_s = f64::MAX;
    let mut loaded = None;
    for _ in 0..2 {
        drop(loaded.take());
        let start = Instant::now();
        let model = image_file::load(&path, choice, &pool, &NoProgress);
        loaded = Some(model.map_err(|error| error.to_string())?);
        load_s = load_s.min(start.elapsed().as_secs_f64());
    }
    let Some(loaded) = loaded else { return Err("nothing was loaded".to_owned()) };
    let config = *loaded.model().config();
    let weights = loaded.model().weight_bytes() as f64;
    println!("load          {load_s:6.2} s from a warm page cache, {:.2} GB of weights", weights / 1e9);
    run(&loaded, isa, &pool, 512.min(config.position_count / 2), 8)?;
    let kv_bytes = 2 * config.layer_count * config.kv_size() * 2 * 521;
    println!(
        "peak memory   {:6.2} GB: {:.2} x (weights + KV), a first prefill of 512 included",
        peak_bytes() / 1e9,
        peak_bytes() / (weights + kv_bytes as f64),
    );
    let (layers, head) = multiplied(&config);
    let bytes = config.weight_format.element_bytes() as f64;
    let mut counts = vec![1];
    if workers > 1 {
        counts.push(workers);
    }
    for count in counts {
        let own = FutexPool::new(count).map_err(|error| error.to_string())?;
        let limits = measure(&own, &mut |_, _| {})?;
        line(
            &loaded,
            isa,
            &own,
            &format!("{count} worker{}", if count > 1 { "s" } else { "" }),
            tokens,
            (layers, head, bytes),
            &limits,
        )?;
        if count == 1 {
            line(&loaded, isa, &Serial, "no pool", tokens, (layers, head, bytes), &limits)?;
        }
    }
    Ok(())
}

fn line(
    loaded: &LoadedModel,
    isa: Isa,
    pool: &dyn Pool,
    what: &str,
    tokens: usize,
    (layers, head, bytes): (usize, usize, f64),
    limits: &Limits,
) -> Result<(), String> {
    let config = *loaded.model().config();
    let peak = match config.weight_format {
        WeightFormat::F32 => limits.f32_fma,
        WeightFormat::Bf16 | WeightFormat::Bf16Coded => limits.bf16_dot,
        WeightFormat::Int8 | WeightFormat::Int4 => limits.int8_dot,
    };
    println!(
        "{what}: read {:.1} GB/s, {} {:.0} GFLOP/s",
        limits.read / 1e9,
        config.weight_format.name(),
        peak / 1e9
    );
    for prompt_len in [128, 512] {
        if prompt_len + tokens >= config.position_count {
            continue;
        }
        let speed = run(loaded, isa, pool, prompt_len, tokens)?;
        let operations = 2.0 * (layers * prompt_len + head) as f64;
        let read = (layers + head) as f64 * bytes;
        println!(
            "  prompt {prompt_len:4}: prefill {:7.1} tokens/s ({:.2} of peak), first token after {:7.1} ms; decode {:6.2} tokens/s ({:.1} GB/s, {:.2} of bandwidth)",
            prompt_len as f64 / speed.prefill_s,
            operations / speed.prefill_s / peak,
            speed.prefill_s * 1e3,
            1.0 / speed.decode_s,
            read / speed.decode_s / 1e9,
            read / speed.decode_s / limits.read,
        );
    }
    Ok(())
}
