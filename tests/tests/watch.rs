//! What an operator sees of a running server: its log, `/health` and `/metrics`.
use serde_json::{Value, json};
use std::collections::BTreeMap;
use verbatim_tests::fixture::Files;
use verbatim_tests::process::Running;

/// The samples of `/metrics` by name and labels.
fn samples(server: &Running) -> BTreeMap<String, f64> {
    let (status, text) = server.send("GET", "/metrics", "");
    assert_eq!(status, 200);
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines
        .map(|line| {
            let (name, value) = line.rsplit_once(' ').expect("a name and a value");
            (name.to_owned(), value.parse().expect("a number"))
        })
        .collect()
}

#[test]
fn the_log_has_a_line_for_each_request_and_no_word_of_it() {
    let directory = Files::tiny().directory("watch");
    let model = directory.path().to_str().expect("UTF-8");
    let file = directory.path().join("log");
    let name = file.to_str().expect("UTF-8");
    let server = Running::start(&["--model", model, "--log", "json", "--log-file", name]);
    let ask =
        json!({"prompt": "XYZZY", "max_tokens": 6, "seed": 7, "ignore_eos": true, "sesame\u{1b}": "XYZZY"});
    let (status, answer) = server.post("/v1/completions", &ask);
    assert_eq!(status, 200, "{answer}");
    assert_eq!(server.post("/v1/completions", &json!({"prompt": "XYZZY", "suffix": "XYZZY"})).0, 400);
    assert_eq!(server.send("GET", "/health", "").0, 200);
    drop(server); // it writes what is left
    let text = std::fs::read_to_string(&file).expect("a log");
    assert!(!text.contains("XYZZY") && !text.contains('\u{1b}'), "{text}");
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let requests: Vec<&Value> = lines.iter().filter(|line| line["message"] == "request").collect();
    let [done, refused] = requests.as_slice() else { panic!("{requests:#?}") };
    for (field, value) in [
        ("route", json!("/v1/completions")),
        ("status", json!(200)),
        ("completion_tokens", json!(6)),
        ("finish", json!("length")),
        ("seed", json!(7)),
        ("fingerprint", answer["system_fingerprint"].clone()),
    ] {
        assert_eq!(done[field], value, "{field}");
    }
    let ms = |field: &str| done[field].as_f64().expect(field);
    assert!(ms("queue_ms") <= ms("first_token_ms") && ms("first_token_ms") <= ms("total_ms"), "{done}");
    assert_eq!((&refused["status"], &refused["param"]), (&json!(400), &json!("suffix")));
    let messages: Vec<&str> = lines.iter().filter_map(|line| line["message"].as_str()).collect();
    assert!(
        messages.contains(&"ignoring the parameter \"sesame\\u{1b}\", which has no effect here"),
        "{messages:?}"
    );
    assert!(messages.iter().any(|message| message.starts_with("listening on http://")), "{messages:?}");
    let depth = lines.iter().find(|line| line["setting"] == "max-json-depth").expect("all are told");
    assert_eq!(
        (&depth["message"], &depth["value"], &depth["limit"]),
        (&json!("setting"), &json!("64"), &json!(64))
    );
}

#[test]
fn metrics_and_health_tell_what_was_done() {
    let directory = Files::tiny().directory("watch");
    let model = directory.path().to_str().expect("UTF-8");
    // The announcement is for people, whatever the log does: `start` reads the address in it.
    let server = Running::start(&["--model", model, "--served-model-name", "a \"b\"", "--log", "off"]);
    let before = samples(&server);
    let base = r#"model_name="a \"b\"",engine="0""#;
    let of = |name: &str| format!("{name}{{{base}}}");
    assert_eq!(before[&of("vllm:generation_tokens_total")], 0.0);
    let ask = json!({"prompt": "Hello", "max_tokens": 5, "n": 2, "seed": 7, "ignore_eos": true});
    assert_eq!(server.post("/v1/completions", &ask).0, 200);
    // A request is counted after its answer, which may be read before that.
    let answered = "verbatim:http_requests_total{route=\"/v1/completions\",status=\"200\"}".to_owned();
    let mut after = samples(&server);
    while !after.contains_key(&answered) {
        after = samples(&server);
    }
    for (name, value) in [
        (of("vllm:generation_tokens_total"), 10.0),
        (of("vllm:prompt_tokens_total"), 5.0),
        (of("vllm:time_to_first_token_seconds_count"), 2.0),
        (of("vllm:request_params_n_sum"), 2.0),
        (of("vllm:num_requests_running"), 0.0),
        ("verbatim:budget_limit{budget=\"max-json-depth\"}".to_owned(), 64.0),
        ("verbatim:budget_limit{budget=\"max-queue\"}".to_owned(), 64.0),
        ("verbatim:budget_limit{budget=\"head-seconds\"}".to_owned(), 20.0),
        ("verbatim:budget_refusals_total{budget=\"key-concurrent\"}".to_owned(), 0.0),
        (format!("vllm:request_success_total{{{base},finished_reason=\"length\"}}"), 2.0),
        (answered, 1.0),
    ] {
        assert_eq!(after.get(&name), Some(&value), "{name}");
    }
    for name in ["api-keys", "idle-seconds", "max-tokenizing"] {
        let refusals = format!("verbatim:budget_refusals_total{{budget=\"{name}\"}}");
        assert!(!after.contains_key(&refusals), "{name} refuses nothing");
    }
    let (_, health) = server.send("GET", "/health", "");
    let health: Value = serde_json::from_str(&health).expect("JSON");
    assert_eq!((&health["status"], &health["running"]), (&json!("ok"), &json!(0)));
    assert!(health["last_step_age_seconds"].as_f64().is_some_and(|age| age >= 0.0), "{health}");
    let steps = |kind: &str| after[&format!("verbatim:steps_total{{kind=\"{kind}\"}}")];
    assert_eq!(json!((steps("prefill") + steps("decode")) as u64), health["steps"]);
}
