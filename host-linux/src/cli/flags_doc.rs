//! docs/flags.md, made from the help texts: `VERBATIM_BLESS=1 cargo test -p verbatim flags_doc`
//! writes it anew.
use super::help;
use clap::{Arg, ArgAction, Command};
use std::collections::BTreeMap;
use std::fmt::Write;

const HEAD: &str = "\
# Flags

Made from `verbatim --help` by a test; the texts are in `host-linux/src/cli/`: `args.rs`, `model_args/` and `serve_args/`.
Each flag is also an environment variable, unless it has none in its row. `verbatim` without a command is
`verbatim serve`. `-h` is short, `--help` tells what is here, `verbatim completions SHELL` and `verbatim man FOLDER`
write it for shells and for man(1).
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

/// The text of the help, and the default that it names: with all of its paragraphs in one line.
fn meaning(arg: &Arg) -> (String, Option<String>) {
    let first = arg.get_help().map(ToString::to_string).unwrap_or_default();
    let all = arg.get_long_help().map_or_else(|| first.clone(), ToString::to_string);
    let more = all.split_once("\n\n").map(|(_, more)| more).unwrap_or_default();
    let one_line = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let (first, more) = (one_line(&first), one_line(more));
    let (text, default) = match first.trim_end_matches('.').strip_suffix(']') {
        Some(before) if before.contains(" [default: ") => {
            let (text, default) = before.split_once(" [default: ").expect("it has one");
            (text.to_owned(), Some(default.to_owned()))
        }
        _ => (first, None),
    };
    let stop = if text.is_empty() || text.ends_with('.') { "" } else { "." };
    let space = if more.is_empty() { "" } else { " " };
    (format!("{text}{stop}{space}{more}"), default)
}

fn row(arg: &Arg) -> String {
    let (text, in_text) = meaning(arg);
    let env = arg.get_env().map(|env| format!("`{}`", env.to_string_lossy())).unwrap_or_default();
    let default = in_text.or_else(|| match arg.get_default_values() {
        [value] if !matches!(arg.get_action(), ArgAction::SetTrue) => {
            Some(value.to_string_lossy().into_owned())
        }
        _ => None,
    });
    let default = default.map(|value| format!(" Default: {value}.")).unwrap_or_default();
    let text = text.replace('<', "&lt;"); // a mark such as <think> is no HTML
    format!("| {} | {text}{default} | {env} |\n", spelled(arg).replace('|', "\\|"))
}

/// Arguments that a user may type, but for `--help` and `--version`.
fn args(command: &Command) -> Vec<&Arg> {
    command.get_arguments().filter(|arg| !matches!(arg.get_id().as_str(), "help" | "version")).collect()
}

/// The rows of some arguments, under their headings in the order in which these come first.
fn tables(out: &mut String, args: &[&Arg]) {
    let mut headings: Vec<Option<&str>> = Vec::new();
    for arg in args {
        if !headings.contains(&arg.get_help_heading()) {
            headings.push(arg.get_help_heading());
        }
    }
    for heading in headings {
        if let Some(heading) = heading {
            let _ = write!(out, "\n### {heading}\n");
        }
        out.push_str("\n| flag | meaning | environment |\n|---|---|---|\n");
        out.extend(args.iter().filter(|arg| arg.get_help_heading() == heading).map(|arg| row(arg)));
    }
}

fn flags_md() -> String {
    let mut root = help::command();
    root.build();
    let mut out = HEAD.to_owned();
    let commands = root.get_subcommands().filter(|command| command.get_name() != "help");
    // What means the same as for an earlier command is told once.
    let mut told: BTreeMap<String, (String, &str)> = BTreeMap::new();
    for command in commands {
        let about = command.get_about().map(ToString::to_string).unwrap_or_default();
        let stop = if about.ends_with('.') { "" } else { "." };
        let name = command.get_name();
        let _ = write!(out, "\n## verbatim {name}\n\n{}{stop}\n", about.replace('\n', " "));
        let mut own = Vec::new();
        let mut as_of: BTreeMap<&str, Vec<String>> = BTreeMap::new();
        for arg in args(command) {
            let row = row(arg);
            match told.get(arg.get_id().as_str()) {
                Some((before, of)) if *before == row => as_of.entry(of).or_default().push(spelled(arg)),
                _ => {
                    told.insert(arg.get_id().to_string(), (row, name));
                    own.push(arg);
                }
            }
        }
        for (of, flags) in as_of {
            let _ = write!(out, "\nAs of `verbatim {of}`: {}.\n", flags.join(", "));
        }
        tables(&mut out, &own);
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
