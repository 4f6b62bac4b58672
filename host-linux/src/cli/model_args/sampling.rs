//! Flags of how tokens are drawn.
use super::super::values::{at_least_one, min_p, temperature, top_p, whole};
use clap::Args;

#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Sampling")]
pub(in crate::cli) struct SamplingArgs {
    /// Tokens to generate, at most [default: the rest of the context].
    #[arg(long, env = "VERBATIM_MAX_TOKENS", value_name = "N", value_parser = at_least_one)]
    pub(in crate::cli) max_tokens: Option<usize>,
    /// Temperature, from 0 to 100; 0 takes the likeliest token [default: the model's, else 1].
    #[arg(long, env = "VERBATIM_TEMPERATURE", value_name = "T", value_parser = temperature)]
    pub(in crate::cli) temperature: Option<f32>,
    /// Draw only from the K likeliest tokens; 0 is off [default: the model's].
    #[arg(long, env = "VERBATIM_TOP_K", value_name = "K", value_parser = whole::<u32>)]
    pub(in crate::cli) top_k: Option<u32>,
    /// Draw only from the likeliest tokens whose probabilities add up to P, above 0 and at most 1
    /// [default: the model's].
    #[arg(long, env = "VERBATIM_TOP_P", value_name = "P", value_parser = top_p)]
    pub(in crate::cli) top_p: Option<f32>,
    /// Draw only from tokens at least P times as likely as the likeliest, from 0 to 1.
    #[arg(long, env = "VERBATIM_MIN_P", value_name = "P", default_value_t = 0.0, value_parser = min_p)]
    pub(in crate::cli) min_p: f32,
    /// Seed of the draws; the same seed gives the same text [default: drawn, and printed].
    #[arg(long, env = "VERBATIM_SEED", value_name = "N", value_parser = whole::<u64>)]
    pub(in crate::cli) seed: Option<u64>,
    /// A string that ends the output; may be given several times.
    #[arg(long, env = "VERBATIM_STOP", value_name = "TEXT")]
    pub(in crate::cli) stop: Vec<String>,
}
