//! What stands in for structured output in a build without it: every grammar is refused.
use super::error::GrammarError;
use super::source::GrammarSource;
use crate::text::Tokenizer;
use std::convert::Infallible;
use std::sync::Arc;

/// Refuses every grammar, since the library that compiles them is left out.
#[derive(Debug)]
pub struct Compiler;

impl Compiler {
    /// A compiler that compiles nothing.
    pub fn new(_tokenizer: Arc<Tokenizer>) -> Self {
        Self
    }

    /// Refuses a source.
    ///
    /// # Errors
    /// Always [`GrammarError::NotBuilt`], unless the source is wrong in any build.
    pub fn compile(&self, source: &GrammarSource) -> Result<Arc<Constraint>, GrammarError> {
        source.key()?;
        Err(GrammarError::NotBuilt)
    }
}

/// A compiled grammar; there is none.
#[derive(Debug)]
pub struct Constraint(Infallible);

impl Constraint {
    /// A hash of what the client sent.
    pub fn source_hash(&self) -> &[u8; 32] {
        match self.0 {}
    }

    /// Whether an output is in the grammar so far, and whether it is complete.
    pub fn judge(self: &Arc<Self>, _output: &[u32]) -> (bool, bool) {
        match self.0 {}
    }
}

/// What may follow an output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// These ids, a bit for each.
    Tokens(Vec<u32>),
    /// Nothing, for the output is complete.
    Complete,
    /// Nothing, and it is not complete.
    Impossible,
}

/// How far an output has come; no output is constrained.
#[derive(Debug)]
pub struct ConstraintState(Infallible);

impl ConstraintState {
    /// The state of an empty output.
    pub fn new(constraint: &Arc<Constraint>) -> Self {
        match constraint.0 {}
    }

    /// Takes the state to an output.
    pub fn follow(&mut self, _output: &[u32]) -> bool {
        match self.0 {}
    }

    /// Ids that must come now.
    pub fn forced(&mut self) -> Vec<u32> {
        match self.0 {}
    }

    /// Whether the output may end here.
    pub fn is_accepting(&mut self) -> bool {
        match self.0 {}
    }

    /// What may come now.
    pub fn next(&mut self, _ends: &[u32]) -> Next {
        match self.0 {}
    }
}
