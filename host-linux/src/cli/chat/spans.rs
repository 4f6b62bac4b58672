//! Bold, italic and code within a line of Markdown.
use super::styles::{BOLD, BOLD_ITALIC, CODE, ITALIC, PLAIN};

/// Characters of a span, at most: a mark whose other end is further away is a character.
const SPAN_MAX: usize = 400;

/// What is around some text of a line.
#[derive(Clone, Copy, Debug)]
pub(super) struct Marks<'s> {
    /// The style of the text around, which holds again behind a span.
    pub(super) style: &'s str,
    /// The character before the text; a space at the beginning of a line.
    pub(super) before: char,
    /// Whether no more of the line comes.
    pub(super) is_whole: bool,
}

/// What a text begins with.
enum First {
    /// More must come before that is known.
    Unknown,
    /// So many bytes that are what they are.
    Text(usize),
    /// A character that a backslash, which stands before it, makes one.
    Escaped(char),
    /// A span of so many bytes; its content stands between marks of so many.
    Span { bytes: usize, marks: usize, style: &'static str, is_code: bool },
}

/// Adds the text to `out`, with the spans in it shown, as far as that is sure; returns how many of
/// its bytes that are.
pub(super) fn spans(text: &str, around: &Marks<'_>, out: &mut String) -> usize {
    let (mut used, mut before) = (0, around.before);
    while used < text.len() {
        let rest = &text[used..];
        match first(rest, before, around.is_whole) {
            First::Unknown => break,
            First::Text(bytes) => {
                out.push_str(&rest[..bytes]);
                used += bytes;
            }
            First::Escaped(c) => {
                out.push(c);
                used += 1 + c.len_utf8();
            }
            First::Span { bytes, marks, style, is_code } => {
                let content = &rest[marks..bytes - marks];
                out.push_str(style);
                if is_code {
                    out.push_str(content);
                } else {
                    let outer = format!("{}{style}", around.style);
                    spans(content, &Marks { style: &outer, before: ' ', is_whole: true }, out);
                }
                out.push_str(PLAIN);
                out.push_str(around.style);
                used += bytes;
            }
        }
        before = text[..used].chars().next_back().unwrap_or(before);
    }
    used
}

fn first(text: &str, before: char, is_whole: bool) -> First {
    let Some(mark) = text.chars().next() else { return First::Unknown };
    match mark {
        '`' => code(text, is_whole),
        '*' | '_' => emphasis(text, mark, before, is_whole),
        '\\' => match text[1..].chars().next() {
            Some(c) if c.is_ascii_punctuation() => First::Escaped(c),
            None if !is_whole => First::Unknown,
            _ => First::Text(1),
        },
        _ => First::Text(text.find(['`', '*', '_', '\\']).unwrap_or(text.len())),
    }
}

/// How many of a character stand at a place.
fn run(text: &str, at: usize, mark: char) -> usize {
    text[at..].chars().take_while(|c| *c == mark).count()
}

/// What comes of a mark of so many characters whose other end was not found.
fn unclosed(text: &str, marks: usize, is_whole: bool) -> First {
    if is_whole || text.chars().count() > SPAN_MAX { First::Text(marks) } else { First::Unknown }
}

fn code(text: &str, is_whole: bool) -> First {
    let marks = run(text, 0, '`');
    let mut at = marks;
    while let Some(next) = text[at..].find('`') {
        at += next;
        let closing = run(text, at, '`');
        // It may still grow.
        let may_grow = at + closing == text.len() && !is_whole;
        if closing == marks && !may_grow {
            return First::Span { bytes: at + marks, marks, style: CODE, is_code: true };
        }
        at += closing;
    }
    unclosed(text, marks, is_whole)
}

fn emphasis(text: &str, mark: char, before: char, is_whole: bool) -> First {
    let marks = run(text, 0, mark);
    let Some(next) = text[marks..].chars().next() else {
        return if is_whole { First::Text(marks) } else { First::Unknown };
    };
    let is_in_word = mark == '_' && before.is_alphanumeric();
    if marks > 3 || next.is_whitespace() || is_in_word {
        return First::Text(marks);
    }
    let style = match marks {
        1 => ITALIC,
        2 => BOLD,
        _ => BOLD_ITALIC,
    };
    let mut at = marks;
    while at < text.len() {
        let rest = &text[at..];
        let c = rest.chars().next().unwrap_or(' ');
        if c == '\\' {
            at += 1 + rest[1..].chars().next().map_or(0, char::len_utf8);
        } else if c == '`' {
            // Marks within code are none.
            match code(rest, is_whole) {
                First::Span { bytes, .. } => at += bytes,
                First::Text(bytes) => at += bytes,
                _ => break,
            }
        } else if c == mark {
            let closing = run(text, at, mark);
            let behind = text[at + closing..].chars().next();
            if behind.is_none() && !is_whole {
                break;
            }
            let closes = !text[..at].ends_with(char::is_whitespace)
                && (mark == '*' || !behind.is_some_and(char::is_alphanumeric));
            if closing == marks && closes {
                return First::Span { bytes: at + marks, marks, style, is_code: false };
            }
            at += closing;
        } else {
            at += c.len_utf8();
        }
    }
    unclosed(text, marks, is_whole)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(text: &str) -> String {
        let mut out = String::new();
        let used = spans(text, &Marks { style: "", before: ' ', is_whole: true }, &mut out);
        assert_eq!(used, text.len());
        let codes = [(BOLD_ITALIC, "<bi>"), (BOLD, "<b>"), (ITALIC, "<i>"), (CODE, "<code>"), (PLAIN, "</>")];
        codes.iter().fold(out, |text, (code, word)| text.replace(code, word))
    }

    #[test]
    fn spans_are_shown() {
        for (text, shown) in [
            ("a **b** c", "a <b>b</> c"),
            ("a *b* _c_ __d__", "a <i>b</> <i>c</> <b>d</>"),
            ("***both*** ", "<bi>both</> "),
            ("**a *b* c**", "<b>a <i>b</><b> c</>"),
            ("`**a**`", "<code>**a**</>"),
            ("``a`b``", "<code>a`b</>"),
            ("**a `**` b**", "<b>a <code>**</><b> b</>"),
        ] {
            assert_eq!(told(text), shown);
        }
    }

    #[test]
    fn marks_that_are_none_are_characters() {
        for text in
            ["2 * 3 * 4", "snake_case_name", "**open", "`open", "a ** b ** c", "****", "*a *", "C:\\new"]
        {
            assert_eq!(told(text), text);
        }
        assert_eq!(told("\\*a\\* \\\\"), "*a* \\");
        let far = format!("*{}*", "x".repeat(SPAN_MAX));
        let mut out = String::new();
        let used = spans(&far[..SPAN_MAX + 1], &Marks { style: "", before: ' ', is_whole: false }, &mut out);
        assert_eq!(used, SPAN_MAX + 1, "what is far away is not waited for");
    }
}
