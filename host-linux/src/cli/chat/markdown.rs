//! Markdown on a terminal, while it comes: headings, lists, quotations and code, and bold, italic
//! and code within lines.
//!
//! Text is given out as soon as it is known what it is: a mark is held until its other end has
//! come, or the end of its line, where it turns out to be a character like any other. So nothing
//! that was written is ever taken back, and no character is lost but marks that have done their
//! work. What a terminal cannot show (tables, links, pictures, HTML) stays as it was written.
use super::spans::{Marks, spans};
use super::styles::{BOLD, CODE, DIM, ITALIC, PLAIN, UNDERLINED};

/// Characters of a line's beginning that are held until it is known what the line is.
const BEGINNING_MAX: usize = 80;

/// Where in a text the next character stands.
#[derive(Clone, Debug, PartialEq, Eq)]
enum State {
    /// At the beginning of a line, of which so much has come.
    Beginning(String),
    /// Within a line in this style; what is held may be a mark.
    Line { style: &'static str, held: String, before: char },
    /// On the line that opens code; the rest of it names the language.
    Fence,
    /// Within a line of code.
    Code,
}

/// Turns text into what a terminal shows.
#[derive(Debug)]
pub(super) struct Markdown {
    state: State,
    /// The mark that closes the code that was opened: its character, and how many of them.
    fence: Option<(char, usize)>,
}

impl Default for Markdown {
    fn default() -> Self {
        Self { state: State::Beginning(String::new()), fence: None }
    }
}

impl Markdown {
    /// Takes text without control characters but tabs and line feeds, and adds to `out` what is
    /// sure of it.
    pub(super) fn push(&mut self, text: &str, out: &mut String) {
        for c in text.chars() {
            match &mut self.state {
                State::Beginning(line) => {
                    line.push(c);
                    let line = std::mem::take(line);
                    self.begin(line, c == '\n', out);
                }
                State::Line { .. } => self.within(c, out),
                State::Fence | State::Code if c == '\n' => {
                    out.push_str(PLAIN);
                    self.next_line(out);
                }
                State::Fence | State::Code => out.push(c),
            }
        }
    }

    /// The text has ended, maybe within a line: what is held comes out, and the style is plain.
    pub(super) fn finish(&mut self, out: &mut String) {
        match std::mem::take(self).state {
            State::Beginning(line) => {
                if !line.is_empty() {
                    let mut ended = self.opened(line, out);
                    ended.finish(out);
                }
            }
            state => Self { state, fence: None }.flush(out),
        }
        *self = Self::default();
    }

    /// A text that was whole when it came.
    fn opened(&self, line: String, out: &mut String) -> Self {
        let mut whole = Self { state: State::Beginning(String::new()), fence: self.fence };
        whole.begin(line, true, out);
        whole
    }

    fn next_line(&mut self, out: &mut String) {
        out.push('\n');
        self.state = State::Beginning(String::new());
    }

    /// Looks at the beginning of a line; `is_whole` says that no more of the line comes.
    fn begin(&mut self, line: String, is_whole: bool, out: &mut String) {
        let begun = match self.fence {
            Some(fence) => code_line(&line, fence, is_whole),
            None => text_line(&line, is_whole),
        };
        match begun {
            Begun::Unknown if line.chars().count() < BEGINNING_MAX => self.state = State::Beginning(line),
            Begun::Unknown if self.fence.is_some() => self.go_on(State::Code, &line, out),
            Begun::Unknown => {
                self.go_on(State::Line { style: "", held: String::new(), before: ' ' }, &line, out)
            }
            Begun::Text { shown, style, rest } => {
                out.push_str(&shown);
                out.push_str(style);
                let rest = line[rest..].to_owned();
                self.go_on(State::Line { style, held: String::new(), before: ' ' }, &rest, out);
            }
            Begun::Opens(mark) => {
                self.fence = Some(mark);
                out.push_str(DIM);
                self.go_on(State::Fence, &line, out);
            }
            Begun::Code => {
                out.push_str(CODE);
                self.go_on(State::Code, &line, out);
            }
            Begun::Closes => {
                self.fence = None;
                out.push_str(DIM);
                self.go_on(State::Fence, &line, out);
            }
        }
    }

    fn go_on(&mut self, state: State, rest: &str, out: &mut String) {
        self.state = state;
        self.push(rest, out);
    }

    /// A character within a line of text.
    fn within(&mut self, c: char, out: &mut String) {
        let State::Line { style, held, before } = &mut self.state else { return };
        if c == '\n' {
            spans(held, &Marks { style, before: *before, is_whole: true }, out);
            if !style.is_empty() {
                out.push_str(PLAIN);
            }
            return self.next_line(out);
        }
        held.push(c);
        let used = spans(held, &Marks { style, before: *before, is_whole: false }, out);
        if let Some(last) = held[..used].chars().next_back() {
            *before = last;
        }
        held.drain(..used);
    }

    /// Gives out what is held in the middle of a line.
    fn flush(self, out: &mut String) {
        match self.state {
            State::Line { style, held, before } => {
                spans(&held, &Marks { style, before, is_whole: true }, out);
                if !style.is_empty() {
                    out.push_str(PLAIN);
                }
            }
            State::Fence | State::Code => out.push_str(PLAIN),
            State::Beginning(_) => {}
        }
    }
}

/// What the beginning of a line says that the line is.
enum Begun {
    /// More must come before that is known.
    Unknown,
    /// A line of text in a style, behind what is shown for its mark; `rest` is where the text
    /// begins.
    Text { shown: String, style: &'static str, rest: usize },
    /// Opens code that such a mark closes.
    Opens((char, usize)),
    /// A line of code.
    Code,
    /// Closes the code that was opened.
    Closes,
}

/// How many of a character a text begins with.
fn run(text: &str, mark: char) -> usize {
    text.chars().take_while(|c| *c == mark).count()
}

/// A line outside of code.
fn text_line(line: &str, is_whole: bool) -> Begun {
    let indent = line.len() - line.trim_start_matches([' ', '\t']).len();
    let (blanks, text) = line.split_at(indent);
    let plain = || Begun::Text { shown: String::new(), style: "", rest: 0 };
    let Some(first) = text.chars().next() else { return if is_whole { plain() } else { Begun::Unknown } };
    let marks = run(text, first);
    let behind = text[marks * first.len_utf8()..].chars().next();
    if behind.is_none() && !is_whole && matches!(first, '#' | '-' | '*' | '+' | '>' | '`' | '~') {
        return Begun::Unknown;
    }
    let is_spaced = behind.is_some_and(|c| c == ' ');
    match first {
        '#' if marks <= 6 && is_spaced && indent <= 3 => {
            let style = if marks == 1 { UNDERLINED } else { BOLD };
            let rest = indent + marks + text[marks..].len() - text[marks..].trim_start_matches(' ').len();
            Begun::Text { shown: String::new(), style, rest }
        }
        '-' | '*' | '+' if marks == 1 && is_spaced => {
            Begun::Text { shown: format!("{blanks}• "), style: "", rest: indent + 2 }
        }
        '>' if marks == 1 => {
            let rest = indent + 1 + usize::from(is_spaced);
            Begun::Text { shown: format!("{blanks}{DIM}│{PLAIN} "), style: ITALIC, rest }
        }
        '`' | '~' if marks >= 3 && (first == '~' || !text[marks..].contains('`')) => {
            // The language may still have a backtick behind it, which is then a span of code.
            if !is_whole && !text.contains('\n') { Begun::Unknown } else { Begun::Opens((first, marks)) }
        }
        _ => plain(),
    }
}

/// A line within code that a mark closes.
fn code_line(line: &str, (mark, count): (char, usize), is_whole: bool) -> Begun {
    let text = line.trim_start_matches(' ');
    let marks = run(text, mark);
    let rest = &text[marks..];
    if line.len() - text.len() > 3 || !rest.trim().is_empty() || (is_whole && marks < count) {
        return Begun::Code;
    }
    if is_whole { Begun::Closes } else { Begun::Unknown }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn rendered(text: &str) -> String {
        let (mut markdown, mut out) = (Markdown::default(), String::new());
        markdown.push(text, &mut out);
        markdown.finish(&mut out);
        out
    }

    /// What is rendered of a text, with the codes in words.
    fn told(text: &str) -> String {
        let codes = [
            (UNDERLINED, "<u>"),
            (BOLD, "<b>"),
            (DIM, "<dim>"),
            (ITALIC, "<i>"),
            (CODE, "<code>"),
            (PLAIN, "</>"),
        ];
        codes.iter().fold(rendered(text), |text, (code, word)| text.replace(code, word))
    }

    #[test]
    fn headings_lists_and_quotations_are_shown() {
        assert_eq!(told("# One\n## Two *x*\n#none\n"), "<u>One</>\n<b>Two <i>x</><b></>\n#none\n");
        assert_eq!(told("- a\n  * b\n+ c\n-d\n1. e\n---\n"), "• a\n  • b\n• c\n-d\n1. e\n---\n");
        assert_eq!(told("> so **it** is\n"), "<dim>│</> <i>so <b>it</><i> is</>\n");
    }

    #[test]
    fn code_is_shown_as_it_stands() {
        let text = "```rust\nlet *a* = `b`;\n    ```\n``\n```\nafter";
        let shown =
            "<dim>```rust</>\n<code>let *a* = `b`;</>\n<code>    ```</>\n<code>``</>\n<dim>```</>\nafter";
        assert_eq!(told(text), shown);
        assert_eq!(told("~~~\na\n```\n~~~\n"), "<dim>~~~</>\n<code>a</>\n<code>```</>\n<dim>~~~</>\n");
        assert_eq!(told("```a``` b"), "<code>a</> b", "a span of code may begin a line");
        assert_eq!(told("```\nopen"), "<dim>```</>\n<code>open</>", "code that nothing closes");
    }

    #[test]
    fn what_is_sure_comes_at_once() {
        let (mut markdown, mut out) = (Markdown::default(), String::new());
        markdown.push("The answer", &mut out);
        assert_eq!(out, "The answer");
        markdown.push(" is **4", &mut out);
        assert_eq!(out, "The answer is ", "a mark is held until its end has come");
        markdown.push("2**", &mut out);
        markdown.push(".", &mut out);
        assert_eq!(out, format!("The answer is {BOLD}42{PLAIN}."));
        markdown.push("\n``", &mut out);
        assert!(out.ends_with(".\n"));
        markdown.push("`\nlet", &mut out);
        assert!(out.ends_with(&format!("{DIM}```{PLAIN}\n{CODE}let")), "{out:?}");
    }

    proptest! {
        #[test]
        fn it_does_not_matter_how_a_text_is_cut(
            text in "[ab *_`#>\\-~\n\\\\日]{0,60}",
            cuts in prop::collection::vec(1_usize..8, 0..30),
        ) {
            let (mut markdown, mut out) = (Markdown::default(), String::new());
            let mut chars = text.chars();
            for cut in cuts {
                let piece: String = chars.by_ref().take(cut).collect();
                markdown.push(&piece, &mut out);
            }
            markdown.push(chars.as_str(), &mut out);
            markdown.finish(&mut out);
            prop_assert_eq!(out, rendered(&text));
        }

        #[test]
        fn no_letter_is_lost_or_moved(text in "[ab *_`#>~\n]{0,80}") {
            let mut bare = rendered(&text);
            for code in [UNDERLINED, BOLD, DIM, ITALIC, CODE, PLAIN] {
                bare = bare.replace(code, "");
            }
            let letters = |text: &str| text.chars().filter(|c| matches!(c, 'a' | 'b' | '\n')).collect::<String>();
            prop_assert_eq!(letters(&bare), letters(&text));
        }

        #[test]
        fn a_text_ends_plain(text in "[ab *_`#>~\n]{0,80}") {
            let out = rendered(&text);
            if let Some(at) = out.rfind('\x1b') {
                prop_assert!(out[at..].starts_with(PLAIN), "{out:?}");
            }
        }
    }
}
