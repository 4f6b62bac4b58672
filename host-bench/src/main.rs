//! `verbatim-bench`: one subcommand for each question.
//!
//! * [`limits`]: what is the most that this machine can do?
//! * [`make_model`]: a checkpoint of a real shape with random weights.
//! * [`model`]: how close does a model come to the limits, in the same run?
//! * [`quality`]: how far does a weight format take a model from f32?
mod limits;
mod make_model;
mod model;
mod quality;

use clap::{Parser, Subcommand};
use std::path::PathBuf;
use std::process::ExitCode;

/// Measures Verbatim beside the machine's limits. Quote ratios, never absolute figures: machines differ.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Read bandwidth by several access patterns, and peaks of f32 FMA, bf16 dot and int8 dot.
    Limits {
        /// Workers [default: as for serving].
        #[arg(long)]
        threads: Option<usize>,
    },
    /// Write a checkpoint with random Gaussian bf16 weights (σ 0.02, seeded).
    MakeModel {
        /// Its shape: tinyllama, smollm2, llama3.2-1b.
        #[arg(long, default_value = "tinyllama")]
        shape: String,
        /// The seed.
        #[arg(long, default_value_t = 1)]
        seed: u64,
        /// Where to.
        directory: PathBuf,
    },
    /// Load time, peak memory, prefill, time to first token and decode of a model, each beside its limit.
    Model {
        /// A checkpoint's directory or an image.
        path: Option<PathBuf>,
        /// A shape to make in the system's temporary folder, in place of a path.
        #[arg(long)]
        shape: Option<String>,
        /// Weight format: f32, bf16, int8 or int4 [default: the source's own].
        #[arg(long)]
        weights: Option<String>,
        /// bf16 in 12 bits a weight: auto, on or off.
        #[arg(long)]
        compress: Option<String>,
        /// Workers at most [default: as for serving].
        #[arg(long)]
        threads: Option<usize>,
        /// Tokens to decode in each measurement.
        #[arg(long, default_value_t = 32)]
        tokens: usize,
    },
    /// Perplexity on a text, and the mean KL divergence of the next token's distribution from f32's, for each weight format.
    Quality {
        /// A checkpoint's directory [default: the built-in model].
        path: Option<PathBuf>,
        /// The text; its beginning is used.
        #[arg(long)]
        text: PathBuf,
        /// Tokens of it that are scored.
        #[arg(long, default_value_t = 1024)]
        tokens: usize,
        /// Tokens of a window; each window begins anew.
        #[arg(long, default_value_t = 256)]
        window: usize,
    },
}

fn main() -> ExitCode {
    let result = match Arguments::parse().command {
        Command::Limits { threads } => limits::report(threads),
        Command::MakeModel { shape, seed, directory } => make_model::make(&shape, seed, &directory),
        Command::Model { path, shape, weights, compress, threads, tokens } => {
            model::report(path, shape, (weights.as_deref(), compress.as_deref()), threads, tokens)
        }
        Command::Quality { path, text, tokens, window } => quality::report(path, &text, tokens, window),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}
