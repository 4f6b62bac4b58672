//! The library's parser of an output, what it has cost so far, and whether its answers count.
//!
//! The library bounds what a token and a mask may cost: the work ("fuel") to derive states of its
//! lexer, the number of those states, and that of Earley items. A parser that did the work before
//! does not do it again, so whether a limit is met depends on what the parser has been through:
//! masks, and draft tokens that were rejected. An answer of this server must not.
//!
//! So the answer that counts is that of a *clean* parser, one that was new, was taken to the output
//! token by token with new fuel for each, and was asked nothing on the way. Another parser's answer
//! counts where it is [sure](Parser::is_sure) to be the same: it met no limit, and all the work
//! that it did since it was clean is less than what a clean one may do for this one answer. What a
//! clean one would do, that one has done since. The bound is half of the limit, because the order
//! of the work changes its amount a little.
use llguidance::TokenParser;
use llguidance::api::StopReason;
use llguidance::earley::{BiasComputer, ParserRecognizer};
use llguidance::panic_utils::catch_unwind;
use llguidance::toktrie::{SimpleVob, TokEnv, TokTrie};
use std::panic::AssertUnwindSafe;

/// States of the lexer that a parser may have beyond those of a clean one before it gives way to
/// one. They are one to two kilobytes each.
const STATES_KEPT: usize = 8_000;

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

/// The parser met a limit or failed, and is of no use any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Failed;

/// What a parser has cost since its grammar was compiled.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cost {
    /// Work of the lexer in the library's unit.
    pub(super) fuel: usize,
    /// States of the lexer.
    pub(super) states: usize,
    /// Bytes that it holds, by the library's estimate.
    pub(super) bytes: usize,
}

/// A parser after some tokens.
pub(super) struct Parser {
    library: Box<TokenParser>,
    /// What it had cost when it was clean for the last time.
    clean: Cost,
    is_clean: bool,
    /// Whether one answer made more than half of the Earley items that it may.
    made_many_items: bool,
}

impl Parser {
    /// From the library's parser that has seen nothing, or is clean otherwise.
    pub(super) fn new(library: TokenParser) -> Self {
        let clean = cost(&library);
        Self { library: Box::new(library), clean, is_clean: true, made_many_items: false }
    }

    /// A parser in the same state that shares nothing with it.
    pub(super) fn copy(&self) -> Self {
        Self { library: Box::new(self.library.deep_clone()), ..*self }
    }

    /// Whether it is as a new parser that was taken to the same tokens is.
    pub(super) fn is_clean(&self) -> bool {
        self.is_clean
    }

    /// What it has cost.
    pub(super) fn cost(&self) -> Cost {
        cost(&self.library)
    }

    /// Whether what it answered is what a clean parser after the same tokens answers, limits
    /// included.
    pub(super) fn is_sure(&self) -> bool {
        if self.is_clean {
            return true;
        }
        // What counts tokens inside a grammar depends on when it was asked for masks.
        let counts_tokens = !self.library.parser.grammar().lexer_spec().can_rollback();
        let cost = self.cost();
        let fuel_max = self.library.limits.step_lexer_fuel as usize / 2;
        !counts_tokens
            && !self.made_many_items
            && cost.fuel - self.clean.fuel <= fuel_max
            && cost.states - self.clean.states <= STATES_KEPT
    }

    /// Adds a token, if the grammar allows it.
    pub(super) fn advance(&mut self, token: u32) -> Result<bool, Failed> {
        if token as usize >= self.library.token_env.tok_trie().vocab_size() {
            return Ok(false);
        }
        let was_clean = self.is_clean;
        let is_taken = self.ask(|library| {
            let is_allowed = library.validate_token(token).map_err(|_| Failed)?;
            if is_allowed {
                library.consume_token(token).map_err(|_| Failed)?;
            }
            Ok(is_allowed)
        })?;
        if was_clean && is_taken {
            self.clean = self.cost();
            self.is_clean = true;
            self.made_many_items = false;
        }
        Ok(is_taken)
    }

    /// Gives up the last tokens.
    pub(super) fn go_back(&mut self, count: usize) -> Result<(), Failed> {
        self.ask(|library| {
            library.rollback(count).map_err(|_| Failed)?;
            // The library keeps its latest mask by its place alone, and would give that of the way
            // that is given up for another way to the same place.
            library.invalidate_bias_cache();
            Ok(())
        })
    }

    /// Ids that must come now.
    pub(super) fn forced(&mut self) -> Result<Vec<u32>, Failed> {
        self.ask(|library| Ok(library.compute_ff_tokens()))
    }

    /// Whether the output may end here.
    pub(super) fn is_accepting(&mut self) -> Result<bool, Failed> {
        self.ask(|library| Ok(library.is_accepting()))
    }

    /// Whether it found that no token goes on, after which it refuses all.
    pub(super) fn is_spent(&self) -> bool {
        let reason = self.library.stop_reason();
        !matches!(reason, StopReason::NotStopped | StopReason::NoExtension | StopReason::EndOfSentence)
    }

    /// What may come now, `ends` among it where the output may end.
    pub(super) fn next(&mut self, ends: &[u32]) -> Result<Next, Failed> {
        self.ask(|library| {
            let is_at_end = library.check_stop().map_err(|_| Failed)?;
            if library.stopped() || is_at_end {
                return match library.stop_reason() {
                    StopReason::NoExtension | StopReason::EndOfSentence => Ok(Next::Complete),
                    _ => Err(Failed),
                };
            }
            let mask = library.compute_mask();
            let is_accepting = library.is_accepting();
            match mask {
                Ok(mask) => {
                    let mut bits = mask.as_slice().to_vec();
                    if is_accepting {
                        ends.iter().for_each(|id| allow(&mut bits, *id));
                    }
                    Ok(Next::Tokens(bits))
                }
                // No token goes on.
                Err(_) if library.stop_reason() == StopReason::NoExtensionBias => {
                    Ok(if is_accepting { Next::Complete } else { Next::Impossible })
                }
                Err(_) => Err(Failed),
            }
        })
    }

    /// Asks the library's parser with new fuel, which is not clean any more then.
    fn ask<T>(&mut self, ask: impl FnOnce(&mut TokenParser) -> Result<T, Failed>) -> Result<T, Failed> {
        self.is_clean = false;
        let library = &mut self.library;
        let items = library.parser.stats().all_items;
        let answer = catch_unwind(AssertUnwindSafe(|| {
            refuel(library);
            let answer = ask(library);
            // What it says after it met a limit is not what the grammar says.
            Ok(if library.parser.get_error().is_some() { Err(Failed) } else { answer })
        }));
        let items = self.library.parser.stats().all_items - items;
        self.made_many_items |= items > self.library.limits.step_max_items / 2;
        answer.unwrap_or(Err(Failed))
    }
}

fn cost(library: &TokenParser) -> Cost {
    let stats = library.parser.lexer_stats();
    Cost { fuel: stats.total_fuel_spent, states: stats.num_states, bytes: stats.num_bytes }
}

/// Gives a parser the fuel that the library gives for a mask, without making one.
fn refuel(library: &mut TokenParser) {
    let nothing = Nothing(library.token_env.clone());
    // Bytes that the mask is to begin with: so the library neither looks for a mask that it keeps
    // nor keeps this one.
    library.parser.compute_bias(&nothing, b"-");
}

/// A mask that allows nothing and costs nothing.
struct Nothing(TokEnv);

impl BiasComputer for Nothing {
    fn compute_bias(&self, _: &mut ParserRecognizer<'_>, _: &[u8]) -> SimpleVob {
        self.trie().alloc_token_set()
    }

    fn trie(&self) -> &TokTrie {
        self.0.tok_trie()
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
