//! Flags that bound what a request may ask for.
use super::super::values::whole;
use crate::serve::api::limits::RequestLimits;
use clap::Args;
use clap::builder::BoolishValueParser;

#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Limits")]
pub(in crate::cli) struct LimitArgs {
    /// JSON arrays and objects inside each other in a body, at most; no more than 127.
    #[arg(long, env = "VERBATIM_MAX_JSON_DEPTH", value_name = "N", value_parser = whole::<usize>, default_value_t = 64)]
    max_json_depth: usize,
    /// JSON values and names in a body, at most [default: 4 for each token of the context, at least
    /// 100000].
    #[arg(long, env = "VERBATIM_MAX_JSON_NODES", value_name = "N", value_parser = whole::<usize>)]
    max_json_nodes: Option<usize>,
    /// Stop strings of a request, at most.
    #[arg(long, env = "VERBATIM_MAX_STOP_STRINGS", value_name = "N", value_parser = whole::<usize>, default_value_t = 16)]
    max_stop_strings: usize,
    /// Characters of a stop string, at most.
    #[arg(long, env = "VERBATIM_MAX_STOP_CHARS", value_name = "N", value_parser = whole::<usize>, default_value_t = 1000)]
    max_stop_chars: usize,
    /// Choices (n) of a prompt, at most. Those for which there is no place wait.
    #[arg(long, env = "VERBATIM_MAX_CHOICES", value_name = "N", value_parser = whole::<usize>, default_value_t = 128)]
    max_choices: usize,
    /// Prompts of a request, at most. Those for which there is no place wait.
    #[arg(long, env = "VERBATIM_MAX_PROMPTS", value_name = "N", value_parser = whole::<usize>, default_value_t = 1024)]
    max_prompts: usize,
    /// Bodies that are parsed and tokenized at once, at most [default: threads].
    ///
    /// They are at a lower priority than the engine; others wait in order.
    #[arg(long, env = "VERBATIM_MAX_TOKENIZING", value_name = "N", value_parser = whole::<usize>)]
    max_tokenizing: Option<usize>,
    /// Tokens of prompts that may wait for their first token; a request beyond them is refused with
    /// status 429 [default: 16 contexts, at least 65536].
    #[arg(long, env = "VERBATIM_MAX_QUEUED_TOKENS", value_name = "N", value_parser = whole::<usize>)]
    max_queued_tokens: Option<usize>,
    /// Bytes of large answers in memory, at most [default: 10 KiB for each token of the context,
    /// at least 268435456].
    ///
    /// Large are those with logprobs or token ids, where they are sent whole or told again at the
    /// end of a stream; those of vectors; those of tokenized texts. Beyond them a request is
    /// refused with status 429, and one that alone takes more with 400.
    #[arg(long, env = "VERBATIM_MAX_ANSWER_BYTES", value_name = "N", value_parser = whole::<usize>)]
    max_answer_bytes: Option<usize>,
    /// Refuse bodies with a parameter that is unknown at their endpoint, rather than answer and
    /// tell it in verbatim.ignored.
    #[arg(long, env = "VERBATIM_STRICT", value_parser = BoolishValueParser::new())]
    strict: bool,
}

impl LimitArgs {
    /// The limits that these flags stand for.
    pub(in crate::cli) fn options(&self) -> RequestLimits {
        RequestLimits {
            json_depth: self.max_json_depth,
            json_nodes: self.max_json_nodes,
            stop_strings: self.max_stop_strings,
            stop_chars: self.max_stop_chars,
            choices: self.max_choices,
            prompts: self.max_prompts,
            tokenizing: self.max_tokenizing,
            queued_tokens: self.max_queued_tokens,
            answer_bytes: self.max_answer_bytes,
            is_strict: self.strict,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Debug, Parser)]
    struct Only {
        #[command(flatten)]
        limits: LimitArgs,
    }

    #[test]
    fn flags_and_library_have_the_same_defaults() {
        let options = |args: &[&str]| {
            Only::try_parse_from([&["verbatim"], args].concat()).expect("right flags").limits.options()
        };
        assert_eq!(options(&[]), RequestLimits::default());
        let given = options(&["--max-stop-chars", "5", "--max-tokenizing", "1", "--max-queued-tokens", "9"]);
        let expected = RequestLimits {
            stop_chars: 5,
            tokenizing: Some(1),
            queued_tokens: Some(9),
            ..RequestLimits::default()
        };
        assert_eq!(given, expected);
    }
}
