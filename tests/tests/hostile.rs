//! The server under attack, at 1,024 descriptors as most systems give them: it lives, good streams
//! lose no token and keep their bits, /health always answers, and afterwards everything that the
//! attackers took is given back. `verbatim-bench hostile` does the same at full size, with times.
use serde_json::json;
use std::io::Write;
use std::time::Duration;
use verbatim_tests::http::arena::Arena;
use verbatim_tests::http::attacks::ALL;
use verbatim_tests::http::attacks::target::Scale;
use verbatim_tests::http::connection::{Connection, request};
use verbatim_tests::http::crowd::{Crowd, From};
use verbatim_tests::http::good::Probe;
use verbatim_tests::http::watched::{Watched, allow_many_files};
use verbatim_tests::process::Running;

/// Descriptors that the server may have.
const DESCRIPTORS: usize = 1024;
/// How long any answer may take here, where nothing is measured.
const SECONDS: Duration = Duration::from_secs(10);
/// Memory after the attacks, at most, over that at the start.
const MEMORY: f64 = 1.2;

fn serve() -> Running {
    allow_many_files();
    Running::start_with_descriptors(DESCRIPTORS, &["--threads", "1"])
}

/// Every attack of [`ALL`] on one server, or the one that `HOSTILE` names.
fn face_all(scale: Scale) {
    let server = serve();
    let process = Watched(server.pid());
    let only = std::env::var("HOSTILE").ok();
    let arena = Arena::open(server.socket_address(), process, scale).expect("good clients are served");
    let idle = arena.idle_gap_ms(Duration::from_secs(1));
    let mut faults = Vec::new();
    for attack in ALL.iter().filter(|attack| only.as_ref().is_none_or(|only| only == attack.name)) {
        let outcome = arena.face(attack, idle);
        println!(
            "{:20} {:5.1} s  gap {:6.1} ms (idle {idle:.1})  /health {:6.1} ms  {:5} MiB  {} refused  {}",
            attack.name,
            outcome.seconds,
            outcome.gap_ms(),
            outcome.health_ms,
            outcome.resident_bytes >> 20,
            outcome.seen.refused,
            outcome.tally,
        );
        faults.extend(outcome.faults());
        assert!(!outcome.has_died, "{faults:#?}");
        if outcome.health_ms > SECONDS.as_secs_f64() * 1e3 {
            faults.push(format!("{}: /health took {:.0} ms", attack.name, outcome.health_ms));
        }
    }
    println!("at the start {}", arena.at_start);
    match arena.close(MEMORY, Duration::from_secs(30)) {
        Ok(held) => println!("at the end   {held}"),
        Err(fault) => faults.push(fault),
    }
    assert!(faults.is_empty(), "{faults:#?}");
}

#[test]
fn no_attack_hurts_anybody() {
    face_all(Scale::Small);
}

#[test]
#[ignore = "takes ten minutes; verbatim-bench hostile measures the same"]
fn no_attack_at_full_size_hurts_anybody() {
    face_all(Scale::Full);
}

/// What is unusual and right is answered as anything else.
#[test]
fn odd_requests_that_are_right_are_answered() {
    let server = serve();
    let body = json!({"prompt": "a", "max_tokens": 1}).to_string();
    let post = |head: &str, headers: &str| {
        format!(
            "POST {head}\r\nHost: localhost\r\nContent-Type: application/json\r\n{headers}Content-Length: {}\r\n\r\n{body}",
            body.len()
        )
        .into_bytes()
    };
    let ordinary = "/v1/completions HTTP/1.1";
    for (what, bytes) in [
        ("ordinary", post(ordinary, "")),
        (
            "another letter in a header",
            b"GET /health HTTP/1.1\r\nHost: localhost\r\nX-Name: Andr\xe9\r\n\r\n".to_vec(),
        ),
        ("an absolute target", post("http://localhost/v1/completions HTTP/1.1", "")),
        ("a query", post("/v1/completions?x=1&y HTTP/1.1", "")),
        ("HTTP/1.0", post("/v1/completions HTTP/1.0", "")),
        ("two equal lengths", post(ordinary, &format!("Content-Length: {}\r\n", body.len()))),
        ("an empty line before", [b"\r\n", &post(ordinary, "")[..]].concat()),
        ("upper and lower case", post(ordinary, "cOnNeCtIoN: KEEP-alive\r\n")),
    ] {
        let mut connection = Connection::open(server.socket_address()).expect("connects");
        let answer = connection.ask(&bytes).unwrap_or_else(|error| panic!("{what}: {error}"));
        assert_eq!(answer.head.status, 200, "{what}: {}", String::from_utf8_lossy(&answer.body));
    }

    // A client that ends its side still wants its answer, streamed or not.
    for stream in [false, true] {
        let mut connection = Connection::open(server.socket_address()).expect("connects");
        let body = json!({"prompt": "a", "max_tokens": 50, "ignore_eos": true, "stream": stream}).to_string();
        connection.send(&request("POST", "/v1/completions", &[], body.as_bytes())).expect("sent");
        connection.half_close().expect("half closed");
        let answer = connection.answer().unwrap_or_else(|error| panic!("half-closed, {stream}: {error}"));
        assert_eq!(answer.head.status, 200);
        let text = String::from_utf8_lossy(&answer.body);
        assert!(!stream || text.trim_end().ends_with("data: [DONE]"), "{text}");
    }

    // A client that waits to be told to go on is told, and one that asks to close is told so.
    let mut connection = Connection::open(server.socket_address()).expect("connects");
    let bytes = post(ordinary, "Expect: 100-continue\r\nConnection: close\r\n");
    let head = bytes.len() - body.len();
    connection.send(&bytes[..head]).expect("sent");
    assert_eq!(connection.answers().head().expect("an interim answer").status, 100);
    connection.send(&bytes[head..]).expect("sent");
    let answer = connection.answer().expect("an answer");
    assert_eq!(answer.head.status, 200);
    assert!(answer.head.closes(), "{:?}", answer.head);
    assert!(connection.answer().is_err(), "the connection is closed");
}

/// With every place taken by idle connections, each of a hundred newcomers is answered.
#[test]
fn newcomers_get_in_past_an_idle_crowd() {
    let server = serve();
    for from in [From::OneAddress, From::ManyAddresses] {
        let crowd = Crowd::open(server.socket_address(), 1_100, from);
        for _ in 0..100 {
            let mut newcomer = Connection::open(server.socket_address()).expect("connects");
            let answer = newcomer.ask(&request("GET", "/v1/models", &[], b"")).expect("an answer");
            assert_eq!(answer.head.status, 200);
        }
        drop(crowd);
    }
}

/// Heads and bodies that do not end, and connections that say nothing, are closed in their time.
#[test]
fn slow_clients_do_not_stay() {
    allow_many_files();
    let server = Running::start(&["--head-seconds", "1", "--body-seconds", "1", "--idle-seconds", "1"]);
    let body = request("POST", "/v1/completions", &[], &[b' '; 100]);
    let head_bytes = body.len() - 100;
    for (what, at_once, drop_by_drop) in [
        ("heads", &b"GET /health HTTP/1.1\r\nX: "[..], &[b'x'; 60][..]),
        ("bodies", &body[..head_bytes], &body[head_bytes..head_bytes + 60]),
        ("idle connections", &[], &[]),
    ] {
        let mut crowd = Crowd::open(server.socket_address(), 30, From::OneAddress);
        crowd.send(at_once, SECONDS);
        crowd.drip(drop_by_drop, 1, Duration::from_millis(50), SECONDS);
        crowd.read_to_end(SECONDS);
        assert_eq!(crowd.open_count(), 0, "{what}: {}", crowd.tally());
        assert_eq!(crowd.tally().count(|status| status < 400), 0, "{what}: {}", crowd.tally());
    }
}

/// A signal to stop while streams flow and others attack: the streams end whole, /health answers as
/// long as the process lives, and its exit code is 0.
#[test]
fn a_server_that_is_told_to_stop_ends_its_streams() {
    let mut server = serve();
    let address = server.socket_address();
    let probe = Probe::start(address);
    let body =
        json!({"prompt": "a", "max_tokens": 400, "ignore_eos": true, "stream": true, "seed": 3}).to_string();
    let bytes = request("POST", "/v1/completions", &[("Connection", "close")], body.as_bytes());
    let mut streams: Vec<Connection> = Vec::new();
    for _ in 0..6 {
        let mut connection = Connection::open(address).expect("connects");
        connection.send(&bytes).expect("sent");
        assert_eq!(connection.answers().final_head().expect("a head").status, 200);
        streams.push(connection);
    }
    server.signal("TERM");
    for connection in &mut streams {
        let body = connection.answers().body(1 << 24).expect("the stream ends whole");
        assert!(String::from_utf8_lossy(&body).trim_end().ends_with("data: [DONE]"));
    }
    drop(probe);
    assert_eq!(server.exit_code(SECONDS), Some(0));
}

/// A client that sends garbage behind a request has the answer to the request.
#[test]
fn what_follows_a_request_does_not_spoil_its_answer() {
    let server = serve();
    let mut connection = Connection::open(server.socket_address()).expect("connects");
    let mut stream = connection.stream();
    stream.write_all(&request("GET", "/health", &[], b"")).expect("sent");
    stream.write_all(b"\x16\x03\x01 no request\r\n\r\n").expect("sent");
    assert_eq!(connection.answer().expect("an answer").head.status, 200);
    let refusal = connection.answer();
    assert!(refusal.is_err() || refusal.is_ok_and(|answer| answer.head.status == 400));
}
