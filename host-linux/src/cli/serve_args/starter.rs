//! Flags for the program that starts the server, and lives beside it: how it hears that the server
//! is ready, and whether the server ends with it.
use super::super::values::descriptor;
use crate::sys::parent::Parent;
use clap::Args;
use clap::builder::BoolishValueParser;

#[derive(Clone, Copy, Debug, Args)]
#[command(next_help_heading = "Server")]
pub(in crate::cli) struct StarterArgs {
    /// Stop, as on SIGTERM, when the process that started the server has ended, however it did.
    #[arg(long, env = "VERBATIM_EXIT_WITH_PARENT", value_parser = BoolishValueParser::new())]
    exit_with_parent: bool,
    /// Descriptor to write a line of JSON to once the server is ready [default: standard output,
    /// unless that is a terminal].
    ///
    /// The line says where it listens, what it serves, and its process; then the descriptor is
    /// closed.
    #[arg(long, env = "VERBATIM_READY_FD", value_name = "N", value_parser = descriptor)]
    ready_fd: Option<i32>,
}

impl StarterArgs {
    /// The process to end with, if there is one. To be asked for as early as can be.
    pub(in crate::cli) fn parent(self) -> Result<Option<Parent>, String> {
        let parent = self.exit_with_parent.then(Parent::now).transpose();
        parent.map_err(|error| format!("--exit-with-parent: {error}"))
    }

    /// The number of the descriptor that waits for the server to be ready.
    pub(in crate::cli) fn ready_fd(self) -> Option<i32> {
        self.ready_fd
    }
}
