//! Batches: `verbatim batch` and the Batch API, killed in the middle and begun again, and files of
//! hostile clients.
use serde_json::{Value, json};
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};
use verbatim_tests::fixture::Files;
use verbatim_tests::process::{Running, command};
use verbatim_tests::temporary::TemporaryDirectory;

/// How long a batch may take.
const LIMIT: Duration = Duration::from_secs(120);

/// A line of a batch.
fn line(custom_id: &str, url: &str, body: &Value) -> String {
    format!("{}\n", json!({"custom_id": custom_id, "method": "POST", "url": url, "body": body}))
}

/// Lines of all endpoints, some with errors, some that draw tokens without a seed.
fn lines(count: usize) -> String {
    let of = |i: usize| {
        let (url, body) = match i % 5 {
            0 => (
                "/v1/completions",
                json!({"prompt": format!("line {i}"), "max_tokens": 6, "n": 2, "logprobs": 1}),
            ),
            1 => (
                "/v1/chat/completions",
                json!({"messages": [{"role": "user", "content": format!("{i}")}], "max_tokens": 9}),
            ),
            2 => ("/v1/completions", json!({"prompt": "again", "max_tokens": 12, "echo": true})),
            3 => ("/v1/embeddings", json!({"input": [format!("text {i}"), "b"]})),
            _ => ("/v1/completions", json!({"prompt": "x", "temperature": -1})),
        };
        line(&format!("r{i}"), url, &body)
    };
    (0..count).map(of).collect()
}

/// The tiny model, which makes embeddings.
fn model() -> TemporaryDirectory {
    let mut files = Files::tiny();
    files.put_embedding("mean", true);
    files.directory("batch")
}

fn path(directory: &TemporaryDirectory) -> &str {
    directory.path().to_str().expect("UTF-8")
}

/// Runs `verbatim batch`; whether it succeeded, and what it said.
fn batch(model: &str, input: &Path, output: &Path, args: &[&str]) -> (bool, String) {
    let mut program = command();
    program.arg("batch").arg(input).arg("-o").arg(output).args(["--model", model]).args(args);
    let output = program.output().expect("the program starts");
    (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
}

/// Begins a batch, and kills its process when it has answered something.
fn killed_in_the_middle(model: &str, input: &Path, output: &Path) {
    let mut program = command();
    program.arg("batch").arg(input).arg("-o").arg(output).args(["--model", model, "--max-seqs", "3"]);
    let mut process = program.stderr(Stdio::null()).spawn().expect("the program starts");
    while fs::metadata(output).map_or(0, |metadata| metadata.len()) == 0 {
        assert!(process.try_wait().expect("a child of ours").is_none(), "it has ended");
        std::thread::sleep(Duration::from_millis(1));
    }
    process.kill().expect("it runs");
    process.wait().expect("it can be waited for");
}

#[test]
fn a_batch_has_the_same_bytes_however_it_is_run() {
    let (model, work) = (model(), TemporaryDirectory::new("batch-work"));
    let (input, whole, cut) = (work.path().join("in"), work.path().join("whole"), work.path().join("cut"));
    let text = format!(
        "{}no JSON\n\n{}{}",
        lines(60),
        line("r1", "/v1/completions", &json!({})),
        "{\"custom_id\": \"z\"}"
    );
    fs::write(&input, text).expect("written");
    let (is_whole, said) = batch(path(&model), &input, &whole, &["--max-seqs", "1", "--threads", "1"]);
    assert!(is_whole && said.contains("63 lines, 15 of them errors"), "{said}");
    let expected = fs::read(&whole).expect("an output");
    let entries: Vec<Value> = expected
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty())
        .map(|line| serde_json::from_slice(line).expect("JSON"))
        .collect();
    assert_eq!(entries.len(), 63);
    for (i, entry) in entries[..60].iter().enumerate() {
        assert_eq!(entry["custom_id"], format!("r{i}"));
        let status = if i % 5 == 4 { 400 } else { 200 };
        assert_eq!(
            (&entry["response"]["status_code"], &entry["error"]),
            (&json!(status), &Value::Null),
            "{entry}"
        );
    }
    assert_eq!(entries[4]["response"]["body"]["error"]["param"], "temperature");
    let seeds: Vec<_> =
        [2, 7].iter().map(|at| entries[*at]["response"]["body"]["verbatim"]["seed"].as_u64()).collect();
    assert!(seeds[0].is_some() && seeds[0] != seeds[1], "each line has a seed of its own, and tells it");
    let codes: Vec<&Value> = entries[60..].iter().map(|entry| &entry["error"]["code"]).collect();
    assert_eq!(codes, ["invalid_json_line", "duplicate_custom_id", "missing_required_parameter"]);

    // Wherever it was cut, it goes on to the same bytes, whatever else is in flight.
    killed_in_the_middle(path(&model), &input, &cut);
    let at_kill = fs::read(&cut).expect("an output");
    assert!(at_kill.len() < expected.len() && expected.starts_with(&at_kill), "it was killed too late");
    for (at, seqs) in [(at_kill.len(), "8"), (1, "3"), (expected.len() - 1, "2"), (expected.len(), "8")] {
        fs::write(&cut, &expected[..at]).expect("written");
        let (is_whole, said) = batch(path(&model), &input, &cut, &["--max-seqs", seqs]);
        assert!(is_whole, "{said}");
        assert!(fs::read(&cut).expect("an output") == expected, "cut at {at} bytes");
    }
    // What is in the file and is none of this batch's is left alone.
    for other in ["notes", "{\"id\": \"batch_req_0\"}\n"] {
        fs::write(&cut, other).expect("written");
        let (is_whole, said) = batch(path(&model), &input, &cut, &[]);
        assert!(!is_whole && said.contains("line 1 is no answer"), "{said}");
        assert_eq!(fs::read_to_string(&cut).expect("it is there"), other);
    }
    fs::write(&cut, &expected[..expected.len() / 2]).expect("written");
    let (is_whole, said) = batch(path(&model), &input, &cut, &["--kv", "int8"]);
    assert!(!is_whole && said.contains("another model"), "{said}");
    // The same request to a server, with the seed that the answer tells.
    let server = Running::start(&["--model", path(&model), "--max-seqs", "4"]);
    let body = &entries[7]["response"]["body"];
    let asked = json!({"prompt": "again", "max_tokens": 12, "echo": true, "seed": body["verbatim"]["seed"]});
    assert_eq!(server.post("/v1/completions", &asked).1["choices"], body["choices"]);
}

/// Sends a form with a file; status and answer.
fn upload(server: &Running, text: &str, purpose: &str) -> (u16, Value) {
    let part =
        |head: &str, body: &str| format!("--b\r\nContent-Disposition: form-data; {head}\r\n\r\n{body}\r\n");
    let (purpose, file) =
        (part("name=\"purpose\"", purpose), part("name=\"file\"; filename=\"in.jsonl\"", text));
    send_form(server, "multipart/form-data; boundary=b", &format!("{purpose}{file}--b--\r\n"))
}

fn send_form(server: &Running, content_type: &str, body: &str) -> (u16, Value) {
    let mut stream = TcpStream::connect(&server.address).expect("connects");
    let head = format!("POST /v1/files HTTP/1.0\r\nHost: localhost\r\nContent-Type: {content_type}");
    write!(stream, "{head}\r\nContent-Length: {}\r\n\r\n{body}", body.len()).expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
    (status, serde_json::from_str(body).unwrap_or_else(|error| panic!("{error}: {answer}")))
}

fn get(server: &Running, path: &str) -> Value {
    let (status, text) = server.send("GET", path, "");
    assert_eq!(status, 200, "{path}: {text}");
    serde_json::from_str(&text).expect("JSON")
}

/// What is in a file, without the framing of chunks.
fn content(server: &Running, id: &Value) -> String {
    let mut stream = TcpStream::connect(&server.address).expect("connects");
    let id = id.as_str().expect("an id");
    write!(stream, "GET /v1/files/{id}/content HTTP/1.0\r\nHost: localhost\r\n\r\n").expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    answer.split_once("\r\n\r\n").expect("a head").1.to_owned()
}

fn create(server: &Running, file: &Value, endpoint: &str) -> (u16, Value) {
    let body = json!({"input_file_id": file["id"], "endpoint": endpoint, "completion_window": "24h",
        "metadata": {"a": "b"}});
    server.post("/v1/batches", &body)
}

/// Waits until a batch is as `is_it` says.
fn wait_for(server: &Running, id: &Value, is_it: impl Fn(&Value) -> bool) -> Value {
    let path = format!("/v1/batches/{}", id.as_str().expect("an id"));
    let begun = Instant::now();
    loop {
        let batch = get(server, &path);
        if is_it(&batch) {
            return batch;
        }
        assert!(begun.elapsed() < LIMIT, "{batch}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn has_ended(batch: &Value) -> bool {
    ["completed", "failed", "cancelled"].contains(&batch["status"].as_str().expect("a status"))
}

/// The lines of a file of completions.
fn completions(count: usize, max_tokens: usize) -> String {
    let of = |i: usize| json!({"prompt": format!("line {i}"), "max_tokens": max_tokens, "ignore_eos": true});
    (0..count).map(|i| line(&format!("r{i}"), "/v1/completions", &of(i))).collect()
}

#[test]
fn a_server_that_is_killed_goes_on_with_its_batches() {
    let (model, work) = (model(), TemporaryDirectory::new("batch-dir"));
    let args = ["--model", path(&model), "--max-seqs", "3", "--batch-dir", path(&work)];
    let mut server = Running::start(&args);
    let text = format!("{}{}", completions(60, 60), line("wrong", "/v1/completions", &json!({"prompt": []})));
    let (status, file) = upload(&server, &text, "batch");
    assert_eq!(status, 200, "{file}");
    let (_, first) = create(&server, &file, "/v1/completions");
    assert_eq!((&first["status"], &first["metadata"]["a"]), (&json!("validating"), &json!("b")), "{first}");
    let (_, second) = create(&server, &file, "/v1/completions");
    // It is killed twice, each time when some lines more are done.
    for done in [5, 20] {
        let batch = wait_for(&server, &first["id"], |batch| {
            batch["request_counts"]["completed"].as_u64() > Some(done)
        });
        assert!(!has_ended(&batch), "the batch is too short for this test: {batch}");
        server.signal("KILL");
        server.wait();
        server = Running::start(&args);
    }
    let [first, second] = [&first, &second].map(|batch| wait_for(&server, &batch["id"], has_ended));
    for batch in [&first, &second] {
        assert_eq!(batch["status"], "completed", "{batch}");
        assert_eq!(batch["request_counts"], json!({"total": 61, "completed": 60, "failed": 1}));
    }
    // But for the time of the batch, both have the same answers.
    let answers = |batch: &Value| {
        let text = content(&server, &batch["output_file_id"]);
        text.replace(&format!("\"created\":{}", batch["created_at"]), "")
    };
    assert_eq!(answers(&first).lines().count(), 60);
    assert!(answers(&first) == answers(&second));
    let errors = content(&server, &first["error_file_id"]);
    assert_eq!(errors.lines().count(), 1);
    assert!(errors.contains("\"custom_id\":\"wrong\",\"response\":{\"status_code\":400"), "{errors}");
    let alone: Value =
        serde_json::from_str(content(&server, &first["output_file_id"]).lines().next().expect("a line"))
            .expect("JSON");
    let seed = &alone["response"]["body"]["verbatim"]["seed"];
    let asked = json!({"prompt": "line 0", "max_tokens": 60, "ignore_eos": true, "seed": seed});
    assert_eq!(server.post("/v1/completions", &asked).1["choices"], alone["response"]["body"]["choices"]);
}

#[test]
fn live_requests_go_before_a_batch_and_one_can_be_cancelled() {
    let (model, work) = (model(), TemporaryDirectory::new("batch-dir"));
    let server = Running::start(&["--model", path(&model), "--max-seqs", "2", "--batch-dir", path(&work)]);
    let (_, file) = upload(&server, &completions(500, 200), "batch");
    let (_, batch) = create(&server, &file, "/v1/completions");
    let (_, waits) = create(&server, &file, "/v1/completions");
    wait_for(&server, &batch["id"], |batch| batch["request_counts"]["completed"].as_u64() > Some(2));
    for _ in 0..5 {
        let (status, answer) = server.post("/v1/completions", &json!({"prompt": "now", "max_tokens": 3}));
        assert_eq!(status, 200, "{answer}");
    }
    let in_use = server.send("DELETE", &format!("/v1/files/{}", file["id"].as_str().expect("an id")), "");
    assert_eq!(in_use.0, 400, "{}", in_use.1);
    let cancel = |batch: &Value| {
        let (status, text) =
            server.send("POST", &format!("/v1/batches/{}/cancel", batch["id"].as_str().expect("an id")), "");
        (status, serde_json::from_str::<Value>(&text).expect("JSON"))
    };
    assert_eq!(cancel(&waits).1["status"], "cancelled", "it has not begun");
    assert!(["cancelling", "cancelled"].contains(&cancel(&batch).1["status"].as_str().expect("a status")));
    let ended = wait_for(&server, &batch["id"], has_ended);
    assert_eq!(ended["status"], "cancelled", "{ended}");
    let done = content(&server, &ended["output_file_id"]).lines().count();
    assert!((3..500).contains(&done) && ended["request_counts"]["completed"] == done, "{ended}");
    assert_eq!(cancel(&batch).0, 400, "it has ended");
    let (status, deleted) =
        server.send("DELETE", &format!("/v1/files/{}", file["id"].as_str().expect("an id")), "");
    assert_eq!((status, deleted.contains("\"deleted\":true")), (200, true));
}

#[test]
fn files_and_batches_are_listed_and_wrong_ones_refused() {
    let (model, work) = (model(), TemporaryDirectory::new("batch-dir"));
    let server = Running::start(&[
        "--model",
        path(&model),
        "--batch-dir",
        path(&work),
        "--max-file-bytes",
        "20000",
        "--max-batches",
        "4",
        "--max-batch-lines",
        "20",
    ]);
    let good = completions(3, 2);
    let ids: Vec<Value> = (0..3).map(|_| upload(&server, &good, "batch").1["id"].clone()).collect();
    let listed = |query: &str| -> Vec<Value> {
        let list = get(&server, &format!("/v1/files{query}"));
        list["data"].as_array().expect("a list").iter().map(|file| file["id"].clone()).collect()
    };
    let newest_first: Vec<Value> = ids.iter().rev().cloned().collect();
    assert_eq!(listed(""), newest_first);
    assert_eq!(listed("?order=asc&limit=2"), ids[..2]);
    assert_eq!(listed(&format!("?after={}", ids[1].as_str().expect("an id"))), ids[..1]);
    assert_eq!(listed("?purpose=batch_output"), [Value::Null; 0]);
    assert_eq!(get(&server, "/v1/files?limit=1")["has_more"], true);
    assert_eq!(content(&server, &ids[0]), good);
    for query in ["?limit=0", "?limit=x", "?order=up", "?after=file-1"] {
        assert_eq!(server.send("GET", &format!("/v1/files{query}"), "").0, 400, "{query}");
    }
    for id in ["file-0", "..%2F..%2Flock", "%00"] {
        for (method, rest) in [("GET", ""), ("GET", "/content"), ("DELETE", "")] {
            assert_eq!(
                server.send(method, &format!("/v1/files/{id}{rest}"), "").0,
                404,
                "{method} {id}{rest}"
            );
        }
    }
    let param = |(status, answer): (u16, Value)| {
        (status, answer["error"]["param"].as_str().unwrap_or_default().to_owned())
    };
    let told = |status: u16, name: &str| (status, name.to_owned());
    assert_eq!(param(upload(&server, &good, "fine-tune")), told(400, "purpose"));
    assert_eq!(param(upload(&server, &"x".repeat(30_000), "batch")), told(413, "file"));
    assert_eq!(upload(&server, &"x".repeat(200_000), "batch").0, 413);
    assert_eq!(send_form(&server, "multipart/form-data; boundary=b", "--b\r\n").0, 400);
    assert_eq!(send_form(&server, "application/json", "{}").0, 415);
    assert_eq!(send_form(&server, "text/plain", "{}").0, 415);
    assert_eq!(upload(&server, &good, "batch").0, 200);
    assert_eq!(param(upload(&server, &good, "batch")), told(400, "file"), "as many as may be kept");
    let file = json!({"id": ids[0]});
    assert_eq!(param(create(&server, &file, "/v1/models")), told(400, "endpoint"));
    assert_eq!(
        param(create(&server, &json!({"id": "file-0"}), "/v1/completions")),
        told(404, "input_file_id")
    );
    let failed = |file: &Value, endpoint: &str| {
        let (status, batch) = create(&server, file, endpoint);
        assert_eq!(status, 200, "{batch}");
        let ended = wait_for(&server, &batch["id"], has_ended);
        assert_eq!(ended["status"], "failed", "{ended}");
        let first = &ended["errors"]["data"][0];
        (first["code"].as_str().unwrap_or_default().to_owned(), first["line"].as_u64())
    };
    assert_eq!(failed(&file, "/v1/embeddings"), ("mismatched_url".to_owned(), Some(1)));
    let refill = |text: &str| {
        let files = get(&server, "/v1/files");
        let newest = files["data"][0]["id"].as_str().expect("an id").to_owned();
        assert_eq!(server.send("DELETE", &format!("/v1/files/{newest}"), "").0, 200);
        upload(&server, text, "batch").1
    };
    assert_eq!(failed(&refill("\n \n"), "/v1/completions").0, "empty_file");
    assert_eq!(
        failed(&refill(&format!("{good}nothing\n")), "/v1/completions"),
        ("invalid_json_line".to_owned(), Some(4))
    );
    assert_eq!(failed(&refill(&completions(21, 1)), "/v1/completions").0, "too_many_lines");
    assert_eq!(
        failed(&refill(&format!("{good}{good}")), "/v1/completions"),
        ("duplicate_custom_id".to_owned(), Some(4))
    );
}

#[test]
fn keys_see_their_own_files_only_and_a_server_without_a_folder_says_so() {
    let (model, work) = (model(), TemporaryDirectory::new("batch-dir"));
    let server = Running::start(&["--model", path(&model)]);
    for (method, path) in
        [("GET", "/v1/files"), ("GET", "/v1/batches"), ("GET", "/v1/batches/x"), ("DELETE", "/v1/files/x")]
    {
        let (status, text) = server.send(method, path, "");
        assert!(status == 404 && text.contains("batch-dir"), "{text}");
    }
    drop(server);
    let server = Running::start(&["--model", path(&model), "--batch-dir", path(&work), "--api-key", "a,b"]);
    let ask = |key: &str, path: &str| {
        let mut stream = TcpStream::connect(&server.address).expect("connects");
        write!(stream, "GET {path} HTTP/1.0\r\nHost: localhost\r\nx-api-key: {key}\r\n\r\n").expect("sent");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("an answer");
        answer
    };
    let form = "--b\r\nContent-Disposition: form-data; name=\"purpose\"\r\n\r\nbatch\r\n\
        --b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"x\"\r\n\r\n{}\r\n--b--\r\n";
    assert_eq!(send_form(&server, "multipart/form-data; boundary=b", form).0, 401);
    let typed = "multipart/form-data; boundary=b\r\nx-api-key: a";
    let (status, file) = send_form(&server, typed, form);
    assert_eq!(status, 200, "{file}");
    let path = format!("/v1/files/{}", file["id"].as_str().expect("an id"));
    assert!(ask("a", &path).contains(" 200 OK") && ask("b", &path).contains(" 404 "));
    assert!(ask("a", "/v1/files").contains("file-") && !ask("b", "/v1/files").contains("file-"));
    let from_a_page = format!("{typed}\r\nOrigin: https://evil.example");
    assert_eq!(send_form(&server, &from_a_page, form).0, 403);
}

/// Sends a request with a key; status and answer.
fn ask(
    server: &Running,
    key: &str,
    (method, path): (&str, &str),
    (typed, body): (&str, &str),
) -> (u16, String) {
    let mut stream = TcpStream::connect(&server.address).expect("connects");
    let head = format!("{method} {path} HTTP/1.0\r\nHost: localhost\r\nx-api-key: {key}");
    write!(stream, "{head}\r\nContent-Type: {typed}\r\nContent-Length: {}\r\n\r\n{body}", body.len())
        .expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
    (status, body.to_owned())
}

#[test]
fn a_key_that_waits_keeps_no_other_waiting_and_one_that_is_taken_away_ends_its_batches() {
    let (model, work) = (model(), TemporaryDirectory::new("batch-dir"));
    let keys = work.path().join("keys");
    let put_keys = |text: &str| {
        fs::write(&keys, text).expect("written");
        fs::set_permissions(&keys, PermissionsExt::from_mode(0o600)).expect("set");
    };
    let (slow, fast) = ("slow sk-slow requests-per-minute=3\n", "fast sk-fast\n");
    put_keys(&format!("{slow}{fast}"));
    let (folder, keys) = (work.path().join("batches"), keys.to_str().expect("UTF-8"));
    let folder_text = folder.to_str().expect("UTF-8");
    let server = Running::start(&[
        "--model",
        path(&model),
        "--max-seqs",
        "2",
        "--batch-dir",
        folder_text,
        "--api-key-file",
        keys,
    ]);
    let json_of = |(status, text): (u16, String)| {
        assert_eq!(status, 200, "{text}");
        serde_json::from_str::<Value>(&text).expect("JSON")
    };
    let begin = |key: &str| {
        let form = format!(
            "--b\r\nContent-Disposition: form-data; name=\"purpose\"\r\n\r\nbatch\r\n--b\r\n\
             Content-Disposition: form-data; name=\"file\"; filename=\"x\"\r\n\r\n{}\r\n--b--\r\n",
            completions(4, 2)
        );
        let typed = "multipart/form-data; boundary=b";
        let file = json_of(ask(&server, key, ("POST", "/v1/files"), (typed, &form)));
        let new = json!({"input_file_id": file["id"], "endpoint": "/v1/completions"}).to_string();
        json_of(ask(&server, key, ("POST", "/v1/batches"), ("application/json", &new)))
    };
    let poll = |key: &str, batch: &Value, is_it: &dyn Fn(&Value) -> bool| {
        let path = format!("/v1/batches/{}", batch["id"].as_str().expect("an id"));
        let begun = Instant::now();
        loop {
            let batch = json_of(ask(&server, key, ("GET", &path), ("text/plain", "")));
            if is_it(&batch) {
                return batch;
            }
            assert!(begun.elapsed() < LIMIT, "{batch}");
            std::thread::sleep(Duration::from_millis(5));
        }
    };
    let waits = begin("sk-slow");
    // The file, the batch and a line are what the key may send at once.
    poll("sk-slow", &waits, &|batch| batch["request_counts"]["completed"].as_u64() > Some(0));
    let done = begin("sk-fast");
    assert_eq!(poll("sk-fast", &done, &has_ended)["status"], "completed");
    assert_eq!(poll("sk-slow", &waits, &|_| true)["status"], "in_progress", "its key may ask no more");

    put_keys(fast);
    server.signal("HUP");
    let kept = folder.join(format!("batches/{}.json", waits["id"].as_str().expect("an id")));
    let begun = Instant::now();
    while !fs::read_to_string(&kept).expect("it is kept").contains("\"status\":\"failed\"") {
        assert!(begun.elapsed() < LIMIT);
        std::thread::sleep(Duration::from_millis(5));
    }
    // Whoever has the key again sees what became of it.
    put_keys(&format!("{slow}{fast}"));
    server.signal("HUP");
    let begun = Instant::now();
    while ask(&server, "sk-slow", ("GET", "/v1/batches"), ("text/plain", "")).0 != 200 {
        assert!(begun.elapsed() < LIMIT);
        std::thread::sleep(Duration::from_millis(5));
    }
    let ended = poll("sk-slow", &waits, &has_ended);
    assert_eq!(
        (&ended["status"], &ended["errors"]["data"][0]["code"]),
        (&json!("failed"), &json!("key_removed"))
    );
    let completed = ended["request_counts"]["completed"].as_u64().expect("a number");
    assert!((1..4).contains(&completed) && ended["request_counts"]["failed"] == 0, "{ended}");
    let path = format!("/v1/files/{}/content", ended["output_file_id"].as_str().expect("an id"));
    let answers = ask(&server, "sk-slow", ("GET", &path), ("text/plain", "")).1;
    assert_eq!(answers.lines().count() as u64, completed);
}
