//! What a client may constrain an output with, before it is compiled.
use super::error::GrammarError;
use serde_json::{Map, Value, json};

/// The name under which a schema carries options for the library, which are ours to choose.
const LIBRARY_OPTIONS: &str = "x-guidance";
/// White space between the parts of JSON: a space, or a new line and its indentation. More would
/// let a model go on for ever without saying anything.
const WHITE_SPACE: &str = r"\x20|\x0A[\x20\x09]{0,32}";

/// Bytes of a source at most; a schema counts as compact JSON.
pub const SOURCE_BYTES_MAX: usize = 1 << 16;
/// Alternatives of a choice at most.
const ALTERNATIVES_MAX: usize = 10_000;

/// A language in which an output must be.
#[derive(Clone, Debug, PartialEq)]
pub enum GrammarSource {
    /// A JSON object with any members.
    JsonObject,
    /// JSON that validates against a schema.
    JsonSchema(Value),
    /// All of what a regular expression matches, from the first character to the last.
    Regex(String),
    /// One of some strings.
    Choice(Vec<String>),
    /// A grammar in the dialect of Lark that `llguidance` reads.
    Lark(String),
    /// A grammar in llama.cpp's GBNF.
    Gbnf(String),
}

impl GrammarSource {
    /// The source as bytes that no other source has.
    ///
    /// # Errors
    /// It is longer than [`SOURCE_BYTES_MAX`], or a choice of nothing.
    pub(super) fn key(&self) -> Result<Vec<u8>, GrammarError> {
        let text = |kind: u8, text: &str| {
            let mut key = vec![kind];
            key.extend_from_slice(text.as_bytes());
            key
        };
        let key = match self {
            Self::JsonObject => vec![0],
            Self::JsonSchema(schema) => text(1, &schema.to_string()),
            Self::Regex(regex) => text(2, regex),
            Self::Choice(choices) => {
                check_choices(choices)?;
                // Quoted, so that where one ends and the next begins is part of the key.
                text(3, &Value::from(choices.as_slice()).to_string())
            }
            Self::Lark(grammar) => text(4, grammar),
            Self::Gbnf(grammar) => text(5, grammar),
        };
        if key.len() > SOURCE_BYTES_MAX {
            return Err(GrammarError::TooLong { bytes: key.len(), max: SOURCE_BYTES_MAX });
        }
        Ok(key)
    }
}

/// A client's schema as the library takes it, at the top or in a grammar's `%json`. Nothing is
/// approximated: what the library cannot do exactly is an error when the schema is compiled.
///
/// # Errors
/// It is no schema, or allows nothing.
pub fn schema_with_options(schema: &Value) -> Result<Value, GrammarError> {
    let mut map = match schema {
        Value::Bool(true) => Map::new(),
        Value::Bool(false) => return Err(GrammarError::Unsatisfiable),
        Value::Object(map) if map.contains_key(LIBRARY_OPTIONS) => {
            return Err(GrammarError::Invalid(format!("{LIBRARY_OPTIONS} is not supported")));
        }
        Value::Object(map) => map.clone(),
        _ => return Err(GrammarError::Invalid("a schema is an object".to_owned())),
    };
    let options = json!({"whitespace_pattern": WHITE_SPACE, "coerce_one_of": false, "lenient": false});
    map.insert(LIBRARY_OPTIONS.to_owned(), options);
    Ok(Value::Object(map))
}

/// A choice has alternatives, and each says something: after an empty one nothing would be drawn.
fn check_choices(choices: &[String]) -> Result<(), GrammarError> {
    let wrong = |problem: &str| Err(GrammarError::Invalid(problem.to_owned()));
    match choices.len() {
        0 => return wrong("there is nothing to choose from"),
        count if count > ALTERNATIVES_MAX => return wrong("there are more than 10,000 alternatives"),
        _ => {}
    }
    if choices.iter().any(String::is_empty) { wrong("an alternative is empty") } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn sources_that_differ_have_keys_that_differ() {
        let choice = |of: &[&str]| GrammarSource::Choice(of.iter().map(|text| (*text).to_owned()).collect());
        let all = [
            GrammarSource::JsonObject,
            GrammarSource::JsonSchema(json!({"type": "string"})),
            GrammarSource::JsonSchema(json!({"type": "object"})),
            GrammarSource::Regex("a".into()),
            GrammarSource::Lark("a".into()),
            GrammarSource::Gbnf("a".into()),
            choice(&["a", "b"]),
            choice(&["a\",\"b"]),
            choice(&["b", "a"]),
        ];
        let keys: Vec<_> = all.iter().map(|source| source.key().unwrap()).collect();
        for (i, key) in keys.iter().enumerate() {
            assert!(!keys[..i].contains(key), "{:?}", all[i]);
        }
    }

    #[test]
    fn sources_are_bounded() {
        let long = GrammarSource::Regex("a".repeat(SOURCE_BYTES_MAX));
        assert!(matches!(long.key(), Err(GrammarError::TooLong { .. })));
        for choices in [vec![], vec![String::new()], vec!["a".to_owned(); ALTERNATIVES_MAX + 1]] {
            assert!(matches!(GrammarSource::Choice(choices).key(), Err(GrammarError::Invalid(_))));
        }
    }
}
