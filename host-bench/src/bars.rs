//! The bars that this engine holds itself to, measured: case, value, bar, holds or not.
//!
//! Shares are of limits measured in the same run, before and after, the better of the two; ratios to peers alternate. What needs a
//! program or file that was not given is left out and said.
#[cfg(feature = "openblas")]
use super::gemm::best;
use super::gemm::{Split, Weights, bound, packed};
use super::limits::{Limits, measure};
use super::model::{ModelChoice, batch, dispatch_share, load, peak};
use super::peer::{LlamaPrograms, alternate, llama_batched, llama_bench, ours};
use super::report::{Line, Report};
use super::speed::{Case, bytes_read, operations, run};
use std::path::PathBuf;
use verbatim::cpu::worker_count;
use verbatim::load::{Compress, WeightChoice};
use verbatim::pool::FutexPool;
use verbatim_core::dtype::WeightFormat;
use verbatim_core::isa::Isa;

/// The peers' programs and files.
#[derive(Debug, clap::Args)]
pub(crate) struct BarsArgs {
    #[command(flatten)]
    llama: LlamaPrograms,
    /// The model for llama.cpp in BF16.
    #[arg(long)]
    gguf_bf16: Option<PathBuf>,
    /// In Q8_0.
    #[arg(long = "gguf-q8_0")]
    gguf_q8_0: Option<PathBuf>,
    /// In Q4_0.
    #[arg(long = "gguf-q4_0")]
    gguf_q4_0: Option<PathBuf>,
    /// Weight formats to look at: bf16, int8, int4 [default: all].
    #[arg(long, value_delimiter = ',')]
    formats: Vec<String>,
}

/// What a format must reach.
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

/// Whether this is a Zen 4, whose 512-bit operations take two cycles: some bars differ.
fn is_zen4() -> bool {
    let text = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let field = |name: &str| {
        let line = text.lines().find(|line| line.starts_with(name))?;
        line.rsplit(' ').next()?.parse::<u32>().ok()
    };
    text.contains("AuthenticAMD") && field("cpu family") == Some(25)
}

struct Table {
    report: Report,
    failed: usize,
}

impl Table {
    /// A figure that must be at least the bar, or at most.
    fn row(&mut self, case: &str, value: f64, bar: f64, at_most: bool) {
        let holds = if at_most { value <= bar } else { value >= bar };
        self.failed += usize::from(!holds);
        let sign = if at_most { "<=" } else { ">=" };
        let verdict = if holds { "holds" } else { "FALLS SHORT" };
        self.report.line(&Line::new(case, value, "").note(format!("{sign} {bar:.2}  {verdict}")));
    }
}

/// Prints the table; an error if a bar does not hold.
pub(crate) fn report(
    model: &ModelChoice,
    args: &BarsArgs,
    threads: Option<usize>,
    json: bool,
) -> Result<(), String> {
    let path = model.resolve()?;
    let isa = Isa::detect();
    let workers = worker_count(threads).workers;
    let pool = FutexPool::new(workers).map_err(|error| error.to_string())?;
    let mut table = Table { report: Report::new("bars", json, workers), failed: 0 };
    let (zen4, int8, int4) = (is_zen4(), WeightFormat::Int8, WeightFormat::Int4);
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
        format: int8,
        peer: "Q8_0",
        decode: 0.92,
        prefill: 0.65,
        prefill_peer: 3.5,
        batch16_peer: 4.0,
        depth: 0.88,
        ..bf16
    };
    let int4 = Bars {
        format: int4,
        peer: "Q4_0",
        decode: 0.88,
        prefill_peer: 2.2,
        batch16_peer: 1.8,
        depth: 0.8,
        ..int8
    };
    let mut limits = measure(&pool, &mut |_, _| {})?;
    for (bars, gguf) in [(bf16, &args.gguf_bf16), (int8, &args.gguf_q8_0), (int4, &args.gguf_q4_0)] {
        let name = bars.format.name();
        if !args.formats.is_empty() && !args.formats.iter().any(|asked| asked == name) {
            continue;
        }
        let choice = WeightChoice { compress: Compress::Off, ..WeightChoice::all(bars.format) };
        let mut loaded = load(&path, choice, model.access(), &pool)?;
        let config = *loaded.model().config();
        let shallow = run(&loaded, isa, &pool, &Case::one(16, 48))?;
        let short = run(&loaded, isa, &pool, &Case::one(512, 1))?;
        let deep = run(&loaded, isa, &pool, &Case { rounds: 2, ..Case::one(1536, 32) })?;
        limits = limits.best_of(&measure(&pool, &mut |_, _| {})?);
        let first = short.prompt_s();
        let achieved = bytes_read(&config) / shallow.decode;
        table.row(
            &format!("decode.{name}: share of read bandwidth"),
            achieved / limits.read,
            bars.decode,
            false,
        );
        let done = operations(&config, 512) / first;
        let of_peak = done / peak(&limits, &config);
        table.row(&format!("prefill512.{name}: share of peak"), of_peak, bars.prefill, false);
        table.row(
            &format!("depth1536.{name}: decode over depth 0"),
            shallow.decode / deep.decode,
            bars.depth,
            false,
        );
        if bars.format == WeightFormat::Bf16 {
            let case = Case { rounds: 2, ..Case::one(2046, 1) };
            let chunks = run(&loaded, isa, &pool, &case)?;
            let (last, first) = (chunks.prefill[3], chunks.prefill[0]);
            let ratio = (last.0 as f64 / last.1) / (first.0 as f64 / first.1);
            table.row("prefill512.depth1536: over depth 0", ratio, 0.8, false);
            let (one, eight) = (batch(&loaded, isa, &pool, 1, 32)?, batch(&loaded, isa, &pool, 8, 32)?);
            table.row("batch8.bf16: over one sequence", eight / one, 6.5, false);
            let (dispatch, _) = dispatch_share(&loaded, isa, &pool)?;
            table.row("dispatch: share of decode in no kernel", dispatch, 0.02, true);
        }
        if let (Some(program), Some(gguf)) = (&args.llama.llama_bench, gguf) {
            let (a, b) = alternate(
                2,
                || ours(&loaded, &pool, (512, 0)),
                || llama_bench(program, gguf, workers, (512, 0, 0)),
            )?;
            let case = format!("prefill512.{name}: against llama.cpp {}", bars.peer);
            table.row(&case, a / b, bars.prefill_peer, false);
        }
        if let (Some(program), Some(gguf)) = (&args.llama.llama_batched_bench, gguf) {
            let (a, b) = alternate(
                2,
                || batch(&loaded, isa, &pool, 16, 32),
                || llama_batched(program, gguf, workers, 16),
            )?;
            let case = format!("batch16.{name}: against llama.cpp {}", bars.peer);
            table.row(&case, a / b, bars.batch16_peer, false);
        }
        if bars.format == WeightFormat::Bf16 {
            // Plain and in 12 bits, one after the other: both fit memory.
            let coded =
                load(&path, WeightChoice { compress: Compress::On, ..choice }, model.access(), &pool)?;
            let (a, b) = alternate(3, || ours(&coded, &pool, (0, 0)), || ours(&loaded, &pool, (0, 0)))?;
            table.row("decode.bf16.compressed: against decode.bf16", a / b, 1.2, false);
            for sequences in [8, 16] {
                let (a, b) = alternate(
                    2,
                    || batch(&coded, isa, &pool, sequences, 24),
                    || batch(&loaded, isa, &pool, sequences, 24),
                )?;
                let case = format!("batch{sequences}.bf16.compressed: against batch{sequences}.bf16");
                table.row(&case, a / b, 0.97, false);
            }
            let (a, b) = alternate(2, || ours(&coded, &pool, (512, 0)), || ours(&loaded, &pool, (512, 0)))?;
            table.row("prefill512.bf16.compressed: against prefill512.bf16", a / b, 0.97, false);
            loaded = coded;
        }
        if let (Some(program), Some(gguf)) = (&args.llama.llama_bench, gguf) {
            let (a, b) = alternate(
                3,
                || ours(&loaded, &pool, (0, 0)),
                || llama_bench(program, gguf, workers, (0, 32, 0)),
            )?;
            let case = format!("decode.{name}: against llama.cpp {}", bars.peer);
            table.row(&case, a / b, bars.decode_peer, false);
        }
    }
    products(&mut table, &pool, isa, &mut limits)?;
    if args.llama.llama_bench.is_none() {
        table.report.section("left out: peers, whose programs and files were not given (--help)");
    }
    let failed = table.failed;
    if failed == 0 { Ok(()) } else { Err(format!("{failed} bars do not hold on this machine in this run")) }
}

/// The bars of single products.
fn products(table: &mut Table, pool: &FutexPool, isa: Isa, limits: &mut Limits) -> Result<(), String> {
    let (k, n) = (2048, 5632);
    let cases = [
        (128, WeightFormat::Bf16, 0.9),
        (128, WeightFormat::Int8, 0.72),
        (128, WeightFormat::F32, 0.85),
        (1, WeightFormat::F32, 0.95),
        (1, WeightFormat::Bf16, 0.95),
    ];
    for (m, format, bar) in cases {
        let weights = Weights::new(format, k, n)?;
        let seconds = packed(pool, isa, &weights, m, Split::Auto);
        *limits = limits.best_of(&measure(pool, &mut |_, _| {})?);
        let seconds = seconds.min(packed(pool, isa, &weights, m, Split::Auto));
        let of = if m == 1 { "read bandwidth" } else { "peak" };
        let case = format!("gemm{m}.{}: share of {of}", format.name());
        table.row(&case, bound(limits, &weights, m) / seconds, bar, false);
        #[cfg(feature = "openblas")]
        if m == 128 && format == WeightFormat::F32 {
            let act = vec![0.5_f32; m * k];
            let weight = vec![0.25_f32; n * k];
            let mut out = vec![0.0_f32; m * n];
            let theirs = best(|_| super::openblas::multiply(&act, &weight, &mut out, (m, k, n)));
            let bar = if is_zen4() { 1.3 } else { 1.7 };
            table.row("gemm128.f32: against OpenBLAS", theirs / seconds, bar, false);
        }
    }
    Ok(())
}
