//! Flags of commands that open a model, in groups by subject. A command takes those groups that act
//! on it.
pub(super) mod engine;
pub(super) mod sampling;
pub(super) mod source;
pub(super) mod speed;
pub(super) mod text;

use crate::cli::hub::flags::OfflineArgs;
use crate::runtime::Options;
use clap::Args;
use engine::{KvArgs, MemoryArgs, QueueArgs, SequenceArgs};
use source::{FormatArgs, ImageArgs, SourceArgs};
use speed::{CpuArgs, PaceArgs, StepArgs};
use text::{NameArgs, PoolingArgs, ReasoningArgs, TemplateArgs, ToolArgs};

/// Flags that say something about a model or the engine that runs it.
pub(super) trait Group {
    /// Puts what the flags say into the options; an error names its flag.
    fn put(&self, options: &mut Options) -> Result<(), String>;
}

/// The options that groups of flags stand for; what no flag says is as in the library.
pub(super) fn options(groups: &[&dyn Group]) -> Result<Options, String> {
    let mut options = Options::default();
    groups.iter().try_for_each(|group| group.put(&mut options))?;
    Ok(options)
}

/// What every command that opens a model takes.
#[derive(Clone, Debug, Args)]
pub(in crate::cli) struct OpenArgs {
    #[command(flatten)]
    source: SourceArgs,
    #[command(flatten)]
    format: FormatArgs,
    #[command(flatten)]
    image: ImageArgs,
    #[command(flatten)]
    memory: MemoryArgs,
    #[command(flatten)]
    kv: KvArgs,
    #[command(flatten)]
    cpu: CpuArgs,
    #[command(flatten)]
    step: StepArgs,
}

impl OpenArgs {
    /// The options of these flags and of `more`, which are the command's own.
    pub(in crate::cli) fn options(&self, more: &[&dyn Group]) -> Result<Options, String> {
        let mut groups: Vec<&dyn Group> =
            vec![&self.source, &self.format, &self.image, &self.memory, &self.kv, &self.cpu, &self.step];
        groups.extend_from_slice(more);
        options(&groups)
    }

    /// Whether models that are not there may be fetched.
    pub(in crate::cli) fn hub(&self) -> OfflineArgs {
        self.source.hub
    }

    /// The model as it was named; a server may have one of that name.
    pub(in crate::cli) fn model_name(&self) -> Option<&str> {
        self.source.model.as_deref()
    }
}

/// A model that answers requests of the API: `serve` and `batch`.
#[derive(Clone, Debug, Args)]
pub(in crate::cli) struct ModelArgs {
    #[command(flatten)]
    open: OpenArgs,
    #[command(flatten)]
    sequences: SequenceArgs,
    #[command(flatten)]
    queue: QueueArgs,
    #[command(flatten)]
    pace: PaceArgs,
    #[command(flatten)]
    names: NameArgs,
    #[command(flatten)]
    template: TemplateArgs,
    #[command(flatten)]
    tools: ToolArgs,
    #[command(flatten)]
    reasoning: ReasoningArgs,
    #[command(flatten)]
    pooling: PoolingArgs,
}

impl ModelArgs {
    /// Whether models that are not there may be fetched.
    pub(in crate::cli) fn hub(&self) -> OfflineArgs {
        self.open.hub()
    }

    /// The options that these flags stand for.
    pub(in crate::cli) fn options(&self) -> Result<Options, String> {
        self.open.options(&[
            &self.sequences,
            &self.queue,
            &self.pace,
            &self.names,
            &self.template,
            &self.tools,
            &self.reasoning,
            &self.pooling,
        ])
    }
}

#[cfg(test)]
mod tests {
    use super::super::args::Arguments;
    use super::*;
    use crate::load::{Compress, ImageAccess, WeightChoice};
    use crate::runtime::{Drafting, ModelSource};
    use clap::{CommandFactory, Parser};
    use verbatim_core::dtype::{KvFormat, WeightFormat};
    use verbatim_core::isa::Isa;

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
}
