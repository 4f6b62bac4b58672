//! Flags: each is also an environment variable, `VERBATIM_` and its name.
use crate::load::ImageAccess;
use crate::runtime::Options;
use clap::builder::BoolishValueParser;
use clap::{Args, Parser, Subcommand};
use std::path::{Path, PathBuf};

/// Serves Llama-family models on CPUs. The answer to a request is the same, bit for bit, whatever
/// else is served.
#[derive(Debug, Parser)]
#[command(
    name = "verbatim",
    version,
    args_conflicts_with_subcommands = true,
    after_help = "\
Examples:
  verbatim                                                 serve the built-in demonstration model
  verbatim --model ./TinyLlama-1.1B-Chat-v1.0              serve a model over HTTP
  verbatim generate --model ./stories260K 'Once upon a time'
  verbatim chat --model HuggingFaceTB/SmolLM2-135M-Instruct
  verbatim inspect --model ./TinyLlama-1.1B-Chat-v1.0      plan, memory, fingerprint
  verbatim pack ./TinyLlama-1.1B-Chat-v1.0 -o tiny.vb      one file that is served at once
  verbatim selftest                                        do the bits hold on this CPU?"
)]
pub(super) struct Arguments {
    #[command(subcommand)]
    pub(super) command: Option<Command>,
    #[command(flatten)]
    pub(super) serve: ServeArgs,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Serve the OpenAI API over HTTP (the default).
    Serve(ServeArgs),
    /// Continue a prompt, raw; text on standard output, speed on standard error.
    Generate(GenerateArgs),
    /// Talk to a model through its chat template.
    Chat(ChatArgs),
    /// Say what a model is, what it will take, and how it will run.
    Inspect(ModelArgs),
    /// Write a model as a packed image: one file that is served at once and carries tokenizer and
    /// template.
    Pack(PackArgs),
    /// Run tiny models through every layer on every path and compare the bits with the stored hash.
    Selftest(SelftestArgs),
}

#[derive(Clone, Debug, Args)]
pub(super) struct ModelArgs {
    /// Directory of a checkpoint, packed image, or ORG/NAME in the local Hugging Face cache
    /// [default: a small built-in demonstration model].
    #[arg(long, env = "VERBATIM_MODEL", value_name = "PATH|ORG/NAME")]
    model: Option<String>,
    /// Weight format: f32, bf16, int8 or int4 [default: the source's own, bf16 for f16].
    #[arg(long, env = "VERBATIM_WEIGHTS", value_name = "FORMAT")]
    weights: Option<String>,
    /// Weight format of the head: one of these, or same [default: same].
    #[arg(long, env = "VERBATIM_HEAD", value_name = "FORMAT")]
    head: Option<String>,
    /// Store bf16 weights in 12 bits each, the same bits of every answer: auto (large models, where
    /// max-seqs sequences decode faster so on this CPU; a packed image stays as it is), on or off
    /// [default: auto].
    #[arg(long, env = "VERBATIM_COMPRESS", value_name = "WHEN")]
    compress: Option<String>,
    /// Of an image: check the weights' hash too, which reads the whole file.
    #[arg(long, env = "VERBATIM_VERIFY", value_parser = BoolishValueParser::new())]
    verify: bool,
    /// Of an image: read it into memory with huge pages, rather than serve from the mapped file.
    #[arg(long, env = "VERBATIM_COPY", value_parser = BoolishValueParser::new())]
    copy: bool,
    /// KV format: f32, bf16 or int8 [default: f32 with f32 weights, else bf16].
    #[arg(long, env = "VERBATIM_KV", value_name = "FORMAT")]
    kv: Option<String>,
    /// Worker threads [default: the least of affinity, cgroup quota and physical cores].
    #[arg(long, env = "VERBATIM_THREADS", value_name = "N")]
    threads: Option<usize>,
    /// Instruction set: auto, avx512, avx512-amx, avx512-bf16, avx512-fma, avx2, neon or portable.
    /// All give the same bits.
    #[arg(long, env = "VERBATIM_ISA", default_value = "auto")]
    isa: String,
    /// Positions of a sequence, prompt and output together [default: the model's].
    #[arg(long, env = "VERBATIM_MAX_MODEL_LEN", value_name = "N")]
    max_model_len: Option<usize>,
    /// Sequences that run at once.
    #[arg(long, env = "VERBATIM_MAX_SEQS", value_name = "N", default_value_t = 8)]
    max_seqs: usize,
    /// Sequences that wait; beyond that requests get 429.
    #[arg(long, env = "VERBATIM_MAX_QUEUE", value_name = "N", default_value_t = 64)]
    max_queue: usize,
    /// KV cache capacity in tokens [default: max-seqs x max-model-len, if that fits in 0.8 of free
    /// memory].
    #[arg(long, env = "VERBATIM_KV_TOKENS", value_name = "N")]
    kv_tokens: Option<usize>,
    /// Rows (tokens) of a step at most.
    #[arg(long, env = "VERBATIM_MAX_ROWS", value_name = "N", default_value_t = 512)]
    max_rows: usize,
    /// Milliseconds that a step should take at most; bounds its rows from measured speed. 0 is no
    /// bound.
    #[arg(long, env = "VERBATIM_STEP_MS", value_name = "N", default_value_t = 200)]
    step_ms: u64,
    /// Guess tokens and verify them together, for the same answers sooner: off; auto (from the text
    /// itself, where it pays); lookup (from the text, always); self (the same model in int4
    /// guesses); or a smaller model with the same vocabulary, as --model [default: auto].
    #[arg(long, env = "VERBATIM_SPECULATE", value_name = "HOW|PATH|ORG/NAME")]
    speculate: Option<String>,
    /// Name under which the model is served [default: the last part of its path].
    #[arg(long, env = "VERBATIM_SERVED_MODEL_NAME", value_name = "NAME")]
    served_model_name: Option<String>,
    /// A Jinja chat template to use in place of the model's.
    #[arg(long, env = "VERBATIM_CHAT_TEMPLATE", value_name = "FILE")]
    chat_template: Option<String>,
}

impl ModelArgs {
    /// The options that these flags say.
    pub(super) fn options(&self) -> Result<Options, String> {
        let chat_template_source = match &self.chat_template {
            None => None,
            Some(file) => {
                let source = std::fs::read_to_string(file)
                    .map_err(|error| format!("--chat-template {file}: {error}"))?;
                Some((file.clone(), source))
            }
        };
        Ok(Options {
            model: self.model.clone(),
            weights: self.weights.clone(),
            head: self.head.clone(),
            compress: self.compress.clone(),
            access: ImageAccess { copy: self.copy, verify: self.verify },
            kv: self.kv.clone(),
            threads: self.threads,
            isa: self.isa.clone(),
            max_model_len: self.max_model_len,
            max_seqs: self.max_seqs,
            max_queue: self.max_queue,
            kv_tokens: self.kv_tokens,
            max_rows: self.max_rows,
            step_ms: self.step_ms,
            speculate: self.speculate.clone(),
            served_model_name: self.served_model_name.clone(),
            chat_template_source,
        })
    }
}

#[derive(Clone, Debug, Args)]
pub(super) struct ServeArgs {
    #[command(flatten)]
    pub(super) model: ModelArgs,
    /// Address to listen on.
    #[arg(long, env = "VERBATIM_HOST", default_value = "127.0.0.1")]
    pub(super) host: String,
    /// Port to listen on.
    #[arg(long, env = "VERBATIM_PORT", default_value_t = 8080)]
    pub(super) port: u16,
}

#[derive(Clone, Debug, Args)]
pub(super) struct SamplingArgs {
    /// Tokens to generate at most [default: the rest of the context].
    #[arg(long, env = "VERBATIM_MAX_TOKENS", value_name = "N")]
    pub(super) max_tokens: Option<usize>,
    /// 0 takes the likeliest token [default: the model's, else 1].
    #[arg(long, env = "VERBATIM_TEMPERATURE", value_name = "T")]
    pub(super) temperature: Option<f32>,
    /// Only the K likeliest tokens; 0 is off [default: the model's].
    #[arg(long, env = "VERBATIM_TOP_K", value_name = "K")]
    pub(super) top_k: Option<u32>,
    /// Only the likeliest tokens whose probabilities reach P [default: the model's].
    #[arg(long, env = "VERBATIM_TOP_P", value_name = "P")]
    pub(super) top_p: Option<f32>,
    /// Only tokens at least P times as likely as the likeliest.
    #[arg(long, env = "VERBATIM_MIN_P", value_name = "P", default_value_t = 0.0)]
    pub(super) min_p: f32,
    /// Seed of the noise; the same seed gives the same text [default: drawn, and told].
    #[arg(long, env = "VERBATIM_SEED", value_name = "N")]
    pub(super) seed: Option<u64>,
    /// A string that ends the output; may be given several times.
    #[arg(long, env = "VERBATIM_STOP", value_name = "TEXT")]
    pub(super) stop: Vec<String>,
}

#[derive(Clone, Debug, Args)]
pub(super) struct GenerateArgs {
    #[command(flatten)]
    pub(super) model: ModelArgs,
    #[command(flatten)]
    pub(super) sampling: SamplingArgs,
    /// The prompt; read from standard input when absent.
    pub(super) prompt: Option<String>,
}

#[derive(Clone, Debug, Args)]
pub(super) struct ChatArgs {
    #[command(flatten)]
    pub(super) model: ModelArgs,
    #[command(flatten)]
    pub(super) sampling: SamplingArgs,
}

#[derive(Clone, Debug, Args)]
pub(super) struct PackArgs {
    /// What to pack: as --model.
    #[arg(value_name = "MODEL")]
    source: Option<String>,
    /// The file to write; one that is there is replaced once the new one is complete.
    #[arg(short, long, env = "VERBATIM_OUTPUT", value_name = "FILE")]
    output: Option<PathBuf>,
    #[command(flatten)]
    model: ModelArgs,
}

impl PackArgs {
    /// What to load, and the file to write.
    pub(super) fn options(&self) -> Result<(Options, &Path), String> {
        let mut options = self.model.options()?;
        // An environment that names the model to serve is no second model to pack.
        let flag = options.model.filter(|model| std::env::var("VERBATIM_MODEL").as_ref() != Ok(model));
        options.model = match (&self.source, flag) {
            (Some(source), Some(flag)) => {
                return Err(format!(
                    "pack: found two models, {source} and --model {flag}, expected one; -o names the file"
                ));
            }
            (Some(source), None) => Some(source.clone()),
            (None, Some(flag)) => Some(flag),
            (None, None) => self.model.model.clone(),
        };
        if options.model.is_none() {
            return Err("pack: found no model, expected verbatim pack MODEL -o FILE".to_owned());
        }
        let output = self.output.as_deref().filter(|output| !output.as_os_str().is_empty());
        let output = output.ok_or("pack: found no output, expected verbatim pack MODEL -o FILE")?;
        // A hash over spoiled weights would pass them off as whole.
        options.access.verify = true;
        // An image holds one model: none that drafts for it is loaded.
        options.speculate = Some("off".to_owned());
        Ok((options, output))
    }
}

#[derive(Clone, Debug, Args)]
pub(super) struct SelftestArgs {
    /// Worker threads [default: as for serving].
    #[arg(long, env = "VERBATIM_THREADS", value_name = "N")]
    pub(super) threads: Option<usize>,
}
