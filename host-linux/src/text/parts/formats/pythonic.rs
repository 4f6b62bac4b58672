//! Calls in a list, as Python has them: `[f(a=1), g(b="x")]` as the whole answer, or between the
//! marks of Llama 4.
use super::super::machine::Machine;
use super::super::offered::OfferedTools;
use super::super::python_call::PythonCalls;
use super::super::scan::Syntax;
use std::sync::Arc;

/// The syntax, with the functions that are offered.
#[derive(Debug)]
pub(in super::super) struct Pythonic(pub(in super::super) Arc<OfferedTools>);

impl Syntax for Pythonic {
    fn openings(&self) -> &'static [&'static str] {
        &["<|python_start|>", "<|python_tag|>"]
    }

    fn closings(&self) -> &'static [&'static str] {
        &["<|python_end|>"]
    }

    fn machine(&self, _mark: Option<usize>, first: char) -> Option<Box<dyn Machine>> {
        (first == '[').then(|| Box::new(PythonCalls::new(&self.0)) as Box<dyn Machine>)
    }
}
