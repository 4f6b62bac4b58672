//! Llama 3: `{"name": …, "parameters": {…}}` as the whole answer, several with `;` between, also
//! behind `<|python_tag|>`.
use super::super::call_object::{CallList, CallObject};
use super::super::machine::Machine;
use super::super::offered::OfferedTools;
use super::super::scan::Syntax;
use std::sync::Arc;

/// The syntax, with the functions that are offered.
#[derive(Debug)]
pub(in super::super) struct Llama(pub(in super::super) Arc<OfferedTools>);

impl Syntax for Llama {
    fn openings(&self) -> &'static [&'static str] {
        &["<|python_tag|>"]
    }

    fn closings(&self) -> &'static [&'static str] {
        &[]
    }

    fn machine(&self, mark: Option<usize>, first: char) -> Option<Box<dyn Machine>> {
        match (first, mark) {
            ('{', Some(_)) => Some(Box::new(CallObject::marked())),
            ('{', None) => Some(Box::new(CallObject::bare(&self.0))),
            ('[', _) => Some(Box::new(CallList::new(Some(&self.0)))),
            _ => None,
        }
    }

    fn is_separator(&self, c: char) -> bool {
        matches!(c, ';' | ',')
    }
}
