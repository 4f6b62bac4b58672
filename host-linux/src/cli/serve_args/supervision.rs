//! Flags of the supervision of the engine.
use super::super::values::whole;
use crate::runtime::Supervision;
use clap::Args;

#[derive(Clone, Copy, Debug, Args)]
#[command(next_help_heading = "Server")]
pub(in crate::cli) struct SupervisionArgs {
    /// Restarts of the engine after an internal error, within 60 seconds, at most.
    ///
    /// One error more ends the server with exit code 1.
    #[arg(long, env = "VERBATIM_ENGINE_RESTARTS", value_name = "N", value_parser = whole::<u32>, default_value_t = Supervision::default().restarts_max)]
    engine_restarts: u32,
    /// A step that takes N times as long as it should is told of, and the server is not well.
    ///
    /// A second is the least. It is told on standard error, and /health answers 503 until the step
    /// ends.
    #[arg(long, env = "VERBATIM_WATCHDOG_FACTOR", value_name = "N", value_parser = whole::<u32>, default_value_t = Supervision::default().watchdog_factor)]
    watchdog_factor: u32,
}

impl SupervisionArgs {
    /// The supervision that these flags stand for.
    pub(in crate::cli) fn supervision(self) -> Supervision {
        Supervision {
            restarts_max: self.engine_restarts,
            watchdog_factor: self.watchdog_factor,
            ..Supervision::default()
        }
    }
}
