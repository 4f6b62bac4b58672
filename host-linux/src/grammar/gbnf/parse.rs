//! The text of a GBNF grammar to its rules.
use crate::text::quote::shorten;
use std::collections::HashMap;
use std::iter::Peekable;
use std::str::CharIndices;

/// Parentheses within each other at most.
const DEPTH_MAX: usize = 64;
/// Characters of a name or of what was found that an error quotes.
const FOUND_MAX: usize = 40;
/// The largest number of a repetition.
const REPEAT_MAX: u32 = 100_000;

/// A part of a rule.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Node {
    /// One of these; there is at least one.
    Alternatives(Vec<Node>),
    /// All of these in order; nothing at all if there are none.
    Sequence(Vec<Node>),
    /// A part so many times, at least and at most.
    Repeat(Box<Node>, u32, Option<u32>),
    /// These characters, one after another.
    Literal(String),
    /// One character that is in one of these ranges, or, if `not`, in none.
    Class { not: bool, ranges: Vec<(char, char)> },
    /// One character, whichever it is.
    Any,
    /// What the rule of that number says.
    Rule(usize),
}

/// The rules of a grammar.
#[derive(Debug)]
pub(super) struct Rules {
    /// What each rule says, by its number.
    pub(super) bodies: Vec<Node>,
    /// The number of `root`.
    pub(super) root: usize,
}

#[derive(Clone, Debug, PartialEq)]
enum Token {
    Name(String),
    Defines,
    Part(Node),
    Open,
    Close,
    Or,
    /// A repetition of what stands before.
    Times(u32, Option<u32>),
}

/// Reads the text of a grammar as rules.
pub(super) fn parse(text: &str) -> Result<Rules, String> {
    let tokens = Lexer { text, chars: text.char_indices().peekable() }.tokens()?;
    let mut numbers: HashMap<&str, usize> = HashMap::new();
    for pair in tokens.windows(2) {
        if let [(_, Token::Name(name)), (_, Token::Defines)] = pair {
            let number = numbers.len();
            if numbers.insert(name, number).is_some() {
                return Err(format!("the rule {} is there twice", shorten(name, FOUND_MAX)));
            }
        }
    }
    let root = *numbers.get("root").ok_or("there is no rule named root")?;
    let mut parser = Parser { tokens: &tokens, at: 0, numbers: &numbers, depth: 0, end: text.len() };
    let mut bodies = Vec::new();
    while parser.at < tokens.len() {
        if !parser.begins_rule() {
            return Err(parser.wrong("a rule was expected (name ::= …)"));
        }
        parser.at += 2;
        bodies.push(parser.alternatives()?);
    }
    Ok(Rules { bodies, root })
}

/// Cuts a text into tokens.
struct Lexer<'t> {
    text: &'t str,
    chars: Peekable<CharIndices<'t>>,
}

impl Lexer<'_> {
    /// All tokens, with the bytes at which they begin.
    fn tokens(mut self) -> Result<Vec<(usize, Token)>, String> {
        let mut tokens = Vec::new();
        while let Some((at, c)) = self.chars.next() {
            let token = match c {
                ' ' | '\t' | '\r' | '\n' => continue,
                '#' => {
                    while self.chars.next_if(|(_, c)| *c != '\n').is_some() {}
                    continue;
                }
                ':' => self.defines(at)?,
                '|' => Token::Or,
                '(' => Token::Open,
                ')' => Token::Close,
                '.' => Token::Part(Node::Any),
                '*' => Token::Times(0, None),
                '+' => Token::Times(1, None),
                '?' => Token::Times(0, Some(1)),
                '{' => self.times(at)?,
                '"' => Token::Part(self.literal(at)?),
                '[' => Token::Part(self.class(at)?),
                c if is_of_name(c) => {
                    let mut name = String::from(c);
                    while let Some((_, c)) = self.chars.next_if(|(_, c)| is_of_name(*c)) {
                        name.push(c);
                    }
                    Token::Name(name)
                }
                '<' | '!' => return Err(wrong_at(at, self.text, "tokens of the model are not supported")),
                _ => return Err(wrong_at(at, self.text, "this makes no sense here")),
            };
            tokens.push((at, token));
        }
        Ok(tokens)
    }

    fn defines(&mut self, at: usize) -> Result<Token, String> {
        match (self.chars.next(), self.chars.next()) {
            (Some((_, ':')), Some((_, '='))) => Ok(Token::Defines),
            _ => Err(wrong_at(at, self.text, "::= was expected")),
        }
    }

    /// The numbers of `{m}`, `{m,}` or `{m,n}`.
    fn times(&mut self, at: usize) -> Result<Token, String> {
        let mut inner = String::new();
        loop {
            match self.chars.next() {
                Some((_, '}')) => break,
                Some((_, c)) if inner.len() < 32 => inner.push(c),
                _ => return Err(wrong_at(at, self.text, "a repetition has no end")),
            }
        }
        let number = |text: &str| {
            let number = text.trim().parse::<u32>().ok().filter(|number| *number <= REPEAT_MAX);
            number.ok_or_else(|| wrong_at(at, self.text, "a repetition is a number up to 100000, or two"))
        };
        let (min, max) = match inner.split_once(',') {
            None => (number(&inner)?, Some(number(&inner)?)),
            Some((min, max)) if max.trim().is_empty() => (number(min)?, None),
            Some((min, max)) => (number(min)?, Some(number(max)?)),
        };
        if max.is_some_and(|max| max < min) {
            return Err(wrong_at(at, self.text, "a repetition goes from a number to a smaller one"));
        }
        Ok(Token::Times(min, max))
    }

    fn literal(&mut self, at: usize) -> Result<Node, String> {
        let mut text = String::new();
        loop {
            match self.character(at, '"')? {
                Some(c) => text.push(c),
                None => return Ok(Node::Literal(text)),
            }
        }
    }

    fn class(&mut self, at: usize) -> Result<Node, String> {
        let not = self.chars.next_if(|(_, c)| *c == '^').is_some();
        let mut ranges = Vec::new();
        while let Some(first) = self.character(at, ']')? {
            let mut ahead = self.chars.clone();
            let is_range =
                ahead.next().is_some_and(|(_, c)| c == '-') && ahead.next().is_some_and(|(_, c)| c != ']');
            let mut last = first;
            if is_range {
                self.chars.next();
                last = self.character(at, ']')?.unwrap_or(first);
            }
            if last < first {
                return Err(wrong_at(at, self.text, "a range of characters goes backwards"));
            }
            ranges.push((first, last));
        }
        match (ranges.is_empty(), not) {
            (true, true) => Ok(Node::Any),
            (true, false) => Err(wrong_at(at, self.text, "a class has no characters")),
            _ => Ok(Node::Class { not, ranges }),
        }
    }

    /// A character of what began at `at`, escapes honoured; `None` at its end.
    fn character(&mut self, at: usize, end: char) -> Result<Option<char>, String> {
        let text = self.text;
        let unended = || wrong_at(at, text, "this has no end");
        let (_, c) = self.chars.next().ok_or_else(unended)?;
        if c == end {
            return Ok(None);
        }
        if c != '\\' {
            return Ok(Some(c));
        }
        let (escape_at, escape) = self.chars.next().ok_or_else(unended)?;
        let digits = match escape {
            'x' => 2,
            'u' => 4,
            'U' => 8,
            'n' => return Ok(Some('\n')),
            'r' => return Ok(Some('\r')),
            't' => return Ok(Some('\t')),
            '\\' | '"' | '[' | ']' | '-' | '^' | '\'' | '/' => return Ok(Some(escape)),
            _ => return Err(wrong_at(escape_at, text, "there is no such escape")),
        };
        let mut code = 0;
        for _ in 0..digits {
            let digit = self.chars.next().and_then(|(_, c)| c.to_digit(16));
            code = code << 4 | digit.ok_or_else(|| wrong_at(escape_at, text, "a digit is missing"))?;
        }
        let c =
            char::from_u32(code).ok_or_else(|| wrong_at(escape_at, text, "there is no such character"))?;
        Ok(Some(c))
    }
}

fn is_of_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '-' || c == '_'
}

/// An error with the place at which it is.
fn wrong_at(at: usize, text: &str, what: &str) -> String {
    let line = text[..at].matches('\n').count() + 1;
    let found: String = text[at..].chars().take(FOUND_MAX).collect();
    let found = found.lines().next().unwrap_or_default();
    format!("line {line}: {what}: {}", shorten(found, FOUND_MAX))
}

/// Puts the tokens of a grammar together to rules.
struct Parser<'t> {
    tokens: &'t [(usize, Token)],
    at: usize,
    numbers: &'t HashMap<&'t str, usize>,
    depth: usize,
    /// Bytes of the text.
    end: usize,
}

impl Parser<'_> {
    fn begins_rule(&self) -> bool {
        matches!(self.tokens[self.at..], [(_, Token::Name(_)), (_, Token::Defines), ..])
    }

    fn wrong(&self, what: &str) -> String {
        let at = self.tokens.get(self.at).map_or(self.end, |(at, _)| *at);
        format!("{what}, at byte {at}")
    }

    fn alternatives(&mut self) -> Result<Node, String> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(self.wrong("parentheses are nested too deep"));
        }
        let mut all = vec![self.sequence()?];
        while matches!(self.tokens.get(self.at), Some((_, Token::Or))) {
            self.at += 1;
            all.push(self.sequence()?);
        }
        self.depth -= 1;
        Ok(if all.len() == 1 { all.remove(0) } else { Node::Alternatives(all) })
    }

    fn sequence(&mut self) -> Result<Node, String> {
        let mut all: Vec<Node> = Vec::new();
        // A repetition of a repetition says nothing that one of them does not, and a text of
        // nothing else would be a tree as deep as it is long.
        let mut was_repeated = false;
        while let Some((_, token)) = self.tokens.get(self.at) {
            let node = match token {
                Token::Name(_) if self.begins_rule() => break,
                Token::Or | Token::Close => break,
                Token::Defines => return Err(self.wrong("a name was expected before ::=")),
                Token::Name(name) => {
                    let number = self.numbers.get(name.as_str());
                    let number = number
                        .ok_or_else(|| format!("there is no rule named {}", shorten(name, FOUND_MAX)))?;
                    Node::Rule(*number)
                }
                Token::Part(node) => node.clone(),
                Token::Times(..) if was_repeated => {
                    return Err(self.wrong("what is repeated already needs parentheses to be repeated again"));
                }
                Token::Times(min, max) => {
                    let repeated = all.pop().ok_or_else(|| self.wrong("there is nothing to repeat"))?;
                    Node::Repeat(Box::new(repeated), *min, *max)
                }
                Token::Open => {
                    self.at += 1;
                    let inner = self.alternatives()?;
                    if !matches!(self.tokens.get(self.at), Some((_, Token::Close))) {
                        return Err(self.wrong("a parenthesis is not closed"));
                    }
                    inner
                }
            };
            was_repeated = matches!(token, Token::Times(..));
            self.at += 1;
            all.push(node);
        }
        Ok(if all.len() == 1 { all.remove(0) } else { Node::Sequence(all) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(text: &str) -> Node {
        parse(text).unwrap().bodies.remove(0)
    }

    #[test]
    fn every_part_of_a_rule_is_read() {
        let literal = |text: &str| Node::Literal(text.into());
        assert_eq!(body("root ::= \"a\\\"\\n\\x41\\u00e9\""), literal("a\"\nAé"));
        let class = |not, ranges: &[(char, char)]| Node::Class { not, ranges: ranges.to_vec() };
        assert_eq!(body("root ::= [a-z_-]"), class(false, &[('a', 'z'), ('_', '_'), ('-', '-')]));
        assert_eq!(
            body("root ::= [^\"\\\\\\x7F]"),
            class(true, &[('"', '"'), ('\\', '\\'), ('\x7f', '\x7f')])
        );
        assert_eq!(body("root ::= ."), Node::Any);
        let repeat = |min, max| Node::Repeat(Box::new(literal("a")), min, max);
        for (text, min, max) in [
            ("*", 0, None),
            ("+", 1, None),
            ("?", 0, Some(1)),
            ("{2}", 2, Some(2)),
            ("{2,}", 2, None),
            ("{0, 3}", 0, Some(3)),
        ] {
            assert_eq!(body(&format!("root ::= \"a\"{text}")), repeat(min, max));
        }
        let empty = Node::Sequence(Vec::new());
        assert_eq!(body("root ::= | \"a\""), Node::Alternatives(vec![empty.clone(), literal("a")]));
        assert_eq!(
            body("root ::= (\"a\" |\n  \"b\") # c\n"),
            Node::Alternatives(vec![literal("a"), literal("b")])
        );
    }

    #[test]
    fn rules_end_where_the_next_begins() {
        let rules = parse("a ::= \"x\"\nroot ::= a b-1\n\n# no\nb-1 ::=\n  \"y\"\n  | a\n").unwrap();
        assert_eq!(rules.root, 1);
        assert_eq!(rules.bodies[1], Node::Sequence(vec![Node::Rule(0), Node::Rule(2)]));
        assert_eq!(rules.bodies[2], Node::Alternatives(vec![Node::Literal("y".into()), Node::Rule(0)]));
    }

    #[test]
    fn what_is_wrong_is_told_with_its_place() {
        let deep = format!("root ::= {}", "(".repeat(1000));
        for (text, told) in [
            ("", "no rule named root"),
            ("root ::= a", "no rule named a"),
            ("root ::= \"a\"\nroot ::= \"b\"", "twice"),
            ("\n root ::= \"a", "line 2: this has no end"),
            ("root ::= [z-a]", "backwards"),
            ("root ::= \"a\"{3,2}", "smaller"),
            ("root ::= \"a\"{99999999999}", "number up to"),
            ("root ::= *", "nothing to repeat"),
            ("root ::= \"a\"**", "repeated already"),
            ("root ::= (\"a\"", "not closed"),
            ("root ::= \"a\")", "a rule was expected"),
            ("root = \"a\"", "makes no sense"),
            ("root ::= <think>", "tokens of the model"),
            ("root ::= \"\\q\"", "no such escape"),
            (deep.as_str(), "too deep"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.contains(told), "{text}: {error}");
        }
    }
}
