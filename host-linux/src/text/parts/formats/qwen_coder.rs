//! Qwen3-Coder:
//! `<tool_call><function=NAME><parameter=NAME>value</parameter></function></tool_call>`, one for
//! each call. Some of its answers leave the outer tag out.
use super::super::call_object::CallObject;
use super::super::machine::Machine;
use super::super::offered::OfferedTools;
use super::super::scan::Syntax;
use super::super::xml::XmlCall;
use std::sync::Arc;

/// The number of the mark that is the beginning of a call itself.
const FUNCTION: usize = 1;

/// The syntax, with the functions that are offered.
#[derive(Debug)]
pub(in super::super) struct QwenCoder(pub(in super::super) Arc<OfferedTools>);

impl Syntax for QwenCoder {
    fn openings(&self) -> &'static [&'static str] {
        &["<tool_call>", "<function="]
    }

    fn closings(&self) -> &'static [&'static str] {
        &["</tool_call>"]
    }

    fn machine(&self, mark: Option<usize>, first: char) -> Option<Box<dyn Machine>> {
        match (mark?, first) {
            (FUNCTION, '<') => None,
            (FUNCTION, _) => Some(Box::new(XmlCall::in_tag(&self.0))),
            (_, '<') => Some(Box::new(XmlCall::new(&self.0))),
            (_, '{') => Some(Box::new(CallObject::marked())),
            _ => None,
        }
    }
}
