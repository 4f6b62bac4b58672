//! Flags of the log.
use crate::serve::watch::options::{LogFormat, WatchOptions};
use clap::Args;
use clap::builder::BoolishValueParser;
use std::path::PathBuf;

/// What is logged, how, and where to.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Server")]
pub(in crate::cli) struct WatchArgs {
    /// How the log is written, a line for each request and notice: text, json or off.
    #[arg(long, env = "VERBATIM_LOG", value_name = "FORMAT", default_value = "text")]
    log: String,
    /// File that the log is appended to; it is opened anew on SIGHUP [default: standard error].
    #[arg(long, env = "VERBATIM_LOG_FILE", value_name = "PATH")]
    log_file: Option<PathBuf>,
    /// Log the beginnings of prompts and answers, up to 2 KiB each.
    ///
    /// Without this no line holds any of them.
    #[arg(long, env = "VERBATIM_LOG_PROMPTS", value_parser = BoolishValueParser::new())]
    log_prompts: bool,
}

impl WatchArgs {
    /// The options that these flags stand for.
    pub(in crate::cli) fn options(&self) -> Result<WatchOptions, String> {
        let log = LogFormat::from_name(&self.log)
            .ok_or_else(|| format!("--log {}: expected text, json or off", self.log))?;
        let log_file = self.log_file.clone().filter(|path| !path.as_os_str().is_empty());
        Ok(WatchOptions { log, log_file, log_prompts: self.log_prompts })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Debug, Parser)]
    struct Flags {
        #[command(flatten)]
        watch: WatchArgs,
    }

    #[test]
    fn flags_become_options() {
        let options = |args: &[&str]| {
            Flags::try_parse_from([&["verbatim"], args].concat()).expect("flags").watch.options()
        };
        assert_eq!(options(&[]), Ok(WatchOptions::default()));
        let given = options(&["--log", "json", "--log-file", "a.log", "--log-prompts"]);
        let expected =
            WatchOptions { log: LogFormat::Json, log_file: Some(PathBuf::from("a.log")), log_prompts: true };
        assert_eq!(given, Ok(expected));
        assert_eq!(options(&["--log", "x"]), Err("--log x: expected text, json or off".to_owned()));
    }
}
