//! Commands and their flags. Each flag is also an environment variable: `VERBATIM_` and its name.
//! The comments on flags are the help texts, and docs/flags.md: the first paragraph is what `-h`
//! says, and `--help` says all of them.
use super::chat::flags::{ServerArgs, ShownArgs};
use super::hub::flags::{ListArgs, OfflineArgs, PullArgs, RmArgs, ShowArgs};
use super::model_args::engine::{KvArgs, OneSequence, QueueArgs, SequenceArgs};
use super::model_args::sampling::SamplingArgs;
use super::model_args::source::{FormatArgs, ImageArgs, SourceArgs};
use super::model_args::speed::CpuArgs;
use super::model_args::text::{ReasoningArgs, TemplateArgs};
use super::model_args::{ModelArgs, OpenArgs, options};
use super::serve_args::batches::BatchDirArgs;
use super::serve_args::connections::ConnectionArgs;
use super::serve_args::guard::GuardArgs;
use super::serve_args::limits::LimitArgs;
use super::serve_args::starter::StarterArgs;
use super::serve_args::supervision::SupervisionArgs;
use super::serve_args::watch::WatchArgs;
use super::top::flags::TopArgs;
use super::values::{one_to_64, port, whole};
use crate::runtime::{Drafting, ModelSource, Options};
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
Without a command, verbatim serves; `verbatim serve --help` has the flags.

Examples:
  verbatim                                 serve a small built-in model
  verbatim pull HuggingFaceTB/SmolLM2-135M-Instruct
  verbatim --model HuggingFaceTB/SmolLM2-135M-Instruct
  verbatim --model ./TinyLlama             serve the model of a folder
  verbatim chat --model ./TinyLlama        talk to it in this terminal
  verbatim generate 'Once upon a time'     continue a text
  verbatim inspect --model ./TinyLlama     plan, memory, fingerprint
  verbatim pack ./TinyLlama -o tiny.vb     one file that is served at once
  verbatim batch IN.jsonl -o OUT.jsonl     answer a file of requests
  verbatim selftest                        check the bits on this CPU
  verbatim bench --model tiny.vb           its speed beside what is possible
  verbatim doctor                          what of this machine is well
  verbatim health                          exit code 0 if a server is well"
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
    /// Continue a prompt as it stands, without a chat template. Text goes to standard output,
    /// speed to standard error.
    Generate(GenerateArgs),
    /// Talk to a model through its chat template.
    Chat(ChatArgs),
    /// Print what a model is, the memory that it takes, and how it runs on this CPU.
    Inspect(InspectArgs),
    /// Fetch a model from the Hugging Face Hub into its cache, which other programs share. Prints
    /// the folder that holds it.
    Pull(PullArgs),
    /// List the models of the cache.
    #[command(visible_alias = "ls")]
    List(ListArgs),
    /// Print what a model of the cache is: its files, its licence, and whether it can be served.
    Show(ShowArgs),
    /// Delete a model from the cache.
    Rm(RmArgs),
    /// Write a model as a packed image: one file that is served without packing and carries the
    /// tokenizer and the chat template.
    Pack(PackArgs),
    /// Answer a file of requests, one a line, in the format of OpenAI's Batch API. If the output
    /// is there, it goes on where that ends; the result is the same, byte for byte.
    Batch(Box<BatchArgs>),
    /// Run tiny models with every instruction set of this CPU and compare the bits with the stored
    /// hash.
    Selftest(SelftestArgs),
    /// Watch what a server does, live on a terminal.
    Top(TopArgs),
    /// Ask a server whether it is well: exit code 0 if it answers with status 200, else 1.
    Health(HealthArgs),
    /// Measure this machine and a model on it, which takes some 20 seconds: what each can do, what
    /// bounds the model, and what other weight formats would give.
    Bench(BenchArgs),
    /// Look at this machine: what is well, what is not, and how to mend it. Exit code 1 if
    /// something is wrong.
    Doctor(DoctorArgs),
    /// Print a script that completes commands and flags in a shell.
    Completions(CompletionArgs),
    /// Write the manual pages: one of each command.
    Man(ManArgs),
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
    pub(super) model: ModelArgs,
    #[command(flatten)]
    pub(super) limits: LimitArgs,
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
pub(super) struct GenerateArgs {
    /// The prompt; - reads it from standard input, to its last byte [default: -].
    pub(super) prompt: Option<String>,
    #[command(flatten)]
    open: OpenArgs,
    #[command(flatten)]
    pub(super) sampling: SamplingArgs,
}

impl GenerateArgs {
    /// Whether models that are not there may be fetched.
    pub(super) fn hub(&self) -> OfflineArgs {
        self.open.hub()
    }

    /// The options of a model that continues one text.
    pub(super) fn options(&self) -> Result<Options, String> {
        self.open.options(&[&OneSequence])
    }
}

#[derive(Clone, Debug, Args)]
pub(super) struct ChatArgs {
    #[command(flatten)]
    open: OpenArgs,
    #[command(flatten)]
    template: TemplateArgs,
    #[command(flatten)]
    reasoning: ReasoningArgs,
    #[command(flatten)]
    pub(super) sampling: SamplingArgs,
    #[command(flatten)]
    pub(super) server: ServerArgs,
    #[command(flatten)]
    pub(super) shown: ShownArgs,
}

impl ChatArgs {
    /// Whether models that are not there may be fetched.
    pub(super) fn hub(&self) -> OfflineArgs {
        self.open.hub()
    }

    /// The name that --model gives, which a server may know.
    pub(super) fn model_name(&self) -> Option<&str> {
        self.open.model_name()
    }

    /// The options of a model that holds one conversation.
    pub(super) fn options(&self) -> Result<Options, String> {
        self.open.options(&[&self.template, &self.reasoning, &OneSequence])
    }
}

#[derive(Clone, Debug, Args)]
pub(super) struct InspectArgs {
    /// Print one object of JSON; bytes and tokens are numbers.
    #[arg(long)]
    pub(super) json: bool,
    #[command(flatten)]
    open: OpenArgs,
    #[command(flatten)]
    sequences: SequenceArgs,
    #[command(flatten)]
    queue: QueueArgs,
    #[command(flatten)]
    template: TemplateArgs,
}

impl InspectArgs {
    /// Whether models that are not there may be fetched.
    pub(super) fn hub(&self) -> OfflineArgs {
        self.open.hub()
    }

    /// The options by which the model would be served.
    pub(super) fn options(&self) -> Result<Options, String> {
        self.open.options(&[&self.sequences, &self.queue, &self.template])
    }
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
    model: SourceArgs,
    #[command(flatten)]
    format: FormatArgs,
    #[command(flatten)]
    sequences: SequenceArgs,
    #[command(flatten)]
    cpu: CpuArgs,
}

impl PackArgs {
    /// Whether models that are not there may be fetched.
    pub(super) fn hub(&self) -> OfflineArgs {
        self.model.hub
    }

    /// The options to load by, and the file to write.
    pub(super) fn options(&self) -> Result<(Options, &Path), String> {
        let mut options = options(&[&self.model, &self.format, &self.sequences, &self.cpu])?;
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
#[command(next_help_heading = "Speed")]
pub(super) struct SelftestArgs {
    /// Worker threads [default: the lowest of CPU affinity, cgroup quota and physical cores].
    #[arg(long, env = "VERBATIM_THREADS", value_name = "N", value_parser = whole::<usize>)]
    pub(super) threads: Option<usize>,
}

#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Server")]
pub(super) struct HealthArgs {
    /// What to ask: http://HOST:PORT/PATH, or unix:FILE for a Unix socket [default: /health at
    /// host and port].
    pub(super) url: Option<String>,
    /// Address that the server listens on; any of its own is asked on loopback.
    #[arg(long, env = "VERBATIM_HOST", value_name = "ADDRESS", default_value = "127.0.0.1")]
    pub(super) host: String,
    /// Port that the server listens on.
    #[arg(long, env = "VERBATIM_PORT", value_name = "N", default_value_t = 8080, value_parser = port)]
    pub(super) port: u16,
    /// Seconds after which the server counts as not well.
    #[arg(long, env = "VERBATIM_HEALTH_SECONDS", value_name = "N", default_value_t = 3, value_parser = whole::<u64>)]
    pub(super) health_seconds: u64,
}

#[derive(Clone, Debug, Args)]
pub(super) struct BenchArgs {
    /// Sequences that decode at once, beside one alone.
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = one_to_64)]
    pub(super) sequences: usize,
    /// Print one object of JSON.
    #[arg(long)]
    pub(super) json: bool,
    /// Write a picture with a bar for each figure.
    #[arg(long, value_name = "FILE")]
    pub(super) svg: Option<PathBuf>,
    #[command(flatten)]
    source: SourceArgs,
    #[command(flatten)]
    format: FormatArgs,
    #[command(flatten)]
    image: ImageArgs,
    #[command(flatten)]
    kv: KvArgs,
    #[command(flatten)]
    cpu: CpuArgs,
}

impl BenchArgs {
    /// Whether models that are not there may be fetched.
    pub(super) fn hub(&self) -> OfflineArgs {
        self.source.hub
    }

    /// The options by which so many sequences would be served.
    pub(super) fn options(&self) -> Result<Options, String> {
        let options = options(&[&self.source, &self.format, &self.image, &self.kv, &self.cpu])?;
        Ok(Options { max_seqs: self.sequences, drafting: Drafting::Off, ..options })
    }
}

#[derive(Clone, Copy, Debug, Args)]
pub(super) struct DoctorArgs {
    /// Print one object of JSON.
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(Clone, Debug, Args)]
#[command(after_help = "\
Where shells look for them:
  verbatim completions bash > ~/.local/share/bash-completion/completions/verbatim
  verbatim completions zsh > ~/.zfunc/_verbatim    with fpath+=~/.zfunc before compinit
  verbatim completions fish > ~/.config/fish/completions/verbatim.fish")]
pub(super) struct CompletionArgs {
    /// The shell that the script is for.
    pub(super) shell: clap_complete::Shell,
}

#[derive(Clone, Debug, Args)]
pub(super) struct ManArgs {
    /// The folder to write to; it is made if it is not there. Pages that are there are replaced.
    pub(super) folder: PathBuf,
}
