//! Why a command ends without success: a line for people, and an exit code for the program that
//! started it, which decides by it whether to start it again.
use super::output;
use std::process::ExitCode;

/// What is to blame, as the exit code says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Blame {
    /// The system, or the program itself. A server that is started again may go on.
    System = 1,
    /// A flag, or a file that it names. The code of words that are no flags, too.
    Flags = 2,
    /// The model that is to be served, or the memory that is left for it.
    Model = 3,
    /// The address, the port or the socket file to listen on.
    Address = 4,
}

/// An error of a command.
#[derive(Debug)]
pub(super) struct Failure {
    blame: Blame,
    message: String,
}

impl Blame {
    /// The failure that this is to blame for.
    pub(super) fn for_error(self, error: impl ToString) -> Failure {
        Failure { blame: self, message: error.to_string() }
    }
}

impl From<String> for Failure {
    fn from(message: String) -> Self {
        Self { blame: Blame::System, message }
    }
}

impl Failure {
    /// Says it in one line on standard error; the code to end with.
    pub(super) fn tell(&self) -> ExitCode {
        output::note(format_args!("error: {}", self.message));
        ExitCode::from(self.blame as u8)
    }
}
