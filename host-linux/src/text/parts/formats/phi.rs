//! Phi-4: `<|tool_call|>[{"name": …, "arguments": {…}}, …]<|/tool_call|>`; Phi-4-mini also writes
//! `functools` before the list.
use super::super::call_object::{CallList, CallObject};
use super::super::machine::Machine;
use super::super::scan::Syntax;

/// Both of these syntaxes.
#[derive(Debug)]
pub(in super::super) struct Phi;

impl Syntax for Phi {
    fn openings(&self) -> &'static [&'static str] {
        &["<|tool_call|>", "functools"]
    }

    fn closings(&self) -> &'static [&'static str] {
        &["<|/tool_call|>"]
    }

    fn machine(&self, mark: Option<usize>, first: char) -> Option<Box<dyn Machine>> {
        mark?;
        match first {
            '[' => Some(Box::new(CallList::new(None))),
            '{' => Some(Box::new(CallObject::marked())),
            _ => None,
        }
    }
}
