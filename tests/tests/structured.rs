//! Structured output over HTTP: every way to ask for it, what is refused, and that an answer with a
//! form is the same alone and in a crowd, streamed and whole, uninterrupted and resumed, whatever
//! is drafted.
use serde_json::{Value, json};
use verbatim_tests::fixture::Files;
use verbatim_tests::process::Running;

fn serve(more: &[&str]) -> Running {
    let directory = Files::tiny().directory("structured");
    let path = directory.path().to_str().expect("UTF-8");
    Running::start(&[&["--served-model-name", "tiny", "--model", path], more].concat())
}

/// A schema under which answers are short.
fn schema() -> Value {
    json!({
        "type": "object",
        "properties": {
            "kind": {"enum": ["reading", "event"]},
            "value": {"type": "integer", "minimum": 0, "maximum": 99_999},
            "name": {"type": "string", "maxLength": 6},
            "next": {"anyOf": [{"type": "null"}, {"type": "boolean"}]},
        },
        "required": ["kind", "value", "name", "next"],
        "additionalProperties": false,
    })
}

fn has_the_form(text: &str) -> bool {
    let Ok(Value::Object(answer)) = serde_json::from_str::<Value>(text) else { return false };
    answer.len() == 4
        && matches!(answer["kind"].as_str(), Some("reading" | "event"))
        && answer["value"].as_u64().is_some_and(|value| value < 100_000)
        && answer["name"].as_str().is_some_and(|name| name.chars().count() <= 6)
        && (answer["next"].is_null() || answer["next"].is_boolean())
}

/// A body with these fields, hot enough to say something else every time.
fn body(extra: &Value) -> Value {
    let mut body =
        json!({"prompt": "Hi", "max_tokens": 200, "temperature": 1.2, "top_p": 1, "top_k": 0, "seed": 3});
    body.as_object_mut().expect("an object").extend(extra.as_object().expect("an object").clone());
    body
}

/// Whether a text has the form that was asked for.
type Check<'a> = &'a dyn Fn(&str) -> bool;

#[test]
fn every_way_to_ask_for_a_form_gives_it() {
    let server = serve(&[]);
    let is_list = |text: &str| !text.is_empty() && text.lines().all(|line| line.starts_with("- "));
    let gbnf = "root ::= item{1,3}\nitem ::= \"- \" [a-z]{1,5} \"\\n\"";
    let lark = "start: \"<\" NAME \">\"\nNAME: /[a-f]{1,4}/";
    let is_tag = |text: &str| text.starts_with('<') && text.ends_with('>') && text.len() <= 6;
    let is_one = |text: &str| ["red", "green", "dark green"].contains(&text);
    let is_date = |text: &str| text.len() == 10 && text.as_bytes()[4] == b'-' && text.as_bytes()[7] == b'-';
    let is_object = |text: &str| serde_json::from_str::<Value>(text).is_ok_and(|value| value.is_object());
    let choice = json!(["red", "green", "dark green"]);
    let checks: [(Value, Check<'_>); 13] = [
        (
            json!({"response_format": {"type": "json_schema", "json_schema": {"name": "x", "strict": true, "schema": schema()}}}),
            &has_the_form,
        ),
        (json!({"response_format": {"type": "json_object", "schema": schema()}}), &has_the_form),
        (json!({"structured_outputs": {"json": schema()}}), &has_the_form),
        (json!({"structured_outputs": {"regex": "[0-9]{4}-[0-9]{2}-[0-9]{2}"}}), &is_date),
        (json!({"structured_outputs": {"choice": choice}}), &is_one),
        (json!({"structured_outputs": {"grammar": lark}}), &is_tag),
        (json!({"structured_outputs": {"grammar": gbnf}}), &is_list),
        (json!({"guided_json": schema().to_string()}), &has_the_form),
        (json!({"guided_regex": "[0-9]{4}-[0-9]{2}-[0-9]{2}"}), &is_date),
        (json!({"guided_choice": choice}), &is_one),
        (json!({"guided_grammar": lark}), &is_tag),
        (json!({"grammar": gbnf}), &is_list),
        (json!({"json_schema": schema()}), &has_the_form),
    ];
    for (extra, check) in checks {
        for (path, more) in [
            ("/v1/completions", json!({})),
            (
                "/v1/chat/completions",
                json!({"prompt": null, "messages": [{"role": "user", "content": "Hi"}]}),
            ),
            // It ends where the form is complete, even if nothing else may end it.
            ("/v1/completions", json!({"ignore_eos": true, "min_tokens": 150})),
        ] {
            let mut body = body(&extra);
            body.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
            let (status, answer) = server.post(path, &body);
            assert_eq!(status, 200, "{extra}: {answer}");
            let choice = &answer["choices"][0];
            let text = choice["text"].as_str().or(choice["message"]["content"].as_str()).expect("text");
            assert_eq!(choice["finish_reason"], "stop", "{extra}: {text}");
            assert!(check(text), "{extra}: {text}");
        }
    }
    // An object of any kind may be long; one that ends is one.
    let object = body(&json!({"response_format": {"type": "json_object"}, "max_tokens": 400, "n": 4}));
    let (_, answer) = server.post("/v1/completions", &object);
    for choice in answer["choices"].as_array().expect("choices") {
        let text = choice["text"].as_str().expect("text");
        assert!(text.starts_with('{'), "{text}");
        assert!(choice["finish_reason"] == "length" || is_object(text), "{text}");
    }
}

#[test]
fn what_cannot_be_done_is_refused_before_it_begins() {
    let server = serve(&[]);
    let deep = (0..60).fold(json!({}), |inner, _| json!({"type": "array", "items": inner}));
    for (extra, param, told) in [
        (json!({"guided_json": {"not": {}}}), "guided_json", "not"),
        (json!({"json_schema": {"type": "array", "uniqueItems": true}}), "json_schema", "uniqueItems"),
        (json!({"response_format": {"type": "json_schema"}}), "response_format", "schema"),
        (json!({"response_format": {"type": "grammar"}}), "response_format", "grammar"),
        (json!({"structured_outputs": {"regex": "a", "choice": ["b"]}}), "structured_outputs", "exactly one"),
        (json!({"guided_regex": "("}), "guided_regex", "guided_regex"),
        (json!({"guided_choice": []}), "guided_choice", ""),
        (json!({"grammar": "root ::= missing"}), "grammar", "missing"),
        (json!({"grammar": "root ::= \"a\"", "guided_regex": "a"}), "grammar", "guided_regex"),
        (json!({"structured_outputs": {"grammar": "x".repeat(100_000)}}), "structured_outputs", "65536"),
    ] {
        for stream in [false, true] {
            let mut body = body(&extra);
            body["stream"] = json!(stream);
            let (status, answer) = server.post("/v1/completions", &body);
            assert_eq!((status, answer["error"]["param"].as_str()), (400, Some(param)), "{extra}: {answer}");
            let message = answer["error"]["message"].as_str().expect("a message");
            assert!(message.contains(told) && message.chars().count() <= 400, "{message}");
        }
    }
    // What is large and means something may be too much, sooner or later, but is no fault of ours.
    for extra in [json!({"guided_json": deep}), json!({"guided_regex": "(a|b|[^c]){0,1000}".repeat(300)})] {
        let (status, answer) = server.post("/v1/completions", &body(&extra));
        assert!(status == 200 || status == 400, "{status}: {answer}");
    }
    assert_eq!(server.send("GET", "/health", "").0, 200);
}

/// What a choice is, and how it ended.
fn said(answer: &Value) -> Vec<(Value, Value, Value)> {
    let choices = answer["choices"].as_array().expect("choices");
    let of = |choice: &Value| {
        (choice["text"].clone(), choice["logprobs"].clone(), choice["finish_reason"].clone())
    };
    choices.iter().map(of).collect()
}

#[test]
fn a_form_does_not_make_an_answer_depend_on_the_company() {
    let more =
        ["--threads", "1", "--max-rows", "9", "--max-seqs", "3", "--kv-tokens", "600", "--isa", "portable"];
    let servers =
        [serve(&[]), serve(&["--speculate", "off"]), serve(&["--speculate", "lookup"]), serve(&more)];
    let asks: Vec<Value> = [
        json!({"json_schema": schema(), "n": 2, "logprobs": 2}),
        json!({"guided_regex": "(the|a) (quick|slow) [a-z]{3,9}( and [a-z]{2,8}){0,2}", "logprobs": 1, "seed": 5}),
        json!({"grammar": "root ::= \"[\" (root (\",\" root)*)? \"]\" | [0-9]{1,3}", "logprobs": 1, "max_tokens": 60}),
        json!({"response_format": {"type": "json_object"}, "presence_penalty": 0.7, "max_tokens": 60, "logprobs": 1}),
        json!({"guided_choice": ["alpha", "alphabet", "beta"], "stop": ["bet"], "logprobs": 1}),
        json!({"max_tokens": 40, "logprobs": 1}),
    ]
    .iter()
    .map(body)
    .collect();
    let alone: Vec<_> = asks
        .iter()
        .map(|ask| {
            let (status, answer) = servers[0].post("/v1/completions", ask);
            assert_eq!(status, 200, "{ask}: {answer}");
            said(&answer)
        })
        .collect();
    for server in &servers {
        std::thread::scope(|scope| {
            for turn in 0..2 {
                for (ask, alone) in asks.iter().zip(&alone) {
                    scope.spawn(move || {
                        let (status, answer) = server.post("/v1/completions", ask);
                        assert_eq!(status, 200, "{ask}: {answer}");
                        assert_eq!(&said(&answer), alone, "turn {turn} of {ask}");
                    });
                }
            }
        });
    }
}

/// Cuts a stream of ids after every token, and compares what another server makes of it.
#[test]
fn a_form_that_is_cut_anywhere_is_resumed() {
    let (one, other) = (serve(&[]), serve(&["--threads", "1", "--max-rows", "7", "--speculate", "off"]));
    let ask = body(&json!({
        "prompt": "Hi".bytes().collect::<Vec<u8>>(), "json_schema": schema(), "return_token_ids": true,
        "stream": true, "logprobs": 1,
    }));
    let text = |events: &[Value]| -> String {
        events.iter().filter_map(|event| event["choices"][0]["text"].as_str()).collect()
    };
    let ids = |event: &Value| event["choices"][0]["token_ids"].as_array().cloned().unwrap_or_default();
    let end = |events: &[Value]| {
        let mut reasons = events.iter().map(|event| event["choices"][0]["finish_reason"].clone());
        reasons.rfind(|reason| !reason.is_null())
    };
    let whole = one.stream("/v1/completions", &ask);
    assert!(has_the_form(&text(&whole)), "{}", text(&whole));
    let mut so_far = ask["prompt"].as_array().expect("ids").clone();
    let mut resumed = 0;
    for (at, event) in whole.iter().enumerate() {
        let new = ids(event);
        if new.is_empty() {
            continue;
        }
        so_far.extend(new);
        let mut rest = ask.clone();
        rest["prompt"] = json!(so_far);
        rest["resume"] = json!({"prompt_tokens": 2});
        let events = other.stream("/v1/completions", &rest);
        assert_eq!(text(&events), text(&whole[at + 1..]), "cut after {} ids", so_far.len() - 2);
        assert_eq!((end(&events), end(&whole)), (Some(json!("stop")), Some(json!("stop"))));
        resumed += 1;
    }
    assert!(resumed > 10, "{resumed}");
}
