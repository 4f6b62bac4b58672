//! What a client's grammar may cost.
//!
//! A grammar is compiled on a thread of its own, because the library descends into it and a stack
//! that overflows cannot be caught: [`STACK_BYTES`] is more than a source of
//! [`SOURCE_BYTES_MAX`](super::source::SOURCE_BYTES_MAX) can use. One grammar is compiled at a
//! time, so that compiling takes one core of those that run the model's steps at most.
use llguidance::api::ParserLimits;

/// Bytes of the stack on which grammars are compiled. Only those that are touched are memory.
pub(super) const STACK_BYTES: usize = 256 << 20;
/// Bytes of compiled grammars that are kept, about.
pub(super) const CACHE_BYTES: usize = 64 << 20;

/// The library's limits. Work is counted in its own units, never in time, so that whether a grammar
/// is taken does not depend on the machine.
pub(super) fn parser_limits() -> ParserLimits {
    ParserLimits {
        // At 50,000 a millisecond.
        initial_lexer_fuel: 1_000_000,
        // A mask at most: at 14,000 a millisecond, and at 20,000.
        step_lexer_fuel: 200_000,
        step_max_items: 50_000,
        max_items_in_row: 2000,
        // Of one to two kilobytes each, in every choice.
        max_lexer_states: 20_000,
        max_grammar_size: 200_000,
        precompute_large_lexemes: true,
        // They quote what the client wrote.
        verbose_errors: false,
    }
}
