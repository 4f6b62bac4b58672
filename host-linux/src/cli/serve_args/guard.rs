//! Flags that say who may ask.
use super::super::typed_key::TypedKey;
use super::super::values::priority;
use crate::serve::guards::keys::Secret;
use crate::serve::guards::options::GuardOptions;
use crate::serve::guards::state::Guards;
use clap::Args;
use clap::builder::BoolishValueParser;
use std::path::PathBuf;

#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Server")]
pub(in crate::cli) struct GuardArgs {
    /// A key that requests must bring, as Authorization: Bearer KEY or x-api-key: KEY [default:
    /// none, and every request is served].
    ///
    /// It is asked for on every route but those of probes, such as /health. May be given several
    /// times, or several with commas between. Other users of the machine can read a command line,
    /// so prefer the variable, or a file.
    #[arg(long, env = "VERBATIM_API_KEY", value_name = "KEY", hide_env_values = true, value_delimiter = ',')]
    api_key: Vec<TypedKey>,
    /// File of keys, one a line, each with limits of its own [default: none].
    ///
    /// A line is NAME KEY [requests-per-minute=N] [tokens-per-minute=N] [concurrent=N]
    /// [max-priority=N] [admin=true], or a KEY alone; # begins a comment. It is read anew on
    /// SIGHUP; if it is wrong then, the old keys stay.
    #[arg(long, env = "VERBATIM_API_KEY_FILE", value_name = "FILE")]
    api_key_file: Option<PathBuf>,
    /// Greatest priority of requests without a key, or whose key does not say: 0 to 127.
    ///
    /// At N, a body may ask for a priority of -N or more, where a lower one is sooner.
    #[arg(
        long,
        env = "VERBATIM_MAX_PRIORITY",
        value_name = "N",
        default_value_t = 0,
        value_parser = priority
    )]
    max_priority: i8,
    /// Origin of web pages that may ask (https://app.example), or * for all [default: none but
    /// pages of this server].
    ///
    /// May be given several times, or several with commas between.
    #[arg(long, env = "VERBATIM_CORS_ORIGIN", value_name = "ORIGIN", value_delimiter = ',')]
    cors_origin: Vec<String>,
    /// Name by which the server may be called in the Host header, besides localhost and what it
    /// listens on [default: none].
    ///
    /// .example.com is all names below it too, * is every name; loopback addresses are always
    /// right. Checked where only this machine can reach the port, or where a name is given. May be
    /// given several times, or several with commas between.
    #[arg(long, env = "VERBATIM_ALLOWED_HOST", value_name = "NAME", value_delimiter = ',')]
    allowed_host: Vec<String>,
    /// Tell metrics without a key.
    #[arg(long, env = "VERBATIM_METRICS_OPEN", value_parser = BoolishValueParser::new())]
    metrics_open: bool,
}

impl GuardArgs {
    /// The options that these flags stand for. The file of keys is read once, so that an error in
    /// it comes before the model is loaded.
    pub(in crate::cli) fn options(&self, host: &str) -> Result<GuardOptions, String> {
        let mut options = GuardOptions::default();
        let keys = self.api_key.iter().map(|key| Secret::new(key.as_str()));
        options.api_keys = keys.collect::<Result<_, _>>().map_err(|what| format!("--api-key: {what}"))?;
        let load = |flag: &str, options: &GuardOptions| {
            Guards::open(options, &[]).map(drop).map_err(|what| format!("{flag}: {what}"))
        };
        load("--api-key", &options)?;
        options.max_priority = self.max_priority;
        options.api_key_file.clone_from(&self.api_key_file);
        load("--api-key-file", &options)?;
        // An environment variable that is empty gives nothing, except that an empty key is a fault.
        for origin in self.cors_origin.iter().filter(|origin| !origin.is_empty()) {
            let added = options.cors_origins.allow(origin);
            added.map_err(|what| format!("--cors-origin {origin}: {what}"))?;
        }
        for name in self.allowed_host.iter().filter(|name| !name.is_empty()) {
            let added = options.allowed_hosts.allow(name);
            added.map_err(|what| format!("--allowed-host {name}: {what}"))?;
        }
        options.host = Some(host.to_owned());
        options.metrics_open = self.metrics_open;
        Ok(options)
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::args::Arguments;
    use super::*;
    use clap::Parser;

    fn parse(args: &[&str]) -> Arguments {
        Arguments::try_parse_from([&["verbatim"], args].concat()).unwrap()
    }

    fn options(args: &[&str]) -> Result<GuardOptions, String> {
        parse(args).serve.guard.options("127.0.0.1")
    }

    #[test]
    fn flags_become_options() {
        let found = options(&[
            "--api-key",
            "sk-a,sk-b",
            "--api-key",
            "sk-c",
            "--max-priority",
            "3",
            "--cors-origin",
            "https://a.example",
            "--cors-origin",
            "http://localhost:3000",
            "--allowed-host",
            "box.lan",
            "--allowed-host",
            "",
            "--metrics-open",
        ])
        .unwrap();
        assert_eq!(found.api_keys, ["sk-a", "sk-b", "sk-c"].map(|key| Secret::new(key).unwrap()));
        assert_eq!(found.cors_origins.to_string(), "https://a.example, http://localhost:3000");
        assert_eq!(found.allowed_hosts.to_string(), "box.lan");
        assert_eq!((found.max_priority, found.metrics_open), (3, true));
    }

    #[test]
    fn errors_name_the_flag_and_quote_no_key() {
        let error = |args: &[&str]| options(args).unwrap_err();
        assert_eq!(error(&["--api-key", "sk-a,,sk-b"]), "--api-key: the key is empty");
        assert_eq!(
            error(&["--api-key", "sk-sécret"]),
            "--api-key: the key has blanks or characters beyond ASCII"
        );
        assert_eq!(
            error(&["--api-key", "sk-secret", "--api-key", "sk-secret"]),
            "--api-key: the key is the same as that of key-1"
        );
        assert!(error(&["--api-key-file", "/no/file"]).starts_with("--api-key-file: /no/file: "));
        assert!(
            error(&["--cors-origin", "a.example"]).starts_with("--cors-origin a.example: expected scheme")
        );
        assert!(error(&["--allowed-host", "http://a"]).starts_with("--allowed-host http://a: expected"));
        assert!(Arguments::try_parse_from(["verbatim", "--max-priority", "-1"]).is_err());
    }

    #[test]
    fn no_key_is_shown_with_the_flags() {
        let arguments = parse(&["--api-key", "sk-secret"]);
        let shown = format!("{arguments:?} {:?}", arguments.serve.guard.options("x").unwrap());
        assert!(shown.contains("TypedKey") && !shown.contains("secret"), "{shown}");
    }
}
