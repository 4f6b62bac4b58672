//! Conversations to the ids of a prompt: checked, guarded, rendered by the model's chat template,
//! and tokenized. The server and `verbatim chat` go the same way.
//!
//! Messages are JSON objects as OpenAI's API has them: `role`, `content` that is text, a list of
//! text parts, or null, `tool_calls`, `reasoning_content`. Other fields of a message reach the
//! template as they are. A template that knows no calls gets them as text (`tool_prompt`).
use super::parts::{ReasoningFormat, ReasoningSyntax};
use super::quote::quote_value;
use super::tool_prompt;
use super::{ChatTemplate, TemplateInput, TextError, Tokenizer};
use serde_json::{Map, Value};

/// A conversation with all that the template is told beside its messages.
#[derive(Clone, Copy, Debug)]
pub struct Conversation<'c> {
    /// The messages, oldest first.
    pub messages: &'c [Value],
    /// The functions that are offered, each as `{"type": "function", "function": {…}}`.
    pub tools: &'c [Value],
    /// Documents for templates that know them.
    pub documents: Option<&'c [Value]>,
    /// Further variables of the template; they replace none of its own.
    pub variables: Option<&'c Map<String, Value>>,
    /// Whether the assistant's turn is opened.
    pub add_generation_prompt: bool,
    /// Whether the model goes on with the last message: the prompt ends with its content.
    pub continue_final_message: bool,
}

impl<'c> Conversation<'c> {
    /// Messages whose answer is asked for, without anything else.
    pub fn new(messages: &'c [Value]) -> Self {
        Self {
            messages,
            tools: &[],
            documents: None,
            variables: None,
            add_generation_prompt: true,
            continue_final_message: false,
        }
    }
}

/// The text of a prompt.
#[derive(Clone, Debug)]
pub struct RenderedChat {
    /// The text, in which special tokens that a client wrote are marked. It may be far longer than
    /// a context: [`Tokenizer::tokens_min`] tells.
    pub text: String,
    /// The content of the message that the model goes on with.
    continued: Option<String>,
}

impl RenderedChat {
    /// How the answer marks its reasoning, which the prompt may have opened: by its end, or in the
    /// message that the model goes on with.
    pub fn reasoning(&self, syntax: ReasoningSyntax) -> ReasoningFormat {
        let (opening, _) = syntax.marks();
        match &self.continued {
            Some(content) => syntax.after(content),
            None if self.text.trim_end().ends_with(opening) => syntax.after(opening),
            None => syntax.after(""),
        }
    }
}

/// Turns conversations with one model into prompts.
#[derive(Clone, Debug)]
pub struct ChatEncoder<'m> {
    tokenizer: &'m Tokenizer,
    template: &'m ChatTemplate,
    /// Characters of which a text has one if it holds the text of a special token.
    special_starts: Vec<char>,
}

impl<'m> ChatEncoder<'m> {
    /// An encoder for a model with this tokenizer and template; [`TextError::NoTemplate`] if the
    /// model has none.
    pub fn new(tokenizer: &'m Tokenizer, template: Option<&'m ChatTemplate>) -> Result<Self, TextError> {
        let template = template.ok_or(TextError::NoTemplate)?;
        Ok(Self { tokenizer, template, special_starts: tokenizer.special_starts() })
    }

    /// The ids of a prompt that asks for the assistant's next message.
    ///
    /// Text of special tokens inside a message stays ordinary text. An error says which message is
    /// wrong, or what the template or the tokenizer refused.
    pub fn encode(&self, messages: &[Value]) -> Result<Vec<u32>, TextError> {
        self.ids(&self.render(&Conversation::new(messages))?.text)
    }

    /// The text of a prompt.
    pub fn render(&self, conversation: &Conversation<'_>) -> Result<RenderedChat, TextError> {
        let read = conversation.messages.iter().enumerate().map(|(index, message)| {
            self.message(message).map_err(|problem| TextError::Message { index, problem })
        });
        let mut messages = read.collect::<Result<Vec<_>, _>>()?;
        if !self.template.knows("tool_calls") {
            messages = tool_prompt::without_calls(messages);
        }
        let continued = conversation.continue_final_message.then(|| final_content(&messages)).transpose()?;
        let tools: Vec<Value> = conversation.tools.iter().map(|tool| self.guarded(tool)).collect();
        let takes_tools = self.template.knows("tools");
        if !tools.is_empty() && !takes_tools {
            tool_prompt::offer(&tools, &mut messages, self.template.knows("system"));
        }
        let mut variables = template_variables(self.tokenizer);
        for (name, value) in conversation.variables.into_iter().flatten() {
            variables.insert(name.clone(), self.guarded(value));
        }
        let documents = conversation.documents;
        let text = self.template.render(&TemplateInput {
            messages,
            tools: (!tools.is_empty() && takes_tools).then_some(Value::Array(tools)),
            documents: documents.map(|all| all.iter().map(|document| self.guarded(document)).collect()),
            add_generation_prompt: conversation.add_generation_prompt,
            variables,
            date: None,
        })?;
        match continued {
            None => Ok(RenderedChat { text, continued: None }),
            Some(content) => Ok(RenderedChat { text: cut_behind(text, &content)?, continued: Some(content) }),
        }
    }

    /// The ids of the text that [`ChatEncoder::render`] made.
    pub fn ids(&self, rendered: &str) -> Result<Vec<u32>, TextError> {
        let ids = self.tokenizer.encode_chat(rendered)?;
        if ids.is_empty() { Err(TextError::EmptyPrompt) } else { Ok(ids) }
    }

    /// A message as templates expect it: content that is one string, calls whose arguments are
    /// objects, no field that is null, and all text guarded.
    fn message(&self, message: &Value) -> Result<Value, String> {
        let mut map = message.as_object().ok_or("expected an object")?.clone();
        let role = map.get("role").and_then(Value::as_str).ok_or("role must be a string")?;
        if role.is_empty() {
            return Err("role must not be empty".to_owned());
        }
        // Older templates do not know the role of developers, which OpenAI's newer models have in
        // place of the system's.
        if role == "developer" && !self.template.knows("developer") {
            map.insert("role".to_owned(), Value::from("system"));
        }
        map.insert("content".to_owned(), Value::String(content(map.get("content"))?));
        map.retain(|_, value| !value.is_null());
        if let Some(calls) = map.get_mut("tool_calls") {
            read_calls(calls)?;
            if calls.as_array().is_some_and(Vec::is_empty) {
                map.shift_remove("tool_calls");
            }
        }
        // Another name for the same, among servers and clients.
        if !map.contains_key("reasoning_content")
            && let Some(Value::String(reasoning)) = map.get("reasoning")
        {
            let reasoning = reasoning.clone();
            map.insert("reasoning_content".to_owned(), Value::String(reasoning));
        }
        Ok(self.guarded(&Value::Object(map)))
    }

    /// A value in which the text of special tokens is marked as ordinary text.
    fn guarded(&self, value: &Value) -> Value {
        match value {
            Value::String(text) => Value::String(self.guarded_text(text)),
            Value::Array(list) => list.iter().map(|value| self.guarded(value)).collect(),
            Value::Object(map) => {
                let pairs = map.iter().map(|(key, value)| (self.guarded_text(key), self.guarded(value)));
                Value::Object(pairs.collect())
            }
            other => other.clone(),
        }
    }

    fn guarded_text(&self, text: &str) -> String {
        if text.contains(self.special_starts.as_slice()) {
            self.tokenizer.guard(text)
        } else {
            text.to_owned()
        }
    }
}

/// The text of a message's content; parts are joined without a separator.
fn content(content: Option<&Value>) -> Result<String, String> {
    match content {
        None | Some(Value::Null) => Ok(String::new()),
        Some(Value::String(text)) => Ok(text.clone()),
        Some(Value::Array(parts)) => {
            let part = |part: &Value| match part.get("type").and_then(Value::as_str) {
                Some("text" | "input_text" | "output_text") => {
                    part.get("text").and_then(Value::as_str).map(str::to_owned).ok_or("a part without text")
                }
                Some("refusal") => part
                    .get("refusal")
                    .and_then(Value::as_str)
                    .map(str::to_owned)
                    .ok_or("a part without text"),
                _ => Err("only parts of type text are supported"),
            };
            Ok(parts.iter().map(part).collect::<Result<Vec<_>, _>>()?.concat())
        }
        Some(_) => Err("content must be a string or a list of parts".to_owned()),
    }
}

/// Checks the calls of a message, and makes objects of arguments that are JSON text, as templates
/// expect them. Text that is no object stays: a model may have written it so.
fn read_calls(calls: &mut Value) -> Result<(), String> {
    let list = calls.as_array_mut().ok_or("tool_calls must be a list")?;
    for (i, call) in list.iter_mut().enumerate() {
        let function = call.get_mut("function").and_then(Value::as_object_mut);
        let function = function.ok_or_else(|| format!("tool_calls[{i}].function must be an object"))?;
        if !function.get("name").is_some_and(Value::is_string) {
            return Err(format!("tool_calls[{i}].function.name must be a string"));
        }
        let arguments = match function.get("arguments") {
            None | Some(Value::Null) => Value::Object(Map::new()),
            Some(Value::String(text)) if text.trim().is_empty() => Value::Object(Map::new()),
            Some(Value::String(text)) => match serde_json::from_str(text) {
                Ok(object @ Value::Object(_)) => object,
                _ => continue,
            },
            Some(Value::Object(_)) => continue,
            Some(other) => {
                let found = quote_value(other);
                return Err(format!("tool_calls[{i}].function.arguments must be JSON text, found {found}"));
            }
        };
        function.insert("arguments".to_owned(), arguments);
    }
    Ok(())
}

/// The content of the message that the model is to go on with.
fn final_content(messages: &[Value]) -> Result<String, TextError> {
    let content = messages.last().and_then(|message| message["content"].as_str()).unwrap_or_default();
    if content.trim().is_empty() {
        let index = messages.len().saturating_sub(1);
        let problem = "continue_final_message needs a last message with content".to_owned();
        return Err(TextError::Message { index, problem });
    }
    Ok(content.to_owned())
}

/// A rendered text up to the end of the last place where `content` stands, as transformers cuts it:
/// blanks at the end of the content stay where the template left them there.
fn cut_behind(mut text: String, content: &str) -> Result<String, TextError> {
    let trimmed = content.trim();
    let Some(at) = text.rfind(trimmed) else {
        let problem = "the template does not write the last message as it is, so it cannot be continued";
        return Err(TextError::Template(problem.to_owned()));
    };
    let whole = text[at..].starts_with(content);
    text.truncate(at + if whole { content.len() } else { trimmed.len() });
    Ok(text)
}

/// The variables that every template may use: `bos_token`, `eos_token`, `unk_token` and
/// `pad_token`, as far as the tokenizer has them.
pub fn template_variables(tokenizer: &Tokenizer) -> Map<String, Value> {
    let names = SPECIAL_TOKENS;
    let pair = |name: &str| Some((name.to_owned(), Value::String(tokenizer.special_token(name)?)));
    names.into_iter().filter_map(pair).collect()
}

/// The special tokens that templates know by name.
const SPECIAL_TOKENS: [&str; 4] = ["bos_token", "eos_token", "unk_token", "pad_token"];

/// Whether a variable of templates has a meaning of its own, so that none may be given.
pub fn is_reserved(variable: &str) -> bool {
    let others = [
        "messages",
        "tools",
        "documents",
        "add_generation_prompt",
        "continue_final_message",
        "raise_exception",
        "strftime_now",
    ];
    SPECIAL_TOKENS.contains(&variable) || others.contains(&variable)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::{NoProgress, WeightChoice, builtin, load_model};
    use serde_json::json;
    use verbatim_core::pool::Serial;

    #[test]
    fn messages_become_the_ids_of_their_text() {
        let loaded = load_model(&builtin::folder(), WeightChoice::default(), &Serial, &NoProgress);
        let loaded = loaded.expect("the built-in model");
        let json = loaded.file("tokenizer.json").expect("a tokenizer");
        let tokenizer = Tokenizer::new(json, loaded.file("tokenizer_config.json")).unwrap();
        let source = "{{ bos_token }}{% for m in messages %}{{ m.role }}:{{ m.content }};{% endfor %}";
        let template = ChatTemplate::new(source, "test").unwrap();
        let encoder = ChatEncoder::new(&tokenizer, Some(&template)).unwrap();
        let encode = |messages: Value| encoder.encode(messages.as_array().expect("a list"));

        let bos = tokenizer.special_token("bos_token").expect("a BOS token");
        let parts = json!([{"type": "text", "text": "be "}, {"type": "text", "text": "brief"}]);
        let ids = encode(json!([
            {"role": "developer", "content": parts},
            {"role": "assistant", "content": null},
            {"role": "user"},
        ]));
        let expected = tokenizer.encode(&format!("{bos}system:be brief;assistant:;user:;"), false);
        assert_eq!(ids.unwrap(), expected.unwrap());

        // The template's BOS is one token, that of a user is text.
        let ids = encode(json!([{"role": "user", "content": bos}])).unwrap();
        let bos_id = tokenizer.id_of(&bos).expect("an id");
        assert_eq!(ids.iter().filter(|id| **id == bos_id).count(), 1);
        assert_eq!(tokenizer.decode(&ids, false).unwrap(), format!("{bos}user:{bos};"));
    }

    /// A template that writes all that it knows.
    const ALL: &str = "{% for t in tools or [] %}{{ t | tojson }};{% endfor %}{% for m in messages %}\
        {{ m.role }}:{{ m.content }}{% if m.reasoning_content is defined %}({{ m.reasoning_content }}){% endif %}\
        {% for c in m.tool_calls or [] %}[{{ c.function.name }} {{ c.function.arguments | tojson }}]{% endfor %};\
        {% endfor %}{% if add_generation_prompt %}>{{ mood }}{{ documents | length if documents }}{% endif %}";

    fn with_encoder(source: &str, check: impl FnOnce(&ChatEncoder<'_>)) {
        let loaded = load_model(&builtin::folder(), WeightChoice::default(), &Serial, &NoProgress);
        let loaded = loaded.expect("the built-in model");
        let json = loaded.file("tokenizer.json").expect("a tokenizer");
        let tokenizer = Tokenizer::new(json, loaded.file("tokenizer_config.json")).unwrap();
        let template = ChatTemplate::new(source, "test").unwrap();
        check(&ChatEncoder::new(&tokenizer, Some(&template)).unwrap());
    }

    #[test]
    fn histories_reach_the_template_as_it_expects_them() {
        let call = |arguments: Value| json!({"id": "c", "function": {"name": "f", "arguments": arguments}});
        let messages = [
            json!({"role": "wizard", "content": "hi", "tool_calls": null}),
            json!({"role": "assistant", "content": null, "reasoning": "hm", "refusal": null,
                   "tool_calls": [call(json!("{\"b\": 1, \"a\": [2.0]}")), call(json!("")), call(json!("{\"cut"))]}),
            json!({"role": "tool", "tool_call_id": "c", "content": [{"type": "text", "text": "ok"}]}),
            json!({"role": "assistant", "content": "x", "tool_calls": []}),
        ];
        let (tools, documents) = ([json!({"type": "function"})], [json!({"text": "a"}), json!({})]);
        let variables = json!({"mood": "glad"});
        with_encoder(ALL, |encoder| {
            let rendered = encoder.render(&Conversation {
                tools: &tools,
                documents: Some(&documents),
                variables: variables.as_object(),
                ..Conversation::new(&messages)
            });
            assert_eq!(
                rendered.unwrap().text,
                "{\"type\": \"function\"};wizard:hi;assistant:(hm)[f {\"b\": 1, \"a\": [2.0]}][f {}][f \"{\\\"cut\"];\
                 tool:ok;assistant:x;>glad2"
            );
        });
    }

    #[test]
    fn the_last_message_is_gone_on_with() {
        let continued = |source: &str, content: &str| {
            let messages =
                [json!({"role": "user", "content": "so"}), json!({"role": "assistant", "content": content})];
            let mut text = None;
            with_encoder(source, |encoder| {
                let conversation = Conversation {
                    add_generation_prompt: false,
                    continue_final_message: true,
                    ..Conversation::new(&messages)
                };
                text = Some(encoder.render(&conversation).map(|rendered| {
                    (rendered.text.clone(), rendered.reasoning(ReasoningSyntax::Think).is_open)
                }));
            });
            text.expect("it was rendered")
        };
        assert_eq!(continued(ALL, "so it").unwrap(), ("user:so;assistant:so it".to_owned(), false));
        assert_eq!(continued(ALL, "so \n").unwrap(), ("user:so;assistant:so \n".to_owned(), false));
        let trimming = "{% for m in messages %}{{ m.content | trim }};{% endfor %}";
        assert_eq!(continued(trimming, " a \n").unwrap(), ("so;a".to_owned(), false));
        assert_eq!(continued(trimming, "<think>\na").unwrap(), ("so;<think>\na".to_owned(), true));
        assert!(matches!(continued(ALL, "\n"), Err(TextError::Message { index: 1, .. })));
        assert!(matches!(continued("x", "a"), Err(TextError::Template(_))));
    }

    #[test]
    fn an_open_end_is_reasoning() {
        with_encoder("{{ messages[0].content }}<think>\n", |encoder| {
            let messages = [json!({"role": "user", "content": "a"})];
            let rendered = encoder.render(&Conversation::new(&messages)).unwrap();
            assert!(rendered.reasoning(ReasoningSyntax::Think).is_open);
            assert!(!rendered.reasoning(ReasoningSyntax::Brackets).is_open);
        });
    }

    #[test]
    fn text_of_special_tokens_is_text_wherever_it_stands() {
        let source = "{{ bos_token }}{{ messages[0].role }}{{ messages[0].tool_calls[0].function.arguments.a }}\
                      {{ tools[0].name }}{{ extra.x }}";
        with_encoder(source, |encoder| {
            let bos = encoder.tokenizer.special_token("bos_token").expect("a BOS token");
            let call = json!({"function": {"name": "f", "arguments": json!({"a": bos}).to_string()}});
            let messages = [json!({"role": bos, "tool_calls": [call]})];
            let (tools, variables) = ([json!({"name": bos})], json!({"extra": {"x": bos}}));
            let conversation = Conversation {
                tools: &tools,
                variables: variables.as_object(),
                ..Conversation::new(&messages)
            };
            let text = encoder.render(&conversation).unwrap().text;
            assert_eq!(Tokenizer::without_marks(&text), bos.repeat(5));
            let id = encoder.tokenizer.id_of(&bos).expect("an id");
            let ids = encoder.ids(&text).unwrap();
            assert_eq!(ids.iter().filter(|other| **other == id).count(), 1);
        });
    }

    #[test]
    fn what_is_wrong_with_a_conversation_is_told() {
        let loaded = load_model(&builtin::folder(), WeightChoice::default(), &Serial, &NoProgress);
        let loaded = loaded.expect("the built-in model");
        let json = loaded.file("tokenizer.json").expect("a tokenizer");
        let tokenizer = Tokenizer::new(json, loaded.file("tokenizer_config.json")).unwrap();
        assert_eq!(ChatEncoder::new(&tokenizer, None).unwrap_err(), TextError::NoTemplate);
        let empty = ChatTemplate::new("", "test").unwrap();
        let encoder = ChatEncoder::new(&tokenizer, Some(&empty)).unwrap();
        assert_eq!(encoder.encode(&[]).unwrap_err(), TextError::EmptyPrompt);
        for (wrong, problem) in [
            (json!("hi"), "expected an object"),
            (json!({"content": "x"}), "role must be a string"),
            (json!({"role": ""}), "role must not be empty"),
            (json!({"role": "assistant", "tool_calls": {}}), "tool_calls must be a list"),
            (
                json!({"role": "assistant", "tool_calls": [{"function": "f"}]}),
                "tool_calls[0].function must be an object",
            ),
            (
                json!({"role": "assistant", "tool_calls": [{"function": {}}]}),
                "tool_calls[0].function.name must be a string",
            ),
            (
                json!({"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": [1]}}]}),
                "tool_calls[0].function.arguments must be JSON text, found [1]",
            ),
            (json!({"role": "user", "content": 3}), "content must be a string or a list of parts"),
            (
                json!({"role": "user", "content": [{"type": "image_url"}]}),
                "only parts of type text are supported",
            ),
            (json!({"role": "user", "content": [{"type": "text"}]}), "a part without text"),
        ] {
            let error = encoder.encode(&[json!({"role": "user"}), wrong]).unwrap_err();
            assert_eq!(error.to_string(), format!("messages[1]: {problem}"));
        }
    }
}
