//! A look at a body's bytes before a JSON tree is built of them.
//!
//! A tree takes far more memory than its text: each value of an array of `[],[],…` costs 72 bytes
//! and more for 3 bytes of text. So depth and values are counted first, in one pass without
//! allocating. The pass trusts nothing and judges nothing else: what is no JSON passes it as long
//! as it is small, and the parser refuses it.
//!
//! Some strings of a body are JSON too, such as the arguments of a call; they are looked at alike.
use super::limits::RequestBounds;
use crate::serve::error::ApiError;

/// Bytes of a number. The longest that a client has reason to write, an f64 with all its digits,
/// has 24.
const NUMBER_BYTES_MAX: usize = 256;

/// Refuses a body that has too many values, too many inside each other, or an endless number.
pub(super) fn check(body: &[u8], bounds: &RequestBounds) -> Result<(), ApiError> {
    count(body, 0, bounds).map(drop)
}

/// Refuses texts inside a body, at the parameter `param`, which are to be read as JSON, for what
/// all of them together have, as a body is refused.
pub(super) fn check_inner<'t>(
    param: &str,
    texts: impl IntoIterator<Item = &'t str>,
    bounds: &RequestBounds,
) -> Result<(), ApiError> {
    let sum = texts.into_iter().try_fold(0, |nodes, text| count(text.as_bytes(), nodes, bounds));
    sum.map(drop).map_err(|error| ApiError { param: Some(param.to_owned()), ..error })
}

/// Counts the values and names of a text on from those that were counted before.
fn count(body: &[u8], before: usize, bounds: &RequestBounds) -> Result<usize, ApiError> {
    let RequestBounds { json_depth, json_nodes, .. } = bounds;
    let (mut depth, mut number_bytes, mut at) = (0_usize, 0, 0);
    // A value or a name comes first, after a bracket, after a comma, or after a colon.
    let mut nodes = before + 1;
    while let Some(byte) = body.get(at) {
        at += 1;
        match byte {
            b'0'..=b'9' | b'+' | b'-' | b'.' | b'e' | b'E' => {
                number_bytes += 1;
                if number_bytes > NUMBER_BYTES_MAX {
                    let message = format!("the body has a number of more than {NUMBER_BYTES_MAX} digits");
                    return Err(ApiError::invalid("", message));
                }
                continue;
            }
            b'"' => at = string_end(body, at),
            b',' | b':' => nodes += 1,
            b'[' | b'{' => {
                nodes += 1;
                depth += 1;
                if depth > json_depth.max {
                    let message =
                        format!("the body has more than {} JSON values inside each other", json_depth.max);
                    return Err(json_depth.refuse("", &message));
                }
            }
            b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        number_bytes = 0;
        if nodes > json_nodes.max {
            let message = format!("the body has more than {} JSON values and names", json_nodes.max);
            return Err(json_nodes.refuse("", &message));
        }
    }
    Ok(nodes)
}

/// The place after a string that begins at `at`, behind its quotation mark.
fn string_end(body: &[u8], mut at: usize) -> usize {
    while let Some(byte) = body.get(at) {
        match byte {
            b'"' => return at + 1,
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
    at
}

#[cfg(test)]
mod tests {
    use super::super::limits::tests::BOUNDS;
    use super::*;
    use proptest::prelude::*;
    use serde_json::Value;

    /// The name of the budget that a body would spend.
    fn spent(body: &str, depth: usize, nodes: usize) -> Option<&'static str> {
        let mut bounds = BOUNDS;
        (bounds.json_depth.max, bounds.json_nodes.max) = (depth, nodes);
        check(body.as_bytes(), &bounds).err().map(|error| {
            assert_eq!((error.status, error.param), (400, None));
            assert!(error.message.len() < 100, "{}", error.message);
            error.budget.unwrap_or("number")
        })
    }

    #[test]
    fn depth_values_and_digits_are_bounded() {
        let deep = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
        assert_eq!((spent(&deep(9), 9, 100), spent(&deep(10), 9, 100)), (None, Some("max-json-depth")));
        assert_eq!(spent("{\"[[[[\": \"a\\\"{{{{\\\\\"}", 1, 100), None, "brackets in strings are none");
        let wide = |count: usize| format!("[{}0]", "[],".repeat(count));
        assert_eq!((spent(&wide(49), 2, 100), spent(&wide(50), 2, 100)), (None, Some("max-json-nodes")));
        assert_eq!(spent(&wide(5_000_000), 2, 100), Some("max-json-nodes"));
        let digits = |count: usize| format!("{{\"a\": -0.{}}}", "1".repeat(count));
        assert_eq!((spent(&digits(253), 9, 99), spent(&digits(254), 9, 99)), (None, Some("number")));
        for broken in ["", "\"", "\"\\", "]]]]", "{\"a", "nul"] {
            assert_eq!(spent(broken, 9, 99), None, "{broken} is for the parser to refuse");
        }
    }

    #[test]
    fn texts_inside_a_body_are_bounded_together() {
        let mut bounds = BOUNDS;
        (bounds.json_depth.max, bounds.json_nodes.max) = (2, 6);
        let check = |texts: &[&str]| check_inner("messages", texts.iter().copied(), &bounds);
        assert!(check(&["{\"a\": 1}", "[[]]", ""]).is_ok());
        for texts in [&["[1,2]", "[1,2,3]"][..], &["[1,2,3,4,5,6]"], &["[[[1]]]"]] {
            let error = check(texts).unwrap_err();
            assert_eq!((error.status, error.param.as_deref()), (400, Some("messages")), "{texts:?}");
            assert!(error.budget.is_some(), "{texts:?}");
        }
    }

    /// Values and names in a tree, and its depth.
    fn size(value: &Value) -> (usize, usize) {
        let (inner, names): (Vec<&Value>, usize) = match value {
            Value::Array(list) => (list.iter().collect(), 0),
            Value::Object(map) => (map.values().collect(), map.len()),
            _ => return (1, 0),
        };
        let sizes = inner.into_iter().map(size);
        let (nodes, depth) = sizes.fold((0, 0), |all, one| (all.0 + one.0, all.1.max(one.1)));
        (1 + names + nodes, depth + 1)
    }

    fn tree() -> impl Strategy<Value = Value> {
        let text = "[\\[\\]{},:\"a1 \\\\.e-]{0,6}";
        let leaf =
            prop_oneof![Just(Value::Null), any::<f32>().prop_map(Value::from), text.prop_map(Value::from)];
        leaf.prop_recursive(6, 40, 4, move |inner| {
            let map = prop::collection::btree_map(text, inner.clone(), 0..4);
            let list = prop::collection::vec(inner, 0..4).prop_map(Value::from);
            prop_oneof![list, map.prop_map(|map| Value::Object(map.into_iter().collect()))]
        })
    }

    proptest! {
        #[test]
        fn no_tree_has_more_than_was_counted(value in tree()) {
            let body = value.to_string();
            let (nodes, depth) = size(&value);
            prop_assert!(spent(&body, 127, nodes - 1).is_some() || nodes == 1);
            if depth > 0 {
                prop_assert_eq!(spent(&body, depth - 1, 1000), Some("max-json-depth"));
            }
            prop_assert_eq!(spent(&body, depth.max(1), 1000), None);
        }
    }
}
