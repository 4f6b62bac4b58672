//! Peers on the same machine in the same run: llama.cpp's own benchmarks, and torch (oneDNN)
//! through a script, alternating with ours.
//!
//! Peers are neither built nor fetched here: the command line names their programs and files.
use super::gemm::{Split, Weights, packed};
use super::model::{ModelChoice, batch, load};
use super::report::{Line, Report, median};
use super::speed::{Case, run};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Command;
use verbatim::load::{LoadedModel, WeightChoice};
use verbatim::sys::cpu::worker_count;
use verbatim::sys::pool::FutexPool;
use verbatim_core::dtype::WeightFormat;
use verbatim_core::isa::Isa;

/// The flags that name llama.cpp's programs.
#[derive(Clone, Debug, Default, clap::Args)]
pub(crate) struct LlamaPrograms {
    /// Path of llama.cpp's llama-bench.
    #[arg(long)]
    pub(crate) llama_bench: Option<PathBuf>,
    /// Path of llama.cpp's llama-batched-bench.
    #[arg(long)]
    pub(crate) llama_batched_bench: Option<PathBuf>,
}

/// The flags that name the peers.
#[derive(Clone, Debug, Default, clap::Args)]
pub(crate) struct PeerArgs {
    #[command(flatten)]
    pub(crate) llama: LlamaPrograms,
    /// A GGUF file of the same model, in the format to compare with.
    #[arg(long)]
    pub(crate) gguf: Option<PathBuf>,
    /// A Python with torch, for oneDNN's products.
    #[arg(long)]
    pub(crate) python: Option<PathBuf>,
    /// Rounds of ours, theirs, ours, theirs …; the best of each counts.
    #[arg(long, default_value_t = 2)]
    pub(crate) rounds: usize,
}

/// What a program prints; an error is the last line that it wrote about one.
pub(crate) fn output(command: &mut Command) -> Result<String, String> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command.output().map_err(|error| format!("{program}: {error}"))?;
    if !output.status.success() {
        let error = String::from_utf8_lossy(&output.stderr);
        return Err(format!("{program}: {}", error.lines().last().unwrap_or("failed")));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Tokens a second of llama-bench: a prompt, or generated tokens, after `depth` positions.
pub(crate) fn llama_bench(
    program: &Path,
    gguf: &Path,
    threads: usize,
    (prompt, generate, depth): (usize, usize, usize),
) -> Result<f64, String> {
    let mut command = Command::new(program);
    command.arg("-m").arg(gguf).args(["-o", "json", "-r", "1"]);
    command.args(["-t", &threads.to_string(), "-p", &prompt.to_string(), "-n", &generate.to_string()]);
    command.args(["-d", &depth.to_string()]);
    let text = output(&mut command)?;
    let parsed: Value = serde_json::from_str(&text).map_err(|error| format!("llama-bench: {error}"))?;
    let rate = parsed.get(0).and_then(|run| run.get("avg_ts")).and_then(Value::as_f64);
    rate.ok_or_else(|| "llama-bench: no avg_ts in its output".to_owned())
}

/// Tokens a second, all sequences, of llama-batched-bench after prompts of 64.
pub(crate) fn llama_batched(
    program: &Path,
    gguf: &Path,
    threads: usize,
    sequences: usize,
) -> Result<f64, String> {
    let mut command = Command::new(program);
    command.arg("-m").arg(gguf).args(["--output-format", "jsonl", "-c", "4096", "-npp", "64", "-ntg", "32"]);
    command.args(["-npl", &sequences.to_string(), "-t", &threads.to_string()]);
    let text = output(&mut command)?;
    let lines = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let rate = lines.filter_map(|line| line.get("speed_tg").and_then(Value::as_f64)).next_back();
    rate.ok_or_else(|| "llama-batched-bench: no speed_tg in its output".to_owned())
}

/// The ratio of the first figure to the second: the median over rounds of both in turn. What slows
/// a shared machine down slows both of a round.
pub(crate) fn ratio(
    rounds: usize,
    mut ours: impl FnMut() -> Result<f64, String>,
    mut theirs: impl FnMut() -> Result<f64, String>,
) -> Result<f64, String> {
    let mut ratios = Vec::new();
    for _ in 0..rounds.max(1) {
        ratios.push(ours()? / theirs()?);
    }
    Ok(median(ratios))
}

/// The best of some rounds of two things in turn.
pub(crate) fn alternate(
    rounds: usize,
    mut ours: impl FnMut() -> Result<f64, String>,
    mut theirs: impl FnMut() -> Result<f64, String>,
) -> Result<(f64, f64), String> {
    let (mut a, mut b) = (0.0_f64, 0.0_f64);
    for _ in 0..rounds.max(1) {
        a = a.max(ours()?);
        b = b.max(theirs()?);
    }
    Ok((a, b))
}

/// Tokens a second of ours: a prompt of 512 tokens, or decode, after `depth` positions.
pub(crate) fn ours(
    loaded: &LoadedModel,
    isa: Isa,
    pool: &FutexPool,
    (prompt, depth): (usize, usize),
) -> Result<f64, String> {
    if prompt == 0 {
        let case = Case { rounds: 1, ..Case::one(depth.max(16), 32) };
        return Ok(1.0 / run(loaded, isa, pool, &case)?.decode);
    }
    // The context must end within the model's positions, with room for what is decoded.
    let len = (depth + prompt).min(loaded.model().config().position_count.saturating_sub(2));
    let case = Case { rounds: 1, rows: prompt, ..Case::one(len, 1) };
    let (rows, seconds) = *run(loaded, isa, pool, &case)?.prefill.last().ok_or("no prefill step")?;
    Ok(rows as f64 / seconds)
}

/// Prints the ratios of all formats.
pub(crate) fn report(
    model: &ModelChoice,
    choice: WeightChoice,
    args: &PeerArgs,
    threads: Option<usize>,
    json: bool,
) -> Result<(), String> {
    let workers = worker_count(threads).workers;
    let pool = FutexPool::new(workers).map_err(|error| error.to_string())?;
    let report = Report::new("peer", json, workers);
    if let Some(gguf) = &args.gguf {
        let loaded = load(&model.resolve()?, choice, model.access(), &pool)?;
        report.section(&format!(
            "ours: {}; llama.cpp: {}",
            loaded.model().config().weight_format.name(),
            gguf.display()
        ));
        if let Some(program) = &args.llama.llama_bench {
            for (name, prompt, depth) in [
                ("prefill 128", 128, 0),
                ("prefill 512", 512, 0),
                ("decode", 0, 0),
                ("prefill 512 at depth 1536", 512, 1536),
                ("decode at depth 1536", 0, 1536),
            ] {
                let generate = if prompt == 0 { 32 } else { 0 };
                let (a, b) = alternate(
                    args.rounds,
                    || ours(&loaded, Isa::detect(), &pool, (prompt, depth)),
                    || llama_bench(program, gguf, workers, (prompt, generate, depth)),
                )?;
                report.line(&Line::new(name, a, "tokens/s").peer("llama.cpp", b));
            }
        }
        if let Some(program) = &args.llama.llama_batched_bench {
            for sequences in [1, 4, 8, 16] {
                let (a, b) = alternate(
                    args.rounds,
                    || batch(&loaded, Isa::detect(), &pool, (sequences, 32), None),
                    || llama_batched(program, gguf, workers, sequences),
                )?;
                let case = format!("decode of {sequences} sequences");
                report.line(&Line::new(case, a, "tokens/s").peer("llama.cpp", b));
            }
        }
    }
    if let Some(python) = &args.python {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/peers/torch_gemm.py");
        for format in [WeightFormat::F32, WeightFormat::Bf16] {
            for (m, k, n) in [(1, 2048, 5632), (32, 2048, 5632), (128, 2048, 5632), (128, 5632, 2048)] {
                let weights = Weights::new(format, k, n)?;
                let scale = 2.0 * (m * k * n) as f64 / 1e9;
                let numbers = [workers, m, k, n].map(|number| number.to_string());
                let (a, b) = alternate(
                    args.rounds,
                    || Ok(scale / packed(&pool, Isa::detect(), &weights, m, Split::Auto)),
                    || {
                        let text =
                            output(Command::new(python).arg(script).arg(format.name()).args(&numbers))?;
                        text.trim().parse().map_err(|_| format!("{script}: printed {text:?}"))
                    },
                )?;
                let case = format!("{} {m} x {k} x {n}", format.name());
                report.line(&Line::new(case, a, "GFLOP/s").peer("torch (oneDNN)", b));
            }
        }
    }
    Ok(())
}
