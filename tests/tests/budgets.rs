//! What a request may ask for, end to end: each budget that is spent is told by a short error that
//! names parameter and option, and afterwards the server answers as before.
use serde_json::{Value, json};
use verbatim_tests::fixture::Files;
use verbatim_tests::process::Running;

/// The tiny model (context 512, a token for each byte) with four sequences and four that wait.
fn serve(more: &[&str]) -> Running {
    let directory = Files::tiny().directory("budgets");
    let path = directory.path().to_str().expect("UTF-8");
    let args = ["--served-model-name", "tiny", "--max-seqs", "4", "--max-queue", "4", "--model", path];
    Running::start(&[&args, more].concat())
}

/// The body of a request, with more in it.
fn ask(more: &str) -> String {
    format!("{{\"max_tokens\": 1, \"seed\": 3, \"prompt\": \"a\", {more}}}")
}

/// Posts a body that is refused; the error.
fn refused(server: &Running, path: &str, body: &str) -> (u16, Value) {
    let (status, text) = server.send("POST", path, body);
    let answer: Value = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text:.200}"));
    let message = answer["error"]["message"].as_str().expect("a message");
    assert!(message.len() <= 300 && text.len() <= 500, "{text:.1000}");
    assert!(!message.contains(char::is_control), "{message:?}");
    println!("{status} {message}");
    (status, answer["error"].clone())
}

#[test]
fn what_is_beyond_a_budget_is_refused_in_few_words() {
    let server = serve(&[]);
    let (_, before) = server.post("/v1/completions", &json!({"prompt": "a", "seed": 3, "max_tokens": 9}));
    // With two of them a body is shorter than any server allows.
    let big = "v".repeat(100_000);
    let list = |of: &str, count: usize| vec![of; count].join(",");
    let bias: String = (0..301).map(|id| format!("\"{id}\": 1,")).collect();
    let cases: &[(&str, String, u16, Option<&str>, &str)] = &[
        ("/v1/completions", "[".repeat(70), 400, None, "max-json-depth"),
        ("/v1/completions", ask(&format!("\"x\": {}", "[".repeat(10_000))), 400, None, "max-json-depth"),
        ("/v1/completions", ask(&format!("\"x\": [{}]", list("[]", 60_000))), 400, None, "max-json-nodes"),
        ("/v1/completions", ask("\"x\": 1e999999"), 400, None, "number"),
        ("/v1/completions", ask(&format!("\"temperature\": {}", "1".repeat(10_000))), 400, None, "number"),
        (
            "/v1/completions",
            ask(&format!("\"stop\": [{}]", list("\"x\"", 17))),
            400,
            Some("stop"),
            "max-stop-strings",
        ),
        (
            "/v1/completions",
            ask(&format!("\"stop\": \"{}\"", "é".repeat(1001))),
            400,
            Some("stop"),
            "max-stop-chars",
        ),
        (
            "/v1/completions",
            ask(&format!("\"logit_bias\": {{{bias} \"9\": 1}}")),
            400,
            Some("logit_bias"),
            "301",
        ),
        ("/v1/completions", ask("\"n\": 129"), 400, Some("n"), "between 1 and 128"),
        (
            "/v1/completions",
            ask(&format!("\"prompt\": [{}]", list("\"b\"", 1025))),
            400,
            Some("prompt"),
            "max-prompts",
        ),
        (
            "/v1/completions",
            ask(&format!("\"n\": 128, \"prompt\": [{}]", list("\"b\"", 129))),
            400,
            Some("n"),
            "16384 choices",
        ),
        // Whatever is quoted is quoted in part.
        ("/v1/completions", ask(&format!("\"model\": \"{big}\"")), 404, Some("model"), "vv… (100000 bytes)"),
        (
            "/v1/completions",
            ask(&format!("\"temperature\": \"{big}\"")),
            400,
            Some("temperature"),
            "(100002 bytes)",
        ),
        ("/v1/completions", ask(&format!("\"n\": \"{big}\"")), 400, Some("n"), "(100002 bytes)"),
        ("/v1/completions", ask(&format!("\"stream\": \"{big}\"")), 400, Some("stream"), "(100002 bytes)"),
        ("/v1/completions", ask(&format!("\"suffix\": \"{big}\"")), 400, Some("suffix"), "(100002 bytes)"),
        (
            "/v1/completions",
            ask(&format!("\"cache_salt\": [\"{big}\"]")),
            400,
            Some("cache_salt"),
            "(100004 bytes)",
        ),
        (
            "/v1/completions",
            ask(&format!("\"logit_bias\": {{\"{big}\": 1}}")),
            400,
            Some("logit_bias"),
            "(100000 bytes)",
        ),
        (
            "/v1/completions",
            format!("{{\"prompt\": [1, 2], \"resume\": {{\"prompt_tokens\": 1, \"{big}\": 1}}}}"),
            400,
            Some("resume"),
            "(100000 bytes)",
        ),
        (
            "/v1/chat/completions",
            format!("{{\"messages\": [{{\"role\": \"user\"}}], \"tool_choice\": \"{big}\"}}"),
            400,
            Some("tool_choice"),
            "(100002 bytes)",
        ),
        (
            "/v1/chat/completions",
            "{\"messages\": [{\"role\": \"user\"}], \"tool_choice\": \"a\\u0007b\\n\"}".to_owned(),
            400,
            None,
            "tool_choice",
        ),
        (
            "/v1/completions",
            "{\"prompt\": [1, 2], \"resume\": {\"prompt_tokens\": 1, \"a\\u001b[31m\": 1}}".to_owned(),
            400,
            Some("resume"),
            "a\\u{1b}[31m",
        ),
    ];
    for (path, body, status, param, part) in cases {
        let (found, error) = refused(&server, path, body);
        let what = format!("{body:.100}: {error}");
        assert_eq!(found, *status, "{what}");
        assert!(param.is_none() || error["param"].as_str() == *param, "{what}");
        assert!(error["message"].as_str().is_some_and(|message| message.contains(part)), "{what}: {part}");
    }
    let (status, _) = server.send("POST", "/v1/completions", &ask(&format!("\"{big}\": 1, \"{big}2\": 2")));
    assert_eq!(status, 200, "unknown names are accepted, however long");
    let (status, text) = server.send("GET", &format!("/{}", "p".repeat(9000)), "");
    assert!(status == 404 && text.len() < 400, "{text:.1000}");
    let (_, after) = server.post("/v1/completions", &json!({"prompt": "a", "seed": 3, "max_tokens": 9}));
    assert_eq!(before["choices"], after["choices"]);
}

#[test]
fn a_prompt_that_cannot_fit_is_refused_before_it_is_tokenized() {
    let server = serve(&["--max-json-nodes", "1000000"]);
    let text = "word ".repeat(40_000);
    let ids = vec!["1"; 100_000].join(",");
    for (path, body, param, found) in [
        ("/v1/completions", json!({"prompt": text}).to_string(), "prompt", "at least "),
        ("/v1/completions", json!({"prompt": ["a", text]}).to_string(), "prompt", "at least "),
        ("/v1/completions", format!("{{\"prompt\": [{ids}]}}"), "prompt", "100000 tokens"),
        (
            "/v1/chat/completions",
            json!({"messages": [{"role": "user", "content": text}]}).to_string(),
            "messages",
            "at least ",
        ),
    ] {
        let (status, error) = refused(&server, path, &body);
        assert_eq!((status, error["param"].as_str()), (400, Some(param)), "{error}");
        assert_eq!(error["code"], "context_length_exceeded");
        assert!(error["message"].as_str().is_some_and(|message| message.contains(found)), "{error}");
    }
}

#[test]
fn tokens_that_wait_have_a_budget() {
    let server = serve(&["--max-queued-tokens", "400", "--max-tokenizing", "1"]);
    let body = json!({"prompt": "x".repeat(250), "max_tokens": 40, "ignore_eos": true});
    std::thread::scope(|scope| {
        let ask = || server.send("POST", "/v1/completions", &body.to_string());
        let answers: Vec<_> = (0..40).map(|_| scope.spawn(ask)).collect();
        let (mut taken, mut late) = (0, 0);
        for answer in answers {
            let (status, text) = answer.join().expect("an answer");
            match status {
                200 => taken += 1,
                429 => {
                    late += 1;
                    let error: Value = serde_json::from_str(&text).expect("JSON");
                    assert_eq!(error["error"]["code"], "queue_full", "{text}");
                    assert_eq!(error["error"]["type"], "rate_limit_error", "{text}");
                }
                _ => panic!("{status}: {text}"),
            }
        }
        println!("{taken} were taken, {late} were refused");
        assert!(taken >= 1, "one at least finds nothing waiting");
    });
    // Everything that waited has been given back.
    assert_eq!(server.send("POST", "/v1/completions", &body.to_string()).0, 200);
}

/// Logprobs make a short request a large answer. Those that are sent whole share a memory; streams
/// need none of it, unless they tell all of them again at their end.
#[test]
fn answers_that_list_tokens_take_no_more_memory_than_there_is() {
    let server = serve(&["--max-answer-bytes", "200000"]);
    let ask = |tokens: usize, stream: bool| {
        let body = json!({
            "prompt": "a", "seed": 3, "max_tokens": tokens, "ignore_eos": true, "logprobs": 4, "stream": stream,
        });
        server.send("POST", "/v1/completions", &body.to_string())
    };
    let (status, text) = ask(100, false);
    assert!(status == 400 && text.contains("max-answer-bytes") && text.contains("stream"), "{status} {text}");
    // What was refused half-way has given back what it took.
    for _ in 0..3 {
        let (status, text) = ask(30, false);
        assert!(status == 200, "{status} {text}");
    }
    let (status, text) = ask(100, true);
    assert!(status == 200 && text.contains("data: [DONE]\n\n"), "{status} {text:.300}");
    let ask = |tokens: usize| {
        let body = json!({
            "input": "a", "seed": 3, "max_output_tokens": tokens, "ignore_eos": true, "stream": true,
            "include": ["message.output_text.logprobs"], "top_logprobs": 4,
        });
        server.send("POST", "/v1/responses", &body.to_string()).1
    };
    for _ in 0..2 {
        let text = ask(100);
        let failed = text.split_once("event: response.failed\n").expect("an event").1;
        assert!(failed.contains("max-answer-bytes") && failed.contains("invalid_prompt"), "{failed}");
        assert!(ask(30).contains("event: response."), "what was cut has given back what it took");
        assert!(!ask(30).contains("event: response.failed\n"));
    }
    let (_, metrics) = server.send("GET", "/metrics", "");
    let counted = "verbatim:budget_refusals_total{budget=\"max-answer-bytes\"} 1\n";
    assert!(metrics.contains(counted), "{metrics}");
}

/// Vectors and ids are larger than the texts that they are made of.
#[test]
fn answers_made_of_texts_take_no_more_memory_than_there_is() {
    let mut files = Files::tiny();
    files.put_embedding("mean", true);
    let directory = files.directory("budgets-vectors");
    let path = directory.path().to_str().expect("UTF-8");
    let serve = |bytes: &str| {
        Running::start(&["--served-model-name", "tiny", "--max-answer-bytes", bytes, "--model", path])
    };
    let server = serve("150000");
    // Each dialect has its own shape of an error.
    let check = |server: &Running, path: &str, small: &Value, large: &Value| {
        let (status, text) = server.send("POST", path, &large.to_string());
        assert!(status == 400 && text.contains("max-answer-bytes"), "{path}: {status} {text:.300}");
        let (status, text) = server.send("POST", path, &small.to_string());
        assert_eq!(status, 200, "{path}: {text}");
    };
    let texts = |count: usize| vec!["a"; count];
    let conversation = |length: usize| json!({"messages": [{"role": "user", "content": "x".repeat(length)}]});
    let pieces = |length: usize| json!({"content": "x".repeat(length), "with_pieces": true});
    let names = |length: usize| json!({"prompt": "x".repeat(length), "return_token_strs": true});
    for (path, small, large) in [
        ("/v1/embeddings", json!({"input": texts(2)}), json!({"input": texts(200)})),
        ("/api/embed", json!({"input": texts(2)}), json!({"input": texts(200)})),
        (
            "/v1/rerank",
            json!({"query": "a", "documents": texts(2)}),
            json!({"query": "a", "documents": vec!["a".repeat(150); 110]}),
        ),
        ("/v1/score", json!({"text_1": "a", "text_2": "b"}), json!({"text_1": "a", "text_2": texts(300)})),
        ("/tokenize", pieces(9), pieces(400)),
        ("/apply-template", conversation(9), conversation(50_000)),
    ] {
        check(&server, path, &small, &large);
    }
    let server = serve("4000");
    for (path, small, large) in [
        ("/detokenize", json!({"tokens": [97]}), json!({"tokens": vec![97; 400]})),
        ("/tokenize", names(9), names(60)),
        ("/tokenize", json!({"prompt": "x"}), json!({"prompt": "x".repeat(100)})),
    ] {
        check(&server, path, &small, &large);
    }
}
