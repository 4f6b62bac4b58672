//! The answers of chat: messages of text, reasoning and calls of tools, and their deltas.
use crate::serve::api::answer::openai::Shell;
use crate::serve::api::answer::scored::prompt_logprobs;
use crate::serve::api::answer::tokens::{ListedToken, TokenTexts, token_ids};
use crate::serve::api::answer::usage::usage_before;
use crate::serve::api::answer::writer::{
    AnswerWriter, ChoiceHead, Finish, Head, Piece, PromptReport, WholeChoice, text_of,
};
use crate::serve::events::Events;
use crate::serve::observe::Usage;
use crate::text::parts::Part;
use serde_json::{Map, Value, json};
use std::io;

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
        let texts = self.texts;
        let with_top = |at: &ListedToken<'_>| {
            let mut listed = texts.entry(&at.token);
            listed["top_logprobs"] = at.top.iter().map(|top| texts.entry(top)).collect();
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

    /// The choice in the event of some tokens; none where there is nothing to tell.
    fn piece_value(&mut self, choice: &ChoiceHead<'_>, piece: &Piece<'_>) -> Option<Value> {
        let parsed = self.shell.head.parsed;
        let is_told = (parsed.logprobs || parsed.token_ids) && !piece.tokens.is_empty();
        let mut delta = delta(choice, piece.parts);
        if delta.is_empty() && !is_told {
            return None;
        }
        if delta.is_empty() {
            delta.insert("content".to_owned(), json!(""));
        }
        let mut value = delta_value(choice, &Value::Object(delta));
        if is_told && parsed.logprobs {
            value["logprobs"] = self.logprobs(piece.tokens);
        }
        if is_told && parsed.token_ids {
            value["token_ids"] = token_ids(piece.tokens);
            if choice.request.generated.is_empty() && self.is_first(choice) {
                value["prompt_token_ids"] = json!(&*choice.request.prompt);
            }
        }
        Some(value)
    }
}

/// The choice in an event.
fn delta_value(choice: &ChoiceHead<'_>, delta: &Value) -> Value {
    json!({"index": choice.index, "delta": delta, "logprobs": null, "finish_reason": null})
}

/// A call among some parts.
struct Call {
    /// Its place among the calls of the choice.
    at: usize,
    /// The name of the function, if the call begins in these parts.
    name: Option<String>,
    arguments: String,
}

impl Call {
    /// The call as answers tell it. One that had begun before has nothing but more arguments.
    fn value(&self, choice: &ChoiceHead<'_>) -> Value {
        match &self.name {
            None => json!({"function": {"arguments": self.arguments}}),
            Some(name) => {
                let function = json!({"name": name, "arguments": self.arguments});
                json!({"id": choice.call_id_of(self.at), "type": "function", "function": function})
            }
        }
    }
}

/// The calls among some parts, in order.
fn calls(parts: &[Part]) -> Vec<Call> {
    let mut calls: Vec<Call> = Vec::new();
    for part in parts {
        match part {
            Part::CallBegins { call, name } => {
                calls.push(Call { at: *call, name: Some(name.clone()), arguments: String::new() });
            }
            Part::Arguments { call, fragment } => match calls.last_mut().filter(|last| last.at == *call) {
                Some(last) => last.arguments.push_str(fragment),
                None => calls.push(Call { at: *call, name: None, arguments: fragment.clone() }),
            },
            Part::Text(_) | Part::Reasoning(_) => {}
        }
    }
    calls
}

/// The reasoning among some parts.
fn reasoning_of(parts: &[Part]) -> String {
    let reasoning = |part: &Part| if let Part::Reasoning(text) = part { Some(text.clone()) } else { None };
    parts.iter().filter_map(reasoning).collect()
}

/// What some parts add to a message.
fn delta(choice: &ChoiceHead<'_>, parts: &[Part]) -> Map<String, Value> {
    let mut delta = Map::new();
    for (name, text) in [("reasoning_content", reasoning_of(parts)), ("content", text_of(parts))] {
        if !text.is_empty() {
            delta.insert(name.to_owned(), Value::String(text));
        }
    }
    let calls: Vec<Value> = calls(parts)
        .iter()
        .map(|call| {
            let mut value = call.value(choice);
            value["index"] = json!(call.at);
            value
        })
        .collect();
    if !calls.is_empty() {
        delta.insert("tool_calls".to_owned(), Value::Array(calls));
    }
    delta
}

/// A call in a message. One that had begun before has its id, and no name.
fn whole_call(choice: &ChoiceHead<'_>, call: &Call) -> Value {
    let mut value = call.value(choice);
    if call.name.is_none() {
        value["id"] = json!(choice.call_id_of(call.at));
        value["type"] = json!("function");
        value["function"]["name"] = json!("");
    }
    value
}

/// The message that some parts make, after the text that it begins with.
fn message(choice: &ChoiceHead<'_>, echo: &str, parts: &[Part]) -> Value {
    let text = echo.to_owned() + &text_of(parts);
    let calls: Vec<Value> = calls(parts).iter().map(|call| whole_call(choice, call)).collect();
    let content = if text.is_empty() && !calls.is_empty() { Value::Null } else { Value::String(text) };
    let mut message = json!({"role": "assistant", "content": content, "refusal": null});
    let reasoning = reasoning_of(parts);
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
        let parsed = self.shell.head.parsed;
        // Whoever resumes a stream has told whose words these are.
        let requests = if parsed.is_resumed { &[] } else { &*parsed.requests };
        let usage = usage_before(parsed);
        for (at, request) in requests.iter().enumerate() {
            for i in 0..request.choices as usize {
                let index = parsed.place(at).index + i;
                let delta = json!({"role": "assistant", "content": ""});
                let value = json!({"index": index, "delta": delta, "logprobs": null, "finish_reason": null});
                events.send(&self.shell.chunk(value, usage))?;
            }
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
    /// stay in order.
    fn piece(&mut self, choice: &ChoiceHead<'_>, piece: &Piece<'_>, events: &mut Events) -> io::Result<()> {
        let value = self.piece_value(choice, piece);
        value.map_or(Ok(()), |value| events.send(&self.shell.chunk(value, piece.usage)))
    }

    fn end(
        &mut self,
        choice: &ChoiceHead<'_>,
        piece: &Piece<'_>,
        finish: &Finish,
        events: &mut Events,
    ) -> io::Result<()> {
        let value = self.piece_value(choice, piece);
        let mut value = value.unwrap_or_else(|| delta_value(choice, &json!({})));
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
                value["prompt_token_ids"] = json!(&*head.request.prompt);
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

#[cfg(test)]
mod tests {
    use crate::serve::api::chat::Chat;
    use crate::serve::api::played::Play;
    use serde_json::{Value, json};

    /// Whoever was told a token was told all that it brought, and one that brought nothing yet
    /// costs no event.
    #[test]
    fn what_a_token_brings_is_one_event() {
        let streamed = Play::of_all_parts().streamed(&Chat);
        let data = streamed.lines().filter_map(|line| line.strip_prefix("data: "));
        let events = data.filter_map(|data| serde_json::from_str::<Value>(data).ok());
        let deltas: Vec<Value> = events.map(|mut event| event["choices"][0]["delta"].take()).collect();
        let id = |at: usize| deltas[at]["tool_calls"][0]["id"].clone();
        let begins = |at: usize, index: usize, arguments: &str| {
            let function = json!({"name": "look", "arguments": arguments});
            json!([{"index": index, "id": id(at), "type": "function", "function": function}])
        };
        assert_eq!(
            json!(deltas),
            json!([
                {"role": "assistant", "content": ""},
                {"reasoning_content": "So"},
                {"reasoning_content": ", hm"},
                {"content": "\n\n"},
                {"content": "Hi"},
                {"content": ".", "tool_calls": begins(5, 0, "{\"a\"")},
                {"tool_calls": [{"index": 0, "function": {"arguments": ":1}"}}]},
                {"content": "\n"},
                {"tool_calls": begins(8, 1, "{}")},
                {},
            ])
        );
        assert_ne!(id(5), id(8));
    }
}
