//! Foreign text in errors and logs: short, on one line, without characters that a terminal obeys.
//!
//! Whatever a client or a file wrote goes through here before it is quoted, so that a value of
//! megabytes neither comes back whole nor stays in memory.
use std::fmt::{self, Display, Write};

/// Characters of a quotation at most, the note of its length included.
pub const QUOTE_MAX: usize = 100;

/// Text as errors quote it: at most [`QUOTE_MAX`] characters.
pub fn quote(text: &str) -> String {
    shorten(text, QUOTE_MAX)
}

/// A value, such as one of JSON, as errors quote it. Of its text no more is kept than is shown.
pub fn quote_value(value: &dyn Display) -> String {
    let mut beginning = Beginning { kept: String::new(), bytes: 0 };
    // It refuses nothing; a value that cannot be shown is quoted as far as it goes.
    let _ = write!(beginning, "{value}");
    cut(&beginning.kept, beginning.bytes, QUOTE_MAX)
}

/// Text of at most `max` characters: whole if it fits, else its beginning and how long it is.
/// Control characters are escaped.
pub fn shorten(text: &str, max: usize) -> String {
    cut(text, text.len(), max)
}

/// What was written, as far as a quotation may show it.
struct Beginning {
    kept: String,
    /// Bytes that were written in all.
    bytes: usize,
}

impl Write for Beginning {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.bytes += text.len();
        // One character more than is shown tells that the text is longer.
        let room = (4 * (QUOTE_MAX + 1)).saturating_sub(self.kept.len());
        let mut end = room.min(text.len());
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        self.kept.push_str(&text[..end]);
        Ok(())
    }
}

/// Shortens a text of `bytes` bytes that begins with `beginning`.
fn cut(beginning: &str, bytes: usize, max: usize) -> String {
    let note = format!("… ({bytes} bytes)");
    let room = max.saturating_sub(note.chars().count());
    let (mut out, mut count, mut end) = (String::new(), 0, 0);
    for c in beginning.chars() {
        let start = out.len();
        push_visible(&mut out, c);
        count += out[start..].chars().count();
        if count > max {
            out.truncate(end);
            return out + &note;
        }
        if count <= room {
            end = out.len();
        }
    }
    out
}

/// Adds a character; one that has no place in a line, or turns its direction, is escaped.
fn push_visible(out: &mut String, c: char) {
    match c {
        '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}' => {
            out.extend(c.escape_unicode());
        }
        _ if c.is_control() => out.extend(c.escape_default()),
        _ => out.push(c),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    #[test]
    fn short_text_is_quoted_whole() {
        assert_eq!(quote("a \"é\" 日本"), "a \"é\" 日本");
        assert_eq!(quote(&"x".repeat(QUOTE_MAX)), "x".repeat(QUOTE_MAX));
        assert_eq!(quote_value(&json!({"a": ["x", 1.5]})), r#"{"a":["x",1.5]}"#);
        assert_eq!(quote("a\nb\r\u{0}\u{1b}[31m\u{202e}c"), "a\\nb\\r\\u{0}\\u{1b}[31m\\u{202e}c");
    }

    #[test]
    fn long_text_is_told_by_its_beginning_and_its_length() {
        let long = "y".repeat(8 << 20);
        for quoted in [quote(&long), quote_value(&long)] {
            assert!(quoted.starts_with("yyyy") && quoted.ends_with("y… (8388608 bytes)"), "{quoted}");
            assert_eq!(quoted.chars().count(), QUOTE_MAX);
            assert!(quoted.capacity() < 1000, "nothing of the rest is kept");
        }
        let value = json!({"a": long});
        assert!(quote_value(&value).starts_with("{\"a\":\"yyy"));
        assert_eq!(shorten("日本語日本語日本語", 8), "… (27 bytes)", "a note comes whole");
    }

    proptest! {
        #[test]
        fn a_quotation_is_a_short_line(text in "\\PC{0,30}[a\n\u{1b}日🙂\u{2028}]{0,200}") {
            let quoted = quote(&text);
            prop_assert!(quoted.chars().count() <= QUOTE_MAX);
            prop_assert!(!quoted.chars().any(char::is_control));
            prop_assert_eq!(quote_value(&text), quoted);
        }
    }
}
