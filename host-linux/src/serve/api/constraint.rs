//! The form that an output must have: every parameter that says so, read and compiled.
//!
//! OpenAI's clients say `response_format`, vLLM's `structured_outputs` or the older
//! `guided_json`, `guided_regex`, `guided_choice` and `guided_grammar`, llama-server's `grammar`
//! and `json_schema`.
//! A body may say one of them. What cannot be done exactly is an error that names the parameter.
use super::fields::Fields;
use super::json_limits;
use super::limits::{Reading, RequestBounds};
use crate::grammar::{Constraint, GrammarError, GrammarSource};
use crate::serve::error::{ApiError, Retry};
use crate::text::quote::{quote, quote_value};
use serde_json::Value;
use std::sync::Arc;

/// What a parameter says: the source, and the name of the parameter for errors.
pub type Named = (&'static str, GrammarSource);

/// Reads all parameters that constrain the output, and compiles what they say; `None` if the output
/// is free.
pub fn constraint(fields: &Fields<'_>, reading: Reading<'_>) -> Result<Option<Arc<Constraint>>, ApiError> {
    source(fields, reading.bounds)?.map(|(param, source)| compile(&source, param, reading)).transpose()
}

/// Compiles a source that the parameter `param` asks for.
pub fn compile(
    source: &GrammarSource,
    param: &str,
    reading: Reading<'_>,
) -> Result<Arc<Constraint>, ApiError> {
    reading.model.grammars.compile(source).map_err(|error| refusal(param, &error))
}

/// The answer to a grammar that was not compiled.
fn refusal(param: &str, error: &GrammarError) -> ApiError {
    let message = format!("{param} {error}");
    match error {
        GrammarError::Busy => ApiError { retry: Retry::Soon, ..ApiError::server(503, message) },
        _ => ApiError::invalid(param, message),
    }
}

/// Reads the source that one parameter names, if the body has it.
type Reader = fn(&Asked<'_>) -> Result<Option<Named>, ApiError>;

/// The fields of a body, and the bounds on JSON in its strings.
struct Asked<'a> {
    fields: &'a Fields<'a>,
    bounds: &'a RequestBounds,
}

/// The one source that a body names, and the parameter that names it.
pub fn source(fields: &Fields<'_>, bounds: &RequestBounds) -> Result<Option<Named>, ApiError> {
    let mut found: Option<Named> = None;
    let all: [Reader; 8] = [
        |asked| named(asked, "response_format", response_format),
        |asked| named(asked, "structured_outputs", structured_outputs),
        |asked| named(asked, "guided_json", |param, value, bounds| schema(param, value, bounds).map(Some)),
        |asked| named(asked, "guided_regex", |param, value, _| text(param, value).map(regex)),
        |asked| named(asked, "guided_choice", |param, value, _| choice(param, value).map(Some)),
        |asked| named(asked, "guided_grammar", |param, value, _| text(param, value).map(grammar)),
        // Some of its clients send an empty one where they mean none.
        |asked| named(asked, "grammar", |param, value, _| Ok(gbnf(text(param, value)?))),
        |asked| named(asked, "json_schema", |param, value, bounds| schema(param, value, bounds).map(Some)),
    ];
    for read in all {
        let Some((param, source)) = read(&Asked { fields, bounds })? else { continue };
        if let Some((first, _)) = found {
            let message = format!("{param} and {first} both say what form the output has; one may");
            return Err(ApiError::invalid(param, message));
        }
        found = Some((param, source));
    }
    Ok(found)
}

/// Reads one parameter by `read`, if the body has it.
fn named(
    asked: &Asked<'_>,
    name: &'static str,
    read: fn(&'static str, &Value, &RequestBounds) -> Result<Option<GrammarSource>, ApiError>,
) -> Result<Option<Named>, ApiError> {
    let Some(value) = asked.fields.get(name) else { return Ok(None) };
    Ok(read(name, value, asked.bounds)?.map(|source| (name, source)))
}

/// Reads `response_format`: the type `text`, `json_object`, or `json_schema` with the schema at
/// `json_schema.schema`. llama-server's clients put it at `schema`, with either type.
fn response_format(
    param: &'static str,
    value: &Value,
    bounds: &RequestBounds,
) -> Result<Option<GrammarSource>, ApiError> {
    let wrong = |expected: &str, found: &dyn std::fmt::Display| {
        ApiError::invalid(param, format!("{param} {expected}, found {}", quote_value(found)))
    };
    let object = value.as_object().ok_or_else(|| wrong("must be an object", value))?;
    let fields = Fields::new(object);
    let kind = fields.get("type").and_then(Value::as_str);
    let kind = kind.ok_or_else(|| wrong("must have a type that is a string", value))?;
    let direct = fields.get("schema");
    match kind {
        "text" => Ok(None),
        "json_object" => match direct {
            None => Ok(Some(GrammarSource::JsonObject)),
            Some(direct) => schema(param, direct, bounds).map(Some),
        },
        "json_schema" => {
            let inner = match fields.get("json_schema") {
                None => None,
                Some(Value::Object(inner)) => Fields::new(inner).get("schema"),
                Some(other) => return Err(wrong("must have a json_schema that is an object", other)),
            };
            let found = inner.or(direct);
            let found = found.ok_or_else(|| wrong("must have a schema in its json_schema", value))?;
            schema(param, found, bounds).map(Some)
        }
        other => Err(ApiError::invalid(
            param,
            format!("{param} must have the type text, json_object or json_schema, found {}", quote(other)),
        )),
    }
}

/// The names in `structured_outputs` that say what form the output has.
const FORMS: [&str; 5] = ["json", "regex", "choice", "grammar", "json_object"];

/// Reads `structured_outputs`, of whose forms one must be given.
fn structured_outputs(
    param: &'static str,
    value: &Value,
    bounds: &RequestBounds,
) -> Result<Option<GrammarSource>, ApiError> {
    let wrong = |message: &str| ApiError::invalid(param, format!("{param} {message}"));
    let object = value.as_object().ok_or_else(|| wrong("must be an object"))?;
    let fields = Fields::new(object);
    // `json_object: false` asks for nothing; the schema `false` does.
    let asks = |name: &str, value: &Value| *value != Value::Bool(false) || name == "json";
    let is_given = |name: &&str| fields.get(name).is_some_and(|value| asks(name, value));
    let given: Vec<&str> = FORMS.into_iter().filter(is_given).collect();
    let [form] = given[..] else {
        // An empty object, or all fields null, asks for nothing.
        if given.is_empty() && object.values().all(|value| value.is_null() || *value == Value::Bool(false)) {
            return Ok(None);
        }
        return Err(wrong(&format!("must have exactly one of {}, found {}", FORMS.join(", "), given.len())));
    };
    let Some(value) = fields.get(form) else { return Ok(None) };
    match form {
        "json" => schema(param, value, bounds).map(Some),
        "regex" => text(param, value).map(regex),
        "choice" => choice(param, value).map(Some),
        "grammar" => text(param, value).map(grammar),
        _ if value.is_boolean() => Ok(Some(GrammarSource::JsonObject)),
        _ => Err(wrong("must have a json_object that is true or false")),
    }
}

/// A JSON schema: an object, a truth value, or the text of one.
fn schema(param: &'static str, value: &Value, bounds: &RequestBounds) -> Result<GrammarSource, ApiError> {
    let expected = || {
        let found = quote_value(value);
        ApiError::invalid(param, format!("{param} must hold a JSON schema, found {found}"))
    };
    match value {
        Value::Object(_) | Value::Bool(_) => Ok(GrammarSource::JsonSchema(value.clone())),
        Value::String(text) => {
            json_limits::check_inner(param, [text.as_str()], bounds)?;
            let schema: Value = serde_json::from_str(text).map_err(|_| expected())?;
            if schema.is_object() || schema.is_boolean() {
                return Ok(GrammarSource::JsonSchema(schema));
            }
            Err(expected())
        }
        _ => Err(expected()),
    }
}

fn text(param: &'static str, value: &Value) -> Result<String, ApiError> {
    let wrong = || {
        let found = quote_value(value);
        ApiError::invalid(param, format!("{param} must hold a string here, found {found}"))
    };
    value.as_str().map(str::to_owned).ok_or_else(wrong)
}

fn regex(text: String) -> Option<GrammarSource> {
    Some(GrammarSource::Regex(text))
}

/// A grammar of vLLM's clients, who write it in Lark or in GBNF: only the latter has `::=`.
fn grammar(text: String) -> Option<GrammarSource> {
    Some(if text.contains("::=") { GrammarSource::Gbnf(text) } else { GrammarSource::Lark(text) })
}

fn gbnf(text: String) -> Option<GrammarSource> {
    (!text.is_empty()).then_some(GrammarSource::Gbnf(text))
}

fn choice(param: &'static str, value: &Value) -> Result<GrammarSource, ApiError> {
    let wrong = || {
        let found = quote_value(value);
        ApiError::invalid(param, format!("{param} must hold a list of strings, found {found}"))
    };
    let all = value.as_array().ok_or_else(wrong)?.iter();
    let all: Option<Vec<String>> = all.map(|choice| choice.as_str().map(str::to_owned)).collect();
    all.map(GrammarSource::Choice).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::super::limits::tests::BOUNDS;
    use super::*;
    use serde_json::json;

    fn read(body: Value) -> Result<Option<GrammarSource>, ApiError> {
        let map = body.as_object().unwrap().clone();
        source(&Fields::new(&map), &BOUNDS).map(|found| found.map(|(_, source)| source))
    }

    #[test]
    fn every_way_to_ask_for_a_form_is_read() {
        let schema = json!({"type": "string"});
        let of_schema = Some(GrammarSource::JsonSchema(schema.clone()));
        let regex = Some(GrammarSource::Regex("a+".into()));
        let choice = Some(GrammarSource::Choice(vec!["a".into(), "b".into()]));
        let gbnf = Some(GrammarSource::Gbnf("root ::= \"a\"".into()));
        let lark = Some(GrammarSource::Lark("start: \"a\"".into()));
        for (body, expected) in [
            (json!({}), None),
            (json!({"response_format": null, "grammar": "", "structured_outputs": {}}), None),
            (json!({"response_format": {"type": "text"}}), None),
            (json!({"response_format": {"type": "json_object"}}), Some(GrammarSource::JsonObject)),
            (json!({"response_format": {"type": "json_object", "schema": schema}}), of_schema.clone()),
            (json!({"response_format": {"type": "json_schema", "schema": schema}}), of_schema.clone()),
            (
                json!({"response_format": {"type": "json_schema", "json_schema": {
                    "name": "x", "strict": true, "schema": schema}}}),
                of_schema.clone(),
            ),
            (json!({"structured_outputs": {"json": schema, "regex": null}}), of_schema.clone()),
            (json!({"structured_outputs": {"json": schema.to_string()}}), of_schema.clone()),
            (json!({"structured_outputs": {"regex": "a+", "json_object": false}}), regex.clone()),
            (json!({"structured_outputs": {"choice": ["a", "b"]}}), choice.clone()),
            (json!({"structured_outputs": {"grammar": "start: \"a\""}}), lark.clone()),
            (json!({"structured_outputs": {"grammar": "root ::= \"a\""}}), gbnf.clone()),
            (json!({"structured_outputs": {"json_object": true}}), Some(GrammarSource::JsonObject)),
            (json!({"guided_json": schema}), of_schema.clone()),
            (json!({"guided_regex": "a+"}), regex),
            (json!({"guided_choice": ["a", "b"]}), choice),
            (json!({"guided_grammar": "start: \"a\""}), lark),
            (json!({"grammar": "root ::= \"a\""}), gbnf),
            (json!({"json_schema": schema}), of_schema),
        ] {
            assert_eq!(read(body.clone()).unwrap(), expected, "{body}");
        }
    }

    #[test]
    fn an_error_names_the_parameter_and_what_is_wrong() {
        for (body, param, told) in [
            (json!({"response_format": 1}), "response_format", "must be an object, found 1"),
            (json!({"response_format": {}}), "response_format", "a type"),
            (json!({"response_format": {"type": "structural_tag"}}), "response_format", "structural_tag"),
            (json!({"response_format": {"type": "json_schema"}}), "response_format", "schema"),
            (
                json!({"response_format": {"type": "json_schema", "json_schema": 1}}),
                "response_format",
                "object",
            ),
            (json!({"structured_outputs": {"json": {}, "regex": "a"}}), "structured_outputs", "found 2"),
            (json!({"structured_outputs": {"other": 1}}), "structured_outputs", "found 0"),
            (json!({"structured_outputs": {"json": "{"}}), "structured_outputs", "JSON schema"),
            (json!({"structured_outputs": {"json_object": 1}}), "structured_outputs", "true or false"),
            (json!({"guided_choice": ["a", 1]}), "guided_choice", "strings"),
            (json!({"guided_regex": 1}), "guided_regex", "string"),
            (json!({"guided_regex": "a", "json_schema": {}}), "json_schema", "guided_regex"),
            // JSON in a string is bounded as the body is.
            (json!({"guided_json": "[".repeat(200)}), "guided_json", "inside each other"),
            (
                json!({"response_format": {"type": "json_object", "schema": "[],".repeat(200_000)}}),
                "response_format",
                "values",
            ),
        ] {
            let error = read(body.clone()).unwrap_err();
            assert_eq!((error.status, error.param.as_deref()), (400, Some(param)), "{body}");
            let starts = error.message.starts_with(param) || error.budget.is_some();
            assert!(starts && error.message.contains(told), "{}", error.message);
        }
    }

    #[test]
    fn a_grammar_that_cannot_be_compiled_is_the_client_s_fault_and_no_thread_is_not() {
        let error = refusal("grammar", &GrammarError::Invalid("no rule named root".into()));
        assert_eq!((error.status, error.param.as_deref()), (400, Some("grammar")));
        assert_eq!(error.message, "grammar cannot be compiled: no rule named root");
        let error = refusal("grammar", &GrammarError::Busy);
        assert_eq!((error.status, error.retry), (503, Retry::Soon));
    }
}
