//! Parameters in the query of a URL: their names and values, by which they are read, and told in
//! `/openapi.json` and docs/api.md.
use super::parameters::{Plain, Schema};
use crate::serve::error::ApiError;
use crate::serve::exchange::Exchange;
use crate::text::quote::quote;

/// A name that a query may have.
#[derive(Clone, Copy, Debug)]
pub struct QueryParameter {
    /// The name, as it stands before `=`.
    pub name: &'static str,
    /// The values that it takes.
    pub schema: Schema,
    /// The value that says the same as leaving it out, where there is one.
    pub default: Option<Plain>,
    /// What it does, in a sentence or two.
    pub doc: &'static str,
}

/// The whole number that the query has for a parameter; none where it is not given. The error names
/// the parameter and its bounds.
pub fn integer(exchange: &Exchange<'_>, parameter: &QueryParameter) -> Result<Option<u64>, ApiError> {
    exchange.query(parameter.name).map(|text| parsed(parameter, &text)).transpose()
}

/// A text as a whole number that a parameter takes: digits alone, no sign.
fn parsed(parameter: &QueryParameter, text: &str) -> Result<u64, ApiError> {
    let Schema::Integer(least, most) = parameter.schema else {
        return Err(ApiError::server(500, format!("{} is read as a number, and is none", parameter.name)));
    };
    let digits = text.bytes().all(|byte| byte.is_ascii_digit()).then_some(text);
    let number = digits.and_then(|digits| digits.parse::<i64>().ok());
    let number = number.filter(|number| (least..=most).contains(number));
    number.and_then(|number| u64::try_from(number).ok()).ok_or_else(|| {
        let QueryParameter { name, schema, .. } = parameter;
        ApiError::invalid(name, format!("{name} must be {}, found {}", schema.words(), quote(text)))
    })
}

/// Parameters as a table of Markdown, for documents.
#[cfg(test)]
pub(super) fn table(parameters: &[QueryParameter]) -> String {
    let mut out = "| in the query | values | meaning |\n|---|---|---|\n".to_owned();
    for QueryParameter { name, schema, default, doc } in parameters {
        let default = default.map(|plain| format!("; {} unless it is given", plain.value()));
        out.push_str(&format!("| `{name}` | {}{} | {doc} |\n", schema.words(), default.unwrap_or_default()));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_digits_within_bounds() {
        let of = QueryParameter { name: "n", schema: Schema::Integer(2, 10), default: None, doc: "" };
        assert_eq!((parsed(&of, "2").ok(), parsed(&of, "010").ok()), (Some(2), Some(10)));
        for text in ["", "1", "11", "+3", "-3", "3.0", " 3", "３", "99999999999999999999"] {
            let error = parsed(&of, text).unwrap_err();
            assert_eq!((error.status, error.param.as_deref()), (400, Some("n")), "{text}");
            assert!(error.message.starts_with("n must be an integer between 2 and 10, found "), "{text}");
        }
    }
}
