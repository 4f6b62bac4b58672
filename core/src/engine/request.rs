//! Requests, and the reasons for refusing one.
use crate::model::RowOutput;
use crate::sampling::SamplingParams;

/// The number of a request, unique for as long as the engine lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(pub u64);

/// Rows by which one step of priority moves a request ahead of those that came before it.
pub const PRIORITY_ROWS: u64 = 1024;

/// A request, borrowed: [`Engine::submit`](super::Engine::submit) copies what it needs.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// Token ids, at least one.
    pub prompt: &'a [u32],
    /// Ids that were already generated for this request, elsewhere or earlier: it is resumed after
    /// them as if it had never stopped. They count as output (penalties, `max_tokens`), and no
    /// event repeats them. If they are the whole output (there are `max_tokens`, they fill the
    /// context, or they end in one of `stop_ids` beyond `min_tokens`), the only event is the end.
    pub generated: &'a [u32],
    /// The number of the first choice; the others are numbered from it.
    pub first_choice: u32,
    /// How many choices are made (`n`): each is a sequence of its own, sampled with (seed, choice).
    pub choices: u32,
    /// How the tokens of all choices are drawn.
    pub params: SamplingParams,
    /// Token ids, and what is added to their logits before sampling.
    pub logit_bias: &'a [(u32, f32)],
    /// Ids that end the output; the id itself is reported as the last token.
    pub stop_ids: &'a [u32],
    /// The largest number of output tokens, `generated` included.
    pub max_tokens: usize,
    /// Output tokens before which `stop_ids` cannot be drawn.
    pub min_tokens: usize,
    /// Requests with higher priority go first. Each step of priority is worth a head start of
    /// [`PRIORITY_ROWS`] rows and no more, so that no request waits for ever.
    pub priority: i8,
    /// Prefixes are shared only among requests with the same salt.
    pub cache_salt: u64,
    /// The output of the prompt's rows. The last row yields logits for sampling in any case.
    pub prompt_output: RowOutput,
    /// The first position of the prompt whose row has that output. Those before it yield nothing,
    /// and may come from the cache.
    pub prompt_output_from: usize,
}

impl<'a> Request<'a> {
    /// A greedy request for `max_tokens` after `prompt`.
    pub fn greedy(prompt: &'a [u32], max_tokens: usize) -> Self {
        Self {
            prompt,
            generated: &[],
            first_choice: 0,
            choices: 1,
            params: SamplingParams::GREEDY,
            logit_bias: &[],
            stop_ids: &[],
            max_tokens,
            min_tokens: 0,
            priority: 0,
            cache_salt: 0,
            prompt_output: RowOutput::None,
            prompt_output_from: 0,
        }
    }
}

/// Why a request was not taken.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Refusal {
    /// The prompt has no token: there is nothing that a first token could follow.
    EmptyPrompt,
    /// No output was asked for and the prompt yields nothing either, or no choices.
    NothingAsked,
    /// The prompt leaves no room for a token, or `generated` goes beyond the context.
    ContextExceeded {
        /// Ids of `prompt` and `generated` together.
        prompt_tokens: usize,
        /// Positions of a sequence: [`EngineLimits::model_len`](super::EngineLimits::model_len).
        model_len: usize,
    },
    /// The request could not run even alone: it may need more KV blocks than there are.
    KvCapacityExceeded {
        /// Tokens at which it may end.
        needed_tokens: usize,
        /// Tokens that all KV blocks together hold.
        kv_tokens: usize,
    },
    /// An id outside the vocabulary.
    TokenOutOfRange {
        /// The field of [`Request`] that holds it.
        field: &'static str,
        /// The first such id.
        token: u32,
        /// Ids of the vocabulary; all are below it.
        vocab_size: usize,
    },
    /// A sampling parameter that makes no sense.
    Parameter(crate::sampling::ParamError),
    /// More entries than the engine was sized for.
    TooMany {
        /// The field of [`Request`] or of its parameters.
        field: &'static str,
        /// How many entries it has.
        given: usize,
        /// How many fit, by the engine's limits.
        max: usize,
    },
    /// The queue is full: the request may be sent again later.
    QueueFull {
        /// Sequences that may wait: [`EngineLimits::queue`](super::EngineLimits::queue).
        queue: usize,
    },
}

impl core::fmt::Display for Refusal {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::EmptyPrompt => f.write_str("the prompt is empty"),
            Self::NothingAsked => f.write_str("the request asks for no output"),
            Self::ContextExceeded { prompt_tokens, model_len } => write!(
                f,
                "the maximum context length is {model_len} tokens, but the prompt has {prompt_tokens} tokens"
            ),
            Self::KvCapacityExceeded { needed_tokens, kv_tokens } => write!(
                f,
                "the request may need {needed_tokens} tokens of KV cache, but there are {kv_tokens}"
            ),
            Self::TokenOutOfRange { field, token, vocab_size } => {
                write!(f, "{field} holds token id {token}, but the vocabulary has {vocab_size} ids")
            }
            Self::Parameter(error) => error.fmt(f),
            Self::TooMany { field, given, max } => {
                write!(f, "{field} has {given} entries, but at most {max} are supported")
            }
            Self::QueueFull { queue } => write!(f, "the queue is full: {queue} sequences wait already"),
        }
    }
}

impl core::error::Error for Refusal {}
