//! Parameters of other servers over HTTP: what would change the answer and is not supported is
//! refused by name, and what is passed over is told.
use serde_json::{Value, json};
use verbatim::serve::api::parameters::{CHAT, COMPLETIONS, Endpoints, Kind, find};
use verbatim_tests::process::Running;

/// The built-in model, which has a chat template.
fn serve(more: &[&str]) -> Running {
    Running::start(&[&["--max-seqs", "2", "--max-queue", "8"], more].concat())
}

/// The two endpoints that took these names before, with a body to add them to.
fn endpoints() -> [(Endpoints, &'static str, Value); 2] {
    let messages = json!([{"role": "user", "content": "What is the capital of France?"}]);
    [
        (COMPLETIONS, "/v1/completions", json!({"prompt": "Once", "max_tokens": 3, "seed": 1})),
        (CHAT, "/v1/chat/completions", json!({"messages": messages, "max_tokens": 3, "seed": 1})),
    ]
}

/// Thirty-four names that were taken with status 200 and passed over, in November 2026, and those
/// that were refused already; each with a value that would change the answer.
fn changing() -> Vec<(&'static str, Value)> {
    vec![
        ("typical_p", json!(0.5)),
        ("mirostat", json!(2)),
        ("grammar", json!("root ::= \"yes\" | \"no\"")),
        ("json_schema", json!({"type": "object"})),
        ("repeat_penalty", json!(1.3)),
        ("truncate_prompt_tokens", json!(2)),
        ("bad_words", json!(["the"])),
        ("allowed_token_ids", json!([70, 71])),
        ("length_penalty", json!(2.0)),
        ("skip_special_tokens", json!(false)),
        ("chat_template", json!("{{ messages[0].content }}")),
        ("documents", json!([{"title": "a", "text": "b"}])),
        ("reasoning_effort", json!("high")),
        ("verbosity", json!("low")),
        ("prediction", json!({"type": "content", "content": "a"})),
        ("web_search_options", json!({})),
        ("dry_multiplier", json!(0.8)),
        ("xtc_probability", json!(0.5)),
        ("use_beam_search", json!(true)),
        ("n_predict", json!(7)),
        ("min_new_tokens", json!(7)),
        ("tfs_z", json!(0.5)),
        ("guided_decoding_backend", json!("outlines")),
        ("logits_processors", json!(["a.b"])),
        ("best_of_n", json!(3)),
        ("system", json!("Answer in French.")),
        ("num_predict", json!(7)),
        ("num_ctx", json!(64)),
        ("thinking", json!({"type": "enabled", "budget_tokens": 100})),
        ("enable_thinking", json!(true)),
        ("detokenize", json!(false)),
        ("prompt_embeds", json!("AAAA")),
        ("vllm_xargs", json!({"a": 1})),
        ("images", json!(["AAAA"])),
        ("suffix", json!("the end")),
        ("best_of", json!(2)),
        ("audio", json!({"voice": "a"})),
        ("modalities", json!(["text", "audio"])),
        ("functions", json!([{"name": "f"}])),
        ("function_call", json!("auto")),
    ]
}

#[test]
fn what_would_change_the_answer_is_refused_by_name_or_honoured() {
    let server = serve(&[]);
    for (endpoint, path, base) in endpoints() {
        let plain = server.post(path, &base).1;
        for (name, value) in changing() {
            let mut body = base.clone();
            body[name] = value;
            let (status, answer) = server.post(path, &body);
            let row = find(endpoint, name).unwrap_or_else(|| panic!("{name} has no row"));
            if matches!(row.kind, Kind::Used) {
                // Honoured: by another answer, or by a refusal of this model or this value.
                let is_told = answer["verbatim"]["ignored"].to_string().contains(name);
                assert!(matches!(status, 200 | 400) && !is_told, "{name} at {path}: {answer}");
                continue;
            }
            assert_eq!((status, answer["error"]["param"].as_str()), (400, Some(name)), "{path}: {answer}");
            assert!(answer["error"]["message"].as_str().is_some_and(|text| text.contains(name)));
        }
        assert_eq!(server.post(path, &base).1["choices"], plain["choices"], "nothing has changed");
    }
}

#[test]
fn what_changes_nothing_is_taken() {
    let server = serve(&[]);
    for (_, path, base) in endpoints() {
        let plain = server.post(path, &base).1;
        let mut body = base.clone();
        for (name, value) in [
            ("typical_p", json!(1)),
            ("mirostat", json!(0)),
            ("repeat_penalty", json!(1.0)),
            ("dry_multiplier", json!(0.0)),
            ("xtc_probability", json!(0)),
            ("best_of", json!(1)),
            ("use_beam_search", json!(false)),
            ("functions", json!([])),
            ("vllm_xargs", json!({})),
            ("grammar", Value::Null),
        ] {
            body[name] = value;
        }
        let (status, answer) = server.post(path, &body);
        assert_eq!(status, 200, "{answer}");
        assert_eq!(answer["choices"], plain["choices"]);
        assert_eq!(answer["verbatim"]["ignored"], plain["verbatim"]["ignored"]);
    }
}

#[test]
fn what_is_passed_over_is_told_and_refused_where_that_is_asked() {
    let more = [("sesame", json!(1)), ("user", json!("u")), ("dry_base", json!(2))];
    let server = serve(&[]);
    for (_, path, base) in endpoints() {
        let mut body = base.clone();
        more.iter().for_each(|(name, value)| body[name] = value.clone());
        let (status, answer) = server.post(path, &body);
        assert_eq!((status, &answer["verbatim"]["ignored"]), (200, &json!(["sesame", "user", "dry_base"])));
    }
    drop(server);
    let server = serve(&["--strict"]);
    for (_, path, base) in endpoints() {
        let mut body = base.clone();
        more.iter().skip(1).for_each(|(name, value)| body[name] = value.clone());
        assert_eq!(server.post(path, &body).0, 200, "known names are no mistake");
        body["sesame"] = json!(1);
        let (status, answer) = server.post(path, &body);
        assert_eq!((status, answer["error"]["param"].as_str()), (400, Some("sesame")));
    }
}

/// Random requests found it: each parameter alone makes sense.
#[test]
fn a_request_that_forbids_every_token_is_told_so() {
    let server = serve(&[]);
    for (_, path, base) in endpoints() {
        let mut body = base.clone();
        body["allowed_token_ids"] = json!([70]);
        body["stop_token_ids"] = json!([70]);
        body["min_tokens"] = json!(1);
        let (status, answer) = server.post(path, &body);
        assert_eq!(
            (status, answer["error"]["type"].as_str()),
            (400, Some("invalid_request_error")),
            "{answer}"
        );
    }
}

#[test]
fn the_document_of_the_api_is_served() {
    let server = serve(&[]);
    let (status, text) = server.send("GET", "/openapi.json", "");
    let document: Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!((status, document["openapi"].as_str()), (200, Some("3.1.0")));
    let chat = &document["paths"]["/v1/chat/completions"]["post"];
    let schema = &chat["requestBody"]["content"]["application/json"]["schema"];
    assert_eq!(schema["properties"]["typical_p"]["enum"], json!([1, null]));
    assert!(chat["responses"]["400"].is_object());
}
