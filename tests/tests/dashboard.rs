//! `/dashboard/events` and cancelling, over real sockets: events are of their schema while requests
//! run, watching changes no answer and holds up nobody, and who may cancel ends a request.
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use verbatim_tests::fixture::Files;
use verbatim_tests::process::Running;
use verbatim_tests::temporary::TemporaryDirectory;

/// A server of the tiny model, in a folder of its own.
fn serve(folder: &Path, args: &[&str]) -> Running {
    let model = folder.to_str().expect("UTF-8");
    let own = ["--model", model, "--served-model-name", "tiny", "--max-seqs", "3"];
    Running::start(&[&own, args].concat())
}

/// Sends a request of HTTP/1.0 with these header lines; the connection, to be read to its end.
fn ask(server: &Running, line: &str, headers: &[&str], body: &str) -> TcpStream {
    let mut stream = TcpStream::connect(&server.address).expect("connects");
    stream.set_read_timeout(Some(Duration::from_secs(60))).expect("a bound");
    let headers: String = headers.iter().map(|header| format!("{header}\r\n")).collect();
    let typed = format!("Content-Type: application/json\r\nContent-Length: {}", body.len());
    write!(stream, "{line} HTTP/1.0\r\nHost: localhost\r\n{headers}{typed}\r\n\r\n{body}").expect("sent");
    stream
}

/// Status and body of an answer.
fn answer(mut stream: TcpStream) -> (u16, String) {
    let mut text = String::new();
    stream.read_to_string(&mut text).expect("an answer");
    let (head, body) = text.split_once("\r\n\r\n").expect("a head");
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
    (status, body.to_owned())
}

fn cancel(server: &Running, id: &str, headers: &[&str]) -> (u16, Value) {
    let (status, body) = answer(ask(server, &format!("DELETE /dashboard/requests/{id}"), headers, ""));
    (status, serde_json::from_str(&body).expect("JSON"))
}

/// What is told now.
fn told_now(server: &Running, headers: &[&str]) -> Value {
    let (status, text) = answer(ask(server, "GET /dashboard/events?events=1", headers, ""));
    assert_eq!(status, 200, "{text}");
    serde_json::from_str(text.trim().strip_prefix("data: ").expect("an event")).expect("JSON")
}

/// Somebody who reads events as they come.
struct Watcher(BufReader<TcpStream>);

impl Watcher {
    fn new(server: &Running, headers: &[&str]) -> Self {
        let mut stream = BufReader::new(ask(server, "GET /dashboard/events?interval_ms=100", headers, ""));
        let mut status = String::new();
        stream.read_line(&mut status).expect("a head");
        assert!(status.contains(" 200 "), "{status}");
        Self(stream)
    }

    /// The next event; none at the end of the stream.
    fn next(&mut self) -> Option<Value> {
        loop {
            let mut line = String::new();
            if self.0.read_line(&mut line).expect("a line") == 0 {
                return None;
            }
            if let Some(data) = line.strip_prefix("data: ") {
                return Some(serde_json::from_str(data).expect("JSON"));
            }
        }
    }

    /// The first event from now on that is as `is_it` says.
    fn until(&mut self, mut is_it: impl FnMut(&Value) -> bool) -> Value {
        std::iter::from_fn(|| self.next()).find(|event| is_it(event)).expect("the stream goes on")
    }
}

/// Says that it is over when dropped, so that a test that fails ends.
struct Over<'o>(&'o AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Asks for one long output after another, until told to stop.
fn load(server: &Running, is_over: &AtomicBool) {
    let mut seed = 0;
    while !is_over.load(Ordering::Relaxed) {
        seed += 1;
        let body = long(seed);
        let (status, text) = answer(ask(server, "POST /v1/completions", &["x-request-id: load"], &body));
        assert_eq!(status, 200, "{text}");
    }
}

/// A body that asks for some thousand tokens, of a prompt that all its choices share.
fn long(seed: u64) -> String {
    let prompt = "the same beginning ".repeat(5);
    json!({"prompt": prompt, "max_tokens": 350, "n": 6, "seed": seed, "ignore_eos": true}).to_string()
}

/// Names in a value that its schema does not know: it lets readers pass over new fields, and tests
/// must not.
fn unknown(schema: &Value, value: &Value, path: &str, found: &mut Vec<String>) {
    if let (Some(known), Some(fields)) = (schema["properties"].as_object(), value.as_object()) {
        for (name, value) in fields {
            match known.get(name) {
                Some(schema) => unknown(schema, value, &format!("{path}.{name}"), found),
                None => found.push(format!("{path}.{name}")),
            }
        }
    }
    if schema["items"].is_object() {
        let items = value.as_array().into_iter().flatten();
        items.for_each(|value| unknown(&schema["items"], value, &format!("{path}[]"), found));
    }
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or_else(|| panic!("a number: {value}"))
}

/// The numbers of what is listed.
fn numbers(of: &Value) -> Vec<u64> {
    of["list"].as_array().expect("a list").iter().map(|of| number(&of["n"])).collect()
}

/// What must hold within each event.
fn check(event: &Value) {
    let kv = &event["kv"];
    if kv["map"].is_null() {
        return; // a step lasts, and nothing was shown yet
    }
    let sum = number(&kv["free"]) + number(&kv["cached"]) + number(&kv["held"]);
    assert_eq!(sum, number(&kv["blocks"]), "{kv}");
    let pairs = |of: &Value| -> Vec<(u64, u64)> {
        of.as_array().expect("pairs").iter().map(|pair| (number(&pair[0]), number(&pair[1]))).collect()
    };
    let runs = pairs(&kv["map"]["runs"]);
    assert_eq!(runs.iter().map(|(_, length)| length).sum::<u64>(), number(&kv["map"]["cells"]));
    assert!(runs.windows(2).all(|two| two[0].0 != two[1].0), "{runs:?}");
    let held: u64 = pairs(&kv["sharing"]).iter().map(|(_, blocks)| blocks).sum();
    assert_eq!(held, number(&kv["held"]), "{kv}");
    let in_map = |is_it: &dyn Fn(u64) -> bool| -> u64 {
        runs.iter().filter(|(state, _)| is_it(*state)).map(|(_, length)| length).sum()
    };
    assert_eq!(in_map(&|state| state > 1), held, "{kv}");
    assert_eq!(in_map(&|state| state == 1), number(&kv["cached"]), "{kv}");
    let sequences = event["sequences"].as_array().expect("a list");
    let total = number(&event["engine"]["running"]) + number(&event["engine"]["waiting"]);
    assert_eq!(number(&event["sequences_total"]), total);
    for sequence in sequences {
        let of = |name: &str| number(&sequence[name]);
        assert!(of("prompt_done") <= of("prompt_tokens") && of("tokens") <= of("max_tokens"), "{sequence}");
        let waits = sequence["phase"] == "waiting" || sequence["phase"] == "preempted";
        assert_eq!(waits, of("blocks") == 0, "{sequence}");
    }
    for step in event["steps"]["list"].as_array().expect("a list") {
        let rows: u64 =
            ["prefill", "decode", "verify", "draft"].iter().map(|kind| number(&step[*kind])).sum();
        assert!(rows > 0 && (step["kind"] == "prefill") == (number(&step["prefill"]) > 0), "{step}");
    }
}

#[test]
fn events_are_of_their_schema_while_requests_run() {
    let folder = Files::tiny().directory("dashboard-schema");
    let server = serve(folder.path(), &[]);
    let (status, text) = server.send("GET", "/openapi.json", "");
    assert_eq!(status, 200);
    let document: Value = serde_json::from_str(&text).expect("JSON");
    let schema = &document["components"]["schemas"]["DashboardEvent"];
    let validator = jsonschema::validator_for(schema).expect("a schema");
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let over = Over(&is_over);
        let mut first = Watcher::new(&server, &[]);
        let mut second = Watcher::new(&server, &["Origin: http://localhost"]);
        // It reads its head and nothing else.
        let slow = Watcher::new(&server, &[]);
        for _ in 0..2 {
            scope.spawn(|| load(&server, &is_over));
        }
        let (mut events, mut is_shared, mut has_waited) = (Vec::new(), false, false);
        while events.len() < 12 || !(is_shared && has_waited) {
            let event = first.next().expect("the stream goes on");
            let errors: Vec<_> = validator.iter_errors(&event).map(|error| error.to_string()).collect();
            assert!(errors.is_empty(), "{errors:?}");
            let mut names = Vec::new();
            unknown(schema, &event, "", &mut names);
            assert!(names.is_empty(), "{names:?}");
            check(&event);
            is_shared |= number(&event["kv"]["shared"]) > 0;
            let sequences = event["sequences"].as_array().expect("a list");
            has_waited |= sequences.iter().any(|of| of["phase"] == "waiting");
            for sequence in sequences.iter().filter(|of| !of["request_id"].is_null()) {
                assert_eq!(
                    (&sequence["request_id"], &sequence["route"]),
                    (&json!("load"), &json!("/v1/completions"))
                );
            }
            events.push(event);
            assert!(events.len() < 200, "{}", events[199]);
        }
        let numbers_are = |of: &str| events.iter().flat_map(|event| numbers(&event[of])).collect::<Vec<_>>();
        let (steps, lines) = (numbers_are("steps"), numbers_are("log"));
        assert!(steps.len() > 50 && steps.windows(2).all(|two| two[0] < two[1]), "each step once: {steps:?}");
        assert!(lines.windows(2).all(|two| two[0] < two[1]), "each line once: {lines:?}");
        let order: Vec<u64> = events.iter().map(|event| number(&event["number"])).collect();
        assert!(order.iter().copied().eq(0..events.len() as u64), "{order:?}");
        // The others are served as well, and the slow one is left alone.
        let event = second.until(|event| number(&event["engine"]["tokens"]) > 0);
        assert_eq!(event["connections"]["watchers"], json!(3));
        drop(slow);
        first.until(|event| event["connections"]["watchers"] == json!(2));
        drop(over);
        // What is told once may have come with any event.
        let mut lines: Vec<Value> = Vec::new();
        let of_event = |event: &Value| {
            let mut list = event["log"]["list"].as_array().expect("a list").clone();
            list.retain(|line| line["request_id"] == "load");
            list
        };
        lines.extend(events.iter().flat_map(of_event));
        let event = first.until(|event| {
            lines.extend(of_event(event));
            event["sequences_total"] == json!(0) && !lines.is_empty()
        });
        check(&event);
        let kv = &event["kv"];
        assert!(number(&kv["held"]) == 0 && number(&kv["cached"]) > 0, "the map has emptied: {kv}");
        let line = &lines[0];
        assert_eq!((&line["fields"]["status"], &line["fields"]["finish"]), (&json!(200), &json!("length")));
    });
}

/// Three sequences whose outputs do not fit into the blocks together.
#[test]
fn a_sequence_that_loses_its_blocks_is_told() {
    let folder = Files::tiny().directory("dashboard-preempted");
    let server = serve(folder.path(), &["--max-model-len", "512", "--kv-tokens", "512"]);
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let over = Over(&is_over);
        let mut watcher = Watcher::new(&server, &[]);
        scope.spawn(|| load(&server, &is_over));
        let lost = |sequence: &Value| number(&sequence["preemptions"]) > 0;
        let (mut waits, mut goes_on) = (false, false);
        watcher.until(|event| {
            check(event);
            for sequence in event["sequences"].as_array().expect("a list").iter().filter(|of| lost(of)) {
                assert!(number(&event["engine"]["preemptions"]) > 0 && sequence["phase"] != "waiting");
                assert!(sequence["waited_seconds"].as_f64() > Some(0.0), "{sequence}");
                waits |= sequence["phase"] == "preempted";
                goes_on |= sequence["phase"] != "preempted";
            }
            waits && goes_on
        });
        drop(over);
    });
}

#[test]
fn watching_changes_no_answer() {
    let folder = Files::tiny().directory("dashboard-bits");
    let server = serve(folder.path(), &[]);
    let ask = |seed: u64| {
        let ask = json!({
            "prompt": "Hello", "max_tokens": 60, "seed": seed, "temperature": 1.0, "n": 2, "logprobs": 3,
            "ignore_eos": true,
        });
        let (status, answer) = server.post("/v1/completions", &ask);
        assert_eq!(status, 200, "{answer}");
        answer["choices"].clone()
    };
    let alone: Vec<Value> = (0..4).map(ask).collect();
    let mut watchers: Vec<_> = (0..3).map(|_| Watcher::new(&server, &[])).collect();
    watchers[0].next().expect("an event");
    let watched: Vec<Value> = (0..4).map(ask).collect();
    assert!(watchers[0].next().is_some());
    assert_eq!(watched, alone);
}

#[test]
fn so_many_watch_at_once_and_what_makes_no_sense_is_refused() {
    let folder = Files::tiny().directory("dashboard-refused");
    let mut server = serve(folder.path(), &[]);
    for (query, name) in
        [("interval_ms=99", "interval_ms"), ("interval_ms=x", "interval_ms"), ("events=0", "events")]
    {
        let (status, text) = server.send("GET", &format!("/dashboard/events?{query}"), "");
        let error: Value = serde_json::from_str(&text).expect("JSON");
        assert_eq!((status, error["error"]["param"].as_str()), (400, Some(name)), "{text}");
    }
    let (status, text) = answer(ask(&server, "GET /dashboard/events?events=2&interval_ms=100", &[], ""));
    assert_eq!((status, text.matches("data: ").count()), (200, 2), "{text}");
    let (status, text) = answer(ask(&server, "HEAD /dashboard/events", &[], ""));
    assert_eq!((status, text.as_str()), (200, ""));
    let mut watchers: Vec<_> = (0..8).map(|_| Watcher::new(&server, &[])).collect();
    let (status, text) = server.send("GET", "/dashboard/events", "");
    assert!(status == 503 && text.contains("8 watch this server already"), "{status} {text}");
    // They keep the server from ending no longer than it takes to tell them.
    server.signal("TERM");
    let mut last = None;
    while let Some(event) = watchers[0].next() {
        last = Some(event);
    }
    assert_eq!(last.expect("an event")["server"]["phase"], json!("draining"));
    assert_eq!(server.exit_code(Duration::from_secs(20)), Some(0));
}

/// Waits until a request of this id runs, and cancels it.
fn cancel_running(server: &Running, id: &str, headers: &[&str]) -> Value {
    loop {
        let (status, told) = cancel(server, id, headers);
        if status == 200 {
            return told;
        }
        assert_eq!(status, 404, "{told}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn who_may_cancel_ends_a_request() {
    let folder = Files::tiny().directory("dashboard-cancel");
    let keys = TemporaryDirectory::new("dashboard-keys");
    let file = keys.path().join("keys");
    std::fs::write(&file, "ann sk-ann\nbob sk-bob\nroot sk-root admin=true\n").expect("written");
    let server = serve(folder.path(), &["--api-key-file", file.to_str().expect("UTF-8")]);
    let (ann, bob, root) = ("x-api-key: sk-ann", "x-api-key: sk-bob", "x-api-key: sk-root");
    assert_eq!(answer(ask(&server, "GET /dashboard/events", &[], "")).0, 401);
    assert_eq!(cancel(&server, "a%2Fb", &["x-api-key: sk-x"]).0, 401);
    // It would take a minute.
    let many = json!({
        "prompt": vec!["a"; 10], "max_tokens": 400, "n": 100, "seed": 1, "ignore_eos": true, "stream": true,
    });
    let mut watcher = Watcher::new(&server, &[bob]);
    assert_eq!(watcher.next().expect("an event")["rights"]["cancel"], json!("own"));
    let stream = ask(&server, "POST /v1/completions", &[ann, "x-request-id: a/b"], &many.to_string());
    // Sequences are counted before the engine has shown them.
    let event = watcher.until(|event| event["sequences"][0].is_object());
    let sequence = &event["sequences"][0];
    let hidden = (&sequence["request_id"], &sequence["key"], &sequence["may_cancel"]);
    assert_eq!(hidden, (&json!(null), &json!(null), &json!(false)), "{sequence}");
    assert_eq!(cancel(&server, "a%2Fb", &[bob]).0, 404, "it is another key's");
    let told = cancel_running(&server, "a%2Fb", &[root]);
    assert_eq!(told, json!({"request_id": "a/b", "cancelled": 1}));
    let (status, text) = answer(stream);
    let data: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("data: ")).collect();
    let last: Value = serde_json::from_str(data.last().expect("events")).expect("no [DONE] after an error");
    assert_eq!((status, &last["error"]["code"]), (200, &json!("request_cancelled")), "{last}");
    assert_eq!(cancel(&server, "a%2Fb", &[root]).0, 404, "it has ended");

    // Its own key may, too; an answer that is sent whole has a status for it.
    let mut whole = many.clone();
    whole["stream"] = json!(false);
    let whole = ask(&server, "POST /v1/completions", &[ann, "x-request-id: own"], &whole.to_string());
    assert_eq!(cancel_running(&server, "own", &[ann])["cancelled"], json!(1));
    let (status, text) = answer(whole);
    assert!(status == 499 && text.contains("request_cancelled"), "{status} {text}");
    let mut all = Watcher::new(&server, &[root]);
    let event = all.next().expect("an event");
    let lines = event["log"]["list"].to_string();
    assert!(lines.contains("the request a/b was cancelled with the key root"), "{lines}");
    watcher.until(|event| event["sequences_total"] == json!(0));
    drop(watcher);
    let event = Watcher::new(&server, &[bob]).next().expect("an event");
    assert!(!event["log"]["list"].to_string().contains("a/b"), "{event}");

    // Who was shown everything is shown no more of it once the key may not see it.
    std::fs::write(&file, "ann sk-ann\nbob sk-bob\nroot sk-root\n").expect("written");
    server.signal("HUP");
    while all.next().is_some() {}
    assert_eq!(told_now(&server, &[root])["rights"]["cancel"], json!("own"));
}

/// A key without a name is called by its place in the file, which may be another's later.
#[test]
fn lines_of_a_key_stay_its_own() {
    let folder = Files::tiny().directory("dashboard-owner");
    let keys = TemporaryDirectory::new("dashboard-places");
    let file = keys.path().join("keys");
    std::fs::write(&file, "sk-first\nsk-second\n").expect("written");
    let server = serve(folder.path(), &["--api-key-file", file.to_str().expect("UTF-8")]);
    let (first, second) = ("x-api-key: sk-first", "x-api-key: sk-second");
    assert_eq!(answer(ask(&server, "GET /v1/models", &[first, "x-request-id: mine"], "")).0, 200);
    let lines = |key: &str| {
        let lines = told_now(&server, &[key])["log"]["list"].to_string();
        (lines.contains("mine"), lines.contains("key-2"))
    };
    let wait = || std::thread::sleep(Duration::from_millis(10));
    while !lines(first).0 {
        wait();
    }
    assert!(!lines(second).0);
    std::fs::write(&file, "sk-second\nsk-first\n").expect("written");
    server.signal("HUP");
    // Its own lines tell when the server has read the file.
    while !lines(first).1 {
        wait();
    }
    assert_eq!((lines(first).0, lines(second).0), (true, false));
}

#[test]
fn without_keys_only_the_machine_itself_cancels() {
    let folder = Files::tiny().directory("dashboard-local");
    let server = serve(folder.path(), &["--cors-origin", "http://app.example"]);
    assert_eq!(cancel(&server, "none", &[]).0, 404);
    assert_eq!(cancel(&server, "none", &["Origin: http://localhost"]).0, 404, "a page of this server");
    let (status, told) = cancel(&server, "none", &["X-Forwarded-For: 192.0.2.1"]);
    let message = told["error"]["message"].as_str().expect("a message");
    assert!(status == 403 && message.contains("admin=true"), "{status} {message}");
    let (status, _) = cancel(&server, "none", &["Origin: http://evil.example"]);
    assert_eq!(status, 403, "no page of others");
    for header in ["X-Real-IP: 192.0.2.1", "Via: 1.1 proxy", "Origin: http://app.example"] {
        assert_eq!(told_now(&server, &[header])["rights"]["cancel"], json!("none"), "{header}");
        let (status, told) = cancel(&server, "none", &[header]);
        assert_eq!(status, 403, "{header}: {told}");
    }
}
