//! Hermes, Qwen 2.5, Qwen 3 and many others:
//! `<tool_call>{"name": …, "arguments": {…}}</tool_call>`, one for each call. The tags of
//! Qwen3-Coder are read in their place too.
use super::super::call_object::CallObject;
use super::super::machine::Machine;
use super::super::offered::OfferedTools;
use super::super::scan::Syntax;
use super::super::xml::XmlCall;
use std::sync::Arc;

/// The syntax, with the functions that are offered.
#[derive(Debug)]
pub(in super::super) struct Hermes(pub(in super::super) Arc<OfferedTools>);

impl Syntax for Hermes {
    fn openings(&self) -> &'static [&'static str] {
        &["<tool_call>"]
    }

    fn closings(&self) -> &'static [&'static str] {
        &["</tool_call>"]
    }

    fn machine(&self, mark: Option<usize>, first: char) -> Option<Box<dyn Machine>> {
        mark?;
        match first {
            '{' => Some(Box::new(CallObject::marked())),
            // What closes the block begins with this too; that is no call then.
            '<' => Some(Box::new(XmlCall::new(&self.0))),
            _ => None,
        }
    }
}
