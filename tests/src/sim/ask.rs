//! What decides the answer to a request, and nothing else: the key of the contract.
use super::grammar::Grammar;
use verbatim_core::engine::Request;
use verbatim_core::model::RowOutput;
use verbatim_core::sampling::SamplingParams;

/// What decides a request's answer, and nothing else.
#[derive(Clone, Debug)]
pub struct Ask {
    /// The prompt's token ids.
    pub prompt: Vec<u32>,
    /// How tokens are drawn.
    pub params: SamplingParams,
    /// What is added to the logits of some token ids.
    pub logit_bias: Vec<(u32, f32)>,
    /// Token ids that end the answer.
    pub stop_ids: Vec<u32>,
    /// Output tokens at most.
    pub max_tokens: usize,
    /// Output tokens before which no stop id is drawn.
    pub min_tokens: usize,
    /// What the prompt's rows yield.
    pub prompt_output: RowOutput,
    /// What constrains the output, if anything does.
    pub grammar: Option<Grammar>,
}

impl Ask {
    /// Whether what was said before counts in what is drawn.
    pub fn is_penalized(&self) -> bool {
        let SamplingParams { repetition_penalty, presence_penalty, frequency_penalty, .. } = self.params;
        (repetition_penalty, presence_penalty, frequency_penalty) != (1.0, 0.0, 0.0)
    }

    /// The request for one choice, from its beginning.
    pub fn request(&self, choice: u32) -> Request<'_> {
        Request {
            first_choice: choice,
            params: self.params,
            logit_bias: &self.logit_bias,
            stop_ids: &self.stop_ids,
            min_tokens: self.min_tokens,
            prompt_output: self.prompt_output,
            ..Request::greedy(&self.prompt, self.max_tokens)
        }
    }
}
