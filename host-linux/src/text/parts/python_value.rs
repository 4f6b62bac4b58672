//! A Python literal, a character at a time, as JSON text.
//!
//! Strings (also with three quotes), numbers, `True`, `False`, `None`, lists, tuples and
//! dictionaries with keys that are strings. JSON's `true`, `false` and `null` are let through.
use super::json::{Fed, push_escaped};
use super::machine::is_blank;

/// Containers inside each other, at most.
const DEPTH_MAX: usize = 100;
/// Characters of a number or a word at most.
const WORD_MAX: usize = 64;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Open {
    List,
    Tuple,
    Dictionary,
}

impl Open {
    fn closing(self) -> char {
        match self {
            Self::List => ']',
            Self::Tuple => ')',
            Self::Dictionary => '}',
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// A value (or a key) must begin, or the container may end.
    Value {
        can_end: bool,
    },
    /// Behind a key of a dictionary.
    Colon,
    /// Behind a value in a container.
    Next,
    /// Behind the quote that opened a string.
    Quote,
    /// Behind two quotes: a string without a character, or one with three quotes begins.
    SecondQuote,
    Text,
    /// In a string, behind a backslash.
    Escape,
    /// In an escape of a character's number: digits that must follow.
    Code {
        left: u8,
    },
    /// A number or a word.
    Word,
}

/// Reads one literal, whatever its type.
#[derive(Debug)]
pub(super) struct PythonValue {
    state: State,
    open: Vec<Open>,
    quote: char,
    is_triple: bool,
    /// Quotes in a row inside a string with three.
    quotes: u8,
    is_key: bool,
    /// A comma was read, which is written once a value follows it.
    has_comma: bool,
    code: u32,
    word: String,
}

impl PythonValue {
    /// A literal is to come, without blanks before it.
    pub(super) fn new() -> Self {
        Self {
            state: State::Value { can_end: false },
            open: Vec::new(),
            quote: '"',
            is_triple: false,
            quotes: 0,
            is_key: false,
            has_comma: false,
            code: 0,
            word: String::new(),
        }
    }

    /// What was taken of a number or a word and stands for nothing yet.
    pub(super) fn pending(&self) -> &str {
        if self.state == State::Word { &self.word } else { "" }
    }

    /// Takes a character, and writes what it stands for to `out`.
    pub(super) fn push(&mut self, c: char, out: &mut String) -> Fed {
        match self.state {
            State::Quote | State::SecondQuote | State::Text => self.text(c, out),
            State::Escape => self.escape(c, out),
            State::Code { left } => self.code(c, left, out),
            State::Word => self.word(c, out),
            _ if is_blank(c) => {
                if self.open.is_empty() {
                    Fed::Wrong
                } else {
                    Fed::More
                }
            }
            State::Value { can_end } => self.value(c, can_end, out),
            State::Colon if c == ':' => {
                out.push_str(": ");
                self.is_key = false;
                self.state = State::Value { can_end: false };
                Fed::More
            }
            State::Next if c == ',' => {
                self.has_comma = true;
                self.is_key = self.open.last() == Some(&Open::Dictionary);
                self.state = State::Value { can_end: true };
                Fed::More
            }
            State::Next if self.is_closing(c) => self.close(out),
            State::Colon | State::Next => Fed::Wrong,
        }
    }

    fn is_closing(&self, c: char) -> bool {
        self.open.last().is_some_and(|open| open.closing() == c)
    }

    fn close(&mut self, out: &mut String) -> Fed {
        out.push(if self.open.pop() == Some(Open::Dictionary) { '}' } else { ']' });
        self.has_comma = false;
        self.ended()
    }

    /// A value or a key has ended.
    fn ended(&mut self) -> Fed {
        self.state = if self.is_key { State::Colon } else { State::Next };
        if self.open.is_empty() { Fed::Done } else { Fed::More }
    }

    fn value(&mut self, c: char, can_end: bool, out: &mut String) -> Fed {
        if can_end && self.is_closing(c) {
            self.is_key = false;
            return self.close(out);
        }
        let opens = match c {
            '[' => Some(Open::List),
            '(' => Some(Open::Tuple),
            '{' => Some(Open::Dictionary),
            _ => None,
        };
        let is_word = c.is_ascii_alphanumeric() || matches!(c, '-' | '+' | '.');
        let is_string = matches!(c, '"' | '\'');
        if !(is_string || !self.is_key && (is_word || opens.is_some())) || self.open.len() == DEPTH_MAX {
            return Fed::Wrong;
        }
        if std::mem::take(&mut self.has_comma) {
            out.push_str(", ");
        }
        if let Some(opens) = opens {
            out.push(if opens == Open::Dictionary { '{' } else { '[' });
            self.open.push(opens);
            self.is_key = opens == Open::Dictionary;
            self.state = State::Value { can_end: true };
        } else if is_string {
            out.push('"');
            (self.quote, self.is_triple, self.quotes) = (c, false, 0);
            self.state = State::Quote;
        } else {
            self.word = c.to_string();
            self.state = State::Word;
        }
        Fed::More
    }

    fn text(&mut self, c: char, out: &mut String) -> Fed {
        match self.state {
            State::Quote if c == self.quote => {
                self.state = State::SecondQuote;
                return Fed::More;
            }
            State::SecondQuote if c == self.quote => {
                self.is_triple = true;
                self.state = State::Text;
                return Fed::More;
            }
            State::SecondQuote => {
                out.push('"');
                return match self.ended() {
                    Fed::Done => Fed::DoneBefore,
                    _ => self.push(c, out),
                };
            }
            _ => self.state = State::Text,
        }
        if c == self.quote {
            if !self.is_triple {
                out.push('"');
                return self.ended();
            }
            self.quotes += 1;
            if self.quotes == 3 {
                out.push('"');
                return self.ended();
            }
            return Fed::More;
        }
        for _ in 0..std::mem::take(&mut self.quotes) {
            push_escaped(self.quote, out);
        }
        match c {
            '\\' => self.state = State::Escape,
            '\n' | '\r' if !self.is_triple => return Fed::Wrong,
            _ => push_escaped(c, out),
        }
        Fed::More
    }

    fn escape(&mut self, c: char, out: &mut String) -> Fed {
        self.state = State::Text;
        self.code = 0;
        match c {
            'x' => self.state = State::Code { left: 2 },
            'u' => self.state = State::Code { left: 4 },
            'U' => self.state = State::Code { left: 8 },
            '\n' => {}
            'n' => push_escaped('\n', out),
            't' => push_escaped('\t', out),
            'r' => push_escaped('\r', out),
            'b' => push_escaped('\u{8}', out),
            'f' => push_escaped('\u{c}', out),
            'a' => push_escaped('\u{7}', out),
            'v' => push_escaped('\u{b}', out),
            '0' => push_escaped('\0', out),
            '\\' | '\'' | '"' => push_escaped(c, out),
            // As in Python, where such a backslash stands for itself.
            _ => {
                push_escaped('\\', out);
                push_escaped(c, out);
            }
        }
        Fed::More
    }

    fn code(&mut self, c: char, left: u8, out: &mut String) -> Fed {
        let Some(digit) = c.to_digit(16) else { return Fed::Wrong };
        self.code = self.code << 4 | digit;
        if left > 1 {
            self.state = State::Code { left: left - 1 };
            return Fed::More;
        }
        push_escaped(char::from_u32(self.code).unwrap_or('\u{fffd}'), out);
        self.state = State::Text;
        Fed::More
    }

    fn word(&mut self, c: char, out: &mut String) -> Fed {
        if c.is_ascii_alphanumeric() || matches!(c, '.' | '+' | '-' | '_') {
            self.word.push(c);
            return if self.word.len() <= WORD_MAX { Fed::More } else { Fed::Wrong };
        }
        let Some(json) = word(&self.word) else { return Fed::Wrong };
        out.push_str(&json);
        match self.ended() {
            Fed::Done => Fed::DoneBefore,
            _ => self.push(c, out),
        }
    }
}

/// A number or a word of Python as JSON.
fn word(word: &str) -> Option<String> {
    match word {
        "True" | "true" => return Some("true".to_owned()),
        "False" | "false" => return Some("false".to_owned()),
        "None" | "null" => return Some("null".to_owned()),
        _ => {}
    }
    if super::json::whole(word).is_some() {
        return Some(word.to_owned());
    }
    // What Python allows and JSON does not: underscores, a sign, a point at either end, hex.
    let plain = word.replace('_', "");
    let plain = plain.strip_prefix('+').unwrap_or(&plain);
    if let Some(hex) = plain.strip_prefix("0x").or_else(|| plain.strip_prefix("0X")) {
        let is_hex = hex.bytes().all(|byte| byte.is_ascii_hexdigit());
        return u64::from_str_radix(hex, 16).ok().filter(|_| is_hex).map(|number| number.to_string());
    }
    if !plain.bytes().any(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let (sign, digits) = plain.strip_prefix('-').map_or(("", plain), |digits| ("-", digits));
    let zero = if digits.starts_with('.') { "0" } else { "" };
    let number = match digits.split_once('.') {
        Some((whole, rest)) if !rest.starts_with(|c: char| c.is_ascii_digit()) => {
            format!("{sign}{zero}{whole}.0{rest}")
        }
        _ => format!("{sign}{zero}{digits}"),
    };
    super::json::whole(&number)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<String, String> {
        let (mut value, mut out) = (PythonValue::new(), String::new());
        for c in text.chars().chain([',']) {
            match value.push(c, &mut out) {
                Fed::More => {}
                Fed::Done | Fed::DoneBefore => return Ok(out),
                Fed::Wrong => break,
            }
        }
        Err(out)
    }

    #[test]
    fn literals_become_json() {
        for (python, json) in [
            ("'a\"b'", r#""a\"b""#),
            ("\"it's\"", r#""it's""#),
            ("''", r#""""#),
            ("\"\"\"a\n\"b\"\"\"\"", "\"a\\n\\\"b\""),
            (r"'\x41\u00e9\n\'\q\U0001F642'", r#""Aé\n'\\q🙂""#),
            ("True", "true"),
            ("None", "null"),
            ("-1", "-1"),
            ("1_000", "1000"),
            (".5", "0.5"),
            ("-1.", "-1.0"),
            ("1.e3", "1.0e3"),
            ("+2", "2"),
            ("0x1F", "31"),
            ("[1, (2, 'x',), {'a': [], \"b\": {}},]", r#"[1, [2, "x"], {"a": [], "b": {}}]"#),
            ("{ }", "{}"),
        ] {
            assert_eq!(read(python), Ok(json.to_owned()), "{python}");
        }
    }

    #[test]
    fn other_expressions_are_refused() {
        for text in
            ["x", "{1: 2}", "{'a' 1}", "[1 2]", "f(1)", "'a\nb'", "01", "1.2.3", ")", "[,]", "0x", "-"]
        {
            assert!(read(text).is_err(), "{text}");
        }
    }
}
