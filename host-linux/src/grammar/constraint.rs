//! A compiled grammar, and how far an output has come in it.
//!
//! What may follow is a function of the grammar and of the output's tokens, and of nothing else,
//! the limits on what a grammar may cost included. A [`ConstraintState`] remembers how far it has
//! come and is taken to any other output ([`ConstraintState::follow`]): forward by the tokens that
//! are new, back over draft tokens that were rejected, or to the beginning and forward again. So it
//! makes no difference whether an output was made at once, was preempted, resumed elsewhere, or
//! drafted.
//!
//! ```text
//!  question ──► the parser as it is ──sure──► answer
//!                    │ not sure, or a limit was met
//!                    ▼
//!               a clean parser, taken to the output ──► answer, or none
//! ```
use super::error::GrammarError;
use super::memory::{Held, Memory};
use super::parser::{Failed, Next, Parser};
use llguidance::TokenParser;
use std::sync::{Arc, Mutex, PoisonError};

/// Tokens that a saved parser stays behind the end of the output, so that draft tokens that are
/// rejected do not make it useless.
const SAVED_BEHIND: usize = 32;
/// Tokens by which an output grows before its parser is saved again.
const SAVED_EVERY: usize = 64;

/// A compiled grammar, shared by all outputs that it constrains.
pub struct Constraint {
    /// A parser that has seen nothing; each output's begins as a copy of it.
    fresh: Mutex<Parser>,
    memory: Arc<Memory>,
    source_hash: [u8; 32],
}

impl std::fmt::Debug for Constraint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Constraint").finish_non_exhaustive()
    }
}

impl Constraint {
    /// From a parser that has seen nothing; what outputs' parsers hold is counted in `memory`.
    /// `key` is what no other source has.
    ///
    /// # Errors
    /// No token can come first.
    pub(super) fn new(
        mut parser: TokenParser,
        memory: &Arc<Memory>,
        key: &[u8],
    ) -> Result<Self, GrammarError> {
        if parser.is_fresh() {
            parser.start_without_prompt();
        }
        let (fresh, memory) = (Mutex::new(Parser::new(parser)), Arc::clone(memory));
        let constraint = Arc::new(Self { fresh, memory, source_hash: blake3::hash(key).into() });
        // What the first mask costs is paid here, before anything is promised to the client.
        match ConstraintState::new(&constraint).next(&[]) {
            Next::Tokens(_) => {}
            Next::Complete | Next::Impossible => return Err(GrammarError::Unsatisfiable),
        }
        Arc::into_inner(constraint).ok_or(GrammarError::Failed)
    }

    /// A hash of what the client sent: equal for two constraints if their sources are.
    pub fn source_hash(&self) -> &[u8; 32] {
        &self.source_hash
    }

    /// A copy of the parser that has seen nothing, which shares no caches with others: what one
    /// output costs does not depend on another one.
    fn parser(&self) -> Parser {
        self.fresh.lock().unwrap_or_else(PoisonError::into_inner).copy()
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
    tokens: Vec<u32>,
    /// The parser after `tokens`; none before the first use, and where it was given up.
    parser: Option<Parser>,
    /// A clean parser after the first so many of `tokens`, from which others are made.
    saved: Option<(usize, Parser)>,
    held: Held,
}

impl std::fmt::Debug for ConstraintState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ConstraintState").field("tokens", &self.tokens.len()).finish_non_exhaustive()
    }
}

impl ConstraintState {
    /// The state of an empty output. It costs nothing until it is used.
    pub fn new(constraint: &Arc<Constraint>) -> Self {
        let held = Held::new(&constraint.memory);
        Self { constraint: Arc::clone(constraint), tokens: Vec::new(), parser: None, saved: None, held }
    }

    /// Takes the state to an output; `false` if that is not in the grammar. The state is then that
    /// of the longest beginning of it that is.
    pub fn follow(&mut self, output: &[u32]) -> bool {
        let common = self.tokens.iter().zip(output).take_while(|(a, b)| a == b).count();
        self.go_back_to(common);
        let found = match &mut self.parser {
            Some(parser) => walk(parser, &mut self.tokens, output).ok().filter(|_| parser.is_sure()),
            None => None,
        };
        let obeys = found.unwrap_or_else(|| self.begin_anew(output));
        self.count();
        obeys
    }

    fn go_back_to(&mut self, len: usize) {
        let back = self.tokens.len() - len;
        if back == 0 {
            return;
        }
        self.tokens.truncate(len);
        self.saved.take_if(|(saved, _)| *saved > len);
        if self.parser.as_mut().is_some_and(|parser| parser.go_back(back).is_err()) {
            self.parser = None;
        }
    }

    /// Takes a clean parser to an output, as far as the grammar has it; `false` if that is not all
    /// of it, or if the parser met a limit on the way.
    fn begin_anew(&mut self, output: &[u32]) -> bool {
        let from = self.saved.as_ref().map_or(0, |(len, _)| *len);
        let mut parser = match &self.saved {
            Some((_, saved)) => saved.copy(),
            None => self.constraint.parser(),
        };
        self.parser = None;
        self.tokens.truncate(from);
        let saves_at = output.len().saturating_sub(SAVED_BEHIND);
        let mut result = Ok(true);
        if saves_at >= from + SAVED_EVERY {
            result = walk(&mut parser, &mut self.tokens, &output[..saves_at]);
            if result == Ok(true) {
                self.saved = Some((saves_at, parser.copy()));
            }
        }
        if result == Ok(true) {
            result = walk(&mut parser, &mut self.tokens, output);
        }
        self.parser = result.is_ok().then_some(parser);
        result == Ok(true)
    }

    /// Asks the parser; `None` if a clean one meets a limit or fails.
    fn ask<T>(&mut self, ask: impl Fn(&mut Parser) -> Result<T, Failed>) -> Option<T> {
        if let Some(parser) = self.parser.as_mut().filter(|parser| !parser.is_clean() && parser.is_sure())
            && let Ok(answer) = ask(parser)
            && parser.is_sure()
        {
            return Some(answer);
        }
        if !self.parser.as_ref().is_some_and(Parser::is_clean) {
            let tokens = self.tokens.clone();
            let obeys = self.begin_anew(&tokens);
            self.tokens = tokens;
            self.parser.take_if(|_| !obeys);
        }
        let answer = ask(self.parser.as_mut()?).ok();
        self.parser.take_if(|_| answer.is_none());
        answer
    }

    /// Ids that must come now one after the other, as the tokenizer would write what the grammar
    /// asks for; mostly none. They may be drawn without asking [`ConstraintState::next`].
    pub fn forced(&mut self) -> Vec<u32> {
        self.ask(Parser::forced).unwrap_or_default()
    }

    /// What may come now. Where the output may end, the ids in `ends` may come too; they are ids
    /// that end it.
    pub fn next(&mut self, ends: &[u32]) -> Next {
        let next = self.ask(|parser| parser.next(ends)).unwrap_or(Next::Impossible);
        if self.parser.as_ref().is_some_and(Parser::is_spent) {
            self.parser = None;
        }
        self.count();
        next
    }

    /// Whether the output may end here.
    pub fn is_accepting(&mut self) -> bool {
        self.ask(Parser::is_accepting).unwrap_or(false)
    }

    /// Counts what the parsers hold, and gives them up if all outputs' hold too much.
    fn count(&mut self) {
        let parsers = self.parser.iter().chain(self.saved.iter().map(|(_, parser)| parser));
        self.held.set(parsers.map(|parser| parser.cost().bytes).sum());
        if self.held.is_too_much() {
            self.parser = None;
            self.saved = None;
            self.held.set(0);
        }
    }
}

/// Takes a parser from `tokens`, with which `output` begins, on towards it; `false` if the grammar
/// does not have all of it. `tokens` gets those that it has.
fn walk(parser: &mut Parser, tokens: &mut Vec<u32>, output: &[u32]) -> Result<bool, Failed> {
    for &token in &output[tokens.len()..] {
        if !parser.advance(token)? {
            return Ok(false);
        }
        tokens.push(token);
    }
    Ok(true)
}
