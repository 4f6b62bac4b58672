//! `verbatim completions`: a script by which a shell completes commands, flags, and the values of
//! those flags that have a few.
use super::args::CompletionArgs;
use super::help::command;
use super::output;
use clap::builder::PossibleValuesParser;
use clap::{Arg, Command, ValueHint};
use clap_complete::generate;
use std::io::Write;

/// Flags whose values are a few words, with those words.
const WORDS: [(&str, &[&str]); 9] = [
    ("weights", &["f32", "bf16", "int8", "int6", "int5", "int4"]),
    ("head", &["f32", "bf16", "int8", "int6", "int5", "int4", "same"]),
    ("compress", &["on", "off", "auto"]),
    ("kv", &["f32", "bf16", "int8"]),
    ("isa", &["auto", "avx512", "avx512-amx", "avx512-bf16", "avx512-fma", "avx2", "neon", "portable"]),
    (
        "tool-parser",
        &["llama3", "hermes", "qwen3-coder", "mistral", "mistral-args", "gemma", "phi4", "pythonic"],
    ),
    ("reasoning-parser", &["think", "mistral", "off"]),
    ("pooling", &["mean", "last", "cls"]),
    ("log", &["text", "json", "off"]),
];

/// Prints the script of a shell.
pub(super) fn completions(args: &CompletionArgs) -> Result<(), String> {
    let written = std::io::stdout().write_all(&script(args.shell));
    written.map_err(output::lost)
}

fn script(shell: clap_complete::Shell) -> Vec<u8> {
    let mut script = Vec::new();
    generate(shell, &mut hinted(command()), "verbatim", &mut script);
    script
}

/// A command whose arguments say what a shell may offer as their value: one of a few words, a file
/// or a folder, or nothing. Without that, shells offer files for a port.
fn hinted(command: Command) -> Command {
    command.mut_args(hint).mut_subcommands(hinted)
}

fn hint(arg: Arg) -> Arg {
    if !arg.get_action().takes_values() {
        return arg;
    }
    let words = WORDS.iter().find(|(flag, _)| arg.get_long() == Some(flag));
    if let Some((_, words)) = words {
        return arg.value_parser(PossibleValuesParser::new(*words));
    }
    let name = arg.get_value_names().and_then(|names| names.first()).map_or("", |name| name.as_str());
    let hint = match name {
        "DIR" | "FOLDER" => ValueHint::DirPath,
        "FILE" | "IN" | "MODEL" => ValueHint::AnyPath,
        _ if name.contains("PATH") => ValueHint::AnyPath,
        _ => ValueHint::Other,
    };
    // A positional argument with values of its own keeps them; the hint is for the others.
    arg.value_hint(hint)
}

#[cfg(test)]
mod tests {
    use super::super::args::Arguments;
    use super::*;
    use clap::Parser;
    use clap_complete::Shell;

    #[test]
    fn scripts_know_commands_and_flags() {
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
            let script = String::from_utf8(script(shell)).expect("text");
            for word in ["inspect", "max-seqs", "temperature", "max-json-depth", "mistral-args"] {
                assert!(script.contains(word), "{shell}: no {word}");
            }
        }
    }

    /// What is wrong with `verbatim serve --FLAG VALUE`, if anything is.
    fn serve(flag: &str, value: &str) -> Result<(), String> {
        let words = ["verbatim", "serve", &format!("--{flag}"), value];
        let parsed = Arguments::try_parse_from(words).map_err(|error| error.to_string())?;
        let Some(super::super::args::Command::Serve(args)) = parsed.command else {
            panic!("serve is a command");
        };
        args.model.options()?;
        args.watch.options().map(drop)
    }

    #[test]
    fn each_word_that_is_offered_is_one_that_its_flag_takes() {
        let root = command();
        let command = root.find_subcommand("serve").expect("a command");
        for (flag, words) in WORDS {
            let arg = command.get_arguments().find(|arg| arg.get_long() == Some(flag)).expect("a flag");
            let help = format!("{} {}", arg.get_help().expect("help"), flag_before(flag));
            for word in words {
                assert!(help.contains(word), "the help of --{flag} does not name {word}");
                // Which instruction sets there are depends on the CPU.
                if flag != "isa" {
                    assert_eq!(serve(flag, word), Ok(()), "--{flag} {word}");
                }
            }
            assert!(serve(flag, "none-of-them").is_err(), "--{flag} takes whatever it is given");
        }
    }

    /// The words to which "one of these" in a help text refers.
    fn flag_before(flag: &str) -> String {
        let of = WORDS.iter().find(|(name, _)| flag == "head" && *name == "weights");
        of.map_or_else(String::new, |(_, words)| words.join(" "))
    }
}
