//! What a row of the table is made of: a parameter, what becomes of it, and the values that it
//! takes.
use super::endpoint::Endpoints;
use serde_json::{Value, json};

/// A parameter of a request's body, or a field of an object in one.
#[derive(Clone, Copy, Debug)]
pub struct Parameter {
    /// The name in the body.
    pub name: &'static str,
    /// The endpoints that this row is about. A name that means different things has several rows.
    pub endpoints: Endpoints,
    /// What becomes of it.
    pub kind: Kind,
    /// The values that it takes; null counts as absent everywhere.
    pub schema: Schema,
    /// What it does, or would do, in sentences. A refusal ends with them.
    pub doc: &'static str,
    /// The value that says the same as leaving the parameter out, where there is one. A model may
    /// have another for how tokens are drawn.
    pub default: Option<Plain>,
}

impl Parameter {
    /// The row with a default.
    pub(super) const fn or(self, default: Plain) -> Self {
        Self { default: Some(default), ..self }
    }
}

/// What becomes of a parameter.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    /// It has an effect.
    Used,
    /// It is accepted and cannot change the answer. The client is told that it was ignored.
    WithoutEffect,
    /// It would change the answer and is not supported: only these values, which leave the answer
    /// as it is, are taken.
    RefusedUnless(&'static [Plain]),
}

/// A value that leaves an answer as it would be without it.
#[derive(Clone, Copy, Debug)]
pub enum Plain {
    /// This truth value and no other.
    Bool(bool),
    /// A number, written with or without a fraction.
    Number(f64),
    /// This string and no other.
    Text(&'static str),
    /// A list without an entry.
    EmptyList,
    /// An object without a field.
    EmptyObject,
    /// A list in which nothing but this string stands.
    ListOf(&'static str),
    /// An object whose field `type` is this string.
    OfType(&'static str),
}

impl Plain {
    /// Whether a value is this one.
    pub fn is(self, value: &Value) -> bool {
        match self {
            Self::Bool(plain) => value.as_bool() == Some(plain),
            Self::Number(plain) => value.as_f64() == Some(plain),
            Self::Text(plain) => value.as_str() == Some(plain),
            Self::EmptyList => value.as_array().is_some_and(Vec::is_empty),
            Self::EmptyObject => value.as_object().is_some_and(serde_json::Map::is_empty),
            Self::ListOf(plain) => value.as_array().is_some_and(|list| list.iter().all(|at| at == plain)),
            Self::OfType(plain) => value.get("type").and_then(Value::as_str) == Some(plain),
        }
    }

    /// The value, as it is shown and tried.
    pub fn value(self) -> Value {
        match self {
            Self::Bool(plain) => json!(plain),
            Self::Number(plain) if plain.fract() == 0.0 => json!(plain as i64),
            Self::Number(plain) => json!(plain),
            Self::Text(plain) => json!(plain),
            Self::EmptyList => json!([]),
            Self::EmptyObject => json!({}),
            Self::ListOf(plain) => json!([plain]),
            Self::OfType(plain) => json!({ "type": plain }),
        }
    }
}

/// The values of a parameter: their type and bounds.
#[derive(Clone, Copy, Debug)]
pub enum Schema {
    /// Any value of any type.
    Any,
    /// One of the two truth values.
    Bool,
    /// A whole number between two, both allowed; a float without a fraction counts as one.
    Integer(i64, i64),
    /// A number between two, both allowed.
    Number(f64, f64),
    /// A number above the first bound, up to and with the second.
    Above(f64, f64),
    /// A string of any length.
    Text,
    /// A string that is not empty.
    Nonempty,
    /// One of these strings.
    Choice(&'static [&'static str]),
    /// A list with at least and at most so many values.
    List(&'static Schema, usize, usize),
    /// An object of any names with such values.
    Map(&'static Schema),
    /// An object with these fields; what stands under other names is ignored.
    Table(&'static [Parameter]),
    /// An object with these fields; any other name is judged as if it stood at the top of the body,
    /// where it does not stand: what has an effect there is refused here.
    Options(&'static [Parameter]),
    /// A value of one of these kinds, which differ in their JSON types.
    OneOf(&'static [Schema]),
}

/// A list of any length.
pub const MANY: usize = usize::MAX;
/// Ids of tokens, whether the model has them or not.
pub const TOKEN: Schema = Schema::Integer(0, u32::MAX as i64);
/// A list of token ids.
pub const TOKENS: Schema = Schema::List(&TOKEN, 0, MANY);
/// A list of strings.
pub const TEXTS: Schema = Schema::List(&Schema::Text, 0, MANY);
/// An object of any shape.
pub const OBJECT: Schema = Schema::Map(&Schema::Any);
/// A count of which there is none negative.
pub const COUNT: Schema = Schema::Integer(0, i64::MAX);
/// A number of any size.
pub const REAL: Schema = Schema::Number(f64::MIN, f64::MAX);
/// A whole number of any size.
pub const WHOLE: Schema = Schema::Integer(i64::MIN, i64::MAX);

/// A row of a parameter with an effect.
pub const fn used(name: &'static str, endpoints: Endpoints, schema: Schema, doc: &'static str) -> Parameter {
    Parameter { name, endpoints, kind: Kind::Used, schema, doc, default: None }
}

/// A row of a parameter that cannot change an answer.
pub const fn inert(name: &'static str, endpoints: Endpoints, schema: Schema, doc: &'static str) -> Parameter {
    Parameter { name, endpoints, kind: Kind::WithoutEffect, schema, doc, default: None }
}

/// A row of a parameter that is refused unless it has one of the `plain` values.
pub const fn refused(
    name: &'static str,
    endpoints: Endpoints,
    plain: &'static [Plain],
    schema: Schema,
    doc: &'static str,
) -> Parameter {
    Parameter { name, endpoints, kind: Kind::RefusedUnless(plain), schema, doc, default: None }
}

/// Fields of an inner object are looked up in its own table, at whatever endpoint it stands.
pub const INNER: Endpoints = Endpoints::MAX;
