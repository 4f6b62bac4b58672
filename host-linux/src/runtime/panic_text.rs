//! What a panic says, as one line that may be shown to an operator.
use std::any::Any;

/// Characters of a panic's message that are told, at most.
const CHARS_MAX: usize = 200;

/// The message of a panic by its payload.
pub fn panic_text(payload: &(dyn Any + Send)) -> String {
    let message = payload.downcast_ref::<&str>().copied();
    let message = message.or_else(|| payload.downcast_ref::<String>().map(String::as_str));
    bounded(message.unwrap_or("a panic without a message"))
}

/// A message in one line, bounded. What the standard library quotes of a string that was cut in the
/// wrong place may be a client's text, and is left out.
fn bounded(message: &str) -> String {
    let (message, is_cut) =
        message.split_once(" of `").map_or((message, false), |(before, _)| (before, true));
    let mut text: String = message.chars().take(CHARS_MAX).flat_map(escaped).collect();
    if is_cut || message.chars().nth(CHARS_MAX).is_some() {
        text.push_str(" …");
    }
    text
}

/// A character as it may stand in a line.
fn escaped(c: char) -> impl Iterator<Item = char> {
    let (plain, escaped) = if c.is_control() { (None, Some(c.escape_default())) } else { (Some(c), None) };
    plain.into_iter().chain(escaped.into_iter().flatten())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_one_bounded_line_without_quoted_text() {
        assert_eq!(panic_text(&"a\nb\u{1b}[1m"), "a\\nb\\u{1b}[1m");
        assert_eq!(panic_text(&"x".repeat(10_000)).chars().count(), CHARS_MAX + 2);
        assert_eq!(panic_text(&3_u8), "a panic without a message");
        let secret = "überaus geheim";
        let payload = std::panic::catch_unwind(|| secret[..1].len()).expect_err("it is no boundary");
        let text = panic_text(&*payload);
        assert!(
            !text.contains("geheim") && text.contains("byte index 1") || text.contains("end byte index 1"),
            "{text}"
        );
        assert!(!text.contains("geheim"), "{text}");
    }
}
