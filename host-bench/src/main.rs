//! `verbatim-bench`: one subcommand for each question.
//!
//! * [`limits`]: what is the most that this machine can do?
//! * [`gemm`]: how close do matrix products come to it, format by format?
//! * [`pool`]: what does handing work to all workers cost, and what do busy [`neighbours`]?
//! * [`model`]: how close does a whole model come to the limits, in the same run?
//! * [`load`]: how long does loading take?
//! * [`http`]: what does HTTP cost beside the computing?
//! * [`quality`]: how far does a weight or KV format take a model from f32?
//! * [`peer`]: how do others do on the same machine?
//! * [`bars`]: does every claim about speed hold?
//! * [`contract`]: what does it cost that answers are the same, and what does it make possible?
//! * [`serve`]: how does a server answer many clients, and are its answers the same as alone?
//! * [`serve::simulated`]: does a server answer as its simulation foretells?
//! * [`hostile`]: what do attacks do to the server and its good clients?
//! * [`make_model`]: a checkpoint of a real shape with random weights.
mod bars;
mod contract;
mod gemm;
mod hostile;
mod http;
mod limits;
mod load;
mod make_model;
mod model;
mod neighbours;
#[cfg(feature = "openblas")]
mod openblas;
mod peer;
mod pool;
mod quality;
mod report;
mod serve;
mod speed;

use clap::{Args, Parser, Subcommand};
use model::ModelChoice;
use std::path::PathBuf;
use std::process::ExitCode;
use verbatim::load::{Compress, WeightChoice};
use verbatim_core::dtype::KvFormat;

/// Measures Verbatim beside the machine's limits and its peers.
///
/// Quote ratios, never absolute figures: machines differ.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
    /// Print one JSON object a line: bench, case, value, unit, limit, share, peer, ratio.
    #[arg(long, global = true)]
    json: bool,
}

/// The flags that choose a weight format.
#[derive(Debug, Args)]
struct Weights {
    /// Weight format: f32, bf16, int8, int6, int5 or int4 [default: the source's own].
    #[arg(long)]
    weights: Option<String>,
    /// Weight format of the output head: one of these, or same.
    #[arg(long)]
    head: Option<String>,
    /// 12-bit bf16: auto (only where it is faster for any number of sequences), on or off.
    #[arg(long)]
    compress: Option<String>,
}

impl Weights {
    fn choice(&self) -> Result<WeightChoice, String> {
        Ok(WeightChoice {
            compress: match self.compress.as_deref() {
                None | Some("auto") => Compress::Auto,
                Some("on") => Compress::On,
                Some("off") => Compress::Off,
                Some(other) => return Err(format!("--compress {other}: expected auto, on or off")),
            },
            ..WeightChoice::named(self.weights.as_deref(), self.head.as_deref())
                .map_err(|error| format!("--{error}"))?
        })
    }
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Read bandwidth by several access patterns, and peaks of f32 FMA, bf16 dot and int8 dot.
    Limits {
        /// Worker threads [default: as for serving].
        #[arg(long)]
        threads: Option<usize>,
    },
    /// Matrix products at the shapes of language models, format by format, beside the limits.
    Gemm(gemm::GemmArgs),
    /// Latency of handing work to all workers: the futex pool, channels, rayon, new threads. Then
    /// decode on one thread and on all, in turns, beside spinning neighbours.
    Pool(pool::PoolArgs),
    /// Load time, peak memory, prefill, decode at depth and in batches, and a step by phase, each
    /// beside its limit.
    Model {
        #[command(flatten)]
        model: ModelChoice,
        #[command(flatten)]
        weights: Weights,
        /// Worker threads, at most [default: as for serving].
        #[arg(long)]
        threads: Option<usize>,
        /// Instruction set: auto, avx512, avx512-amx, avx512-bf16, avx512-fma, avx2, neon or
        /// portable.
        #[arg(long, default_value = "auto")]
        isa: String,
        /// KV format: f32, bf16 or int8 [default: as for serving].
        #[arg(long)]
        kv: Option<String>,
        /// Tokens to decode in each measurement.
        #[arg(long, default_value_t = 32)]
        tokens: usize,
        /// Only compare decode on one thread and on all, in turns, beside these numbers of spinning
        /// neighbours, such as 0,2,4.
        #[arg(long, value_delimiter = ',')]
        neighbours: Vec<usize>,
    },
    /// Time to pack a checkpoint from a cold and a warm page cache, beside a plain copy; time to
    /// open its image mapped, copied and verified; decode from either.
    Load {
        #[command(flatten)]
        model: ModelChoice,
        #[command(flatten)]
        weights: Weights,
        /// Worker threads [default: as for serving].
        #[arg(long)]
        threads: Option<usize>,
    },
    /// Requests a second on one kept connection beside tiny_http's own server, and the CPU time of
    /// a streamed token.
    Http,
    /// Perplexity on a text, and the mean KL divergence of the next token's distribution from
    /// f32's, for each weight and KV format, or beside llama.cpp's.
    Quality(quality::QualityArgs),
    /// Speed of llama.cpp and torch on the same machine, in turns with ours.
    Peer {
        #[command(flatten)]
        model: ModelChoice,
        #[command(flatten)]
        weights: Weights,
        #[command(flatten)]
        peers: peer::PeerArgs,
        /// Worker threads of both [default: as for serving].
        #[arg(long)]
        threads: Option<usize>,
    },
    /// Every claim about speed: case, value, bar, and whether it holds. Takes minutes.
    Bars {
        #[command(flatten)]
        model: ModelChoice,
        #[command(flatten)]
        peers: bars::BarsArgs,
        /// Worker threads [default: as for serving].
        #[arg(long)]
        threads: Option<usize>,
    },
    /// Mixed traffic, shared prefixes, speculation, and a stream beside a long prompt, each with
    /// its bar. Takes minutes.
    Contract {
        #[command(flatten)]
        model: ModelChoice,
        #[command(flatten)]
        contract: contract::ContractArgs,
        /// Worker threads [default: as for serving].
        #[arg(long)]
        threads: Option<usize>,
    },
    /// A load on any server of the OpenAI API: times to first tokens, gaps, tokens a second,
    /// errors, and the share of answers that equal the same request's alone. Or a soak.
    Serve(Box<serve::ServeArgs>),
    /// A server beside its simulation by `verbatim-sim --cluster`: both have the same conversations
    /// at the same times. Takes as long as those last.
    Simulated(serve::simulated::SimulatedArgs),
    /// Every attack on a server that is started for it, with 1,024 descriptors, while good clients
    /// stream: what died, what was lost, how long others waited, each with its bar. Takes minutes.
    Hostile(hostile::HostileArgs),
    /// Write a checkpoint with random Gaussian bf16 weights (σ 0.02, seeded).
    MakeModel {
        /// The model's shape: tinyllama, smollm2, llama3.2-1b or small.
        #[arg(long, default_value = "tinyllama")]
        shape: String,
        /// The seed of the weights.
        #[arg(long, default_value_t = 1)]
        seed: u64,
        /// The directory to write.
        directory: PathBuf,
    },
}

fn run(arguments: &Arguments) -> Result<(), String> {
    let json = arguments.json;
    match &arguments.command {
        Command::Limits { threads } => limits::report(*threads, json),
        Command::Gemm(args) => gemm::report(args, json),
        Command::Pool(args) => pool::report(args, json),
        Command::Model { model, weights, threads, isa, kv, tokens, neighbours } => {
            let kv_format = match kv.as_deref() {
                None => None,
                Some(name) => Some(
                    KvFormat::from_name(name)
                        .ok_or_else(|| format!("--kv {name}: expected f32, bf16 or int8"))?,
                ),
            };
            model::report(model, (weights.choice()?, kv_format), (*threads, isa), *tokens, neighbours, json)
        }
        Command::Http => http::report(json),
        Command::Load { model, weights, threads } => load::report(model, weights.choice()?, *threads, json),
        Command::Quality(args) => quality::report(args, json),
        Command::Peer { model, weights, peers, threads } => {
            peer::report(model, weights.choice()?, peers, *threads, json)
        }
        Command::Bars { model, peers, threads } => bars::report(model, peers, *threads, json),
        Command::Contract { model, contract, threads } => contract::report(model, contract, *threads, json),
        Command::Serve(args) => serve::report(args, json),
        Command::Simulated(args) => serve::simulated::report(args, json),
        Command::Hostile(args) => hostile::report(args, json),
        Command::MakeModel { shape, seed, directory } => make_model::make(shape, *seed, directory),
    }
}

fn main() -> ExitCode {
    verbatim::sys::cpu::allow_matrix_unit();
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}
