//! The server while things panic in it: what clients are told, that streams resume to their bits,
//! that nothing leaks, and that it ends with exit code 1 once the engine has failed.
#![cfg(debug_assertions)] // other builds have no faults

use serde_json::{Value, json};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};
use verbatim_tests::process::{Running, command_of};

const PATIENCE: Duration = Duration::from_secs(120);
const STREAMS: u64 = 8;
/// Tokens of a stream that runs while other requests come and go.
const LONG: u64 = 300;

/// A server of the built-in model with these faults.
fn serve(faults: &str, more: &[&str]) -> Running {
    let mut command = command_of(Path::new(env!("CARGO_BIN_EXE_verbatim-faulty")));
    command.env("VERBATIM_FAULTS", faults);
    Running::start_by(command, &[&["--threads", "2"], more].concat())
}

/// Status, head and body of an answer, which comes within [`PATIENCE`].
fn ask(server: &Running, path: &str, body: &Value) -> (u16, String, String) {
    let mut stream = TcpStream::connect(&server.address).expect("connects");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    let body = body.to_string();
    write!(
        stream,
        "POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nConnection: close\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("the answer ends");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
    (status, head.to_ascii_lowercase(), body.to_owned())
}

fn error(body: &str) -> Value {
    let body: Value = serde_json::from_str(body).expect("JSON");
    body["error"].clone()
}

/// A request for a stream of ids.
fn stream_of(seed: u64, tokens: u64) -> Value {
    json!({"prompt": [seed + 5, 6, 7, 8], "max_tokens": tokens, "temperature": 1.1, "seed": seed, "stream": true,
           "ignore_eos": true, "return_token_ids": true})
}

/// Ids and text of a stream, and the error in which it ended.
#[derive(Debug, Default, PartialEq)]
struct Stream {
    ids: Vec<Value>,
    text: String,
    error: Option<Value>,
}

impl Stream {
    fn read(&mut self, server: &Running, body: &Value) {
        let (status, head, text) = ask(server, "/v1/completions", body);
        self.error = None;
        if status != 200 {
            assert!(head.contains("x-should-retry: true"), "{head}");
            self.error = Some(error(&text));
            return;
        }
        let data: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("data: ")).collect();
        let (last, events) = data.split_last().expect("an event");
        if *last != "[DONE]" {
            self.error = Some(error(last)).filter(|error| !error.is_null());
            assert!(self.error.is_some(), "a stream that is not whole ends with an error: {text}");
        }
        for event in events {
            let event: Value = serde_json::from_str(event).expect("JSON");
            assert!(event["error"].is_null(), "an error is the last event");
            let choice = &event["choices"][0];
            self.text.push_str(choice["text"].as_str().unwrap_or_default());
            self.ids.extend(choice["token_ids"].as_array().into_iter().flatten().cloned());
        }
    }

    /// Goes on after the ids that have come, until nothing cuts it any more.
    fn finish(&mut self, server: &Running, body: &Value) {
        while self.error.is_some() {
            let mut rest = body.clone();
            let prompt = body["prompt"].as_array().expect("ids");
            rest["prompt"] = json!([&prompt[..], &self.ids[..]].concat());
            rest["resume"] = json!({"prompt_tokens": prompt.len()});
            self.read(server, &rest);
        }
    }
}

fn solo(server: &Running, tokens: u64) -> Vec<Stream> {
    let read = |seed| {
        let mut stream = Stream::default();
        stream.read(server, &stream_of(seed, tokens));
        assert_eq!(stream.error, None);
        stream
    };
    (0..STREAMS).map(read).collect()
}

/// All streams at once, each on a thread of its own, as they are when they end for the first time.
fn together(server: &Arc<Running>, tokens: u64) -> Vec<Stream> {
    let run = |seed| {
        let server = Arc::clone(server);
        std::thread::spawn(move || {
            let mut stream = Stream::default();
            stream.read(&server, &stream_of(seed, tokens));
            stream
        })
    };
    let running: Vec<_> = (0..STREAMS).map(run).collect();
    running.into_iter().map(|thread| thread.join().expect("no panic")).collect()
}

/// Threads and descriptors of a process.
fn threads_and_descriptors(pid: u32) -> (usize, usize) {
    let count = |what: &str| std::fs::read_dir(format!("/proc/{pid}/{what}")).expect("a process").count();
    (count("task"), count("fd"))
}

/// Anonymous memory of a process in KiB.
fn anonymous_kib(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("a process");
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).expect("a line");
    line.split_whitespace().next().and_then(|kib| kib.parse().ok()).expect("a number")
}

#[test]
fn streams_are_cut_by_a_restart_and_resume() {
    let solo = solo(&serve("", &[]), 64);
    // The faults come while the streams of each round flow, which is some 70 steps long.
    let server = Arc::new(serve("step@20,job@30000,step@150,step@230,sampling@1500", &[]));
    let mut before = (0, 0);
    let mut kib = 0;
    for round in 0..5 {
        let mut streams = together(&server, 64);
        for (seed, stream) in (0..STREAMS).zip(&mut streams) {
            if let Some(error) = &stream.error {
                assert_eq!(
                    (&error["code"], &error["type"]),
                    (&json!("engine_restarted"), &json!("server_error"))
                );
                assert_eq!(error["resumable"], true, "{error}");
            }
            stream.finish(&server, &stream_of(seed, 64));
        }
        assert_eq!(streams, solo, "round {round}");
        if round == 0 {
            assert!(restarts(&server) >= 1, "the first fault has come");
            before = settled(server.pid(), (usize::MAX, usize::MAX));
            kib = anonymous_kib(server.pid());
        }
    }
    assert!(restarts(&server) >= 3, "{}", restarts(&server));
    let after = settled(server.pid(), before);
    assert!(
        after.0 <= before.0 && after.1 <= before.1,
        "threads and descriptors: {before:?}, then {after:?}"
    );
    let now = anonymous_kib(server.pid());
    assert!(now <= kib + kib / 4 + 16 * 1024, "memory: {kib} KiB, then {now}");
    let said = server.said();
    let panics =
        said.iter().filter(|line| line.contains("a fault on purpose") && line.contains("panicked at"));
    assert!(panics.count() >= 3, "each panic is a line: {said:?}");
    assert!(said.iter().any(|line| line.contains("was restarted")), "{said:?}");
}

fn health(server: &Running) -> Value {
    let (status, body) = server.send("GET", "/health", "");
    assert_eq!(status, 200, "{body}");
    serde_json::from_str(&body).expect("JSON")
}

fn restarts(server: &Running) -> u64 {
    let health = health(server);
    assert!(health["last_step_age_seconds"].is_number(), "{health}");
    health["restarts"].as_u64().expect("a number")
}

/// Sequences that run or wait.
fn running(server: &Running) -> u64 {
    let health = health(server);
    health["running"].as_u64().expect("a number") + health["waiting"].as_u64().expect("a number")
}

/// Threads and descriptors once they are no more than `bound`, or have not changed for a while.
fn settled(pid: u32, bound: (usize, usize)) -> (usize, usize) {
    let (mut last, mut since) = (threads_and_descriptors(pid), Instant::now());
    while since.elapsed() < Duration::from_secs(8) {
        std::thread::sleep(Duration::from_millis(50));
        let now = threads_and_descriptors(pid);
        if now.0 <= bound.0 && now.1 <= bound.1 && bound.0 != usize::MAX {
            return now;
        }
        if now != last {
            (last, since) = (now, Instant::now());
        }
    }
    last
}

#[test]
fn a_whole_answer_that_a_restart_cuts_may_be_asked_for_again() {
    let server = serve("step@9", &[]);
    let mut body = stream_of(3, 32);
    body["stream"] = json!(false);
    let (status, head, text) = ask(&server, "/v1/completions", &body);
    let error = error(&text);
    assert_eq!((status, &error["code"]), (500, &json!("engine_restarted")), "{text}");
    assert!(head.contains("x-should-retry: true") && head.contains("retry-after: 1"), "{head}");
    assert_eq!(ask(&server, "/v1/completions", &body).0, 200);
}

#[test]
fn a_panic_on_one_request_is_told_to_its_client_alone() {
    let solo = solo(&serve("", &[]), LONG);
    // Eight streams of ids come first, so the fourth chat is the twelfth request; the second has
    // the second template, and the fifth the third text.
    let server = Arc::new(serve("template@2,tokenizer@3,handler@12,stream@700", &["--max-seqs", "12"]));
    let chat = json!({"messages": [{"role": "user", "content": "hi"}], "max_tokens": 2});
    let streams = {
        let server = Arc::clone(&server);
        std::thread::spawn(move || together(&server, LONG))
    };
    let since = Instant::now();
    while running(&server) < STREAMS {
        assert!(since.elapsed() < PATIENCE, "the streams run");
        std::thread::sleep(Duration::from_millis(2));
    }
    for number in 1..=5 {
        let (status, head, body) = ask(&server, "/v1/chat/completions", &chat);
        if !matches!(number, 2 | 4 | 5) {
            assert_eq!(status, 200, "chat {number}: {body}");
            continue;
        }
        assert_eq!((status, &error(&body)["code"]), (500, &json!("internal_error")), "chat {number}: {body}");
        assert!(head.contains("x-should-retry: false"), "{head}");
    }
    let mut streams = streams.join().expect("no panic");
    assert_eq!(health(&server)["restarts"], 0, "the engine has no part in it");
    let cut: Vec<usize> = (0..streams.len()).filter(|at| streams[*at].error.is_some()).collect();
    assert_eq!(cut.len(), 1, "one stream's handler panicked");
    for at in cut {
        let code = streams[at].error.as_ref().map(|error| error["code"].clone());
        assert_eq!(code, Some(json!("internal_error")));
        streams[at].finish(&server, &stream_of(at as u64, LONG));
    }
    assert_eq!(streams, solo);
}

#[test]
fn the_server_ends_with_an_error_after_too_many_panics() {
    let mut server = serve("step@2,step@3,step@4", &["--engine-restarts", "2"]);
    let mut body = stream_of(1, 8);
    body["stream"] = json!(false);
    for _ in 0..2 {
        assert_eq!(ask(&server, "/v1/completions", &body).0, 500);
    }
    let (status, head, text) = ask(&server, "/v1/completions", &body);
    assert!(status == 503 && head.contains("x-should-retry: true"), "another server may do it: {text}");
    assert!(head.contains("retry-after: 1"), "{head}");
    let failed = error(&text);
    assert_eq!((&failed["code"], &failed["resumable"]), (&json!("engine_failed"), &json!(true)), "{text}");
    assert_eq!(server.exit_code(PATIENCE), Some(1));
    let said = server.said();
    let reason = "the engine panicked after 2 restarts";
    let is_told = |line: &String| line.starts_with("error: ") && line.contains(reason);
    assert!(said.iter().any(is_told), "{said:?}");
}

/// `submit` has its test in `supervision.rs`; here a request that the engine panics on.
#[test]
fn a_request_that_the_engine_cannot_take_is_not_retried() {
    let server = serve("submit@1", &[]);
    let mut body = stream_of(1, 4);
    body["stream"] = json!(false);
    let (status, head, _) = ask(&server, "/v1/completions", &body);
    assert!(status == 500 && head.contains("x-should-retry: false"), "{head}");
    assert_eq!(ask(&server, "/v1/completions", &body).0, 200);
}
