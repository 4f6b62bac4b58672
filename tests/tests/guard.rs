//! Who may ask, end to end: keys and what they allow, web pages, hosts and content types, over real
//! sockets.
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use verbatim_tests::process::command;
use verbatim_tests::temporary::TemporaryDirectory;

/// A server with the built-in model, and what it says.
struct Server {
    child: Child,
    address: String,
    said: Arc<Mutex<Vec<String>>>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.signal("TERM");
        let _ = self.child.wait();
    }
}

impl Server {
    fn start(args: &[&str]) -> Self {
        let mut started = command();
        started.args(["serve", "--port", "0", "--threads", "1"]).args(args);
        started.stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = started.spawn().expect("the server starts");
        let mut lines = BufReader::new(child.stderr.take().expect("piped")).lines().map_while(Result::ok);
        let said = Arc::new(Mutex::new(Vec::new()));
        let address = lines.by_ref().find_map(|line| {
            said.lock().expect("no panic").push(line.clone());
            Some(line.split_once("listening on http://")?.1.split([';', ' ']).next()?.to_owned())
        });
        let kept = Arc::clone(&said);
        std::thread::spawn(move || lines.for_each(|line| kept.lock().expect("no panic").push(line)));
        Self { child, address: address.expect("the server says where it listens"), said }
    }

    fn signal(&self, name: &str) {
        let sent = Command::new("kill").args([&format!("-{name}"), &self.child.id().to_string()]).status();
        assert!(sent.expect("kill runs").success());
    }

    /// Waits until the server has said a line with this text in it.
    fn says(&self, text: &str) {
        let end = Instant::now() + Duration::from_secs(60);
        while !self.said.lock().expect("no panic").iter().any(|line| line.contains(text)) {
            assert!(Instant::now() < end, "it did not say {text:?}: {:?}", self.said.lock());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn open(&self, method: &str, path: &str, headers: &[&str], body: &str) -> TcpStream {
        let mut stream = TcpStream::connect(&self.address).expect("connects");
        stream.set_read_timeout(Some(Duration::from_secs(60))).expect("a time-out");
        let mut text = format!("{method} {path} HTTP/1.1\r\nConnection: close\r\n");
        if !headers.iter().any(|line| line.starts_with("Host:")) {
            text.push_str("Host: localhost\r\n");
        }
        headers.iter().for_each(|line| text.push_str(&format!("{line}\r\n")));
        text.push_str(&format!("Content-Length: {}\r\n\r\n{body}", body.len()));
        stream.write_all(text.as_bytes()).expect("sent");
        stream
    }

    fn ask(&self, method: &str, path: &str, headers: &[&str], body: &str) -> Answer {
        let mut text = String::new();
        self.open(method, path, headers, body).read_to_string(&mut text).expect("an answer");
        let (head, body) = text.split_once("\r\n\r\n").expect("a head");
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
        Answer { status, head: head.to_owned(), body: body.to_owned() }
    }

    fn get(&self, path: &str, headers: &[&str]) -> Answer {
        self.ask("GET", path, headers, "")
    }

    fn complete(&self, headers: &[&str]) -> Answer {
        let body = json!({"prompt": "Hello", "max_tokens": 2, "seed": 1}).to_string();
        self.ask("POST", "/v1/completions", &[headers, &[JSON]].concat(), &body)
    }
}

const JSON: &str = "Content-Type: application/json";

#[derive(Debug)]
struct Answer {
    status: u16,
    head: String,
    body: String,
}

impl Answer {
    /// The values of all headers of a name.
    fn headers(&self, name: &str) -> Vec<&str> {
        let lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines.filter(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value).collect()
    }

    /// The status, the code and the message of an error.
    fn error(&self) -> (u16, String, String) {
        let value: Value = serde_json::from_str(&self.body).unwrap_or_else(|_| panic!("{self:?}"));
        let text = |name: &str| value["error"][name].as_str().unwrap_or_default().to_owned();
        (self.status, text("code"), text("message"))
    }
}

#[test]
fn keys_open_every_door_and_are_read_anew() {
    let directory = TemporaryDirectory::new("guard-keys");
    let file = directory.path().join("keys");
    let path = file.to_str().expect("UTF-8");
    let write = |text: &str| std::fs::write(&file, text).expect("written");
    write("# two\nann sk-ann-secret\nsk-alone-secret\n");
    let server = Server::start(&["--api-key", "sk-flag-secret", "--api-key-file", path]);

    server.says(r#"-H "Authorization: Bearer $KEY""#);
    let said = server.said.lock().expect("no panic").join("\n");
    assert!(said.contains("api-keys: 1 and those of ") && !said.contains("max-json-depth"), "{said}");
    assert!(said.contains("verbatim:budget_limit") && said.lines().count() <= 20, "{said}");

    let missing = server.get("/v1/models", &[]);
    let (status, code, message) = missing.error();
    assert_eq!((status, code.as_str()), (401, "invalid_api_key"));
    assert!(message.contains("Authorization: Bearer") && message.contains("x-api-key"), "{message}");
    assert_eq!(missing.headers("WWW-Authenticate"), ["Bearer"]);
    let wrong = server.complete(&["Authorization: Bearer sk-wrong-secret"]);
    assert_eq!(wrong.error().0, 401);
    assert!(!format!("{wrong:?}").contains("secret"), "{wrong:?}");
    assert!(wrong.headers("WWW-Authenticate")[0].starts_with("Bearer "));
    assert_eq!(server.get("/health", &[]).status, 200);
    for key in ["sk-ann-secret", "sk-alone-secret", "sk-flag-secret"] {
        assert_eq!(server.complete(&[&format!("Authorization: Bearer {key}")]).status, 200, "{key}");
        assert_eq!(server.get("/v1/models", &[&format!("x-api-key: {key}")]).status, 200, "{key}");
    }

    // One key goes, another comes.
    let status = |key: &str| server.get("/v1/models", &[&format!("x-api-key: {key}")]).status;
    write("bob sk-bob-secret\n");
    server.signal("HUP");
    server.says("the API keys were read anew: there are 2");
    let statuses = ["sk-bob-secret", "sk-flag-secret", "sk-ann-secret"].map(status);
    assert_eq!(statuses, [200, 200, 401]);

    // A file that is wrong changes nothing.
    write("bob sk-bob-secret\neve sk-eve-secret concurrent=many\n");
    server.signal("HUP");
    server.says("the API keys stay as they were: ");
    server.says(&format!("{path}: line 2: concurrent must be"));
    assert_eq!(["sk-bob-secret", "sk-eve-secret"].map(status), [200, 401]);
    let said = server.said.lock().expect("no panic").join("\n");
    assert!(!said.contains("secret"), "{said}");
}

#[test]
fn keys_are_not_shown_by_help_nor_by_errors() {
    let help =
        command().args(["serve", "--help"]).env("VERBATIM_API_KEY", "sk-secret").output().expect("it runs");
    let text = String::from_utf8_lossy(&help.stdout).into_owned();
    assert!(text.contains("--api-key <KEY>") && !text.contains("sk-secret"), "{text}");
    let refused = command().env("VERBATIM_API_KEY", "sk-secret é").output().expect("it runs");
    let text = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && text.contains("--api-key: "), "{text}");
    assert!(!text.contains("sk-secret"), "{text}");
}

/// Asks with a key until it is refused.
fn refused_at_last(server: &Server, key: &str) -> Answer {
    let mut answers = (0..20).map(|_| server.complete(&[&format!("x-api-key: {key}")]));
    answers.find(|answer| answer.status != 200).expect("a refusal")
}

#[test]
fn a_key_is_held_to_its_quota() {
    let directory = TemporaryDirectory::new("guard-quotas");
    let file = directory.path().join("keys");
    let text = "ann sk-a requests-per-minute=1 tokens-per-minute=100000\nbob sk-b concurrent=1\n\
         cy sk-c tokens-per-minute=3\ndee sk-d max-priority=5\n";
    std::fs::write(&file, text).expect("written");
    let server = Server::start(&["--api-key-file", file.to_str().expect("UTF-8")]);

    let first = server.complete(&["x-api-key: sk-a"]);
    assert_eq!(first.status, 200);
    let header = |name: &str| first.headers(&format!("x-ratelimit-{name}")).concat();
    assert_eq!((header("limit-requests"), header("remaining-requests")), ("1".to_owned(), "0".to_owned()));
    assert_eq!(header("reset-requests"), "1m0s");
    let tokens = ["limit-tokens", "remaining-tokens", "reset-tokens"].map(header);
    assert_eq!(tokens, ["100000", "100000", "0ms"]);
    assert_eq!(server.get("/v1/models", &["x-api-key: sk-a"]).status, 200, "what computes nothing is free");
    let last = refused_at_last(&server, "sk-a");
    assert_eq!((last.error().0, last.error().1.as_str()), (429, "rate_limit_exceeded"));
    let wait: u64 = last.headers("Retry-After").concat().parse().expect("whole seconds");
    assert!((1..=60).contains(&wait), "{wait}");
    assert_eq!(last.headers("x-ratelimit-remaining-requests"), ["0"]);

    // Tokens are charged once the answer has ended, which its client may see a little earlier.
    let refused = refused_at_last(&server, "sk-c");
    assert_eq!(refused.error().0, 429);
    let wait: u64 = refused.headers("Retry-After").concat().parse().expect("whole seconds");
    assert!(wait > 10, "{wait}: five tokens and more at three a minute");

    // Of many long answers at once all but one are refused, or as many as overlap.
    let long = json!({"prompt": "a", "max_tokens": 100_000, "ignore_eos": true}).to_string();
    let open = |_| server.open("POST", "/v1/completions", &["x-api-key: sk-b", JSON], &long);
    let mut crowd: Vec<TcpStream> = (0..12).map(open).collect();
    let starts: Vec<[u8; 12]> = crowd
        .iter_mut()
        .map(|stream| {
            let mut start = [0; 12];
            stream.read_exact(&mut start).expect("an answer");
            start
        })
        .collect();
    assert!(starts.contains(b"HTTP/1.1 200") && starts.contains(b"HTTP/1.1 429"), "{starts:?}");
    drop(crowd);
    let end = Instant::now() + Duration::from_secs(60);
    while server.complete(&["x-api-key: sk-b"]).status != 200 {
        assert!(Instant::now() < end, "the place is given back");
        std::thread::sleep(Duration::from_millis(20));
    }

    let urgent = |key: &str, priority: i64| {
        let body = json!({"prompt": "a", "max_tokens": 1, "priority": priority}).to_string();
        server.ask("POST", "/v1/completions", &[&format!("x-api-key: {key}"), JSON], &body)
    };
    assert_eq!(urgent("sk-d", -5).status, 200);
    let refused = urgent("sk-d", -6);
    assert_eq!(refused.status, 400);
    assert!(refused.body.contains(r#""param":"priority""#), "{refused:?}");
    assert_eq!((urgent("sk-b", -1).status, urgent("sk-b", 127).status), (400, 200));
}

#[test]
fn pages_may_ask_where_they_were_allowed_to() {
    let server = Server::start(&["--cors-origin", "https://app.example", "--api-key", "sk-a"]);
    let key = "Authorization: Bearer sk-a";
    let preflight = |path: &str, origin: &str| {
        let headers = [
            &format!("Origin: {origin}"),
            "Access-Control-Request-Method: POST",
            "Access-Control-Request-Headers: authorization,content-type,x-stainless-retry-count",
        ];
        server.ask("OPTIONS", path, &headers, "")
    };
    let answer = preflight("/v1/chat/completions", "https://app.example");
    assert_eq!((answer.status, answer.body.as_str()), (204, ""), "a browser sends no key here");
    for (name, value) in [
        ("Access-Control-Allow-Origin", "https://app.example"),
        ("Access-Control-Allow-Methods", "POST"),
        ("Access-Control-Allow-Headers", "authorization, content-type, x-stainless-retry-count"),
        ("Access-Control-Max-Age", "7200"),
        ("Vary", "Origin"),
    ] {
        assert_eq!(answer.headers(name), [value], "{answer:?}");
    }
    assert_eq!(
        preflight("/v1/models", "https://app.example").headers("Access-Control-Allow-Methods"),
        ["GET, HEAD"]
    );
    let foreign = preflight("/v1/chat/completions", "https://evil.example");
    assert_eq!(foreign.status, 403);
    assert!(foreign.headers("Access-Control-Allow-Origin").is_empty());

    // Answers and errors alike can be read by the page, streams too.
    let origin = "Origin: https://app.example";
    let stream = json!({"prompt": "a", "max_tokens": 1, "stream": true}).to_string();
    for answer in [
        server.complete(&[origin, key]),
        server.complete(&[origin]),
        server.get("/v1/models", &[origin, key]),
        server.get("/nothing", &[origin]),
        server.ask("POST", "/v1/completions", &[origin, key, JSON], &stream),
    ] {
        assert_eq!(answer.headers("Access-Control-Allow-Origin"), ["https://app.example"], "{answer:?}");
        let exposed = answer.headers("Access-Control-Expose-Headers").concat();
        assert!(exposed.contains("x-request-id") && exposed.contains("x-verbatim-seed"), "{answer:?}");
    }
    let origin = "Origin: https://evil.example";
    let (status, _, message) = server.complete(&[origin, key]).error();
    assert!(status == 403 && message.contains("evil.example"), "{message}");
    let answer = server.get("/v1/models", &[origin, key]);
    assert_eq!(answer.status, 200);
    assert!(answer.headers("Access-Control-Allow-Origin").is_empty(), "{answer:?}");
}

#[test]
fn what_a_page_of_another_name_sends_is_refused() {
    let server = Server::start(&["--allowed-host", "box.example"]);
    let (status, _, message) = server.complete(&["Host: evil.example:8080"]).error();
    assert!(
        status == 403 && message.contains("evil.example") && message.contains("allowed-host"),
        "{message}"
    );
    assert_eq!(server.get("/v1/models", &["Host: evil.example"]).status, 403);
    assert_eq!(server.get("/health", &["Host: evil.example"]).status, 200, "a probe must get an answer");
    for host in ["Host: localhost", "Host: 127.0.0.1:8080", "Host: [::1]", "Host: box.example"] {
        assert_eq!(server.complete(&[host]).status, 200, "{host}");
    }
    let long = format!("Host: {}", "x".repeat(10_000));
    assert!(server.complete(&[&long]).body.len() < 1000, "what is quoted is short");

    let body = json!({"prompt": "a", "max_tokens": 1}).to_string();
    for kind in ["Content-Type: text/plain", "Content-Type: application/x-www-form-urlencoded", "X: y"] {
        let (status, _, message) = server.ask("POST", "/v1/completions", &[kind], &body).error();
        assert!(status == 415 && message.contains("-H 'Content-Type: application/json'"), "{message}");
    }
    let kind = "Content-Type: application/vnd.api+json; charset=utf-8";
    assert_eq!(server.ask("POST", "/v1/completions", &[kind], &body).status, 200);
}
