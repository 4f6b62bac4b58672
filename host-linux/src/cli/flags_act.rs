//! Each flag of a command acts on it (a test).
//!
//! Of the flags that become options of a model, each is given alone, and the options must differ
//! from those without it. That whatever else a flag sets is read by somebody, the compiler says.
use super::args::{Arguments, Command};
use super::help::command;
use crate::runtime::Options;
use clap::Parser;
use std::collections::BTreeSet;

/// Flags of the options of a model, each with a value that is not its default.
const VALUES: &[(&str, &str)] = &[
    ("model", "/m"),
    ("weights", "int8"),
    ("head", "int8"),
    ("compress", "on"),
    ("verify", ""),
    ("copy", ""),
    ("max-model-len", "9"),
    ("kv", "int8"),
    ("kv-tokens", "64"),
    ("max-seqs", "3"),
    ("max-queue", "3"),
    ("threads", "3"),
    ("isa", "portable"),
    ("max-rows", "7"),
    ("speculate", "off"),
    ("step-ms", "5"),
    ("served-model-name", "n"),
    ("alias", "n"),
    ("chat-template", concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml")),
    ("tool-parser", "mistral"),
    ("reasoning-parser", "off"),
    ("pooling", "mean"),
];

/// Commands that open a model, with the words that each needs, and those of the flags above that
/// would do nothing there.
const COMMANDS: &[(&[&str], &[&str])] = &[
    (&["serve"], &[]),
    (&["batch", "in", "-o", "out"], &[]),
    (&["inspect"], &["step-ms", "served-model-name", "alias", "tool-parser", "reasoning-parser", "pooling"]),
    (
        &["chat"],
        &["max-seqs", "max-queue", "step-ms", "served-model-name", "alias", "tool-parser", "pooling"],
    ),
    (
        &["generate", "text"],
        &[
            "max-seqs",
            "max-queue",
            "step-ms",
            "served-model-name",
            "alias",
            "chat-template",
            "tool-parser",
            "reasoning-parser",
            "pooling",
        ],
    ),
    (
        &["bench"],
        &[
            "max-model-len",
            "kv-tokens",
            "max-seqs",
            "max-queue",
            "max-rows",
            "speculate",
            "step-ms",
            "served-model-name",
            "alias",
            "chat-template",
            "tool-parser",
            "reasoning-parser",
            "pooling",
        ],
    ),
    (
        &["pack", "m", "-o", "out"],
        &[
            "verify",
            "copy",
            "max-model-len",
            "kv",
            "kv-tokens",
            "max-queue",
            "max-rows",
            "speculate",
            "step-ms",
            "served-model-name",
            "alias",
            "chat-template",
            "tool-parser",
            "reasoning-parser",
            "pooling",
        ],
    ),
];

fn options(words: &[&str]) -> Result<Options, String> {
    let parsed =
        Arguments::try_parse_from([&["verbatim"], words].concat()).map_err(|error| error.to_string())?;
    match parsed.command.expect("there is a command") {
        Command::Serve(args) => args.model.options(),
        Command::Batch(args) => args.model.options(),
        Command::Inspect(args) => args.options(),
        Command::Chat(args) => args.options(),
        Command::Generate(args) => args.options(),
        Command::Bench(args) => args.options(),
        Command::Pack(args) => args.options().map(|(options, _)| options),
        other => panic!("{other:?} opens no model"),
    }
}

#[test]
fn each_flag_changes_what_its_command_does() {
    let mut root = command();
    root.build();
    for (words, idle) in COMMANDS {
        let command = root.find_subcommand(words[0]).expect("a command");
        let has: BTreeSet<_> = command.get_arguments().filter_map(clap::Arg::get_long).collect();
        let without = options(words).unwrap_or_else(|error| panic!("{words:?}: {error}"));
        for (flag, value) in VALUES {
            if idle.contains(flag) {
                assert!(!has.contains(flag), "{words:?} has --{flag}, which does nothing there");
                continue;
            }
            assert!(has.contains(flag), "{words:?} has no --{flag}");
            let flag = format!("--{flag}");
            let more: &[&str] = if value.is_empty() { &[&flag] } else { &[&flag, value] };
            let with = options(&[words, more].concat());
            // Where a flag contradicts a word, an error says so.
            assert_ne!(with, Ok(without.clone()), "{words:?} {flag} changes nothing");
        }
    }
}

#[test]
fn what_opens_no_model_takes_none_of_its_flags() {
    let mut root = command();
    root.build();
    let opens = |name: &str| COMMANDS.iter().any(|(words, _)| words[0] == name);
    let known = |flag: &str| VALUES.iter().any(|(name, _)| *name == flag);
    for command in root.get_subcommands().filter(|command| !opens(command.get_name())) {
        let flags: Vec<_> =
            command.get_arguments().filter_map(clap::Arg::get_long).filter(|flag| known(flag)).collect();
        let expected: &[&str] = match command.get_name() {
            "selftest" => &["threads"],
            _ => &[],
        };
        assert_eq!(BTreeSet::from_iter(flags), BTreeSet::from_iter(expected.iter().copied()), "{command}");
    }
}
