//! `GET /version`: which program answers, and where its source is. The AGPL's section 13 has this
//! offered to everybody who uses it over a network.
use crate::serve::error::ApiError;
use crate::serve::exchange::Exchange;
use serde_json::{Map, Value, json};

/// The commit that was built, where whoever builds says it in this variable.
const COMMIT: Option<&str> = option_env!("VERBATIM_COMMIT");
/// Where the source is kept; empty where the package does not say it.
const SOURCE: &str = env!("CARGO_PKG_REPOSITORY");

/// Answers with the name of the program, its version and its licence, and with the commit and the
/// place of its source as far as they are known.
pub fn handle(exchange: &mut Exchange<'_>) -> Result<(), ApiError> {
    exchange.send_json(200, &body(COMMIT, SOURCE), &[]);
    Ok(())
}

fn body(commit: Option<&str>, source: &str) -> Value {
    let mut body = Map::new();
    body.insert("name".to_owned(), json!(env!("CARGO_PKG_NAME")));
    body.insert("version".to_owned(), json!(env!("CARGO_PKG_VERSION")));
    body.insert("license".to_owned(), json!(env!("CARGO_PKG_LICENSE")));
    for (name, value) in [("commit", commit), ("source", Some(source))] {
        if let Some(value) = value.filter(|value| !value.is_empty()) {
            body.insert(name.to_owned(), json!(value));
        }
    }
    Value::Object(body)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_known_is_not_said() {
        let all = body(Some("0123abc"), "https://example.org/verbatim");
        assert_eq!(
            (&all["commit"], &all["source"]),
            (&json!("0123abc"), &json!("https://example.org/verbatim"))
        );
        assert_eq!(all["license"], "AGPL-3.0-or-later");
        let names: Vec<String> = body(Some(""), "").as_object().expect("an object").keys().cloned().collect();
        assert_eq!(names, ["name", "version", "license"]);
    }
}
