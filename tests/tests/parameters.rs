//! Parameters of other servers over HTTP: what would change the answer and is not supported is
//! refused by name, and what is passed over is told.
use serde_json::{Value, json};
use verbatim::serve::api::parameters::{
    CHAT, COMPLETIONS, Endpoints, Kind, MESSAGES, OLLAMA_CHAT, OLLAMA_GENERATE, RESPONSES, find, rows_of,
};
use verbatim_tests::process::Running;

/// The built-in model, which has a chat template.
fn serve(more: &[&str]) -> Running {
    Running::start(&[&["--max-seqs", "2", "--max-queue", "8"], more].concat())
}

/// An endpoint that generates, its path, and a body to add names to.
type Endpoint = (Endpoints, &'static str, Value);

/// The two endpoints of OpenAI that are served everywhere.
fn openai() -> [Endpoint; 2] {
    let messages = json!([{"role": "user", "content": "What is the capital of France?"}]);
    [
        (COMPLETIONS, "/v1/completions", json!({"prompt": "Once", "max_tokens": 3, "seed": 1})),
        (CHAT, "/v1/chat/completions", json!({"messages": messages, "max_tokens": 3, "seed": 1})),
    ]
}

/// All endpoints that generate.
fn endpoints() -> [Endpoint; 6] {
    let question = "What is the capital of France?";
    let messages = json!([{"role": "user", "content": question}]);
    let options = json!({"seed": 1, "num_predict": 3});
    let [completions, chat] = openai();
    [
        completions,
        chat,
        (RESPONSES, "/v1/responses", json!({"input": question, "max_output_tokens": 3, "seed": 1})),
        (MESSAGES, "/v1/messages", json!({"messages": messages, "max_tokens": 3, "seed": 1})),
        (OLLAMA_CHAT, "/api/chat", json!({"messages": messages, "stream": false, "options": options})),
        (OLLAMA_GENERATE, "/api/generate", json!({"prompt": question, "stream": false, "options": options})),
    ]
}

/// The text of a whole answer, wherever it stands.
fn text(answer: &Value) -> &str {
    let places = [
        "/choices/0/text",
        "/choices/0/message/content",
        "/output/0/content/0/text",
        "/content/0/text",
        "/message/content",
        "/response",
    ];
    let found = places.iter().find_map(|place| answer.pointer(place)?.as_str());
    found.unwrap_or_else(|| panic!("no text in {answer}"))
}

/// What an error says, in the shape of each API.
fn message(answer: &Value) -> &str {
    let found = answer.pointer("/error/message").or_else(|| answer.get("error"));
    found.and_then(Value::as_str).unwrap_or_else(|| panic!("no error in {answer}"))
}

/// Fails unless an answer is a refusal that begins with a name.
fn assert_names(path: &str, name: &str, (status, answer): &(u16, Value)) {
    assert_eq!(*status, 400, "{name} at {path}: {answer}");
    assert!(message(answer).starts_with(name), "{name} at {path}: {answer}");
    let param = answer.pointer("/error/param");
    assert!(param.is_none_or(|param| param == name), "{name} at {path}: {answer}");
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
                // Anthropic's `thinking` alone is told to clients whose model does not think.
                let is_told = answer["verbatim"]["ignored"].to_string().contains(name);
                let may_be_told = (endpoint, name) == (MESSAGES, "thinking");
                assert!(matches!(status, 200 | 400), "{name} at {path}: {answer}");
                assert_eq!(is_told, may_be_told, "{name} at {path}: {answer}");
                continue;
            }
            assert_names(path, name, &(status, answer));
        }
        assert_eq!(text(&server.post(path, &base).1), text(&plain), "nothing has changed");
    }
}

/// The table says what is refused where; the server is asked.
#[test]
fn every_name_that_the_table_refuses_is_refused_at_its_endpoint() {
    let server = serve(&[]);
    let mut refused = 0;
    for (endpoint, path, base) in endpoints() {
        for row in rows_of(endpoint).filter(|row| matches!(row.kind, Kind::RefusedUnless(_))) {
            let mut body = base.clone();
            body[row.name] = json!({"a": 1});
            assert_names(path, row.name, &server.post(path, &body));
            refused += 1;
        }
    }
    assert!(refused > 600, "{refused}");
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
            ("n", json!(1)),
            ("stop", json!([])),
            ("presence_penalty", json!(0)),
            ("repetition_penalty", json!(1)),
            ("use_beam_search", json!(false)),
            ("functions", json!([])),
            ("vllm_xargs", json!({})),
            ("grammar", Value::Null),
        ] {
            body[name] = value;
        }
        let (status, answer) = server.post(path, &body);
        assert_eq!(status, 200, "{path}: {answer}");
        assert_eq!(text(&answer), text(&plain), "{path}");
        assert_eq!(answer["verbatim"]["ignored"], plain["verbatim"]["ignored"], "{path}");
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
        let told = &answer["verbatim"]["ignored"];
        assert_eq!((status, told), (200, &json!(["sesame", "user", "dry_base"])), "{path}");
    }
    drop(server);
    let server = serve(&["--strict"]);
    for (_, path, base) in endpoints() {
        let mut body = base.clone();
        more.iter().skip(1).for_each(|(name, value)| body[name] = value.clone());
        assert_eq!(server.post(path, &body).0, 200, "known names are no mistake");
        body["sesame"] = json!(1);
        assert_names(path, "sesame", &server.post(path, &body));
    }
}

#[test]
fn a_stop_string_ends_a_response_too() {
    let server = serve(&[]);
    let mut body = json!({"input": "What is the capital of France?", "temperature": 0});
    let (_, whole) = server.post("/v1/responses", &body);
    let whole = text(&whole);
    let at = whole.char_indices().nth(3).map(|(at, _)| at).expect("a text");
    body["stop"] = json!(whole[at..]);
    let (status, cut) = server.post("/v1/responses", &body);
    assert_eq!((status, text(&cut), &cut["status"]), (200, &whole[..at], &json!("completed")));
}

/// An answer of a call has no text to give a form to: a schema is checked and told, and a form of
/// the whole output is refused.
#[test]
fn a_form_beside_a_call_that_must_be_made_is_never_dropped_untold() {
    let server = serve(&[]);
    let schema = json!({"type": "object", "properties": {"a": {"type": "integer"}}});
    let form = |schema: &Value| json!({"type": "json_schema", "schema": schema});
    let chat = json!({
        "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 3, "seed": 1, "tool_choice": "required",
        "tools": [{"type": "function", "function": {"name": "f"}}],
    });
    let responses = json!({
        "input": "Hi", "max_output_tokens": 3, "seed": 1, "tool_choice": "required",
        "tools": [{"type": "function", "name": "f"}],
    });
    let messages = json!({
        "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 3, "seed": 1, "tool_choice": {"type": "any"},
        "tools": [{"name": "f", "input_schema": {"type": "object"}}],
    });
    for (path, base, name, told, wrap) in [
        ("/v1/chat/completions", &chat, "response_format", "response_format", None),
        ("/v1/responses", &responses, "text", "text.format", Some("format")),
        ("/v1/messages", &messages, "output_config", "output_config", Some("format")),
    ] {
        for (schema, is_right) in [(&schema, true), (&json!({"type": "no such type"}), false)] {
            let form = form(schema);
            let mut body = base.clone();
            body[name] = wrap.map_or(form.clone(), |field| json!({field: form}));
            let (status, answer) = server.post(path, &body);
            if is_right {
                assert_eq!(
                    (status, &answer["verbatim"]["ignored"]),
                    (200, &json!([told])),
                    "{path}: {answer}"
                );
            } else {
                assert_names(path, told, &(status, answer));
            }
        }
    }
    for (name, value) in [
        ("grammar", json!("root ::= \"a\"")),
        ("guided_regex", json!("a+")),
        ("structured_outputs", json!({"choice": ["a", "b"]})),
    ] {
        let mut body = chat.clone();
        body[name] = value;
        let refusal = server.post("/v1/chat/completions", &body);
        assert_names("/v1/chat/completions", name, &refusal);
        assert!(message(&refusal.1).contains("tool_choice"), "{}", refusal.1);
    }
}

/// Random requests found it: each parameter alone makes sense.
#[test]
fn a_request_that_forbids_every_token_is_told_so() {
    let server = serve(&[]);
    for (_, path, base) in openai() {
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
