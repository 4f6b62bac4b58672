//! The rules of a GBNF grammar to Lark.
use super::parse::{Node, Rules};
use std::fmt::Write;

/// Writes rules as Lark: `T0`, `T1`, … are terminals, `r0`, `r1`, … rules, by the numbers of the
/// rules that they come from, and `T0_0`, `T0_1`, … the terminals within a rule.
pub(super) fn write(rules: &Rules) -> Result<String, String> {
    let facts = Facts::of(&rules.bodies);
    let mut out = Writer { facts: &facts, lark: String::new(), terminals: String::new(), rule: 0, made: 0 };
    let root = out.reference(rules.root).ok_or("root allows nothing but the empty output")?;
    let _ = writeln!(out.lark, "start: {root}");
    for (number, body) in rules.bodies.iter().enumerate() {
        if facts.is_empty(body) {
            continue;
        }
        (out.rule, out.made) = (number, 0);
        match facts.is_regular[number] {
            true => {
                let text = out.terminal(body);
                let _ = writeln!(out.terminals, "T{number}: {text}");
            }
            false => {
                let text = out.expression(body);
                let _ = writeln!(out.lark, "r{number}: {text}");
            }
        }
    }
    Ok(out.lark + &out.terminals)
}

/// What is known of each rule.
struct Facts {
    /// It reaches no rule that reaches itself.
    is_regular: Vec<bool>,
    /// It matches the empty text.
    is_nullable: Vec<bool>,
    /// It matches the empty text and nothing else.
    is_empty: Vec<bool>,
}

impl Facts {
    fn of(bodies: &[Node]) -> Self {
        let count = bodies.len();
        let mut facts = Self {
            is_regular: vec![false; count],
            is_nullable: vec![false; count],
            is_empty: vec![false; count],
        };
        // Each is the least solution of its equations: from false, until nothing changes.
        while facts.grow(bodies, |facts| &mut facts.is_regular, Self::is_regular) {}
        while facts.grow(bodies, |facts| &mut facts.is_nullable, Self::is_nullable) {}
        while facts.grow(bodies, |facts| &mut facts.is_empty, Self::is_empty) {}
        facts
    }

    /// Asks anew of each rule for which the answer is still no; whether any answer changed.
    fn grow(
        &mut self,
        bodies: &[Node],
        of: fn(&mut Self) -> &mut Vec<bool>,
        ask: fn(&Self, &Node) -> bool,
    ) -> bool {
        let mut has_changed = false;
        for (number, body) in bodies.iter().enumerate() {
            if !of(self)[number] && ask(self, body) {
                of(self)[number] = true;
                has_changed = true;
            }
        }
        has_changed
    }

    fn is_regular(&self, node: &Node) -> bool {
        match node {
            Node::Alternatives(all) | Node::Sequence(all) => all.iter().all(|node| self.is_regular(node)),
            Node::Repeat(node, _, _) => self.is_regular(node),
            Node::Literal(_) | Node::Class { .. } | Node::Any => true,
            Node::Rule(number) => self.is_regular[*number],
        }
    }

    fn is_nullable(&self, node: &Node) -> bool {
        match node {
            Node::Alternatives(all) => all.iter().any(|node| self.is_nullable(node)),
            Node::Sequence(all) => all.iter().all(|node| self.is_nullable(node)),
            Node::Repeat(node, min, max) => *min == 0 || *max == Some(0) || self.is_nullable(node),
            Node::Literal(text) => text.is_empty(),
            Node::Class { .. } | Node::Any => false,
            Node::Rule(number) => self.is_nullable[*number],
        }
    }

    /// Whether a part matches the empty text only.
    fn is_empty(&self, node: &Node) -> bool {
        match node {
            Node::Alternatives(all) | Node::Sequence(all) => all.iter().all(|node| self.is_empty(node)),
            Node::Repeat(node, _, max) => *max == Some(0) || self.is_empty(node),
            Node::Literal(text) => text.is_empty(),
            Node::Class { .. } | Node::Any => false,
            Node::Rule(number) => self.is_empty[*number],
        }
    }
}

struct Writer<'f> {
    facts: &'f Facts,
    /// The text of the rules that were written so far.
    lark: String,
    /// The text of the terminals that were written so far.
    terminals: String,
    /// The rule that is written.
    rule: usize,
    /// Terminals that were made for parts of it.
    made: usize,
}

impl Writer<'_> {
    /// A rule where another refers to it; `None` if it matches the empty text only.
    fn reference(&self, number: usize) -> Option<String> {
        let facts = self.facts;
        if facts.is_empty[number] {
            return None;
        }
        if !facts.is_regular[number] {
            return Some(format!("r{number}"));
        }
        // A terminal takes at least a character, so that an empty one is said by the rule.
        Some(if facts.is_nullable[number] { format!("T{number}?") } else { format!("T{number}") })
    }

    /// A part within a rule that is not a terminal.
    fn expression(&mut self, node: &Node) -> String {
        if self.facts.is_empty(node) {
            return String::new();
        }
        if self.facts.is_regular(node) {
            return self.own_terminal(node);
        }
        match node {
            Node::Rule(number) => format!("r{number}"),
            Node::Sequence(all) => self.sequence(all),
            Node::Alternatives(all) => self.alternatives(all),
            Node::Repeat(node, min, max) => format!("({}){}", self.expression(node), times(*min, *max)),
            // All others are regular.
            Node::Literal(_) | Node::Class { .. } | Node::Any => String::new(),
        }
    }

    /// A sequence, with one terminal for each run of regular parts.
    fn sequence(&mut self, all: &[Node]) -> String {
        let facts = self.facts;
        let runs = all.chunk_by(|a, b| facts.is_regular(a) && facts.is_regular(b));
        let mut parts = Vec::new();
        for run in runs {
            parts.push(match run {
                [one] => self.expression(one),
                run => self.expression(&Node::Sequence(run.to_vec())),
            });
        }
        parts.retain(|part| !part.is_empty());
        parts.join(" ")
    }

    /// Alternatives, with one terminal for all that are regular.
    fn alternatives(&mut self, all: &[Node]) -> String {
        let is_nullable = all.iter().any(|node| self.facts.is_empty(node));
        let (regular, others): (Vec<&Node>, Vec<&Node>) = all
            .iter()
            .filter(|node| !self.facts.is_empty(node))
            .partition(|node| self.facts.is_regular(node));
        let mut parts = Vec::new();
        if !regular.is_empty() {
            parts.push(self.expression(&Node::Alternatives(regular.into_iter().cloned().collect())));
        }
        parts.extend(others.into_iter().map(|node| self.expression(node)));
        format!("({}){}", parts.join(" | "), if is_nullable { "?" } else { "" })
    }

    /// A terminal for a regular part that is not a whole rule, and the reference to it.
    fn own_terminal(&mut self, node: &Node) -> String {
        if let Node::Rule(number) = node {
            return self.reference(*number).unwrap_or_default();
        }
        let name = format!("T{}_{}", self.rule, self.made);
        self.made += 1;
        let text = self.terminal(node);
        let _ = writeln!(self.terminals, "{name}: {text}");
        if self.facts.is_nullable(node) { format!("{name}?") } else { name }
    }

    /// A regular part within a terminal.
    fn terminal(&self, node: &Node) -> String {
        if self.facts.is_empty(node) {
            return String::new();
        }
        match node {
            Node::Alternatives(all) => {
                let is_nullable = all.iter().any(|node| self.facts.is_empty(node));
                let parts = all.iter().map(|node| self.terminal(node)).filter(|part| !part.is_empty());
                let parts = parts.collect::<Vec<_>>().join(" | ");
                format!("({parts}){}", if is_nullable { "?" } else { "" })
            }
            Node::Sequence(all) => {
                let parts = all.iter().map(|node| self.terminal(node)).filter(|part| !part.is_empty());
                parts.collect::<Vec<_>>().join(" ")
            }
            Node::Repeat(node, min, max) => format!("({}){}", self.terminal(node), times(*min, *max)),
            Node::Literal(text) => quoted(text),
            Node::Class { not, ranges } => {
                let mut class = String::from(if *not { "/[^" } else { "/[" });
                for (first, last) in ranges {
                    let _ = write!(class, "\\x{{{:x}}}-\\x{{{:x}}}", u32::from(*first), u32::from(*last));
                }
                class + "]/"
            }
            Node::Any => "/(?s:.)/".to_owned(),
            Node::Rule(number) => format!("T{number}"),
        }
    }
}

/// A repetition as Lark writes it.
fn times(min: u32, max: Option<u32>) -> String {
    match (min, max) {
        (0, None) => "*".to_owned(),
        (1, None) => "+".to_owned(),
        (0, Some(1)) => "?".to_owned(),
        (min, None) => format!("{{{min},}}"),
        (min, Some(max)) => format!("{{{min},{max}}}"),
    }
}

/// A string as Lark quotes it, which is as JSON does, and every control character escaped.
pub(in crate::grammar) fn quoted(text: &str) -> String {
    let json = serde_json::Value::from(text).to_string();
    json.replace('\u{7f}', "\\u007f")
}

#[cfg(test)]
mod tests {
    use super::super::to_lark;

    #[test]
    fn a_grammar_without_recursion_is_one_terminal() {
        let lark = to_lark("root ::= a \"-\" [0-9]{2,}\na ::= \"x\" | \"y\" .\n").unwrap();
        let expected = "start: T0\nT0: T1 \"-\" (/[\\x{30}-\\x{39}]/){2,}\nT1: (\"x\" | \"y\" /(?s:.)/)\n";
        assert_eq!(lark, expected);
    }

    #[test]
    fn what_recursion_leaves_is_cut_into_terminals() {
        let lark = to_lark(
            "root ::= \"(\" ws root? \")\" ws | \"a\" | b\nws ::= | \" \" ws2\nws2 ::= [ ]{0,3}\nb ::= \"b\"",
        )
        .unwrap();
        assert_eq!(
            lark,
            "start: r0\nr0: (T0_0 | T0_1 (r0)? T0_2)\nT0_0: (\"a\" | T3)\nT0_1: \"(\" T1\nT0_2: \")\" T1\n\
             T1: (\" \" T2)?\nT2: (/[\\x{20}-\\x{20}]/){0,3}\nT3: \"b\"\n"
        );
    }

    #[test]
    fn empty_parts_are_left_out() {
        assert!(to_lark("root ::= \"\" a\na ::= \"\"{0}").unwrap_err().contains("empty output"));
        let lark = to_lark("root ::= root \"a\" | e \"b\"\ne ::= \"\"").unwrap();
        assert_eq!(lark, "start: r0\nr0: (T0_0 | r0 T0_1)\nT0_0: (\"b\")\nT0_1: \"a\"\n");
    }

    #[test]
    fn strings_are_quoted_as_lark_reads_them() {
        let lark = to_lark("root ::= \"a\\\"\\\\\\n\\x7f\\x01/é\"").unwrap();
        assert_eq!(lark, "start: T0\nT0: \"a\\\"\\\\\\n\\u007f\\u0001/é\"\n");
    }
}
