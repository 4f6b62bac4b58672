//! What differs between the endpoints that generate: how a body is read, and how an answer is
//! written. `docs/adding.md` says what a new one needs.
use super::fields::Fields;
use super::limits::Reading;
use super::params::ParsedBody;
use crate::runtime::Delta;
use crate::serve::error::ApiError;
use crate::text::Tokenizer;
use serde_json::{Value, json};
use verbatim_core::sampling::TokenLogprob;

/// The fixed names in a dialect's answers.
#[derive(Clone, Copy, Debug)]
pub struct Labels {
    /// What ids of answers begin with.
    pub id_prefix: &'static str,
    /// The `object` of a whole answer.
    pub object: &'static str,
    /// The `object` of an event.
    pub chunk_object: &'static str,
}

/// What a dialect says of a choice, whole or in part.
#[derive(Clone, Debug)]
pub struct ChoiceText<'t> {
    /// The number of the choice in the answer.
    pub index: usize,
    /// The text; none in the event that ends a choice.
    pub text: Option<&'t str>,
    /// From [`Dialect::logprobs`], or null.
    pub logprobs: Value,
    /// Why the choice ended, once it has.
    pub finish_reason: Option<&'static str>,
}

/// An endpoint that generates.
pub trait Dialect: Sync {
    /// Reads the fields of a request's body.
    fn parse(&self, fields: &Fields<'_>, reading: Reading<'_>) -> Result<ParsedBody, ApiError>;

    /// The fixed names in the answers.
    fn labels(&self) -> Labels;

    /// The logprobs of some tokens in order. `offset` is the count of characters before the first
    /// of them and becomes that before the next token.
    fn logprobs(&self, texts: TokenTexts<'_>, tokens: &[ListedToken<'_>], offset: &mut usize) -> Value;

    /// A choice of a whole answer.
    fn whole_choice(&self, choice: ChoiceText<'_>) -> Value;

    /// The choice in the event that opens a choice, if there is such an event.
    fn opening(&self, index: usize) -> Option<Value>;

    /// The choice in an event.
    fn chunk_choice(&self, choice: ChoiceText<'_>) -> Value;
}

/// A token whose logprobs are listed.
#[derive(Clone, Copy, Debug)]
pub struct ListedToken<'d> {
    /// The token that was drawn.
    pub token: TokenLogprob,
    /// The likeliest tokens in its place, best first.
    pub top: &'d [TokenLogprob],
}

/// The tokens among `deltas`; one that is only text held back until the end has none.
pub fn listed_tokens(deltas: &[Delta]) -> Vec<ListedToken<'_>> {
    let mut listed = Vec::with_capacity(deltas.len());
    for Delta { token, top, .. } in deltas {
        listed.extend(token.map(|token| ListedToken { token, top }));
    }
    listed
}

/// Single tokens as text.
#[derive(Clone, Copy, Debug)]
pub struct TokenTexts<'m>(pub &'m Tokenizer);

impl TokenTexts<'_> {
    /// The bytes that a token adds to the output.
    pub fn bytes(self, token: u32) -> Vec<u8> {
        self.0.bytes(token)
    }

    /// The text of a token alone; bytes that are only a part of a character become U+FFFD.
    pub fn text(self, token: u32) -> String {
        String::from_utf8_lossy(&self.0.bytes(token)).into_owned()
    }

    /// The number of characters in [`TokenTexts::text`].
    pub fn char_count(self, token: u32) -> usize {
        self.text(token).chars().count()
    }
}

/// An f32 as the shortest decimal that reads back to it. Widening it would print digits that it
/// never had.
pub fn number(x: f32) -> Value {
    x.to_string().parse::<f64>().map_or(Value::Null, |x| json!(x))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_has_no_digits_that_it_never_had() {
        assert_eq!(number(0.1).to_string(), "0.1");
        assert_eq!(number(-1.5e-7).to_string(), "-1.5e-7");
    }
}
