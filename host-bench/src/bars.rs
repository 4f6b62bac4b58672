//! The bars that this engine holds itself to, measured: case, value, bar, holds or not.
//!
//! A share is of a limit measured right before and right after, the better of the two; a ratio is
//! of two things in turn; of some rounds the median counts. What needs a program or file that was
//! not given is left out and said.
#[cfg(feature = "openblas")]
use super::gemm::best;
use super::gemm::{Split, Weights, multiplied_at, packed};
use super::limits::{Limits, peaks, read_now, reader};
use super::model::{ModelChoice, batch, dispatch_share, load, peak};
use super::peer::{LlamaPrograms, llama_batched, llama_bench, ours, ratio};
use super::report::{Bar, Line, Report, median};
use super::speed::{Case, bytes_read, operations, run};
use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::time::Instant;
use verbatim::load::{Compress, ImageAccess, LoadedModel, WeightChoice};
use verbatim::sys::cpu::worker_count;
use verbatim::sys::pool::FutexPool;
use verbatim::sys::rates::read::Reader;
use verbatim_core::dtype::{KvFormat, WeightFormat};
use verbatim_core::isa::{Isa, is_zen4};
use verbatim_core::kernels::matmul::Activations;
use verbatim_core::pool::Serial;
use verbatim_core::tensor::Rows;

/// The peers' programs and files.
#[derive(Debug, clap::Args)]
pub(crate) struct BarsArgs {
    #[command(flatten)]
    llama: LlamaPrograms,
    /// A llama-bench of a llama.cpp built without AVX-512.
    #[arg(long)]
    llama_bench_avx2: Option<PathBuf>,
    /// The model for llama.cpp in BF16.
    #[arg(long)]
    gguf_bf16: Option<PathBuf>,
    /// The model for llama.cpp in Q8_0.
    #[arg(long = "gguf-q8_0")]
    gguf_q8_0: Option<PathBuf>,
    /// The model for llama.cpp in Q4_0.
    #[arg(long = "gguf-q4_0")]
    gguf_q4_0: Option<PathBuf>,
    /// Parts of the table: bf16, int8 and int4 (a whole model), products, portable [default: all].
    #[arg(long, value_delimiter = ',')]
    parts: Vec<String>,
}

const PARTS: [&str; 5] = ["bf16", "int8", "int4", "products", "portable"];
const NOT_GIVEN: &str = "its program or file was not given (--help)";

/// What a format must reach.
#[derive(Clone, Copy)]
struct Bars {
    format: WeightFormat,
    peer: &'static str,
    decode: f64,
    decode_peer: f64,
    prefill: f64,
    prefill_peer: f64,
    batch16_peer: f64,
    depth: f64,
}

/// Rounds of a ratio.
const ROUNDS: usize = 3;

/// What is measured with, and what came of it.
struct Table {
    report: Report,
    failed: usize,
    isa: Isa,
    pool: FutexPool,
    workers: usize,
    access: ImageAccess,
    reader: Reader,
}

impl Table {
    /// A figure that must be at least the bar, or at most.
    fn row(&mut self, case: &str, value: f64, bar: Bar) {
        self.failed += usize::from(!bar.holds(value));
        self.report.line(&Line::new(case, value, "").bar(bar));
    }

    /// A figure that must be at least the bar, where this number of sequences is served in 12 bits
    /// by default.
    fn compressed(&mut self, case: &str, value: f64, sequences: usize, bar: f64) {
        if sequences <= self.isa.bf16_12_sequences() {
            self.at_least(case, value, bar);
        } else {
            self.report.line(&Line::new(case, value, "").note("--compress auto is off"));
        }
    }

    fn at_least(&mut self, case: &str, value: f64, bar: f64) {
        self.row(case, value, Bar::AtLeast(bar));
    }

    /// The share of a peak that something takes which needs at least the seconds that `at_peak`
    /// says.
    fn share_of_peak(
        &self,
        at_peak: impl Fn(&Limits) -> f64,
        mut seconds: impl FnMut() -> Result<f64, String>,
    ) -> Result<f64, String> {
        let mut shares = Vec::new();
        let mut before = at_peak(&peaks(&self.pool));
        for _ in 0..ROUNDS {
            let taken = seconds()?;
            let after = at_peak(&peaks(&self.pool));
            shares.push(before.min(after) / taken);
            before = after;
        }
        Ok(median(shares))
    }

    /// The share of the read bandwidth that a run takes, which reads the given bytes in the seconds
    /// that it returns.
    fn share_of_bandwidth(
        &self,
        bytes: f64,
        mut seconds: impl FnMut() -> Result<f64, String>,
    ) -> Result<f64, String> {
        let mut shares = Vec::new();
        let mut before = read_now(&self.reader, &self.pool);
        for _ in 0..2 * ROUNDS - 1 {
            let rate = bytes / seconds()?;
            let after = read_now(&self.reader, &self.pool);
            shares.push(rate / before.max(after));
            before = after;
        }
        Ok(median(shares))
    }

    fn load(&self, path: &Path, choice: WeightChoice) -> Result<LoadedModel, String> {
        load(path, choice, self.access, &self.pool)
    }

    fn ours(&self, loaded: &LoadedModel, prompt: usize, depth: usize) -> Result<f64, String> {
        ours(loaded, self.isa, &self.pool, (prompt, depth))
    }

    fn batch(&self, loaded: &LoadedModel, sequences: usize) -> Result<f64, String> {
        batch(loaded, self.isa, &self.pool, (sequences, 32), None)
    }
}

/// Prints the table; an error if a bar does not hold.
pub(crate) fn report(
    model: &ModelChoice,
    args: &BarsArgs,
    threads: Option<usize>,
    json: bool,
) -> Result<(), String> {
    if let Some(part) = args.parts.iter().find(|part| !PARTS.contains(&part.as_str())) {
        return Err(format!("--parts {part}: expected some of {}", PARTS.join(", ")));
    }
    let is_asked = |part: &str| args.parts.is_empty() || args.parts.iter().any(|asked| asked == part);
    let workers = worker_count(threads).workers;
    let pool = FutexPool::new(workers).map_err(|error| error.to_string())?;
    let report = Report::new("bars", json, workers);
    let reader = reader(true)?;
    let (isa, access) = (Isa::detect(), model.access());
    let mut table = Table { report, failed: 0, isa, pool, workers, access, reader };
    let zen4 = is_zen4();
    let bf16 = Bars {
        format: WeightFormat::Bf16,
        peer: "BF16",
        decode: 0.95,
        decode_peer: 1.2,
        prefill: 0.78,
        prefill_peer: if zen4 { 1.25 } else { 1.4 },
        batch16_peer: 1.8,
        depth: 0.93,
    };
    let int8 = Bars {
        format: WeightFormat::Int8,
        peer: "Q8_0",
        decode: 0.92,
        prefill: 0.65,
        prefill_peer: 3.5,
        batch16_peer: 4.0,
        depth: 0.88,
        ..bf16
    };
    let int4 = Bars {
        format: WeightFormat::Int4,
        peer: "Q4_0",
        decode: 0.88,
        prefill_peer: 2.2,
        batch16_peer: 1.8,
        depth: 0.8,
        ..int8
    };
    for (bars, gguf) in [(bf16, &args.gguf_bf16), (int8, &args.gguf_q8_0), (int4, &args.gguf_q4_0)] {
        if is_asked(bars.format.name()) {
            of_format(&mut table, &model.resolve()?, &bars, args, gguf.as_deref())?;
        }
    }
    if is_asked("products") {
        products(&mut table)?;
    }
    if is_asked("portable") {
        portable(&mut table)?;
    }
    let failed = table.failed;
    if failed == 0 { Ok(()) } else { Err(format!("{failed} bars do not hold on this machine in this run")) }
}

/// The bars of one weight format.
fn of_format(
    table: &mut Table,
    path: &Path,
    bars: &Bars,
    args: &BarsArgs,
    gguf: Option<&Path>,
) -> Result<(), String> {
    let (name, workers) = (bars.format.name(), table.workers);
    let choice = WeightChoice { compress: Compress::Off, ..WeightChoice::all(bars.format) };
    let mut loaded = table.load(path, choice)?;
    let config = *loaded.model().config();

    let share =
        table.share_of_bandwidth(bytes_read(&config), || table.ours(&loaded, 0, 0).map(|rate| 1.0 / rate))?;
    table.at_least(&format!("decode.{name}: share of read bandwidth"), share, bars.decode);
    let of_peak = table.share_of_peak(
        |limits| operations(&config, 512) / peak(limits, &config),
        || {
            let case = Case { rounds: 1, ..Case::one(512, 1) };
            Ok(run(&loaded, table.isa, &table.pool, &case)?.prompt_s())
        },
    )?;
    table.at_least(&format!("prefill512.{name}: share of peak, by vectors"), of_peak, bars.prefill);
    let depth = ratio(ROUNDS, || table.ours(&loaded, 0, 1536), || table.ours(&loaded, 0, 0))?;
    table.at_least(&format!("depth1536.{name}: decode over depth 0"), depth, bars.depth);
    let with_kv = |format| {
        let case = Case { rounds: 1, kv_format: Some(format), ..Case::one(1536, 32) };
        Ok(1.0 / run(&loaded, table.isa, &table.pool, &case)?.decode)
    };
    let int8_kv = ratio(ROUNDS, || with_kv(KvFormat::Int8), || with_kv(KvFormat::Bf16))?;
    table.at_least(&format!("depth1536.{name}.kv-int8: decode over bf16 KV"), int8_kv, 1.0);
    if bars.format == WeightFormat::Bf16 {
        let mut ratios = Vec::new();
        for _ in 0..ROUNDS {
            let chunks = run(&loaded, table.isa, &table.pool, &Case { rounds: 1, ..Case::one(2046, 1) })?;
            let rate = |chunk: usize| chunks.prefill[chunk].0 as f64 / chunks.prefill[chunk].1;
            ratios.push(rate(3) / rate(0));
        }
        table.at_least("prefill512.depth1536: over depth 0", median(ratios), 0.8);
        let eight = ratio(ROUNDS, || table.batch(&loaded, 8), || table.batch(&loaded, 1))?;
        table.at_least("batch8.bf16: over one sequence", eight, 6.5);
        let (dispatch, _) = dispatch_share(&loaded, table.isa, &table.pool, None)?;
        table.row("dispatch: share of decode in no kernel", dispatch, Bar::AtMost(0.02));
    }
    let case = format!("prefill512.{name}: against llama.cpp {}", bars.peer);
    if let (Some(program), Some(gguf)) = (&args.llama.llama_bench, gguf) {
        let theirs = || llama_bench(program, gguf, workers, (512, 0, 0));
        let times = ratio(ROUNDS, || table.ours(&loaded, 512, 0), theirs)?;
        table.at_least(&case, times, bars.prefill_peer);
    } else {
        table.report.left_out(&case, NOT_GIVEN);
    }
    let case = format!("batch16.{name}: against llama.cpp {}", bars.peer);
    if let (Some(program), Some(gguf)) = (&args.llama.llama_batched_bench, gguf) {
        let theirs = || llama_batched(program, gguf, workers, 16);
        let times = ratio(ROUNDS, || table.batch(&loaded, 16), theirs)?;
        table.at_least(&case, times, bars.batch16_peer);
    } else {
        table.report.left_out(&case, NOT_GIVEN);
    }
    of_avx2(table, &loaded, args.llama_bench_avx2.as_deref().zip(gguf), bars.peer)?;
    if bars.format == WeightFormat::Bf16 {
        let coded = table.load(path, WeightChoice { compress: Compress::On, ..choice })?;
        compressed(table, &coded, &loaded)?;
        if table.isa.bf16_12_sequences() > 0 {
            loaded = coded;
        }
    }
    let case = format!("decode.{name}: against llama.cpp {}", bars.peer);
    if let (Some(program), Some(gguf)) = (&args.llama.llama_bench, gguf) {
        let theirs = || llama_bench(program, gguf, workers, (0, 32, 0));
        let times = ratio(ROUNDS, || table.ours(&loaded, 0, 0), theirs)?;
        table.at_least(&case, times, bars.decode_peer);
    } else {
        table.report.left_out(&case, NOT_GIVEN);
    }
    Ok(())
}

/// bf16 in 12 bits against plain bf16.
fn compressed(table: &mut Table, coded: &LoadedModel, plain: &LoadedModel) -> Result<(), String> {
    let rounds = 2 * ROUNDS - 1;
    let decode = ratio(rounds, || table.ours(coded, 0, 0), || table.ours(plain, 0, 0))?;
    table.compressed("decode.bf16.compressed: against decode.bf16", decode, 1, 1.2);
    for (sequences, bar) in [(4, 1.0), (8, 0.97), (16, 0.97)] {
        let batch = ratio(ROUNDS, || table.batch(coded, sequences), || table.batch(plain, sequences))?;
        let case = format!("batch{sequences}.bf16.compressed: against batch{sequences}.bf16");
        table.compressed(&case, batch, sequences, bar);
    }
    let prefill = ratio(ROUNDS, || table.ours(coded, 512, 0), || table.ours(plain, 512, 0))?;
    table.compressed("prefill512.bf16.compressed: against prefill512.bf16", prefill, 1, 0.97);
    Ok(())
}

/// The AVX2 path against a llama.cpp without AVX-512: at most 1.3 times its time.
fn of_avx2(
    table: &mut Table,
    loaded: &LoadedModel,
    given: Option<(&Path, &Path)>,
    peer: &str,
) -> Result<(), String> {
    let format = loaded.model().config().weight_format.name();
    for (what, prompt, generate) in [("prefill512", 512, 0), ("decode", 0, 32)] {
        let case = format!("avx2.{what}.{format}: against llama.cpp {peer}, AVX2");
        let (Some(avx2), Some((program, gguf))) = (Isa::from_name("avx2"), given) else {
            table.report.left_out(&case, NOT_GIVEN);
            continue;
        };
        let theirs = || llama_bench(program, gguf, table.workers, (prompt, generate, 0));
        let times = ratio(ROUNDS, || ours(loaded, avx2, &table.pool, (prompt, 0)), theirs)?;
        table.at_least(&case, times, 1.0 / 1.3);
    }
    Ok(())
}

/// The bars of single products.
fn products(table: &mut Table) -> Result<(), String> {
    let (k, n) = (2048, 5632);
    for (format, bar) in [(WeightFormat::F32, 0.95), (WeightFormat::Bf16, 0.95)] {
        let weights = Weights::new(format, k, n)?;
        let seconds = || Ok(packed(&table.pool, table.isa, &weights, 1, Split::Auto));
        let share = table.share_of_bandwidth(weights.bytes as f64, seconds)?;
        table.at_least(&format!("gemm1.{}: share of read bandwidth", format.name()), share, bar);
    }
    for (format, bar) in [(WeightFormat::Bf16, 0.9), (WeightFormat::Int8, 0.72), (WeightFormat::F32, 0.85)] {
        let weights = Weights::new(format, k, n)?;
        let share = table.share_of_peak(
            |limits| multiplied_at(limits, &weights, 128),
            || Ok(packed(&table.pool, table.isa, &weights, 128, Split::Auto)),
        )?;
        table.at_least(&format!("gemm128.{}: share of peak, by vectors", format.name()), share, bar);
        #[cfg(feature = "openblas")]
        if format == WeightFormat::F32 {
            let act = vec![0.5_f32; 128 * k];
            let weight = vec![0.25_f32; n * k];
            let mut out = vec![0.0_f32; 128 * n];
            let mut theirs = || best(|_| super::openblas::multiply(&act, &weight, &mut out, (128, k, n)));
            let ours = || packed(&table.pool, table.isa, &weights, 128, Split::Auto);
            let times = ratio(ROUNDS, || Ok(1.0 / ours()), || Ok(1.0 / theirs()))?;
            table.at_least("gemm128.f32: against OpenBLAS", times, if is_zen4() { 1.3 } else { 1.7 });
        }
        #[cfg(not(feature = "openblas"))]
        if format == WeightFormat::F32 {
            table.report.left_out("gemm128.f32: against OpenBLAS", "built without the feature openblas");
        }
    }
    Ok(())
}

/// The portable path on one worker: against the scalar reference where the target has a fused
/// multiply-add, against `libm`'s where it has not.
fn portable(table: &mut Table) -> Result<(), String> {
    let (k, n) = (2048, 256);
    let weights = Weights::new(WeightFormat::F32, k, n)?;
    let act: Vec<f32> = (0..k).map(|i| (i % 17) as f32 * 0.1 - 0.8).collect();
    let scalar = |each: &dyn Fn(usize) -> f32| {
        let start = Instant::now();
        for column in 0..n {
            black_box(each(column));
        }
        n as f64 / start.elapsed().as_secs_f64()
    };
    let ours = || Ok(n as f64 / packed(&Serial, Isa::PORTABLE, &weights, 1, Split::Auto));
    if cfg!(target_feature = "fma") {
        let weight = weights.linear(0);
        let rows = Activations::F32(Rows::new(&act, k, act.len()));
        let times = ratio(ROUNDS, ours, || Ok(scalar(&|column| weight.reference(rows, 0, column))))?;
        table.at_least("portable.gemm1.f32: against the scalar reference", times, 3.0);
    } else {
        let row = black_box(vec![0.3_f32; k]);
        let dot = |_: usize| act.iter().zip(&row).fold(0.0, |sum, (a, w)| libm::fmaf(*a, *w, sum));
        let times = ratio(ROUNDS, ours, || Ok(scalar(&dot)))?;
        table.at_least("portable.gemm1.f32: against a loop of libm's fmaf", times, 2.0);
    }
    Ok(())
}
