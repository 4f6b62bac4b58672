//! The command line.
mod args;
mod chat;
mod generate;
mod inspect;
mod pack;
mod selftest;
mod serve;

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
