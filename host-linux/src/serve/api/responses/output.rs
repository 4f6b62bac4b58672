//! Answers of `/v1/responses`: a response of items, whole or as numbered events.
use super::super::answer::tokens::{ListedToken, TokenTexts};
use super::super::answer::writer::{
    AnswerWriter, ChoiceHead, Finish, Head, Listed, Piece, Reason, WholeChoice,
};
use super::super::blocks::{Block, Blocks, Change};
use super::items::{self, Status};
use crate::serve::error::ApiError;
use crate::serve::events::Events;
use crate::serve::observe::Usage;
use crate::serve::server::now;
use serde_json::{Value, json};
use std::io;

/// The writer of one response. There is one choice in an answer.
#[derive(Debug)]
pub(super) struct Response<'a> {
    head: Head<'a>,
    blocks: Blocks,
    /// Log-probabilities of the tokens of the open block, where they are listed: text has them.
    logprobs: Vec<Value>,
    /// Those of tokens whose text was held back.
    waiting: Vec<Value>,
    /// Items that have ended.
    output: Vec<Value>,
    /// Ids of the tokens so far, where they are asked for.
    token_ids: Vec<u32>,
    finish: Option<Finish>,
    /// The number of the next event.
    sequence: u64,
}

impl<'a> Response<'a> {
    pub(super) fn new(head: Head<'a>) -> Self {
        Self {
            head,
            blocks: Blocks::default(),
            logprobs: Vec::new(),
            waiting: Vec::new(),
            output: Vec::new(),
            token_ids: Vec::new(),
            finish: None,
            sequence: 0,
        }
    }

    fn status(&self) -> Status {
        match self.finish.as_ref().map(|finish| finish.reason) {
            None => Status::InProgress,
            Some(Reason::Length) => Status::Incomplete,
            Some(Reason::Stop | Reason::ToolCalls) => Status::Completed,
        }
    }

    /// The response as far as it has come, whose items it takes; with its usage it is whole.
    fn response(&mut self, usage: Option<Usage>) -> Value {
        let status = self.status();
        let reason = (status == Status::Incomplete).then(|| json!({"reason": "max_output_tokens"}));
        let output = std::mem::take(&mut self.output);
        let mut response = json!({
            "id": self.head.id,
            "object": "response",
            "created_at": self.head.created,
            "completed_at": usage.map(|_| now()),
            "status": status.name(),
            "background": false,
            "error": null,
            "incomplete_details": reason,
            "max_tool_calls": null,
            "model": self.head.model,
            "output": null,
            "previous_response_id": null,
            "service_tier": "default",
            "store": false,
            "truncation": "disabled",
            "usage": usage.map(|usage| self.usage(usage)),
            "verbatim": self.verbatim(usage.is_some()),
        });
        // Moved, as `json!` would copy them.
        response["output"] = Value::Array(output);
        if let (Some(response), Some(repeated)) =
            (response.as_object_mut(), self.head.parsed.input.as_object())
        {
            response.extend(repeated.clone());
        }
        response
    }

    /// What is Verbatim's own in an answer; ids of tokens at its end alone.
    fn verbatim(&self, with_ids: bool) -> Value {
        if with_ids { self.head.verbatim_with_ids(&self.token_ids) } else { self.head.verbatim() }
    }

    fn usage(&self, usage: Usage) -> Value {
        let thought = self.finish.as_ref().map_or(0, |finish| finish.reasoning_tokens);
        json!({
            "input_tokens": usage.prompt_tokens,
            "input_tokens_details": {"cached_tokens": usage.cached_tokens, "cache_write_tokens": 0},
            "output_tokens": usage.completion_tokens,
            "output_tokens_details": {"reasoning_tokens": thought},
            "total_tokens": usage.prompt_tokens + usage.completion_tokens,
        })
    }

    /// Sends an event with the next number.
    fn send(&mut self, kind: &str, mut fields: Value, events: &mut Events) -> io::Result<()> {
        self.send_lending(kind, &mut fields, events)
    }

    /// Sends an event, whose fields the caller keeps: lists that are told again are moved from
    /// event to event, since they may be large.
    fn send_lending(&mut self, kind: &str, fields: &mut Value, events: &mut Events) -> io::Result<()> {
        fields["type"] = json!(kind);
        fields["sequence_number"] = json!(self.sequence);
        self.sequence += 1;
        events.send(fields)
    }

    /// Takes what came of the choice's tokens: where logprobs are listed they belong to the text
    /// that they brought, and wait while it is held back.
    fn note(&mut self, tokens: &[ListedToken<'_>]) {
        if self.head.parsed.token_ids {
            self.token_ids.extend(tokens.iter().map(|at| at.token.token));
        }
        if self.head.parsed.logprobs {
            let texts = TokenTexts { tokenizer: self.head.tokenizer, as_ids: false };
            self.waiting.extend(items::logprobs(texts, tokens));
        }
    }

    /// Hands the logprobs that waited to the open block, which grew; only text lists them. Returns
    /// those that are new.
    fn hand_out(&mut self, at: usize) -> &[Value] {
        let before = self.logprobs.len();
        if matches!(self.blocks.list()[at], Block::Text(_)) {
            self.logprobs.append(&mut self.waiting);
        }
        self.waiting.clear();
        &self.logprobs[before..]
    }

    /// The status of a block that has ended.
    fn status_of(&self, at: usize) -> Status {
        let is_last = at + 1 == self.blocks.list().len();
        if is_last && self.status() == Status::Incomplete { Status::Incomplete } else { Status::Completed }
    }

    /// The item of a block that has ended, with the content that is its part.
    fn item(&self, at: usize, part: Option<Value>, choice: &ChoiceHead<'_>) -> Value {
        let block = &self.blocks.list()[at];
        items::item(&items::id(self.head.id, block, at), block, part, choice, self.status_of(at))
    }

    fn changed(&mut self, change: &Change, choice: &ChoiceHead<'_>, events: &mut Events) -> io::Result<()> {
        match change {
            Change::Began(at) => self.began(*at, choice, events),
            Change::Grew(at, by) => self.grew(*at, by, events),
            Change::Ended(at) => self.ended(*at, choice, events),
        }
    }

    /// What [`Response::changed`] does, where no event tells of it.
    fn changed_silently(&mut self, change: &Change, choice: &ChoiceHead<'_>) {
        match change {
            Change::Began(_) => {}
            Change::Grew(at, _) => _ = self.hand_out(*at),
            Change::Ended(at) => {
                let logprobs = Value::Array(std::mem::take(&mut self.logprobs));
                let part = items::part(&self.blocks.list()[*at], logprobs);
                self.output.push(self.item(*at, part, choice));
            }
        }
    }

    /// Where the content of a block stands in the answer.
    fn place(&self, at: usize) -> Value {
        let block = &self.blocks.list()[at];
        let mut place = json!({"item_id": items::id(self.head.id, block, at), "output_index": at});
        if !matches!(block, Block::Call { .. }) {
            place["content_index"] = json!(0);
        }
        place
    }

    fn began(&mut self, at: usize, choice: &ChoiceHead<'_>, events: &mut Events) -> io::Result<()> {
        // Parts that came at once have grown the block already.
        let empty = match &self.blocks.list()[at] {
            Block::Reasoning(_) => Block::Reasoning(String::new()),
            Block::Text(_) => Block::Text(String::new()),
            Block::Call { call, name, .. } => {
                Block::Call { call: *call, name: name.clone(), arguments: String::new() }
            }
        };
        let id = items::id(self.head.id, &empty, at);
        let item = items::item(&id, &empty, None, choice, Status::InProgress);
        self.send("response.output_item.added", json!({"output_index": at, "item": item}), events)?;
        let Some(part) = items::part(&empty, json!([])) else { return Ok(()) };
        let mut event = self.place(at);
        event["part"] = part;
        self.send("response.content_part.added", event, events)
    }

    fn grew(&mut self, at: usize, by: &str, events: &mut Events) -> io::Result<()> {
        let mut event = self.place(at);
        event["delta"] = json!(by);
        let logprobs = json!(self.hand_out(at));
        let kind = match &self.blocks.list()[at] {
            Block::Reasoning(_) => "response.reasoning_text.delta",
            Block::Text(_) => {
                event["logprobs"] = logprobs;
                "response.output_text.delta"
            }
            Block::Call { .. } => "response.function_call_arguments.delta",
        };
        self.send(kind, event, events)
    }

    fn ended(&mut self, at: usize, choice: &ChoiceHead<'_>, events: &mut Events) -> io::Result<()> {
        let mut logprobs = Value::Array(std::mem::take(&mut self.logprobs));
        let mut event = self.place(at);
        let kind = match &self.blocks.list()[at] {
            Block::Reasoning(text) => {
                event["text"] = json!(text);
                "response.reasoning_text.done"
            }
            Block::Text(text) => {
                event["text"] = json!(text);
                event["logprobs"] = logprobs;
                "response.output_text.done"
            }
            Block::Call { name, arguments, .. } => {
                event["name"] = json!(name);
                event["arguments"] = json!(arguments);
                "response.function_call_arguments.done"
            }
        };
        self.send_lending(kind, &mut event, events)?;
        logprobs = event["logprobs"].take();
        let mut part = items::part(&self.blocks.list()[at], logprobs);
        if let Some(lent) = part.take() {
            let mut event = self.place(at);
            event["part"] = lent;
            self.send_lending("response.content_part.done", &mut event, events)?;
            part = Some(event["part"].take());
        }
        let mut event = json!({"output_index": at});
        event["item"] = self.item(at, part, choice);
        self.send_lending("response.output_item.done", &mut event, events)?;
        self.output.push(event["item"].take());
        Ok(())
    }
}

impl AnswerWriter for Response<'_> {
    /// Events at the end of an item, and the last one of all, tell all its logprobs again.
    fn keeps(&self) -> Listed {
        Listed::by(self.head.parsed)
    }

    fn open(&mut self, events: &mut Events) -> io::Result<()> {
        let response = self.response(None);
        self.send("response.created", json!({"response": response}), events)?;
        self.send("response.in_progress", json!({"response": response}), events)
    }

    fn piece(&mut self, choice: &ChoiceHead<'_>, piece: &Piece<'_>, events: &mut Events) -> io::Result<()> {
        self.note(piece.tokens);
        for part in piece.parts {
            let mut changes = Vec::new();
            self.blocks.push(part, &mut changes);
            for change in &changes {
                self.changed(change, choice, events)?;
            }
        }
        Ok(())
    }

    fn end(
        &mut self,
        choice: &ChoiceHead<'_>,
        piece: &Piece<'_>,
        finish: &Finish,
        events: &mut Events,
    ) -> io::Result<()> {
        if !piece.is_empty() {
            self.piece(choice, piece, events)?;
        }
        self.finish = Some(finish.clone());
        let mut changes = Vec::new();
        self.blocks.finish(&mut changes);
        changes.iter().try_for_each(|change| self.changed(change, choice, events))
    }

    fn close(&mut self, usage: Usage, events: &mut Events) -> io::Result<()> {
        let kind = match self.status() {
            Status::Incomplete => "response.incomplete",
            Status::InProgress | Status::Completed => "response.completed",
        };
        let mut event = json!({});
        event["response"] = self.response(Some(usage));
        self.send(kind, event, events)?;
        events.done()
    }

    fn fail(&mut self, error: &ApiError, _: &Value, events: &mut Events) -> io::Result<()> {
        let code = match error.status {
            429 => "rate_limit_exceeded",
            400..=499 => "invalid_prompt",
            _ => "server_error",
        };
        let mut event = json!({});
        event["response"] = self.response(None);
        event["response"]["status"] = json!("failed");
        event["response"]["error"] = json!({"code": code, "message": error.message});
        self.send("response.failed", event, events)?;
        events.end()
    }

    /// The steps of a stream, without its events.
    fn whole(&mut self, choices: &[WholeChoice<'_>], usage: Usage) -> Value {
        for choice in choices {
            let mut changes = Vec::new();
            for (tokens, parts) in choice.pieces() {
                self.note(tokens);
                parts.iter().for_each(|part| self.blocks.push(part, &mut changes));
                for change in changes.drain(..) {
                    self.changed_silently(&change, &choice.head);
                }
            }
            self.finish = Some(choice.finish.clone());
            self.blocks.finish(&mut changes);
            for change in &changes {
                self.changed_silently(change, &choice.head);
            }
        }
        self.response(Some(usage))
    }
}
