//! Flags that say how a model writes calls of functions, and reasoning.
use crate::text::parts::{FormatChoice, ReasoningSyntax, ToolSyntax};
use clap::Args;

#[derive(Clone, Debug, Args)]
pub(in crate::cli) struct ToolArgs {
    /// How the model writes calls of functions: llama3, hermes, qwen3-coder, mistral, mistral-args,
    /// gemma, phi4 or pythonic [default: as its chat template tells, else hermes].
    #[arg(long, env = "VERBATIM_TOOL_PARSER", value_name = "NAME")]
    tool_parser: Option<String>,
    /// How the model marks what it writes to itself before it answers: think (<think>), mistral
    /// ([THINK]), or off, which leaves it in the text [default: as its chat template tells].
    #[arg(long, env = "VERBATIM_REASONING_PARSER", value_name = "NAME|off")]
    reasoning_parser: Option<String>,
}

impl ToolArgs {
    /// The choice that these flags stand for.
    pub(in crate::cli) fn options(&self) -> Result<FormatChoice, String> {
        let given = |flag: &Option<String>| flag.clone().filter(|name| !name.is_empty());
        let tools = given(&self.tool_parser).map(|name| {
            ToolSyntax::from_name(&name).ok_or_else(|| {
                let names = ToolSyntax::ALL.map(ToolSyntax::name).join(", ");
                format!("--tool-parser {name}: expected one of {names}")
            })
        });
        let reasoning = given(&self.reasoning_parser).map(|name| match name.as_str() {
            "off" => Ok(None),
            _ => ReasoningSyntax::from_name(&name).map(Some).ok_or_else(|| {
                let names = ReasoningSyntax::ALL.map(ReasoningSyntax::name).join(", ");
                format!("--reasoning-parser {name}: expected one of {names}, or off")
            }),
        });
        Ok(FormatChoice { tools: tools.transpose()?, reasoning: reasoning.transpose()? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Debug, Parser)]
    struct Flags {
        #[command(flatten)]
        tools: ToolArgs,
    }

    #[test]
    fn flags_become_a_choice() {
        let options = |args: &[&str]| {
            Flags::try_parse_from([&["verbatim"], args].concat()).expect("flags").tools.options()
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
        let error = options(&["--tool-parser", "x"]).unwrap_err();
        assert!(error.starts_with("--tool-parser x: expected one of llama3, hermes,"), "{error}");
        let error = options(&["--reasoning-parser", "x"]).unwrap_err();
        assert_eq!(error, "--reasoning-parser x: expected one of think, mistral, or off");
    }
}
