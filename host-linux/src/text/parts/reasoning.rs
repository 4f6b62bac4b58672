//! What a model writes to itself before it answers, between marks.
//!
//! It stands at the beginning of the answer, or nowhere; a mark later on is text. Blanks around it
//! belong to neither part.
use super::format::ReasoningFormat;
use super::marks::{Found, Marks};
use super::sink::Sink;

/// Blanks that are held back until it is known what follows them.
const BLANKS_MAX: usize = 64;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// The opening mark may come.
    Before,
    /// Inside; nothing but blanks came so far.
    Opened,
    Inside,
    /// Behind the closing mark, where blanks are dropped.
    Closed,
    /// In the answer, where marks are text.
    Answer,
}

/// Splits reasoning from the answer.
#[derive(Debug)]
pub(super) struct ReasoningReader {
    state: State,
    opening: Marks,
    closing: Marks,
    /// Blanks, which are dropped if a mark follows.
    blanks: String,
}

impl ReasoningReader {
    pub(super) fn new(format: &ReasoningFormat) -> Self {
        let (opening, closing) = format.syntax.marks();
        Self {
            state: if format.is_open { State::Opened } else { State::Before },
            opening: Marks::new(&[opening]),
            closing: Marks::new(&[closing]),
            blanks: String::new(),
        }
    }

    /// Takes a character; text of the answer is added to `answer`.
    pub(super) fn push(&mut self, c: char, sink: &mut Sink, answer: &mut String) {
        match self.state {
            State::Before => self.before(c, answer),
            State::Opened | State::Inside => {
                let mut text = String::new();
                let found = self.closing.push(c, &mut text);
                self.inside(&text, sink);
                if found != Found::Nothing {
                    self.blanks.clear();
                    self.state = State::Closed;
                }
            }
            State::Closed if c.is_whitespace() => {}
            State::Closed | State::Answer => {
                self.state = State::Answer;
                answer.push(c);
            }
        }
    }

    fn before(&mut self, c: char, answer: &mut String) {
        if c.is_whitespace() && !self.opening.is_holding() && self.blanks.len() < BLANKS_MAX {
            self.blanks.push(c);
            return;
        }
        let mut text = String::new();
        if self.opening.push(c, &mut text) != Found::Nothing {
            self.blanks.clear();
            self.state = State::Opened;
        } else if !text.is_empty() {
            self.state = State::Answer;
            answer.push_str(&std::mem::take(&mut self.blanks));
            answer.push_str(&text);
            self.opening.release(answer);
        }
    }

    fn inside(&mut self, text: &str, sink: &mut Sink) {
        for c in text.chars() {
            if c.is_whitespace() && (self.state == State::Opened || self.blanks.len() < BLANKS_MAX) {
                if self.state == State::Inside {
                    self.blanks.push(c);
                }
                continue;
            }
            self.state = State::Inside;
            self.blanks.push(c);
            sink.reasoning(&std::mem::take(&mut self.blanks));
        }
    }

    /// The answer has ended; blanks at the end of reasoning are dropped.
    pub(super) fn finish(&mut self, sink: &mut Sink, answer: &mut String) {
        match self.state {
            State::Before => {
                answer.push_str(&std::mem::take(&mut self.blanks));
                self.opening.release(answer);
            }
            State::Opened | State::Inside => {
                let mut text = String::new();
                self.closing.release(&mut text);
                self.inside(&text, sink);
            }
            State::Closed | State::Answer => {}
        }
    }
}
