//! Parameters of the API in a conversation: their names and values, from the table of parameters.
use crate::cli::model_args::sampling::SamplingArgs;
use crate::serve::api::parameters::{CHAT, Kind, Parameter, checked_value, find, rows_of};
use crate::text::quote::quote;
use serde_json::{Map, Value, json};

/// Parameters that the conversation itself decides, or whose answers it could not show.
const ITS_OWN: &[&str] = &[
    "messages",
    "model",
    "stream",
    "stream_options",
    "n",
    "tools",
    "tool_choice",
    "parallel_tool_calls",
    "logprobs",
    "top_logprobs",
    "prompt_logprobs",
    "return_tokens_as_token_ids",
    "return_token_ids",
    "echo",
    "resume",
    "request_id",
    "add_generation_prompt",
    "continue_final_message",
];

/// The parameters that can be set, in the table's order.
pub(super) fn settable() -> impl Iterator<Item = &'static Parameter> {
    rows_of(CHAT).filter(|row| matches!(row.kind, Kind::Used) && !ITS_OWN.contains(&row.name))
}

/// Whether a name can be set; with `any_name` also one that only a server may know.
pub(super) fn check_name(name: &str, any_name: bool) -> Result<(), String> {
    if ITS_OWN.contains(&name) {
        return Err(format!("{name} is for the conversation itself to decide; /set lists what can be set"));
    }
    if find(CHAT, name).is_none() && !any_name {
        return Err(format!("{} is no parameter; /set lists them", quote(name)));
    }
    Ok(())
}

/// Checks a value by the table, whose words an error has. What the table does not know, or refuses
/// for this engine alone, is for a server to judge.
pub(super) fn check_value(name: &str, value: &Value) -> Result<(), String> {
    match find(CHAT, name) {
        Some(row) if matches!(row.kind, Kind::Used) => {
            checked_value(CHAT, name, value).map_err(|error| error.message)
        }
        _ => Ok(()),
    }
}

/// What typed text may mean: JSON if it is any, and else, or if that is not taken, a string.
pub(super) fn meanings(text: &str) -> Vec<Value> {
    let json = serde_json::from_str::<Value>(text).ok().filter(|value| !value.is_null());
    let string = json!(text);
    json.into_iter().filter(|value| *value != string).chain([string.clone()]).collect()
}

/// A parameter's name, the values that it takes and what it does.
pub(super) fn explained(row: &Parameter) -> String {
    format!("{}: {}. {}", row.name, row.schema.words(), row.doc)
}

/// A number as it was typed, not as the nearest one of twice its precision is written.
fn short(number: f32) -> Value {
    number.to_string().parse::<f64>().map_or(Value::Null, Value::from)
}

/// The parameters that flags have set.
pub(super) fn of_flags(flags: &SamplingArgs) -> Map<String, Value> {
    let min_p = (flags.min_p != 0.0).then_some(flags.min_p);
    let stop = (!flags.stop.is_empty()).then(|| json!(flags.stop));
    let given = [
        ("temperature", flags.temperature.map(short)),
        ("top_p", flags.top_p.map(short)),
        ("top_k", flags.top_k.map(Value::from)),
        ("min_p", min_p.map(short)),
        ("seed", flags.seed.map(|seed| Value::from(seed as i64))),
        ("max_tokens", flags.max_tokens.map(Value::from)),
        ("stop", stop),
    ];
    given.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_sampling_parameter_can_be_set() {
        let names: Vec<_> = settable().map(|row| row.name).collect();
        for name in [
            "temperature",
            "top_p",
            "top_k",
            "min_p",
            "seed",
            "repetition_penalty",
            "presence_penalty",
            "frequency_penalty",
            "logit_bias",
            "bad_words",
            "allowed_token_ids",
            "stop",
            "stop_token_ids",
            "ignore_eos",
            "max_tokens",
            "min_tokens",
            "response_format",
            "chat_template_kwargs",
        ] {
            assert!(names.contains(&name), "{name}");
            assert_eq!(check_name(name, false), Ok(()));
        }
        for name in ITS_OWN {
            assert!(find(CHAT, name).is_some(), "{name} is a row of the table");
            assert!(check_name(name, true).is_err());
        }
    }

    #[test]
    fn values_are_checked_by_the_table() {
        assert_eq!(check_value("temperature", &json!(0.5)), Ok(()));
        let error = check_value("temperature", &json!(101)).unwrap_err();
        assert!(error.contains("temperature must be a number between 0 and 100"), "{error}");
        assert!(check_value("seed", &json!("x")).is_err());
        assert_eq!(check_value("mirostat", &json!(2)), Ok(()), "another server may know it");
        assert!(check_name("tempreature", false).unwrap_err().contains("/set lists"));
        assert_eq!(check_name("tempreature", true), Ok(()));
    }

    #[test]
    fn typed_text_is_json_or_a_string() {
        assert_eq!(meanings("0.7"), [json!(0.7), json!("0.7")]);
        assert_eq!(meanings("###"), [json!("###")]);
        assert_eq!(meanings("\"5\""), [json!("5"), json!("\"5\"")]);
        assert_eq!(meanings("[\"a\", \"b\"]")[0], json!(["a", "b"]));
        assert_eq!(meanings("null"), [json!("null")]);
        assert_eq!(short(0.7), json!(0.7));
    }
}
