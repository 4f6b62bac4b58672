//! The names of parameters: what is known, and what is refused because it would change the answer
//! and is not supported.
use super::fields::{self, Fields};
use super::limits::RequestBounds;
use crate::serve::error::ApiError;
use crate::text::quote::{quote_value, shorten};
use serde_json::{Map, Value};

/// Tells whether a value of a parameter leaves the answer as it is without the parameter.
type Harmless = fn(&Value) -> bool;

/// Parameters that are not supported and would change the answer, each with the predicate for the
/// values that would not.
const UNSUPPORTED: &[(&str, Harmless)] = &[
    ("best_of", |v| v.as_f64() == Some(1.0)),
    ("echo", |v| v == &Value::Bool(false)),
    ("suffix", |v| v.as_str() == Some("")),
    ("prompt_logprobs", |_| false),
    ("stop_token_ids", |v| v.as_array().is_some_and(Vec::is_empty)),
    ("include_stop_str_in_output", |v| v == &Value::Bool(false)),
    ("return_tokens_as_token_ids", |v| v == &Value::Bool(false)),
    ("response_format", |v| v.get("type").and_then(Value::as_str) == Some("text")),
    ("structured_outputs", |_| false),
    ("guided_json", |_| false),
    ("guided_regex", |_| false),
    ("guided_choice", |_| false),
    ("guided_grammar", |_| false),
    ("tools", |v| v.as_array().is_some_and(Vec::is_empty)),
    ("tool_choice", |v| matches!(v.as_str(), Some("none" | "auto"))),
    ("functions", |v| v.as_array().is_some_and(Vec::is_empty)),
    ("function_call", |v| v.as_str() == Some("none")),
    ("audio", |_| false),
    ("modalities", |v| v.as_array().is_some_and(|list| list.iter().all(|m| m == "text"))),
    ("chat_template_kwargs", |v| v.as_object().is_some_and(Map::is_empty)),
    ("add_generation_prompt", |v| v == &Value::Bool(true)),
    ("continue_final_message", |v| v == &Value::Bool(false)),
];

/// Parameters that have an effect at one endpoint or at all.
const USED: &[&str] = &[
    "model",
    "prompt",
    "messages",
    "stream",
    "stream_options",
    "max_tokens",
    "max_completion_tokens",
    "temperature",
    "top_p",
    "top_k",
    "min_p",
    "seed",
    "stop",
    "logprobs",
    "top_logprobs",
    "logit_bias",
    "presence_penalty",
    "frequency_penalty",
    "repetition_penalty",
    "ignore_eos",
    "min_tokens",
    "n",
    "resume",
    "return_token_ids",
    "priority",
    "cache_salt",
];

/// Parameters that are accepted and have no effect, because they cannot change the answer.
const WITHOUT_EFFECT: &[&str] = &[
    "user",
    "store",
    "metadata",
    "service_tier",
    "safety_identifier",
    "prompt_cache_key",
    "parallel_tool_calls",
    "request_id",
];

/// Names without a meaning that are kept of a body: so many, and so many characters of each. What a
/// client makes up must not fill a log.
const IGNORED_MAX: usize = 100;
const IGNORED_CHARS_MAX: usize = 64;

/// Reads the object that a body within `bounds` is, and checks its names. Those that mean nothing
/// here are added to `ignored`, as far as they are kept. Every endpoint that takes a body begins
/// with this.
pub fn checked_object(
    body: &[u8],
    bounds: &RequestBounds,
    ignored: &mut Vec<String>,
) -> Result<Map<String, Value>, ApiError> {
    let object = fields::object(body, bounds)?;
    ignored.extend(check(&Fields::new(&object))?);
    Ok(object)
}

/// Refuses a body with a parameter that would change the answer and is not supported. Returns the
/// names that mean nothing here, which are ignored.
fn check(fields: &Fields<'_>) -> Result<Vec<String>, ApiError> {
    for &(name, is_harmless) in UNSUPPORTED {
        if let Some(value) = fields.get(name)
            && !is_harmless(value)
        {
            let message = format!("{name} = {} is not supported", quote_value(value));
            return Err(ApiError::invalid(name, message));
        }
    }
    let is_known = |name: &str| {
        USED.contains(&name)
            || WITHOUT_EFFECT.contains(&name)
            || UNSUPPORTED.iter().any(|(other, _)| *other == name)
    };
    let unknown = fields.names().filter(|name| !is_known(name)).take(IGNORED_MAX);
    Ok(unknown.map(|name| shorten(name, IGNORED_CHARS_MAX)).collect())
}

#[cfg(test)]
mod tests {
    use super::super::fields::object;
    use super::super::limits::tests::BOUNDS;
    use super::*;

    #[test]
    fn names_are_refused_ignored_or_known() {
        let check = |body: &[u8]| check(&Fields::new(&object(body, &BOUNDS).unwrap()));
        assert_eq!(check(br#"{"prompt": "a", "x": 1, "echo": false, "y": null}"#).unwrap(), ["x", "y"]);
        let error = check(br#"{"x": 1, "echo": true}"#).unwrap_err();
        assert_eq!((error.status, error.param.as_deref()), (400, Some("echo")));
        for (name, _) in UNSUPPORTED {
            let is_known = USED.contains(name) || WITHOUT_EFFECT.contains(name);
            assert!(!is_known, "{name} is both refused and known");
        }
    }

    #[test]
    fn what_clients_make_up_is_kept_in_part() {
        let long = "z".repeat(1 << 20);
        let names: Map<String, Value> =
            (0..1000).map(|i| (format!("{i}\n{}", if i < 8 { &long } else { "" }), Value::Null)).collect();
        let kept = check(&Fields::new(&names)).unwrap();
        assert_eq!(kept.len(), IGNORED_MAX);
        assert!(kept[0].starts_with("0\\nzzz") && kept[0].ends_with("z… (1048578 bytes)"), "{}", kept[0]);
        assert!(kept.iter().all(|name| name.chars().count() <= IGNORED_CHARS_MAX && name.capacity() < 1000));
        let tools = Value::from(vec![long.as_str()]);
        let error = check(&Fields::new(&[("tools".to_owned(), tools)].into_iter().collect())).unwrap_err();
        assert!(
            error.message.len() < 200 && error.message.ends_with(" is not supported"),
            "{}",
            error.message
        );
    }
}
