//! What the documents tell to do can be done, and what they point to is there: their example is the
//! file that the tests compile and run, each call in docs/api.md has an answer, and links, pages of
//! the book and pictures are right. (The command line has a test that parses their commands.)
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;
use verbatim_tests::mutants::root;
use verbatim_tests::pages::{Link, Page};
use verbatim_tests::process::Running;
use verbatim_tests::temporary::TemporaryDirectory;

/// What is fenced as Rust in a page.
fn rust_blocks(page: &str) -> Vec<&str> {
    let blocks = page.split("```rust\n").skip(1);
    blocks.map(|block| block.split_once("```").expect("an end of the block").0).collect()
}

#[test]
fn the_host_in_the_documents_is_the_example() {
    let example = include_str!("../../core/examples/embed.rs");
    let page = include_str!("../../docs/embedding.md");
    assert_eq!(rust_blocks(page), [example], "docs/embedding.md shows another core/examples/embed.rs");
    let [short] = rust_blocks(include_str!("../../README.md"))[..] else {
        panic!("README.md shows one excerpt")
    };
    let unindented = |text: &str| text.lines().map(str::trim).collect::<Vec<_>>().join("\n");
    assert!(
        unindented(example).contains(&unindented(short)),
        "README.md shows no lines of core/examples/embed.rs"
    );
}

/// A path from the root without `.` and `..`.
fn normal(path: &str) -> String {
    let mut parts = Vec::new();
    for part in path.split('/').filter(|part| !matches!(*part, "" | ".")) {
        if part == ".." {
            parts.pop();
        } else {
            parts.push(part);
        }
    }
    parts.join("/")
}

/// The path from the root and the anchor that a link of a page names; none for another site.
fn named<'l>(page: &Page, link: &'l Link) -> Option<(String, &'l str)> {
    if link.target.contains("://") {
        return None;
    }
    let (path, anchor) = link.target.split_once('#').unwrap_or((&link.target, ""));
    let folder = page.path.rsplit_once('/').map_or("", |(folder, _)| folder);
    let path = if path.is_empty() { page.path.clone() } else { normal(&format!("{folder}/{path}")) };
    Some((path, anchor))
}

#[test]
fn links_lead_somewhere() {
    let pages = Page::all();
    let anchors: BTreeMap<&str, BTreeSet<String>> =
        pages.iter().map(|page| (page.path.as_str(), page.anchors())).collect();
    let (mut count, mut wrong) = (0, Vec::new());
    for page in &pages {
        for link in page.links() {
            let Some((path, anchor)) = named(page, &link) else { continue };
            count += 1;
            let has_anchor =
                anchor.is_empty() || anchors.get(path.as_str()).is_some_and(|all| all.contains(anchor));
            // A folder is no page of a book.
            if !root().join(&path).is_file() || !has_anchor {
                wrong.push(format!("{}:{}: {}", page.path, link.line, link.target));
            }
        }
    }
    assert!(count > 80, "{count} links were read");
    assert!(wrong.is_empty(), "links that lead nowhere:\n  {}", wrong.join("\n  "));
}

#[test]
fn the_book_has_every_page_once() {
    let pages = Page::all();
    let summary = Page::read("docs/SUMMARY.md".to_owned());
    let mut chapters: Vec<String> =
        summary.links().iter().filter_map(|link| Some(named(&summary, link)?.0)).collect();
    chapters.sort_unstable();
    let is_chapter = |page: &&Page| {
        let is_of_the_root = !page.path.contains('/');
        is_of_the_root || page.path.starts_with("docs/") && page.path != summary.path
    };
    let missing: Vec<&str> = (pages.iter().filter(is_chapter).map(|page| page.path.as_str()))
        .filter(|page| !chapters.iter().any(|chapter| chapter == page))
        .collect();
    assert!(missing.is_empty(), "docs/SUMMARY.md leaves out {}", missing.join(", "));
    let twice: Vec<&String> =
        chapters.windows(2).filter(|pair| pair[0] == pair[1]).map(|pair| &pair[0]).collect();
    assert!(twice.is_empty(), "docs/SUMMARY.md has these twice: {twice:?}");
}

/// Bytes of a picture, at most: pages are read over slow lines, too.
const PICTURE_BYTES: u64 = 120 << 10;

#[test]
fn pictures_are_small_shown_and_told_in_words() {
    let pages = Page::all();
    let mut shown = BTreeSet::new();
    let mut wrong = Vec::new();
    for page in &pages {
        for link in page.links() {
            let Some((path, _)) = named(page, &link) else { continue };
            if link.picture.as_ref().is_some_and(|words| words.trim().is_empty()) {
                wrong.push(format!("{}:{}: no words for {path}", page.path, link.line));
            }
            shown.insert(path);
        }
    }
    for picture in std::fs::read_dir(root().join("docs/pictures")).into_iter().flatten().flatten() {
        let name = picture.file_name().to_string_lossy().into_owned();
        if !["png", "webp", "svg"].iter().any(|end| name.ends_with(&format!(".{end}"))) {
            continue;
        }
        let path = format!("docs/pictures/{name}");
        let bytes = picture.metadata().expect("its length").len();
        if bytes > PICTURE_BYTES {
            wrong.push(format!("{path}: {bytes} bytes, {PICTURE_BYTES} are allowed"));
        }
        if !shown.contains(&path) {
            wrong.push(format!("{path}: no page shows it"));
        }
    }
    assert!(wrong.is_empty(), "pictures:\n  {}", wrong.join("\n  "));
}

/// The method, the path and the rest of each call in docs/api.md.
fn calls() -> Vec<(String, String, String)> {
    let document = include_str!("../../docs/api.md");
    let endpoints = document.split("\n### ").skip(1);
    let call = |section: &str| {
        let (method, _) = section.split_once(' ').expect("a method");
        let line = section.lines().find_map(|line| line.strip_prefix("    curl ")).expect(section);
        let (_, rest) = line.split_once("http://127.0.0.1:8080").expect(line);
        let (path, rest) = rest.split_once(' ').unwrap_or((rest, ""));
        (method.to_owned(), path.to_owned(), rest.to_owned())
    };
    endpoints.map(call).collect()
}

/// Uploads the file of one request as curl's `-F` does.
fn upload(server: &Running) -> (u16, String) {
    let request = json!({
        "custom_id": "a", "method": "POST", "url": "/v1/chat/completions",
        "body": {"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 2, "seed": 1},
    });
    let part =
        |head: &str, body: &str| format!("--b\r\nContent-Disposition: form-data; {head}\r\n\r\n{body}\r\n");
    let purpose = part("name=\"purpose\"", "batch");
    let file = part("name=\"file\"; filename=\"requests.jsonl\"", &request.to_string());
    let body = format!("{purpose}{file}--b--\r\n");
    let mut stream = TcpStream::connect(&server.address).expect("connects");
    let head = "POST /v1/files HTTP/1.0\r\nHost: localhost\r\nContent-Type: multipart/form-data; boundary=b";
    write!(stream, "{head}\r\nContent-Length: {}\r\n\r\n{body}", body.len()).expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
    (if head.contains(" 200 ") { 200 } else { 0 }, body.to_owned())
}

#[test]
fn each_call_of_the_api_s_document_has_an_answer() {
    let directory = TemporaryDirectory::new("calls");
    let path = directory.path().to_str().expect("UTF-8");
    let server = Running::start(&["--pooling", "mean", "--batch-dir", path]);
    let (mut file, mut batch) = (String::new(), String::new());
    let calls = calls();
    assert!(calls.len() > 35, "{}", calls.len());
    for (method, path, rest) in calls {
        let id = if path.starts_with("/v1/batches/") { &batch } else { &file };
        let path = path.replace("/ID", &format!("/{id}"));
        let body = rest.split_once("-d '").map_or("", |(_, body)| body.strip_suffix('\'').expect("an end"));
        if method == "DELETE" && path.starts_with("/v1/files/") {
            // A file can be deleted when no batch needs it any more.
            let is_over = |batch: &str| {
                let (_, text) = server.send("GET", &format!("/v1/batches/{batch}"), "");
                ["completed", "cancelled", "failed"]
                    .iter()
                    .any(|end| text.contains(&format!("\"status\":\"{end}\"")))
            };
            while !is_over(&batch) {
                std::thread::sleep(Duration::from_millis(10));
            }
        }
        let (status, text) = match rest.contains("-F ") {
            true => upload(&server),
            false => server.send(&method, &path, &body.replace("\"ID\"", &format!("\"{file}\""))),
        };
        let has_ended = status == 400 && path.ends_with("/cancel") && text.contains("ended");
        // Nothing runs, so no request has any id.
        let runs_not = status == 404 && path.starts_with("/dashboard/requests/") && text.contains("error");
        assert!(status == 200 || has_ended || runs_not, "{method} {path} {body}: {status} {text}");
        let id =
            || serde_json::from_str::<Value>(&text).expect("JSON")["id"].as_str().expect("an id").to_owned();
        match (&*method, &*path) {
            ("POST", "/v1/files") => file = id(),
            ("POST", "/v1/batches") => batch = id(),
            _ => {}
        }
    }
}
