//! What a client wants to be told beside the text: ids, log-probabilities, the prompt; and which
//! tokens are part of the text.
use super::answer::parsed::ParsedBody;
use super::fields::Fields;
use super::params::TOP_LOGPROBS_MAX;
use crate::runtime::OwnedRequest;
use crate::serve::error::ApiError;
use verbatim_core::model::RowOutput;

/// What is shown of an output and of its prompt.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Shown {
    /// Alternatives that are listed beside each token of the output, if logprobs are listed.
    pub top_logprobs: Option<u32>,
    /// Alternatives that are listed beside each token of the prompt, if its logprobs are told.
    pub prompt_logprobs: Option<u32>,
    /// Whether the answer begins with the prompt.
    pub echo: bool,
    /// Whether lists name tokens by their ids.
    tokens_as_ids: bool,
    /// Whether token ids are listed.
    token_ids: bool,
    /// Whether special tokens are part of the text.
    keeps_special: bool,
    /// Whether what ends the output is part of it.
    includes_stop: bool,
}

impl Shown {
    /// Reads the parameters of this file. `top_logprobs` is what the endpoint's own parameters ask
    /// for.
    pub fn read(fields: &Fields<'_>, top_logprobs: Option<u32>, is_streamed: bool) -> Result<Self, ApiError> {
        let prompt_logprobs = fields.integer("prompt_logprobs", 0, TOP_LOGPROBS_MAX)?;
        if prompt_logprobs.is_some() && is_streamed {
            let message = "prompt_logprobs are told in whole answers only: stream must be false";
            return Err(ApiError::invalid("prompt_logprobs", message));
        }
        Ok(Self {
            top_logprobs,
            prompt_logprobs: prompt_logprobs.map(|count| count as u32),
            echo: fields.flag("echo")?,
            tokens_as_ids: fields.flag("return_tokens_as_token_ids")?,
            token_ids: fields.flag("return_token_ids")?,
            keeps_special: fields.get("skip_special_tokens").is_some()
                && !fields.flag("skip_special_tokens")?,
            includes_stop: fields.flag("include_stop_str_in_output")?,
        })
    }

    /// Alternatives that the engine must list for all this.
    pub fn engine_logprobs(&self) -> u32 {
        self.top_logprobs.unwrap_or(0).max(self.prompt_logprobs.unwrap_or(0))
    }

    /// Makes a request yield what is shown of it. With `echo` its prompt is scored if the output
    /// is. A stream that is resumed has told of its prompt.
    pub fn apply(&self, request: &mut OwnedRequest, echo: bool) {
        request.skips_special = !self.keeps_special;
        request.includes_stop = self.includes_stop;
        let scores = self.prompt_logprobs.is_some() || (echo && self.top_logprobs.is_some());
        request.prompt_output = if !request.generated.is_empty() {
            RowOutput::None
        } else if scores {
            RowOutput::NextLogprob
        } else if request.max_tokens == 0 {
            // The engine has something to do for a request without output.
            RowOutput::Hidden
        } else {
            RowOutput::None
        };
    }

    /// The part of a body that says what is shown.
    pub fn body(&self) -> ParsedBody {
        ParsedBody {
            logprobs: self.top_logprobs.is_some(),
            top_logprobs: self.top_logprobs.unwrap_or(0) as usize,
            prompt_logprobs: self.prompt_logprobs.map(|count| count as usize),
            tokens_as_ids: self.tokens_as_ids,
            token_ids: self.token_ids,
            ..ParsedBody::default()
        }
    }
}
