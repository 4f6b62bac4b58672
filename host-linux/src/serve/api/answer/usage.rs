//! The tokens of an answer, as its usage tells them.
use super::choices::ChoiceState;
use super::parsed::ParsedBody;
use crate::runtime::Generation;
use crate::serve::observe::Usage;
use serde_json::{Value, json};

/// The usage of an answer so far. What was generated elsewhere counts as if it had been generated
/// here.
pub fn usage(parsed: &ParsedBody, generation: &Generation) -> Usage {
    let mut usage = Usage { prompt_tokens: parsed.prompt_tokens(), ..Usage::default() };
    let mut first = 0;
    for (at, request) in parsed.requests.iter().enumerate() {
        let choices = first..first + request.choices as usize;
        first = choices.end;
        usage.completion_tokens += choices.clone().map(|at| generation.tokens(at)).sum::<usize>();
        if parsed.begins_prompt(at) {
            // What the other choices found in the cache, the first one may have put there.
            usage.cached_tokens += generation.cached_tokens(choices.start).min(request.prompt.len());
        }
    }
    usage
}

/// The usage of an answer while its events come. To count it anew takes time for each choice, which
/// there are thousands of.
#[derive(Clone, Debug)]
pub struct Tally {
    usage: Usage,
    /// The tokens of each choice that are counted.
    tokens: Vec<usize>,
    /// For each choice that is the first of its prompt the tokens that are counted as cached.
    cached: Vec<usize>,
}

impl Tally {
    /// The usage before the first event.
    pub fn new(parsed: &ParsedBody, choices: &[ChoiceState<'_>], generation: &Generation) -> Self {
        let cached = choices.iter().map(|choice| cached_tokens(choice, choice.head.at, generation)).collect();
        let tokens = choices.iter().map(|choice| generation.tokens(choice.head.at)).collect();
        Self { usage: usage(parsed, generation), tokens, cached }
    }

    /// The usage after the events so far.
    pub fn usage(&self) -> Usage {
        self.usage
    }

    /// The usage after an event of a choice: the others count as when they were last heard of.
    pub fn heard(&mut self, choice: &ChoiceState<'_>, generation: &Generation) -> Usage {
        let tokens = generation.tokens(choice.head.at);
        let before = std::mem::replace(&mut self.tokens[choice.head.at], tokens);
        self.usage.completion_tokens = self.usage.completion_tokens + tokens - before;
        let now = cached_tokens(choice, choice.leader, generation);
        let before = std::mem::replace(&mut self.cached[choice.leader], now);
        self.usage.cached_tokens = self.usage.cached_tokens + now - before;
        self.usage
    }
}

/// The tokens of a choice's prompt that its `first` choice found in the cache.
fn cached_tokens(choice: &ChoiceState<'_>, first: usize, generation: &Generation) -> usize {
    generation.cached_tokens(first).min(choice.head.request.prompt.len())
}

/// The usage before anything was generated here.
pub fn usage_before(parsed: &ParsedBody) -> Usage {
    let of = parsed.requests.iter();
    let generated = of.map(|request| request.generated.len() * request.choices as usize);
    Usage { prompt_tokens: parsed.prompt_tokens(), completion_tokens: generated.sum(), ..Usage::default() }
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
