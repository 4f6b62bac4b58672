//! Text with calls in it: finds where calls begin, and runs the machine that reads them.
use super::machine::{Machine, Step, is_blank};
use super::marks::{Found, Marks};
use super::sink::Sink;
use std::fmt::Debug;

/// What the scanner asks of a format.
pub(super) trait Syntax: Debug + Send {
    /// The marks that calls may begin with, anywhere in an answer.
    fn openings(&self) -> &'static [&'static str];

    /// The marks that close calls. They are dropped behind a call.
    fn closings(&self) -> &'static [&'static str];

    /// Further marks, inside calls.
    fn inner_marks(&self) -> &'static [&'static str] {
        &[]
    }

    /// The machine for what begins with `first`, which is no blank, behind a mark or at the
    /// beginning of the answer; `None` if that is no call.
    fn machine(&self, mark: Option<usize>, first: char) -> Option<Box<dyn Machine>>;

    /// Whether this stands between a call and the next one behind the same mark.
    fn is_separator(&self, _c: char) -> bool {
        false
    }
}

#[derive(Debug)]
enum State {
    /// At the beginning of an answer, which may be a call without a mark.
    Beginning,
    /// In text, where a mark may come.
    Text,
    /// Behind an opening mark.
    Marked,
    /// In a call, or a list of them.
    Call(Box<dyn Machine>),
    /// Behind a call, where another may follow.
    Behind,
}

/// Reads the calls of one answer.
#[derive(Debug)]
pub(super) struct CallReader {
    syntax: Box<dyn Syntax>,
    state: State,
    openings: Marks,
    /// What may stand behind a call: the marks that close it, and then those that open another.
    behind: Marks,
    /// The mark behind which the call began.
    mark: Option<usize>,
}

impl CallReader {
    /// A reader of an answer with calls of this syntax.
    pub(super) fn new(syntax: Box<dyn Syntax>) -> Self {
        let openings = Marks::new(syntax.openings());
        let behind = Marks::new(&[syntax.closings(), syntax.openings()].concat());
        Self { syntax, state: State::Beginning, openings, behind, mark: None }
    }

    /// Takes the next character.
    pub(super) fn push(&mut self, c: char, sink: &mut Sink) {
        // A character that does not belong where it comes is read again as text, so this ends.
        while !self.step(c, sink) {}
    }

    /// Takes a character; false if it was not taken, and the state has changed.
    fn step(&mut self, c: char, sink: &mut Sink) -> bool {
        match &mut self.state {
            State::Beginning | State::Text => self.text(c, sink),
            State::Marked => {
                if !is_blank(c) {
                    return self.begin(c, sink);
                }
                self.took(c, sink)
            }
            State::Call(machine) => match machine.push(c, sink) {
                Step::More => self.took(c, sink),
                Step::Done => {
                    sink.candidate("");
                    self.state = State::Behind;
                    true
                }
                Step::Wrong => {
                    sink.give_up();
                    self.state = State::Text;
                    false
                }
            },
            State::Behind => self.behind(c, sink),
        }
    }

    /// A character of what may be a call was taken.
    fn took(&mut self, c: char, sink: &mut Sink) -> bool {
        if !sink.took(c) {
            sink.give_up();
            self.state = State::Text;
        }
        true
    }

    /// Runs the machine for what begins with this character, which is not taken yet.
    fn begin(&mut self, first: char, sink: &mut Sink) -> bool {
        self.state = match self.syntax.machine(self.mark, first) {
            Some(machine) => State::Call(machine),
            None => {
                sink.give_up();
                State::Text
            }
        };
        false
    }

    fn text(&mut self, c: char, sink: &mut Sink) -> bool {
        if matches!(self.state, State::Beginning) && !c.is_whitespace() && !self.openings.is_holding() {
            self.state = State::Text;
            self.mark = None;
            if let Some(machine) = self.syntax.machine(None, c) {
                sink.candidate("");
                self.state = State::Call(machine);
                return false;
            }
        }
        let mut text = String::new();
        let found = self.openings.push(c, &mut text);
        sink.text(&text);
        if let Found::Mark(mark) = found {
            self.open(mark, sink);
        }
        true
    }

    /// An opening mark was read.
    fn open(&mut self, mark: usize, sink: &mut Sink) {
        self.mark = Some(mark);
        self.state = State::Marked;
        sink.candidate(self.syntax.openings()[mark]);
    }

    fn behind(&mut self, c: char, sink: &mut Sink) -> bool {
        if !self.behind.is_holding() && (is_blank(c) || self.syntax.is_separator(c)) {
            return self.took(c, sink);
        }
        let mut text = String::new();
        let closings = self.syntax.closings().len();
        match self.behind.push(c, &mut text) {
            Found::Mark(mark) if mark < closings => {
                sink.settle();
                self.state = State::Text;
            }
            Found::Mark(mark) => self.open(mark - closings, sink),
            Found::Nothing if text.is_empty() => {}
            Found::Nothing => {
                // It is no mark: it is the next call, or text, in which a mark may begin.
                self.behind.release(&mut text);
                if let Some(first) = text.chars().next() {
                    self.begin(first, sink);
                }
                text.chars().for_each(|c| self.push(c, sink));
            }
        }
        true
    }

    /// The answer has ended. A mark that it did not complete is text, unless it would have closed a
    /// call.
    pub(super) fn finish(&mut self, sink: &mut Sink) {
        let mut text = String::new();
        self.openings.release(&mut text);
        sink.text(&text);
        if matches!(self.state, State::Behind) {
            sink.settle();
        }
    }
}
