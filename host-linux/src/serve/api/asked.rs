//! What completions and chat read alike of a body, and the requests that they make of it.
use super::answer::parsed::{ParsedBody, Streaming};
use super::fields::Fields;
use super::forbidden;
use super::limits::Reading;
use super::params::{self, Common};
use super::runs::{Plan, Run};
use super::shown::Shown;
use crate::runtime::{OwnedRequest, Restriction, ServedModel};
use crate::serve::error::ApiError;
use std::sync::Arc;

/// All that is asked of an answer, but for what it answers.
#[derive(Debug)]
pub struct Asked<'m> {
    model: &'m ServedModel,
    streaming: Streaming,
    /// What is shown of it.
    pub shown: Shown,
    common: Common,
    stop: Vec<String>,
    stop_ids: Vec<u32>,
    restriction: Option<Arc<Restriction>>,
    /// Tokens of a prompt that are kept, the last ones, if others are cut off.
    kept_tokens: Option<usize>,
}

impl<'m> Asked<'m> {
    /// Reads the fields. `top_logprobs` is how many alternatives the endpoint's own parameters ask
    /// for, if logprobs are listed.
    pub fn read(
        fields: &Fields<'_>,
        reading: Reading<'m>,
        top_logprobs: Option<u32>,
        prompts: usize,
    ) -> Result<Self, ApiError> {
        let Reading { model, bounds } = reading;
        let streaming = params::streaming(fields)?;
        let shown = Shown::read(fields, top_logprobs, streaming.stream)?;
        let sampling = params::sampling(fields, reading, shown.engine_logprobs())?;
        let choices = params::choices(fields, reading, prompts)?;
        let common = Common { sampling, choices, limits: params::limits(fields)? };
        let stop = params::stop(fields, bounds)?;
        let stop_ids = forbidden::stop_token_ids(fields, model)?;
        let restriction = forbidden::restriction(fields, reading)?;
        let kept_tokens = kept_tokens(fields, model, common.limits.max_tokens())?;
        Ok(Self { model, streaming, shown, common, stop, stop_ids, restriction, kept_tokens })
    }

    /// Choices of each prompt.
    pub fn choices(&self) -> u32 {
        self.common.choices
    }

    /// Whether prompts that are too long are cut, rather than refused.
    pub fn truncates(&self) -> bool {
        self.kept_tokens.is_some()
    }

    /// Cuts the beginning off a prompt, if that is asked for; whether it did.
    pub fn truncate(&self, prompt: &mut Vec<u32>) -> bool {
        let cut = self.kept_tokens.map_or(0, |kept| prompt.len().saturating_sub(kept));
        prompt.drain(..cut);
        cut > 0
    }

    /// The request for all choices of one prompt, none of which was begun. `field` names the
    /// parameter that the prompt came from.
    pub fn request(
        &self,
        mut prompt: Vec<u32>,
        field: &str,
        default_max_tokens: usize,
    ) -> Result<OwnedRequest, ApiError> {
        self.truncate(&mut prompt);
        let mut request = self.common.request(prompt, self.model, field, default_max_tokens)?;
        for id in &self.stop_ids {
            if !request.stop_ids.contains(id) {
                request.stop_ids.push(*id);
            }
        }
        request.restriction.clone_from(&self.restriction);
        Ok(request)
    }

    /// Adds a prompt to the plan: its request, for those of its choices that go on.
    pub fn plan(&self, plan: &mut Plan, request: &OwnedRequest, runs: Vec<Run>) -> Result<(), ApiError> {
        let has_begun = runs.iter().any(|run| !run.generated.is_empty());
        if has_begun && self.shown.prompt_logprobs.is_some() {
            let message = "prompt_logprobs are told before any token: an answer that is resumed behind some \
                           tells none";
            return Err(ApiError::invalid("prompt_logprobs", message));
        }
        plan.add(request, runs)
    }

    /// The body that was read. `echo` has for each prompt the text before its output, where answers
    /// begin with one.
    pub fn body(
        self,
        plan: Plan,
        is_resumed: bool,
        echo: Option<Vec<String>>,
        scores_echo: bool,
    ) -> ParsedBody {
        let Plan { mut requests, places, ended_prompt_tokens, .. } = plan;
        for request in &mut requests {
            self.shown.apply(request, echo.is_some() && scores_echo);
        }
        ParsedBody {
            requests,
            places,
            is_resumed,
            ended_prompt_tokens,
            seed: self.common.sampling.seed(),
            streaming: self.streaming,
            stop: self.stop,
            echo,
            ..self.shown.body()
        }
    }
}

/// Reads `truncate_prompt_tokens`; −1 keeps as much as leaves room for `max_tokens`, or for one.
fn kept_tokens(
    fields: &Fields<'_>,
    model: &ServedModel,
    max_tokens: Option<usize>,
) -> Result<Option<usize>, ApiError> {
    let name = "truncate_prompt_tokens";
    let context = model.limits.model_len;
    Ok(match fields.integer(name, -1, i64::MAX)? {
        None => None,
        Some(0) => {
            return Err(ApiError::invalid(name, "truncate_prompt_tokens is 0: no prompt would be left"));
        }
        Some(-1) => Some(context.saturating_sub(max_tokens.unwrap_or(1)).max(1)),
        Some(kept) => Some(usize::try_from(kept).unwrap_or(usize::MAX)),
    })
}
