//! docs/flags.md, made from the help texts: `VERBATIM_BLESS=1 cargo test -p verbatim flags_doc`
//! writes it anew.
use super::args::Arguments;
use clap::{Arg, ArgAction, Command, CommandFactory};
use std::collections::BTreeSet;
use std::fmt::Write;

const HEAD: &str = "\
# Flags

Made from `verbatim --help` by a test; the texts are in `host-linux/src/cli/args.rs` and `serve_args/`. Each flag is also
an environment variable. `verbatim` without a command is `verbatim serve`.
";

/// The flag as it is typed, with the name of its value.
fn spelled(arg: &Arg) -> String {
    let value = match arg.get_action() {
        ArgAction::SetTrue => String::new(),
        _ => arg.get_value_names().map(|names| format!(" {}", names[0])).unwrap_or_default(),
    };
    let short = arg.get_short().map(|short| format!("-{short}, ")).unwrap_or_default();
    match arg.get_long() {
        Some(long) => format!("`{short}--{long}{value}`"),
        None => format!("`{}`", value.trim()),
    }
}

fn row(arg: &Arg) -> String {
    let help = arg.get_help().map(|help| help.to_string().replace('\n', " ")).unwrap_or_default();
    let env = arg.get_env().map(|env| format!("`{}`", env.to_string_lossy())).unwrap_or_default();
    let default = match arg.get_default_values() {
        [value] if !matches!(arg.get_action(), ArgAction::SetTrue) => {
            format!(" Default: {}.", value.to_string_lossy())
        }
        _ => String::new(),
    };
    let (text, in_text) = match help.trim_end_matches(']').split_once(" [default: ") {
        Some((text, value)) => (text.to_owned(), format!(" Default: {value}.")),
        None => (help.clone(), String::new()),
    };
    let stop = if text.ends_with('.') { "" } else { "." };
    format!("| {} | {text}{stop}{in_text}{default} | {env} |\n", spelled(arg).replace('|', "\\|"))
}

/// Arguments that a user may type, but for `--help` and `--version`.
fn args(command: &Command) -> Vec<&Arg> {
    command.get_arguments().filter(|arg| !matches!(arg.get_id().as_str(), "help" | "version")).collect()
}

fn table(out: &mut String, args: &[&Arg]) {
    out.push_str("\n| flag | meaning | environment |\n|---|---|---|\n");
    out.extend(args.iter().map(|arg| row(arg)));
}

fn flags_md() -> String {
    let mut root = Arguments::command();
    root.build();
    let mut out = HEAD.to_owned();
    let commands: Vec<&Command> =
        root.get_subcommands().filter(|command| command.get_name() != "help").collect();
    // What inspect takes, every command that opens a model takes.
    let inspect = commands.iter().find(|command| command.get_name() == "inspect").expect("there is one");
    let shared: BTreeSet<String> = args(inspect).iter().map(|arg| arg.get_id().to_string()).collect();
    out.push_str("\n## Every command that opens a model\n");
    table(&mut out, &args(inspect));
    for command in commands {
        let about = command.get_about().map(ToString::to_string).unwrap_or_default();
        let about = about.replace('\n', " ");
        let stop = if about.ends_with('.') { "" } else { "." };
        let _ = write!(out, "\n## verbatim {}\n\n{about}{stop}", command.get_name());
        let opens = args(command).iter().any(|arg| arg.get_id() == "model");
        out.push_str(if opens { " Takes the flags above.\n" } else { "\n" });
        let is_own = |arg: &&Arg| !opens || !shared.contains(arg.get_id().as_str());
        let own: Vec<&Arg> = args(command).into_iter().filter(is_own).collect();
        if !own.is_empty() {
            table(&mut out, &own);
        }
    }
    out
}

#[test]
fn docs_flags_md_is_what_the_help_says() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/flags.md");
    let expected = flags_md();
    if std::env::var_os("VERBATIM_BLESS").is_some() {
        std::fs::write(path, &expected).expect("docs/flags.md is written");
    }
    let found = std::fs::read_to_string(path).unwrap_or_default();
    assert!(found == expected, "docs/flags.md is not what --help says; VERBATIM_BLESS=1 writes it anew");
}
