//! The transport end to end, over real sockets: what HTTP asks of a connection, what clients may
//! take, when they are gone, and how the server ends.
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::ops::RangeInclusive;
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use verbatim_tests::fixture::Files;
use verbatim_tests::process::{Running, command};
use verbatim_tests::temporary::TemporaryDirectory;

fn serve(args: &[&str]) -> Running {
    let directory = Files::tiny().directory("transport");
    let path = directory.path().to_str().expect("UTF-8");
    Running::start(&[&["--served-model-name", "tiny", "--max-seqs", "4", "--model", path], args].concat())
}

fn connect(server: &Running) -> TcpStream {
    let stream = TcpStream::connect(&server.address).expect("connects");
    stream.set_read_timeout(Some(Duration::from_secs(60))).expect("a time-out");
    stream
}

/// What comes until the end of the connection.
fn rest(stream: &mut impl Read) -> String {
    let mut answer = Vec::new();
    // A connection that is reset has answered before.
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}

/// Sends bytes as they are on a connection of their own; what comes back until its end.
fn raw(server: &Running, bytes: &[u8]) -> String {
    let mut stream = connect(server);
    stream.write_all(bytes).expect("sent");
    rest(&mut stream)
}

fn post(version: &str, headers: &str, body: &Value) -> Vec<u8> {
    let body = body.to_string();
    let length = body.len();
    format!(
        "POST /v1/completions HTTP/{version}\r\nHost: localhost\r\nContent-Type: application/json\r\n\
         Content-Length: {length}\r\n{headers}\r\n{body}"
    )
    .into_bytes()
}

fn ask(tokens: usize, stream: bool) -> Value {
    json!({"prompt": "a", "max_tokens": tokens, "ignore_eos": true, "stream": stream, "seed": 1})
}

fn health(server: &Running) -> Value {
    serde_json::from_str(&server.send("GET", "/health", "").1).expect("JSON")
}

/// Waits until nothing runs or waits in the engine.
fn wait_until_idle(server: &Running) {
    let since = Instant::now();
    while [&health(server)["running"], &health(server)["waiting"]].iter().any(|count| **count != json!(0)) {
        assert!(since.elapsed() < Duration::from_secs(60), "requests go on: {}", health(server));
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Waits until the bodies that are held take so many bytes. Of a body of which some has come, that
/// is between what has come and what was announced: it depends on the pieces in which it came.
fn wait_for_bodies(server: &Running, bytes: RangeInclusive<usize>) {
    let since = Instant::now();
    loop {
        let metrics = raw(server, b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        let (_, held) = metrics.split_once("\nverbatim:body_bytes_in_flight ").expect("the gauge");
        let held: usize = held.lines().next().expect("a number").parse().expect("a number");
        if bytes.contains(&held) {
            return;
        }
        assert!(since.elapsed() < Duration::from_secs(60), "{held} bytes are held, not {bytes:?}");
    }
}

/// Sends the bytes of a request, and returns those of the answer.
type Ask<'a> = &'a dyn Fn(&[u8]) -> String;

#[test]
fn connections_are_kept_and_closed_as_http_says() {
    let server = serve(&[]);
    let get = |version: &str, headers: &str| {
        format!("GET /health HTTP/{version}\r\nHost: localhost\r\n{headers}\r\n").into_bytes()
    };
    // Each pair is sent at once; the second request is answered where the first one does not close.
    for (version, headers, answers, line) in [
        ("1.1", "", 2, ""),
        ("1.1", "Connection: close\r\n", 1, "\r\nConnection: close\r\n"),
        ("1.0", "", 1, "\r\nConnection: close\r\n"),
        ("1.0", "Connection: keep-alive\r\n", 2, "\r\nConnection: keep-alive\r\n"),
    ] {
        let two = [get(version, headers), get("1.1", "Connection: close\r\n")].concat();
        let answer = raw(&server, &two);
        assert_eq!(answer.matches("HTTP/1.1 200 OK\r\n").count(), answers, "{version} {headers}: {answer}");
        assert!(answer.split_once("\r\n\r\n").expect("a head").0.contains(line.trim_end()), "{answer}");
    }
    for (bytes, status) in [
        (&b"GET http://elsewhere/health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"[..], 200),
        (b"GET /health HTTP/1.1\r\nHost: localhost\r\nx-name: J\xf6rg\r\nConnection: close\r\n\r\n", 200),
        (b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nExpect: 200-ok\r\n\r\n", 417),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
    ] {
        let answer = raw(&server, bytes);
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{bytes:?}: {answer}");
        assert!(answer.contains("\r\nConnection: close\r\n"), "{answer}");
        assert_eq!(answer.matches("\r\nx-request-id: ").count(), 1, "{answer}");
    }
    let answer = raw(&server, &post("1.1", "Connection: close\r\nx-request-id: mine\r\n", &ask(1, false)));
    assert!(answer.contains("\r\nx-request-id: mine\r\n"), "{answer}");
}

#[test]
fn a_client_that_waits_to_be_asked_is_asked_for_its_body() {
    let server = serve(&[]);
    let request = post("1.1", "Expect: 100-continue\r\nConnection: close\r\n", &ask(1, false));
    let end = request.windows(4).position(|window| window == b"\r\n\r\n").expect("a head") + 4;
    let mut stream = connect(&server);
    stream.write_all(&request[..end]).expect("sent");
    let mut asked = [0; 25];
    stream.read_exact(&mut asked).expect("an interim answer");
    assert_eq!(&asked, b"HTTP/1.1 100 Continue\r\n\r\n");
    stream.write_all(&request[end..]).expect("sent");
    assert!(rest(&mut stream).starts_with("HTTP/1.1 200 "));
}

#[test]
fn ten_thousand_requests_on_one_connection_are_answered_in_order() {
    const COUNT: usize = 10_000;
    let server = serve(&[]);
    let mut stream = connect(&server);
    let mut writer = stream.try_clone().expect("a clone");
    let sender = std::thread::spawn(move || {
        for i in 0..COUNT {
            let close = if i + 1 == COUNT { "Connection: close\r\n" } else { "" };
            let request =
                format!("GET /health HTTP/1.1\r\nHost: localhost\r\nx-request-id: {i}\r\n{close}\r\n");
            writer.write_all(request.as_bytes()).expect("sent");
        }
    });
    let answers = rest(&mut stream);
    sender.join().expect("all were sent");
    let ids: Vec<usize> = answers
        .lines()
        .filter_map(|line| line.strip_prefix("x-request-id: "))
        .map(|id| id.parse().expect("a number"))
        .collect();
    assert!(ids.into_iter().eq(0..COUNT), "{} bytes", answers.len());
}

#[test]
fn http_1_0_gets_streams_without_chunks() {
    let server = serve(&[]);
    let answer = raw(&server, &post("1.0", "", &ask(3, true)));
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
    assert!(head.contains("Connection: close") && !head.contains("chunked"), "{head}");
    assert!(body.starts_with("data: {") && body.ends_with("\n\ndata: [DONE]\n\n"), "{body}");
}

#[test]
fn a_client_that_only_sends_no_more_gets_its_answer() {
    let server = serve(&[]);
    for version in ["1.1", "1.0"] {
        for stream in [false, true] {
            let mut client = connect(&server);
            client.write_all(&post(version, "", &ask(200, stream))).expect("sent");
            client.shutdown(Shutdown::Write).expect("half-closed");
            let answer = rest(&mut client);
            // An interim answer may come first.
            let answer = answer.trim_start_matches("HTTP/1.1 100 Continue\r\n\r\n");
            assert!(answer.starts_with("HTTP/1.1 200 "), "{version} {stream}: {answer}");
            let end = if stream { "data: [DONE]" } else { "\"completion_tokens\":200" };
            assert!(answer.contains(end), "{version} {stream}: {answer}");
        }
    }
}

#[test]
fn a_client_that_has_left_costs_no_more() {
    let server = serve(&["--max-model-len", "500"]);
    for stream in [false, true] {
        for resets in [false, true] {
            let clients: Vec<TcpStream> = (0..20)
                .map(|_| {
                    let mut client = connect(&server);
                    client.write_all(&post("1.1", "", &ask(400, stream))).expect("sent");
                    if resets && stream {
                        // Closed with unread bytes, it is reset.
                        client.peek(&mut [0]).expect("the head of the answer");
                    }
                    client
                })
                .collect();
            drop(clients);
            wait_until_idle(&server);
        }
    }
    let steps = health(&server)["steps"].as_u64().expect("a number");
    // 80 requests of 400 tokens, 4 at a time, would be 8,000 steps.
    assert!(steps < 4000, "{steps} steps: requests went on after their clients had left");
}

#[test]
fn a_reader_that_stops_ends_its_request() {
    let server = serve(&["--write-seconds", "1", "--max-model-len", "500"]);
    let mut ask = ask(400, true);
    ask["logprobs"] = json!(20);
    ask["n"] = json!(4);
    let clients: Vec<TcpStream> = (0..8)
        .map(|_| {
            let mut client = connect(&server);
            client.write_all(&post("1.1", "", &ask)).expect("sent");
            client
        })
        .collect();
    wait_until_idle(&server);
    drop(clients);
}

#[test]
fn newcomers_get_in_while_others_are_idle() {
    let server = serve(&["--max-connections", "8", "--max-connections-per-address", "8"]);
    let idle: Vec<TcpStream> = (0..40).map(|_| connect(&server)).collect();
    let half: Vec<TcpStream> = (0..40)
        .map(|_| {
            let mut client = connect(&server);
            client
                .write_all(b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n{")
                .expect("sent");
            client
        })
        .collect();
    assert_eq!(server.post("/v1/completions", &ask(2, false)).0, 200);
    drop((idle, half));
}

#[test]
fn with_a_request_on_every_place_newcomers_may_ask_how_the_server_is() {
    let path = std::env::temp_dir().join(format!("verbatim-places-{}", std::process::id()));
    let file = path.to_str().expect("UTF-8");
    let places = ["--max-connections", "8", "--max-connections-per-address", "8", "--uds", file];
    let server = Running::start(&[&places[..], &["--max-seqs", "1", "--max-queue", "200"]].concat());
    // So many choices take much longer than the questions below.
    let ask = json!({"prompt": "Once", "max_tokens": 400, "ignore_eos": true, "stream": true, "n": 8});
    let begin = |_| {
        let mut client = connect(&server);
        client.write_all(&post("1.1", "", &ask)).expect("sent");
        // Its request has come whole once the answer begins.
        client.peek(&mut [0]).expect("a byte");
        client
    };
    let busy: Vec<TcpStream> = (0..8).map(begin).collect();
    let over_tcp = |request: &[u8]| raw(&server, request);
    let over_a_file = |request: &[u8]| {
        let mut client = UnixStream::connect(&path).expect("connects");
        client.write_all(request).expect("sent");
        rest(&mut client)
    };
    // The address has no place left for the one, the server for the other.
    let ways: [(Ask<'_>, &str); 2] = [(&over_tcp, "from this address"), (&over_a_file, "at once;")];
    let mut silent: Vec<TcpStream> = Vec::new();
    for (answer_to, reason) in ways {
        silent.extend((0..40).map(|_| connect(&server)));
        let refused = answer_to(&post("1.1", "", &json!({"prompt": "a"})));
        assert!(refused.starts_with("HTTP/1.1 503 ") && refused.contains("\r\nRetry-After: "), "{refused}");
        assert!(refused.contains(reason), "{refused}");
        let models = answer_to(b"GET /v1/models HTTP/1.1\r\nHost: localhost\r\n\r\n");
        assert!(models.starts_with("HTTP/1.1 503 "), "{models}");
        for path in ["/health", "/ready", "/metrics"] {
            for method in ["GET", "HEAD"] {
                let request = format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\n\r\n");
                let answer = answer_to(request.as_bytes());
                assert!(answer.starts_with("HTTP/1.1 200 "), "{path}: {answer}");
                assert!(answer.contains("\r\nConnection: close\r\n"), "{path}: {answer}");
            }
        }
    }
    let told: Vec<String> = silent.into_iter().map(|mut client| rest(&mut client)).collect();
    assert!(told.iter().all(|answer| answer.starts_with("HTTP/1.1 503 ")), "{told:?}");
    drop(busy);
    wait_until_idle(&server);
    assert_eq!(server.post("/v1/completions", &json!({"prompt": "a", "max_tokens": 1})).0, 200);
}

#[test]
fn who_may_not_ask_is_told_before_the_body_is_read() {
    let server = serve(&["--api-key", "sk-a", "--max-body-bytes", "1000000"]);
    let (key, json) = ("x-api-key: sk-a\r\n", "Content-Type: application/json\r\n");
    for (line, headers, status) in [
        ("POST /v1/completions", json.to_owned(), 401),
        ("POST /v1/completions", format!("{key}Content-Type: text/plain\r\n"), 415),
        ("POST /v1/completions", format!("{key}{json}Origin: https://evil.example\r\n"), 403),
        ("POST /nothing", format!("{key}{json}"), 404),
        ("PUT /v1/completions", format!("{key}{json}"), 405),
    ] {
        let head =
            |framing: &str| format!("{line} HTTP/1.1\r\nHost: localhost\r\n{headers}{framing}\r\n\r\n");
        let start = format!("HTTP/1.1 {status} ");
        // No byte of it was sent, and none is waited for.
        for framing in [
            "Content-Length: 900000",
            "Transfer-Encoding: chunked",
            "Content-Length: 9\r\nExpect: 100-continue",
        ] {
            let answer = raw(&server, head(framing).as_bytes());
            assert!(answer.starts_with(&start), "{line} {framing}: {answer}");
            assert!(answer.contains("\r\nConnection: close\r\n"), "{line} {framing}: {answer}");
        }
        // A short one is read for nothing, and another request may follow.
        let mut client = connect(&server);
        client.write_all(head("Content-Length: 9").as_bytes()).expect("sent");
        client.peek(&mut [0]).expect("the answer comes first");
        client
            .write_all(b"GET /x HTGET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            .expect("sent");
        let answers = rest(&mut client);
        assert!(
            answers.starts_with(&start) && answers.matches("HTTP/1.1 ").count() == 2,
            "{line}: {answers}"
        );
        assert!(answers.contains("HTTP/1.1 200 OK\r\n"), "{line}: {answers}");
    }
    // Who may ask is read as before.
    let answer = raw(&server, &post("1.1", &format!("{key}Connection: close\r\n"), &ask(1, false)));
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
}

#[test]
fn bodies_are_bounded_one_by_one_and_together() {
    let server = serve(&["--max-body-bytes", "50000", "--max-total-body-bytes", "60000"]);
    let mut large = ask(1, false);
    large["user"] = json!("x".repeat(50_000));
    let answer = raw(&server, &post("1.1", "", &large));
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
    // Two clients have sent most of what there is room for, the second after the first.
    let head = b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
        Content-Length: 29000\r\n\r\n";
    let mut slow: Vec<TcpStream> = (1..=2)
        .map(|clients| {
            let mut client = connect(&server);
            client.write_all(&[&head[..], &[b' '; 28_000]].concat()).expect("sent");
            wait_for_bodies(&server, clients * 28_000..=clients * 29_000);
            client
        })
        .collect();
    let mut third = ask(1, false);
    third["user"] = json!("x".repeat(10_000));
    // Of those that are coming, the first gives way.
    let answer = raw(&server, &post("1.1", "Connection: close\r\n", &third));
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    let told = rest(&mut slow[0]);
    assert!(told.starts_with("HTTP/1.1 503 ") && told.contains("\r\nRetry-After: "), "{told}");
    // The second goes on.
    wait_for_bodies(&server, 28_000..=29_000);
}

/// A file that is sent takes none of the memory of other bodies, and gives way to none of them.
#[test]
fn files_are_bounded_beside_all_other_bodies() {
    let kept = TemporaryDirectory::new("transport-files");
    let kept = kept.path().to_str().expect("UTF-8");
    let server =
        serve(&["--max-body-bytes", "50000", "--max-total-body-bytes", "60000", "--batch-dir", kept]);
    let mut file = connect(&server);
    let head =
        b"POST /v1/files HTTP/1.1\r\nHost: localhost\r\nContent-Type: multipart/form-data; boundary=b\r\n\
        Connection: close\r\nContent-Length: 200000\r\n\r\n";
    file.write_all(&[&head[..], &[b' '; 150_000]].concat()).expect("sent");
    wait_for_bodies(&server, 150_000..=200_000);
    let mut body = ask(1, false);
    body["user"] = json!("x".repeat(40_000));
    let answer = raw(&server, &post("1.1", "Connection: close\r\n", &body));
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    file.write_all(&[b' '; 50_000]).expect("sent");
    let told = rest(&mut file);
    assert!(told.starts_with("HTTP/1.1 400 ") && told.contains("form"), "it is read to its end: {told}");
}

#[test]
fn a_socket_file_serves_as_a_port_does() {
    let path = std::env::temp_dir().join(format!("verbatim-transport-{}", std::process::id()));
    let server = serve(&["--uds", path.to_str().expect("UTF-8")]);
    let mut client = UnixStream::connect(&path).expect("connects");
    client.write_all(&post("1.1", "Connection: close\r\n", &ask(3, true))).expect("sent");
    assert!(rest(&mut client).contains("data: [DONE]"));
    let clients: Vec<UnixStream> = (0..10)
        .map(|_| {
            let mut client = UnixStream::connect(&path).expect("connects");
            client.write_all(&post("1.1", "", &ask(400, false))).expect("sent");
            client
        })
        .collect();
    drop(clients);
    wait_until_idle(&server);
    drop(server);
    assert!(!path.exists(), "the server removes its socket file");
}

/// A stream that runs: its reader, after the first event.
fn running_stream(server: &Running, tokens: usize) -> BufReader<TcpStream> {
    let mut client = connect(server);
    client.write_all(&post("1.1", "", &ask(tokens, true))).expect("sent");
    let mut reader = BufReader::new(client);
    let mut line = String::new();
    while !line.starts_with("data: ") {
        line.clear();
        assert!(reader.read_line(&mut line).expect("events") > 0);
    }
    reader
}

#[test]
fn a_server_that_is_asked_to_stop_ends_in_good_order() {
    let mut server = serve(&["--drain-seconds", "60"]);
    assert_eq!(server.send("GET", "/ready", "").0, 200);
    let mut idle = connect(&server);
    let mut reader = running_stream(&server, 480);
    server.signal("TERM");
    assert_eq!(rest(&mut idle), "", "idle connections are closed");
    // The stream goes on to its end, and then the server ends.
    let text = rest(&mut reader);
    assert!(text.contains("\"finish_reason\":\"length\"") && text.contains("data: [DONE]"), "{text}");
    assert_eq!(server.wait().code(), Some(0));
}

#[test]
fn a_server_that_drains_begins_nothing_and_cuts_what_is_late() {
    // So many choices take longer than the time to drain.
    let mut server = Running::start(&["--drain-seconds", "1", "--threads", "1", "--max-queue", "200"]);
    let ask = json!({"prompt": "Once", "max_tokens": 400, "ignore_eos": true, "stream": true, "n": 8});
    let mut readers: Vec<_> = (0..16)
        .map(|_| {
            let mut client = connect(&server);
            client.write_all(&post("1.1", "", &ask)).expect("sent");
            client
        })
        .collect();
    for reader in &readers {
        reader.peek(&mut [0]).expect("every answer has begun");
    }
    server.signal("TERM");
    let since = Instant::now();
    let refused = loop {
        let answer = raw(&server, &post("1.1", "", &json!({"prompt": "a"})));
        if answer.starts_with("HTTP/1.1 503 ") {
            break answer;
        }
        assert!(since.elapsed() < Duration::from_secs(60), "it takes requests");
    };
    for part in ["\"code\":\"draining\"", "\"resumable\":true", "Retry-After: 1\r\n", "Connection: close\r\n"]
    {
        assert!(refused.contains(part), "{part}: {refused}");
    }
    let ready = raw(&server, b"GET /ready HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert!(ready.starts_with("HTTP/1.1 503 ") && ready.contains("Retry-After: 1\r\n"), "{ready}");
    assert_eq!(health(&server)["status"], "draining");
    let texts: Vec<String> = readers.iter_mut().map(rest).collect();
    let is_cut = |text: &&String| text.contains("\"code\":\"engine_stopped\"");
    let cut: Vec<_> = texts.iter().filter(is_cut).collect();
    assert!(!cut.is_empty(), "a request of each of 16 was over within a second");
    for text in cut {
        assert!(text.contains("\"resumable\":true") && text.contains("\"type\":\"server_error\""), "{text}");
        assert!(!text.contains("[DONE]"), "what was cut is not taken for whole: {text}");
    }
    assert!(texts.iter().all(|text| text.ends_with("0\r\n\r\n")), "every stream says that it ends");
    assert_eq!(server.wait().code(), Some(0));
}

#[test]
fn a_server_that_loads_its_model_is_not_ended_by_a_reload_and_ended_well_by_a_stop() {
    for (number, signals) in [&["HUP"][..], &["TERM"], &["HUP", "INT"]].into_iter().enumerate() {
        let path = std::env::temp_dir().join(format!("verbatim-loads-{}-{number}", std::process::id()));
        let file = path.to_str().expect("UTF-8");
        let mut server = command();
        server.args(["serve", "--port", "0", "--threads", "1", "--log", "off", "--uds", file]);
        let mut server =
            server.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("the server starts");
        // It listens before it loads.
        while !path.exists() {
            assert_eq!(server.try_wait().expect("a child"), None);
            std::thread::sleep(Duration::from_micros(100));
        }
        for signal in signals {
            let sent = Command::new("kill").args([&format!("-{signal}"), &server.id().to_string()]).status();
            assert!(sent.expect("kill runs").success());
        }
        if signals == ["HUP"] {
            // Between its file and its listening there is a moment.
            let mut client = loop {
                match UnixStream::connect(&path) {
                    Ok(client) => break client,
                    Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionRefused, "{error}"),
                }
                assert_eq!(server.try_wait().expect("a child"), None, "the reload has ended it");
                std::thread::sleep(Duration::from_micros(100));
            };
            let health = b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
            client.write_all(health).expect("sent");
            assert!(rest(&mut client).starts_with("HTTP/1.1 200 "));
            let _ = server.kill();
        }
        let ended = server.wait().expect("a child");
        assert!(signals == ["HUP"] || ended.code() == Some(0), "{signals:?}: {ended}");
        let _ = std::fs::remove_file(&path);
    }
}

#[test]
fn a_second_signal_ends_the_server_at_once() {
    for (signal, code) in [("TERM", 143), ("INT", 130)] {
        let mut server = serve(&[]);
        let _reader = running_stream(&server, 480);
        let _other: Vec<_> = (0..30)
            .map(|_| {
                let mut client = connect(&server);
                client.write_all(&post("1.1", "", &ask(480, true))).expect("sent");
                client
            })
            .collect();
        server.signal(signal);
        while health_is_ready(&server) {}
        server.signal(signal);
        assert_eq!(server.wait().code(), Some(code));
    }
}

/// Whether the server is ready, as far as it can be asked.
fn health_is_ready(server: &Running) -> bool {
    let Ok(mut stream) = TcpStream::connect(&server.address) else { return false };
    let sent = stream.write_all(b"GET /ready HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    sent.is_ok() && rest(&mut stream).starts_with("HTTP/1.1 200 ")
}
