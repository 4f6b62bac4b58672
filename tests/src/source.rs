//! Rust sources as text, for tests that look at the tree itself: what is code, string and comment,
//! which functions a file has, and which files it takes names from.
//!
//! This is no parser. It knows strings, comments, braces and `use`, which is enough for a tree that
//! is formatted by rustfmt.
use crate::mutants::Tree;
use std::collections::{BTreeMap, BTreeSet};

/// A file with its kinds of text apart. Each text has the lines and columns of the file, with
/// blanks where another kind stands.
#[derive(Clone, Debug)]
pub struct Source {
    /// The path from the root of the repository.
    pub path: String,
    /// The whole text of the file, as it was read.
    pub text: String,
    /// Everything but comments and the insides of strings.
    pub code: String,
    /// The code without items under `#[cfg(test)]`.
    pub product: String,
    /// The insides of strings outside of items under `#[cfg(test)]`.
    pub strings: String,
    /// Whether the file holds nothing but tests, by its name or by how its module is declared.
    pub is_test: bool,
}

impl Source {
    /// Takes a file's text apart.
    pub fn new(path: &str, text: &str) -> Self {
        let (code, strings) = split(text);
        let is_test = test_items(&code);
        let blank = |text: &str| -> String {
            let mask = text.chars().zip(&is_test);
            mask.map(|(c, is_test)| if *is_test && c != '\n' { ' ' } else { c }).collect()
        };
        let (product, strings) = (blank(&code), blank(&strings));
        let stem = path.rsplit('/').next().unwrap_or_default().trim_end_matches(".rs");
        let is_test = path.contains("/tests/") || stem == "tests" || stem.ends_with("_tests");
        Self { path: path.to_owned(), text: text.to_owned(), code, product, strings, is_test }
    }

    /// Takes all files of a tree apart. A file whose `mod` line is under `#[cfg(test)]` is a test.
    pub fn all(tree: &Tree) -> Vec<Self> {
        let mut all: Vec<Self> = tree.iter().map(|(path, text)| Self::new(path, text)).collect();
        for i in 0..all.len() {
            let path = all[i].path.trim_end_matches(".rs");
            let Some((folder, name)) = path.rsplit_once('/') else { continue };
            let parents = ["/mod.rs", "/lib.rs", "/main.rs", ".rs"].map(|end| format!("{folder}{end}"));
            let line = format!("mod {name};");
            let is_test = |parent: &Self| parent.code.contains(&line) && !parent.product.contains(&line);
            if all.iter().any(|parent| parents.contains(&parent.path) && is_test(parent)) {
                all[i].is_test = true;
            }
        }
        all
    }

    /// The functions of the file outside of tests.
    pub fn functions(&self) -> Vec<Function> {
        functions(&self.product)
    }
}

/// What the lexer is in.
enum In {
    Code,
    Line,
    Block(usize),
    String { hashes: Option<usize> },
}

/// The code and the insides of strings.
fn split(text: &str) -> (String, String) {
    let c: Vec<char> = text.chars().collect();
    let (mut code, mut strings) = (String::new(), String::new());
    let at = |i: usize| c.get(i).copied().unwrap_or('\0');
    let (mut state, mut i) = (In::Code, 0);
    while i < c.len() {
        // How many characters are taken together, and whether they are code or a string's inside.
        let (mut take, mut is_code, mut is_inside) = (1, false, false);
        match state {
            In::Code => {
                is_code = true;
                let is_word = i > 0 && (c[i - 1].is_alphanumeric() || c[i - 1] == '_');
                if at(i) == '/' && at(i + 1) == '/' {
                    (state, is_code) = (In::Line, false);
                } else if at(i) == '/' && at(i + 1) == '*' {
                    (state, is_code, take) = (In::Block(1), false, 2);
                } else if at(i) == '"' {
                    state = In::String { hashes: None };
                } else if at(i) == 'r' && !is_word && (at(i + 1) == '"' || at(i + 1) == '#') {
                    let hashes = (i + 1..).take_while(|j| at(*j) == '#').count();
                    if at(i + 1 + hashes) == '"' {
                        (state, take) = (In::String { hashes: Some(hashes) }, hashes + 2);
                    }
                } else if at(i) == '\'' && at(i + 1) == '\\' {
                    take = 3 + (i + 3..).take_while(|j| *j < c.len() && at(*j) != '\'').count();
                    take += 1;
                } else if at(i) == '\'' && at(i + 2) == '\'' {
                    // A character is no bracket and no quote to whoever reads the code.
                    code.push_str("' '");
                    strings.push_str("   ");
                    i += 3;
                    continue;
                }
            }
            In::Line => {
                if at(i) == '\n' {
                    state = In::Code;
                }
            }
            In::Block(depth) => {
                if at(i) == '*' && at(i + 1) == '/' {
                    take = 2;
                    state = if depth == 1 { In::Code } else { In::Block(depth - 1) };
                } else if at(i) == '/' && at(i + 1) == '*' {
                    take = 2;
                    state = In::Block(depth + 1);
                }
            }
            In::String { hashes: None } => match at(i) {
                '\\' => (take, is_inside) = (2, true),
                '"' => (state, is_code) = (In::Code, true),
                _ => is_inside = true,
            },
            In::String { hashes: Some(hashes) } => {
                if at(i) == '"' && (1..=hashes).all(|j| at(i + j) == '#') {
                    (state, take, is_code) = (In::Code, hashes + 1, true);
                } else {
                    is_inside = true;
                }
            }
        }
        for c in &c[i..(i + take).min(c.len())] {
            let or_blank = |is_kept: bool| if is_kept || *c == '\n' { *c } else { ' ' };
            code.push(or_blank(is_code));
            strings.push(or_blank(is_inside));
        }
        i += take;
    }
    (code, strings)
}

/// For each character of the code, whether it belongs to an item under `#[cfg(test)]`.
fn test_items(code: &str) -> Vec<bool> {
    let c: Vec<char> = code.chars().collect();
    let mut is_test = vec![false; c.len()];
    let mark: Vec<char> = "#[cfg(test)]".chars().collect();
    let mut i = 0;
    while i < c.len() {
        if !c[i..].starts_with(&mark) {
            i += 1;
            continue;
        }
        // The item ends with the first `;` outside of brackets, or with its braces.
        let (start, mut depth) = (i, 0);
        i += mark.len();
        while i < c.len() {
            match c[i] {
                '(' | '[' | '{' => depth += 1,
                ')' | ']' | '}' => depth -= 1,
                _ => {}
            }
            i += 1;
            if depth == 0 && matches!(c[i - 1], ';' | '}') {
                break;
            }
        }
        is_test[start..i].fill(true);
    }
    is_test
}

/// A function as it stands in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Function {
    /// The name, without its path.
    pub name: String,
    /// The number of its first line, from 1.
    pub line: usize,
    /// Lines from its signature to its closing brace.
    pub lines: usize,
    /// Parameters, `self` included; a tuple counts as many as it has parts.
    pub parameters: usize,
}

/// The functions in a file's code.
pub fn functions(code: &str) -> Vec<Function> {
    let c: Vec<char> = code.chars().collect();
    let is_word = |i: usize| c.get(i).is_some_and(|c| c.is_alphanumeric() || *c == '_');
    let mut found = Vec::new();
    for i in 0..c.len() {
        let is_fn = c[i..].starts_with(&['f', 'n', ' ']) && (i == 0 || !is_word(i - 1)) && is_word(i + 3);
        if !is_fn {
            continue;
        }
        let name: String = c[i + 3..].iter().take_while(|c| c.is_alphanumeric() || **c == '_').collect();
        let mut at = i + 3 + name.chars().count();
        if c.get(at) == Some(&'<') {
            at = closing(&c, at);
        }
        if c.get(at) != Some(&'(') {
            continue;
        }
        let end = closing(&c, at);
        let inside: String = c[at + 1..end - 1].iter().collect();
        let parameters = parts(&inside).iter().map(|parameter| parameter_count(parameter)).sum();
        let body = (end..c.len()).find(|j| matches!(c[*j], '{' | ';')).unwrap_or(c.len() - 1);
        let last = if c[body] == '{' { closing(&c, body) - 1 } else { body };
        let line_of = |at: usize| c[..at].iter().filter(|c| **c == '\n').count() + 1;
        let line = line_of(i);
        found.push(Function { name, line, lines: line_of(last) + 1 - line, parameters });
    }
    found
}

/// The index after the bracket that closes the one at `at`.
fn closing(c: &[char], at: usize) -> usize {
    let mut depth = 0;
    for i in at..c.len() {
        match c[i] {
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' => depth -= 1,
            '<' if c[at] == '<' => depth += 1,
            '>' if c[at] == '<' && !matches!(c[i - 1], '-' | '=') => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return i + 1;
        }
    }
    c.len()
}

/// Cuts a list at its outer commas.
fn parts(list: &str) -> Vec<String> {
    let (mut parts, mut depth, mut before) = (vec![String::new()], 0, ' ');
    for c in list.chars() {
        match c {
            '(' | '[' | '{' | '<' => depth += 1,
            ')' | ']' | '}' => depth -= 1,
            '>' if !matches!(before, '-' | '=') => depth -= 1,
            _ => {}
        }
        before = c;
        match parts.last_mut() {
            Some(part) if c != ',' || depth > 0 => part.push(c),
            _ => parts.push(String::new()),
        }
    }
    parts.retain(|part| !part.trim().is_empty());
    parts
}

/// 1, or as many as the tuple has parts that is the parameter's type.
fn parameter_count(parameter: &str) -> usize {
    fn of_type(of: &str) -> usize {
        let of = of.trim();
        match of.strip_prefix('(').and_then(|of| of.strip_suffix(')')) {
            Some(inside) => parts(inside).iter().map(|part| of_type(part)).sum::<usize>().max(1),
            None => 1,
        }
    }
    let mut depth = 0;
    for (i, c) in parameter.char_indices() {
        match c {
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' => depth -= 1,
            ':' if depth == 0 => return of_type(&parameter[i + 1..]),
            _ => {}
        }
    }
    1
}

/// The modules of one crate: which file is which module, and who takes names from whom.
#[derive(Debug)]
pub struct Crate {
    /// Module path (`engine::state`, empty for the root) to the index of its file.
    modules: BTreeMap<String, usize>,
    /// Module path of each file.
    paths: Vec<String>,
    /// Names that a module takes by `use`: to the path that they come from, from the root.
    imports: Vec<BTreeMap<String, String>>,
    /// Paths that the file mentions, from the root.
    mentions: Vec<BTreeSet<String>>,
}

impl Crate {
    /// Reads the modules of the files under `root` (`core/src/`), tests left out.
    pub fn new(root: &str, sources: &[&Source]) -> Self {
        let mut modules = BTreeMap::new();
        let mut paths = Vec::new();
        for (i, source) in sources.iter().enumerate() {
            let name = source.path.trim_start_matches(root).trim_end_matches(".rs");
            let name = name.trim_end_matches("/mod").replace('/', "::");
            let name = if matches!(&*name, "lib" | "main" | "mod") { String::new() } else { name };
            modules.insert(name.clone(), i);
            paths.push(name);
        }
        let mut new = Self { modules, paths, imports: Vec::new(), mentions: Vec::new() };
        for (i, source) in sources.iter().enumerate() {
            let mut imports = BTreeMap::new();
            let mut mentions = BTreeSet::new();
            for (name, path) in uses(&source.product) {
                if let Some(path) = new.absolute(i, &path) {
                    mentions.insert(path.clone());
                    imports.insert(name, path);
                }
            }
            for path in inline_paths(&source.product) {
                mentions.extend(new.absolute(i, &path));
            }
            new.imports.push(imports);
            new.mentions.push(mentions);
        }
        new
    }

    /// The path from the crate's root, if it is one of this crate.
    fn absolute(&self, file: usize, path: &str) -> Option<String> {
        let own = &self.paths[file];
        let mut base: Vec<&str> = own.split("::").filter(|part| !part.is_empty()).collect();
        let mut rest = path.split("::").peekable();
        match *rest.peek()? {
            "crate" => {
                base.clear();
                rest.next();
            }
            "self" => drop(rest.next()),
            "super" => {
                while rest.next_if_eq(&"super").is_some() {
                    base.pop()?;
                }
            }
            child => {
                let child = if own.is_empty() { child.to_owned() } else { format!("{own}::{child}") };
                self.modules.get(&child)?;
            }
        }
        base.extend(rest);
        Some(base.join("::"))
    }

    /// The file in which the last name of a path stands: its module's, or the one that the module
    /// has the name from.
    fn home(&self, path: &str) -> Option<usize> {
        let mut path = path.to_owned();
        for _ in 0..8 {
            let parts: Vec<&str> = path.split("::").collect();
            let len =
                (0..=parts.len()).rev().find(|len| self.modules.contains_key(&parts[..*len].join("::")))?;
            let file = self.modules[&parts[..len].join("::")];
            match parts.get(len).and_then(|name| self.imports.get(file)?.get(*name)) {
                Some(origin) if *origin != path => {
                    path = [&[origin.as_str()], &parts[len + 1..]].concat().join("::");
                }
                _ => return Some(file),
            }
        }
        None
    }

    /// Top-level modules that the file takes names from.
    pub fn tops(&self, file: usize) -> BTreeSet<String> {
        let top = |path: &String| path.split("::").next().map(str::to_owned);
        let tops = self.mentions[file].iter().filter_map(top);
        tops.filter(|top| self.modules.contains_key(top)).collect()
    }

    /// The top-level module of a file.
    pub fn top(&self, file: usize) -> &str {
        self.paths[file].split("::").next().unwrap_or_default()
    }

    /// Groups of files that take names from each other, around a circle. What a module's file takes
    /// from the folder below it is no part of one, nor what is taken from a folder's own `mod.rs`
    /// from inside.
    pub fn circles(&self) -> Vec<Vec<usize>> {
        let count = self.paths.len();
        let is_above = |above: usize, below: usize| {
            let above = &self.paths[above];
            above.is_empty() || self.paths[below].starts_with(&format!("{above}::"))
        };
        let mut reach: Vec<BTreeSet<usize>> = (0..count)
            .map(|from| {
                let homes = self.mentions[from].iter().filter_map(|path| self.home(path));
                homes.filter(|to| *to != from && !is_above(*to, from)).collect()
            })
            .collect();
        for middle in 0..count {
            let beyond = reach[middle].clone();
            for from in &mut reach {
                if from.contains(&middle) {
                    from.extend(&beyond);
                }
            }
        }
        let mut seen = BTreeSet::<usize>::new();
        let mut circles = Vec::new();
        for from in 0..count {
            if seen.contains(&from) || !reach[from].contains(&from) {
                continue;
            }
            let circle: Vec<usize> =
                (0..count).filter(|to| reach[from].contains(to) && reach[*to].contains(&from)).collect();
            seen.extend(&circle);
            circles.push(circle);
        }
        circles
    }
}

/// What a file's `use` items take: name and full path, braces written out.
fn uses(code: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for line in code.split(';') {
        let Some(at) = line.rfind("use ").filter(|at| {
            let before = line[..*at].trim_end();
            let before =
                before.strip_suffix(')').map_or(before, |b| b.rsplit_once("pub(").map_or(b, |(b, _)| b));
            let before = before.trim_end_matches("pub").trim_end();
            before.is_empty() || before.ends_with(['}', ']', '{'])
        }) else {
            continue;
        };
        let tree: String = line[at + 4..].split_whitespace().collect::<Vec<_>>().join(" ");
        expand("", &tree, &mut found);
    }
    found
}

fn expand(prefix: &str, tree: &str, found: &mut Vec<(String, String)>) {
    let tree = tree.trim();
    if let Some((before, inside)) = tree.split_once('{') {
        let inside = inside.trim().trim_end_matches('}');
        // Only the last closing brace belongs to this one; inner ones are balanced by `parts`.
        let missing = inside.matches('{').count().saturating_sub(inside.matches('}').count());
        let inside = inside.to_owned() + &"}".repeat(missing);
        for part in parts(&inside) {
            expand(&format!("{prefix}{before}"), &part, found);
        }
        return;
    }
    let (path, alias) = tree.split_once(" as ").map_or((tree, None), |(path, alias)| (path, Some(alias)));
    let path = format!("{prefix}{path}");
    let path = path.trim_end_matches("::self").to_owned();
    let last = path.rsplit("::").next().unwrap_or_default().to_owned();
    found.push((alias.map_or(last, str::to_owned), path));
}

/// Paths that begin with `crate`, `super` or `self` anywhere in the code.
fn inline_paths(code: &str) -> Vec<String> {
    let mut found = Vec::new();
    let words: Vec<&str> = code.split(|c: char| !(c.is_alphanumeric() || matches!(c, '_' | ':'))).collect();
    for word in words {
        if ["crate::", "super::", "self::"].iter().any(|start| word.starts_with(start)) {
            found.push(word.trim_end_matches(':').to_owned());
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_strings_and_tests_are_told_apart() {
        let text = "fn a() { // unsafe\n    b(\"--flag \\\" {\", '{', '\\n', r#\"x\"#);\n}\n#[cfg(test)]\nmod tests { fn c() {} }\nfn d() {}\n";
        let source = Source::new("a.rs", text);
        assert!(!source.code.contains("unsafe") && !source.code.contains("--flag"), "{}", source.code);
        assert!(source.strings.contains("--flag") && !source.strings.contains('b'), "{}", source.strings);
        assert!(source.code.contains("fn c") && !source.product.contains("fn c"));
        let names: Vec<_> = source.functions().into_iter().map(|f| (f.name, f.line, f.lines)).collect();
        assert_eq!(names, [("a".to_owned(), 1, 3), ("d".to_owned(), 6, 1)]);
    }

    #[test]
    fn parameters_are_counted_with_the_parts_of_tuples() {
        let code = "fn f<T: Fn(u8) -> u8>(&self, (a, b): (&[u8], (u8, u8)), c: &dyn Fn(u8, u8) -> u8, d: [u8; 2],) {}";
        assert_eq!(functions(code)[0].parameters, 1 + 3 + 1 + 1);
        assert_eq!(functions("fn f() -> u8;")[0].parameters, 0);
    }

    #[test]
    fn circles_are_found_through_names_that_a_folder_hands_on() {
        let files = [
            ("x/lib.rs", "mod a; mod m;"),
            ("x/a.rs", "use crate::m::{b::B, C as D};"),
            ("x/m/mod.rs", "mod b;\nmod c;\npub use c::C;\npub struct M;"),
            ("x/m/b.rs", "use super::M; use super::C;"),
            ("x/m/c.rs", "fn f() { super::b::g() }"),
        ];
        let sources: Vec<_> = files.iter().map(|(path, text)| Source::new(path, text)).collect();
        let sources: Vec<_> = sources.iter().collect();
        let tree = Crate::new("x/", &sources);
        assert_eq!(tree.circles(), [vec![3, 4]]);
        assert_eq!(tree.tops(1), BTreeSet::from(["m".to_owned()]));
        assert_eq!(tree.top(3), "m");
    }
}
