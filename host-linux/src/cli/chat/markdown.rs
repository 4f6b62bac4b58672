//! Markdown on a terminal, while it comes: headings, lists, quotations, code and tables, and bold,
//! italic and code within lines.
//!
//! Text is given out as soon as it is known what it is: a mark is held until its other end has
//! come, or the end of its line, where it turns out to be a character like any other; a table until
//! its end. So nothing that was written is ever taken back, and no character is lost but marks that
//! have done their work. What a terminal cannot show (links, pictures, HTML) stays as it was
//! written.
use super::spans::{Marks, spans};
use super::styles::{BOLD, CODE, DIM, ITALIC, PLAIN, UNDERLINED};
use super::table::{self, Fate, Held};

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
    /// Within lines that may be a table.
    Table(Held),
}

/// Turns text into what a terminal shows.
#[derive(Debug)]
pub(super) struct Markdown {
    state: State,
    /// The mark that closes the code that was opened: its character, and how many of them.
    fence: Option<(char, usize)>,
    /// How many columns the terminal has.
    columns: fn() -> usize,
    /// Whether what comes now is no table, as was found.
    has_no_table: bool,
}

impl Markdown {
    /// For a terminal of so many columns, of which it is asked whenever that matters.
    pub(super) fn new(columns: fn() -> usize) -> Self {
        Self { state: State::Beginning(String::new()), fence: None, columns, has_no_table: false }
    }

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
                State::Table(held) => match held.push(c) {
                    Fate::Open => {}
                    fate => {
                        let held = std::mem::take(held);
                        self.settle(&held, fate, out);
                    }
                },
            }
        }
    }

    /// The text has ended, maybe within a line: what is held comes out, and the style is plain.
    pub(super) fn finish(&mut self, out: &mut String) {
        match std::mem::replace(&mut self.state, State::Beginning(String::new())) {
            State::Beginning(line) if line.is_empty() => {}
            State::Beginning(line) => {
                self.begin(line, true, out);
                self.finish(out);
            }
            State::Table(held) => {
                self.settle(&held, held.end(), out);
                self.finish(out);
            }
            State::Line { style, held, before } => {
                spans(&held, &Marks { style, before, is_whole: true }, out);
                if !style.is_empty() {
                    out.push_str(PLAIN);
                }
            }
            State::Fence | State::Code => out.push_str(PLAIN),
        }
        *self = Self::new(self.columns);
    }

    /// Gives out what was held, now that it is known what it is.
    fn settle(&mut self, held: &Held, fate: Fate, out: &mut String) {
        let (is_table, bytes) = match fate {
            Fate::Open => return,
            Fate::Table(bytes) => (true, bytes),
            Fate::Text(bytes) => (false, bytes),
        };
        let (known, rest) = held.text().split_at(bytes);
        self.state = State::Beginning(String::new());
        match is_table.then(|| table::shown(known, (self.columns)())).flatten() {
            Some(shown) => out.push_str(&shown),
            None => {
                self.has_no_table = true;
                self.push(known, out);
                self.has_no_table = false;
            }
        }
        self.push(rest, out);
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
            Begun::Row if !self.has_no_table => self.go_on(State::Table(Held::default()), &line, out),
            Begun::Unknown | Begun::Row => {
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
}

/// What the beginning of a line says that the line is.
enum Begun {
    /// More must come before that is known.
    Unknown,
    /// A line of text in a style, behind what is shown for its mark; `rest` is where the text
    /// begins.
    Text { shown: String, style: &'static str, rest: usize },
    /// What may be a table.
    Row,
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
        '|' if indent <= 3 && !blanks.contains('\t') => Begun::Row,
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
