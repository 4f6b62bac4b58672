//! The log-probabilities of a prompt, in the shape that vLLM gives them.
use super::tokens::{ListedToken, TokenTexts, listed_prompt, number};
use crate::runtime::PromptToken;
use serde_json::{Map, Value, json};

/// For each token of a prompt null or a map from ids to what is known of them: of the token that
/// stands there, and of the `count` likeliest. `tokens` are those of the prompt from the second one
/// on.
///
/// The rank of a token is its place among all of the vocabulary, from 1.
pub fn prompt_logprobs(tokens: &[PromptToken], count: usize, texts: TokenTexts<'_>) -> Value {
    let of = |token: u32, logprob: f32, rank: usize| {
        let text = texts.text(token);
        (token.to_string(), json!({"logprob": number(logprob), "rank": rank, "decoded_token": text}))
    };
    let entry = |listed: ListedToken<'_>, rank: u32| {
        let own = of(listed.token.token, listed.token.logprob, rank as usize);
        let best = listed.top.iter().enumerate().map(|(at, top)| of(top.token, top.logprob, at + 1));
        Value::Object(std::iter::once(own).chain(best).collect::<Map<_, _>>())
    };
    let listed = listed_prompt(tokens, count).into_iter().zip(tokens);
    let scored = listed.map(|(listed, of)| entry(listed, of.rank));
    std::iter::once(Value::Null).chain(scored).collect()
}
