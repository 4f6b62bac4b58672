//! llama.cpp's GBNF in the dialect of Lark that `llguidance` reads.
//!
//! * `parse`: the text of a grammar to its rules.
//! * `lark`: rules to Lark.
//!
//! GBNF has no lexer: its rules are made of characters. Lark has one. Whatever is not recursive
//! therefore becomes one terminal as far as it goes, so that a grammar without recursion means in
//! Lark exactly what it means in GBNF. Where a terminal stands before something recursive, Lark
//! takes the longest match; that differs only where what follows could begin with what the terminal
//! may end in.
mod lark;
mod parse;

pub(in crate::grammar) use lark::quoted;

/// The Lark grammar that a GBNF grammar stands for; an error says what is wrong, and where.
pub(super) fn to_lark(gbnf: &str) -> Result<String, String> {
    lark::write(&parse::parse(gbnf)?)
}
