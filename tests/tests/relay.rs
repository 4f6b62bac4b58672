//! What programs around a server rely on: those that start it hear that it is ready, end with it,
//! and read its exit code; those that stand before it find in `/health` what they spread requests
//! by, and get fewer events where they ask for fewer.
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Read};
use std::net::TcpListener;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;
use verbatim_tests::choices::{joined, of_whole, with};
use verbatim_tests::http::connection::{Connection, request};
use verbatim_tests::process::{Running, binary, command, output};
use verbatim_tests::temporary::TemporaryDirectory;

const PATIENCE: Duration = Duration::from_secs(120);
const COMPLETIONS: &str = "/v1/completions";
const CHAT: &str = "/v1/chat/completions";

/// A process that is killed when the test ends, however it does.
struct Started(Child);

impl Drop for Started {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A command whose standard output is read, and nothing else of it.
fn start(command: &mut Command) -> (Started, BufReader<ChildStdout>) {
    let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn();
    let mut child = child.expect("it starts");
    let output = BufReader::new(child.stdout.take().expect("piped"));
    (Started(child), output)
}

/// What is read from `from` to its end, which comes within [`PATIENCE`].
fn to_the_end(mut from: impl Read + Send + 'static) -> String {
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        let mut text = String::new();
        let read = from.read_to_string(&mut text).map(|_| text);
        let _ = sender.send(read);
    });
    receiver.recv_timeout(PATIENCE).expect("it ends").expect("UTF-8")
}

fn health(server: &Running) -> Value {
    serde_json::from_str(&server.send("GET", "/health", "").1).expect("JSON")
}

#[test]
fn whoever_starts_a_server_is_told_in_a_line_that_it_is_ready() {
    let directory = TemporaryDirectory::new("ready");
    let socket = directory.path().join("http");
    let socket = socket.to_str().expect("UTF-8");
    let serve = ["serve", "--port", "0", "--threads", "1", "--log", "off", "--uds", socket];
    let (mut server, mut lines) = start(command().args(serve));
    let mut line = String::new();
    lines.read_line(&mut line).expect("a line");
    let ready: Value = serde_json::from_str(&line).expect("JSON");
    assert_eq!((&ready["event"], &ready["uds"]), (&json!("ready"), &json!(socket)));
    assert_eq!(
        (&ready["pid"], &ready["version"]),
        (&json!(server.0.id()), &json!(env!("CARGO_PKG_VERSION")))
    );
    let url = ready["url"].as_str().expect("a URL");
    let told = output(&["health", &format!("{url}/ready")]);
    assert!(told.status.success(), "it is ready: {told:?}");
    let models =
        output(&["health", &format!("{url}/v1/models/{}", ready["model"].as_str().expect("a name"))]);
    assert!(models.status.success(), "the name is the model's: {models:?}");
    assert!(ready["fingerprint"].as_str().is_some_and(|text| text.starts_with("vb-")), "{ready}");
    let stopped = Command::new("kill").arg(server.0.id().to_string()).status();
    assert!(stopped.is_ok_and(|status| status.success()));
    assert_eq!(to_the_end(lines), "", "one line is all there is on standard output");
    assert_eq!(server.0.wait().expect("a child").code(), Some(0));

    // The same on a descriptor of its own, and then its end; nothing on standard output.
    let ready = directory.path().join("ready");
    let mut shell = Command::new("sh");
    shell.args(["-c", "exec \"$0\" \"$@\" 7>&1 >\"$READY\""]).arg(binary()).env("READY", &ready);
    let (_server, descriptor) = start(shell.args(serve).args(["--ready-fd", "7"]));
    let line = to_the_end(descriptor);
    assert!(
        line.starts_with("{\"event\":\"ready\",\"url\":\"http://127.0.0.1:") && line.ends_with("}\n"),
        "{line}"
    );
    assert_eq!(std::fs::read_to_string(&ready).expect("made"), "");
}

#[test]
fn a_server_ends_with_the_process_that_started_it_but_not_with_its_thread() {
    // The shell starts the server in the background, and waits; then it is killed.
    let mut shell = Command::new("sh");
    let script = "\"$0\" serve --port 0 --threads 1 --log off --exit-with-parent & wait";
    let (mut shell, mut lines) = start(shell.args(["-c", script]).arg(binary()));
    let mut line = String::new();
    lines.read_line(&mut line).expect("a line");
    assert!(line.contains("\"event\":\"ready\""), "{line}");
    shell.0.kill().expect("it runs");
    // The server holds the other end of the pipe for as long as it lives.
    assert_eq!(to_the_end(lines), "");

    let thread = std::thread::spawn(|| Running::start(&["--threads", "1", "--exit-with-parent"]));
    let mut server = thread.join().expect("it starts");
    let body = json!({"prompt": "Once", "max_tokens": 100, "ignore_eos": true});
    assert_eq!(server.post(COMPLETIONS, &body).0, 200);
    assert_eq!(server.send("GET", "/ready", "").0, 200);
    server.signal("TERM");
    assert_eq!(server.exit_code(PATIENCE), Some(0));
}

/// The exit code of `serve` with these arguments, and the one line that it says.
fn refused(args: &[&str]) -> (Option<i32>, String) {
    let told = output(&[&["serve", "--threads", "1", "--port", "0"], args].concat());
    let said = String::from_utf8_lossy(&told.stderr).into_owned();
    assert!(said.starts_with("error: ") && told.stdout.is_empty(), "{said}");
    (told.status.code(), said)
}

#[test]
fn the_exit_code_says_what_is_to_blame() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = taken.local_addr().expect("an address").port().to_string();
    for (args, code, part) in [
        (&["--no-such-flag"][..], 2, "--no-such-flag"),
        (&["--weights", "int3"], 2, "--weights"),
        (&["--api-key-file", "/no/such/file"], 2, "/no/such/file"),
        (&["--ready-fd", "93"], 2, "--ready-fd 93: "),
        (&["--model", "/no/such/model"], 3, "/no/such/model"),
        (&["--kv-tokens", "3", "--max-model-len", "9"], 3, "--kv-tokens 3"),
        (&["--host", "256.0.0.1"], 4, "256.0.0.1"),
        (&["--uds", "/no/such/folder/http"], 4, "/no/such/folder/http"),
    ] {
        let (found, said) = refused(args);
        assert!(found == Some(code) && said.contains(part), "{args:?}: {found:?} {said}");
    }
    let told = output(&["serve", "--threads", "1", "--port", &port]);
    assert_eq!(told.status.code(), Some(4), "{told:?}");
}

/// Streams are cut in `transport.rs`.
#[test]
fn a_whole_answer_that_the_end_cuts_is_refused_as_one_for_another_server() {
    let mut server = Running::start(&["--threads", "1", "--max-queue", "200", "--drain-seconds", "0"]);
    let body = json!({"prompt": "Once", "max_tokens": 480, "ignore_eos": true, "n": 8}).to_string();
    let request = request("POST", COMPLETIONS, &[], body.as_bytes());
    let connect = |_| Connection::open(server.socket_address()).expect("it connects");
    let mut clients: Vec<_> = (0..16).map(connect).collect();
    clients.iter_mut().for_each(|client| client.send(&request).expect("sent"));
    while health(&server)["running"] == json!(0) {}
    server.signal("TERM");
    let mut codes = Vec::new();
    for mut client in clients {
        // A connection from which nothing was read yet is closed as one without a request.
        let Ok(answer) = client.answer() else { continue };
        if answer.head.status == 200 {
            continue;
        }
        let error: Value = serde_json::from_slice(&answer.body).expect("JSON");
        let error = &error["error"];
        assert_eq!((answer.head.status, &error["type"]), (503, &json!("server_error")), "{error}");
        assert_eq!(
            (answer.head.header("retry-after"), &error["resumable"]),
            (Some("1"), &json!(true)),
            "{error}"
        );
        codes.push(error["code"].as_str().expect("a word").to_owned());
    }
    assert!(codes.iter().any(|code| code == "engine_stopped"), "{codes:?}");
    assert!(codes.iter().all(|code| ["engine_stopped", "draining"].contains(&code.as_str())), "{codes:?}");
    assert_eq!(server.exit_code(PATIENCE), Some(0));
}

#[test]
fn health_has_what_requests_are_spread_by() {
    let server = Running::start(&["--threads", "1", "--max-seqs", "3", "--max-queue", "5"]);
    let body = json!({"prompt": "Once", "max_tokens": 1});
    let (_, answer) = server.post(COMPLETIONS, &body);
    let health = health(&server);
    for name in ["system_fingerprint", "model"] {
        assert_eq!(health[name], answer[name], "{health}");
    }
    assert_eq!((&health["max_seqs"], &health["max_queue"]), (&json!(3), &json!(5)));
    assert_eq!((&health["running"], &health["waiting"]), (&json!(0), &json!(0)));
    let usage = health["kv_usage"].as_f64().expect("a number");
    assert!((0.0..=1.0).contains(&usage), "{health}");
}

/// The events of a choice that bring something, as far as they tell tokens.
fn token_counts(events: &[Value], index: u64) -> Vec<usize> {
    let choices = events.iter().filter_map(|event| event["choices"].get(0));
    let of_choice = choices.filter(|choice| choice["index"] == json!(index));
    let counts = of_choice.filter_map(|choice| choice["token_ids"].as_array().map(Vec::len));
    counts.filter(|count| *count > 0).collect()
}

#[test]
fn fewer_events_tell_the_same() {
    let server = Running::start(&["--threads", "1"]);
    let common = json!({"max_tokens": 60, "ignore_eos": true, "n": 2, "seed": 5, "temperature": 1.2,
                        "return_token_ids": true});
    let text = with(&common, &json!({"prompt": ["Once", "The"], "logprobs": 2, "stop": ["no such string"]}));
    let messages = json!([{"role": "user", "content": "Hello"}]);
    let chat = with(&common, &json!({"messages": messages, "logprobs": true, "top_logprobs": 2}));
    for (path, body, count) in [(COMPLETIONS, text, 4), (CHAT, chat, 2)] {
        let (status, whole) = server.post(path, &body);
        assert_eq!(status, 200, "{whole}");
        let options = |interval: u64| json!({"include_usage": true, "interval_ms": interval});
        let stream = |interval| {
            let streamed = json!({"stream": true, "stream_options": options(interval)});
            server.stream(path, &with(&body, &streamed))
        };
        let every = stream(0);
        for interval in [0, 1, 10_000] {
            let events = stream(interval);
            assert_eq!(joined(&events, count), of_whole(&whole), "{path}, {interval} ms");
            let usage = &events.last().expect("events")["usage"]["completion_tokens"];
            assert_eq!(usage, &whole["usage"]["completion_tokens"], "{path}, {interval} ms");
            for index in 0..count as u64 {
                let counts = token_counts(&events, index);
                assert_eq!((counts[0], counts.iter().sum()), (1, 60), "the first comes at once: {counts:?}");
            }
            assert!(interval < 10_000 || events.len() < every.len() / 2, "{path}: {} events", events.len());
        }
    }
    for wrong in [json!(-1), json!(10_001), json!("5"), json!(0.5)] {
        let options = json!({"prompt": "a", "stream": true, "stream_options": {"interval_ms": wrong}});
        let (status, error) = server.post(COMPLETIONS, &options);
        let param = error["error"]["param"].as_str().expect("a name");
        assert!(status == 400 && param.contains("interval_ms"), "{error}");
    }
}
