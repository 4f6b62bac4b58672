//! `POST /v1/chat/completions`: a conversation's next message.
use super::answer;
use super::dialect::{ChoiceText, Dialect, Labels, ListedToken, TokenTexts, number};
use super::fields::Fields;
use super::limits::Reading;
use super::params::{self, Common, ParsedBody, TOP_LOGPROBS_MAX};
use crate::runtime::ServedModel;
use crate::serve::error::ApiError;
use crate::serve::exchange::Exchange;
use crate::text::{ChatEncoder, TextError};
use serde_json::{Value, json};
use verbatim_core::sampling::TokenLogprob;

/// The dialect of this endpoint.
#[derive(Clone, Copy, Debug)]
pub struct Chat;

/// Generates and answers, whole or as events.
pub fn handle(exchange: &mut Exchange<'_>) -> Result<(), ApiError> {
    answer::generate(&Chat, exchange)
}

impl Dialect for Chat {
    fn parse(&self, fields: &Fields<'_>, reading: Reading<'_>) -> Result<ParsedBody, ApiError> {
        let Reading { model, bounds } = reading;
        params::check_model(fields, model)?;
        let streaming = params::streaming(fields)?;
        let logprobs = fields.flag("logprobs")?;
        let top_logprobs = fields.integer("top_logprobs", 0, TOP_LOGPROBS_MAX)?;
        if top_logprobs.is_some() && !logprobs {
            return Err(ApiError::invalid("top_logprobs", "top_logprobs needs logprobs to be true"));
        }
        let sampling = params::sampling(fields, reading, top_logprobs.unwrap_or(0) as u32)?;
        let seed = sampling.seed();
        let choices = params::choices(fields, reading, 1)?;
        if fields.get("resume").is_some() {
            return Err(params::resume_needs_ids());
        }
        let common = Common { sampling, choices, limits: params::limits(fields)? };
        let (token_ids, stop) = (fields.flag("return_token_ids")?, params::stop(fields, bounds)?);
        let prompt = prompt(fields, model)?;
        // An answer may be as long as the context has room for.
        let request = common.request(prompt, model, "messages", usize::MAX)?;
        Ok(ParsedBody { requests: vec![request], seed, streaming, logprobs, token_ids, stop })
    }

    fn labels(&self) -> Labels {
        Labels { id_prefix: "chatcmpl", object: "chat.completion", chunk_object: "chat.completion.chunk" }
    }

    fn logprobs(&self, texts: TokenTexts<'_>, tokens: &[ListedToken<'_>], _offset: &mut usize) -> Value {
        let entry = |at: &TokenLogprob| {
            let (token, bytes) = (texts.text(at.token), texts.bytes(at.token));
            json!({"token": token, "logprob": number(at.logprob), "bytes": bytes})
        };
        let with_top = |at: &ListedToken<'_>| {
            let mut listed = entry(&at.token);
            listed["top_logprobs"] = at.top.iter().map(entry).collect();
            listed
        };
        json!({"content": tokens.iter().map(with_top).collect::<Vec<_>>(), "refusal": null})
    }

    fn whole_choice(&self, choice: ChoiceText<'_>) -> Value {
        let ChoiceText { index, text, logprobs, finish_reason } = choice;
        json!({
            "index": index,
            "message": {"role": "assistant", "content": text.unwrap_or_default(), "refusal": null},
            "logprobs": logprobs, "finish_reason": finish_reason,
        })
    }

    fn opening(&self, index: usize) -> Option<Value> {
        let delta = json!({"role": "assistant", "content": ""});
        Some(json!({"index": index, "delta": delta, "logprobs": null, "finish_reason": null}))
    }

    fn chunk_choice(&self, choice: ChoiceText<'_>) -> Value {
        let ChoiceText { index, text, logprobs, finish_reason } = choice;
        let delta = text.map_or_else(|| json!({}), |text| json!({"content": text}));
        json!({"index": index, "delta": delta, "logprobs": logprobs, "finish_reason": finish_reason})
    }
}

/// The ids of the conversation in `messages`.
pub(super) fn prompt(fields: &Fields<'_>, model: &ServedModel) -> Result<Vec<u32>, ApiError> {
    let wrong = |message: &str| ApiError::invalid("messages", message);
    let refused = |error: TextError| ApiError::text("messages", &error);
    let encoder = ChatEncoder::new(&model.tokenizer, model.template.as_ref()).map_err(refused)?;
    let list = fields.get("messages").ok_or_else(|| wrong("messages is missing"))?;
    let list = list.as_array().filter(|list| !list.is_empty());
    let list: &[Value] = list.ok_or_else(|| wrong("messages must be a list of at least one"))?;
    let rendered = encoder.render(list).map_err(refused)?;
    params::check_text_fits(&rendered, model, "messages")?;
    encoder.ids(&rendered).map_err(refused)
}
