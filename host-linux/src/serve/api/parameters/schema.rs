//! A schema in words, for errors and documents, and as JSON Schema, for `/openapi.json`.
use super::parameter::{Kind, MANY, Parameter, Plain, Schema};
use serde_json::{Map, Value, json};

impl Schema {
    /// The values in words that follow "must be".
    pub fn words(&self) -> String {
        match *self {
            Self::Any => "any value".to_owned(),
            Self::Bool => "true or false".to_owned(),
            Self::Integer(i64::MIN, i64::MAX) => "an integer".to_owned(),
            Self::Integer(min, i64::MAX) => format!("an integer of at least {min}"),
            Self::Integer(min, max) => format!("an integer between {min} and {max}"),
            Self::Number(f64::MIN, f64::MAX) => "a number".to_owned(),
            Self::Number(min, f64::MAX) => format!("a number of at least {min}"),
            Self::Number(min, max) => format!("a number between {min} and {max}"),
            Self::Above(min, f64::MAX) => format!("a number above {min}"),
            Self::Above(min, max) => format!("a number above {min} and at most {max}"),
            Self::Text => "a string".to_owned(),
            Self::Nonempty => "a string that is not empty".to_owned(),
            Self::Choice([one]) => format!("\"{one}\""),
            Self::Choice(all) => format!("one of {}", all.join(", ")),
            Self::List(of, min, max) => match (min, max) {
                (0, MANY) => format!("a list, each {}", of.words()),
                (1, MANY) => format!("a list of at least one, each {}", of.words()),
                _ => format!("a list of {min} to {max}, each {}", of.words()),
            },
            Self::Map(Self::Any) | Self::Table(_) | Self::Options(_) => "an object".to_owned(),
            Self::Map(of) => format!("an object, each value {}", of.words()),
            Self::OneOf(all) => all.iter().map(Self::words).collect::<Vec<_>>().join(", or "),
        }
    }

    /// The values as a JSON Schema of the draft that OpenAPI 3.1 uses.
    pub fn json(&self) -> Value {
        match *self {
            Self::Any => json!({}),
            Self::Bool => json!({"type": "boolean"}),
            Self::Integer(min, max) => {
                let mut schema = json!({"type": "integer"});
                bound(&mut schema, "minimum", (min != i64::MIN).then(|| json!(min)));
                bound(&mut schema, "maximum", (max != i64::MAX).then(|| json!(max)));
                schema
            }
            Self::Number(min, max) => {
                let mut schema = json!({"type": "number"});
                bound(&mut schema, "minimum", (min != f64::MIN).then(|| json!(min)));
                bound(&mut schema, "maximum", (max != f64::MAX).then(|| json!(max)));
                schema
            }
            Self::Above(min, max) => {
                let mut schema = json!({"type": "number", "exclusiveMinimum": min});
                bound(&mut schema, "maximum", (max != f64::MAX).then(|| json!(max)));
                schema
            }
            Self::Text => json!({"type": "string"}),
            Self::Nonempty => json!({"type": "string", "minLength": 1}),
            Self::Choice(all) => json!({"type": "string", "enum": all}),
            Self::List(of, min, max) => {
                let mut schema = json!({"type": "array", "items": of.json()});
                bound(&mut schema, "minItems", (min != 0).then(|| json!(min)));
                bound(&mut schema, "maxItems", (max != MANY).then(|| json!(max)));
                schema
            }
            Self::Map(Self::Any) => json!({"type": "object"}),
            Self::Map(of) => json!({"type": "object", "additionalProperties": of.json()}),
            Self::Table(rows) | Self::Options(rows) => {
                json!({"type": "object", "properties": properties(rows.iter())})
            }
            Self::OneOf(all) => json!({"anyOf": all.iter().map(Self::json).collect::<Vec<_>>()}),
        }
    }
}

fn bound(schema: &mut Value, name: &str, value: Option<Value>) {
    if let Some(value) = value {
        schema[name] = value;
    }
}

/// The fields of an object, each with its doc. Null counts as absent, so every field takes it.
pub(super) fn properties(rows: impl Iterator<Item = &'static Parameter>) -> Value {
    let property = |row: &Parameter| {
        let schema = match row.kind {
            Kind::Used | Kind::WithoutEffect => row.schema.json(),
            Kind::RefusedUnless(plain) => {
                json!({"enum": plain.iter().map(|plain| plain.value()).collect::<Vec<_>>()})
            }
        };
        let mut schema = nullable(schema);
        schema["description"] = json!(described(row));
        bound(&mut schema, "default", row.default.map(Plain::value));
        (row.name.to_owned(), schema)
    };
    Value::Object(rows.map(property).collect::<Map<_, _>>())
}

/// The schema with null besides.
fn nullable(mut schema: Value) -> Value {
    if let Some(all) = schema.get_mut("enum").and_then(Value::as_array_mut) {
        all.push(Value::Null);
    }
    if let Some(all) = schema.get_mut("anyOf").and_then(Value::as_array_mut) {
        all.push(json!({"type": "null"}));
    } else if let Some(Value::String(name)) = schema.get("type").cloned() {
        schema["type"] = json!([name, "null"]);
    }
    schema
}

/// What a row does, with what becomes of it where that is not plain.
fn described(row: &Parameter) -> String {
    match row.kind {
        Kind::Used => row.doc.to_owned(),
        Kind::WithoutEffect => format!("Accepted without effect. {}", row.doc),
        Kind::RefusedUnless(_) => format!("Refused unless it is one of these values. {}", row.doc),
    }
}
