//! A server as a partner: what is sent to it, and what becomes of what it sends, however odd.
use super::partner::{End, Partner, Piece, Stop, Told};
use super::remote::Remote;
use crate::cli::http::Place;
use serde_json::{Map, Value, json};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;

const EVENTS: &str = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n";

/// An answer of JSON.
fn answer(status: u16, body: &Value) -> String {
    let body = body.to_string();
    format!(
        "HTTP/1.1 {status} X\r\ncontent-type: application/json\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// Reads a request: its head and its body.
fn read(stream: &TcpStream) -> (String, Value) {
    let mut reader = BufReader::new(stream);
    let (mut head, mut length) = (String::new(), 0);
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).expect("a line");
        if line == "\r\n" {
            break;
        }
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().expect("a number");
        }
        head.push_str(&line);
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).expect("a body");
    (head, serde_json::from_slice(&body).unwrap_or(Value::Null))
}

/// A server that gives these answers in turn, and at its end the requests that it got.
fn serve(answers: Vec<String>) -> (Place, JoinHandle<Vec<(String, Value)>>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    let thread = std::thread::spawn(move || {
        answers
            .into_iter()
            .map(|answer| {
                let (mut stream, _) = listener.accept().expect("a client");
                let request = read(&stream);
                // A client that has heard enough closes.
                let _ = stream.write_all(answer.as_bytes());
                request
            })
            .collect()
    });
    (Place::new(&url, Some("sk-1")).expect("a URL"), thread)
}

/// What comes of one question, and of what was told.
fn asked(remote: &mut Remote) -> (Result<Told, String>, Vec<Piece>) {
    let mut pieces = Vec::new();
    let body = Map::from_iter([("messages".to_owned(), json!([{"role": "user", "content": "hi"}]))]);
    let told = remote.answer(&body, &Stop::default(), &mut |piece| {
        pieces.push(piece);
        Ok(())
    });
    (told, pieces)
}

fn text(text: &str) -> Piece {
    Piece::Text(text.to_owned())
}

#[test]
fn an_answer_comes_as_events() {
    let stream = [
        json!({"system_fingerprint": "vb-1", "choices": [{"delta": {"role": "assistant", "content": ""}}]}),
        json!({"choices": [{"delta": {"reasoning_content": "So"}}]}),
        json!({"choices": [{"delta": {"content": "Hi"}, "finish_reason": null}]}),
        json!({"choices": [{"delta": {"content": " there"}, "finish_reason": "length"}]}),
        json!({"choices": [], "verbatim": {"seed": -5}, "usage": {
            "prompt_tokens": 9, "completion_tokens": 3, "prompt_tokens_details": {"cached_tokens": 4}}}),
    ];
    let stream: String = stream.iter().map(|event| format!(": ping\n\ndata: {event}\n\n")).collect();
    let models = answer(200, &json!({"data": [{"id": "m1"}, {"id": "m2"}]}));
    let (place, server) = serve(vec![models, format!("{EVENTS}{stream}data: [DONE]\n\n")]);
    let mut remote = Remote::new(place, None).expect("a model");
    let (told, pieces) = asked(&mut remote);
    let told = told.expect("an answer");
    assert_eq!(pieces, [Piece::Reasoning("So".to_owned()), text("Hi"), text(" there")]);
    assert_eq!((told.end, told.seed), (End::Length, Some(-5)));
    let figures = told.figures;
    assert_eq!((figures.prompt_tokens, figures.cached_tokens, figures.tokens), (Some(9), Some(4), Some(3)));
    assert_eq!((remote.name(), remote.fingerprint()), ("m1", Some("vb-1")));
    let requests = server.join().expect("it served");
    assert!(requests[0].0.starts_with("GET /v1/models "), "{}", requests[0].0);
    let (head, body) = &requests[1];
    assert!(head.starts_with("POST /v1/chat/completions ") && head.contains("Bearer sk-1"), "{head}");
    assert_eq!(body["model"], "m1");
    assert_eq!((&body["stream"], &body["stream_options"]["include_usage"]), (&json!(true), &json!(true)));
}

/// Some servers name models by their paths.
#[test]
fn a_long_name_is_sent_as_it_is() {
    let name = format!("/models/{}/end", "a".repeat(300));
    let models = answer(200, &json!({"data": [{"id": "x".repeat(5000)}, {"id": name}]}));
    let whole = answer(200, &json!({"choices": [{"message": {"role": "assistant", "content": "Hi"}}]}));
    let (place, server) = serve(vec![models.clone(), whole, models]);
    let mut remote = Remote::new(place, None).expect("a model");
    asked(&mut remote).0.expect("an answer");
    let told = remote.describe().expect("lines");
    assert!(told.iter().any(|line| line.starts_with("the server has: ") && line.len() < 150), "{told:?}");
    assert_eq!(server.join().expect("it served")[1].1["model"], json!(name));
}

#[test]
fn a_server_may_know_less() {
    let refusal = answer(422, &json!({"detail": "extra field stream_options is forbidden"}));
    let whole = answer(200, &json!({"choices": [{"message": {"role": "assistant", "content": "Hi"}}]}));
    let (place, server) = serve(vec![refusal, whole.clone(), whole]);
    let mut remote = Remote::new(place, Some("m")).expect("a model");
    let (told, pieces) = asked(&mut remote);
    assert_eq!((told.expect("an answer").end, pieces), (End::Whole, vec![text("Hi")]));
    asked(&mut remote).0.expect("it is not asked for what it does not know");
    let requests = server.join().expect("it served");
    assert_eq!(requests[2].1.get("stream_options"), None);
}

#[test]
fn what_goes_wrong_is_told() {
    let event = |event: &str| format!("{EVENTS}data: {event}\n\n");
    let cases = [
        (answer(401, &json!({"error": {"message": "no\u{1b}[2J key"}})), "no\\u{1b}[2J key (status 401)"),
        (
            "HTTP/1.1 502 Bad\r\nconnection: close\r\n\r\n<html>".to_owned(),
            "/v1/chat/completions: status 502",
        ),
        (event("{\"error\": {\"message\": \"it broke\"}}"), "it broke"),
        (event("{\"error\": true}"), "ended the answer with an error"),
        (event("nonsense"), "an event that is no JSON"),
        ("nonsense".to_owned(), "/v1/chat/completions: "),
        (format!("{EVENTS}data: \u{1}"), "no JSON"),
        (event("{\"choices\": [{\"delta\": {\"content\": \"Hi\"}}]}"), "broke off before its end"),
    ];
    for (answer, told) in cases {
        let (place, server) = serve(vec![answer]);
        let mut remote = Remote::new(place, Some("m")).expect("a model");
        let error = asked(&mut remote).0.expect_err(told);
        assert!(error.contains(told) && !error.contains('\u{1b}'), "{error}");
        server.join().expect("it served");
    }
    let (place, server) = serve(vec![answer(200, &json!({"data": []}))]);
    assert!(Remote::new(place, None).err().expect("no model").contains("--model names one"));
    server.join().expect("it served");
    // Values of other types than OpenAI's are passed over.
    let odd = event("{\"choices\": [{\"delta\": {\"content\": 5}}], \"usage\": {\"prompt_tokens\": \"x\"}}")
        + "data: [DONE]\n\n";
    let (place, server) = serve(vec![odd]);
    let (told, pieces) = asked(&mut Remote::new(place, Some("m")).expect("a model"));
    assert_eq!((told.expect("an end").figures.prompt_tokens, pieces), (None, Vec::new()));
    server.join().expect("it served");
}

#[test]
fn a_silent_server_is_left_when_the_answer_is_not_wanted() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    let mut remote = Remote::new(Place::new(&url, None).expect("a URL"), Some("m")).expect("a model");
    let stop = Stop::default();
    let (flag, thread) = (
        stop.clone(),
        std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().expect("a client");
            read(&stream);
            let event = json!({"choices": [{"delta": {"content": "Hi"}}]});
            stream.write_all(format!("{EVENTS}data: {event}\n\n").as_bytes()).expect("it is read");
            stream
        }),
    );
    let body = Map::from_iter([("messages".to_owned(), json!([]))]);
    let told = remote.answer(&body, &stop, &mut |piece| {
        assert_eq!(piece, text("Hi"));
        flag.0.store(true, Ordering::SeqCst);
        Ok(())
    });
    assert_eq!(told.expect("it was stopped").end, End::Stopped);
    drop(thread.join().expect("a connection"));
}
