//! A request that owns what it holds, on its way to the engine thread.
use super::pooling::PooledPrompt;
use super::restriction::Restriction;
use crate::grammar::Constraint;
use std::sync::Arc;
use verbatim_core::engine::Request;
use verbatim_core::model::RowOutput;
use verbatim_core::sampling::SamplingParams;

/// A request that owns what it holds. [`Request`], which borrows it, says more of each field.
#[derive(Clone, Debug)]
pub struct OwnedRequest {
    /// Token ids of the prompt, which requests for other choices of it share.
    pub prompt: Arc<[u32]>,
    /// Token ids that were generated before, elsewhere; generation resumes after them.
    pub generated: Vec<u32>,
    /// The number of its first choice; the noise that draws tokens depends on it.
    pub first_choice: u32,
    /// How many choices, at least 1.
    pub choices: u32,
    /// How tokens are drawn from the logits.
    pub params: SamplingParams,
    /// What is added to the logits of these ids.
    pub logit_bias: Vec<(u32, f32)>,
    /// Token ids that end the output.
    pub stop_ids: Vec<u32>,
    /// Output tokens, at most; those generated before count.
    pub max_tokens: usize,
    /// Output tokens before which no stop id is drawn and no stop string counts.
    pub min_tokens: usize,
    /// Requests with a lower number run sooner; each step of it is a head start of 1,024 rows.
    pub priority: i8,
    /// Prefixes are shared among requests with the same salt.
    pub cache_salt: u64,
    /// The language in which the output is, if it has to be in one.
    pub constraint: Option<Arc<Constraint>>,
    /// Tokens that are forbidden.
    pub restriction: Option<Arc<Restriction>>,
    /// What the prompt itself yields. Only its first choice computes that, for all of them.
    pub prompt_output: RowOutput,
    /// Whether special tokens add nothing to the text.
    pub skips_special: bool,
    /// Special tokens whose text is kept all the same.
    pub kept_special: Arc<[u32]>,
    /// Whether the string or token that ends the output is part of its text.
    pub includes_stop: bool,
    /// Where the prompt's hidden states are gathered, if they are its output.
    pub pooled: Option<Arc<PooledPrompt>>,
}

impl OwnedRequest {
    /// A request for one choice of at most `max_tokens` after `prompt`, all else as by default.
    pub fn new(prompt: Vec<u32>, params: SamplingParams, max_tokens: usize) -> Self {
        Self {
            prompt: prompt.into(),
            generated: Vec::new(),
            first_choice: 0,
            choices: 1,
            params,
            logit_bias: Vec::new(),
            stop_ids: Vec::new(),
            max_tokens,
            min_tokens: 0,
            priority: 0,
            cache_salt: 0,
            constraint: None,
            restriction: None,
            prompt_output: RowOutput::None,
            skips_special: true,
            kept_special: Arc::default(),
            includes_stop: false,
            pooled: None,
        }
    }

    /// The first position whose output is asked for: hidden states that nobody gathers are computed
    /// of the last token alone.
    fn prompt_output_from(&self) -> usize {
        match (&self.pooled, self.prompt_output) {
            (Some(pooled), _) => pooled.first_position(),
            (None, RowOutput::Hidden) => self.prompt.len().saturating_sub(1),
            (None, _) => 0,
        }
    }

    /// The request as the engine takes it.
    pub fn borrow(&self) -> Request<'_> {
        Request {
            prompt: &self.prompt,
            generated: &self.generated,
            first_choice: self.first_choice,
            choices: self.choices,
            params: self.params,
            logit_bias: &self.logit_bias,
            stop_ids: &self.stop_ids,
            max_tokens: self.max_tokens,
            min_tokens: self.min_tokens,
            priority: self.priority,
            cache_salt: self.cache_salt,
            prompt_output: self.prompt_output,
            prompt_output_from: self.prompt_output_from(),
        }
    }
}
