//! Flags of the supervision of the engine.
use crate::runtime::Supervision;
use clap::Args;

#[derive(Clone, Copy, Debug, Args)]
pub(in crate::cli) struct SupervisionArgs {
    /// Restarts of the engine after an internal error, within 60 seconds, at most; one error more
    /// ends the server with exit code 1.
    #[arg(long, env = "VERBATIM_ENGINE_RESTARTS", value_name = "N", default_value_t = Supervision::default().restarts_max)]
    engine_restarts: u32,
    /// A step that takes N times as long as it should (but a second at least) is told of on
    /// standard error, and /health answers 503 until it ends.
    #[arg(long, env = "VERBATIM_WATCHDOG_FACTOR", value_name = "N", default_value_t = Supervision::default().watchdog_factor)]
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
