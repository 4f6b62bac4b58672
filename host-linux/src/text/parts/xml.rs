//! A call as Qwen3-Coder writes it: `<function=NAME>`, a `<parameter=NAME>` with its value for each
//! argument, `</function>`.
//!
//! Values stand there as they are. A parameter whose schema says `string` is text and passed on as
//! it comes; any other is read when it is complete: as JSON if it is that, else as text.
use super::json::{self, push_escaped};
use super::machine::{Machine, Step, is_blank, is_name};
use super::marks::{Found, Marks};
use super::offered::OfferedTools;
use super::sink::{HOLD_MAX, Sink};
use std::sync::Arc;

/// Bytes of a tag at most.
const TAG_MAX: usize = 256;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// A tag must begin.
    Between,
    Tag,
    /// At the beginning of a value, where one line break is dropped.
    ValueBegins,
    Value,
}

/// Reads one call and its arguments.
#[derive(Debug)]
pub(super) struct XmlCall {
    offered: Arc<OfferedTools>,
    state: State,
    tag: String,
    name: Option<String>,
    /// How many arguments have begun.
    count: usize,
    closing: Marks,
    /// The value is passed on as text as it comes.
    is_text: bool,
    /// A value that is not passed on yet; of text no more than a line break.
    value: String,
}

impl XmlCall {
    /// A call of whatever function; those that are offered tell the types of their parameters.
    pub(super) fn new(offered: &Arc<OfferedTools>) -> Self {
        Self {
            offered: Arc::clone(offered),
            state: State::Between,
            tag: String::new(),
            name: None,
            count: 0,
            closing: Marks::new(&["</parameter>"]),
            is_text: false,
            value: String::new(),
        }
    }

    /// A call whose first tag is read up to its `=`.
    pub(super) fn in_tag(offered: &Arc<OfferedTools>) -> Self {
        Self { state: State::Tag, tag: "function=".to_owned(), ..Self::new(offered) }
    }

    fn tag(&mut self, c: char, sink: &mut Sink) -> Step {
        let is_allowed = is_blank(c) || !c.is_control();
        if self.tag.len() >= TAG_MAX || !is_allowed || c == '<' {
            return Step::Wrong;
        }
        if c != '>' {
            self.tag.push(c);
            let known = ["function=", "parameter=", "/function"];
            let may_be = known.iter().any(|tag| tag.starts_with(&self.tag) || self.tag.starts_with(tag));
            return if may_be { Step::More } else { Step::Wrong };
        }
        self.state = State::Between;
        let tag = std::mem::take(&mut self.tag);
        match (tag.split_once('='), &self.name) {
            (Some(("function", name)), None) if is_name(name.trim()) => {
                self.name = Some(name.trim().to_owned());
                Step::More
            }
            (Some(("parameter", key)), Some(name)) if !key.trim().is_empty() => {
                self.is_text = self.offered.find(name).is_some_and(|tool| tool.is_text(key.trim()));
                if self.count == 0 {
                    sink.begin(name);
                }
                let mut json = if self.count == 0 { "{\"" } else { ", \"" }.to_owned();
                key.trim().chars().for_each(|c| push_escaped(c, &mut json));
                json.push_str("\": ");
                if self.is_text {
                    json.push('"');
                }
                sink.arguments(&json);
                self.count += 1;
                self.state = State::ValueBegins;
                Step::More
            }
            (None, Some(name)) if tag == "/function" => {
                if self.count == 0 {
                    sink.begin(name);
                    sink.arguments("{");
                }
                sink.arguments("}");
                Step::Done
            }
            _ => Step::Wrong,
        }
    }

    fn value(&mut self, c: char, sink: &mut Sink) -> Step {
        let mut text = String::new();
        let found = self.closing.push(c, &mut text);
        for c in text.chars() {
            if self.state == State::ValueBegins {
                self.state = State::Value;
                if c == '\n' {
                    continue;
                }
            }
            if self.is_text && !self.value.is_empty() {
                let mut json = String::new();
                self.value.drain(..).for_each(|c| push_escaped(c, &mut json));
                sink.arguments(&json);
            }
            self.value.push(c);
            if self.is_text && c != '\n' {
                let mut json = String::new();
                self.value.drain(..).for_each(|c| push_escaped(c, &mut json));
                sink.arguments(&json);
            } else if self.value.len() > HOLD_MAX {
                // Too long for anything but text.
                self.is_text = true;
                sink.arguments("\"");
            }
        }
        if found != Found::Nothing {
            self.end_value(sink);
        }
        Step::More
    }

    fn end_value(&mut self, sink: &mut Sink) {
        let value = std::mem::take(&mut self.value);
        let value = value.strip_suffix('\n').unwrap_or(&value);
        let mut json = String::new();
        if self.is_text {
            value.chars().for_each(|c| push_escaped(c, &mut json));
            json.push('"');
        } else {
            match (value.trim(), json::whole(value.trim())) {
                ("True", _) => json.push_str("true"),
                ("False", _) => json.push_str("false"),
                ("None", _) => json.push_str("null"),
                (_, Some(whole)) => json.push_str(&whole),
                (_, None) => {
                    json.push('"');
                    value.chars().for_each(|c| push_escaped(c, &mut json));
                    json.push('"');
                }
            }
        }
        sink.arguments(&json);
        self.state = State::Between;
    }
}

impl Machine for XmlCall {
    fn push(&mut self, c: char, sink: &mut Sink) -> Step {
        match self.state {
            State::Tag => self.tag(c, sink),
            State::ValueBegins | State::Value => self.value(c, sink),
            State::Between if is_blank(c) => Step::More,
            State::Between if c == '<' => {
                self.state = State::Tag;
                Step::More
            }
            State::Between => Step::Wrong,
        }
    }
}
