//! The server end to end: a random model with a small tokenizer, over real sockets.
use serde_json::{Value, json};
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
        (json!({"max_tokens": 0}), 400, "max_tokens"),
        (json!({"max_tokens": 1.5}), 400, "max_tokens"),
        (json!({"n": 2}), 400, "n"),
        (json!({"best_of": 3}), 400, "best_of"),
        (json!({"suffix": "x"}), 400, "suffix"),
        (json!({"echo": true}), 400, "echo"),
        (json!({"response_format": {"type": "json_object"}}), 400, "response_format"),
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
        (json!([{"role": "wizard", "content": "x"}]), "role"),
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
    assert_eq!(server.send("POST", "/v1/completions", "{").0, 400);
    assert_eq!(server.send("POST", "/v1/completions", "[]").0, 400);
    // Unknown and harmless parameters are accepted.
    let (status, _) = server.post("/v1/completions", &base(json!({"user": "u", "n": 1, "nonsense": 1})));
    assert_eq!(status, 200);
}
