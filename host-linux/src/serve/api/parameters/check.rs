//! A value of a body against the table: its type and bounds, and the names inside it.
use super::parameter::{Kind, Parameter, Plain, Schema};
use crate::serve::error::ApiError;
use crate::text::quote::{quote, quote_value, shorten};
use serde_json::{Map, Value};

/// Names without a meaning that are kept of a body: so many, and so many characters of each. What a
/// client makes up must not fill a log.
const IGNORED_MAX: usize = 100;
const IGNORED_CHARS_MAX: usize = 64;

/// The check of one body.
pub(super) struct Check<'c> {
    /// Whether a name that means nothing here is refused.
    pub(super) is_strict: bool,
    /// Whether parameters with an effect are read by code that checks each itself.
    pub(super) has_readers: bool,
    /// Finds the row of a name at the top of the body.
    pub(super) find: &'c dyn Fn(&str) -> Option<&'static Parameter>,
    /// The names that were ignored so far, as far as they are kept.
    pub(super) ignored: Vec<String>,
}

impl Check<'_> {
    /// Checks the names and values of a body.
    pub(super) fn body(&mut self, body: &Map<String, Value>) -> Result<(), ApiError> {
        for (name, value) in body {
            let row = (self.find)(name);
            self.field(row, name, value)?;
        }
        Ok(())
    }

    /// Checks a field at a path of the body; `row` is none for a name that means nothing here.
    fn field(&mut self, row: Option<&'static Parameter>, path: &str, value: &Value) -> Result<(), ApiError> {
        let Some(row) = row else {
            if self.is_strict {
                let message = format!(
                    "{} is no parameter of this endpoint, and the server is strict (option strict)",
                    quote(path)
                );
                return Err(ApiError::invalid(path, message));
            }
            self.ignore(path);
            return Ok(());
        };
        if value.is_null() {
            return Ok(());
        }
        match row.kind {
            Kind::Used => {
                let has_reader = self.has_readers && row.name != super::REQUEST_ID;
                self.value(&row.schema, path, value, !has_reader)
            }
            Kind::WithoutEffect => {
                self.ignore(path);
                self.value(&row.schema, path, value, true)
            }
            Kind::RefusedUnless(plain) if plain.iter().any(|plain| plain.is(value)) => Ok(()),
            Kind::RefusedUnless(plain) => Err(refusal(path, value, plain, row.doc)),
        }
    }

    /// Checks the fields of an object inside the body. `other` finds the row of a name that is in
    /// none of `rows`, or fails for one that is out of place.
    fn inner(
        &mut self,
        rows: &'static [Parameter],
        path: &str,
        map: &Map<String, Value>,
        other: impl Fn(&str) -> Result<Option<&'static Parameter>, ()>,
    ) -> Result<(), ApiError> {
        for (name, value) in map {
            let place = format!("{path}.{}", shorten(name, IGNORED_CHARS_MAX));
            let row = match rows.iter().find(|row| row.name == name) {
                Some(row) => Some(row),
                None if value.is_null() => None,
                None => other(name).map_err(|()| misplaced(&place, name))?,
            };
            self.field(row, &place, value)?;
        }
        Ok(())
    }

    /// Keeps a name that means nothing here, as far as there is room.
    fn ignore(&mut self, path: &str) {
        if self.ignored.len() < IGNORED_MAX {
            self.ignored.push(shorten(path, IGNORED_CHARS_MAX));
        }
    }

    /// Checks a value and what is inside it. With `of_types` false only names inside are checked.
    fn value(
        &mut self,
        schema: &'static Schema,
        path: &str,
        value: &Value,
        of_types: bool,
    ) -> Result<(), ApiError> {
        match (schema, value) {
            (Schema::OneOf(all), _) => match all.iter().find(|schema| has_type(schema, value)) {
                Some(schema) => return self.value(schema, path, value, of_types),
                None if of_types => return Err(wrong(path, schema, value)),
                None => return Ok(()),
            },
            (Schema::Table(rows), Value::Object(map)) => self.inner(rows, path, map, |_| Ok(None))?,
            (Schema::Options(rows), Value::Object(map)) => {
                let find = self.find;
                self.inner(rows, path, map, |name| match find(name) {
                    Some(Parameter { kind: Kind::Used, .. }) => Err(()),
                    row => Ok(row),
                })?;
            }
            (Schema::List(of, min, max), Value::Array(list)) => {
                if of_types && !(*min..=*max).contains(&list.len()) {
                    return Err(wrong(path, schema, value));
                }
                if !holds_tables(of) && of_types && list.iter().any(|value| !fits(of, value)) {
                    return Err(wrong(path, schema, value));
                }
                if holds_tables(of) {
                    for (i, value) in list.iter().enumerate() {
                        self.value(of, &format!("{path}[{i}]"), value, of_types)?;
                    }
                }
            }
            _ if of_types && !fits(schema, value) => return Err(wrong(path, schema, value)),
            _ => {}
        }
        Ok(())
    }
}

/// The error for a parameter of the body that stands in an object of it.
fn misplaced(path: &str, name: &str) -> ApiError {
    ApiError::invalid(
        path,
        format!("{path} stands at the wrong place: {name} is a parameter of the body itself"),
    )
}

/// Whether there are names to check inside a value of the schema.
fn holds_tables(schema: &Schema) -> bool {
    match schema {
        Schema::Table(_) | Schema::Options(_) => true,
        Schema::List(of, ..) => holds_tables(of),
        Schema::OneOf(all) => all.iter().any(holds_tables),
        _ => false,
    }
}

/// Whether a value has the JSON type of a schema, whatever its bounds.
fn has_type(schema: &Schema, value: &Value) -> bool {
    match schema {
        Schema::Any => true,
        Schema::Bool => value.is_boolean(),
        Schema::Integer(..) | Schema::Number(..) | Schema::Above(..) => value.is_number(),
        Schema::Text | Schema::Nonempty | Schema::Choice(_) => value.is_string(),
        Schema::List(of, ..) => {
            value.as_array().is_some_and(|list| list.first().is_none_or(|first| has_type(of, first)))
        }
        Schema::Map(_) | Schema::Table(_) | Schema::Options(_) => value.is_object(),
        Schema::OneOf(all) => all.iter().any(|schema| has_type(schema, value)),
    }
}

/// Whether a value is one that a schema allows. Names inside tables are not looked at.
pub(super) fn fits(schema: &Schema, value: &Value) -> bool {
    match *schema {
        Schema::Any => true,
        Schema::Bool => value.is_boolean(),
        Schema::Integer(min, max) => whole(value).is_some_and(|x| (min..=max).contains(&x)),
        Schema::Number(min, max) => value.as_f64().is_some_and(|x| (min..=max).contains(&x)),
        Schema::Above(min, max) => value.as_f64().is_some_and(|x| x > min && x <= max),
        Schema::Text => value.is_string(),
        Schema::Nonempty => value.as_str().is_some_and(|text| !text.is_empty()),
        Schema::Choice(all) => value.as_str().is_some_and(|text| all.contains(&text)),
        Schema::List(of, min, max) => value
            .as_array()
            .is_some_and(|list| (min..=max).contains(&list.len()) && list.iter().all(|at| fits(of, at))),
        Schema::Map(of) => value.as_object().is_some_and(|map| map.values().all(|at| fits(of, at))),
        Schema::Table(_) | Schema::Options(_) => value.is_object(),
        Schema::OneOf(all) => all.iter().any(|schema| fits(schema, value)),
    }
}

/// A whole number; a float without a fraction counts as one, as in `Fields::integer`.
fn whole(value: &Value) -> Option<i64> {
    let float = || value.as_f64().filter(|x| x.fract() == 0.0 && x.abs() < 9e15).map(|x| x as i64);
    value.as_i64().or_else(float)
}

/// The error for a value that a schema does not allow.
fn wrong(path: &str, schema: &Schema, value: &Value) -> ApiError {
    let message = format!("{path} must be {}, found {}", schema.words(), quote_value(value));
    ApiError::invalid(path, message)
}

/// The error for a parameter that would change the answer.
fn refusal(path: &str, value: &Value, plain: &[Plain], doc: &str) -> ApiError {
    let only: Vec<String> = plain.iter().map(|plain| plain.value().to_string()).collect();
    let only = if only.is_empty() { String::new() } else { format!(", only {} is", only.join(" or ")) };
    let message = format!("{path} = {} is not supported{only}. {doc}", quote_value(value));
    ApiError::invalid(path, message)
}
