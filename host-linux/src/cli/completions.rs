//! `verbatim completions`: a script by which a shell completes commands and flags.
use super::args::CompletionArgs;
use super::help::command;
use clap_complete::generate;
use std::io::Write;

/// Prints the script of a shell.
pub(super) fn completions(args: &CompletionArgs) -> Result<(), String> {
    let written = std::io::stdout().write_all(&script(args.shell));
    written.map_err(|error| format!("standard output: {error}"))
}

fn script(shell: clap_complete::Shell) -> Vec<u8> {
    let mut script = Vec::new();
    generate(shell, &mut command(), "verbatim", &mut script);
    script
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap_complete::Shell;

    #[test]
    fn scripts_know_commands_and_flags() {
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
            let script = String::from_utf8(script(shell)).expect("text");
            for word in ["inspect", "max-seqs", "temperature", "max-json-depth"] {
                assert!(script.contains(word), "{shell}: no {word}");
            }
        }
    }
}
