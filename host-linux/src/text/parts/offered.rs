//! The functions that a request offers.
use serde_json::Value;

/// A function that the model may call.
#[derive(Clone, Debug, PartialEq)]
pub struct OfferedTool {
    /// Its name, letters, digits, `_` and `-`, 1 to 64 of them.
    pub name: String,
    /// The JSON schema of its arguments, which is that of an object.
    pub parameters: Value,
    /// Whether its arguments must be what the schema says, also where the model may answer without
    /// a call.
    pub strict: bool,
}

impl OfferedTool {
    /// The names of its parameters, in the order of the schema.
    pub fn parameter_names(&self) -> impl Iterator<Item = &str> {
        let properties = self.parameters.get("properties").and_then(Value::as_object);
        properties.into_iter().flat_map(|properties| properties.keys().map(String::as_str))
    }

    /// Whether a parameter is text and nothing else.
    pub fn is_text(&self, parameter: &str) -> bool {
        let schema = self.parameters.get("properties").and_then(|all| all.get(parameter));
        schema.is_some_and(|schema| schema["type"] == "string")
    }
}

/// All functions of a request, each name once.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct OfferedTools(pub Vec<OfferedTool>);

impl OfferedTools {
    /// The function of this name.
    pub fn find(&self, name: &str) -> Option<&OfferedTool> {
        self.0.iter().find(|tool| tool.name == name)
    }
}
