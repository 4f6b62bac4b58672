//! An answer's text to its parts: what the model wrote to itself, text, and calls of functions.
//!
//! * [`part`]: the parts. [`format`](mod@format): how a model marks them, and how that is found
//!   out. [`offered`]: the functions that may be called.
//! * [`reader`]: takes text in pieces, gives parts. Behind it stand `reasoning`, which splits
//!   reasoning from the answer, and `scan`, which finds calls in the answer.
//! * [`lark`]: the grammars of answers that must call.
//! * `formats`: the ways to write calls, a file each. Each names its marks and the `machine` that
//!   reads what follows: `call_object`, `named_call`, `xml`, `python_call`.
//! * `json`, `python_value`: values, checked a character at a time and passed on as JSON. `marks`:
//!   marks in text that comes in pieces. `sink`: where all of these put what they found.
mod call_object;
pub mod format;
mod formats;
mod json;
pub mod lark;
mod machine;
mod marks;
mod named_call;
pub mod offered;
pub mod part;
mod python_call;
mod python_value;
pub mod reader;
mod reasoning;
mod scan;
mod sink;
#[cfg(test)]
mod tests;
mod xml;

pub use format::{
    FormatChoice, ModelFormat, OutputFormat, ReasoningFormat, ReasoningSyntax, ToolFormat, ToolSyntax,
};
pub use lark::ToolChoice;
pub use offered::{OfferedTool, OfferedTools};
pub use part::Part;
pub use reader::PartReader;
