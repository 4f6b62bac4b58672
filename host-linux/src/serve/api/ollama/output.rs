//! Answers of Ollama's generating calls: one object, or a line for each piece and a last one that
//! tells why and how fast.
use super::super::answer::tokens::{ListedToken, TokenTexts, number};
use super::super::answer::writer::{
    AnswerWriter, ChoiceHead, Finish, Head, Listed, Piece, Reason, WholeChoice,
};
use super::super::blocks::{Block, Blocks, Change};
use super::reading::tagged;
use super::time::{date, nanoseconds};
use crate::serve::events::Events;
use crate::serve::observe::Usage;
use serde_json::{Map, Value, json};
use std::io;
use verbatim_core::sampling::TokenLogprob;

/// Where the text of an answer stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    /// In a message, at `/api/chat`.
    Message,
    /// Beside all else, at `/api/generate`.
    Response,
}

/// The writer of one answer. There is one choice in it, or none where nothing was asked.
#[derive(Debug)]
pub(super) struct Lines<'a> {
    head: Head<'a>,
    shape: Shape,
    blocks: Blocks,
    /// Ids of the tokens so far, where they are asked for.
    token_ids: Vec<u32>,
    finish: Option<Finish>,
}

/// What a line tells of the answer.
#[derive(Clone, Debug, Default)]
struct Content {
    text: String,
    thought: String,
    calls: Vec<Value>,
    logprobs: Vec<Value>,
}

impl<'a> Lines<'a> {
    pub(super) fn new(head: Head<'a>, shape: Shape) -> Self {
        Self { head, shape, blocks: Blocks::default(), token_ids: Vec::new(), finish: None }
    }

    /// A line with this content.
    fn line(&self, content: Content, is_done: bool) -> Value {
        let mut line = json!({"model": tagged(self.head.model), "created_at": date(self.head.created)});
        let Content { text, thought, calls, logprobs } = content;
        let mut message = match self.shape {
            Shape::Message => json!({"role": "assistant", "content": text}),
            Shape::Response => json!({"response": text}),
        };
        if !thought.is_empty() {
            message["thinking"] = json!(thought);
        }
        if !calls.is_empty() {
            message["tool_calls"] = json!(calls);
        }
        match self.shape {
            Shape::Message => line["message"] = message,
            Shape::Response => {
                for (name, value) in message.as_object_mut().into_iter().flat_map(std::mem::take) {
                    line[name] = value;
                }
            }
        }
        if !logprobs.is_empty() {
            line["logprobs"] = json!(logprobs);
        }
        line["done"] = json!(is_done);
        line
    }

    /// The last line: why the answer ended, and what it took.
    fn last(&self, content: Content, usage: Usage) -> Value {
        let mut line = self.line(content, true);
        let Some(finish) = &self.finish else {
            line["done_reason"] = json!("load");
            return line;
        };
        let reason = match finish.reason {
            Reason::Stop | Reason::ToolCalls => "stop",
            Reason::Length => "length",
        };
        let times = finish.times;
        let total = times.last_token.map(|last| last.saturating_duration_since(times.submitted));
        line["done_reason"] = json!(reason);
        line["total_duration"] = json!(nanoseconds(total));
        // The model was loaded before.
        line["load_duration"] = json!(0);
        line["prompt_eval_count"] = json!(usage.prompt_tokens);
        line["prompt_eval_duration"] = json!(nanoseconds(times.prefill()));
        line["eval_count"] = json!(usage.completion_tokens);
        line["eval_duration"] = json!(nanoseconds(times.decode()));
        line["verbatim"] = self.head.verbatim_with_ids(&self.token_ids);
        line
    }

    /// Takes tokens; returns their log-probabilities, where they are listed.
    fn note(&mut self, tokens: &[ListedToken<'_>]) -> Vec<Value> {
        if self.head.parsed.token_ids {
            self.token_ids.extend(tokens.iter().map(|at| at.token.token));
        }
        if !self.head.parsed.logprobs {
            return Vec::new();
        }
        let texts = TokenTexts { tokenizer: self.head.tokenizer, as_ids: false };
        let entry = |at: &TokenLogprob| {
            let (token, bytes) = (texts.text(at.token), texts.bytes(at.token));
            json!({"token": token, "logprob": number(at.logprob), "bytes": bytes})
        };
        let with_top = |at: &ListedToken<'_>| {
            let mut listed = entry(&at.token);
            if !at.top.is_empty() {
                listed["top_logprobs"] = at.top.iter().map(entry).collect();
            }
            listed
        };
        tokens.iter().map(with_top).collect()
    }

    /// What changes bring: text as it comes, calls when they are whole.
    fn content(&self, changes: &[Change], choice: &ChoiceHead<'_>, content: &mut Content) {
        for change in changes {
            match change {
                Change::Began(_) => {}
                Change::Grew(at, by) => match &self.blocks.list()[*at] {
                    Block::Reasoning(_) => content.thought.push_str(by),
                    Block::Text(_) => content.text.push_str(by),
                    Block::Call { .. } => {}
                },
                Change::Ended(at) => content.calls.extend(call(&self.blocks.list()[*at], choice)),
            }
        }
    }
}

/// A call that is whole. Arguments that were cut off are no object, and the reason of the end tells
/// it.
fn call(block: &Block, choice: &ChoiceHead<'_>) -> Option<Value> {
    let Block::Call { call, name, arguments } = block else { return None };
    let arguments = serde_json::from_str::<Map<String, Value>>(arguments).unwrap_or_default();
    let function = json!({"index": call, "name": name, "arguments": arguments});
    Some(json!({"id": choice.call_id_of(*call), "function": function}))
}

impl AnswerWriter for Lines<'_> {
    fn keeps(&self) -> Listed {
        Listed { logprobs: false, ids: self.head.parsed.token_ids }
    }

    fn open(&mut self, _: &mut Events) -> io::Result<()> {
        Ok(())
    }

    fn piece(&mut self, choice: &ChoiceHead<'_>, piece: &Piece<'_>, events: &mut Events) -> io::Result<()> {
        let mut content = Content { logprobs: self.note(piece.tokens), ..Content::default() };
        let mut changes = Vec::new();
        piece.parts.iter().for_each(|part| self.blocks.push(part, &mut changes));
        self.content(&changes, choice, &mut content);
        let Content { text, thought, calls, logprobs } = &content;
        if text.is_empty() && thought.is_empty() && calls.is_empty() && logprobs.is_empty() {
            return Ok(());
        }
        events.send(&self.line(content, false))
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
        let (mut changes, mut content) = (Vec::new(), Content::default());
        self.blocks.finish(&mut changes);
        self.finish = Some(finish.clone());
        self.content(&changes, choice, &mut content);
        if content.text.is_empty() && content.calls.is_empty() {
            return Ok(());
        }
        events.send(&self.line(content, false))
    }

    fn close(&mut self, usage: Usage, events: &mut Events) -> io::Result<()> {
        events.send(&self.last(Content::default(), usage))?;
        events.done()
    }

    fn whole(&mut self, choices: &[WholeChoice<'_>], usage: Usage) -> Value {
        let mut content = Content::default();
        for choice in choices {
            let mut changes = Vec::new();
            choice.parts.iter().for_each(|part| self.blocks.push(part, &mut changes));
            self.blocks.finish(&mut changes);
            self.content(&changes, &choice.head, &mut content);
            content.logprobs = self.note(choice.tokens);
            self.finish = Some(choice.finish.clone());
        }
        self.last(content, usage)
    }
}
