//! A fingerprint as a condition: whoever needs the bits of one model asks for it, and no other
//! model answers.
use super::fields::Fields;
use crate::serve::error::{ApiError, Retry};
use crate::text::quote::{quote, quote_value};
use serde_json::Value;

/// The condition at the top of a body, which is read for every dialect.
pub const NAME: &str = "system_fingerprint";
/// The condition of what is resumed.
const OF_RESUME: &str = "resume.fingerprint";

/// Refuses a body that is for a model of another fingerprint than `own`.
pub fn check(fields: &Fields<'_>, own: &str) -> Result<(), ApiError> {
    let resume = fields.get("resume").and_then(Value::as_object);
    let of_resume = resume.and_then(|map| Fields::new(map).get("fingerprint"));
    for (name, value) in [(NAME, fields.get(NAME)), (OF_RESUME, of_resume)] {
        let Some(value) = value else { continue };
        let asked = value.as_str().ok_or_else(|| {
            let message = format!("{name} must be a string, found {}", quote_value(value));
            ApiError::invalid(name, message)
        })?;
        if asked != own {
            let asked = quote(asked);
            let message = format!("{name} is {asked}, but here {own} is served, whose answers are others");
            let error = ApiError::invalid(name, message);
            return Err(ApiError {
                status: 409,
                code: Some("fingerprint_mismatch"),
                retry: Retry::Never,
                ..error
            });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn error(body: &Value) -> Option<ApiError> {
        check(&Fields::new(body.as_object().expect("an object")), "vb-1").err()
    }

    #[test]
    fn another_fingerprint_is_a_conflict_and_is_not_tried_again() {
        for (body, param) in [
            (json!({"system_fingerprint": "vb-2"}), NAME),
            (json!({"resume": {"fingerprint": "vb-2"}}), OF_RESUME),
            (json!({"system_fingerprint": "vb-1", "resume": {"fingerprint": "vb-2"}}), OF_RESUME),
        ] {
            let error = error(&body).expect("it is another");
            assert_eq!((error.status, error.code), (409, Some("fingerprint_mismatch")));
            assert_eq!((error.param.as_deref(), error.retry), (Some(param), Retry::Never));
            assert!(error.message.contains("vb-2") && error.message.contains("vb-1"), "{error:?}");
        }
        assert_eq!(error(&json!({"system_fingerprint": 1})).expect("it is no string").status, 400);
        for body in [
            json!({}),
            json!({"system_fingerprint": null, "resume": {"fingerprint": null}}),
            json!({"system_fingerprint": "vb-1", "resume": {"fingerprint": "vb-1"}}),
            json!({"resume": 1}),
        ] {
            assert_eq!(error(&body), None, "{body}");
        }
    }
}
