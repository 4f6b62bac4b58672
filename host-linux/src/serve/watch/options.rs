//! What whoever starts a server decides about its log.
use crate::serve::setting::Setting;
use std::path::PathBuf;

/// How lines of the log are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// For people: time, level, message, and fields as `name=value`.
    #[default]
    Text,
    /// For programs: a JSON object a line.
    Json,
    /// No line at all.
    Off,
}

impl LogFormat {
    /// All formats, with the name of each.
    pub const NAMES: [(&'static str, Self); 3] =
        [("text", Self::Text), ("json", Self::Json), ("off", Self::Off)];

    /// The format of a name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::NAMES.into_iter().find_map(|(of, format)| (of == name).then_some(format))
    }

    /// The name of the format.
    pub fn name(self) -> &'static str {
        Self::NAMES.into_iter().find_map(|(name, of)| (of == self).then_some(name)).unwrap_or_default()
    }
}

/// What is logged, how, and where to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WatchOptions {
    /// How lines are written.
    pub log: LogFormat,
    /// The file that they are appended to; none is standard error.
    pub log_file: Option<PathBuf>,
    /// Whether lines have the beginnings of prompts and answers.
    pub log_prompts: bool,
}

impl WatchOptions {
    /// What is in use, and why.
    pub fn settings(&self) -> Vec<Setting> {
        let to = match &self.log_file {
            Some(path) => format!("to {}", path.display()),
            None => "to standard error".to_owned(),
        };
        let mut settings = vec![Setting::new("log", self.log.name(), to)];
        if self.log_prompts {
            let reason = "lines hold the beginnings of prompts and answers";
            settings.push(Setting::new("log-prompts", "on", reason).told());
        }
        settings
    }
}
