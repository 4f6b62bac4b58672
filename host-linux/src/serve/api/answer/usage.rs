//! The tokens of an answer, as its usage tells them.
use super::parsed::ParsedBody;
use crate::runtime::Generation;
use crate::serve::observe::Usage;
use serde_json::{Value, json};

/// The usage of an answer so far. What was generated elsewhere counts as if it had been generated
/// here.
pub fn usage(parsed: &ParsedBody, generation: &Generation) -> Usage {
    let mut usage = Usage::default();
    let mut first = 0;
    for request in &parsed.requests {
        let choices = first..first + request.choices as usize;
        first = choices.end;
        usage.prompt_tokens += request.prompt.len();
        usage.completion_tokens += choices.clone().map(|at| generation.tokens(at)).sum::<usize>();
        // What the other choices found in the cache, the first one may have put there.
        usage.cached_tokens += generation.cached_tokens(choices.start).min(request.prompt.len());
    }
    usage
}

/// The usage as OpenAI's API tells it.
pub fn usage_json(usage: Usage) -> Value {
    json!({
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "total_tokens": usage.prompt_tokens + usage.completion_tokens,
        "prompt_tokens_details": {"cached_tokens": usage.cached_tokens},
    })
}
