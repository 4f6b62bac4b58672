//! Settings in use, which are told when a server starts; those that bound clients are metrics, too.
use std::time::Duration;

/// A setting in use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    /// The name of its option.
    pub name: &'static str,
    /// What it is set to.
    pub value: String,
    /// What it is for, or where its value comes from.
    pub reason: String,
    /// The number, in the option's unit, where it bounds what clients may take.
    pub limit: Option<u64>,
    /// Whether what is beyond it is refused, and counted by its name.
    pub refuses: bool,
    /// Whether whoever starts a server should see it without asking.
    pub is_told: bool,
}

impl Setting {
    /// A setting that bounds nothing.
    pub fn new(name: &'static str, value: impl Into<String>, reason: impl Into<String>) -> Self {
        let (value, reason) = (value.into(), reason.into());
        Self { name, value, reason, limit: None, refuses: false, is_told: false }
    }

    /// A bound beyond which requests are refused.
    pub fn budget(name: &'static str, limit: usize, reason: impl Into<String>) -> Self {
        let number = u64::try_from(limit).unwrap_or(u64::MAX);
        Self { limit: Some(number), refuses: true, ..Self::new(name, limit.to_string(), reason) }
    }

    /// A bound at which others wait, or what came before ends; nothing is refused.
    pub fn bound(name: &'static str, limit: usize, reason: impl Into<String>) -> Self {
        Self { refuses: false, ..Self::budget(name, limit, reason) }
    }

    /// A bound on a time, in whole seconds.
    pub fn seconds(name: &'static str, time: Duration, reason: impl Into<String>) -> Self {
        let value = format!("{} s", time.as_secs());
        Self { limit: Some(time.as_secs()), ..Self::new(name, value, reason) }
    }

    /// This setting, told to everybody who starts a server.
    #[must_use]
    pub fn told(self) -> Self {
        Self { is_told: true, ..self }
    }
}
