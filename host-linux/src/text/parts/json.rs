//! A JSON value, checked a character at a time and passed on as valid JSON text.
//!
//! Models write nearly JSON: a line break inside a string is escaped, half of a surrogate pair
//! becomes U+FFFD. All else that is not JSON is refused at the first character that shows it.

/// Arrays and objects inside each other, at most; `serde_json` reads no more than 127.
const DEPTH_MAX: usize = 100;

/// What a character did to a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fed {
    /// It was taken, and more must follow.
    More,
    /// It was taken, and the value is complete.
    Done,
    /// The value was complete before it; it was not taken.
    DoneBefore,
    /// It does not belong to a value and was not taken.
    Wrong,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// A value must begin.
    Value,
    /// A value or the end of an array.
    ValueOrEnd,
    /// A key, or the end of an object where `can_end`.
    Key {
        can_end: bool,
    },
    Colon,
    /// A value inside a container has ended.
    Next,
    Text,
    /// In a string, behind a backslash.
    Escape,
    /// Inside `\u`: digits so far.
    Unicode {
        digits: u8,
    },
    Number(Digits),
    /// The rest of `true`, `false` or `null`.
    Word(&'static str),
}

/// Where in a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Digits {
    Minus,
    Zero,
    Whole,
    Point,
    Fraction,
    Exponent,
    ExponentSign,
    Power,
}

impl Digits {
    /// The place behind `c`; none if the number cannot go on with it.
    fn next(self, c: char) -> Option<Self> {
        use Digits::*;
        match (self, c) {
            (Minus, '0') => Some(Zero),
            (Minus, '1'..='9') | (Whole, '0'..='9') => Some(Whole),
            (Zero | Whole, '.') => Some(Point),
            (Point | Fraction, '0'..='9') => Some(Fraction),
            (Zero | Whole | Fraction, 'e' | 'E') => Some(Exponent),
            (Exponent, '+' | '-') => Some(ExponentSign),
            (Exponent | ExponentSign | Power, '0'..='9') => Some(Power),
            _ => None,
        }
    }

    fn is_complete(self) -> bool {
        matches!(self, Self::Zero | Self::Whole | Self::Fraction | Self::Power)
    }
}

/// Checks one value, whatever its type.
#[derive(Debug)]
pub(super) struct Json {
    state: State,
    /// For each open container, whether it is an object.
    open: Vec<bool>,
    /// The string that is read is a key.
    is_key: bool,
    /// The code unit of the escape that is read.
    unit: u16,
    /// The first half of a surrogate pair, until the second comes.
    high: Option<u16>,
}

impl Json {
    /// A value is to come, without blanks before it.
    pub(super) fn new() -> Self {
        Self { state: State::Value, open: Vec::new(), is_key: false, unit: 0, high: None }
    }

    /// Takes a character, and writes what it stands for to `out`.
    pub(super) fn push(&mut self, c: char, out: &mut String) -> Fed {
        match self.state {
            State::Text => return self.text(c, out),
            State::Escape => return self.escape(c, out),
            State::Unicode { digits } => return self.unicode(c, digits, out),
            State::Number(at) => return self.number(at, c, out),
            State::Word(rest) => return self.word(rest, c, out),
            _ => {}
        }
        if matches!(c, ' ' | '\t' | '\n' | '\r') {
            if self.open.is_empty() {
                return Fed::Wrong;
            }
            out.push(c);
            return Fed::More;
        }
        match (self.state, c) {
            (State::ValueOrEnd, ']') | (State::Key { can_end: true }, '}') => self.close(c, out),
            (State::Key { .. }, '"') => {
                self.is_key = true;
                self.enter(State::Text, c, out)
            }
            (State::Colon, ':') => self.enter(State::Value, c, out),
            (State::Next, ',') => {
                let is_object = self.open.last() == Some(&true);
                let next = if is_object { State::Key { can_end: false } } else { State::Value };
                self.enter(next, c, out)
            }
            (State::Next, '}') if self.open.last() == Some(&true) => self.close(c, out),
            (State::Next, ']') if self.open.last() == Some(&false) => self.close(c, out),
            (State::Value | State::ValueOrEnd, _) => self.value(c, out),
            _ => Fed::Wrong,
        }
    }

    fn enter(&mut self, state: State, c: char, out: &mut String) -> Fed {
        self.state = state;
        out.push(c);
        Fed::More
    }

    fn value(&mut self, c: char, out: &mut String) -> Fed {
        let state = match c {
            '{' | '[' if self.open.len() == DEPTH_MAX => return Fed::Wrong,
            '{' => {
                self.open.push(true);
                State::Key { can_end: true }
            }
            '[' => {
                self.open.push(false);
                State::ValueOrEnd
            }
            '"' => {
                self.is_key = false;
                State::Text
            }
            '-' => State::Number(Digits::Minus),
            '0' => State::Number(Digits::Zero),
            '1'..='9' => State::Number(Digits::Whole),
            't' => State::Word("rue"),
            'f' => State::Word("alse"),
            'n' => State::Word("ull"),
            _ => return Fed::Wrong,
        };
        self.enter(state, c, out)
    }

    fn close(&mut self, c: char, out: &mut String) -> Fed {
        out.push(c);
        self.open.pop();
        self.ended()
    }

    /// A value has ended.
    fn ended(&mut self) -> Fed {
        self.state = State::Next;
        if self.open.is_empty() { Fed::Done } else { Fed::More }
    }

    fn text(&mut self, c: char, out: &mut String) -> Fed {
        if c == '\\' {
            self.state = State::Escape;
            return Fed::More;
        }
        self.flush_half(out);
        if c == '"' {
            out.push(c);
            if self.is_key {
                self.state = State::Colon;
                return Fed::More;
            }
            return self.ended();
        }
        push_escaped(c, out);
        Fed::More
    }

    fn escape(&mut self, c: char, out: &mut String) -> Fed {
        match c {
            'u' => {
                self.unit = 0;
                self.state = State::Unicode { digits: 0 };
            }
            '"' | '\\' | '/' | 'b' | 'f' | 'n' | 'r' | 't' => {
                self.flush_half(out);
                out.push('\\');
                out.push(c);
                self.state = State::Text;
            }
            _ => return Fed::Wrong,
        }
        Fed::More
    }

    fn unicode(&mut self, c: char, digits: u8, out: &mut String) -> Fed {
        let Some(digit) = c.to_digit(16) else { return Fed::Wrong };
        self.unit = self.unit << 4 | digit as u16;
        if digits < 3 {
            self.state = State::Unicode { digits: digits + 1 };
            return Fed::More;
        }
        self.state = State::Text;
        match (self.unit, self.high.take()) {
            (low @ 0xdc00..=0xdfff, Some(high)) => push_units(&[high, low], out),
            (0xdc00..=0xdfff, None) => push_units(&[0xfffd], out),
            (unit, before) => {
                self.high = before;
                self.flush_half(out);
                if (0xd800..=0xdbff).contains(&unit) {
                    self.high = Some(unit);
                } else {
                    push_units(&[unit], out);
                }
            }
        }
        Fed::More
    }

    /// A first half of a pair whose second half does not come.
    fn flush_half(&mut self, out: &mut String) {
        if self.high.take().is_some() {
            push_units(&[0xfffd], out);
        }
    }

    fn number(&mut self, at: Digits, c: char, out: &mut String) -> Fed {
        if let Some(next) = at.next(c) {
            return self.enter(State::Number(next), c, out);
        }
        if !at.is_complete() {
            return Fed::Wrong;
        }
        if self.ended() == Fed::Done {
            return Fed::DoneBefore;
        }
        self.push(c, out)
    }

    fn word(&mut self, rest: &'static str, c: char, out: &mut String) -> Fed {
        if !rest.starts_with(c) {
            return Fed::Wrong;
        }
        out.push(c);
        if rest.len() == 1 {
            return self.ended();
        }
        self.state = State::Word(&rest[1..]);
        Fed::More
    }
}

/// A text that is one value and nothing else, as valid JSON.
pub(super) fn whole(text: &str) -> Option<String> {
    let (mut json, mut out) = (Json::new(), String::new());
    let mut rest = text.len();
    // A blank ends a number.
    for c in text.chars().chain([' ']) {
        match json.push(c, &mut out) {
            Fed::More => rest = rest.saturating_sub(c.len_utf8()),
            Fed::Done => return (rest == c.len_utf8()).then_some(out),
            Fed::DoneBefore => return (rest == 0).then_some(out),
            Fed::Wrong => return None,
        }
    }
    None
}

/// Writes a character as it stands inside a JSON string.
pub(super) fn push_escaped(c: char, out: &mut String) {
    match c {
        '"' => out.push_str("\\\""),
        '\\' => out.push_str("\\\\"),
        '\n' => out.push_str("\\n"),
        '\r' => out.push_str("\\r"),
        '\t' => out.push_str("\\t"),
        c if u32::from(c) < 0x20 => push_units(&[c as u16], out),
        c => out.push(c),
    }
}

/// Writes UTF-16 code units as escapes.
fn push_units(units: &[u16], out: &mut String) {
    for unit in units {
        out.push_str(&format!("\\u{unit:04x}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde::de::IgnoredAny;

    /// What is written of a text, and how many of its characters were taken.
    fn read(text: &str) -> (String, usize, Fed) {
        let (mut json, mut out) = (Json::new(), String::new());
        for (count, c) in text.chars().enumerate() {
            match json.push(c, &mut out) {
                Fed::More => {}
                Fed::Done => return (out, count + 1, Fed::Done),
                other => return (out, count, other),
            }
        }
        (out, text.chars().count(), Fed::More)
    }

    #[test]
    fn values_are_passed_on_as_they_are() {
        for text in [
            r#"{"a": [1, -2.5e+3, true], "b": {"c": null, "é\n\u00e9\ud83d\ude42": "x"}, "d": []}"#,
            "{}",
            "[ ]",
            r#""""#,
            "false",
        ] {
            assert_eq!(read(text), (text.to_owned(), text.chars().count(), Fed::Done));
        }
        assert_eq!(read("12,"), ("12".to_owned(), 2, Fed::DoneBefore));
    }

    #[test]
    fn what_is_no_json_is_refused_where_it_begins() {
        for (text, taken) in [
            ("{'a'", 1),
            ("{\"a\" 1", 5),
            ("{\"a\": 01}", 7),
            ("[1,]", 3),
            ("[1}", 2),
            ("{\"a\": None", 6),
            ("{\"a\": nul}", 9),
            ("{\"a\": 1.}", 8),
            ("\"\\x", 2),
            (" 1", 0),
            ("{,", 1),
        ] {
            let (_, count, fed) = read(text);
            assert_eq!((count, fed), (taken, Fed::Wrong), "{text}");
        }
        assert_eq!(read(&"[".repeat(101)).1, DEPTH_MAX);
    }

    #[test]
    fn a_whole_text_is_one_value() {
        for text in ["12", "-1.5", "{}", "[1, {\"a\": \"é\"}]", "true", "\"\""] {
            assert_eq!(whole(text).as_deref(), Some(text));
        }
        for text in ["", "01", "1 2", "{}x", "{", "tru", "é", "1.", " 1", "[] "] {
            assert_eq!(whole(text), None, "{text}");
        }
    }

    #[test]
    fn what_models_write_in_strings_is_mended() {
        assert_eq!(read("\"a\n\u{1}\"").0, r#""a\n\u0001""#);
        assert_eq!(
            read(r#""\ud83d\ud83d\ude42\ude42\ud83dx\ud83d""#).0,
            r#""\ufffd\ud83d\ude42\ufffd\ufffdx\ufffd""#
        );
        assert_eq!(read(r#""\ud83d\n""#).0, r#""\ufffd\n""#);
    }

    proptest! {
        #[test]
        fn what_is_complete_is_json(text in "[\\[{][\\[\\]{}:,\"a\\\\u0d8e1.+\\-\n truefalsn]{0,40}") {
            let (out, _, fed) = read(&text);
            if matches!(fed, Fed::Done | Fed::DoneBefore) {
                prop_assert!(serde_json::from_str::<IgnoredAny>(&out).is_ok(), "{} of {}", out, text);
            }
        }

        #[test]
        fn what_is_json_is_complete(key in ".{0,8}", text in ".{0,8}", number: f64) {
            let value = serde_json::json!([{key: text}, number, {}, [true, null, -1]]).to_string();
            prop_assert_eq!(read(&value), (value.clone(), value.chars().count(), Fed::Done));
        }
    }
}
