//! Flags, and the options that they stand for. Each flag is also an environment variable:
//! `VERBATIM_` and its name. The comments on flags are the help texts, and docs/flags.md.
use super::serve_args::batches::BatchDirArgs;
use super::serve_args::connections::ConnectionArgs;
use super::serve_args::guard::GuardArgs;
use super::serve_args::limits::LimitArgs;
use super::serve_args::starter::StarterArgs;
use super::serve_args::supervision::SupervisionArgs;
use super::serve_args::tools::ToolArgs;
use super::serve_args::watch::WatchArgs;
use crate::load::{Compress, ImageAccess, Pooling, WeightChoice};
use crate::runtime::{Drafting, ModelSource, Options, TemplateSource};
use crate::sys::cpu::allow_matrix_unit;
use clap::builder::BoolishValueParser;
use clap::{Args, Parser, Subcommand};
use std::path::{Path, PathBuf};
use verbatim_core::dtype::KvFormat;
use verbatim_core::isa::Isa;

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
  verbatim batch IN.jsonl -o OUT.jsonl --model ./tiny.vb   answer a file of requests
  verbatim selftest                                        check the bits on this CPU
  verbatim health http://127.0.0.1:8080/ready              exit code 0 if a server is well"
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
    Serve(Box<ServeArgs>),
    /// Continue a prompt as it stands, without a chat template. Text goes to standard output, speed
    /// to standard error.
    Generate(GenerateArgs),
    /// Talk to a model through its chat template.
    Chat(ChatArgs),
    /// Print what a model is, the memory that it takes, and how it runs on this CPU.
    Inspect(ModelArgs),
    /// Write a model as a packed image: one file that is served without packing and carries the
    /// tokenizer and the chat template.
    Pack(PackArgs),
    /// Answer a file of requests, one a line, in the format of OpenAI's Batch API. If the output is
    /// there, it goes on where that ends; the result is the same, byte for byte.
    Batch(Box<BatchArgs>),
    /// Run tiny models with every instruction set of this CPU and compare the bits with the stored
    /// hash.
    Selftest(SelftestArgs),
    /// Ask a server whether it is well: exit code 0 if it answers with status 200, else 1.
    Health(HealthArgs),
}

#[derive(Clone, Debug, Args)]
pub(super) struct ModelArgs {
    /// The model: a checkpoint's directory, a GGUF file, a packed image, or ORG/NAME in the local
    /// Hugging Face cache, with :Q4_K_M behind it for one of its GGUF files [default: a small
    /// built-in demonstration model].
    #[arg(long, env = "VERBATIM_MODEL", value_name = "PATH|ORG/NAME")]
    model: Option<String>,
    /// Weight format: f32, bf16, int8, int6, int5 or int4 (the last three keep the values and the
    /// head in int8). Some products may differ: FORMAT:PRODUCT=FORMAT,… of value, output, down and
    /// head, such as int4:down=int8 [default: the source's own, bf16 for f16, int8 for a quantized
    /// GGUF file].
    #[arg(long, env = "VERBATIM_WEIGHTS", value_name = "FORMAT")]
    weights: Option<String>,
    /// Weight format of the output head: one of these or same [default: int8 with int4, int5 and
    /// int6 weights, else same].
    #[arg(long, env = "VERBATIM_HEAD", value_name = "FORMAT")]
    head: Option<String>,
    /// Store bf16 weights in 12 bits each, which changes no answer: on, off, or auto, which does it
    /// for a large checkpoint if it decodes max-seqs sequences faster on this CPU. A packed image
    /// stays as it is [default: auto].
    #[arg(long, env = "VERBATIM_COMPRESS", value_name = "WHEN")]
    compress: Option<String>,
    /// Check the hash of a packed image's weights before serving it, which reads the whole file.
    #[arg(long, env = "VERBATIM_VERIFY", value_parser = BoolishValueParser::new())]
    verify: bool,
    /// Read a packed image into memory with huge pages. Otherwise it is served from the mapped
    /// file.
    #[arg(long, env = "VERBATIM_COPY", value_parser = BoolishValueParser::new())]
    copy: bool,
    /// Format of the KV cache: f32, bf16 or int8 [default: f32 with f32 weights, else bf16].
    #[arg(long, env = "VERBATIM_KV", value_name = "FORMAT")]
    kv: Option<String>,
    /// Worker threads [default: the lowest of CPU affinity, cgroup quota and physical cores].
    #[arg(long, env = "VERBATIM_THREADS", value_name = "N")]
    threads: Option<usize>,
    /// Instruction set: auto, avx512, avx512-amx, avx512-bf16, avx512-fma, avx2, neon or portable.
    /// All give the same bits.
    #[arg(long, env = "VERBATIM_ISA", value_name = "NAME", default_value = "auto")]
    isa: String,
    /// Length of the context in tokens, prompt and output together [default: the model's].
    #[arg(long, env = "VERBATIM_MAX_MODEL_LEN", value_name = "N")]
    max_model_len: Option<usize>,
    /// Sequences that run at once.
    #[arg(long, env = "VERBATIM_MAX_SEQS", value_name = "N", default_value_t = 8)]
    max_seqs: usize,
    /// Sequences that may wait to run; a request beyond them is refused with status 429.
    #[arg(long, env = "VERBATIM_MAX_QUEUE", value_name = "N", default_value_t = 64)]
    max_queue: usize,
    /// Capacity of the KV cache in tokens [default: max-seqs x max-model-len, if that fits in 0.8
    /// of free memory].
    #[arg(long, env = "VERBATIM_KV_TOKENS", value_name = "N")]
    kv_tokens: Option<usize>,
    /// Tokens that a step computes, prompts included, at most.
    #[arg(long, env = "VERBATIM_MAX_ROWS", value_name = "N", default_value_t = 512)]
    max_rows: usize,
    /// Milliseconds that a step should take at most. A long prompt is split over as many steps as
    /// that takes, so that running streams do not wait. 0 is no bound.
    #[arg(long, env = "VERBATIM_STEP_MS", value_name = "N", default_value_t = 200)]
    step_ms: u64,
    /// Draft tokens and verify them together, for the same answers sooner: off (not even those to
    /// which a grammar leaves no alternative); auto (from the text itself, where that pays); lookup
    /// (from the text itself, always); self (by the same model in int4); or a smaller draft model
    /// with the same vocabulary, named as for --model [default: auto].
    #[arg(long, env = "VERBATIM_SPECULATE", value_name = "HOW|PATH|ORG/NAME")]
    speculate: Option<String>,
    /// Name under which the model is served [default: the last part of its path].
    #[arg(long, env = "VERBATIM_SERVED_MODEL_NAME", value_name = "NAME")]
    served_model_name: Option<String>,
    /// Another name under which the model is served, such as the one that a client asks for by
    /// default; may be given several times, or as a list with commas.
    #[arg(long, env = "VERBATIM_ALIAS", value_name = "NAME", value_delimiter = ',')]
    alias: Vec<String>,
    /// File with a Jinja chat template that replaces the model's own.
    #[arg(long, env = "VERBATIM_CHAT_TEMPLATE", value_name = "FILE")]
    chat_template: Option<String>,
    #[command(flatten)]
    tools: ToolArgs,
    /// How embeddings are made of a prompt's hidden states: mean, last (token) or cls (the first)
    /// [default: what the model's files of sentence-transformers say; without them it makes none].
    #[arg(long, env = "VERBATIM_POOLING", value_name = "HOW")]
    pooling: Option<String>,
}

impl ModelArgs {
    /// The options that these flags stand for.
    pub(super) fn options(&self) -> Result<Options, String> {
        let model = self.model.clone().map_or(ModelSource::BuiltIn, ModelSource::Named);
        Ok(Options {
            model,
            weights: WeightChoice::named(self.weights.as_deref(), self.head.as_deref())
                .map_err(|error| format!("--{error}"))?,
            compress: self.compress.as_deref().map_or(Ok(Compress::Auto), compress)?,
            access: ImageAccess { copy: self.copy, verify: self.verify },
            kv_format: self.kv.as_deref().map(kv_format).transpose()?,
            workers: self.threads,
            isa: isa(&self.isa)?,
            max_model_len: self.max_model_len,
            max_seqs: self.max_seqs,
            max_queue: self.max_queue,
            kv_tokens: self.kv_tokens,
            max_rows: self.max_rows,
            step_ms: self.step_ms,
            drafting: self.speculate.as_deref().map_or(Drafting::default(), drafting),
            served_name: self.served_model_name.clone(),
            aliases: self.alias.iter().filter(|name| !name.is_empty()).cloned().collect(),
            chat_template: self.chat_template.as_deref().map(chat_template).transpose()?,
            format: self.tools.options()?,
            pooling: self.pooling.as_deref().map(pooling).transpose()?,
        })
    }
}

fn compress(name: &str) -> Result<Compress, String> {
    match name {
        "auto" => Ok(Compress::Auto),
        "on" => Ok(Compress::On),
        "off" => Ok(Compress::Off),
        _ => Err(format!("--compress {name}: expected auto, on or off")),
    }
}

fn kv_format(name: &str) -> Result<KvFormat, String> {
    KvFormat::from_name(name).ok_or_else(|| format!("--kv {name}: expected f32, bf16 or int8"))
}

/// `None` is the best of this CPU.
fn isa(name: &str) -> Result<Option<Isa>, String> {
    if name == "auto" {
        return Ok(None);
    }
    // The matrix unit is available only to those who asked for it.
    allow_matrix_unit();
    let isa = Isa::from_name(name).ok_or_else(|| {
        let known: Vec<_> = Isa::available().iter().map(|isa| isa.name()).collect();
        format!("--isa {name}: this CPU has {}", known.join(", "))
    })?;
    Ok(Some(isa))
}

/// Whatever is no keyword names a draft model.
fn drafting(name: &str) -> Drafting {
    match name {
        "off" => Drafting::Off,
        "auto" => Drafting::Lookup,
        "lookup" => Drafting::LookupAlways,
        "self" => Drafting::SameModel,
        model => Drafting::Model(ModelSource::Named(model.to_owned())),
    }
}

fn pooling(name: &str) -> Result<Pooling, String> {
    Pooling::from_name(name).ok_or_else(|| format!("--pooling {name}: expected mean, last or cls"))
}

fn chat_template(file: &str) -> Result<TemplateSource, String> {
    let source = std::fs::read_to_string(file).map_err(|error| format!("--chat-template {file}: {error}"))?;
    Ok(TemplateSource { name: file.to_owned(), source })
}

#[derive(Clone, Debug, Args)]
pub(super) struct ServeArgs {
    #[command(flatten)]
    pub(super) model: ModelArgs,
    #[command(flatten)]
    pub(super) connections: ConnectionArgs,
    #[command(flatten)]
    pub(super) guard: GuardArgs,
    #[command(flatten)]
    pub(super) limits: LimitArgs,
    #[command(flatten)]
    pub(super) supervision: SupervisionArgs,
    #[command(flatten)]
    pub(super) starter: StarterArgs,
    #[command(flatten)]
    pub(super) watch: WatchArgs,
    #[command(flatten)]
    pub(super) batches: BatchDirArgs,
}

#[derive(Clone, Debug, Args)]
pub(super) struct BatchArgs {
    /// The file of requests: a JSON object a line, with custom_id, method (POST), url
    /// (/v1/completions, /v1/chat/completions or /v1/embeddings) and body.
    #[arg(value_name = "IN")]
    input: PathBuf,
    /// The file of answers, in the order of the requests. What it has already is not answered
    /// again.
    #[arg(short, long, env = "VERBATIM_OUTPUT", value_name = "FILE")]
    output: Option<PathBuf>,
    #[command(flatten)]
    pub(super) limits: LimitArgs,
    #[command(flatten)]
    pub(super) model: ModelArgs,
}

impl BatchArgs {
    /// The file to read and the file to write.
    pub(super) fn files(&self) -> Result<(&Path, &Path), String> {
        let output = self.output.as_deref().filter(|output| !output.as_os_str().is_empty());
        let output = output.ok_or("batch: found no output, expected verbatim batch IN.jsonl -o OUT.jsonl")?;
        if output == self.input {
            return Err("batch: the output is the input, expected another file".to_owned());
        }
        Ok((&self.input, output))
    }
}

#[derive(Clone, Debug, Args)]
pub(super) struct SamplingArgs {
    /// Tokens to generate, at most [default: the rest of the context].
    #[arg(long, env = "VERBATIM_MAX_TOKENS", value_name = "N")]
    pub(super) max_tokens: Option<usize>,
    /// Temperature; 0 takes the likeliest token [default: the model's, else 1].
    #[arg(long, env = "VERBATIM_TEMPERATURE", value_name = "T")]
    pub(super) temperature: Option<f32>,
    /// Draw only from the K likeliest tokens; 0 is off [default: the model's].
    #[arg(long, env = "VERBATIM_TOP_K", value_name = "K")]
    pub(super) top_k: Option<u32>,
    /// Draw only from the likeliest tokens whose probabilities add up to P [default: the model's].
    #[arg(long, env = "VERBATIM_TOP_P", value_name = "P")]
    pub(super) top_p: Option<f32>,
    /// Draw only from tokens at least P times as likely as the likeliest.
    #[arg(long, env = "VERBATIM_MIN_P", value_name = "P", default_value_t = 0.0)]
    pub(super) min_p: f32,
    /// Seed of the draws; the same seed gives the same text [default: drawn, and printed].
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
    /// The prompt [default: read from standard input].
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
    /// The model to pack, named as for --model.
    #[arg(value_name = "MODEL")]
    source: Option<String>,
    /// The file to write. A file that is there is replaced once the new one is complete.
    #[arg(short, long, env = "VERBATIM_OUTPUT", value_name = "FILE")]
    output: Option<PathBuf>,
    #[command(flatten)]
    model: ModelArgs,
}

impl PackArgs {
    /// The options to load by, and the file to write.
    pub(super) fn options(&self) -> Result<(Options, &Path), String> {
        let mut options = self.model.options()?;
        // An environment that names the model to serve is no second model to pack.
        let flag = self.model.model.as_ref();
        let flag = flag.filter(|model| std::env::var("VERBATIM_MODEL").as_ref() != Ok(model));
        let model = match (&self.source, flag) {
            (Some(source), Some(flag)) => {
                return Err(format!(
                    "pack: found two models, {source} and --model {flag}, expected one; -o names the file"
                ));
            }
            (Some(source), None) => Some(source),
            (None, _) => self.model.model.as_ref(),
        };
        let model = model.ok_or("pack: found no model, expected verbatim pack MODEL -o FILE")?;
        options.model = ModelSource::Named(model.clone());
        let output = self.output.as_deref().filter(|output| !output.as_os_str().is_empty());
        let output = output.ok_or("pack: found no output, expected verbatim pack MODEL -o FILE")?;
        // An image of spoiled weights would carry a hash that says they are whole.
        options.access.verify = true;
        // An image holds one model: no draft model is loaded.
        options.drafting = Drafting::Off;
        Ok((options, output))
    }
}

#[derive(Clone, Debug, Args)]
pub(super) struct SelftestArgs {
    /// Worker threads [default: the lowest of CPU affinity, cgroup quota and physical cores].
    #[arg(long, env = "VERBATIM_THREADS", value_name = "N")]
    pub(super) threads: Option<usize>,
}

#[derive(Clone, Debug, Args)]
pub(super) struct HealthArgs {
    /// What to ask: http://HOST:PORT/PATH, or unix:FILE for a Unix socket [default: /health at host
    /// and port].
    pub(super) url: Option<String>,
    /// Address that the server listens on; any of its own is asked on loopback.
    #[arg(long, env = "VERBATIM_HOST", value_name = "ADDRESS", default_value = "127.0.0.1")]
    pub(super) host: String,
    /// Port that the server listens on.
    #[arg(long, env = "VERBATIM_PORT", value_name = "N", default_value_t = 8080)]
    pub(super) port: u16,
    /// Seconds after which the server counts as not well.
    #[arg(long, env = "VERBATIM_HEALTH_SECONDS", value_name = "N", default_value_t = 3)]
    pub(super) health_seconds: u64,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;
    use verbatim_core::dtype::WeightFormat;

    fn options(args: &[&str]) -> Result<Options, String> {
        Arguments::try_parse_from([&["verbatim"], args].concat()).unwrap().serve.model.options()
    }

    #[test]
    fn flags_are_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn flags_become_options() {
        let given = options(&[
            "--model",
            "a/b",
            "--weights",
            "bf16",
            "--head",
            "int8",
            "--compress",
            "on",
            "--kv",
            "int8",
            "--copy",
            "--threads",
            "3",
            "--isa",
            "portable",
            "--max-model-len",
            "9",
            "--kv-tokens",
            "64",
            "--speculate",
            "self",
        ]);
        let expected = Options {
            model: ModelSource::Named("a/b".to_owned()),
            weights: WeightChoice {
                format: Some(WeightFormat::Bf16),
                head: Some(WeightFormat::Int8),
                ..WeightChoice::default()
            },
            compress: Compress::On,
            kv_format: Some(KvFormat::Int8),
            access: ImageAccess { copy: true, verify: false },
            workers: Some(3),
            isa: Some(Isa::PORTABLE),
            max_model_len: Some(9),
            kv_tokens: Some(64),
            drafting: Drafting::SameModel,
            ..Options::default()
        };
        assert_eq!(given, Ok(expected));
        assert_eq!(options(&[]), Ok(Options::default()), "flags and library have the same defaults");
        assert_eq!(options(&["--head", "same", "--compress", "auto"]), Ok(Options::default()));
    }

    #[test]
    fn values_that_are_unknown_are_told_by_their_flag() {
        let error = |args: &[&str]| options(args).unwrap_err();
        assert_eq!(error(&["--compress", "yes"]), "--compress yes: expected auto, on or off");
        assert_eq!(error(&["--kv", "int3"]), "--kv int3: expected f32, bf16 or int8");
        assert!(error(&["--weights", "int3"]).starts_with("--weights int3: expected one of f32, bf16"));
        assert!(error(&["--head", "bf16-coded"]).starts_with("--head bf16-coded: expected one of"));
        assert!(error(&["--isa", "mmx"]).starts_with("--isa mmx: this CPU has portable"));
        assert!(error(&["--chat-template", "/no/file"]).starts_with("--chat-template /no/file: "));
    }

    #[test]
    fn what_is_no_keyword_names_a_draft_model() {
        assert_eq!(drafting("off"), Drafting::Off);
        assert_eq!(drafting("auto"), Drafting::default());
        assert_eq!(drafting("lookup"), Drafting::LookupAlways);
        assert_eq!(drafting("./small"), Drafting::Model(ModelSource::Named("./small".to_owned())));
    }
}
