//! Gemma 3, which has no tokens for calls and writes what its prompt asks for: Python's calls in a
//! block fenced as `tool_code`, or an object as Llama's, fenced as `json` or not at all.
use super::super::call_object::{CallList, CallObject};
use super::super::machine::Machine;
use super::super::offered::OfferedTools;
use super::super::python_call::PythonCalls;
use super::super::scan::Syntax;
use std::sync::Arc;

/// The number of the mark behind which calls are Python's.
const CODE: usize = 0;

/// The syntax, with the functions that are offered.
#[derive(Debug)]
pub(in super::super) struct Gemma(pub(in super::super) Arc<OfferedTools>);

impl Syntax for Gemma {
    fn openings(&self) -> &'static [&'static str] {
        &["```tool_code", "```json"]
    }

    fn closings(&self) -> &'static [&'static str] {
        &["```"]
    }

    fn machine(&self, mark: Option<usize>, first: char) -> Option<Box<dyn Machine>> {
        let is_letter = first.is_ascii_alphabetic() || first == '_';
        match (first, mark) {
            ('{', _) => Some(Box::new(CallObject::bare(&self.0))),
            ('[', Some(CODE) | None) => Some(Box::new(PythonCalls::new(&self.0))),
            ('[', _) => Some(Box::new(CallList::new(Some(&self.0)))),
            (_, Some(CODE)) if is_letter => Some(Box::new(PythonCalls::new(&self.0))),
            _ => None,
        }
    }

    fn is_separator(&self, c: char) -> bool {
        matches!(c, ';' | ',')
    }
}
