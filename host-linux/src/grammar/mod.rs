//! Structured output: which tokens may follow, so that the output is in a language that the client
//! chose.
//!
//! ```text
//! GrammarSource ──Compiler──► Constraint ──► ConstraintState, one for each choice
//!  (what a client sent)        (shared)        follow(output), next() -> mask, forced()
//! ```
//!
//! * [`source`]: what a client may ask for. [`error`]: why it is refused.
//! * `compiler`: the library's parser from a source, kept in a `cache`, within `limits`. `gbnf`:
//!   llama.cpp's grammars in the library's language.
//! * `constraint`: a compiled grammar, and the state of an output in it. `parser`: the library's
//!   parser of an output, and whether what it answers counts. `memory`: what all of them hold.
//! * `vocabulary`: the model's tokens as the library sees them.
//! * [`version`]: a number that moves when a mask could, which is a part of fingerprints.
//!
//! The library is `llguidance`, which parses and computes masks; without the feature
//! `structured-output` it is not built in, and every grammar is refused (`absent`).
pub mod error;
pub mod source;
pub mod version;

#[cfg(feature = "structured-output")]
mod cache;
#[cfg(feature = "structured-output")]
mod compiler;
#[cfg(feature = "structured-output")]
mod constraint;
#[cfg(feature = "structured-output")]
mod gbnf;
#[cfg(feature = "structured-output")]
mod limits;
#[cfg(feature = "structured-output")]
mod memory;
#[cfg(feature = "structured-output")]
mod parser;
#[cfg(feature = "structured-output")]
mod vocabulary;

#[cfg(not(feature = "structured-output"))]
mod absent;

#[cfg(not(feature = "structured-output"))]
pub use absent::{Compiler, Constraint, ConstraintState, Next};
#[cfg(feature = "structured-output")]
pub use compiler::Compiler;
#[cfg(feature = "structured-output")]
pub use constraint::{Constraint, ConstraintState};
pub use error::GrammarError;
#[cfg(feature = "structured-output")]
pub use parser::Next;
pub use source::GrammarSource;

#[cfg(all(test, feature = "structured-output"))]
mod tests;
