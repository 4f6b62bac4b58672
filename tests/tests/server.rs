//! The server end to end: a random model with a small tokenizer, over real sockets.
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;
use verbatim_tests::fixture::Files;
use verbatim_tests::process::Running;

fn serve() -> Running {
    let directory = Files::tiny().directory("server");
    let path = directory.path().to_str().expect("UTF-8");
    Running::start(&["--served-model-name", "tiny", "--max-seqs", "4", "--model", path])
}

#[test]
fn the_api_answers_as_clients_expect() {
    let server = serve();
    let ask = json!({"model": "tiny", "prompt": "Hello", "max_tokens": 12, "seed": 7, "logprobs": 2});
    let (status, whole) = server.post("/v1/completions", &ask);
    assert_eq!(status, 200, "{whole}");
    assert_eq!(whole["object"], "text_completion");
    assert_eq!(whole["usage"]["prompt_tokens"], 5);
    assert_eq!(whole["verbatim"]["seed"], 7);
    assert!(whole["system_fingerprint"].as_str().is_some_and(|f| f.starts_with("vb-") && f.len() == 19));
    let logprobs = &whole["choices"][0]["logprobs"];
    let count = whole["usage"]["completion_tokens"].as_u64().expect("a count") as usize;
    for list in ["tokens", "token_logprobs", "top_logprobs", "text_offset"] {
        assert_eq!(logprobs[list].as_array().map(Vec::len), Some(count), "{list}");
    }

    // The same request, streamed, ids for text, beside others, and again: the same answer.
    let text = whole["choices"][0]["text"].as_str().expect("text").to_owned();
    let mut streamed_ask = ask.clone();
    streamed_ask["stream"] = json!(true);
    streamed_ask["stream_options"] = json!({"include_usage": true});
    std::thread::scope(|scope| {
        for i in 0..6 {
            let server = &server;
            scope.spawn(move || {
                server.post(
                    "/v1/completions",
                    &json!({"prompt": "other".repeat(i + 1), "max_tokens": 30, "seed": i}),
                )
            });
        }
        let events = server.stream("/v1/completions", &streamed_ask);
        let pieces: String = events.iter().filter_map(|event| event["choices"][0]["text"].as_str()).collect();
        assert_eq!(pieces, text);
        let token_logprobs: Vec<&Value> = events
            .iter()
            .filter_map(|event| event["choices"][0]["logprobs"]["token_logprobs"].as_array())
            .flatten()
            .collect();
        assert_eq!(json!(token_logprobs), logprobs["token_logprobs"]);
        let last = events.last().expect("events");
        assert_eq!(
            (&last["choices"], &last["usage"]["total_tokens"]),
            (&json!([]), &whole["usage"]["total_tokens"])
        );
        let finish: Vec<&Value> =
            events.iter().filter(|e| !e["choices"][0]["finish_reason"].is_null()).collect();
        assert_eq!(finish.len(), 1);
    });
    let mut by_ids = ask.clone();
    by_ids["prompt"] = json!("Hello".bytes().collect::<Vec<u8>>());
    let (_, same) = server.post("/v1/completions", &by_ids);
    assert_eq!(same["choices"][0]["text"], json!(text));
    assert_eq!(same["choices"][0]["logprobs"]["token_logprobs"], logprobs["token_logprobs"]);

    let chat = json!({
        "messages": [{"role": "developer", "content": "be brief"}, {"role": "user", "content": [{"type": "text", "text": "hi </s>"}]}],
        "max_completion_tokens": 8.0, "temperature": 0, "logprobs": true, "top_logprobs": 1,
    });
    let (status, answer) = server.post("/v1/chat/completions", &chat);
    assert_eq!(status, 200, "{answer}");
    assert_eq!(answer["object"], "chat.completion");
    assert_eq!(answer["choices"][0]["message"]["role"], "assistant");
    // BOS is one token; the </s> that the user wrote is four letters, not the end.
    let rendered = "system: be brief\nuser: hi </s>\nassistant:";
    assert_eq!(answer["usage"]["prompt_tokens"], json!(rendered.len() + 1));
    let mut streamed = chat;
    streamed["stream"] = json!(true);
    let events = server.stream("/v1/chat/completions", &streamed);
    assert_eq!(events[0]["choices"][0]["delta"], json!({"role": "assistant", "content": ""}));
    let pieces: String =
        events.iter().filter_map(|event| event["choices"][0]["delta"]["content"].as_str()).collect();
    assert_eq!(json!(pieces), answer["choices"][0]["message"]["content"]);
    assert!(events.iter().all(|event| event.get("usage").is_none()));

    // A stop string ends the text before itself.
    let stop: String = text.chars().skip(2).take(2).collect();
    let mut stopped = ask;
    stopped["stop"] = json!([stop]);
    let (_, stopped) = server.post("/v1/completions", &stopped);
    assert_eq!(stopped["choices"][0]["finish_reason"], "stop");
    assert_eq!(stopped["choices"][0]["text"].as_str(), text.split(&stop).next());

    let (status, models) = server.send("GET", "/v1/models", "");
    assert!(status == 200 && models.contains("\"tiny\""));
    assert_eq!(server.send("GET", "/health", "").0, 200);
}

#[test]
fn what_is_wrong_is_said_in_openais_shape() {
    let server = serve();
    let base = |extra: Value| {
        let mut body = json!({"prompt": "a", "max_tokens": 1});
        body.as_object_mut().expect("an object").extend(extra.as_object().expect("an object").clone());
        body
    };
    for (extra, status, param) in [
        (json!({"model": "other"}), 404, "model"),
        (json!({"temperature": -1}), 400, "temperature"),
        (json!({"temperature": "hot"}), 400, "temperature"),
        (json!({"top_p": 0}), 400, "top_p"),
        (json!({"max_tokens": -1}), 400, "max_tokens"),
        (json!({"max_tokens": 1.5}), 400, "max_tokens"),
        (json!({"n": 0}), 400, "n"),
        (json!({"n": 1000}), 400, "n"),
        (json!({"prompt": vec!["a"; 1000], "n": 60}), 400, "n"),
        (json!({"priority": 1000}), 400, "priority"),
        (json!({"cache_salt": ""}), 400, "cache_salt"),
        (json!({"cache_salt": 3}), 400, "cache_salt"),
        (json!({"min_tokens": -1}), 400, "min_tokens"),
        (json!({"resume": {"prompt_tokens": 1}}), 400, "resume"),
        (json!({"prompt": [1, 2], "resume": {}}), 400, "resume"),
        (json!({"prompt": [1, 2], "resume": {"prompt_tokens": 0}}), 400, "resume"),
        (json!({"prompt": [1, 2], "resume": {"prompt_tokens": 3}}), 400, "resume"),
        (json!({"prompt": [1, 2], "resume": {"prompt_tokens": 1, "x": 1}}), 400, "resume"),
        (json!({"prompt": [1, 2], "resume": {"prompt_tokens": 1}, "n": 2}), 400, "resume"),
        (json!({"prompt": [1, 2, 3], "resume": {"prompt_tokens": 1}}), 400, "resume"),
        (json!({"best_of": 3}), 400, "best_of"),
        (json!({"suffix": "x"}), 400, "suffix"),
        (json!({"echo": "yes"}), 400, "echo"),
        (json!({"response_format": {"type": "nonsense"}}), 400, "response_format"),
        (json!({"stream_options": {}}), 400, "stream_options"),
        (json!({"stop": [""]}), 400, "stop"),
        (json!({"stop": 3}), 400, "stop"),
        (json!({"logit_bias": {"x": 1}}), 400, "logit_bias"),
        (json!({"logit_bias": {"9999": 1}}), 400, "logit_bias"),
        (json!({"logprobs": 21}), 400, "logprobs"),
        (json!({"prompt": ""}), 400, "prompt"),
        (json!({"prompt": []}), 400, "prompt"),
        (json!({"prompt": [1, -1]}), 400, "prompt"),
        (json!({"prompt": [9999]}), 400, "prompt"),
        (json!({"prompt": {"a": 1}}), 400, "prompt"),
        (json!({"prompt": "x".repeat(600)}), 400, "prompt"),
        (json!({"stream": "yes"}), 400, "stream"),
    ] {
        let (found, body) = server.post("/v1/completions", &base(extra.clone()));
        assert_eq!((found, body["error"]["param"].as_str()), (status, Some(param)), "{extra}: {body}");
        assert!(body["error"]["message"].as_str().is_some_and(|message| !message.contains('\n')), "{body}");
    }
    for (messages, what) in [
        (json!([]), "empty"),
        (json!([{"role": 3, "content": "x"}]), "role"),
        (json!([{"role": "user", "content": [{"type": "image_url"}]}]), "image"),
        (json!("hi"), "a string"),
    ] {
        let (status, body) = server.post("/v1/chat/completions", &json!({"messages": messages}));
        assert_eq!((status, body["error"]["param"].as_str()), (400, Some("messages")), "{what}: {body}");
    }
    let (status, body) = server.post("/v1/completions", &base(json!({"prompt": "x".repeat(600)})));
    assert_eq!((status, &body["error"]["code"]), (400, &json!("context_length_exceeded")));
    assert_eq!(server.send("GET", "/nothing", "").0, 404);
    assert_eq!(server.send("GET", "/v1/completions", "").0, 405);
    for (line, allow) in [("OPTIONS /health", "GET, HEAD"), ("HEAD /v1/chat/completions", "POST")] {
        let answer = raw(
            &server,
            format!("{line} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").as_bytes(),
        );
        assert!(answer.starts_with("HTTP/1.1 405 "), "{line}: {answer}");
        assert!(answer.contains(&format!("\r\nAllow: {allow}\r\n")), "{line}: {answer}");
    }
    let answer = raw(&server, b"HEAD /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("\r\n\r\n"), "{answer}");
    assert_eq!(server.send("POST", "/v1/completions", "{").0, 400);
    assert_eq!(server.send("POST", "/v1/completions", "[]").0, 400);
    // Unknown and harmless parameters are accepted.
    let (status, _) = server.post("/v1/completions", &base(json!({"user": "u", "n": 1, "nonsense": 1})));
    assert_eq!(status, 200);
}

/// Sends bytes as they are on a connection of their own; what comes back until the end of the
/// connection.
fn raw(server: &Running, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(&server.address).expect("connects");
    stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a time-out");
    stream.write_all(bytes).expect("sent");
    let mut answer = Vec::new();
    // A connection that is reset has answered before.
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}

fn post_bytes(headers: &str, body: &str) -> Vec<u8> {
    format!("POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n{headers}\r\n{body}").into_bytes()
}

#[test]
fn clients_that_lie_are_told_and_the_server_lives_on() {
    let server = serve();
    let body = json!({"prompt": "Hello", "max_tokens": 3, "seed": 1}).to_string();
    let length = format!("Content-Length: {}\r\n", body.len());
    for (bytes, status, what) in [
        (post_bytes("Content-Length: 1000000000000000\r\n", &body), 413, "a length beyond memory"),
        (post_bytes("Content-Length: 99999999999999999999999\r\n", &body), 413, "a length beyond numbers"),
        (post_bytes("Content-Length: -1\r\n", &body), 400, "a length below 0"),
        (post_bytes(&format!("{length}Content-Length: 3\r\n"), &body), 400, "two lengths"),
        (post_bytes(&format!("{length}Transfer-Encoding: chunked\r\n"), &body), 400, "a length and chunks"),
        (post_bytes("Transfer-Encoding: chunked\r\n", "xyz\r\n"), 400, "a chunk without a size"),
        (post_bytes("Transfer-Encoding: chunked\r\n", "ffffffffffffffff\r\n"), 413, "a chunk beyond memory"),
        (post_bytes(&format!("x: {}\r\n", "y".repeat(40_000)), ""), 431, "a head beyond its limit"),
        (b"PRI * HTTP/2.0\r\n\r\n".to_vec(), 505, "HTTP/2"),
        (b"\x16\x03\x01\x00\xa5\x01\r\n\r\n".to_vec(), 400, "TLS"),
    ] {
        let answer = raw(&server, &bytes);
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{what}: {answer:?}");
        let body = answer.split_once("\r\n\r\n").expect("a body").1;
        let error: Value =
            serde_json::from_str(body).unwrap_or_else(|error| panic!("{what}: {error}: {answer}"));
        assert!(error["error"]["message"].is_string(), "{what}: {answer}");
    }

    // Many slow clients hold nobody up.
    let slow: Vec<TcpStream> = (0..100)
        .map(|i| {
            let mut stream = TcpStream::connect(&server.address).expect("connects");
            let start = post_bytes("Content-Length: 100000\r\n", "{");
            stream.write_all(&start[..if i % 2 == 0 { 20 } else { start.len() }]).expect("sent");
            stream
        })
        .collect();
    let good = post_bytes(&format!("{length}Connection: close\r\n"), &body);
    assert!(raw(&server, &good).starts_with("HTTP/1.1 200 "));
    drop(slow);

    // Two requests at once on one connection, the first one's body in chunks.
    let chunks = format!(
        "{:x};x=y\r\n{}\r\n{:x}\r\n{}\r\n0\r\nx: y\r\n\r\n",
        5,
        &body[..5],
        body.len() - 5,
        &body[5..]
    );
    let mut two = post_bytes("Transfer-Encoding: chunked\r\n", &chunks);
    two.extend_from_slice(&good);
    let answers = raw(&server, &two);
    assert_eq!(answers.matches("HTTP/1.1 200 ").count(), 2, "{answers}");
}

#[test]
fn a_client_that_leaves_ends_its_request() {
    let server = serve();
    let running = || {
        let (_, health) = server.send("GET", "/health", "");
        let health: Value = serde_json::from_str(&health).expect("JSON");
        health["running"].as_u64().expect("a number") + health["waiting"].as_u64().expect("a number")
    };
    for stream in [false, true] {
        let ask = json!({"prompt": "a", "max_tokens": 500, "ignore_eos": true, "stream": stream, "seed": 1});
        // The engine is kept busy by more of the same, so that none of them ends by itself before
        // it is looked at.
        let clients: Vec<TcpStream> = (0..30)
            .map(|_| {
                let mut client = TcpStream::connect(&server.address).expect("connects");
                let body = ask.to_string();
                client
                    .write_all(&post_bytes(&format!("Content-Length: {}\r\n", body.len()), &body))
                    .expect("sent");
                client
            })
            .collect();
        drop(clients);
        // However slow the machine is, they are gone in the end; were they not cancelled, steps
        // would go on for each token.
        while running() > 0 {
            std::thread::yield_now();
        }
    }
    let (_, health) = server.send("GET", "/health", "");
    let steps = serde_json::from_str::<Value>(&health).expect("JSON")["steps"].as_u64().expect("a number");
    // 60 requests of 500 tokens, 4 at a time, would be 7,500 steps.
    assert!(steps < 5000, "{steps} steps: requests went on after their clients had left");
}
