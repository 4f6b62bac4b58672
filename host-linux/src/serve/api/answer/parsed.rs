//! A body that was read: what the engine is to generate, and how the answer shows it.
use crate::runtime::OwnedRequest;
use crate::text::parts::OutputFormat;
use serde_json::Value;

/// A body that was read. Dialects set what they have, and take the rest from the default.
#[derive(Clone, Debug, Default)]
pub struct ParsedBody {
    /// One request for each prompt, each with the same number of choices.
    pub requests: Vec<OwnedRequest>,
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
    /// For each request the text before its output, if answers begin with one.
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

impl ParsedBody {
    /// For each prompt its choices, and the tokens with which each begins: what waits in the queue.
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
}
