//! Flags of the memory that an engine takes: its context, its cache of keys and values, and how
//! many sequences it has.
use super::super::values::whole;
use super::Group;
use crate::runtime::Options;
use clap::Args;
use verbatim_core::dtype::KvFormat;

/// The context, and how much of it the cache holds.
#[derive(Clone, Copy, Debug, Args)]
#[command(next_help_heading = "Memory")]
pub(in crate::cli) struct MemoryArgs {
    /// Length of the context in tokens, prompt and output together [default: the model's].
    #[arg(long, env = "VERBATIM_MAX_MODEL_LEN", value_name = "N", value_parser = whole::<usize>)]
    max_model_len: Option<usize>,
    /// Capacity of the KV cache in tokens [default: max-seqs x max-model-len, if that fits in 0.8
    /// of free memory].
    #[arg(long, env = "VERBATIM_KV_TOKENS", value_name = "N", value_parser = whole::<usize>)]
    kv_tokens: Option<usize>,
}

impl Group for MemoryArgs {
    fn put(&self, options: &mut Options) -> Result<(), String> {
        options.max_model_len = self.max_model_len;
        options.kv_tokens = self.kv_tokens;
        Ok(())
    }
}

/// The format of the cache.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Memory")]
pub(in crate::cli) struct KvArgs {
    /// Format of the KV cache: f32, bf16 or int8 [default: f32 with f32 weights, else bf16].
    #[arg(long, env = "VERBATIM_KV", value_name = "FORMAT")]
    kv: Option<String>,
}

impl Group for KvArgs {
    fn put(&self, options: &mut Options) -> Result<(), String> {
        options.kv_format = self.kv.as_deref().map(kv_format).transpose()?;
        Ok(())
    }
}

fn kv_format(name: &str) -> Result<KvFormat, String> {
    KvFormat::from_name(name).ok_or_else(|| format!("--kv {name}: expected f32, bf16 or int8"))
}

/// How many sequences run at once.
#[derive(Clone, Copy, Debug, Args)]
#[command(next_help_heading = "Memory")]
pub(in crate::cli) struct SequenceArgs {
    /// Sequences that run at once.
    #[arg(long, env = "VERBATIM_MAX_SEQS", value_name = "N", default_value_t = 8, value_parser = whole::<usize>)]
    max_seqs: usize,
}

impl Group for SequenceArgs {
    fn put(&self, options: &mut Options) -> Result<(), String> {
        options.max_seqs = self.max_seqs;
        Ok(())
    }
}

/// How many sequences wait.
#[derive(Clone, Copy, Debug, Args)]
#[command(next_help_heading = "Memory")]
pub(in crate::cli) struct QueueArgs {
    /// Sequences that may wait to run; a request beyond them is refused with status 429.
    #[arg(long, env = "VERBATIM_MAX_QUEUE", value_name = "N", default_value_t = 64, value_parser = whole::<usize>)]
    max_queue: usize,
}

impl Group for QueueArgs {
    fn put(&self, options: &mut Options) -> Result<(), String> {
        options.max_queue = self.max_queue;
        Ok(())
    }
}

/// One sequence that runs, and one that waits: all that a person at a terminal needs.
#[derive(Clone, Copy, Debug)]
pub(in crate::cli) struct OneSequence;

impl Group for OneSequence {
    fn put(&self, options: &mut Options) -> Result<(), String> {
        (options.max_seqs, options.max_queue) = (1, 1);
        Ok(())
    }
}
