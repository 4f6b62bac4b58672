//! Answers of `/v1/responses`: a response of items, whole or as numbered events.
use super::super::answer::tokens::{ListedToken, TokenTexts};
use super::super::answer::writer::{AnswerWriter, ChoiceHead, Finish, Head, Piece, Reason, WholeChoice};
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
    /// Log-probabilities of the tokens of each block of text, where they are listed.
    logprobs: Vec<Vec<Value>>,
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

    /// The response as far as it has come; with its usage it is whole.
    fn response(&self, usage: Option<Usage>) -> Value {
        let status = self.status();
        let reason = (status == Status::Incomplete).then(|| json!({"reason": "max_output_tokens"}));
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
            "output": self.output,
            "previous_response_id": null,
            "service_tier": "default",
            "store": false,
            "truncation": "disabled",
            "usage": usage.map(|usage| self.usage(usage)),
            "verbatim": self.verbatim(usage.is_some()),
        });
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
        fields["type"] = json!(kind);
        fields["sequence_number"] = json!(self.sequence);
        self.sequence += 1;
        events.send(&fields)
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

    /// Hands the logprobs that waited to a block that grew; only text lists them. Returns those
    /// that are new.
    fn hand_out(&mut self, at: usize) -> Vec<Value> {
        self.logprobs.resize(self.blocks.list().len(), Vec::new());
        let waited = std::mem::take(&mut self.waiting);
        if !matches!(self.blocks.list()[at], Block::Text(_)) {
            return Vec::new();
        }
        self.logprobs[at].extend_from_slice(&waited);
        waited
    }

    fn item(&self, at: usize, choice: &ChoiceHead<'_>, status: Status) -> Value {
        let block = &self.blocks.list()[at];
        let logprobs = self.logprobs.get(at).map_or(&[][..], Vec::as_slice);
        items::item(&items::id(self.head.id, block, at), block, logprobs, choice, status)
    }

    fn changed(&mut self, change: &Change, choice: &ChoiceHead<'_>, events: &mut Events) -> io::Result<()> {
        match change {
            Change::Began(at) => self.began(*at, choice, events),
            Change::Grew(at, by) => self.grew(*at, by, events),
            Change::Ended(at) => self.ended(*at, choice, events),
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
        let item = items::item(&id, &empty, &[], choice, Status::InProgress);
        self.send("response.output_item.added", json!({"output_index": at, "item": item}), events)?;
        let Some(part) = items::part(&empty, &[]) else { return Ok(()) };
        let mut event = self.place(at);
        event["part"] = part;
        self.send("response.content_part.added", event, events)
    }

    fn grew(&mut self, at: usize, by: &str, events: &mut Events) -> io::Result<()> {
        let logprobs = self.hand_out(at);
        let mut event = self.place(at);
        event["delta"] = json!(by);
        let kind = match &self.blocks.list()[at] {
            Block::Reasoning(_) => "response.reasoning_text.delta",
            Block::Text(_) => {
                event["logprobs"] = json!(logprobs);
                "response.output_text.delta"
            }
            Block::Call { .. } => "response.function_call_arguments.delta",
        };
        self.send(kind, event, events)
    }

    fn ended(&mut self, at: usize, choice: &ChoiceHead<'_>, events: &mut Events) -> io::Result<()> {
        let is_last = at + 1 == self.blocks.list().len();
        let status = if is_last && self.status() == Status::Incomplete {
            Status::Incomplete
        } else {
            Status::Completed
        };
        let logprobs = self.logprobs.get(at).cloned().unwrap_or_default();
        let mut event = self.place(at);
        let kind = match &self.blocks.list()[at] {
            Block::Reasoning(text) => {
                event["text"] = json!(text);
                "response.reasoning_text.done"
            }
            Block::Text(text) => {
                event["text"] = json!(text);
                event["logprobs"] = json!(logprobs);
                "response.output_text.done"
            }
            Block::Call { name, arguments, .. } => {
                event["name"] = json!(name);
                event["arguments"] = json!(arguments);
                "response.function_call_arguments.done"
            }
        };
        let part = items::part(&self.blocks.list()[at], &logprobs);
        self.send(kind, event, events)?;
        if let Some(part) = part {
            let mut event = self.place(at);
            event["part"] = part;
            self.send("response.content_part.done", event, events)?;
        }
        let item = self.item(at, choice, status);
        self.output.push(item.clone());
        self.send("response.output_item.done", json!({"output_index": at, "item": item}), events)
    }
}

impl AnswerWriter for Response<'_> {
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

    fn end(&mut self, choice: &ChoiceHead<'_>, finish: &Finish, events: &mut Events) -> io::Result<()> {
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
        let response = self.response(Some(usage));
        self.send(kind, json!({"response": response}), events)?;
        events.done()
    }

    fn fail(&mut self, error: &ApiError, _: &Value, events: &mut Events) -> io::Result<()> {
        let mut response = self.response(None);
        response["status"] = json!("failed");
        response["error"] = json!({"code": "server_error", "message": error.message});
        self.send("response.failed", json!({"response": response}), events)?;
        events.done()
    }

    fn whole(&mut self, choices: &[WholeChoice<'_>], usage: Usage) -> Value {
        for choice in choices {
            self.note(choice.tokens);
            // Tokens of thoughts come first, and are not listed.
            self.waiting.drain(..choice.finish.reasoning_tokens.min(self.waiting.len()));
            for part in choice.parts {
                self.blocks.push(part, &mut Vec::new());
            }
            self.blocks.finish(&mut Vec::new());
            self.finish = Some(choice.finish.clone());
            let last = self.blocks.list().len();
            for at in 0..last {
                let is_cut = at + 1 == last && self.status() == Status::Incomplete;
                if matches!(self.blocks.list()[at], Block::Text(_)) {
                    self.hand_out(at);
                }
                let status = if is_cut { Status::Incomplete } else { Status::Completed };
                let item = self.item(at, &choice.head, status);
                self.output.push(item);
            }
        }
        self.response(Some(usage))
    }
}
