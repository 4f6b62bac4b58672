//! Chat templates: Jinja through minijinja, with what Hugging Face's renderer adds to it.
//!
//! `trim_blocks` and `lstrip_blocks` are on, Python's string methods work, `tojson` writes as
//! Python's `json.dumps` with `ensure_ascii=False` does, `raise_exception` refuses a conversation,
//! `strftime_now` formats a date that is an *input*: nothing reads the clock. Fuel bounds how long
//! a hostile template can run.
use super::caught::caught;
use super::quote::shorten;
use super::{TextError, TextPart};
use crate::faults::{self, Point};
use minijinja::value::{Kwargs, Value as JinjaValue};
use minijinja::{Environment, Error, ErrorKind, UndefinedBehavior};
use serde_json::{Map, Value};

/// Characters of what a template says that errors repeat; it may quote a message.
const SAID_MAX: usize = 200;

/// Steps that a template may take.
const FUEL: u64 = 5_000_000;

/// A date: all that a template may know of the time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Date {
    /// The year of the common era.
    pub year: i32,
    /// The month, 1 to 12.
    pub month: u32,
    /// The day of the month, 1 to 31.
    pub day: u32,
}

/// What a template is rendered with.
#[derive(Clone, Debug, Default)]
pub struct TemplateInput {
    /// The messages of the conversation, oldest first.
    pub messages: Vec<Value>,
    /// Tools, if there are any.
    pub tools: Option<Value>,
    /// Documents, if there are any.
    pub documents: Option<Value>,
    /// Whether the assistant's turn is opened.
    pub add_generation_prompt: bool,
    /// `bos_token`, `eos_token`, … and what the caller adds.
    pub variables: Map<String, Value>,
    /// What `strftime_now` formats; without it such a template falls back to its own default.
    pub date: Option<Date>,
}

/// A chat template, compiled from Jinja.
#[derive(Debug)]
pub struct ChatTemplate {
    source: String,
    environment: Environment<'static>,
}

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];

impl ChatTemplate {
    /// Compiles a template; `file` names it in errors.
    pub fn new(source: &str, file: &str) -> Result<Self, TextError> {
        let mut environment = Environment::new();
        environment.set_trim_blocks(true);
        environment.set_lstrip_blocks(true);
        environment.set_keep_trailing_newline(false);
        environment.set_undefined_behavior(UndefinedBehavior::Lenient);
        environment.set_auto_escape_callback(|_| minijinja::AutoEscape::None);
        environment.set_fuel(Some(FUEL));
        environment.set_recursion_limit(100);
        environment.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
        environment.add_filter("tojson", to_json);
        environment.add_function("raise_exception", |message: String| -> Result<JinjaValue, Error> {
            Err(Error::new(ErrorKind::InvalidOperation, message))
        });
        environment.add_template_owned("chat", source.to_owned()).map_err(|error| TextError::File {
            file: file.to_owned(),
            problem: format!("not a template: {}", one_line(&error)),
        })?;
        Ok(Self { source: source.to_owned(), environment })
    }

    /// The template of a model: the file given, else `chat_template.jinja`, else `chat_template` of
    /// `tokenizer_config.json` (a string, or a list of named ones of which `default` is taken).
    pub fn find(
        given: Option<(&str, &str)>,
        chat_template_jinja: Option<&[u8]>,
        tokenizer_config: &Value,
    ) -> Result<Option<Self>, TextError> {
        if let Some((file, source)) = given {
            return Self::new(source, file).map(Some);
        }
        if let Some(bytes) = chat_template_jinja {
            let file = "chat_template.jinja";
            let source = std::str::from_utf8(bytes).map_err(|error| TextError::File {
                file: file.to_owned(),
                problem: format!("not UTF-8: {error}"),
            })?;
            return Self::new(source, file).map(Some);
        }
        let file = "tokenizer_config.json";
        match tokenizer_config.get("chat_template") {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(source)) => Self::new(source, file).map(Some),
            Some(Value::Array(named)) => {
                let default = named.iter().find(|entry| entry["name"] == "default");
                match default.and_then(|entry| entry["template"].as_str()) {
                    Some(source) => Self::new(source, file).map(Some),
                    None => Err(TextError::File {
                        file: file.to_owned(),
                        problem: "chat_template: found a list without one named default".to_owned(),
                    }),
                }
            }
            Some(_) => Err(TextError::File {
                file: file.to_owned(),
                problem: "chat_template: expected a string or a list".to_owned(),
            }),
        }
    }

    /// The template's text in Jinja.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// Whether a name stands in the template, so that it may make a difference to it.
    pub fn knows(&self, name: &str) -> bool {
        self.source.contains(name)
    }

    /// Renders a conversation as the text of a prompt.
    pub fn render(&self, input: &TemplateInput) -> Result<String, TextError> {
        let mut context = input.variables.clone();
        context.insert("messages".to_owned(), Value::Array(input.messages.clone()));
        context.insert("tools".to_owned(), input.tools.clone().unwrap_or(Value::Null));
        context.insert("documents".to_owned(), input.documents.clone().unwrap_or(Value::Null));
        context.insert("add_generation_prompt".to_owned(), Value::Bool(input.add_generation_prompt));
        let mut environment = self.environment.clone();
        if let Some(date) = input.date {
            environment.add_function("strftime_now", move |format: String| format_date(&format, date));
        }
        caught(TextPart::Template, || {
            faults::point(Point::Template);
            let template = environment.get_template("chat");
            let rendered = template.and_then(|template| template.render(Value::Object(context)));
            rendered.map_err(|error| TextError::Template(one_line(&error)))
        })
    }
}

fn one_line(error: &Error) -> String {
    let text = error.detail().map_or_else(|| error.to_string(), ToOwned::to_owned);
    let line = error.line().map_or(String::new(), |line| format!(" (line {line})"));
    format!("{}{line}", shorten(text.lines().next().unwrap_or_default(), SAID_MAX))
}

fn format_date(format: &str, date: Date) -> String {
    let month = MONTHS[(date.month.clamp(1, 12) - 1) as usize];
    let mut out = String::new();
    let mut chars = format.chars();
    while let Some(c) = chars.next() {
        if c != '%' {
            out.push(c);
            continue;
        }
        match chars.next() {
            Some('d') => out.push_str(&format!("{:02}", date.day)),
            Some('m') => out.push_str(&format!("{:02}", date.month)),
            Some('Y') => out.push_str(&date.year.to_string()),
            Some('b') => out.push_str(&month[..3]),
            Some('B') => out.push_str(month),
            Some('%') | None => out.push('%'),
            Some(other) => {
                out.push('%');
                out.push(other);
            }
        }
    }
    out
}

/// Python's `json.dumps(value, ensure_ascii=False, indent=indent)`.
fn to_json(value: &JinjaValue, kwargs: Kwargs) -> Result<JinjaValue, Error> {
    let indent: Option<usize> = kwargs.get("indent")?;
    // Accepted as in transformers, where they are what is done anyway.
    let _: (Option<bool>, Option<bool>) = (kwargs.get("ensure_ascii")?, kwargs.get("sort_keys")?);
    let _: Option<JinjaValue> = kwargs.get("separators")?;
    kwargs.assert_all_used()?;
    let wrong = |error: serde_json::Error| Error::new(ErrorKind::BadSerialization, error.to_string());
    let json = serde_json::to_value(value).map_err(wrong)?;
    let mut out = Vec::new();
    match indent {
        None => out = python_json(&json).into_bytes(),
        Some(width) => {
            let spaces = " ".repeat(width.min(16));
            let formatter = serde_json::ser::PrettyFormatter::with_indent(spaces.as_bytes());
            let mut serializer = serde_json::Serializer::with_formatter(&mut out, formatter);
            serde::Serialize::serialize(&json, &mut serializer).map_err(wrong)?;
        }
    }
    let text = String::from_utf8(out).map_err(|_| Error::new(ErrorKind::BadSerialization, "not UTF-8"))?;
    Ok(JinjaValue::from_safe_string(text))
}

/// A value as Python's `json.dumps` writes it.
pub(super) fn python_json(value: &Value) -> String {
    let mut out = Vec::new();
    let mut serializer = serde_json::Serializer::with_formatter(&mut out, PythonFormatter);
    // Neither memory nor a value of JSON refuses to be written.
    let _ = serde::Serialize::serialize(value, &mut serializer);
    String::from_utf8(out).unwrap_or_default()
}

/// `", "` between items and `": "` after keys.
struct PythonFormatter;

impl serde_json::ser::Formatter for PythonFormatter {
    fn begin_array_value<W: ?Sized + std::io::Write>(
        &mut self,
        writer: &mut W,
        first: bool,
    ) -> std::io::Result<()> {
        if first { Ok(()) } else { writer.write_all(b", ") }
    }
    fn begin_object_key<W: ?Sized + std::io::Write>(
        &mut self,
        writer: &mut W,
        first: bool,
    ) -> std::io::Result<()> {
        if first { Ok(()) } else { writer.write_all(b", ") }
    }
    fn begin_object_value<W: ?Sized + std::io::Write>(&mut self, writer: &mut W) -> std::io::Result<()> {
        writer.write_all(b": ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn render(source: &str, messages: Value) -> Result<String, TextError> {
        let Value::Array(messages) = messages else { panic!("messages are a list") };
        let date = Some(Date { year: 2024, month: 7, day: 6 });
        ChatTemplate::new(source, "test")?.render(&TemplateInput {
            messages,
            date,
            ..TemplateInput::default()
        })
    }

    #[test]
    fn json_is_written_as_python_writes_it() {
        let text = render("{{ messages[0] | tojson }}", json!([{"b": [1, "<é>&'"], "a": null}])).unwrap();
        assert_eq!(text, r#"{"b": [1, "<é>&'"], "a": null}"#);
        let text = render("{{ messages[0] | tojson(indent=2) }}", json!([{"a": [1]}])).unwrap();
        assert_eq!(text, "{\n  \"a\": [\n    1\n  ]\n}");
    }

    #[test]
    fn a_date_is_an_input() {
        assert_eq!(render("{{ strftime_now('%d %b %Y') }}", json!([])).unwrap(), "06 Jul 2024");
    }

    #[test]
    fn what_a_template_refuses_is_told() {
        let error = render("{{ raise_exception('no system here') }}", json!([])).unwrap_err();
        assert!(error.to_string().contains("no system here"), "{error}");
        assert!(render("{% for x %}", json!([])).is_err());
        let error = render(
            "{% for i in range(10000) %}{% for j in range(10000) %}{{ j }}{% endfor %}{% endfor %}",
            json!([]),
        );
        assert!(error.is_err(), "a template cannot run for ever");
        let deep = render("{% macro f(x) %}{{ f(x) }}{% endmacro %}{{ f(1) }}", json!([]));
        assert!(deep.is_err(), "a template cannot recurse for ever");
    }

    #[test]
    fn templates_are_found_in_their_order() {
        let config = json!({"chat_template": [{"name": "tool_use", "template": "t"}, {"name": "default", "template": "d"}]});
        let source = |given, file: Option<&[u8]>| {
            ChatTemplate::find(given, file, &config).unwrap().map(|template| template.source().to_owned())
        };
        assert_eq!(source(Some(("x", "given")), Some(b"file")).as_deref(), Some("given"));
        assert_eq!(source(None, Some(b"file")).as_deref(), Some("file"));
        assert_eq!(source(None, None).as_deref(), Some("d"));
        assert!(ChatTemplate::find(None, None, &json!({})).unwrap().is_none());
        assert!(ChatTemplate::find(None, None, &json!({"chat_template": 3})).is_err());
        assert!(ChatTemplate::find(None, Some(b"\xff"), &json!({})).is_err());
    }
}
