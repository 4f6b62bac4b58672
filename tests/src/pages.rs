//! Pages of Markdown as text: what they link to, their headings, and the commands in them.
//!
//! No parser of Markdown: blocks of code are what is fenced, or indented behind an empty line, and
//! a link is `](…)`. That is all that our pages have.
use crate::mutants::root;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// A page of the repository.
#[derive(Debug)]
pub struct Page {
    /// Its path from the root, with `/`.
    pub path: String,
    /// All that is in it.
    pub text: String,
}

/// A line of a page.
#[derive(Debug, Clone, Copy)]
pub struct Line<'p> {
    /// Which line it is, from 1.
    pub number: usize,
    /// What stands in it, without its end.
    pub text: &'p str,
    /// Whether it lies in a block of code, fences included.
    pub is_code: bool,
}

/// What a page refers to.
#[derive(Debug)]
pub struct Link {
    /// The line of the page, from 1.
    pub line: usize,
    /// As it stands there: a path from the page, perhaps with an anchor, or a URL.
    pub target: String,
    /// The words that stand for a picture; none where the link is no picture.
    pub picture: Option<String>,
}

impl Page {
    /// The pages that readers come to: those at the root, all of `docs`, and each README.md below
    /// the other folders.
    ///
    /// # Panics
    /// If the repository cannot be read.
    pub fn all() -> Vec<Self> {
        let mut paths = Vec::new();
        find(&root(), "", &mut paths);
        paths.sort_unstable();
        paths.into_iter().map(Self::read).collect()
    }

    /// The page at a path from the root.
    ///
    /// # Panics
    /// If it cannot be read.
    pub fn read(path: String) -> Self {
        let text = std::fs::read_to_string(root().join(&path)).unwrap_or_else(|e| panic!("{path}: {e}"));
        Self { path, text }
    }

    /// All lines, with what is code told.
    pub fn lines(&self) -> Vec<Line<'_>> {
        let (mut is_fenced, mut is_indented, mut was_empty) = (false, false, true);
        let line = |(i, text): (usize, &'_ str)| {
            let is_fence = text.trim_start().starts_with("```");
            let is_empty = text.trim().is_empty();
            is_indented = !is_fenced && !is_empty && text.starts_with("    ") && (is_indented || was_empty)
                || is_indented && is_empty;
            was_empty = is_empty;
            let is_code = is_fenced || is_fence || is_indented;
            is_fenced ^= is_fence;
            (i + 1, is_code)
        };
        let marks: Vec<(usize, bool)> = self.text.lines().enumerate().map(line).collect();
        let lines = self.text.lines().zip(marks);
        lines.map(|(text, (number, is_code))| Line { number, text, is_code }).collect()
    }

    /// Links and pictures outside of code, of Markdown and of HTML.
    pub fn links(&self) -> Vec<Link> {
        let mut links = Vec::new();
        for line in self.lines().into_iter().filter(|line| !line.is_code) {
            let text = without_code(line.text);
            for (at, _) in text.match_indices("](") {
                let Some((target, _)) = text[at + 2..].split_once(')') else { continue };
                let open = text[..at].rfind('[').unwrap_or(0);
                let is_picture = text[..open].ends_with('!');
                let picture = is_picture.then(|| text[open + 1..at].to_owned());
                links.push(Link { line: line.number, target: target.to_owned(), picture });
            }
            for name in ["src=\"", "srcset=\"", "href=\""] {
                for (at, _) in text.match_indices(name) {
                    let Some((target, _)) = text[at + name.len()..].split_once('"') else { continue };
                    let words = text.split_once("alt=\"").and_then(|(_, rest)| rest.split_once('"'));
                    let picture = (name == "src=\"").then(|| words.map_or("", |(words, _)| words).to_owned());
                    links.push(Link { line: line.number, target: target.to_owned(), picture });
                }
            }
        }
        links
    }

    /// The anchors of all headings, as GitHub and mdBook make them.
    pub fn anchors(&self) -> BTreeSet<String> {
        let mut seen: BTreeMap<String, usize> = BTreeMap::new();
        let mut anchors = BTreeSet::new();
        for line in self.lines().into_iter().filter(|line| !line.is_code) {
            let Some((marks, heading)) = line.text.split_once(' ') else { continue };
            if marks.is_empty() || !marks.chars().all(|c| c == '#') {
                continue;
            }
            let heading = heading.trim().to_lowercase().replace(' ', "-");
            let anchor: String =
                heading.chars().filter(|c| c.is_alphanumeric() || matches!(c, '-' | '_')).collect();
            let count = seen.entry(anchor.clone()).or_default();
            anchors.insert(if *count == 0 { anchor } else { format!("{anchor}-{count}") });
            *count += 1;
        }
        anchors
    }

    /// The commands of the program `verbatim` that a reader is shown, in blocks of code and between
    /// backticks, each with its line: `cargo run --release --` is the program, too.
    pub fn commands(&self) -> Vec<(usize, Vec<String>)> {
        let mut commands = Vec::new();
        let mut begun: Option<(usize, String)> = None;
        for line in self.lines() {
            if !line.is_code {
                let spans = line.text.split('`').skip(1).step_by(2);
                commands.extend(spans.map(|span| (line.number, span.to_owned())));
                continue;
            }
            let (number, text) = begun.take().unwrap_or((line.number, String::new()));
            let text = format!("{text} {}", line.text.trim());
            match text.strip_suffix('\\') {
                Some(text) => begun = Some((number, text.to_owned())),
                None => commands.push((number, text)),
            }
        }
        let of_program = |(line, text): (usize, String)| Some((line, program_words(&text)?));
        commands.into_iter().filter_map(of_program).collect()
    }
}

/// The words behind the program's name, where a line of a shell runs it.
fn program_words(line: &str) -> Option<Vec<String>> {
    let mut words = shell_words(line.trim());
    let is_variable = |word: &str| {
        word.split_once('=').is_some_and(|(name, _)| name.chars().all(|c| c.is_ascii_uppercase() || c == '_'))
    };
    while words.first().is_some_and(|word| is_variable(word)) {
        words.remove(0);
    }
    for program in [&["verbatim"][..], &["cargo", "run", "--release", "--"]] {
        if words.len() > program.len() && words.iter().zip(program).all(|(word, part)| word == part) {
            return Some(words.split_off(program.len()));
        }
    }
    None
}

/// The words of the first command of a line, with single and double quotes taken off.
fn shell_words(line: &str) -> Vec<String> {
    let (mut words, mut word, mut quote) = (Vec::new(), None::<String>, None);
    for c in line.chars() {
        match quote {
            Some(open) if c == open => quote = None,
            Some(_) => word.get_or_insert_default().push(c),
            None if matches!(c, '\'' | '"') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            None if c == '#' && word.is_none() => break,
            None if matches!(c, '|' | '>' | '<' | '&' | ';') => break,
            None if c.is_whitespace() => words.extend(word.take()),
            None => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    words
}

/// A line with what stands between backticks taken out.
fn without_code(line: &str) -> String {
    line.split('`').step_by(2).collect()
}

/// Adds the paths of the pages in a folder and below it.
fn find(root: &Path, folder: &str, paths: &mut Vec<String>) {
    let entries = std::fs::read_dir(root.join(folder)).expect("the repository can be read");
    for entry in entries.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let path = if folder.is_empty() { name.clone() } else { format!("{folder}/{name}") };
        let is_folder = entry.file_type().is_ok_and(|kind| kind.is_dir());
        let is_ours =
            !name.starts_with('.') && !["target", "node_modules", "shared"].contains(&name.as_str());
        let is_page = name == "README.md" || name.ends_with(".md") && ["", "docs"].contains(&folder);
        if is_folder && is_ours {
            find(root, &path, paths);
        } else if !is_folder && is_page {
            paths.push(path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(text: &str) -> Page {
        Page { path: "docs/a.md".into(), text: text.into() }
    }

    #[test]
    fn links_are_found_outside_of_code() {
        let page =
            page("[a](b.md#c) ![d `x`](e.svg) `[f](g)`\n\n    [h](i)\n\n- j\n    [k](l)\n```\n[m](n)\n```\n");
        let links: Vec<_> = page.links().into_iter().map(|l| (l.line, l.target, l.picture)).collect();
        let expected = [(1, "b.md#c", None), (1, "e.svg", Some("d ".to_owned())), (6, "l", None)];
        assert_eq!(links, expected.map(|(line, target, picture)| (line, target.to_owned(), picture)));
        let html = super::Page { path: "a".into(), text: "<img src=\"b.png\" alt=\"a page\">".into() };
        assert_eq!(html.links()[0].picture.as_deref(), Some("a page"));
    }

    #[test]
    fn anchors_are_those_of_headings() {
        let page = page("# A b\n## `c`: /v1/d, e\n## A b\n\n    # no\n#no\n");
        assert_eq!(page.anchors().into_iter().collect::<Vec<_>>(), ["a-b", "a-b-1", "c-v1d-e"]);
    }

    #[test]
    fn commands_are_the_programs_own() {
        let page = page(
            "say `verbatim show X` or `verbatim`\n\n    A=1 verbatim serve --port 0 \\\n        -x 'a # b' | cat # c\n    cargo run --release -- chat\n    cargo run --release\n    verbatim-sim --x\n",
        );
        let commands: Vec<_> =
            page.commands().into_iter().map(|(line, words)| (line, words.join(","))).collect();
        let expected = [(1, "show,X"), (3, "serve,--port,0,-x,a # b"), (5, "chat")];
        assert_eq!(commands, expected.map(|(line, words)| (line, words.to_owned())));
    }
}
