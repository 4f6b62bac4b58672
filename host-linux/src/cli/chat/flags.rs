//! Flags of `verbatim chat` alone.
use crate::cli::http::Place;
use crate::cli::typed_key::TypedKey;
use clap::Args;
use clap::builder::BoolishValueParser;

/// A server to talk to.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Server")]
pub(in crate::cli) struct ServerArgs {
    /// Talk to a server of OpenAI's chat API at this URL, such as http://127.0.0.1:8080, rather
    /// than to a model in this process.
    ///
    /// --model is then the name of the model to ask for, by default the first that the server
    /// lists, and other flags of the model have no effect.
    #[arg(long, env = "VERBATIM_URL", value_name = "URL")]
    url: Option<String>,
    /// The key that the server wants. Other users of the machine can read a command line, so prefer
    /// the variable.
    #[arg(long, env = "VERBATIM_KEY", value_name = "KEY", hide_env_values = true)]
    key: Option<TypedKey>,
}

impl ServerArgs {
    /// The server, if one is given.
    pub(super) fn place(&self) -> Result<Option<Place>, String> {
        let key = self.key.as_ref().map(TypedKey::as_str);
        let url = self.url.as_deref().filter(|url| !url.is_empty());
        url.map(|url| Place::new(url, key).map_err(|error| format!("--url: {error}"))).transpose()
    }
}

/// What is shown of a conversation.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Output")]
pub(in crate::cli) struct ShownArgs {
    /// Tell figures behind each answer: tokens, times and the seed.
    #[arg(long, env = "VERBATIM_VERBOSE", value_parser = BoolishValueParser::new())]
    pub(in crate::cli) verbose: bool,
}
