//! Planted bugs: the patches under `tests/mutants`, and the copy of the tree in which they are
//! built. The folder's README says what a patch looks like.
//!
//! The product has no trace of them. [`build`] copies the sources to `target/mutants/tree`, applies
//! every patch, and builds `verbatim-sim` there with `--cfg mutants`; `sim::hunt` is in that build
//! alone. Lines are found by their text, so a patch survives moved lines and other indentation, and
//! fails when its lines are gone or stand there twice.
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The root of the repository.
pub fn root() -> PathBuf {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    tests.parent().expect("the tests lie in the repository").to_path_buf()
}

/// What a line of a patch says about the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// The line is there and stays.
    Kept,
    /// The line is there and is removed.
    Removed,
    /// The line is not there and is added.
    Added,
}

/// Lines that stand together in one file.
#[derive(Clone, Debug)]
struct Hunk {
    path: String,
    lines: Vec<(Kind, String)>,
}

/// One planted bug: a story, and changes to files.
#[derive(Clone, Debug)]
pub struct Patch {
    /// The name of its file without the extension: `block-boundary`.
    pub name: String,
    /// What the bug does, in a sentence.
    pub story: String,
    hunks: Vec<Hunk>,
}

/// Texts of files by their path from the root, with `/` between folders.
pub type Tree = BTreeMap<String, String>;

impl Patch {
    /// Reads the text of a patch.
    pub fn parse(name: &str, text: &str) -> Result<Self, String> {
        let mut hunks: Vec<Hunk> = Vec::new();
        let mut story = String::new();
        for (i, line) in text.lines().enumerate() {
            let wrong = |what: &str| format!("{name}.patch, line {}: {what}: {line:?}", i + 1);
            if let Some(path) = line.strip_prefix("--- ") {
                hunks.push(Hunk { path: path.trim().to_owned(), lines: Vec::new() });
            } else if let Some(hunk) = hunks.last_mut() {
                if line.starts_with("@@") {
                    let path = hunk.path.clone();
                    hunks.push(Hunk { path, lines: Vec::new() });
                    continue;
                }
                let kind = match line.chars().next() {
                    Some(' ') => Kind::Kept,
                    Some('-') => Kind::Removed,
                    Some('+') => Kind::Added,
                    _ => return Err(wrong("expected ' ', '-', '+' or '@@' first")),
                };
                hunk.lines.push((kind, line[1..].to_owned()));
            } else if !line.trim().is_empty() {
                story.push_str(if story.is_empty() { "" } else { " " });
                story.push_str(line.trim());
            }
        }
        let is_empty = |hunk: &Hunk| hunk.lines.iter().all(|(kind, _)| *kind == Kind::Added);
        if story.is_empty() || hunks.is_empty() || hunks.iter().any(is_empty) {
            return Err(format!("{name}.patch has no story, no change, or a change without a place"));
        }
        Ok(Self { name: name.to_owned(), story, hunks })
    }

    /// Makes the patch's changes. Every hunk must have exactly one place.
    pub fn apply(&self, tree: &mut Tree) -> Result<(), String> {
        for hunk in &self.hunks {
            let wrong = |what: String| format!("{}.patch, {}: {what}", self.name, hunk.path);
            let text = tree.get_mut(&hunk.path).ok_or_else(|| wrong("there is no such file".into()))?;
            *text = hunk.applied(text).map_err(wrong)?;
        }
        Ok(())
    }

    /// The name in camel case: `BlockBoundary` for `block-boundary`.
    fn camel_case(&self) -> String {
        let upper = |word: &str| word[..1].to_uppercase() + &word[1..];
        self.name.split('-').map(upper).collect()
    }
}

impl Hunk {
    fn applied(&self, text: &str) -> Result<String, String> {
        let lines: Vec<&str> = text.lines().collect();
        let old: Vec<&str> =
            self.lines.iter().filter(|(k, _)| *k != Kind::Added).map(|(_, l)| l.trim()).collect();
        let places: Vec<usize> = (0..=lines.len().saturating_sub(old.len()))
            .filter(|at| lines[*at..].len() >= old.len())
            .filter(|at| lines[*at..].iter().zip(&old).all(|(line, old)| line.trim() == *old))
            .collect();
        let [place] = places[..] else {
            return Err(format!(
                "expected these lines once, found them {} times:\n{}",
                places.len(),
                old.join("\n")
            ));
        };
        let mut out: Vec<&str> = lines[..place].to_vec();
        let mut rest = lines[place..].iter();
        for (kind, line) in &self.lines {
            match kind {
                Kind::Kept => out.extend(rest.next()),
                Kind::Removed => drop(rest.next()),
                Kind::Added => out.push(line),
            }
        }
        out.extend(rest);
        Ok(out.join("\n") + "\n")
    }
}

/// The planted bugs, by name.
pub fn patches() -> Result<Vec<Patch>, String> {
    read_patches(&root().join("tests/mutants"))
}

fn read_patches(folder: &Path) -> Result<Vec<Patch>, String> {
    let failed = |error: std::io::Error| format!("{}: {error}", folder.display());
    let mut patches = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if path.extension().is_some_and(|extension| extension == "patch") {
            let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            patches.push(Patch::parse(&name, &std::fs::read_to_string(&path).map_err(failed)?)?);
        }
    }
    patches.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(patches)
}

/// Plants every bug, and the switch between them, in a tree of the sources.
pub fn plant(tree: &mut Tree) -> Result<(), String> {
    let support = root().join("tests/mutants/support");
    let patches = patches()?;
    for patch in read_patches(&support)?.iter().chain(&patches) {
        patch.apply(tree)?;
    }
    let path = support.join("mutants.rs");
    let mut switch =
        std::fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    switch.push_str("\nmutants! {\n");
    for patch in &patches {
        writeln!(switch, "    {} = {:?}, {:?};", patch.camel_case(), patch.name, patch.story)
            .expect("a string takes it");
    }
    switch.push_str("}\n");
    tree.insert("core/src/mutants.rs".into(), switch);
    Ok(())
}

/// Everything that a build of the workspace reads, by its path from the root.
fn sources(root: &Path) -> std::io::Result<BTreeMap<String, Vec<u8>>> {
    let mut files = BTreeMap::new();
    let mut open: Vec<PathBuf> = ["core", "host-linux", "host-bench", "tests"].map(PathBuf::from).into();
    for file in ["Cargo.toml", "Cargo.lock"] {
        files.insert(file.to_owned(), std::fs::read(root.join(file))?);
    }
    while let Some(folder) = open.pop() {
        for entry in std::fs::read_dir(root.join(&folder))? {
            let entry = entry?;
            let path = folder.join(entry.file_name());
            if entry.file_type()?.is_dir() {
                if entry.file_name() != "target" {
                    open.push(path);
                }
            } else {
                files.insert(path.to_string_lossy().into_owned(), std::fs::read(root.join(&path))?);
            }
        }
    }
    Ok(files)
}

/// The Rust sources below a repository's root as text.
pub fn rust_sources(root: &Path) -> Result<Tree, String> {
    let files = sources(root).map_err(|error| format!("{}: {error}", root.display()))?;
    let texts = files.into_iter().filter(|(path, _)| path.ends_with(".rs"));
    texts
        .map(|(path, bytes)| match String::from_utf8(bytes) {
            Ok(text) => Ok((path, text)),
            Err(_) => Err(format!("{path} is not UTF-8")),
        })
        .collect()
}

/// Writes what differs, so that the next build begins where the last one ended, and removes what is
/// no longer there.
fn write_copy(copy: &Path, files: &BTreeMap<String, Vec<u8>>) -> std::io::Result<()> {
    for (path, bytes) in files {
        let path = copy.join(path);
        if std::fs::read(&path).is_ok_and(|old| old == *bytes) {
            continue;
        }
        std::fs::create_dir_all(path.parent().expect("a file lies in a folder"))?;
        std::fs::write(path, bytes)?;
    }
    for path in sources(copy)?.keys().filter(|path| !files.contains_key(*path)) {
        std::fs::remove_file(copy.join(path))?;
    }
    Ok(())
}

/// Builds `verbatim-sim` with all bugs in a copy of the tree; returns the program's path.
pub fn build() -> Result<PathBuf, String> {
    let root = root();
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
    let target = std::path::absolute(target).map_err(|error| error.to_string())?.join("mutants");
    let (copy, built) = (target.join("tree"), target.join("build"));
    let mut tree = rust_sources(&root)?;
    plant(&mut tree)?;
    let mut files = sources(&root).map_err(|error| format!("{}: {error}", root.display()))?;
    files.extend(tree.into_iter().map(|(path, text)| (path, text.into_bytes())));
    write_copy(&copy, &files).map_err(|error| format!("{}: {error}", copy.display()))?;
    let mut flags = std::env::var_os("RUSTFLAGS").unwrap_or_default();
    flags.push(OsString::from(" --cfg mutants"));
    let status = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .args(["build", "--release", "-p", "verbatim-tests", "--bin", "verbatim-sim", "--target-dir"])
        .arg(&built)
        .current_dir(&copy)
        .env("RUSTFLAGS", flags)
        .status()
        .map_err(|error| format!("cargo: {error}"))?;
    match status.success() {
        true => Ok(built.join("release/verbatim-sim")),
        false => Err(format!("the tree with planted bugs does not build: {}", copy.display())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATCH: &str = "A story.\n\n--- a.rs\n one\n-two\n+three\n+four\n";

    fn applied(text: &str) -> Result<String, String> {
        let mut tree = Tree::from([("a.rs".to_owned(), text.to_owned())]);
        Patch::parse("a-b", PATCH)?.apply(&mut tree)?;
        Ok(tree["a.rs"].clone())
    }

    #[test]
    fn lines_are_found_whatever_their_indentation() {
        assert_eq!(applied("zero\n    one\n    two\nfive\n").unwrap(), "zero\n    one\nthree\nfour\nfive\n");
        assert_eq!(Patch::parse("a-b", PATCH).unwrap().camel_case(), "AB");
    }

    #[test]
    fn lines_that_are_gone_or_stand_twice_fail() {
        for (text, times) in [("one\n", "0 times"), ("", "0 times"), ("one\ntwo\none\ntwo\n", "2 times")] {
            let error = applied(text).unwrap_err();
            assert!(error.contains("a-b.patch, a.rs") && error.contains(times), "{error}");
        }
        let mut other = Tree::from([("b.rs".to_owned(), String::new())]);
        let error = Patch::parse("a-b", PATCH).unwrap().apply(&mut other).unwrap_err();
        assert!(error.contains("no such file"), "{error}");
    }

    #[test]
    fn what_is_no_patch_is_refused() {
        for text in
            ["", "A story.\n", "--- a.rs\n-x\n", "A story.\n--- a.rs\n+x\n", "A story.\n--- a.rs\nx\n"]
        {
            assert!(Patch::parse("a", text).is_err(), "{text:?}");
        }
    }
}
