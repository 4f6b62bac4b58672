//! The functions that a request offers: `tools`, `tool_choice` and `parallel_tool_calls`, and what
//! they ask of the answer's grammar.
use super::constraint;
use super::fields::Fields;
use super::limits::Reading;
use crate::grammar::{Constraint, GrammarSource};
use crate::serve::error::ApiError;
use crate::text::parts::{
    ModelFormat, OfferedTool, OfferedTools, OutputFormat, ToolChoice, ToolFormat, lark,
};
use crate::text::quote::quote_value;
use serde_json::{Map, Value, json};
use std::sync::Arc;

/// Functions of a request, as in OpenAI's API.
const TOOLS_MAX: usize = 128;
/// Characters of a function's name at most.
const NAME_MAX: usize = 64;

/// What a request says of functions.
#[derive(Clone, Debug)]
pub struct Tools {
    /// The functions as the chat template gets them. None where none may be called: a model that
    /// is told of functions calls them.
    pub listed: Vec<Value>,
    offered: Arc<OfferedTools>,
    choice: ToolChoice,
    parallel: bool,
}

/// The form that an answer has, and what is left of what was asked of it.
#[derive(Clone, Debug, Default)]
pub struct Form {
    /// What the answer is held to; none if it is free.
    pub constraint: Option<Arc<Constraint>>,
    /// The parameter of a form that an answer of calls alone cannot have.
    pub ignored: Option<&'static str>,
}

/// Reads what a request says of functions. Without `tools` nothing is offered.
pub fn tools(fields: &Fields<'_>) -> Result<Tools, ApiError> {
    let list: &[Value] = match fields.get("tools") {
        None => &[],
        Some(Value::Array(list)) => list,
        Some(other) => return Err(wrong("tools", "must be a list", other)),
    };
    if list.len() > TOOLS_MAX {
        let message = format!("tools has {} functions, at most {TOOLS_MAX} are allowed", list.len());
        return Err(ApiError::invalid("tools", message));
    }
    let parallel = fields.get("parallel_tool_calls").is_none() || fields.flag("parallel_tool_calls")?;
    let mut tools = Tools {
        listed: Vec::with_capacity(list.len()),
        offered: Arc::default(),
        choice: ToolChoice::Auto,
        parallel,
    };
    let mut offered: Vec<OfferedTool> = Vec::with_capacity(list.len());
    for (at, value) in list.iter().enumerate() {
        let (tool, listed) = tool(at, value)?;
        if offered.iter().any(|other| other.name == tool.name) {
            let message = format!("tools[{at}].function.name is {}, as that of another tool", tool.name);
            return Err(ApiError::invalid("tools", message));
        }
        offered.push(tool);
        tools.listed.push(listed);
    }
    match choice(fields, &offered)? {
        Some(choice) => tools.choice = choice,
        None => {
            offered.clear();
            tools.listed.clear();
        }
    }
    tools.offered = Arc::new(OfferedTools(offered));
    Ok(tools)
}

impl Tools {
    /// How the answer calls functions of a model; `None` if it calls none.
    pub fn format(&self, model: ModelFormat) -> Option<ToolFormat> {
        let offered = Arc::clone(&self.offered);
        let has_some = !offered.0.is_empty();
        has_some.then_some(ToolFormat { syntax: model.tools, parallel: self.parallel, offered })
    }

    /// What the answer must be, by its functions and by the parameters that say its form.
    ///
    /// A form that is a schema is that of the text behind the reasoning, where no function is
    /// called; any other is that of the whole output, which then has no reasoning, and cannot be
    /// asked for with functions. Where one must be called, the answer has no text to give a form
    /// to: a schema is then compiled all the same, so that a wrong one is refused, and its
    /// parameter told as ignored, as it is without effect at OpenAI.
    pub fn constraint(
        &self,
        format: &mut OutputFormat,
        fields: &Fields<'_>,
        reading: Reading<'_>,
    ) -> Result<Form, ApiError> {
        let asked = constraint::source(fields, reading.bounds)?;
        let is_free = self.choice == ToolChoice::Auto;
        let schema = match &asked {
            Some((_, GrammarSource::JsonObject)) => Some(json!({"type": "object"})),
            // One with options for the library is refused where it is compiled.
            Some((_, GrammarSource::JsonSchema(Value::Object(schema))))
                if !schema.contains_key("x-guidance") =>
            {
                Some(Value::Object(schema.clone()))
            }
            Some((param, _)) if format.tools.is_some() => {
                let with = if is_free { "tools" } else { "a tool_choice that demands a call" };
                let message = format!("{param} can go with {with} only if it is a JSON schema");
                return Err(ApiError::invalid(param, message));
            }
            _ => None,
        };
        let tokenizer = &reading.model.tokenizer;
        if let Some(grammar) = lark::grammar(format, &self.choice, schema.as_ref(), tokenizer) {
            let unused = asked.as_ref().filter(|_| !is_free);
            if let Some((param, source)) = unused {
                constraint::compile(source, param, reading)?;
            }
            let ignored = unused.map(|(param, _)| *param);
            let param = asked.as_ref().filter(|_| is_free).map_or("tools", |(param, _)| param);
            let constraint = constraint::compile(&GrammarSource::Lark(grammar), param, reading)?;
            return Ok(Form { constraint: Some(constraint), ignored });
        }
        let Some((param, source)) = asked else { return Ok(Form::default()) };
        format.reasoning = None;
        let constraint = constraint::compile(&source, param, reading)?;
        Ok(Form { constraint: Some(constraint), ignored: None })
    }
}

fn wrong(param: &str, expected: &str, found: &Value) -> ApiError {
    let place = param.split(['[', '.']).next().unwrap_or(param);
    ApiError::invalid(place, format!("{param} {expected}, found {}", quote_value(found)))
}

/// A function, and what the template is told of it.
fn tool(at: usize, value: &Value) -> Result<(OfferedTool, Value), ApiError> {
    let place = format!("tools[{at}]");
    let map = value.as_object().ok_or_else(|| wrong(&place, "must be an object", value))?;
    let fields = Fields::new(map);
    if let Some(kind) = fields.get("type").filter(|kind| *kind != "function") {
        return Err(wrong(&format!("{place}.type"), "must be function", kind));
    }
    let place = format!("{place}.function");
    let function = fields.get("function").unwrap_or(&Value::Null);
    let function = function.as_object().ok_or_else(|| wrong(&place, "must be an object", function))?;
    let fields = Fields::new(function);
    let name = fields.get("name").unwrap_or(&Value::Null);
    let name = name.as_str().filter(|name| is_name(name)).ok_or_else(|| {
        let expected = format!("must have 1 to {NAME_MAX} letters, digits, _ and -");
        wrong(&format!("{place}.name"), &expected, name)
    })?;
    if let Some(description) = fields.get("description").filter(|value| !value.is_string()) {
        return Err(wrong(&format!("{place}.description"), "must be a string", description));
    }
    let strict = match fields.get("strict") {
        None => false,
        Some(Value::Bool(strict)) => *strict,
        Some(other) => return Err(wrong(&format!("{place}.strict"), "must be true or false", other)),
    };
    let parameters = parameters(&format!("{place}.parameters"), fields.get("parameters"))?;
    let mut told: Map<String, Value> = function.clone();
    told.retain(|name, value| !value.is_null() && name != "strict");
    let listed = json!({"type": "function", "function": told});
    Ok((OfferedTool { name: name.to_owned(), parameters, strict }, listed))
}

/// Whether a function that is offered may have this name.
fn is_name(name: &str) -> bool {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
    (1..=NAME_MAX).contains(&name.len()) && name.bytes().all(is_allowed)
}

/// The schema of a function's arguments; one that is absent takes none.
fn parameters(place: &str, value: Option<&Value>) -> Result<Value, ApiError> {
    let none = || json!({"type": "object", "properties": {}, "additionalProperties": false});
    let Some(value) = value else { return Ok(none()) };
    let map = value.as_object().ok_or_else(|| wrong(place, "must be a JSON schema", value))?;
    if map.is_empty() {
        return Ok(none());
    }
    match map.get("type") {
        None => {}
        Some(kind) if kind == "object" => {}
        Some(kind) => return Err(wrong(&format!("{place}.type"), "must be object", kind)),
    }
    if let Some(properties) = map.get("properties").filter(|value| !value.is_object()) {
        return Err(wrong(&format!("{place}.properties"), "must be an object", properties));
    }
    if map.contains_key("x-guidance") {
        return Err(ApiError::invalid("tools", format!("{place}.x-guidance is not supported")));
    }
    Ok(value.clone())
}

/// Reads `tool_choice`; `None` if no function may be called.
fn choice(fields: &Fields<'_>, offered: &[OfferedTool]) -> Result<Option<ToolChoice>, ApiError> {
    let expected = "must be none, auto, required or a function of tools";
    let Some(value) = fields.get("tool_choice") else { return Ok(Some(ToolChoice::Auto)) };
    let choice = match value {
        Value::String(word) => match word.as_str() {
            "none" => return Ok(None),
            "auto" => return Ok(Some(ToolChoice::Auto)),
            "required" => ToolChoice::Required,
            _ => return Err(wrong("tool_choice", expected, value)),
        },
        _ => {
            let name = value.pointer("/function/name").and_then(Value::as_str);
            let is_function = value.get("type").is_none_or(|kind| kind == "function");
            let name = name.filter(|_| is_function).ok_or_else(|| wrong("tool_choice", expected, value))?;
            if !offered.is_empty() && !offered.iter().any(|tool| tool.name == name) {
                return Err(wrong("tool_choice", expected, value));
            }
            ToolChoice::Named(name.to_owned())
        }
    };
    if offered.is_empty() {
        return Err(ApiError::invalid("tool_choice", "tool_choice needs tools"));
    }
    Ok(Some(choice))
}

#[cfg(all(test, feature = "structured-output"))]
mod grammar_tests;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::parts::ToolSyntax;

    fn read(body: Value) -> Result<Tools, ApiError> {
        tools(&Fields::new(body.as_object().expect("an object")))
    }

    fn function(function: Value) -> Value {
        json!({"type": "function", "function": function})
    }

    #[test]
    fn functions_are_read_and_told_to_the_template() {
        let f = json!({"name": "f", "description": null, "strict": true, "parameters": {"properties": {"a": {}}}});
        let tools = read(json!({"tools": [function(f), {"function": {"name": "g-1"}}]})).unwrap();
        assert_eq!(
            tools.listed,
            [
                function(json!({"name": "f", "parameters": {"properties": {"a": {}}}})),
                function(json!({"name": "g-1"})),
            ]
        );
        let [f, g] = &tools.offered.0[..] else { panic!("two functions") };
        assert!(f.strict && !g.strict);
        assert_eq!(g.parameters["additionalProperties"], false);
        assert!(tools.parallel && tools.choice == ToolChoice::Auto);
        let model = ModelFormat { tools: ToolSyntax::Phi, reasoning: None };
        assert_eq!(tools.format(model).map(|format| format.syntax), Some(ToolSyntax::Phi));
    }

    #[test]
    fn the_choice_says_what_is_called() {
        let choice =
            |choice: Value| read(json!({"tools": [function(json!({"name": "f"}))], "tool_choice": choice}));
        assert_eq!(choice(json!("required")).unwrap().choice, ToolChoice::Required);
        let named = json!({"type": "function", "function": {"name": "f"}});
        assert_eq!(choice(named).unwrap().choice, ToolChoice::Named("f".to_owned()));
        let none = choice(json!("none")).unwrap();
        let model = ModelFormat { tools: ToolSyntax::Hermes, reasoning: None };
        assert!(none.listed.is_empty() && none.format(model).is_none(), "the model is told of none");
        assert!(read(json!({"tool_choice": "auto"})).unwrap().format(model).is_none());
        let one =
            read(json!({"tools": [function(json!({"name": "f"}))], "parallel_tool_calls": false})).unwrap();
        assert!(!one.parallel);
    }

    #[test]
    fn what_is_wrong_is_told_by_name() {
        let many: Vec<Value> = (0..129).map(|i| function(json!({"name": format!("f{i}")}))).collect();
        for (body, param, told) in [
            (json!({"tools": 3}), "tools", "tools must be a list, found 3"),
            (json!({"tools": many}), "tools", "tools has 129 functions, at most 128 are allowed"),
            (json!({"tools": [1]}), "tools", "tools[0] must be an object, found 1"),
            (json!({"tools": [{"type": "x"}]}), "tools", "tools[0].type must be function, found \"x\""),
            (json!({"tools": [{}]}), "tools", "tools[0].function must be an object, found null"),
            (
                json!({"tools": [function(json!({"name": "a b"}))]}),
                "tools",
                "tools[0].function.name must have 1 to 64 letters, digits, _ and -, found \"a b\"",
            ),
            (
                json!({"tools": [function(json!({"name": "f", "strict": 1}))]}),
                "tools",
                "tools[0].function.strict must be true or false, found 1",
            ),
            (
                json!({"tools": [function(json!({"name": "f", "parameters": {"type": "string"}}))]}),
                "tools",
                "tools[0].function.parameters.type must be object, found \"string\"",
            ),
            (json!({"tool_choice": "required"}), "tool_choice", "tool_choice needs tools"),
            (
                json!({"tool_choice": 1}),
                "tool_choice",
                "tool_choice must be none, auto, required or a function of tools, found 1",
            ),
        ] {
            let error = read(body).unwrap_err();
            assert_eq!((error.status, error.param.as_deref()), (400, Some(param)));
            assert_eq!(error.message, told);
        }
        let twice = read(json!({"tools": [function(json!({"name": "f"})), function(json!({"name": "f"}))]}));
        assert_eq!(twice.unwrap_err().message, "tools[1].function.name is f, as that of another tool");
    }
}
