//! The command line: the only part of this crate that prints, and that knows flags.
//!
//! * `args`: commands and their flags, `model_args` and `serve_args` in groups of them, `values`
//!   what they may be, `typed_key` what is not shown. `help`: what `--help` shows, and how wrong
//!   values are told. `errors`: errors of the library in words of flags. `failure`: the exit codes.
//! * `serve_args`: flags of the server alone. `panics`: what is said of a panic. `ready`: what the
//!   program that started a server hears of it.
//! * `output`: what is printed. `announce`: what a person reads when a server is ready. `paint`:
//!   colours.
//! * `session`: a model with its engine running. `progress`: the bar while it loads. `http`,
//!   `sse`: requests to a server, and the events that it sends. `visible`: foreign text on a
//!   terminal.
//! * `hub`: models of the Hugging Face Hub (`pull`, `list`, `show`, `rm`).
//! * One file a command: `serve`, `generate`, `chat`, `batch`, `inspect`, `pack`,
//!   `selftest`, `health`, `top`, `bench`, `doctor`, `completions`, `man`.
//! * Tests alone: `flags_doc` writes docs/flags.md from the help texts, `flags_act` finds flags
//!   that do nothing, `documents` finds commands in pages that are not the program's.
mod announce;
mod args;
mod batch;
mod bench;
mod chat;
mod completions;
mod doctor;
#[cfg(test)]
mod documents;
mod errors;
mod failure;
#[cfg(test)]
mod flags_act;
#[cfg(test)]
mod flags_doc;
mod generate;
mod health;
mod help;
mod http;
mod hub;
mod inspect;
mod man;
mod model_args;
mod output;
mod pack;
mod paint;
mod panics;
mod progress;
mod ready;
mod selftest;
mod serve;
mod serve_args;
mod session;
mod sse;
mod top;
mod typed_key;
mod values;
mod visible;

use args::Command;
use failure::Failure;
use std::process::ExitCode;

/// Runs the program; an error is one line on standard error, and an exit code that says what is to
/// blame.
pub fn main() -> ExitCode {
    panics::tell_in_one_line();
    let arguments = match help::parse() {
        Ok(arguments) => arguments,
        Err(code) => return code,
    };
    let command = arguments.command.unwrap_or(Command::Serve(Box::new(arguments.serve)));
    let result = match command {
        Command::Serve(args) => serve::serve(&args),
        Command::Generate(args) => generate::generate(&args).map_err(Failure::from),
        Command::Chat(args) => chat::chat(&args).map_err(Failure::from),
        Command::Inspect(args) => inspect::inspect(&args).map_err(Failure::from),
        Command::Pull(args) => hub::pull::pull(&args),
        Command::List(args) => hub::list::list(args),
        Command::Show(args) => hub::show::show(&args),
        Command::Rm(args) => hub::rm::rm(&args),
        Command::Pack(args) => pack::pack(&args).map_err(Failure::from),
        Command::Batch(args) => batch::batch(&args).map_err(Failure::from),
        Command::Selftest(args) => selftest::selftest(&args).map_err(Failure::from),
        Command::Top(args) => top::top(&args).map_err(Failure::from),
        Command::Health(args) => health::health(&args).map_err(Failure::from),
        Command::Bench(args) => bench::bench(&args).map_err(Failure::from),
        Command::Doctor(args) => doctor::doctor(&args).map_err(Failure::from),
        Command::Completions(args) => completions::completions(&args).map_err(Failure::from),
        Command::Man(args) => man::man(&args).map_err(Failure::from),
    };
    result.map_or_else(|failure| failure.tell(), |()| ExitCode::SUCCESS)
}
