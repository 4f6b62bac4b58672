//! Answers of `/v1/messages`: a message of blocks, whole or as events.
use super::super::answer::writer::{
    AnswerWriter, ChoiceHead, Finish, Head, Listed, Piece, Reason, StopReason, WholeChoice,
};
use super::super::blocks::{Block, Blocks, Change};
use crate::serve::events::Events;
use crate::serve::observe::Usage;
use serde_json::{Map, Value, json};
use std::io;

/// The writer of one message. There is one choice in an answer.
#[derive(Debug)]
pub(super) struct Message<'a> {
    head: Head<'a>,
    blocks: Blocks,
    /// Ids of the tokens so far, where they are asked for.
    token_ids: Vec<u32>,
    finish: Option<Finish>,
}

impl<'a> Message<'a> {
    pub(super) fn new(head: Head<'a>) -> Self {
        Self { head, blocks: Blocks::default(), token_ids: Vec::new(), finish: None }
    }

    /// What is Verbatim's own in an answer; ids of tokens at its end alone.
    fn verbatim(&self, with_ids: bool) -> Value {
        if with_ids { self.head.verbatim_with_ids(&self.token_ids) } else { self.head.verbatim() }
    }

    /// The message with this content; how it ended is null until it has.
    fn message(&self, content: Vec<Value>, usage: Usage, is_whole: bool) -> Value {
        let (reason, sequence) = self.stop();
        json!({
            "id": self.head.id,
            "type": "message",
            "role": "assistant",
            "model": self.head.model,
            "content": content,
            "stop_reason": reason,
            "stop_sequence": sequence,
            "usage": usage_json(usage),
            "verbatim": self.verbatim(is_whole),
        })
    }

    /// The reason and the string that ended the answer.
    fn stop(&self) -> (Option<&'static str>, Option<&str>) {
        let Some(finish) = &self.finish else { return (None, None) };
        match (finish.reason, &finish.stop) {
            (Reason::ToolCalls, _) => (Some("tool_use"), None),
            (Reason::Length, _) => (Some("max_tokens"), None),
            (Reason::Stop, Some(StopReason::Text(text))) => (Some("stop_sequence"), Some(text)),
            (Reason::Stop, _) => (Some("end_turn"), None),
        }
    }

    fn send(&self, changes: &[Change], choice: &ChoiceHead<'_>, events: &mut Events) -> io::Result<()> {
        for change in changes {
            let event = match change {
                Change::Began(at) => {
                    let block = empty(&self.blocks.list()[*at], choice);
                    json!({"type": "content_block_start", "index": at, "content_block": block})
                }
                Change::Grew(at, by) => {
                    let delta = match &self.blocks.list()[*at] {
                        Block::Reasoning(_) => json!({"type": "thinking_delta", "thinking": by}),
                        Block::Text(_) => json!({"type": "text_delta", "text": by}),
                        Block::Call { .. } => json!({"type": "input_json_delta", "partial_json": by}),
                    };
                    json!({"type": "content_block_delta", "index": at, "delta": delta})
                }
                Change::Ended(at) => json!({"type": "content_block_stop", "index": at}),
            };
            events.send(&event)?;
        }
        Ok(())
    }
}

/// A block as it begins, without content.
fn empty(block: &Block, choice: &ChoiceHead<'_>) -> Value {
    match block {
        Block::Reasoning(_) => json!({"type": "thinking", "thinking": "", "signature": ""}),
        Block::Text(_) => json!({"type": "text", "text": ""}),
        Block::Call { call, name, .. } => {
            json!({"type": "tool_use", "id": choice.call_id_of(*call), "name": name, "input": {}})
        }
    }
}

/// A block with its content.
fn full(block: &Block, choice: &ChoiceHead<'_>) -> Value {
    let mut value = empty(block, choice);
    match block {
        Block::Reasoning(text) => value["thinking"] = json!(text),
        Block::Text(text) => value["text"] = json!(text),
        // Arguments that were cut off are no object, and the reason of the end tells it.
        Block::Call { arguments, .. } => {
            let input = serde_json::from_str::<Map<String, Value>>(arguments);
            value["input"] = Value::Object(input.unwrap_or_default());
        }
    }
    value
}

/// The usage as Anthropic's API tells it: tokens of the prompt that were in the cache are none of
/// the input's.
fn usage_json(usage: Usage) -> Value {
    json!({
        "input_tokens": usage.prompt_tokens.saturating_sub(usage.cached_tokens),
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": usage.cached_tokens,
        "output_tokens": usage.completion_tokens,
    })
}

impl AnswerWriter for Message<'_> {
    fn keeps(&self) -> Listed {
        Listed { logprobs: false, ids: self.head.parsed.token_ids }
    }

    fn open(&mut self, events: &mut Events) -> io::Result<()> {
        let prompt_tokens = self.head.parsed.requests.iter().map(|request| request.prompt.len()).sum();
        let usage = Usage { prompt_tokens, ..Usage::default() };
        let message = self.message(Vec::new(), usage, false);
        events.send(&json!({"type": "message_start", "message": message}))?;
        events.send(&json!({"type": "ping"}))
    }

    fn piece(&mut self, choice: &ChoiceHead<'_>, piece: &Piece<'_>, events: &mut Events) -> io::Result<()> {
        if self.head.parsed.token_ids {
            self.token_ids.extend(piece.tokens.iter().map(|at| at.token.token));
        }
        let mut changes = Vec::new();
        piece.parts.iter().for_each(|part| self.blocks.push(part, &mut changes));
        self.send(&changes, choice, events)
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
        let mut changes = Vec::new();
        self.blocks.finish(&mut changes);
        self.finish = Some(finish.clone());
        self.send(&changes, choice, events)
    }

    fn close(&mut self, usage: Usage, events: &mut Events) -> io::Result<()> {
        let (reason, sequence) = self.stop();
        let delta = json!({"stop_reason": reason, "stop_sequence": sequence});
        events.send(&json!({
            "type": "message_delta", "delta": delta, "usage": usage_json(usage),
            "verbatim": self.verbatim(true),
        }))?;
        events.send(&json!({"type": "message_stop"}))?;
        events.done()
    }

    fn whole(&mut self, choices: &[WholeChoice<'_>], usage: Usage) -> Value {
        let mut content = Vec::new();
        for choice in choices {
            choice.parts.iter().for_each(|part| self.blocks.push(part, &mut Vec::new()));
            self.blocks.finish(&mut Vec::new());
            self.token_ids.extend(choice.tokens.iter().map(|at| at.token.token));
            self.finish = Some(choice.finish.clone());
            content = self.blocks.list().iter().map(|block| full(block, &choice.head)).collect();
        }
        self.message(content, usage, true)
    }
}
