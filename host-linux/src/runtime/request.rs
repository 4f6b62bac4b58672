//! A request that owns what it holds, on its way to the engine thread.
use verbatim_core::engine::Request;
use verbatim_core::model::RowOutput;
use verbatim_core::sampling::SamplingParams;

/// A request that owns what it holds; [`Request`] says what each field means.
#[derive(Clone, Debug)]
pub struct OwnedRequest {
    /// Prompt ids.
    pub prompt: Vec<u32>,
    /// Ids generated before, after which it goes on.
    pub generated: Vec<u32>,
    /// The number of its first choice.
    pub first_choice: u32,
    /// How many choices, at least 1.
    pub choices: u32,
    /// How tokens are drawn.
    pub params: SamplingParams,
    /// Added to logits.
    pub logit_bias: Vec<(u32, f32)>,
    /// Ids that end the output.
    pub stop_ids: Vec<u32>,
    /// Output tokens at most, those generated before included.
    pub max_tokens: usize,
    /// Output tokens before which no stop id is drawn and no stop string counts.
    pub min_tokens: usize,
    /// Greater is sooner.
    pub priority: i8,
    /// Prefixes are shared among requests with the same salt.
    pub cache_salt: u64,
}

impl OwnedRequest {
    /// One choice of at most `max_tokens` after `prompt`, with nothing else asked.
    pub fn new(prompt: Vec<u32>, params: SamplingParams, max_tokens: usize) -> Self {
        Self {
            prompt,
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
        }
    }

    /// As the engine takes it.
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
            prompt_output: RowOutput::None,
        }
    }
}
