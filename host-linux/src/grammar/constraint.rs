//! A compiled grammar, and how far an output has come in it.
//!
//! What may follow is a function of the grammar and of the output's tokens, and of nothing else.
//! A [`ConstraintState`] remembers how far it has come and is taken to any other output
//! ([`ConstraintState::follow`]): forward by the tokens that are new, back over draft tokens that
//! were rejected, or to the beginning and forward again. So it makes no difference whether an
//! output was made at once, was preempted, resumed elsewhere, or drafted.
use super::error::GrammarError;
use llguidance::TokenParser;
use llguidance::api::StopReason;
use llguidance::panic_utils::catch_unwind;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, PoisonError};

/// A compiled grammar, shared by all outputs that it constrains.
pub struct Constraint {
    /// A parser that has seen nothing; each output's begins as a copy of it.
    fresh: Mutex<TokenParser>,
}

impl std::fmt::Debug for Constraint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Constraint").finish_non_exhaustive()
    }
}

/// What may follow an output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// These ids: a bit for each, set if it is allowed; id 0 is the lowest bit of the first word.
    Tokens(Vec<u32>),
    /// Nothing, for the output is complete.
    Complete,
    /// Nothing, and it is not complete: no token goes on as the grammar asks, or finding out would
    /// take too long.
    Impossible,
}

impl Constraint {
    /// From a parser that has seen nothing.
    ///
    /// # Errors
    /// No token can come first.
    pub(super) fn new(mut parser: TokenParser) -> Result<Self, GrammarError> {
        if parser.is_fresh() {
            parser.start_without_prompt();
        }
        let constraint = Arc::new(Self { fresh: Mutex::new(parser) });
        // What the first mask costs is paid here, before anything is promised to the client.
        match ConstraintState::new(&constraint).next(&[]) {
            Next::Tokens(_) => {}
            Next::Complete | Next::Impossible => return Err(GrammarError::Unsatisfiable),
        }
        Arc::into_inner(constraint).ok_or(GrammarError::Failed)
    }

    /// A copy of the parser that has seen nothing, which shares no caches with others: what one
    /// output costs does not depend on another one.
    fn parser(&self) -> TokenParser {
        self.fresh.lock().unwrap_or_else(PoisonError::into_inner).deep_clone()
    }

    /// Whether an output is in the grammar so far, and whether it is complete.
    pub fn judge(self: &Arc<Self>, output: &[u32]) -> (bool, bool) {
        let mut state = ConstraintState::new(self);
        let obeys = state.follow(output);
        (obeys, obeys && state.next(&[]) == Next::Complete)
    }
}

/// How far an output has come.
pub struct ConstraintState {
    constraint: Arc<Constraint>,
    /// The parser after `tokens`; none before the first use, and after it failed.
    parser: Option<Box<TokenParser>>,
    tokens: Vec<u32>,
}

impl std::fmt::Debug for ConstraintState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ConstraintState").field("tokens", &self.tokens.len()).finish_non_exhaustive()
    }
}

impl ConstraintState {
    /// The state of an empty output. It costs nothing until it is used.
    pub fn new(constraint: &Arc<Constraint>) -> Self {
        Self { constraint: Arc::clone(constraint), parser: None, tokens: Vec::new() }
    }

    /// Takes the state to an output; `false` if that is not in the grammar. The state is then that
    /// of the longest beginning of it that is.
    pub fn follow(&mut self, output: &[u32]) -> bool {
        let common = self.tokens.iter().zip(output).take_while(|(a, b)| a == b).count();
        let back = self.tokens.len() - common;
        if back > 0 && !self.go_back(back) {
            self.restart();
        }
        for at in self.tokens.len()..output.len() {
            if !self.advance(output[at]) {
                return false;
            }
        }
        true
    }

    /// Gives up the last tokens; `false` if that failed.
    fn go_back(&mut self, count: usize) -> bool {
        let has_gone = self.with_parser(|parser| {
            let has_gone = parser.rollback(count).is_ok();
            // The parser keeps its latest mask by its place alone, and would give that of the way
            // that is given up for another way to the same place.
            parser.invalidate_bias_cache();
            has_gone
        });
        let has_gone = has_gone.unwrap_or(false);
        self.tokens.truncate(self.tokens.len() - count);
        has_gone
    }

    fn restart(&mut self) {
        self.parser = None;
        self.tokens.clear();
    }

    /// Adds a token, if the grammar allows it.
    fn advance(&mut self, token: u32) -> bool {
        let advanced = self.with_parser(|parser| {
            if !parser.validate_token(token).unwrap_or(false) {
                return Some(false);
            }
            parser.consume_token(token).is_ok().then_some(true)
        });
        match advanced.flatten() {
            Some(true) => self.tokens.push(token),
            Some(false) => return false,
            None => {
                self.restart();
                return false;
            }
        }
        true
    }

    /// Ids that must come now one after the other, as the tokenizer would write what the grammar
    /// asks for; mostly none. They may be drawn without asking [`ConstraintState::next`].
    pub fn forced(&mut self) -> Vec<u32> {
        self.with_parser(TokenParser::compute_ff_tokens).unwrap_or_default()
    }

    /// What may come now. Where the output may end, the ids in `ends` may come too; they are ids
    /// that end it.
    pub fn next(&mut self, ends: &[u32]) -> Next {
        let found = self.with_parser(|parser| {
            if parser.stop_reason() != StopReason::NotStopped || parser.check_stop().unwrap_or(false) {
                return match parser.stop_reason() {
                    StopReason::NoExtension | StopReason::EndOfSentence => Next::Complete,
                    // No token goes on, as was found before.
                    StopReason::NoExtensionBias if parser.is_accepting() => Next::Complete,
                    _ => Next::Impossible,
                };
            }
            let mask = parser.compute_mask();
            let is_accepting = parser.is_accepting();
            match mask {
                Ok(mask) => {
                    let mut bits = mask.as_slice().to_vec();
                    if is_accepting {
                        ends.iter().for_each(|id| allow(&mut bits, *id));
                    }
                    Next::Tokens(bits)
                }
                Err(_) if is_accepting && parser.stop_reason() == StopReason::NoExtensionBias => {
                    Next::Complete
                }
                Err(_) => Next::Impossible,
            }
        });
        found.unwrap_or_else(|| {
            self.restart();
            Next::Impossible
        })
    }

    /// Whether the output may end here.
    pub fn is_accepting(&mut self) -> bool {
        self.with_parser(TokenParser::is_accepting).unwrap_or(false)
    }

    /// Calls the parser, which is made first if there is none; `None` if it panicked, after which
    /// there is none.
    fn with_parser<T>(&mut self, call: impl FnOnce(&mut TokenParser) -> T) -> Option<T> {
        let constraint = &self.constraint;
        let parser = &mut self.parser;
        let result = catch_unwind(AssertUnwindSafe(|| {
            let parser = parser.get_or_insert_with(|| Box::new(constraint.parser()));
            Ok(call(parser))
        }));
        if result.is_err() {
            self.parser = None;
        }
        result.ok()
    }
}

/// Sets the bit of an id, wherever it is.
fn allow(bits: &mut Vec<u32>, id: u32) {
    let word = id as usize / 32;
    if word >= bits.len() {
        bits.resize(word + 1, 0);
    }
    bits[word] |= 1 << (id % 32);
}
