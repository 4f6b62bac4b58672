//! What events and bodies of OpenAI's two generating endpoints have in common.
use super::usage::usage_json;
use super::writer::{Finish, Head};
use crate::serve::events::Events;
use crate::serve::observe::Usage;
use serde_json::{Value, json};
use std::io;

/// The shell around the choices of an answer, and how far it was written.
#[derive(Debug)]
pub struct Shell<'a> {
    /// What the parts of the answer share.
    pub head: Head<'a>,
    /// The `object` of a whole answer.
    object: &'static str,
    /// The `object` of an event.
    chunk_object: &'static str,
    /// Whether an event was written.
    has_begun: bool,
    /// Choices that have not ended.
    choices_left: usize,
    /// Tokens of reasoning of those that have.
    reasoning_tokens: usize,
}

impl<'a> Shell<'a> {
    /// The shell of an answer of which nothing was written.
    pub fn new(head: Head<'a>, object: &'static str, chunk_object: &'static str) -> Self {
        let choices = head.parsed.requests.iter().map(|request| request.choices as usize);
        Self {
            choices_left: choices.sum(),
            head,
            object,
            chunk_object,
            has_begun: false,
            reasoning_tokens: 0,
        }
    }

    fn around(&self, object: &str, choices: Vec<Value>) -> Value {
        json!({
            "id": self.head.id,
            "object": object,
            "created": self.head.created,
            "model": self.head.model,
            "system_fingerprint": self.head.fingerprint,
            "choices": choices,
        })
    }

    /// The usage, with the tokens of reasoning where the model reasons.
    fn usage(&self, usage: Usage) -> Value {
        let mut value = usage_json(usage);
        if self.head.parsed.format.reasoning.is_some() {
            value["completion_tokens_details"] = json!({"reasoning_tokens": self.reasoning_tokens});
        }
        value
    }

    /// The body of an answer that is not streamed.
    pub fn body(&mut self, choices: Vec<Value>, ends: &[&Finish], usage: Usage) -> Value {
        self.reasoning_tokens = ends.iter().map(|finish| finish.reasoning_tokens).sum();
        let mut body = self.around(self.object, choices);
        body["usage"] = self.usage(usage);
        body["verbatim"] = self.head.verbatim();
        body
    }

    /// An event. Where the last one tells the usage, the others say that they do not, unless all
    /// do.
    pub fn chunk(&mut self, choice: Value, usage: Usage) -> Value {
        let streaming = self.head.parsed.streaming;
        let mut chunk = self.around(self.chunk_object, vec![choice]);
        if streaming.include_usage {
            chunk["usage"] = if streaming.continuous_usage { self.usage(usage) } else { Value::Null };
        }
        if !std::mem::replace(&mut self.has_begun, true) {
            chunk["verbatim"] = self.head.verbatim();
        }
        chunk
    }

    /// The event that ends a choice.
    pub fn end_chunk(&mut self, choice: Value, finish: &Finish) -> Value {
        self.reasoning_tokens += finish.reasoning_tokens;
        let mut chunk = self.chunk(choice, finish.usage);
        self.choices_left = self.choices_left.saturating_sub(1);
        if self.choices_left == 0 && !self.head.parsed.streaming.include_usage {
            chunk["verbatim"] = self.head.verbatim();
        }
        chunk
    }

    /// Sends what comes after all choices, and ends the stream.
    pub fn close(&self, usage: Usage, events: &mut Events) -> io::Result<()> {
        if let Some(last) = self.usage_chunk(usage) {
            events.send(&last)?;
        }
        events.done()
    }

    /// The event after all choices, if there is one.
    fn usage_chunk(&self, usage: Usage) -> Option<Value> {
        self.head.parsed.streaming.include_usage.then(|| {
            let mut chunk = self.around(self.chunk_object, Vec::new());
            chunk["usage"] = self.usage(usage);
            chunk["verbatim"] = self.head.verbatim();
            chunk
        })
    }
}
