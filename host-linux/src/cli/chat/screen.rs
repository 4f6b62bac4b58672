//! Where a conversation is shown: on a terminal, with Markdown and colours where it has them, or as
//! the bare answers in a file or a pipe.
use super::markdown::Markdown;
use super::partner::Piece;
use super::styles::{DIM, PLAIN};
use crate::cli::output;
use crate::cli::paint::Paint;
use crate::cli::visible::{Visible, shown};
use std::io::{self, IsTerminal, Write};

/// How answers are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Look {
    /// Byte for byte, and nothing else; for programs.
    Bare,
    /// As bare, but with control characters shown: on a terminal that gets what a pipe has brought.
    Quiet,
    /// With control characters shown and reasoning, without codes of its own.
    Plain,
    /// With Markdown in the styles of the terminal.
    Styled,
}

impl Look {
    /// What standard output can show, with somebody at the terminal or without. Where there are no
    /// colours, there are no styles.
    pub(super) fn of_streams() -> Self {
        match (io::stdout().is_terminal(), io::stdin().is_terminal()) {
            (false, _) => Self::Bare,
            (true, false) => Self::Quiet,
            (true, true) if Paint::stdout().is_on() => Self::Styled,
            (true, true) => Self::Plain,
        }
    }

    /// Whether nothing but answers is shown.
    pub(super) fn is_quiet(self) -> bool {
        matches!(self, Self::Bare | Self::Quiet)
    }
}

/// What of an answer came last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shown {
    Nothing,
    Reasoning,
    Text,
}

/// Shows answers and what is told beside them.
pub(super) struct Screen {
    look: Look,
    out: Box<dyn Write>,
    visible: Visible,
    markdown: Markdown,
    last: Shown,
    /// The last character that was written.
    last_char: char,
}

/// The columns of the terminal, or what most have.
fn columns() -> usize {
    ratatui::crossterm::terminal::size().map_or(80, |(columns, _)| usize::from(columns))
}

impl Screen {
    /// A screen that writes to `out`.
    pub(super) fn new(look: Look, out: Box<dyn Write>) -> Self {
        let (visible, markdown) = (Visible::default(), Markdown::new(columns));
        Self { look, out, visible, markdown, last: Shown::Nothing, last_char: '\n' }
    }

    /// Shows a piece of an answer at once.
    pub(super) fn piece(&mut self, piece: &Piece) -> Result<(), String> {
        let mut out = String::new();
        match piece {
            Piece::Reasoning(_) if self.look.is_quiet() => return Ok(()),
            Piece::Reasoning(text) => self.reasoning(text, &mut out),
            Piece::Text(text) => self.text(text, &mut out),
        }
        self.write(&out)
    }

    fn reasoning(&mut self, text: &str, out: &mut String) {
        if self.last != Shown::Reasoning {
            self.close(out);
            out.push_str(if self.look == Look::Styled { DIM } else { "[reasoning]\n" });
            self.last = Shown::Reasoning;
        }
        self.visible.push(text, out);
    }

    fn text(&mut self, text: &str, out: &mut String) {
        if self.last == Shown::Reasoning {
            self.close(out);
            out.push_str(if self.look == Look::Styled { "\n" } else { "[answer]\n" });
        }
        self.last = Shown::Text;
        match self.look {
            Look::Bare => out.push_str(text),
            Look::Quiet | Look::Plain => self.visible.push(text, out),
            Look::Styled => {
                let mut visible = String::new();
                self.visible.push(text, &mut visible);
                self.markdown.push(&visible, out);
            }
        }
    }

    /// Ends what is shown, with the end of its line.
    fn close(&mut self, out: &mut String) {
        match (self.last, self.look) {
            (Shown::Nothing, _) => return,
            (Shown::Text, Look::Bare) => {}
            (Shown::Reasoning, look) => {
                self.visible.finish(out);
                out.push_str(if look == Look::Styled { PLAIN } else { "" });
            }
            (Shown::Text, look) => {
                let mut rest = String::new();
                self.visible.finish(&mut rest);
                if look == Look::Styled {
                    self.markdown.push(&rest, out);
                    self.markdown.finish(out);
                } else {
                    out.push_str(&rest);
                }
            }
        }
        // A code at the end of a line does not begin another one.
        let last = out.trim_end_matches(PLAIN).chars().next_back().unwrap_or(self.last_char);
        if last != '\n' || self.look.is_quiet() {
            out.push('\n');
        }
        self.last = Shown::Nothing;
    }

    /// The answer has ended: the next thing begins on a line of its own, in plain style.
    pub(super) fn end(&mut self) -> Result<(), String> {
        let mut out = String::new();
        self.close(&mut out);
        self.write(&out)
    }

    /// Tells something beside answers. It goes where it disturbs none: to standard error where
    /// answers are bare.
    pub(super) fn tell(&mut self, text: &str) -> Result<(), String> {
        if self.look.is_quiet() {
            self.complain(text);
            return Ok(());
        }
        let line = format!("{}\n", shown(text));
        self.write(&line)
    }

    /// Tells an error, on standard error.
    pub(super) fn complain(&mut self, text: &str) {
        output::note(shown(text));
    }

    /// Whether nothing but answers is shown.
    pub(super) fn is_quiet(&self) -> bool {
        self.look.is_quiet()
    }

    fn write(&mut self, text: &str) -> Result<(), String> {
        if let Some(last) = text.trim_end_matches(PLAIN).chars().next_back() {
            self.last_char = last;
        }
        self.out.write_all(text.as_bytes()).and_then(|()| self.out.flush()).map_err(output::lost)
    }
}

#[cfg(test)]
mod tests {
    use super::super::paper::Paper;
    use super::*;

    fn shown_as(look: Look, pieces: &[Piece]) -> String {
        let paper = Paper::default();
        let mut screen = Screen::new(look, Box::new(paper.clone()));
        pieces.iter().for_each(|piece| screen.piece(piece).expect("paper takes it"));
        screen.end().expect("paper takes it");
        let bytes = paper.0.lock().expect("whole").clone();
        String::from_utf8(bytes).expect("text")
    }

    #[test]
    fn an_answer_is_shown_by_what_shows_it() {
        let text = |text: &str| Piece::Text(text.to_owned());
        let pieces = [Piece::Reasoning("So\u{1b}".to_owned()), text("**B"), text("**!\u{7}")];
        assert_eq!(shown_as(Look::Bare, &pieces), "**B**!\u{7}\n", "a file gets the bytes of the answer");
        assert_eq!(shown_as(Look::Plain, &pieces), "[reasoning]\nSo␛\n[answer]\n**B**!␇\n");
        assert_eq!(shown_as(Look::Quiet, &pieces), "**B**!␇\n");
        let styled = "\x1b[2mSo␛\x1b[0m\n\n\x1b[1mB\x1b[0m!␇\n";
        assert_eq!(shown_as(Look::Styled, &pieces), styled);
        assert_eq!(shown_as(Look::Styled, &[text("a\n")]), "a\n", "an answer that ends its line");
        assert_eq!(shown_as(Look::Bare, &[text("a\n")]), "a\n\n", "answers are told apart");
        assert_eq!(shown_as(Look::Styled, &[text("open **bol")]), "open **bol\n", "one that was stopped");
        assert_eq!(shown_as(Look::Styled, &[]), "");
    }
}
