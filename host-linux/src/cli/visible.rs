//! Text of a model, or of a server, as a terminal may get it: characters that a terminal would obey
//! are shown.

/// Makes text visible that comes in pieces.
#[derive(Debug, Default)]
pub(super) struct Visible {
    /// A carriage return came last: with a line feed behind it, it is a part of a line's end.
    has_return: bool,
}

impl Visible {
    /// Takes text, and adds to `out` what the terminal gets for it.
    pub(super) fn push(&mut self, text: &str, out: &mut String) {
        for c in text.chars() {
            if std::mem::take(&mut self.has_return) && c != '\n' {
                out.push('␍');
            }
            match c {
                '\r' => self.has_return = true,
                _ => push_shown(c, out),
            }
        }
    }

    /// Nothing comes behind it.
    pub(super) fn finish(&mut self, out: &mut String) {
        if std::mem::take(&mut self.has_return) {
            out.push('␍');
        }
    }
}

/// A whole text as the terminal gets it.
pub(super) fn shown(text: &str) -> String {
    let (mut visible, mut out) = (Visible::default(), String::with_capacity(text.len()));
    visible.push(text, &mut out);
    visible.finish(&mut out);
    out
}

/// Controls have pictures in Unicode or are escaped, as are characters that turn the direction of
/// others, by which a line can be made to look like another one.
fn push_shown(c: char, out: &mut String) {
    match c {
        '\n' | '\t' => out.push(c),
        '\u{0}'..='\u{1f}' => out.push(char::from_u32(0x2400 + u32::from(c)).unwrap_or('␦')),
        '\u{7f}' => out.push('␡'),
        '\u{80}'..='\u{9f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => {
            out.extend(c.escape_unicode());
        }
        _ => out.push(c),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_a_terminal_would_obey_is_shown() {
        assert_eq!(shown("a\u{1b}[2J\u{7}b\u{7f}\u{9b}31m"), "a␛[2J␇b␡\\u{9b}31m");
        assert_eq!(shown("left\u{202e}thgir"), "left\\u{202e}thgir");
        assert_eq!(shown("a\tb\r\nc\rd\r"), "a\tb\nc␍d␍", "a line may end as on other systems");
        assert_eq!(shown("日本 é 👩‍🚀"), "日本 é 👩‍🚀");
    }

    proptest! {
        #[test]
        fn it_does_not_matter_how_a_text_is_cut(text in "[\u{0}-\u{ff}日\r\n]{0,40}", at in 0_usize..40) {
            let cut = text.char_indices().map(|(i, _)| i).nth(at).unwrap_or(text.len());
            let (mut visible, mut out) = (Visible::default(), String::new());
            visible.push(&text[..cut], &mut out);
            visible.push(&text[cut..], &mut out);
            visible.finish(&mut out);
            prop_assert_eq!(&out, &shown(&text));
            prop_assert!(!out.chars().any(|c| c.is_control() && c != '\n' && c != '\t'));
        }
    }
}
