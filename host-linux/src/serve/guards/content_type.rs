//! Which `Content-Type` a body may have.
//!
//! A page in a browser may post to any address without asking first, as long as its body claims to
//! be a form or plain text, or claims nothing. A body that claims to be JSON makes the browser ask
//! (a preflight), so demanding the claim keeps such pages out.

/// Whether the value of a `Content-Type` header says that the body is a form with files. Browsers
/// send those without asking, so where it is taken the origin of a page must be checked.
pub fn is_form(value: &str) -> bool {
    let essence = value.split(';').next().unwrap_or_default().trim();
    essence.eq_ignore_ascii_case("multipart/form-data")
}

/// Whether the value of a `Content-Type` header says JSON: `application/json`, or a type that ends
/// in `+json`, with any parameters.
pub fn is_json(value: &str) -> bool {
    let essence = value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let Some((kind, name)) = essence.split_once('/') else { return false };
    let is_token = |text: &str| {
        let known = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
        !text.is_empty() && text.bytes().all(known)
    };
    let says_json = (kind == "application" && name == "json") || name.ends_with("+json");
    says_json && is_token(kind) && is_token(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_by_any_of_its_names() {
        for value in [
            "application/json",
            "Application/JSON",
            "application/json; charset=utf-8",
            "application/json;charset=UTF-8",
            " application/json ",
            "application/vnd.api+json",
            "application/problem+json; charset=utf-8",
        ] {
            assert!(is_json(value), "{value}");
        }
    }

    #[test]
    fn forms_with_files_say_so() {
        assert!(is_form("multipart/form-data; boundary=x") && is_form("Multipart/Form-Data"));
        assert!(!is_form("multipart/mixed; boundary=x") && !is_form("application/json") && !is_form(""));
    }

    #[test]
    fn what_a_browser_sends_without_asking_is_not_json() {
        for value in [
            "",
            "text/plain",
            "text/plain; charset=application/json",
            "text/plain;application/json",
            "application/x-www-form-urlencoded",
            "multipart/form-data; boundary=application/json",
            "application/json, text/plain",
            "text/plain, application/json",
            "application/jsonp",
            "application/ json",
            "json",
            "/json",
            "application/",
            "+json",
            "text/plain +json",
        ] {
            assert!(!is_json(value), "{value}");
        }
    }
}
