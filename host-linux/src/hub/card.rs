//! What the front of a model's README says: its licence.
//!
//! It is YAML, of which only a line `license: NAME` at the left margin between two lines `---` is
//! read; that is how the hub writes it.
use crate::text::quote::quote;
use std::io::Read;
use std::path::Path;

/// Bytes of a README that are read, at most.
const README_MAX: u64 = 1 << 20;
/// Lines of its front, at most.
const LINES_MAX: usize = 1000;

/// The licence that the README of a folder names, as its publisher writes it; `None` if it names
/// none.
pub fn licence(folder: &Path) -> Option<String> {
    let mut text = Vec::new();
    let path = folder.join("README.md");
    let file = std::fs::File::open(path).ok().filter(|file| file.metadata().is_ok_and(|m| m.is_file()))?;
    file.take(README_MAX).read_to_end(&mut text).ok()?;
    licence_of(&String::from_utf8_lossy(&text))
}

fn licence_of(readme: &str) -> Option<String> {
    let mut lines = readme.trim_start_matches('\u{feff}').lines().map(str::trim_end);
    lines.next().filter(|line| *line == "---")?;
    let front = lines.take(LINES_MAX).take_while(|line| *line != "---");
    let value = |line: &str, key: &str| {
        let value = line.strip_prefix(key)?.trim().trim_matches(['"', '\'']);
        (!value.is_empty()).then(|| quote(value))
    };
    let (mut licence, mut name) = (None, None);
    for line in front {
        licence = licence.or_else(|| value(line, "license:"));
        name = name.or_else(|| value(line, "license_name:"));
    }
    // The hub calls what it does not know `other`, and its publisher names it beside.
    if licence.as_deref() == Some("other") { name.or(licence) } else { licence }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_licence_stands_in_the_front() {
        for (readme, expected) in [
            ("---\nlicense: apache-2.0\ntags:\n- a\n---\n# Model", Some("apache-2.0")),
            ("---\r\nlanguage: en\r\nlicense: 'mit'\r\n---\r\n", Some("mit")),
            ("---\nlicense: other\nlicense_name: llama3\n---\n", Some("llama3")),
            ("---\nlicense: other\n---\n", Some("other")),
            ("---\nbase: x\n---\nlicense: mit", None),
            ("license: mit", None),
            ("---\n  license: mit\n---", None),
            ("---\nlicense:\n- mit\n---", None),
            ("", None),
        ] {
            assert_eq!(licence_of(readme).as_deref(), expected, "{readme:?}");
        }
        let long = format!("---\nlicense: {}\n---", "x".repeat(10_000));
        assert!(licence_of(&long).unwrap().chars().count() <= 100);
        assert_eq!(licence_of("---\nlicense: a\u{1b}[31m\n---").unwrap(), "a\\u{1b}[31m");
    }
}
