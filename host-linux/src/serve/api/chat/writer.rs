//! The answers of chat: messages of text, reasoning and calls of tools, and their deltas.
use crate::serve::api::answer::openai::Shell;
use crate::serve::api::answer::scored::prompt_logprobs;
use crate::serve::api::answer::tokens::{ListedToken, TokenTexts, number, token_ids};
use crate::serve::api::answer::usage::usage_before;
use crate::serve::api::answer::writer::{
    AnswerWriter, ChoiceHead, Finish, Head, Piece, PromptReport, WholeChoice, text_of,
};
use crate::serve::events::Events;
use crate::serve::observe::Usage;
use crate::text::parts::Part;
use serde_json::{Value, json};
use std::io;
use verbatim_core::sampling::TokenLogprob;

/// Writes one answer, as a message or as deltas of it.
#[derive(Debug)]
pub(super) struct Writer<'a> {
    shell: Shell<'a>,
    texts: TokenTexts<'a>,
    /// Whether an event has told a token of each choice; those that were not begun are missing at
    /// the end.
    has_begun: Vec<bool>,
}

impl<'a> Writer<'a> {
    pub(super) fn new(head: Head<'a>) -> Self {
        let texts = TokenTexts { tokenizer: head.tokenizer, as_ids: head.parsed.tokens_as_ids };
        let shell = Shell::new(head, "chat.completion", "chat.completion.chunk");
        Self { shell, texts, has_begun: Vec::new() }
    }

    /// The logprobs of some tokens in order.
    fn logprobs(&self, tokens: &[ListedToken<'_>]) -> Value {
        let entry = |at: &TokenLogprob| {
            let (token, bytes) = (self.texts.name(at.token), self.texts.bytes(at.token));
            json!({"token": token, "logprob": number(at.logprob), "bytes": bytes})
        };
        let with_top = |at: &ListedToken<'_>| {
            let mut listed = entry(&at.token);
            listed["top_logprobs"] = at.top.iter().map(entry).collect();
            listed
        };
        json!({"content": tokens.iter().map(with_top).collect::<Vec<_>>(), "refusal": null})
    }

    /// Whether this is the first event that tells a token of a choice.
    fn is_first(&mut self, choice: &ChoiceHead<'_>) -> bool {
        if self.has_begun.len() <= choice.at {
            self.has_begun.resize(choice.at + 1, false);
        }
        !std::mem::replace(&mut self.has_begun[choice.at], true)
    }

    /// What an event tells of tokens: nothing in those that bring only text.
    fn add_tokens(&mut self, value: &mut Value, choice: &ChoiceHead<'_>, tokens: &[ListedToken<'_>]) {
        let parsed = self.shell.head.parsed;
        if parsed.logprobs && !tokens.is_empty() {
            value["logprobs"] = self.logprobs(tokens);
        }
        if parsed.token_ids {
            value["token_ids"] = token_ids(tokens);
            if self.is_first(choice) {
                value["prompt_token_ids"] = json!(choice.request.prompt);
            }
        }
    }
}

/// The choice in an event.
fn delta_value(choice: &ChoiceHead<'_>, delta: &Value) -> Value {
    json!({"index": choice.index, "delta": delta, "logprobs": null, "finish_reason": null})
}

/// What a part adds to a message.
fn delta(choice: &ChoiceHead<'_>, part: &Part) -> Value {
    match part {
        Part::Text(text) => json!({"content": text}),
        Part::Reasoning(text) => json!({"reasoning_content": text}),
        Part::CallBegins { call, name } => {
            let function = json!({"name": name, "arguments": ""});
            let id = choice.call_id_of(*call);
            json!({"tool_calls": [{"index": call, "id": id, "type": "function", "function": function}]})
        }
        Part::Arguments { call, fragment } => {
            json!({"tool_calls": [{"index": call, "function": {"arguments": fragment}}]})
        }
    }
}

/// The calls among some parts.
fn calls(choice: &ChoiceHead<'_>, parts: &[Part]) -> Vec<Value> {
    let mut calls: Vec<Value> = Vec::new();
    for part in parts {
        match part {
            Part::CallBegins { call, name } => {
                let function = json!({"name": name, "arguments": ""});
                let id = choice.call_id_of(*call);
                calls.push(json!({"id": id, "type": "function", "function": function}));
            }
            Part::Arguments { fragment, .. } => {
                if let Some(Value::String(arguments)) =
                    calls.last_mut().and_then(|call| call.pointer_mut("/function/arguments"))
                {
                    arguments.push_str(fragment);
                }
            }
            Part::Text(_) | Part::Reasoning(_) => {}
        }
    }
    calls
}

/// The message that some parts make, after the text that it begins with.
fn message(choice: &ChoiceHead<'_>, echo: &str, parts: &[Part]) -> Value {
    let text = echo.to_owned() + &text_of(parts);
    let calls = calls(choice, parts);
    let content = if text.is_empty() && !calls.is_empty() { Value::Null } else { Value::String(text) };
    let mut message = json!({"role": "assistant", "content": content, "refusal": null});
    let reasoning = |part: &Part| if let Part::Reasoning(text) = part { Some(text.clone()) } else { None };
    let reasoning: String = parts.iter().filter_map(reasoning).collect();
    if !reasoning.is_empty() {
        message["reasoning_content"] = Value::String(reasoning);
    }
    if !calls.is_empty() {
        message["tool_calls"] = Value::Array(calls);
    }
    message
}

fn set_finish(value: &mut Value, finish: &Finish) {
    value["finish_reason"] = Value::from(finish.reason.name());
    value["stop_reason"] = finish.stop.as_ref().map_or(Value::Null, |stop| stop.value());
}

impl AnswerWriter for Writer<'_> {
    fn open(&mut self, events: &mut Events) -> io::Result<()> {
        let mut first = 0;
        let usage = usage_before(self.shell.head.parsed);
        for request in &self.shell.head.parsed.requests {
            for i in 0..request.choices as usize {
                let index = first + request.first_choice as usize + i;
                let delta = json!({"role": "assistant", "content": ""});
                let value = json!({"index": index, "delta": delta, "logprobs": null, "finish_reason": null});
                events.send(&self.shell.chunk(value, usage))?;
            }
            first += request.choices as usize;
        }
        Ok(())
    }

    fn prompt(
        &mut self,
        choice: &ChoiceHead<'_>,
        prompt: &PromptReport<'_>,
        events: &mut Events,
    ) -> io::Result<()> {
        let Some(echo) = prompt.echo.filter(|echo| !echo.is_empty()) else { return Ok(()) };
        let value = delta_value(choice, &json!({"content": echo}));
        let usage = usage_before(self.shell.head.parsed);
        events.send(&self.shell.chunk(value, usage))
    }

    /// Text that is held back waits; what else is told of its token comes at once, so that tokens
    /// stay in order. Where a token brings several parts, the first event tells of it.
    fn piece(&mut self, choice: &ChoiceHead<'_>, piece: &Piece<'_>, events: &mut Events) -> io::Result<()> {
        let parsed = self.shell.head.parsed;
        let is_told = (parsed.logprobs || parsed.token_ids) && !piece.tokens.is_empty();
        let mut deltas: Vec<Value> = piece.parts.iter().map(|part| delta(choice, part)).collect();
        if deltas.is_empty() && is_told {
            deltas.push(json!({"content": ""}));
        }
        let mut tokens = piece.tokens;
        for delta in deltas {
            let mut value = delta_value(choice, &delta);
            self.add_tokens(&mut value, choice, std::mem::take(&mut tokens));
            events.send(&self.shell.chunk(value, piece.usage))?;
        }
        Ok(())
    }

    fn end(&mut self, choice: &ChoiceHead<'_>, finish: &Finish, events: &mut Events) -> io::Result<()> {
        let mut value = delta_value(choice, &json!({}));
        set_finish(&mut value, finish);
        events.send(&self.shell.end_chunk(value, finish))
    }

    fn close(&mut self, usage: Usage, events: &mut Events) -> io::Result<()> {
        self.shell.close(usage, events)
    }

    fn whole(&mut self, choices: &[WholeChoice<'_>], usage: Usage) -> Value {
        let parsed = self.shell.head.parsed;
        let mut values = Vec::with_capacity(choices.len());
        for WholeChoice { head, prompt, parts, tokens, finish, .. } in choices {
            let echo = prompt.echo.filter(|_| head.request.generated.is_empty()).unwrap_or_default();
            let mut value = json!({
                "index": head.index,
                "message": message(head, echo, parts),
                "logprobs": null,
                "finish_reason": null,
            });
            if parsed.logprobs {
                value["logprobs"] = self.logprobs(tokens);
            }
            set_finish(&mut value, finish);
            if parsed.token_ids {
                value["token_ids"] = token_ids(tokens);
                value["prompt_token_ids"] = json!(head.request.prompt);
            }
            values.push(value);
        }
        let ends: Vec<_> = choices.iter().map(|choice| &choice.finish).collect();
        let mut body = self.shell.body(values, &ends, usage);
        // All choices have one prompt.
        if let (Some(count), Some(choice)) = (parsed.prompt_logprobs, choices.first()) {
            body["prompt_logprobs"] = prompt_logprobs(choice.prompt.tokens, count, self.texts);
        }
        body
    }
}
