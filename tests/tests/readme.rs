//! What the documents tell to do can be done: the README's example is the file that the tests
//! compile and run, and each call in docs/api.md has an answer.
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;
use verbatim_tests::process::Running;
use verbatim_tests::temporary::TemporaryDirectory;

#[test]
fn the_host_in_the_readme_is_the_example() {
    let readme = include_str!("../../README.md");
    let example = include_str!("../../core/examples/embed.rs");
    assert!(
        readme.contains(&format!("```rust\n{example}```")),
        "README.md shows another core/examples/embed.rs"
    );
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
        if method == "DELETE" {
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
        assert!(status == 200 || has_ended, "{method} {path} {body}: {status} {text}");
        let id =
            || serde_json::from_str::<Value>(&text).expect("JSON")["id"].as_str().expect("an id").to_owned();
        match (&*method, &*path) {
            ("POST", "/v1/files") => file = id(),
            ("POST", "/v1/batches") => batch = id(),
            _ => {}
        }
    }
}
