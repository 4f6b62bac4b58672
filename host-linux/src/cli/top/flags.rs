//! Flags of `verbatim top`.
use crate::cli::http::Place;
use crate::cli::typed_key::TypedKey;
use clap::Args;
use clap::builder::BoolishValueParser;

/// Which server is watched, and how.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Server")]
pub(in crate::cli) struct TopArgs {
    /// Where the server is, as a URL.
    #[arg(default_value = "http://127.0.0.1:8080")]
    url: String,
    /// The key that the server wants. Other users of the machine can read a command line, so prefer
    /// the variable.
    #[arg(long, env = "VERBATIM_KEY", value_name = "KEY", hide_env_values = true)]
    key: Option<TypedKey>,
    /// Milliseconds between two pictures, at least.
    #[arg(long, env = "VERBATIM_INTERVAL_MS", value_name = "N", default_value_t = 250,
          value_parser = clap::value_parser!(u64).range(100..=10_000))]
    pub(super) interval_ms: u64,
    /// Print one picture as plain text and end.
    #[arg(long, env = "VERBATIM_ONCE", value_parser = BoolishValueParser::new())]
    pub(super) once: bool,
}

impl TopArgs {
    /// The server that is watched.
    pub(super) fn place(&self) -> Result<Place, String> {
        Place::new(&self.url, self.key.as_ref().map(TypedKey::as_str))
    }
}
