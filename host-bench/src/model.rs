//! A model beside the machine's limits: load, memory, prefill and decode at several lengths and
//! depths, batches, phases; one worker to all, on the calling thread and on the pool.
use super::limits::{Limits, measure};
use super::neighbours::Round;
use super::report::{Line, Report};
use super::speed::{Case, Speed, Timed, bytes_read, multiplied, operations, run};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use verbatim::load::{ImageAccess, LoadedModel, NoProgress, WeightChoice, image_file};
use verbatim::sys::cpu::worker_count;
use verbatim::sys::pool::FutexPool;
use verbatim_core::cache::BLOCK;
use verbatim_core::dtype::KvFormat;
use verbatim_core::engine::EngineLimits;
use verbatim_core::isa::Isa;
use verbatim_core::model::ModelConfig;
use verbatim_core::pool::{Phase, Pool, Serial};

/// Which model, as flags say it.
#[derive(Debug, clap::Args)]
pub(crate) struct ModelChoice {
    /// A checkpoint's directory or an image.
    path: Option<PathBuf>,
    /// A shape to make in the system's temporary folder, in place of a path.
    #[arg(long)]
    shape: Option<String>,
    /// Of an image: check the weights' hash too.
    #[arg(long)]
    verify: bool,
    /// Of an image: read it into memory, rather than map the file.
    #[arg(long)]
    copy: bool,
}

impl ModelChoice {
    /// How an image's file is used.
    pub(crate) fn access(&self) -> ImageAccess {
        ImageAccess { copy: self.copy, verify: self.verify }
    }

    /// The path, after making what is to be made.
    pub(crate) fn resolve(&self) -> Result<PathBuf, String> {
        match (&self.path, &self.shape) {
            (Some(path), None) => Ok(path.clone()),
            (None, shape) => made(shape.as_deref().unwrap_or("tinyllama")),
            (Some(_), Some(_)) => Err("give a path or --shape, not both".to_owned()),
        }
    }
}

/// The directory of a checkpoint of this shape in the system's temporary folder, made if it is not
/// there.
pub(crate) fn made(shape: &str) -> Result<PathBuf, String> {
    let path = std::env::temp_dir().join(format!("verbatim-bench-{shape}"));
    if !path.join("config.json").exists() || !path.join("model.safetensors").exists() {
        super::make_model::make(shape, 1, &path)?;
    }
    // An older one has no tokenizer.
    super::make_model::put_tokenizer(&path)?;
    Ok(path)
}

/// Peak resident memory of this process, in bytes.
pub(crate) fn peak_bytes() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|rest| rest.trim().strip_suffix("kB")?.trim().parse::<f64>().ok()).unwrap_or(0.0) * 1024.0
}

/// The peak that bounds a prefill.
pub(crate) fn peak(limits: &Limits, config: &ModelConfig) -> f64 {
    limits.peaks.for_operands(config.weight_format.operands())
}

/// Loads the checkpoint or image at `path`, without a progress bar.
pub(crate) fn load(
    path: &Path,
    choice: WeightChoice,
    access: ImageAccess,
    pool: &dyn Pool,
) -> Result<LoadedModel, String> {
    image_file::load(path, choice, access, pool, &NoProgress).map_err(|error| error.to_string())
}

/// Prints the speed of prefill, decode and batches beside the machine's limits.
pub(crate) fn report(
    model: &ModelChoice,
    (choice, kv_format): (WeightChoice, Option<KvFormat>),
    (threads, isa): (Option<usize>, &str),
    tokens: usize,
    neighbours: &[usize],
    json: bool,
) -> Result<(), String> {
    let path = model.resolve()?;
    let isa = Isa::from_name(isa).ok_or_else(|| format!("--isa {isa}: this CPU has it not"))?;
    let workers = worker_count(threads).workers;
    let pool = FutexPool::new(workers).map_err(|error| error.to_string())?;
    let report = Report::new("model", json, workers);
    let start = Instant::now();
    let loaded = load(&path, choice, model.access(), &pool)?;
    let config = *loaded.model().config();
    let weights = loaded.model().weight_bytes() as f64;
    let (layers, head) = multiplied(&config);
    let bits = 8.0 * bytes_read(&config) / (layers + head) as f64;
    let format = config.weight_format.name();
    let path_name = isa.name();
    let kv_name = kv_format.unwrap_or(EngineLimits::for_model(&config).kv_format).name();
    report.section(&format!("{format}, {bits:.2} bits a weight, KV {kv_name}, path {path_name}"));
    report.line(
        &Line::new("load", start.elapsed().as_secs_f64(), "s").note(format!("{:.2} GB", weights / 1e9)),
    );
    let prompt = 512.min(config.position_count / 2);
    run(&loaded, isa, &pool, &Case { rounds: 1, kv_format, ..Case::one(prompt, 4) })?;
    let kv_format = kv_format.unwrap_or(EngineLimits::for_model(&config).kv_format);
    let kv = config.kv_layout(kv_format, (prompt + 5).div_ceil(BLOCK)).total_bytes() as f64;
    report.line(
        &Line::new("peak memory", peak_bytes() / 1e9, "GB")
            .note(format!("{:.2} x (weights + KV), a first prefill included", peak_bytes() / (weights + kv))),
    );
    if !neighbours.is_empty() {
        report.section("decode, one thread and all in turns, beside spinning neighbours");
        let failed = super::neighbours::report(
            &report,
            (format, &loaded, isa),
            workers,
            neighbours,
            Round::of_large_model(),
        )?;
        return match failed {
            0 => Ok(()),
            _ => Err(format!("{failed} bars do not hold on this machine in this run")),
        };
    }
    for count in thread_counts(workers) {
        let own = FutexPool::new(count).map_err(|error| error.to_string())?;
        let limits = measure(&own, &mut |_, _| {})?;
        let title = format!("{count} worker{}", if count > 1 { "s" } else { "" });
        report.section(&format!(
            "{title}: read {:.1} GB/s, peak {:.0} G/s",
            limits.read / 1e9,
            peak(&limits, &config) / 1e9
        ));
        lengths(&report, &loaded, (isa, &own), &title, (tokens, kv_format), &limits)?;
        if count == 1 {
            report.section("no pool");
            lengths(&report, &loaded, (isa, &Serial), "no pool", (tokens, kv_format), &limits)?;
        }
    }
    report.section("batched decode after prompts of 64, all sequences");
    let kv_format = Some(kv_format);
    let single = batch(&loaded, isa, &pool, (1, tokens), kv_format)?;
    for sequences in [1, 2, 4, 8, 12, 16, 32] {
        let rate = batch(&loaded, isa, &pool, (sequences, tokens), kv_format)?;
        let note = format!("{:.2} x one sequence", rate / single);
        report.line(&Line::new(format!("batch {sequences}"), rate, "tokens/s").note(note));
    }
    phases(&report, &loaded, (isa, &pool), kv_format)
}

/// Tokens a second of a batch of sequences. Without a KV format, the one of serving is taken.
pub(crate) fn batch(
    loaded: &LoadedModel,
    isa: Isa,
    pool: &dyn Pool,
    (sequences, tokens): (usize, usize),
    kv_format: Option<KvFormat>,
) -> Result<f64, String> {
    let case = Case { sequences, rounds: 2, kv_format, ..Case::one(64, tokens) };
    Ok(sequences as f64 / run(loaded, isa, pool, &case)?.decode)
}

/// Prefill and decode at several lengths.
fn lengths(
    report: &Report,
    loaded: &LoadedModel,
    (isa, pool): (Isa, &dyn Pool),
    who: &str,
    (tokens, kv_format): (usize, KvFormat),
    limits: &Limits,
) -> Result<(), String> {
    let config = *loaded.model().config();
    for prompt in [128, 512, 1536] {
        if prompt + tokens >= config.position_count {
            continue;
        }
        let rounds = if prompt > 512 { 1 } else { 3 };
        let speed = run(
            loaded,
            isa,
            pool,
            &Case { rounds, kv_format: Some(kv_format), ..Case::one(prompt, tokens) },
        )?;
        let prompt_s = speed.prompt_s();
        let achieved = operations(&config, prompt) / prompt_s;
        let rate = prompt as f64 / prompt_s;
        report.line(
            &Line::new(format!("{who}: prefill {prompt}"), rate, "tokens/s")
                .limit(rate / achieved * peak(limits, &config)),
        );
        let max = limits.read / bytes_read(&config);
        report.line(
            &Line::new(format!("{who}: decode at {prompt}"), 1.0 / speed.decode, "tokens/s").limit(max),
        );
    }
    Ok(())
}

/// 1, 2, 3, 5, 8, … and all.
fn thread_counts(workers: usize) -> Vec<usize> {
    let steps = std::iter::successors(Some(1_usize), |count| Some(count + count.div_ceil(2).min(*count)));
    let mut counts: Vec<usize> = steps.take_while(|count| *count < workers).collect();
    counts.push(workers);
    counts
}

/// Where a decode step's time goes, at depths from 0.
pub(crate) fn dispatch_share(
    loaded: &LoadedModel,
    isa: Isa,
    pool: &dyn Pool,
    kv_format: Option<KvFormat>,
) -> Result<(f64, Vec<(String, f64)>), String> {
    // With a prompt of one token all steps are decode steps.
    let case = Case { rounds: 1, kv_format, ..Case::one(1, 64) };
    shares(loaded, (isa, pool), &case, |speed| speed.decode_sum)
}

/// The longest worker's time in each phase as a share of `whole`, and what is left.
fn shares(
    loaded: &LoadedModel,
    (isa, pool): (Isa, &dyn Pool),
    case: &Case,
    whole: impl Fn(&Speed) -> f64,
) -> Result<(f64, Vec<(String, f64)>), String> {
    let timed = Timed::new(pool);
    run(loaded, isa, &timed, case)?;
    timed.take();
    let whole = whole(&run(loaded, isa, &timed, case)?);
    let share = |(phase, took): (Phase, Duration)| (format!("{phase:?}"), took.as_secs_f64() / whole);
    let mut shares: Vec<_> = timed.take().into_iter().map(share).collect();
    shares.sort_by(|a, b| b.1.total_cmp(&a.1));
    let sum: f64 = shares.iter().map(|(_, share)| share).sum();
    Ok(((1.0 - sum).max(0.0), shares))
}

/// Prints a prompt's time and a decode step's by phase.
fn phases(
    report: &Report,
    loaded: &LoadedModel,
    (isa, pool): (Isa, &dyn Pool),
    kv_format: Option<KvFormat>,
) -> Result<(), String> {
    let prompt = 512.min(loaded.model().config().position_count / 2);
    let case = Case { rounds: 1, kv_format, ..Case::one(prompt, 1) };
    let of_prompt = shares(loaded, (isa, pool), &case, Speed::prompt_s)?;
    let of_decode = dispatch_share(loaded, isa, pool, kv_format)?;
    for (what, (rest, shares)) in [("prompt", of_prompt), ("decode", of_decode)] {
        report.section(&format!("{what} by phase: share of its time"));
        for (phase, share) in shares.into_iter().filter(|(_, share)| *share >= 0.001) {
            report.line(&Line::new(format!("{what}: {phase}"), 100.0 * share, "%"));
        }
        report.line(&Line::new(
            format!("{what}: in no phase: dispatch, joins, small operations"),
            100.0 * rest,
            "%",
        ));
    }
    Ok(())
}
