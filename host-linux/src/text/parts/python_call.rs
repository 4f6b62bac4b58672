//! Calls as Python has them: `f(a=1, b="x")`, alone or in a list.
//!
//! Only functions that are offered are called this way: nothing else tells a call from prose.
use super::json::{Fed, push_escaped};
use super::machine::{Machine, Step, is_blank};
use super::offered::OfferedTools;
use super::python_value::PythonValue;
use super::sink::Sink;
use std::sync::Arc;

/// Characters of a name or a key at most.
const WORD_MAX: usize = 64;

#[derive(Debug)]
enum State {
    /// At the first character, which may open a list.
    Open,
    /// A name must begin.
    Name,
    InName,
    /// Behind the opening bracket or a comma: a key, or the closing bracket.
    Key,
    InKey,
    /// Behind a key and blanks.
    Equals,
    /// Behind the `=` of an argument.
    Value,
    InValue(PythonValue),
    /// Behind the value of an argument.
    Next,
    /// Behind a call in a list.
    Behind,
    /// Behind a call in `print(…)`.
    Printed,
}

/// Reads one call, or a list of calls.
#[derive(Debug)]
pub(super) struct PythonCalls {
    offered: Arc<OfferedTools>,
    state: State,
    is_list: bool,
    /// The call stands in `print(…)`, as Gemma writes it.
    is_printed: bool,
    word: String,
    /// The call has been told of.
    has_begun: bool,
    function: String,
}

impl PythonCalls {
    /// Calls of these functions.
    pub(super) fn new(offered: &Arc<OfferedTools>) -> Self {
        Self {
            offered: Arc::clone(offered),
            state: State::Open,
            is_list: false,
            is_printed: false,
            word: String::new(),
            has_begun: false,
            function: String::new(),
        }
    }

    fn go(&mut self, state: State) -> Step {
        self.state = state;
        Step::More
    }

    /// A character of a name or a key; true if it belongs to it. A function's name may have
    /// hyphens, though Python's have not.
    fn word(&mut self, c: char) -> bool {
        let is_letter = c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
        let belongs = is_letter && self.word.len() < WORD_MAX;
        if belongs {
            self.word.push(c);
        }
        belongs
    }

    fn name(&mut self, c: char) -> Step {
        if self.word(c) {
            return Step::More;
        }
        if c != '(' {
            return Step::Wrong;
        }
        let name = std::mem::take(&mut self.word);
        if self.offered.find(&name).is_some() {
            self.function = name;
            self.has_begun = false;
            return self.go(State::Key);
        }
        if name == "print" && !self.is_list && !self.is_printed {
            self.is_printed = true;
            return self.go(State::Name);
        }
        Step::Wrong
    }

    /// Tells of the call, or of its next argument.
    fn argument(&mut self, sink: &mut Sink) -> Step {
        let mut json = if self.has_begun { ", \"" } else { "{\"" }.to_owned();
        if !self.has_begun {
            self.has_begun = true;
            sink.begin(&self.function);
        }
        std::mem::take(&mut self.word).chars().for_each(|c| push_escaped(c, &mut json));
        sink.arguments(&(json + "\": "));
        self.go(State::Value)
    }

    fn value(&mut self, c: char, sink: &mut Sink) -> Step {
        if let State::Value = self.state {
            self.state = State::InValue(PythonValue::new());
        }
        let State::InValue(value) = &mut self.state else { return Step::Wrong };
        let mut json = String::new();
        let fed = value.push(c, &mut json);
        sink.arguments(&json);
        match fed {
            Fed::More => Step::More,
            Fed::Done => self.go(State::Next),
            Fed::DoneBefore => {
                self.state = State::Next;
                self.push(c, sink)
            }
            Fed::Wrong => {
                sink.text(value.pending());
                Step::Wrong
            }
        }
    }

    fn end_call(&mut self, sink: &mut Sink) -> Step {
        if !self.has_begun {
            sink.begin(&self.function);
            sink.arguments("{");
        }
        sink.arguments("}");
        if self.is_printed {
            return self.go(State::Printed);
        }
        if !self.is_list {
            return Step::Done;
        }
        sink.candidate_behind();
        self.go(State::Behind)
    }
}

impl Machine for PythonCalls {
    fn push(&mut self, c: char, sink: &mut Sink) -> Step {
        if matches!(self.state, State::InKey) && self.word(c) {
            return Step::More;
        }
        match (&self.state, c) {
            (State::InName, _) => self.name(c),
            (State::InKey, '=') => self.argument(sink),
            (State::InKey, _) if is_blank(c) => self.go(State::Equals),
            (State::InValue(_), _) => self.value(c, sink),
            (State::Open, '[') => {
                self.is_list = true;
                self.go(State::Name)
            }
            _ if is_blank(c) => Step::More,
            (State::Open | State::Name, _) if c.is_ascii_alphabetic() || c == '_' => {
                self.state = State::InName;
                self.name(c)
            }
            (State::Key | State::Next, ')') => self.end_call(sink),
            (State::Key, _) if c.is_ascii_alphabetic() || c == '_' => {
                self.word = c.to_string();
                self.go(State::InKey)
            }
            (State::Equals, '=') => self.argument(sink),
            (State::Value, _) => self.value(c, sink),
            (State::Next, ',') => self.go(State::Key),
            (State::Behind, ',') => self.go(State::Name),
            (State::Behind, ']') | (State::Printed, ')') => Step::Done,
            _ => Step::Wrong,
        }
    }
}
