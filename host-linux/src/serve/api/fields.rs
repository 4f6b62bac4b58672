//! The fields of a JSON object, read as the types that an endpoint expects. Every error names its
//! field, what was expected and what was found.
use super::json_limits;
use super::limits::RequestBounds;
use crate::serve::error::ApiError;
use crate::text::quote::quote_value;
use serde_json::{Map, Value};

/// The object that a body within bounds is; an error says what else it is. A name that is given
/// twice has the last of its values, as in Python's `json` and JavaScript.
pub fn object(body: &[u8], bounds: &RequestBounds) -> Result<Map<String, Value>, ApiError> {
    json_limits::check(body, bounds)?;
    let value: Value = serde_json::from_slice(body)
        .map_err(|error| ApiError::invalid("", format!("the body is not JSON: {error}")))?;
    match value {
        Value::Object(map) => Ok(map),
        _ => Err(ApiError::invalid("", "the body must be a JSON object")),
    }
}

/// The fields of an object. A field that is null counts as absent.
#[derive(Clone, Copy, Debug)]
pub struct Fields<'a>(&'a Map<String, Value>);

impl<'a> Fields<'a> {
    /// The fields of `map`.
    pub fn new(map: &'a Map<String, Value>) -> Self {
        Self(map)
    }

    /// The names of all fields, those that are null among them, in the order of the body.
    pub fn names(&self) -> impl Iterator<Item = &'a str> {
        self.0.keys().map(String::as_str)
    }

    /// A field of any type.
    pub fn get(&self, name: &str) -> Option<&'a Value> {
        self.0.get(name).filter(|value| !value.is_null())
    }

    /// A number, rounded to f32.
    pub fn float(&self, name: &str) -> Result<Option<f32>, ApiError> {
        let Some(value) = self.get(name) else { return Ok(None) };
        let number = value.as_f64().filter(|x| x.is_finite());
        number.map(|x| Some(x as f32)).ok_or_else(|| {
            ApiError::invalid(name, format!("{name} must be a number, found {}", quote_value(value)))
        })
    }

    /// An integer between `min` and `max`, both allowed. A float without a fraction (`16.0`) counts
    /// as an integer, because some clients send every number that way.
    pub fn integer(&self, name: &str, min: i64, max: i64) -> Result<Option<i64>, ApiError> {
        let Some(value) = self.get(name) else { return Ok(None) };
        let whole = |x: f64| (x.fract() == 0.0 && x.abs() < 9e15).then_some(x as i64);
        let found = value.as_i64().or_else(|| value.as_f64().and_then(whole));
        found.filter(|x| (min..=max).contains(x)).map(Some).ok_or_else(|| {
            let found = quote_value(value);
            ApiError::invalid(
                name,
                format!("{name} must be an integer between {min} and {max}, found {found}"),
            )
        })
    }

    /// A truth value; an absent one is false.
    pub fn flag(&self, name: &str) -> Result<bool, ApiError> {
        let Some(value) = self.get(name) else { return Ok(false) };
        value.as_bool().ok_or_else(|| {
            ApiError::invalid(name, format!("{name} must be true or false, found {}", quote_value(value)))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::limits::tests::BOUNDS;
    use super::*;
    use serde_json::json;

    fn object(body: &[u8]) -> Result<Map<String, Value>, ApiError> {
        super::object(body, &BOUNDS)
    }

    fn wrong<T: std::fmt::Debug>(result: Result<T, ApiError>) -> (Option<String>, String) {
        let error = result.unwrap_err();
        assert_eq!(error.status, 400);
        (error.param, error.message)
    }

    #[test]
    fn fields_are_read_as_their_types() {
        let map = object(br#"{"a": 16.0, "b": null, "c": true, "d": 0.5, "e": "x"}"#).unwrap();
        let fields = Fields::new(&map);
        assert_eq!(fields.integer("a", 0, 16).unwrap(), Some(16));
        assert_eq!((fields.integer("b", 0, 1).unwrap(), fields.integer("none", 0, 1).unwrap()), (None, None));
        assert_eq!((fields.flag("c").unwrap(), fields.flag("b").unwrap()), (true, false));
        assert_eq!(fields.float("d").unwrap(), Some(0.5));
        assert_eq!(fields.get("e"), Some(&json!("x")));
        assert_eq!(fields.names().collect::<Vec<_>>(), ["a", "b", "c", "d", "e"]);
    }

    #[test]
    fn the_last_of_two_values_counts_and_wild_numbers_are_refused() {
        assert_eq!(object(br#"{"a": 1, "b": 2, "a": 3}"#).unwrap()["a"], 3);
        for number in ["1e999999".to_owned(), "9".repeat(10_000), "0.".to_owned() + &"0".repeat(10_000)] {
            let (param, message) = wrong(object(format!("{{\"a\": {number}}}").as_bytes()));
            assert!(param.is_none() && message.starts_with("the body ") && message.len() < 100, "{message}");
        }
        let body = format!("{{\"a\": {}}}", "[],".repeat(5_000_000));
        assert!(wrong(object(body.as_bytes())).1.contains("JSON values"));
    }

    #[test]
    fn an_error_names_the_field_and_what_was_found() {
        let map = object(br#"{"a": 16.5, "b": 17, "c": 1, "e": "x"}"#).unwrap();
        let fields = Fields::new(&map);
        for (result, name, found) in [
            (wrong(fields.integer("a", 0, 16)), "a", "16.5"),
            (wrong(fields.integer("b", 0, 16)), "b", "17"),
            (wrong(fields.flag("c")), "c", "1"),
            (wrong(fields.float("e")), "e", "\"x\""),
        ] {
            assert_eq!(result.0.as_deref(), Some(name));
            assert!(
                result.1.starts_with(name) && result.1.ends_with(&format!("found {found}")),
                "{result:?}"
            );
        }
        let long = json!({"a": "x".repeat(8 << 20)});
        let message = wrong(Fields::new(long.as_object().unwrap()).integer("a", 0, 1)).1;
        assert!(message.len() < 200 && message.ends_with("xx… (8388610 bytes)"), "{message}");
        assert_eq!(wrong(object(b"[]")), (None, "the body must be a JSON object".to_owned()));
        assert!(wrong(object(b"{")).1.starts_with("the body is not JSON: "));
    }
}
