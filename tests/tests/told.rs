//! What answers tell beside their text: ids, usage, the seed, and the numbers of an error.
use serde_json::{Value, json};
use verbatim_tests::choices::{joined, of_whole, with};
use verbatim_tests::fixture::Files;
use verbatim_tests::http::connection::{Connection, request};
use verbatim_tests::process::Running;

const COMPLETIONS: &str = "/v1/completions";
const CHAT: &str = "/v1/chat/completions";

fn serve(more: &[&str]) -> Running {
    let directory = Files::tiny().directory("told");
    let path = directory.path().to_str().expect("UTF-8");
    Running::start(&[&["--served-model-name", "tiny", "--max-seqs", "4", "--model", path], more].concat())
}

fn answer(server: &Running, path: &str, body: &Value) -> Value {
    let (status, answer) = server.post(path, body);
    assert_eq!(status, 200, "{body}: {answer}");
    answer
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("no text: {value}"))
}

#[test]
fn streams_tell_usage_and_seed_where_clients_look_for_them() {
    let server = serve(&[]);
    let options = json!({"include_usage": true, "continuous_usage_stats": true});
    let body = json!({"prompt": "Hi", "max_tokens": 8, "ignore_eos": true, "stream": true, "stream_options": options,
                      "user": "u", "nonsense": 1, "return_token_ids": true});
    let events = server.stream(COMPLETIONS, &body);
    let counts: Vec<u64> =
        events.iter().map(|event| event["usage"]["completion_tokens"].as_u64().expect("a count")).collect();
    assert!(counts.is_sorted() && counts[0] == 1 && counts.last() == Some(&8), "{counts:?}");
    let told: Vec<bool> = events.iter().map(|event| event.get("verbatim").is_some()).collect();
    assert!(told[0] && told[told.len() - 1] && told.iter().filter(|told| **told).count() == 2, "{told:?}");
    let last = &events[events.len() - 1]["verbatim"];
    assert_eq!(last, &events[0]["verbatim"]);
    assert!(last["seed"].is_u64() && last["fingerprint"] == events[0]["system_fingerprint"]);
    let ignored: Vec<&str> = last["ignored"].as_array().expect("a list").iter().map(text).collect();
    assert!(ignored.contains(&"nonsense") && ignored.contains(&"user"), "{ignored:?}");
    // The seed that was told gives the same again.
    let again = json!({"seed": last["seed"], "stream": false, "stream_options": null});
    assert_eq!(of_whole(&answer(&server, COMPLETIONS, &with(&body, &again))), joined(&events, 1));
    // One with a sign is told with it, so that it can be given again.
    let negative = answer(&server, COMPLETIONS, &with(&body, &with(&again, &json!({"seed": -7}))));
    assert_eq!(negative["verbatim"]["seed"], json!(-7));

    // What comes before the first token tells of the prompt, and of what was generated elsewhere.
    let chat = json!({"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 3, "ignore_eos": true, "n": 2,
                      "echo": true, "continue_final_message": true, "add_generation_prompt": false,
                      "stream": true, "stream_options": options});
    let echoed = with(&body, &json!({"echo": true, "prompt": [72, 105, 106], "resume": null}));
    let resumed = with(&body, &json!({"prompt": [72, 105, 106], "resume": {"prompt_tokens": 2}}));
    for (path, body, before) in [(CHAT, chat, 0), (COMPLETIONS, echoed, 0), (COMPLETIONS, resumed, 2)] {
        let events = server.stream(path, &body);
        let prompt_tokens = &events.last().expect("events")["usage"]["prompt_tokens"];
        for event in &events {
            let usage = &event["usage"];
            assert_eq!(&usage["prompt_tokens"], prompt_tokens, "{event}");
            let tokens = usage["completion_tokens"].as_u64().expect("a count");
            assert!(tokens >= before, "{event}");
            assert_eq!(usage["total_tokens"], json!(prompt_tokens.as_u64().expect("a count") + tokens));
        }
    }
}

/// As vLLM does it: the id in the body is that of the answer, unless the head has one.
#[test]
fn a_request_is_named_by_its_body_or_its_head() {
    let server = serve(&["--pooling", "mean"]);
    let ask = |path: &str, headers: &[(&str, &str)], more: &Value| {
        let body = with(&json!({"request_id": "of-the-body", "max_tokens": 1}), more);
        let request = request("POST", path, headers, body.to_string().as_bytes());
        let mut connection = Connection::open(server.socket_address()).expect("it connects");
        let answer = connection.ask(&request).expect("an answer");
        let id = answer.head.header("x-request-id").expect("an id").to_owned();
        (id, serde_json::from_slice::<Value>(&answer.body).expect("JSON"))
    };
    let messages = json!({"messages": [{"role": "user", "content": "hi"}]});
    for (path, more, prefix) in [
        (COMPLETIONS, &json!({"prompt": "a"}), "cmpl-"),
        (CHAT, &messages, "chatcmpl-"),
        ("/v1/messages", &messages, "msg_"),
        ("/v1/embeddings", &json!({"input": "a", "max_tokens": null}), "embd-"),
    ] {
        let (id, answer) = ask(path, &[], more);
        assert_eq!((id.as_str(), text(&answer["id"])), ("of-the-body", &*format!("{prefix}of-the-body")));
        let (id, answer) = ask(path, &[("x-request-id", "of-the-head")], more);
        assert_eq!((id.as_str(), text(&answer["id"])), ("of-the-head", &*format!("{prefix}of-the-head")));
    }
    let (id, error) = ask(COMPLETIONS, &[], &json!({"prompt": "a", "request_id": "a\r\nb: c"}));
    assert_eq!((&error["error"]["param"], id.len()), (&json!("request_id"), 16), "{error}");
}

#[test]
fn a_prompt_that_fills_the_context_is_computed_and_no_longer_one_is() {
    let server = serve(&["--max-model-len", "64"]);
    let scored = json!({"max_tokens": 0, "echo": true, "logprobs": 0});
    let full = answer(&server, COMPLETIONS, &with(&scored, &json!({"prompt": "a".repeat(64)})));
    assert_eq!(full["choices"][0]["logprobs"]["tokens"].as_array().map(Vec::len), Some(64));
    for (prompt, more, told) in [
        (json!("a".repeat(65)), json!({}), 65),
        (json!("a".repeat(64)), json!({"max_tokens": 1}), 64),
        (json!(vec![97; 70]), json!({}), 70),
    ] {
        let body = with(&with(&scored, &more), &json!({"prompt": prompt}));
        let (status, answer) = server.post(COMPLETIONS, &body);
        let error = &answer["error"];
        assert_eq!((status, &error["code"]), (400, &json!("context_length_exceeded")), "{answer}");
        assert_eq!((&error["n_prompt_tokens"], &error["n_ctx"]), (&json!(told), &json!(64)), "{answer}");
    }
}

/// Each event of a stream counts the tokens that all choices have brought by then, and no others.
#[test]
fn usage_grows_with_the_tokens_of_every_choice() {
    let server = serve(&[]);
    let body = json!({"prompt": ["Hi", "So"], "n": 3, "max_tokens": 5, "ignore_eos": true, "logprobs": 0, "seed": 3,
                      "stream": true,
                      "stream_options": {"include_usage": true, "continuous_usage_stats": true}});
    let mut tokens = 0;
    for event in server.stream(COMPLETIONS, &body) {
        tokens += event["choices"][0]["logprobs"]["tokens"].as_array().map_or(0, Vec::len);
        assert_eq!(event["usage"]["completion_tokens"], json!(tokens), "{event}");
    }
    assert_eq!(tokens, 2 * 3 * 5);
}
