//! Spoils bytes and JSON, by draws from a seed.
use crate::draws::Draws;
use serde_json::{Value, json};

/// Changes a few bytes: flipped bits, values that parsers trip over, pieces cut out, doubled or put
/// in, the end cut off.
pub fn bytes(draws: &mut Draws, bytes: &mut Vec<u8>) {
    const TRICKY: [u8; 14] = [0, 1, 0x7f, 0x80, 0xff, b'"', b'\\', b'{', b'}', b'[', b']', b',', b'-', b'9'];
    for _ in 0..=draws.below(3) {
        if bytes.is_empty() {
            bytes.push(0);
        }
        let at = draws.below(bytes.len());
        let len = draws.below(16).min(bytes.len() - at);
        match draws.below(6) {
            0 => bytes[at] ^= 1 << draws.below(8),
            1 => bytes[at] = *draws.pick(&TRICKY),
            2 => drop(bytes.drain(at..at + len)),
            3 => {
                let piece = bytes[at..at + len].to_vec();
                bytes.splice(at..at, piece);
            }
            4 => bytes.insert(at, draws.bits() as u8),
            _ => bytes.truncate(at),
        }
    }
}

/// The paths of keys and indices to the values of a JSON text, at most `max` of them.
fn paths(value: &Value, max: usize) -> Vec<String> {
    let mut found = vec![String::new()];
    let mut next = 0;
    while next < found.len() && found.len() < max {
        let at = found[next].clone();
        match value.pointer(&at) {
            Some(Value::Object(map)) => {
                let escaped = |key: &String| key.replace('~', "~0").replace('/', "~1");
                found.extend(map.keys().map(|key| format!("{at}/{}", escaped(key))));
            }
            Some(Value::Array(list)) => found.extend((0..list.len()).map(|i| format!("{at}/{i}"))),
            _ => {}
        }
        next += 1;
    }
    found
}

/// Changes one field: it gets another value or another field's value, or it is removed.
pub fn json(draws: &mut Draws, value: &mut Value) {
    let tricky = [
        json!(null),
        json!(true),
        json!(0),
        json!(1),
        json!(-1),
        json!(2),
        json!(3),
        json!(0.5),
        json!(1e308),
        json!(-1e-320),
        json!(u64::MAX),
        json!(i64::MIN),
        json!(1_u64 << 32),
        json!(""),
        json!("x"),
        json!("\u{0}"),
        json!("🙂"),
        json!([]),
        json!([1, 2]),
        json!({}),
        json!({"a": []}),
        json!("x".repeat(3000)),
        json!([[[[[[[[[[]]]]]]]]]]),
    ];
    let all = paths(value, 400);
    let path = draws.pick(&all).clone();
    if draws.below(4) == 0 {
        let (parent, key) = path.rsplit_once('/').unwrap_or_default();
        if let Some(Value::Object(map)) = value.pointer_mut(parent) {
            map.remove(key);
            return;
        }
    }
    let other = if draws.below(4) == 0 {
        value.pointer(draws.pick::<String>(&all)).cloned().unwrap_or_default()
    } else {
        draws.pick(&tricky).clone()
    };
    if let Some(field) = value.pointer_mut(&path) {
        *field = other;
    }
}
