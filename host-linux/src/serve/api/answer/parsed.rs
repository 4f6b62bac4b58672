//! A body that was read: what the engine is to generate, and how the answer shows it.
use crate::runtime::OwnedRequest;
use crate::text::parts::OutputFormat;
use serde_json::Value;
use std::time::Duration;

/// A body that was read. Dialects set what they have, and take the rest from the default.
#[derive(Clone, Debug, Default)]
pub struct ParsedBody {
    /// The requests: one for each prompt, with all its choices, or several for those of its choices
    /// that are resumed.
    pub requests: Vec<OwnedRequest>,
    /// For each request where its choices stand in the answer. A dialect of one choice leaves it
    /// out.
    pub places: Vec<Place>,
    /// Whether an answer is resumed, so that what comes before its tokens was told.
    pub is_resumed: bool,
    /// Tokens of prompts that have no request, since all their choices had ended.
    pub ended_prompt_tokens: usize,
    /// The seed in use, given or drawn.
    pub seed: u64,
    /// Whether and how events are streamed.
    pub streaming: Streaming,
    /// Whether logprobs are listed.
    pub logprobs: bool,
    /// Alternatives that are listed beside each token, where logprobs are.
    pub top_logprobs: usize,
    /// Alternatives that are listed beside each token of the prompts, if their logprobs are told.
    pub prompt_logprobs: Option<usize>,
    /// Whether lists of logprobs name tokens by their ids.
    pub tokens_as_ids: bool,
    /// For each prompt the text before its output, if answers begin with one.
    pub echo: Option<Vec<String>>,
    /// Whether token ids are listed.
    pub token_ids: bool,
    /// Strings that end the output.
    pub stop: Vec<String>,
    /// How the output is read as parts.
    pub format: OutputFormat,
    /// What a dialect's answers repeat of the request; null for most.
    pub input: Value,
    /// Names of parameters that mean nothing here. Whoever reads a body fills them in.
    pub ignored: Vec<String>,
}

/// Where the choices of a request stand in the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The number of their prompt.
    pub prompt: usize,
    /// The `index` of the first of them; the others follow it.
    pub index: usize,
}

impl ParsedBody {
    /// Where the choices of a request stand, by its number.
    pub fn place(&self, request: usize) -> Place {
        self.places.get(request).copied().unwrap_or(Place { prompt: request, index: request })
    }

    /// Whether a request, by its number, is the first one of its prompt.
    pub fn begins_prompt(&self, request: usize) -> bool {
        request == 0 || self.place(request).prompt != self.place(request - 1).prompt
    }

    /// Tokens of all prompts, each counted once.
    pub fn prompt_tokens(&self) -> usize {
        let firsts = self.requests.iter().enumerate().filter(|(at, _)| self.begins_prompt(*at));
        self.ended_prompt_tokens + firsts.map(|(_, request)| request.prompt.len()).sum::<usize>()
    }

    /// For each request its choices, and the tokens with which each begins: what waits in the
    /// queue.
    pub fn waiting(&self) -> impl Iterator<Item = (u32, usize)> {
        self.requests.iter().map(|request| (request.choices, request.prompt.len() + request.generated.len()))
    }
}

/// How an answer is sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Streaming {
    /// As events, rather than in one body.
    pub stream: bool,
    /// The last event tells the usage.
    pub include_usage: bool,
    /// Every event tells the usage so far.
    pub continuous_usage: bool,
    /// How long what comes of a choice may be held to be told with what follows; zero where each
    /// token is told as it comes.
    pub interval: Duration,
}
