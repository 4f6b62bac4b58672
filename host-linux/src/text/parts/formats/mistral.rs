//! Mistral: `[TOOL_CALLS] [{"name": …, "arguments": {…}}, …]`, or, with newer models,
//! `[TOOL_CALLS]NAME[ARGS]{…}` for each call.
use super::super::call_object::CallList;
use super::super::machine::Machine;
use super::super::named_call::{ARGUMENTS, ID, NamedCall};
use super::super::scan::Syntax;

/// Both of these syntaxes.
#[derive(Debug)]
pub(in super::super) struct Mistral;

impl Syntax for Mistral {
    fn openings(&self) -> &'static [&'static str] {
        &["[TOOL_CALLS]"]
    }

    fn closings(&self) -> &'static [&'static str] {
        &[]
    }

    fn inner_marks(&self) -> &'static [&'static str] {
        &[ARGUMENTS, ID]
    }

    fn machine(&self, mark: Option<usize>, first: char) -> Option<Box<dyn Machine>> {
        mark?;
        match first {
            '[' => Some(Box::new(CallList::new(None))),
            _ if first.is_ascii_alphabetic() || first == '_' => Some(Box::new(NamedCall::new())),
            _ => None,
        }
    }
}
