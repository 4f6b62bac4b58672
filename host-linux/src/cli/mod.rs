//! The command line: the only part of this crate that prints, and that knows flags.
//!
//! * `args`: flags to options. `errors`: errors of the library in words of flags.
//! * `session`: a model with its engine running. `progress`: the bar while it loads.
//! * One file a command: `serve`, `generate`, `chat`, `inspect`, `pack`, `selftest`.
//! * `flags_doc`: docs/flags.md, from the help texts (a test).
mod args;
mod chat;
mod errors;
#[cfg(test)]
mod flags_doc;
mod generate;
mod inspect;
mod pack;
mod progress;
mod selftest;
mod serve;
mod session;

use args::{Arguments, Command};
use clap::Parser;
use std::process::ExitCode;

/// Runs the program; an error is one line on standard error and exit code 1.
pub fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let command = arguments.command.unwrap_or(Command::Serve(arguments.serve));
    if !matches!(command, Command::Serve(_)) {
        // `verbatim inspect | head` should end quietly, as other programs do; a server must outlive
        // its clients.
        crate::sys::signals::end_at_closed_pipes();
    }
    let result = match command {
        Command::Serve(args) => serve::serve(&args),
        Command::Generate(args) => generate::generate(&args),
        Command::Chat(args) => chat::chat(&args),
        Command::Inspect(args) => inspect::inspect(&args),
        Command::Pack(args) => pack::pack(&args),
        Command::Selftest(args) => selftest::selftest(&args),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}
