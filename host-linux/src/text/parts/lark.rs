//! Grammars of answers that must call functions, or call them with the right arguments.
//!
//! The text is in the dialect of Lark that `llguidance` reads. It describes the answer as a model
//! of the format writes it, so that what the grammar allows is what the model was trained to say:
//! the marks of the format, around objects or lists whose members are the schemas of the functions.
//! Qwen3-Coder and Gemma are held to objects, which their readers take too: neither tags nor Python
//! can hold a value to all of a schema.
use super::format::{OutputFormat, ReasoningFormat, ToolSyntax};
use super::offered::OfferedTool;
use crate::text::Tokenizer;
use serde_json::{Map, Value, json};

/// White space between the parts of JSON: a space, or a new line and its indentation. More would
/// let a model go on for ever without saying anything.
const WHITE_SPACE: &str = r"\x20|\x0A[\x20\x09]{0,32}";

/// Which functions an answer calls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ToolChoice {
    /// As the model likes.
    Auto,
    /// At least one, whichever it is.
    Required,
    /// The one of this name, once.
    Named(String),
}

/// How a format frames calls: what opens and closes them, and what stands between two.
struct Frame {
    open: &'static str,
    close: &'static str,
    /// `None` where an answer has one call at most.
    between: Option<&'static str>,
    calls: Calls,
}

/// What stands in the frame.
#[derive(Clone, Copy)]
enum Calls {
    /// An object, with the arguments under this key.
    Object(&'static str),
    /// A list of objects.
    List,
    /// A name, a mark and the arguments.
    Named,
    /// A list of Python's calls.
    Python,
}

fn frame(syntax: ToolSyntax) -> Frame {
    let frame = |open, close, between, calls| Frame { open, close, between, calls };
    match syntax {
        ToolSyntax::Llama | ToolSyntax::Gemma => frame("", "", None, Calls::Object("parameters")),
        ToolSyntax::Hermes | ToolSyntax::QwenCoder => {
            frame("<tool_call>", "</tool_call>", Some("\n"), Calls::Object("arguments"))
        }
        ToolSyntax::Mistral => frame("[TOOL_CALLS]", "", None, Calls::List),
        ToolSyntax::MistralNamed => frame("[TOOL_CALLS]", "", Some(""), Calls::Named),
        ToolSyntax::Phi => frame("<|tool_call|>", "<|/tool_call|>", None, Calls::List),
        ToolSyntax::Pythonic => frame("", "", None, Calls::Python),
    }
}

/// The grammar of an answer; `None` if this format leaves it as it is.
///
/// `answer` is the schema that an answer's text must follow, if it must. An answer that need not
/// call is otherwise constrained only as far as functions that are `strict` ask for: it is text
/// until a call begins. Reasoning before all of that is free.
pub fn grammar(
    format: &OutputFormat,
    choice: &ToolChoice,
    answer: Option<&Value>,
    tokenizer: &Tokenizer,
) -> Option<String> {
    let mut offered: Vec<&OfferedTool> = Vec::new();
    if let Some(tools) = &format.tools {
        let is_wanted = |tool: &&OfferedTool| match choice {
            ToolChoice::Named(name) => tool.name == *name,
            _ => true,
        };
        offered.extend(tools.offered.0.iter().filter(is_wanted));
    }
    let is_free = *choice == ToolChoice::Auto;
    let is_strict = offered.iter().any(|tool| tool.strict);
    let is_left = if offered.is_empty() {
        answer.is_none() || format.reasoning.is_none()
    } else {
        is_free && answer.is_none() && !is_strict
    };
    if is_left {
        return None;
    }
    let many =
        format.tools.as_ref().is_some_and(|tools| tools.parallel) && !matches!(choice, ToolChoice::Named(_));
    let opening =
        format.reasoning.filter(|reasoning| !reasoning.is_open).map(|reasoning| reasoning.syntax.marks().0);
    let mut writer =
        Writer { tokenizer, offered: &offered, many, only_strict: is_free, opening, rules: Vec::new() };
    let syntax = format.tools.as_ref().map(|tools| tools.syntax).filter(|_| !offered.is_empty());
    writer.rule("TEXT", &format!("/(?s:.*)/{}", without_fences(syntax)));
    let mut bodies = Vec::new();
    if let Some(syntax) = syntax {
        let frame = frame(syntax);
        writer.calls(&frame);
        let body = if is_free && answer.is_none() { writer.free(&frame) } else { "calls".to_owned() };
        bodies.push(body);
    }
    if let Some(schema) = answer.filter(|_| is_free) {
        writer.rule("answer", &format!("%json {}", with_options(schema.clone())));
        bodies.push("answer".to_owned());
    }
    let mut start = format!("start: ({})", bodies.join(" | "));
    if let Some(reasoning) = format.reasoning {
        start = writer.reasoning(reasoning, &bodies.join(" | "));
    }
    writer.rules.insert(0, start);
    Some(writer.rules.join("\n") + "\n")
}

/// What keeps text of a Gemma model from beginning a call by a fence, which would not be held to a
/// schema.
fn without_fences(syntax: Option<ToolSyntax>) -> &'static str {
    match syntax {
        Some(ToolSyntax::Gemma) => " & ~/(?s:.*)```(tool_code|json)(?s:.*)/",
        _ => "",
    }
}

/// Writes the rules of one answer.
struct Writer<'w> {
    tokenizer: &'w Tokenizer,
    offered: &'w [&'w OfferedTool],
    /// Whether there may be several calls.
    many: bool,
    /// Whether functions that are not `strict` take any object.
    only_strict: bool,
    /// The mark of reasoning that may come first.
    opening: Option<&'static str>,
    rules: Vec<String>,
}

impl Writer<'_> {
    fn rule(&mut self, name: &str, body: &str) {
        self.rules.push(format!("{name}: {body}"));
    }

    /// The rules of the calls of an answer: `calls` is all of them, `behind` what follows the mark
    /// that opens one.
    fn calls(&mut self, frame: &Frame) {
        let open = self.text(frame.open);
        let more = frame.between.filter(|_| self.many);
        let more = more.map(|between| format!(" ({} {open} behind)*", self.text(between)));
        self.rule("calls", &format!("{open} behind{}", more.unwrap_or_default()));
        let close = self.text(frame.close);
        match frame.calls {
            Calls::Object(key) => {
                let line = if frame.open.is_empty() { "" } else { "\"\\n\"" };
                self.rule("behind", &format!("{line} object {line} {close}"));
                let object = json!({"anyOf": self.objects(key, "#/anyOf")});
                self.rule("object", &format!("%json {}", with_options(object)));
            }
            Calls::List => {
                self.rule("behind", &format!("list {close}"));
                let items = json!({"anyOf": self.objects("arguments", "#/items/anyOf")});
                let mut list = json!({"type": "array", "minItems": 1, "items": items});
                if !self.many {
                    list["maxItems"] = json!(1);
                }
                self.rule("list", &format!("%json {}", with_options(list)));
            }
            Calls::Named => {
                let each = |at| format!("f{at}");
                self.rule("behind", &self.alternatives(each));
                let mark = self.text("[ARGS]");
                for (at, tool) in self.offered.iter().enumerate() {
                    self.rule(&format!("f{at}"), &format!("{} {mark} a{at}", quoted(&tool.name)));
                    let schema = with_options(self.parameters(tool, "#"));
                    self.rule(&format!("a{at}"), &format!("%json {schema}"));
                }
            }
            Calls::Python => {
                let more = if self.many { "(\", \" call)*" } else { "" };
                self.rule("behind", &format!("\"[\" call {more} \"]\""));
                self.rule("call", &self.alternatives(|at| format!("f{at}")));
                for (at, tool) in self.offered.iter().enumerate() {
                    self.python(at, tool);
                }
            }
        }
    }

    /// The first rule of an answer with reasoning before its body.
    fn reasoning(&mut self, reasoning: ReasoningFormat, body: &str) -> String {
        let (opening, closing) = reasoning.syntax.marks();
        self.up_to("thought", closing);
        self.rule("BLANKS", "/\\n{0,2}/");
        match reasoning.is_open {
            true => format!("start: thought BLANKS ({body})"),
            false => format!("start: ({} thought BLANKS)? ({body})", self.text(opening)),
        }
    }

    fn alternatives(&self, each: impl Fn(usize) -> String) -> String {
        (0..self.offered.len()).map(each).collect::<Vec<_>>().join(" | ")
    }

    /// The rules of one of Python's calls: first the arguments that must be there, then the others
    /// in the order of the schema.
    fn python(&mut self, at: usize, tool: &OfferedTool) {
        let schema = self.parameters(tool, "#/$defs/t");
        let is_required = |name: &&str| {
            schema["required"].as_array().is_some_and(|required| required.iter().any(|other| other == name))
        };
        let properties = schema["properties"].as_object();
        let names: Vec<&str> = properties.into_iter().flat_map(Map::keys).map(String::as_str).collect();
        let (required, others): (Vec<&str>, Vec<&str>) = names.iter().partition(|name| is_required(name));
        for (i, name) in required.iter().chain(&others).enumerate() {
            let pointer = name.replace('~', "~0").replace('/', "~1");
            let value = json!({"$ref": format!("#/$defs/t/properties/{pointer}"), "$defs": {"t": &schema}});
            let mut value = with_options(value);
            value["x-guidance"]["json_allowed_escapes"] = json!("nrt\\\"");
            self.rule(&format!("p{at}_{i}"), &format!("{} v{at}_{i}", quoted(&format!("{name}="))));
            self.rule(&format!("v{at}_{i}"), &format!("%json {value}"));
        }
        let (first, end) = (required.len(), names.len());
        // `r` is the arguments from the i-th on, behind others.
        for i in first..end {
            self.rule(&format!("r{at}_{i}"), &format!("(\", \" p{at}_{i})? r{at}_{}", i + 1));
        }
        self.rule(&format!("r{at}_{end}"), "\"\"");
        let body = if first > 0 {
            let all: Vec<String> = (0..first).map(|i| format!("p{at}_{i}")).collect();
            format!("{} r{at}_{first}", all.join(" \", \" "))
        } else {
            let begins: Vec<String> = (0..end).map(|i| format!("p{at}_{i} r{at}_{}", i + 1)).collect();
            format!("({})", begins.into_iter().chain(["\"\"".to_owned()]).collect::<Vec<_>>().join(" | "))
        };
        self.rule(&format!("f{at}"), &format!("{} {body} \")\"", quoted(&format!("{}(", tool.name))));
    }

    /// The body of an answer that may call or not.
    fn free(&mut self, frame: &Frame) -> String {
        if frame.open.is_empty() {
            // What begins otherwise than a call is none, nor is it reasoning.
            let mut prose = "/\\s*[^\\s{\\[](?s:.*)/ & TEXT".to_owned();
            if let Some(opening) = self.opening.filter(|opening| opening.starts_with('<')) {
                prose.push_str(&format!(" & ~/\\s*{opening}(?s:.*)/"));
            }
            self.rule("PROSE", &prose);
            return "calls | PROSE | \"\"".to_owned();
        }
        if self.special(frame.open).is_some() {
            // Text has no special tokens.
            return "TEXT calls?".to_owned();
        }
        self.up_to("head", frame.open);
        "(head behind)* TEXT".to_owned()
    }

    /// A rule for any text up to the end of a mark.
    fn up_to(&mut self, name: &str, mark: &str) {
        match self.special(mark) {
            Some(id) => self.rule(name, &format!("TEXT <[{id}]>")),
            None => self.rule(&format!("{name}[lazy]"), &format!("TEXT {}", quoted(mark))),
        }
    }

    /// A text of a format, or the special token that it is.
    fn text(&self, text: &str) -> String {
        match self.special(text) {
            Some(id) => format!("<[{id}]>"),
            None if text.is_empty() => String::new(),
            None => quoted(text),
        }
    }

    fn special(&self, mark: &str) -> Option<u32> {
        self.tokenizer.id_of(mark).filter(|id| self.tokenizer.is_special(*id))
    }

    /// The schema of each function's calls as objects. `base` is where the list of them stands.
    fn objects(&self, key: &str, base: &str) -> Vec<Value> {
        let object = |(at, tool): (usize, &&OfferedTool)| {
            let parameters = self.parameters(tool, &format!("{base}/{at}/properties/{key}"));
            json!({
                "type": "object",
                "properties": {"name": {"const": tool.name}, key: parameters},
                "required": ["name", key],
                "additionalProperties": false,
            })
        };
        self.offered.iter().enumerate().map(object).collect()
    }

    /// The schema of a function's arguments as it stands at `base` of another schema. Parameters
    /// that it does not name are left out, unless it says that there may be some.
    fn parameters(&self, tool: &OfferedTool, base: &str) -> Value {
        if self.only_strict && !tool.strict {
            return json!({"type": "object"});
        }
        let mut schema = rebased(&tool.parameters, base);
        if let Some(map) = schema.as_object_mut() {
            map.entry("type").or_insert_with(|| json!("object"));
            if map.contains_key("properties") && !map.contains_key("patternProperties") {
                map.entry("additionalProperties").or_insert(Value::Bool(false));
            }
        }
        schema
    }
}

/// A schema whose references to itself go to where it stands now.
fn rebased(schema: &Value, base: &str) -> Value {
    match schema {
        Value::Object(map) => {
            let member = |(key, value): (&String, &Value)| {
                let value = match (key.as_str(), value.as_str().and_then(|text| text.strip_prefix('#'))) {
                    ("$ref", Some(path)) => Value::String(format!("{base}{path}")),
                    _ => rebased(value, base),
                };
                (key.clone(), value)
            };
            Value::Object(map.iter().map(member).collect())
        }
        Value::Array(list) => list.iter().map(|value| rebased(value, base)).collect(),
        other => other.clone(),
    }
}

/// A schema with our options for the library: nothing is approximated.
fn with_options(mut schema: Value) -> Value {
    schema["x-guidance"] =
        json!({"whitespace_pattern": WHITE_SPACE, "coerce_one_of": false, "lenient": false});
    schema
}

/// A text as Lark quotes it.
fn quoted(text: &str) -> String {
    Value::from(text).to_string().replace('\u{7f}', "\\u007f")
}
