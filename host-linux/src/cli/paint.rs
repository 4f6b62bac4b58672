//! Colours, where whoever reads can see them: on a terminal, unless `NO_COLOR` says otherwise.
use clap::builder::styling::{AnsiColor, Style};
use std::ffi::OsString;
use std::io::IsTerminal;

/// Paints words, or leaves them plain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Paint {
    is_on: bool,
}

impl Paint {
    /// For what is written to standard output.
    pub(super) fn stdout() -> Self {
        Self::of(std::io::stdout().is_terminal(), |name| std::env::var_os(name))
    }

    /// For what is written to standard error.
    pub(super) fn stderr() -> Self {
        Self::of(std::io::stderr().is_terminal(), |name| std::env::var_os(name))
    }

    /// Whether there are any.
    pub(super) fn is_on(self) -> bool {
        self.is_on
    }

    /// For whoever wants none, such as a file.
    #[cfg(test)]
    pub(super) const fn plain() -> Self {
        Self { is_on: false }
    }

    /// `NO_COLOR` (no-color.org) is stronger than `CLICOLOR_FORCE` (bixense.com/clicolors), and
    /// that is stronger than what the terminal is.
    fn of(is_terminal: bool, env: impl Fn(&str) -> Option<OsString>) -> Self {
        let given = |name: &str| env(name).filter(|value| !value.is_empty());
        let is_dumb = given("TERM").is_some_and(|term| term == "dumb");
        let is_on = if given("NO_COLOR").is_some() {
            false
        } else if given("CLICOLOR_FORCE").is_some_and(|value| value != "0") {
            true
        } else {
            is_terminal && !is_dumb && given("CLICOLOR").is_none_or(|value| value != "0")
        };
        Self { is_on }
    }

    fn styled(self, style: Style, text: &str) -> String {
        if self.is_on { format!("{style}{text}{style:#}") } else { text.to_owned() }
    }

    /// A label, or what matters most.
    pub(super) fn bold(self, text: &str) -> String {
        self.styled(Style::new().bold(), text)
    }

    /// What is well, in green.
    pub(super) fn good(self, text: &str) -> String {
        self.styled(AnsiColor::Green.on_default(), text)
    }

    /// What might be better, in yellow.
    pub(super) fn doubtful(self, text: &str) -> String {
        self.styled(AnsiColor::Yellow.on_default(), text)
    }

    /// What is wrong, in red.
    pub(super) fn bad(self, text: &str) -> String {
        self.styled(AnsiColor::Red.on_default().bold(), text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_are_stronger_than_the_terminal() {
        let is_on = |is_terminal, variables: &[(&str, &str)]| {
            let value =
                |name: &str| variables.iter().find(|(of, _)| *of == name).map(|(_, value)| value.into());
            Paint::of(is_terminal, value).is_on
        };
        assert!(is_on(true, &[]) && !is_on(false, &[]));
        assert!(!is_on(true, &[("NO_COLOR", "1")]) && is_on(true, &[("NO_COLOR", "")]));
        assert!(is_on(false, &[("CLICOLOR_FORCE", "1")]) && !is_on(false, &[("CLICOLOR_FORCE", "0")]));
        assert!(!is_on(false, &[("CLICOLOR_FORCE", "1"), ("NO_COLOR", "1")]));
        assert!(!is_on(true, &[("TERM", "dumb")]) && !is_on(true, &[("CLICOLOR", "0")]));
    }

    #[test]
    fn plain_words_have_no_escapes() {
        let plain = Paint { is_on: false };
        assert_eq!([plain.bold("a"), plain.good("b"), plain.doubtful("c"), plain.bad("d")].concat(), "abcd");
        assert_eq!(Paint { is_on: true }.bold("a"), "\x1b[1ma\x1b[0m");
    }
}
