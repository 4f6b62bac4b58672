//! The command line as a whole: what `--help` shows of it, and how a value that a flag cannot have
//! is told.
use super::args::Arguments;
use super::output;
use crate::text::quote::quote;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, Command, CommandFactory, FromArgMatches};
use std::process::ExitCode;

/// Columns of a line of help, at most; a narrower terminal has fewer.
pub(super) const WIDTH: usize = 100;
/// The heading of flags that only `--help` shows: few people ever need one of them.
const LIMITS: &str = "Limits";

const OF_FLAGS: &str = "\
Each flag is also an environment variable, VERBATIM_ and its name: --max-seqs is VERBATIM_MAX_SEQS.";

/// The program's command line, as `--help`, completions and manual pages show it.
pub(super) fn command() -> Command {
    // A command line without a command is one of `serve`, whose help has its flags.
    finished(Arguments::command()).mut_args(|arg| arg.hide(true))
}

/// What holds for every command: narrow lines, and flags without clutter.
fn finished(command: Command) -> Command {
    let is_limited = command.get_arguments().any(is_limit);
    let has_flags = command.get_arguments().any(|arg| arg.get_env().is_some());
    let command = command.max_term_width(WIDTH).mut_args(shown).mut_subcommands(finished);
    if command.get_after_help().is_some() || !has_flags {
        return command;
    }
    let more = if is_limited { "--help tells more, and the limits." } else { "--help tells more." };
    command.after_help(more).after_long_help(OF_FLAGS)
}

fn is_limit(arg: &Arg) -> bool {
    arg.get_help_heading() == Some(LIMITS)
}

fn shown(arg: Arg) -> Arg {
    let hidden = is_limit(&arg);
    let takes_value = arg.get_action().takes_values();
    let arg = arg.hide_env(true).hide_short_help(hidden);
    // A number below 0 is a value, if a wrong one; it is no flag.
    if takes_value { arg.allow_negative_numbers(true) } else { arg }
}

/// Reads the command line of this process. What is wrong with it has been said when this fails; so
/// has what `--help` and `--version` ask for.
pub(super) fn parse() -> Result<Arguments, ExitCode> {
    let parsed = command().try_get_matches().and_then(|found| Arguments::from_arg_matches(&found));
    parsed.map_err(|error| tell(&error))
}

fn tell(error: &clap::Error) -> ExitCode {
    match sentence(error) {
        Some(sentence) => output::note(format_args!("error: {sentence}")),
        // Whoever closed the pipe does not want to read it.
        None => {
            drop(error.print());
            tip(error).iter().for_each(output::note);
        }
    }
    ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2))
}

/// What to write for a model that is named without a flag, as other programs have it.
fn tip(error: &clap::Error) -> Option<String> {
    let opens_a_model = match error.kind() {
        ErrorKind::InvalidSubcommand => true,
        ErrorKind::UnknownArgument => {
            let usage = error.get(ContextKind::Usage)?.to_string();
            ["serve", "chat", "inspect", "bench"]
                .iter()
                .any(|name| usage.contains(&format!("verbatim {name}")))
        }
        _ => false,
    };
    let word = error.get(ContextKind::InvalidArg).or_else(|| error.get(ContextKind::InvalidSubcommand))?;
    let word = word.to_string();
    let is_model = !word.starts_with('-') && (word.contains('/') || word.ends_with(".gguf"));
    (opens_a_model && is_model).then(|| format!("A model is named by a flag: --model {}", quote(&word)))
}

/// A value that its flag cannot have, in one line: the flag, the value, and what is expected.
fn sentence(error: &clap::Error) -> Option<String> {
    let text = |kind| match error.get(kind)? {
        ContextValue::String(text) => Some(text.as_str()),
        _ => None,
    };
    if error.kind() != ErrorKind::ValueValidation {
        return None;
    }
    let flag = text(ContextKind::InvalidArg)?.split(' ').next()?;
    let why = std::error::Error::source(error)?;
    Some(format!("{flag} {}: {why}", quote(text(ContextKind::InvalidValue)?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every command and subcommand, with its name.
    fn commands() -> Vec<(String, Command)> {
        let mut root = command().term_width(WIDTH);
        root.build();
        let own = root.get_subcommands().cloned();
        let named = own.map(|command| (command.get_name().to_owned(), command.term_width(WIDTH)));
        let mut all: Vec<_> = named.collect();
        all.push(("verbatim".to_owned(), root));
        all
    }

    #[test]
    fn no_line_of_help_is_wider_than_a_terminal() {
        for (name, mut command) in commands() {
            for text in [command.render_help(), command.render_long_help()] {
                let text = text.to_string();
                let wide = text.lines().find(|line| line.chars().count() > WIDTH);
                assert_eq!(wide, None, "verbatim {name}");
            }
        }
    }

    #[test]
    fn flags_stand_under_headings_and_limits_in_the_long_help_alone() {
        const HEADINGS: [&str; 7] = ["Model", "Memory", "Speed", "Sampling", "Server", "Output", LIMITS];
        for (name, mut command) in commands().into_iter().filter(|(name, _)| name != "verbatim") {
            for arg in command.get_arguments().filter(|arg| arg.get_env().is_some()) {
                // What a command alone has stands first, without a heading.
                let heading = arg.get_help_heading();
                assert!(heading.is_none_or(|heading| HEADINGS.contains(&heading)), "{name}: {arg}");
            }
            if command.get_arguments().any(is_limit) {
                let (short, long) = (command.render_help(), command.render_long_help());
                assert!(!short.to_string().contains("\nLimits:"), "{name}");
                assert!(long.to_string().contains("\nLimits:"), "{name}");
                assert!(short.to_string().contains("--help tells more, and the limits."), "{name}");
            }
        }
        let (_, mut root) = commands().pop().expect("the root");
        let help = root.render_long_help().to_string();
        assert!(help.contains("inspect") && help.contains("Examples:"), "{help}");
        assert!(!help.contains("--max-seqs"), "flags of serve are in its own help: {help}");
    }

    #[test]
    fn a_model_without_its_flag_is_understood() {
        let told = |words: &[&str]| {
            let found = command().try_get_matches_from([&["verbatim"], words].concat());
            tip(&found.expect_err("no such argument"))
        };
        let expected = Some("A model is named by a flag: --model org/name".to_owned());
        for words in [&["org/name"][..], &["serve", "org/name"], &["chat", "org/name"]] {
            assert_eq!(told(words), expected, "{words:?}");
        }
        assert!(told(&["bench", "m.gguf"]).is_some());
        for words in [&["modle"][..], &["serve", "--x/y"], &["rm", "a/b", "c/d"], &["list", "a/b"]] {
            assert_eq!(told(words), None, "{words:?}");
        }
    }

    #[test]
    fn wrong_values_are_told_in_one_line() {
        let error = |args: &[&str]| {
            let found = command().try_get_matches_from([&["verbatim"], args].concat());
            sentence(&found.expect_err("a wrong value"))
        };
        let told = |args: &[&str]| error(args).expect("a sentence");
        assert_eq!(
            told(&["generate", "--temperature", "-1", "x"]),
            "--temperature -1: expected a number between 0 and 100"
        );
        assert_eq!(told(&["--threads", "-3"]), "--threads -3: expected a whole number of 0 or more");
        assert_eq!(
            told(&["serve", "--port", "70000"]),
            "--port 70000: expected a whole number from 0 to 65535"
        );
        assert_eq!(
            told(&["serve", "--max-connections", "0"]),
            "--max-connections 0: expected a whole number of 1 or more"
        );
        let long = "9".repeat(1000);
        let cut = told(&["serve", "--max-seqs", &long]);
        assert!(cut.len() < 200 && cut.ends_with("expected a whole number of 0 or more"), "{cut}");
        assert_eq!(error(&["serve", "--modle", "x"]), None, "clap knows which flag was meant");
    }
}
