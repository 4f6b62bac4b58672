//! A call as newer Mistral models write it: `NAME[ARGS]{…}`, also with `[CALL_ID]…` before the
//! arguments, also without `[ARGS]`.
use super::json::{Fed, Json};
use super::machine::{Machine, Step, is_blank, is_name};
use super::sink::Sink;

/// The mark before the arguments.
pub(super) const ARGUMENTS: &str = "[ARGS]";
/// The mark before a call's id, which is dropped.
pub(super) const ID: &str = "[CALL_ID]";
/// Characters between a name and its arguments, at most.
const HEAD_MAX: usize = 128;

/// Reads one call behind its mark.
#[derive(Debug)]
pub(super) struct NamedCall {
    /// What stands before the arguments, as far as it was read.
    head: String,
    /// The arguments, once they have begun.
    json: Option<Json>,
}

impl NamedCall {
    /// A call whose name is to come.
    pub(super) fn new() -> Self {
        Self { head: String::new(), json: None }
    }
}

/// The name in what stands before arguments; `None` if something else does.
fn name(head: &str) -> Option<&str> {
    let head = head.trim_end();
    let head = head.strip_suffix(ARGUMENTS).unwrap_or(head);
    let name = match head.split_once(ID) {
        Some((name, id)) if id.trim().bytes().all(|byte| byte.is_ascii_alphanumeric()) => name,
        Some(_) => return None,
        None => head,
    };
    Some(name.trim_end()).filter(|name| is_name(name))
}

impl Machine for NamedCall {
    fn push(&mut self, c: char, sink: &mut Sink) -> Step {
        if let Some(json) = &mut self.json {
            let mut out = String::new();
            let fed = json.push(c, &mut out);
            sink.arguments(&out);
            return match fed {
                Fed::More => Step::More,
                Fed::Done => Step::Done,
                Fed::DoneBefore | Fed::Wrong => Step::Wrong,
            };
        }
        if c == '{' {
            let Some(name) = name(&self.head) else { return Step::Wrong };
            sink.begin(name);
            self.json = Some(Json::new());
            return self.push(c, sink);
        }
        let belongs = is_blank(c) || c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | '[' | ']');
        if !belongs || self.head.len() == HEAD_MAX {
            return Step::Wrong;
        }
        self.head.push(c);
        Step::More
    }
}
