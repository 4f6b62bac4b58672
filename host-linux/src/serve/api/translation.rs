//! A body in the names of another dialect, on its way to be read as one of `/v1/chat/completions`.
//!
//! Anthropic's messages, OpenAI's responses and Ollama's calls ask for the same things under other
//! names. Their dialects put what they find under the names of chat, and the reader of chat reads
//! it. So a request has the same answer whatever dialect it is written in, and each parameter has
//! one reader. What that reader finds wrong is told in the names that the client used.
use super::answer::parsed::ParsedBody;
use super::dialect::Dialect;
use super::fields::Fields;
use super::limits::Reading;
use super::parameters::{self, Endpoints, Kind};
use crate::runtime::ServedModel;
use crate::serve::error::ApiError;
use crate::text::quote::quote_value;
use serde_json::{Map, Value, json};

/// Parameters that mean the same in every dialect that has them, and have the same name there.
const SHARED: &[&str] = &[
    "model",
    "temperature",
    "top_p",
    "top_k",
    "min_p",
    "seed",
    "presence_penalty",
    "frequency_penalty",
    "repetition_penalty",
    "logit_bias",
    "bad_words",
    "allowed_token_ids",
    "stop_token_ids",
    "include_stop_str_in_output",
    "skip_special_tokens",
    "ignore_eos",
    "min_tokens",
    "priority",
    "cache_salt",
    "return_token_ids",
    "chat_template_kwargs",
    "documents",
    "stop",
    "structured_outputs",
    "truncate_prompt_tokens",
    "truncation_side",
];

/// A body under the names of chat, and what the client calls each part of it.
#[derive(Clone, Debug, Default)]
pub(super) struct Translation {
    body: Map<String, Value>,
    messages: Vec<Value>,
    /// Where in the client's body each of the messages comes from.
    origins: Vec<String>,
    /// Names at chat, and the client's for the same thing.
    names: Vec<(&'static str, &'static str)>,
    /// Names of what is taken without effect.
    ignored: Vec<String>,
}

impl Translation {
    /// What a body at `endpoint` shares with one of chat; the conversation is called `messages`
    /// there.
    pub(super) fn new(fields: &Fields<'_>, endpoint: Endpoints, messages: &'static str) -> Self {
        let mut translation = Self { names: vec![("messages", messages)], ..Self::default() };
        for name in SHARED {
            let row = parameters::find(endpoint, name);
            if row.is_some_and(|row| matches!(row.kind, Kind::Used)) {
                translation.carry(fields, name, name);
            }
        }
        translation
    }

    /// Takes a field over, if it is there, as `ours`.
    pub(super) fn carry(&mut self, fields: &Fields<'_>, theirs: &'static str, ours: &'static str) {
        if let Some(value) = fields.get(theirs) {
            self.put(ours, theirs, value.clone());
        }
    }

    /// Sets `ours` to a value that the client calls `theirs`.
    pub(super) fn put(&mut self, ours: &'static str, theirs: &'static str, value: Value) {
        self.body.insert(ours.to_owned(), value);
        if ours != theirs {
            self.names.push((ours, theirs));
        }
    }

    /// A value that was set.
    #[cfg(test)]
    pub(super) fn get(&self, ours: &str) -> Option<&Value> {
        self.body.get(ours)
    }

    /// Adds a message to the conversation, which comes from the place `origin` in the body.
    pub(super) fn message(&mut self, origin: impl Into<String>, message: Value) {
        self.messages.push(message);
        self.origins.push(origin.into());
    }

    /// The messages so far.
    pub(super) fn messages(&mut self) -> &mut Vec<Value> {
        &mut self.messages
    }

    /// Makes of it a body of `/v1/completions`, where `logprobs` is a number.
    pub(super) fn for_completions(&mut self) {
        let top = self.body.shift_remove("top_logprobs");
        if self.body.shift_remove("logprobs").is_some() {
            self.body.insert("logprobs".to_owned(), top.unwrap_or(json!(0)));
        }
    }

    /// Notes that something is taken without effect.
    pub(super) fn ignore(&mut self, name: impl Into<String>) {
        self.ignored.push(name.into());
    }

    /// Sets a variable of the chat template, unless the client has set it itself.
    pub(super) fn template_variable(&mut self, name: &str, value: Value) {
        let variables = self.body.entry("chat_template_kwargs").or_insert_with(|| json!({}));
        if let Some(variables) = variables.as_object_mut() {
            variables.entry(name).or_insert(value);
        }
    }

    /// Reads what was put together as the endpoint of `dialect` does.
    pub(super) fn read(
        mut self,
        dialect: &dyn Dialect,
        reading: Reading<'_>,
    ) -> Result<ParsedBody, ApiError> {
        if !self.messages.is_empty() {
            self.body.insert("messages".to_owned(), Value::Array(std::mem::take(&mut self.messages)));
        }
        let parsed = dialect.parse(&Fields::new(&self.body), reading);
        let mut parsed = parsed.map_err(|error| self.in_their_words(error))?;
        parsed.ignored.iter_mut().for_each(|name| *name = self.their_name(name));
        parsed.ignored.append(&mut self.ignored);
        Ok(parsed)
    }

    /// An error in the names that the client used.
    fn in_their_words(&self, error: ApiError) -> ApiError {
        let Some(param) = error.param.as_deref() else { return error };
        if let Some((origin, rest)) = self.origin(&error.message) {
            let message = format!("{origin}{rest}");
            return ApiError { message, param: Some(self.their_name(param)), ..error };
        }
        let theirs = self.their_name(param);
        let message = match error.message.strip_prefix(param) {
            Some(rest) => format!("{theirs}{rest}"),
            None => error.message.clone(),
        };
        ApiError { message, param: Some(theirs), ..error }
    }

    /// The client's name for a parameter of chat.
    fn their_name(&self, ours: &str) -> String {
        let found = self.names.iter().find(|(name, _)| *name == ours);
        found.map_or(ours, |(_, theirs)| theirs).to_owned()
    }

    /// The place of a message that an error begins with, and the rest of the error.
    fn origin<'e>(&self, message: &'e str) -> Option<(&str, &'e str)> {
        let (index, rest) = message.strip_prefix("messages[")?.split_once(']')?;
        Some((self.origins.get(index.parse::<usize>().ok()?)?, rest))
    }
}

/// The list that a field is, if the body has it.
pub(super) fn list<'f>(fields: &Fields<'f>, name: &str) -> Result<Option<&'f Vec<Value>>, ApiError> {
    match fields.get(name) {
        None => Ok(None),
        Some(Value::Array(list)) => Ok(Some(list)),
        Some(found) => Err(wrong(name, name, "a list", found)),
    }
}

/// Whether the model's chat template reads a variable of this name.
pub(super) fn template_knows(model: &ServedModel, name: &str) -> bool {
    model.template.as_ref().is_some_and(|template| template.knows(name))
}

/// The error for a value at a place that must be something else.
pub(super) fn wrong(param: &str, place: &str, expected: &str, found: &Value) -> ApiError {
    ApiError::invalid(param, format!("{place} must be {expected}, found {}", quote_value(found)))
}

/// The object that stands at a place.
pub(super) fn object_at<'v>(
    value: &'v Value,
    param: &str,
    place: &str,
) -> Result<&'v Map<String, Value>, ApiError> {
    value.as_object().ok_or_else(|| wrong(param, place, "an object", value))
}

/// A field of an object that must be a string.
pub(super) fn string_in<'v>(
    map: &'v Map<String, Value>,
    name: &str,
    param: &str,
    place: &str,
) -> Result<&'v str, ApiError> {
    match map.get(name) {
        Some(Value::String(text)) => Ok(text),
        Some(value) => Err(wrong(param, &format!("{place}.{name}"), "a string", value)),
        None => Err(ApiError::invalid(param, format!("{place}.{name} is missing"))),
    }
}

/// A tool as chat has it, out of its parts; those that are null are left out.
pub(super) fn tool(
    name: &Value,
    description: Option<&Value>,
    parameters: Option<&Value>,
    strict: Option<&Value>,
) -> Value {
    let mut function = Map::new();
    function.insert("name".to_owned(), name.clone());
    for (name, value) in [("description", description), ("parameters", parameters), ("strict", strict)] {
        if let Some(value) = value.filter(|value| !value.is_null()) {
            function.insert(name.to_owned(), value.clone());
        }
    }
    json!({"type": "function", "function": function})
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::serve::api::fingerprint;
    use crate::serve::api::parameters::{COUNT_TOKENS, MESSAGES, OLLAMA_CHAT, OLLAMA_GENERATE, RESPONSES};

    fn error(param: &str, message: &str) -> (Option<String>, String) {
        let mut translation = Translation { names: vec![("messages", "input")], ..Translation::default() };
        translation.put("max_completion_tokens", "max_output_tokens", json!(0));
        translation.message("instructions", json!({}));
        translation.message("input[4]", json!({}));
        let error = translation.in_their_words(ApiError::invalid(param, message));
        (error.param, error.message)
    }

    #[test]
    fn errors_use_the_names_of_the_client() {
        let told = |param: &str, message: &str| (Some(param.to_owned()), message.to_owned());
        assert_eq!(
            error("max_completion_tokens", "max_completion_tokens must be an integer"),
            told("max_output_tokens", "max_output_tokens must be an integer")
        );
        assert_eq!(error("messages", "messages[1]: no role"), told("input", "input[4]: no role"));
        assert_eq!(error("messages", "messages[9]: no role"), told("input", "input[9]: no role"));
        assert_eq!(error("messages", "the prompt is too long"), told("input", "the prompt is too long"));
        assert_eq!(error("seed", "seed must be"), told("seed", "seed must be"));
        assert_eq!(error("", "x"), (None, "x".to_owned()));
    }

    #[test]
    fn every_parameter_with_an_effect_is_read() {
        let ollama = ["model", "stream", "options", "format", "think", "logprobs", "top_logprobs"];
        let own: [(Endpoints, Vec<&str>); 5] = [
            (
                MESSAGES,
                vec![
                    "messages",
                    "system",
                    "max_tokens",
                    "stop_sequences",
                    "tools",
                    "tool_choice",
                    "thinking",
                    "output_config",
                    "stream",
                ],
            ),
            (COUNT_TOKENS, vec!["messages", "system", "tools", "tool_choice", "thinking", "output_config"]),
            (
                RESPONSES,
                vec![
                    "input",
                    "instructions",
                    "max_output_tokens",
                    "tools",
                    "tool_choice",
                    "parallel_tool_calls",
                    "text",
                    "reasoning",
                    "include",
                    "top_logprobs",
                    "stream",
                ],
            ),
            (OLLAMA_CHAT, [&ollama[..], &["messages", "tools"]].concat()),
            (OLLAMA_GENERATE, [&ollama[..], &["prompt", "system", "raw"]].concat()),
        ];
        for (endpoint, own) in own {
            let used = |name: &str| {
                parameters::find(endpoint, name).is_some_and(|row| matches!(row.kind, Kind::Used))
            };
            for name in &own {
                assert!(used(name), "{name}: {endpoint:b}");
            }
            for row in parameters::rows_of(endpoint).filter(|row| matches!(row.kind, Kind::Used)) {
                let is_read = own.contains(&row.name)
                    || SHARED.contains(&row.name)
                    || [parameters::REQUEST_ID, fingerprint::NAME].contains(&row.name);
                assert!(is_read, "{}: {endpoint:b}", row.name);
            }
        }
    }

    #[test]
    fn a_variable_that_the_client_sets_stays() {
        let body = json!({"chat_template_kwargs": {"enable_thinking": true}, "seed": 3, "user": "x"});
        let fields = Fields::new(body.as_object().unwrap());
        let mut translation = Translation::new(&fields, RESPONSES, "input");
        translation.template_variable("enable_thinking", json!(false));
        translation.template_variable("depth", json!(1));
        assert_eq!(translation.body["chat_template_kwargs"], json!({"enable_thinking": true, "depth": 1}));
        assert_eq!((translation.get("seed"), translation.get("user")), (Some(&json!(3)), None));
    }
}
