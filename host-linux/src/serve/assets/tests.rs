//! What must hold for the files of a page, whatever it shows: the list is the folder, what a file
//! names is there, and nothing in it makes HTML or code of a text. A page's own tests call
//! [`check_folder`].
use super::*;
use std::collections::BTreeSet;
use std::path::Path;

/// What makes HTML or code of a text, and what keeps a file from being one of plain modules.
const FORBIDDEN: &[&str] = &[
    "innerHTML",
    "outerHTML",
    "insertAdjacentHTML",
    "document.write",
    "eval(",
    "new Function",
    "DOMParser",
    "createContextualFragment",
    "srcdoc",
    "javascript:",
    "importScripts",
];

/// Names of files below a folder that are served: all but Rust and what is written for readers of
/// the source.
fn on_disk(root: &Path, below: &str, names: &mut BTreeSet<String>) {
    for entry in std::fs::read_dir(root.join(below)).expect("a folder") {
        let name = entry.expect("an entry").file_name().into_string().expect("a plain name");
        let path = if below.is_empty() { name.clone() } else { format!("{below}/{name}") };
        if root.join(&path).is_dir() {
            on_disk(root, &path, names);
        } else if name != "README.md" && !name.ends_with(".rs") {
            names.insert(path);
        }
    }
}

/// What stands in `text` between `before` and the next `after`, each time.
fn between<'t>(text: &'t str, before: &str, after: char) -> Vec<&'t str> {
    text.split(before).skip(1).filter_map(|rest| rest.split_once(after)).map(|(inner, _)| inner).collect()
}

/// The path of a reference that stands in the file at `from`.
fn resolved(from: &str, reference: &str) -> String {
    let mut parts: Vec<&str> = from.split('/').collect();
    parts.pop();
    for part in reference.split('/') {
        match part {
            "." => {}
            ".." => assert!(parts.pop().is_some(), "{from} names {reference}, which is above all"),
            part => parts.push(part),
        }
    }
    parts.join("/")
}

/// The references of a file, as paths below the server's root. A page stands at the root itself.
fn references(at: &str, file: &File, text: &str) -> Vec<String> {
    let resolve = |from: &str, found: Vec<&str>| -> Vec<String> {
        found.into_iter().filter(|one| !one.starts_with('#')).map(|one| resolved(from, one)).collect()
    };
    match file.name.rsplit_once('.').map(|(_, ending)| ending) {
        Some("html") => [between(text, "src=\"", '"'), between(text, "href=\"", '"')]
            .into_iter()
            .flat_map(|found| resolve("", found))
            .collect(),
        Some("js") => [between(text, " from '", '\''), between(text, "import('", '\'')]
            .into_iter()
            .chain([between(text, "import '", '\'')])
            .flat_map(|found| resolve(&format!("{at}/{}", file.name), found))
            .collect(),
        _ => Vec::new(),
    }
}

/// Scripts, styles and handlers come in files of their own: the policy refuses all others.
fn check_html(name: &str, text: &str) {
    for script in between(text, "<script", '<') {
        assert!(script.contains("src=\"") && script.trim_end().ends_with('>'), "{name}: {script}");
    }
    assert!(!text.contains("<style") && !text.contains("style=\""), "{name} has a style of its own");
    for tag in between(text, "<", '>') {
        let handler = tag.split_ascii_whitespace().skip(1).find(|word| word.starts_with("on"));
        assert_eq!(handler, None, "{name}: <{tag}>");
    }
}

/// Checks the folder `folders[0]`, whose files lie at `host-linux/src/serve/` and its path. Its
/// files may name those of all `folders`, and `routes`.
pub(in crate::serve) fn check_folder(folders: &[(&str, &Folder)], routes: &[&str], most_bytes: usize) {
    let (at, folder) = folders[0];
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/serve").join(at);
    let mut there = BTreeSet::new();
    on_disk(&root, "", &mut there);
    let listed: BTreeSet<String> = folder.files.iter().map(|file| file.name.to_owned()).collect();
    assert_eq!(listed, there, "the list of {at} is not its folder");
    assert_eq!(listed.len(), folder.files.len(), "a name of {at} stands in its list twice");
    let bytes: usize = folder.files.iter().map(|file| file.bytes.len()).sum();
    assert!(bytes <= most_bytes, "the files of {at} have {bytes} bytes, {most_bytes} are enough");
    let known: BTreeSet<String> = folders
        .iter()
        .flat_map(|(at, folder)| folder.files.iter().map(move |file| format!("{at}/{}", file.name)))
        .chain(routes.iter().map(|&route| route.to_owned()))
        .collect();
    for file in folder.files {
        let name = format!("{at}/{}", file.name);
        assert!(file.content_type().is_some(), "{name} has no content type");
        let text = std::str::from_utf8(file.bytes).expect("text");
        for reference in references(at, file, text) {
            assert!(known.contains(&reference), "{name} names {reference}, which is not there");
        }
        if file.name.ends_with(".html") {
            check_html(&name, text);
        }
        if file.name.starts_with("vendor/") {
            continue;
        }
        for word in FORBIDDEN {
            assert!(!text.contains(word), "{name} has {word}");
        }
        for scheme in ["http://", "https://"] {
            let outside =
                |rest: &&str| rest.starts_with(char::is_alphanumeric) && !rest.starts_with("www.w3.org/");
            let found = text.split(scheme).skip(1).find(outside);
            assert_eq!(found.map(|rest| rest.lines().next()), None, "{name} names another server");
        }
    }
}

#[test]
fn a_page_goes_to_browsers_alone() {
    const FIREFOX: &str = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8";
    for (accept, page) in [
        (FIREFOX, true),
        ("TEXT/HTML", true),
        ("application/json, text/html;q=0.1", true),
        ("text/html;q=0", false),
        ("text/html; level=1; q=0.000, */*", false),
        ("*/*", false),
        ("text/*", false),
        ("application/json", false),
        ("application/text/html", false),
        ("", false),
    ] {
        assert_eq!(accepts_html(accept), page, "{accept}");
    }
}

#[test]
fn a_tag_is_known_by_its_text() {
    for (tags, is_listed) in [
        ("\"a\"", true),
        ("W/\"a\"", true),
        ("\"b\", W/\"c\" ,\"a\"", true),
        ("*", true),
        ("a", false),
        ("\"A\"", false),
        ("\"b\"", false),
        ("", false),
    ] {
        assert_eq!(lists(tags, "\"a\""), is_listed, "{tags}");
    }
    let [one, same, other] =
        ["one", "one", "two"].map(|text| tag(&File { name: "a.js", bytes: text.as_bytes() }));
    assert!(one == same && one != other && one.len() == 18, "{one} {same} {other}");
}

#[test]
fn what_a_page_may_not_have_is_found() {
    let found = |files: &'static [File]| {
        let folder = Folder::new(files);
        let check = || {
            for file in folder.files {
                check_html(file.name, std::str::from_utf8(file.bytes).expect("text"));
            }
        };
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(check)).is_err()
    };
    macro_rules! page {
        ($text:literal) => {
            const { &[File { name: "a.html", bytes: $text.as_bytes() }] }
        };
    }
    assert!(!found(page!("<p>on=1</p><script type=\"module\" src=\"a.js\"></script>")));
    assert!(found(page!("<script>let a = 1</script>")));
    assert!(found(page!("<script src=\"a.js\">let a = 1</script>")));
    assert!(found(page!("<p style=\"color: red\">")));
    assert!(found(page!("<style>p {}</style>")));
    assert!(found(page!("<img src=\"a.svg\" onerror=\"f()\">")));
    let script = File { name: "view/a.js", bytes: b"" };
    let text = "import { a } from '../b.js';\nimport './c.js';\nimport('../d.js')";
    assert_eq!(references("page", &script, text), ["page/b.js", "page/d.js", "page/view/c.js"]);
}
