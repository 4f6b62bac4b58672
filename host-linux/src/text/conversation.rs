//! Messages to the ids of a prompt: checked, guarded, rendered by the model's chat template, and
//! tokenized. The server and `verbatim chat` go the same way.
//!
//! Messages are JSON objects as OpenAI's API has them: `role`, and `content` that is text, a list
//! of text parts, or null. Other fields of a message reach the template as they are.
use super::quote::quote_value;
use super::{ChatTemplate, TemplateInput, TextError, Tokenizer};
use serde_json::{Map, Value};

/// Turns conversations with one model into prompts.
#[derive(Clone, Copy, Debug)]
pub struct ChatEncoder<'m> {
    tokenizer: &'m Tokenizer,
    template: &'m ChatTemplate,
}

impl<'m> ChatEncoder<'m> {
    /// An encoder for a model with this tokenizer and template; [`TextError::NoTemplate`] if the
    /// model has none.
    pub fn new(tokenizer: &'m Tokenizer, template: Option<&'m ChatTemplate>) -> Result<Self, TextError> {
        let template = template.ok_or(TextError::NoTemplate)?;
        Ok(Self { tokenizer, template })
    }

    /// The ids of a prompt that asks for the assistant's next message.
    ///
    /// Text of special tokens inside a message stays ordinary text. An error says which message is
    /// wrong, or what the template or the tokenizer refused.
    pub fn encode(&self, messages: &[Value]) -> Result<Vec<u32>, TextError> {
        self.ids(&self.render(messages)?)
    }

    /// The text of that prompt, in which special tokens that messages wrote are marked. It may be
    /// far longer than a context: [`Tokenizer::tokens_min`] tells.
    pub fn render(&self, messages: &[Value]) -> Result<String, TextError> {
        let checked = messages.iter().enumerate().map(|(index, message)| {
            self.message(message).map_err(|problem| TextError::Message { index, problem })
        });
        let input = TemplateInput {
            messages: checked.collect::<Result<_, _>>()?,
            add_generation_prompt: true,
            variables: template_variables(self.tokenizer),
            ..TemplateInput::default()
        };
        self.template.render(&input)
    }

    /// The ids of the text that [`ChatEncoder::render`] made.
    pub fn ids(&self, rendered: &str) -> Result<Vec<u32>, TextError> {
        let ids = self.tokenizer.encode_chat(rendered)?;
        if ids.is_empty() { Err(TextError::EmptyPrompt) } else { Ok(ids) }
    }

    /// A message as templates expect it: a role that they know, and content that is one guarded
    /// string.
    fn message(&self, message: &Value) -> Result<Value, String> {
        let mut map = message.as_object().ok_or("expected an object")?.clone();
        let role = map.get("role").and_then(Value::as_str).ok_or("role must be a string")?;
        let role = match role {
            // Templates do not know the role of developers, which OpenAI's newer models have in
            // place of the system's.
            "developer" => "system",
            "system" | "user" | "assistant" | "tool" | "function" => role,
            _ => return Err(format!("the role {} is not known", quote_value(&map["role"]))),
        };
        let role = Value::String(role.to_owned());
        let content = self.tokenizer.guard(&content(map.get("content"))?);
        map.insert("role".to_owned(), role);
        map.insert("content".to_owned(), Value::String(content));
        Ok(Value::Object(map))
    }
}

/// The text of a message's content; parts are joined without a separator.
fn content(content: Option<&Value>) -> Result<String, String> {
    match content {
        None | Some(Value::Null) => Ok(String::new()),
        Some(Value::String(text)) => Ok(text.clone()),
        Some(Value::Array(parts)) => {
            let part = |part: &Value| match part.get("type").and_then(Value::as_str) {
                Some("text") => {
                    part.get("text").and_then(Value::as_str).map(str::to_owned).ok_or("a part without text")
                }
                _ => Err("only parts of type text are supported"),
            };
            Ok(parts.iter().map(part).collect::<Result<Vec<_>, _>>()?.concat())
        }
        Some(_) => Err("content must be a string or a list of parts".to_owned()),
    }
}

/// The variables that every template may use: `bos_token`, `eos_token`, `unk_token` and
/// `pad_token`, as far as the tokenizer has them.
pub fn template_variables(tokenizer: &Tokenizer) -> Map<String, Value> {
    let names = ["bos_token", "eos_token", "unk_token", "pad_token"];
    let pair = |name: &str| Some((name.to_owned(), Value::String(tokenizer.special_token(name)?)));
    names.into_iter().filter_map(pair).collect()
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
            (json!({"role": "wizard"}), "the role \"wizard\" is not known"),
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
