//! A call as a JSON object: `{"name": …, "arguments": {…}}`, in any order, `parameters` for
//! `arguments`.
//!
//! The arguments are passed on as they come once the name is known. Some models write them as a
//! string that holds JSON, or as null; the first is read when it is complete, the second stands for
//! no arguments.
use super::json::{self, Fed, Json};
use super::machine::{Machine, Step, is_blank, is_name};
use super::offered::OfferedTools;
use super::sink::Sink;
use std::sync::Arc;

/// What a member of the object is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    Name,
    Arguments,
    Other,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Open,
    Key { can_end: bool },
    InKey,
    Colon,
    Value,
    InValue,
    Next,
}

/// Reads the object of one call.
#[derive(Debug)]
pub(super) struct CallObject {
    /// Without marks around it, an object is a call only if it calls a function that is offered
    /// and has no member that calls do not have.
    offered: Option<Arc<OfferedTools>>,
    state: State,
    role: Role,
    json: Json,
    /// JSON text of the key or value that is read, as far as it is not passed on.
    held: String,
    name: Option<String>,
    /// Arguments that came before the name.
    early: Option<String>,
    has_begun: bool,
    /// The arguments are a string that holds JSON.
    is_quoted: bool,
}

impl CallObject {
    /// A call between marks, whatever function it calls.
    pub(super) fn marked() -> Self {
        Self::new(None)
    }

    /// A call without marks, which must be of a function that is offered.
    pub(super) fn bare(offered: &Arc<OfferedTools>) -> Self {
        Self::new(Some(Arc::clone(offered)))
    }

    fn new(offered: Option<Arc<OfferedTools>>) -> Self {
        Self {
            offered,
            state: State::Open,
            role: Role::Other,
            json: Json::new(),
            held: String::new(),
            name: None,
            early: None,
            has_begun: false,
            is_quoted: false,
        }
    }

    fn go(&mut self, state: State) -> Step {
        self.state = state;
        Step::More
    }

    fn key(&mut self, c: char) -> Step {
        match self.json.push(c, &mut self.held) {
            Fed::More => Step::More,
            Fed::Done => {
                self.role = match self.held.as_str() {
                    "\"name\"" if self.name.is_none() => Role::Name,
                    "\"arguments\"" | "\"parameters\"" if !self.has_arguments() => Role::Arguments,
                    "\"type\"" | "\"id\"" => Role::Other,
                    _ if self.offered.is_some() => return Step::Wrong,
                    _ => Role::Other,
                };
                self.go(State::Colon)
            }
            Fed::DoneBefore | Fed::Wrong => Step::Wrong,
        }
    }

    fn has_arguments(&self) -> bool {
        self.has_begun || self.early.is_some()
    }

    fn value(&mut self, c: char, sink: &mut Sink) -> Step {
        self.json = Json::new();
        self.held.clear();
        match (self.role, c) {
            (Role::Name, '"') | (Role::Arguments, '{' | 'n') | (Role::Other, _) => self.is_quoted = false,
            (Role::Arguments, '"') => self.is_quoted = true,
            _ => return Step::Wrong,
        }
        self.state = State::InValue;
        if self.role == Role::Arguments && c == '{' && self.name.is_some() {
            self.begin(sink);
        }
        self.in_value(c, sink)
    }

    fn in_value(&mut self, c: char, sink: &mut Sink) -> Step {
        let fed = self.json.push(c, &mut self.held);
        if self.role == Role::Arguments && self.has_begun {
            sink.arguments(&std::mem::take(&mut self.held));
        } else if self.role == Role::Other {
            self.held.clear();
        }
        match fed {
            Fed::More => Step::More,
            Fed::Wrong => Step::Wrong,
            Fed::Done => self.ended(sink),
            Fed::DoneBefore => match self.ended(sink) {
                Step::More => self.push(c, sink),
                other => other,
            },
        }
    }

    /// A value has ended.
    fn ended(&mut self, sink: &mut Sink) -> Step {
        match self.role {
            Role::Name => {
                let name = serde_json::from_str::<String>(&self.held).unwrap_or_default();
                let is_offered = self.offered.as_ref().is_none_or(|tools| tools.find(&name).is_some());
                if !is_name(&name) || !is_offered {
                    return Step::Wrong;
                }
                self.name = Some(name);
            }
            Role::Arguments if !self.has_begun => {
                let arguments = if self.is_quoted {
                    let text = serde_json::from_str::<String>(&self.held).unwrap_or_default();
                    json::whole(text.trim()).filter(|json| json.starts_with('{'))
                } else if self.held == "null" {
                    Some("{}".to_owned())
                } else {
                    Some(std::mem::take(&mut self.held))
                };
                if arguments.is_none() {
                    return Step::Wrong;
                }
                self.early = arguments;
            }
            _ => {}
        }
        if self.name.is_some() && self.early.is_some() {
            self.begin(sink);
        }
        self.go(State::Next)
    }

    /// Tells of the call, with the arguments that are known.
    fn begin(&mut self, sink: &mut Sink) {
        self.has_begun = true;
        sink.begin(self.name.as_deref().unwrap_or_default());
        sink.arguments(&self.early.take().unwrap_or_default());
    }

    fn end(&mut self, sink: &mut Sink) -> Step {
        if !self.has_begun {
            // A call without arguments must at least be marked as one.
            if self.name.is_none() || self.offered.is_some() {
                return Step::Wrong;
            }
            self.early = Some("{}".to_owned());
            self.begin(sink);
        }
        Step::Done
    }
}

impl Machine for CallObject {
    fn push(&mut self, c: char, sink: &mut Sink) -> Step {
        match (self.state, c) {
            (State::InKey, _) => self.key(c),
            (State::InValue, _) => self.in_value(c, sink),
            _ if is_blank(c) => Step::More,
            (State::Open, '{') => self.go(State::Key { can_end: true }),
            (State::Key { .. }, '"') => {
                self.json = Json::new();
                self.held.clear();
                self.state = State::InKey;
                self.key(c)
            }
            (State::Key { can_end: true }, '}') | (State::Next, '}') => self.end(sink),
            (State::Next, ',') => self.go(State::Key { can_end: false }),
            (State::Colon, ':') => self.go(State::Value),
            (State::Value, _) => self.value(c, sink),
            _ => Step::Wrong,
        }
    }
}

/// Reads a list of such objects: `[{…}, {…}]`.
#[derive(Debug)]
pub(super) struct CallList {
    offered: Option<Arc<OfferedTools>>,
    state: ListState,
    call: CallObject,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ListState {
    Open,
    Object,
    InObject,
    Next,
}

impl CallList {
    /// Calls between marks, or, where the offered functions are given, without.
    pub(super) fn new(offered: Option<&Arc<OfferedTools>>) -> Self {
        let offered = offered.map(Arc::clone);
        Self { call: CallObject::new(offered.clone()), offered, state: ListState::Open }
    }
}

impl Machine for CallList {
    fn push(&mut self, c: char, sink: &mut Sink) -> Step {
        match (self.state, c) {
            (ListState::InObject, _) => match self.call.push(c, sink) {
                Step::Done => {
                    sink.candidate_behind();
                    self.state = ListState::Next;
                    Step::More
                }
                other => other,
            },
            _ if is_blank(c) => Step::More,
            (ListState::Open, '[') => {
                self.state = ListState::Object;
                Step::More
            }
            (ListState::Object, '{') => {
                self.call = CallObject::new(self.offered.clone());
                self.state = ListState::InObject;
                self.call.push(c, sink)
            }
            (ListState::Next, ',') => {
                self.state = ListState::Object;
                Step::More
            }
            (ListState::Next, ']') => Step::Done,
            _ => Step::Wrong,
        }
    }
}
