//! What a client's grammar may cost.
//!
//! A grammar is compiled on a thread of its own, because the library descends into it and a stack
//! that overflows cannot be caught: [`STACK_BYTES`] is more than a source of
//! [`SOURCE_BYTES_MAX`](super::source::SOURCE_BYTES_MAX) can use. One grammar is compiled at a
//! time, so that compiling takes one core of those that run the model's steps at most.
//!
//! What an output's masks may cost is bounded for each token that is taken and each mask, as
//! [`parser`](super::parser) says: a mask is computed twice at most, once by the parser as it is
//! and once by a clean one, each within the fuel and the items below. Bounds in these units are the
//! same on every machine and in every batch. The work of a step is not bounded as a whole: which of
//! its masks were left out would depend on who else is in it.
use llguidance::api::ParserLimits;
use std::time::Duration;

/// Bytes of the stack on which grammars are compiled. Only those that are touched are memory.
pub(super) const STACK_BYTES: usize = 256 << 20;
/// Bytes of compiled grammars that are kept, about.
pub(super) const CACHE_BYTES: usize = 64 << 20;
/// Bytes of what is known of sources that were refused, about.
pub(super) const REFUSALS_BYTES: usize = 1 << 20;
/// How long a source waits for others that are being compiled before it is refused for now. All
/// while it waits, its body takes a turn of those that are read at once.
pub(super) const COMPILING_TIME: Duration = Duration::from_secs(2);
/// Bytes that the parsers of all outputs should hold together.
pub(super) const PARSERS_BYTES: usize = 512 << 20;

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
        // Of one to two kilobytes each, in every choice: those on the way of its output, and of one
        // mask.
        max_lexer_states: 20_000,
        max_grammar_size: 200_000,
        precompute_large_lexemes: true,
        // They quote what the client wrote.
        verbose_errors: false,
    }
}
