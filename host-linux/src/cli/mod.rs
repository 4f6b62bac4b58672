//! The command line: the only part of this crate that prints, and that knows flags.
//!
//! * `args`: flags to options. `errors`: errors of the library in words of flags. `failure`: the
//!   exit codes.
//! * `serve_args`: flags of the server alone. `panics`: what is said of a panic. `ready`: what the
//!   program that started a server hears of it.
//! * `session`: a model with its engine running. `progress`: the bar while it loads.
//! * One file a command: `serve`, `generate`, `chat`, `batch`, `inspect`, `pack`,
//!   `selftest`, `health`.
//! * `flags_doc`: docs/flags.md, from the help texts (a test).
mod args;
mod batch;
mod chat;
mod errors;
mod failure;
#[cfg(test)]
mod flags_doc;
mod generate;
mod health;
mod inspect;
mod pack;
mod panics;
mod progress;
mod ready;
mod selftest;
mod serve;
mod serve_args;
mod session;

use args::{Arguments, Command};
use clap::Parser;
use failure::Failure;
use std::process::ExitCode;

/// Runs the program; an error is one line on standard error, and an exit code that says what is to
/// blame.
pub fn main() -> ExitCode {
    panics::tell_in_one_line();
    let arguments = Arguments::parse();
    let command = arguments.command.unwrap_or(Command::Serve(Box::new(arguments.serve)));
    if !matches!(command, Command::Serve(_)) {
        // `verbatim inspect | head` should end quietly, as other programs do; a server must outlive
        // its clients.
        crate::sys::signals::end_at_closed_pipes();
    }
    let result = match command {
        Command::Serve(args) => serve::serve(&args),
        Command::Generate(args) => generate::generate(&args).map_err(Failure::from),
        Command::Chat(args) => chat::chat(&args).map_err(Failure::from),
        Command::Inspect(args) => inspect::inspect(&args).map_err(Failure::from),
        Command::Pack(args) => pack::pack(&args).map_err(Failure::from),
        Command::Batch(args) => batch::batch(&args).map_err(Failure::from),
        Command::Selftest(args) => selftest::selftest(&args).map_err(Failure::from),
        Command::Health(args) => health::health(&args).map_err(Failure::from),
    };
    result.map_or_else(|failure| failure.tell(), |()| ExitCode::SUCCESS)
}
