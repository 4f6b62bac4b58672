//! `POST /v1/chat/completions`: a conversation's next message.
mod writer;

use super::answer;
use super::answer::writer::{AnswerWriter, Head};
use super::asked::Asked;
use super::dialect::Dialect;
use super::fields::Fields;
use super::limits::Reading;
use super::parameters::{CHAT, Endpoints};
use super::params::{self, ParsedBody, TOP_LOGPROBS_MAX};
use super::prompt;
use super::resume::{self, Resume};
use super::runs::{Plan, Run};
use super::tools;
use crate::runtime::ServedModel;
use crate::serve::error::ApiError;
use crate::serve::exchange::Exchange;
use crate::text::parts::{OutputFormat, ReasoningFormat, ReasoningSyntax};
use crate::text::{RenderedChat, Tokenizer};
use serde_json::Value;
use writer::Writer;

/// The dialect of this endpoint.
#[derive(Clone, Copy, Debug)]
pub struct Chat;

/// Generates and answers, whole or as events.
pub fn handle(exchange: &mut Exchange<'_>) -> Result<(), ApiError> {
    answer::generate(&Chat, exchange)
}

impl Dialect for Chat {
    fn endpoint(&self) -> Endpoints {
        CHAT
    }

    fn parse(&self, fields: &Fields<'_>, reading: Reading<'_>) -> Result<ParsedBody, ApiError> {
        params::check_model(fields, reading.model)?;
        let logprobs = fields.flag("logprobs")?;
        let top_logprobs = fields.integer("top_logprobs", 0, TOP_LOGPROBS_MAX)?;
        if top_logprobs.is_some() && !logprobs {
            return Err(ApiError::invalid("top_logprobs", "top_logprobs needs logprobs to be true"));
        }
        let top_logprobs = logprobs.then_some(top_logprobs.unwrap_or(0) as u32);
        let asked = Asked::read(fields, reading, top_logprobs, 1)?;
        let model = reading.model;
        let tools = tools::tools(fields)?;
        let choices = asked.choices();
        let mut resume = Resume::of_conversation(fields, choices, model)?;
        let given = match resume.as_mut().and_then(Resume::take_ids) {
            Some(ids) => Some(ids),
            None => given_prompt(fields, reading)?,
        };
        // Messages whose ids are given say no more than how their prompt has begun the reasoning.
        let are_asked =
            given.is_none() || (model.format.reasoning.is_some() && fields.get("messages").is_some());
        let rendered = are_asked.then(|| prompt::rendered(fields, &tools, reading)).transpose()?;
        let mut ids = match (given, &rendered) {
            (Some(ids), _) => ids,
            (None, Some(rendered)) => prompt::ids(rendered, model, asked.truncates())?,
            (None, None) => return Err(ApiError::invalid("messages", "messages is missing")),
        };
        let runs = match &mut resume {
            Some(resume) => resume.take_runs(0, choices, &mut ids)?,
            None => vec![Run::all(choices)],
        };
        // An answer may be as long as the context has room for.
        let mut request = asked.request(ids, "messages", usize::MAX)?;
        let mut format = OutputFormat {
            reasoning: reasoning(model, rendered.as_ref(), &request.prompt)?,
            tools: tools.format(model.format),
        };
        let form = tools.constraint(&mut format, fields, reading)?;
        request.constraint = form.constraint;
        request.kept_special = format.kept_ids(&model.tokenizer).into();
        let echo = asked.shown.echo.then(|| echoed(fields)).flatten().map(|text| vec![text]);
        let ignored = form.ignored.map(str::to_owned).into_iter().collect();
        let mut plan = Plan::default();
        asked.plan(&mut plan, &request, runs)?;
        Ok(ParsedBody { format, ignored, ..asked.body(plan, resume.is_some(), echo, false) })
    }

    fn id_prefix(&self) -> &'static str {
        "chatcmpl-"
    }

    fn writer<'a>(&self, head: Head<'a>) -> Box<dyn AnswerWriter + 'a> {
        Box::new(Writer::new(head))
    }
}

/// The ids of the one prompt of a conversation, where `resume` gives them.
fn given_prompt(fields: &Fields<'_>, reading: Reading<'_>) -> Result<Option<Vec<u32>>, ApiError> {
    let Some(mut prompts) = resume::prompts(fields, reading)? else { return Ok(None) };
    match (prompts.pop(), prompts.is_empty()) {
        (prompt, true) => Ok(prompt),
        _ => Err(ApiError::invalid(
            "resume",
            "resume has prompt_token_ids of several prompts, but there is one",
        )),
    }
}

/// How the answer's reasoning is marked: by the conversation, or else by the last turn of the
/// prompt, which may have opened it at its end or in the message that the model goes on with.
fn reasoning(
    model: &ServedModel,
    rendered: Option<&RenderedChat>,
    prompt: &[u32],
) -> Result<Option<ReasoningFormat>, ApiError> {
    let Some(syntax) = model.format.reasoning else { return Ok(None) };
    if let Some(rendered) = rendered {
        return Ok(Some(rendered.reasoning(syntax)));
    }
    let turn = last_turn(prompt, &model.tokenizer, syntax);
    let text = model.tokenizer.decode(turn, false).map_err(|error| ApiError::text("resume", &error))?;
    Ok(Some(syntax.after(&text)))
}

/// What follows the last special token of a prompt, which is no mark of reasoning. Templates that
/// have special tokens begin every turn behind one, and no text of a message has any.
fn last_turn<'p>(prompt: &'p [u32], tokenizer: &Tokenizer, syntax: ReasoningSyntax) -> &'p [u32] {
    let (opening, closing) = syntax.marks();
    let marks = [tokenizer.id_of(opening), tokenizer.id_of(closing)];
    let begins = |id: &u32| tokenizer.is_special(*id) && !marks.contains(&Some(*id));
    &prompt[prompt.iter().rposition(begins).map_or(0, |at| at + 1)..]
}

/// The content of the last message, with which an answer of the same role begins when it is
/// repeated.
fn echoed(fields: &Fields<'_>) -> Option<String> {
    let last = fields.get("messages")?.as_array()?.last()?;
    let goes_on = fields.flag("continue_final_message").unwrap_or_default();
    let is_its_own = goes_on || last.get("role").and_then(Value::as_str) == Some("assistant");
    last.get("content").and_then(Value::as_str).filter(|_| is_its_own).map(str::to_owned)
}

/// The text of the conversation in `messages`, in which special tokens that messages wrote are
/// marked.
pub(super) fn rendered(fields: &Fields<'_>, reading: Reading<'_>) -> Result<String, ApiError> {
    Ok(prompt::rendered(fields, &tools::tools(fields)?, reading)?.text)
}

/// The ids of the conversation in `messages`.
pub(super) fn prompt(fields: &Fields<'_>, reading: Reading<'_>) -> Result<Vec<u32>, ApiError> {
    prompt::ids(&prompt::rendered(fields, &tools::tools(fields)?, reading)?, reading.model, false)
}

#[cfg(test)]
mod tests {
    use super::*;
    use verbatim_tests::fixture::tokenizer_json;

    #[test]
    fn the_last_turn_begins_behind_a_special_token_that_is_no_mark() {
        let mut json = tokenizer_json();
        let mut added = json["added_tokens"].as_array().expect("a list").clone();
        let mut mark = added[0].clone();
        (mark["id"], mark["content"], mark["special"]) = (258.into(), "[THINK]".into(), true.into());
        added.push(mark);
        json["added_tokens"] = Value::from(added);
        let tokenizer = Tokenizer::new(json.to_string().as_bytes(), None).expect("a tokenizer");
        let of = |ids: &[u32]| last_turn(ids, &tokenizer, ReasoningSyntax::Brackets).to_vec();
        assert_eq!(of(&[256, 258, 97, 257, 98, 258, 99]), [98, 258, 99], "a mark begins no turn");
        assert!(of(&[256, 258, 97, 257]).is_empty());
        assert_eq!(of(&[97, 98]), [97, 98]);
    }
}
