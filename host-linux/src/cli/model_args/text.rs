//! Flags of names and of text: what a model is called, how it is talked to, and how its output is
//! read.
use super::Group;
use crate::load::Pooling;
use crate::runtime::{Options, TemplateSource};
use crate::text::parts::{ReasoningSyntax, ToolSyntax};
use clap::Args;

/// What a model is called.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Model")]
pub(in crate::cli) struct NameArgs {
    /// Name under which the model is served [default: the last part of its path].
    #[arg(long, env = "VERBATIM_SERVED_MODEL_NAME", value_name = "NAME")]
    served_model_name: Option<String>,
    /// Another name under which the model is served, such as the one that a client asks for by
    /// default; may be given several times, or as a list with commas.
    #[arg(long, env = "VERBATIM_ALIAS", value_name = "NAME", value_delimiter = ',')]
    alias: Vec<String>,
}

impl Group for NameArgs {
    fn put(&self, options: &mut Options) -> Result<(), String> {
        options.served_name.clone_from(&self.served_model_name);
        options.aliases = self.alias.iter().filter(|name| !name.is_empty()).cloned().collect();
        Ok(())
    }
}

/// How a conversation is written for a model.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Model")]
pub(in crate::cli) struct TemplateArgs {
    /// File with a Jinja chat template that replaces the model's own.
    #[arg(long, env = "VERBATIM_CHAT_TEMPLATE", value_name = "FILE")]
    chat_template: Option<String>,
}

impl Group for TemplateArgs {
    fn put(&self, options: &mut Options) -> Result<(), String> {
        options.chat_template = self.chat_template.as_deref().map(chat_template).transpose()?;
        Ok(())
    }
}

fn chat_template(file: &str) -> Result<TemplateSource, String> {
    let source = std::fs::read_to_string(file).map_err(|error| format!("--chat-template {file}: {error}"))?;
    Ok(TemplateSource { name: file.to_owned(), source })
}

/// An environment variable that is empty gives nothing.
fn given(flag: Option<&String>) -> Option<&str> {
    flag.map(String::as_str).filter(|name| !name.is_empty())
}

/// How a model writes calls of functions.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Model")]
pub(in crate::cli) struct ToolArgs {
    /// How the model writes calls of functions: llama3, hermes, qwen3-coder, mistral, mistral-args,
    /// gemma, phi4 or pythonic [default: as its chat template tells, else hermes].
    #[arg(long, env = "VERBATIM_TOOL_PARSER", value_name = "NAME")]
    tool_parser: Option<String>,
}

impl Group for ToolArgs {
    fn put(&self, options: &mut Options) -> Result<(), String> {
        let Some(name) = given(self.tool_parser.as_ref()) else { return Ok(()) };
        let syntax = ToolSyntax::from_name(name).ok_or_else(|| {
            let names = ToolSyntax::ALL.map(ToolSyntax::name).join(", ");
            format!("--tool-parser {name}: expected one of {names}")
        })?;
        options.format.tools = Some(syntax);
        Ok(())
    }
}

/// How a model writes what it thinks.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Model")]
pub(in crate::cli) struct ReasoningArgs {
    /// How the model marks what it writes to itself before it answers: think (<think>), mistral
    /// ([THINK]), or off, which leaves it in the text [default: as its chat template tells].
    #[arg(long, env = "VERBATIM_REASONING_PARSER", value_name = "NAME|off")]
    reasoning_parser: Option<String>,
}

impl Group for ReasoningArgs {
    fn put(&self, options: &mut Options) -> Result<(), String> {
        options.format.reasoning = match given(self.reasoning_parser.as_ref()) {
            None => return Ok(()),
            Some("off") => Some(None),
            Some(name) => Some(Some(ReasoningSyntax::from_name(name).ok_or_else(|| {
                let names = ReasoningSyntax::ALL.map(ReasoningSyntax::name).join(", ");
                format!("--reasoning-parser {name}: expected one of {names}, or off")
            })?)),
        };
        Ok(())
    }
}

/// How embeddings are made.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Model")]
pub(in crate::cli) struct PoolingArgs {
    /// How embeddings are made of a prompt's hidden states: mean, last (token) or cls (the first)
    /// [default: what the model's files of sentence-transformers say; without them it makes none].
    #[arg(long, env = "VERBATIM_POOLING", value_name = "HOW")]
    pooling: Option<String>,
}

impl Group for PoolingArgs {
    fn put(&self, options: &mut Options) -> Result<(), String> {
        options.pooling = self.pooling.as_deref().map(pooling).transpose()?;
        Ok(())
    }
}

fn pooling(name: &str) -> Result<Pooling, String> {
    Pooling::from_name(name).ok_or_else(|| format!("--pooling {name}: expected mean, last or cls"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::parts::FormatChoice;
    use clap::Parser;

    #[derive(Debug, Parser)]
    struct Flags {
        #[command(flatten)]
        tools: ToolArgs,
        #[command(flatten)]
        reasoning: ReasoningArgs,
    }

    #[test]
    fn flags_become_a_choice() {
        let options = |args: &[&str]| {
            let flags = Flags::try_parse_from([&["verbatim"], args].concat()).expect("flags");
            super::super::options(&[&flags.tools, &flags.reasoning]).map(|options| options.format)
        };
        assert_eq!(options(&[]), Ok(FormatChoice::default()));
        assert_eq!(
            options(&["--tool-parser", "llama3_json", "--reasoning-parser", "deepseek_r1"]),
            Ok(FormatChoice {
                tools: Some(ToolSyntax::Llama),
                reasoning: Some(Some(ReasoningSyntax::Think)),
            })
        );
        assert_eq!(options(&["--reasoning-parser", "off"]).map(|choice| choice.reasoning), Ok(Some(None)));
        assert_eq!(options(&["--tool-parser", ""]), Ok(FormatChoice::default()));
        let error = options(&["--tool-parser", "x"]).unwrap_err();
        assert!(error.starts_with("--tool-parser x: expected one of llama3, hermes,"), "{error}");
        let error = options(&["--reasoning-parser", "x"]).unwrap_err();
        assert_eq!(error, "--reasoning-parser x: expected one of think, mistral, or off");
    }
}
