//! Flags of the commands about models of the hub.
use crate::cli::values::whole;
use crate::hub::{HubError, HubSettings};
use crate::load::RepositoryName;
use crate::text::quote::quote;
use clap::Args;
use clap::builder::BoolishValueParser;

/// How a model is named where only those of the hub are meant.
const EXPECTED: &str = "expected ORG/NAME, with @REVISION and :MIX behind where they are wanted, such as \
                        Qwen/Qwen3-0.6B or unsloth/Qwen3-0.6B-GGUF:Q4_K_M";

/// Reads the name of a model of the hub.
fn name(text: &str) -> Result<RepositoryName, String> {
    RepositoryName::parse(text).ok_or_else(|| EXPECTED.to_owned())
}

/// Whether the hub may be asked.
#[derive(Clone, Copy, Debug, Default, Args)]
#[command(next_help_heading = "Model")]
pub(in crate::cli) struct OfflineArgs {
    /// Ask nothing of the Hugging Face Hub: a model that is not in the cache is an error.
    ///
    /// HF_HUB_OFFLINE=1 does the same, for Hugging Face's own libraries, too.
    #[arg(long, env = "VERBATIM_OFFLINE", value_parser = BoolishValueParser::new())]
    pub(in crate::cli) offline: bool,
}

impl OfflineArgs {
    /// What the environment and this flag say about the hub.
    pub(in crate::cli) fn settings(self) -> Result<HubSettings, HubError> {
        let mut settings = HubSettings::from_env()?;
        if self.offline {
            settings.offline = Some("--offline".to_owned());
        }
        Ok(settings)
    }
}

/// How a model is fetched.
#[derive(Clone, Debug, Args)]
#[command(after_help = "\
Only what a model needs is fetched: configuration, tokenizer, chat template, licence, and the \
weights in one form (safetensors, or one GGUF file). What broke off goes on where it was.

Environment: HF_TOKEN (gated and private models), HF_ENDPOINT (a mirror), HF_HOME or HF_HUB_CACHE \
(the cache), HTTPS_PROXY, NO_PROXY, SSL_CERT_FILE.

Examples:
  verbatim pull HuggingFaceTB/SmolLM2-135M-Instruct
  verbatim pull unsloth/Qwen3-0.6B-GGUF:Q4_K_M
  verbatim pull org/name@refs/pr/1")]
pub(in crate::cli) struct PullArgs {
    /// The model: ORG/NAME, with @REVISION behind for a branch, tag or commit, and :Q4_K_M for one
    /// of its GGUF files.
    #[arg(value_name = "ORG/NAME", value_parser = name)]
    pub(super) name: RepositoryName,
    /// Fetch it even if its configuration says that it cannot be served.
    #[arg(long)]
    pub(super) force: bool,
    /// Parts of a file that are fetched at the same time: 1 to 16.
    #[arg(long, env = "VERBATIM_CONNECTIONS", value_name = "N", default_value_t = 4, value_parser = connections)]
    pub(super) connections: usize,
    #[command(flatten)]
    pub(super) hub: OfflineArgs,
}

fn connections(text: &str) -> Result<usize, String> {
    let count: usize = whole(text)?;
    if (1..=16).contains(&count) { Ok(count) } else { Err("expected 1 to 16".to_owned()) }
}

/// What is told of the cache.
#[derive(Clone, Copy, Debug, Args)]
pub(in crate::cli) struct ListArgs {
    /// Print one object of JSON; bytes and seconds are numbers.
    #[arg(long)]
    pub(super) json: bool,
}

/// What is told of a model.
#[derive(Clone, Debug, Args)]
pub(in crate::cli) struct ShowArgs {
    /// The model, named as for `verbatim pull`.
    #[arg(value_name = "ORG/NAME", value_parser = name)]
    pub(super) name: RepositoryName,
    /// Print one object of JSON; bytes are numbers.
    #[arg(long)]
    pub(super) json: bool,
}

/// What is deleted, and whether somebody is asked.
#[derive(Clone, Debug, Args)]
pub(in crate::cli) struct RmArgs {
    /// The model. With @REVISION only that commit goes, with :MIX only that GGUF file.
    #[arg(value_name = "ORG/NAME", value_parser = name)]
    pub(super) name: RepositoryName,
    /// Do not ask first.
    #[arg(short, long)]
    pub(super) yes: bool,
}

/// The name of a model as a command takes it.
pub(super) fn in_shell(name: &RepositoryName) -> String {
    quote(&name.to_string())
}

#[cfg(test)]
mod tests {
    use crate::cli::args::Arguments;
    use clap::Parser;

    #[test]
    fn names_and_numbers_are_checked_before_anything_is_asked() {
        let error = |words: &[&str]| {
            Arguments::try_parse_from([&["verbatim"], words].concat()).unwrap_err().to_string()
        };
        assert!(error(&["pull", "name"]).contains("expected ORG/NAME"));
        assert!(error(&["rm", "../x"]).contains("expected ORG/NAME"));
        assert!(error(&["pull", "a/b", "--connections", "99"]).contains("expected 1 to 16"));
        assert!(Arguments::try_parse_from(["verbatim", "pull", "a/b@v1:Q4_K_M"]).is_ok());
    }
}
