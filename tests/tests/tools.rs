//! Calls of functions over HTTP, by a tiny model that must call: the grammar makes it, so that what
//! its answers say is known though its weights are random.
use serde_json::{Value, json};
use verbatim_tests::fixture::{Files, tokenizer_config_json};
use verbatim_tests::process::Running;

/// A template that writes all it is told.
const TEMPLATE: &str = "{{ bos_token }}{% for t in tools or [] %}{{ t | tojson }}{% endfor %}{% for m in messages %}\
    {{ m.role }}:{{ m.content }}{% for c in m.tool_calls or [] %}{{ c.function.name }}\
    {{ c.function.arguments | tojson }}{% endfor %};{% endfor %}\
    {% if add_generation_prompt %}assistant:{% if enable_thinking %}<think>{% endif %}{% endif %}";

fn serve(template: &str, more: &[&str]) -> Running {
    let mut config = tokenizer_config_json();
    config["chat_template"] = json!(template);
    let mut files = Files::tiny();
    files.put_json("tokenizer_config.json", &config);
    let directory = files.directory("tools");
    let path = directory.path().to_str().expect("UTF-8");
    Running::start(&[&["--served-model-name", "tiny", "--model", path], more].concat())
}

fn tools() -> Value {
    let weather = json!({"type": "object", "required": ["days", "unit"], "properties": {
        "days": {"type": "integer", "minimum": 0, "maximum": 9}, "unit": {"enum": ["C", "F"]},
        "exact": {"type": "boolean"},
    }});
    json!([
        {"type": "function", "function": {"name": "weather", "parameters": weather}},
        {"type": "function", "function": {"name": "now"}},
    ])
}

fn ask(more: Value) -> Value {
    let mut body = json!({
        "messages": [{"role": "user", "content": "hi"}], "tools": tools(), "tool_choice": "required", "seed": 3,
        "temperature": 1.0, "top_k": 0, "top_p": 1, "max_tokens": 150,
    });
    for (name, value) in more.as_object().expect("an object") {
        body[name] = value.clone();
    }
    body
}

/// Checks the calls of a message, and returns their names.
fn checked(calls: &Value) -> Vec<String> {
    let calls = calls.as_array().expect("calls");
    let check = |call: &Value| {
        let name = call["function"]["name"].as_str().expect("a name").to_owned();
        let arguments = call["function"]["arguments"].as_str().expect("arguments");
        let arguments: Value = serde_json::from_str(arguments).expect("JSON");
        let arguments = arguments.as_object().expect("an object");
        assert!(call["id"].as_str().expect("an id").starts_with("call_") && call["type"] == "function");
        match name.as_str() {
            "now" => assert!(arguments.is_empty(), "{arguments:?}"),
            "weather" => {
                assert!((0..=9).contains(&arguments["days"].as_i64().expect("days")));
                assert!(["C", "F"].contains(&arguments["unit"].as_str().expect("a unit")));
                assert!(arguments.keys().all(|key| ["days", "unit", "exact"].contains(&key.as_str())));
            }
            other => panic!("{other} is not offered"),
        }
        name
    };
    calls.iter().map(check).collect()
}

/// The message that the events of a stream make, and how it finished.
fn gathered(events: &[Value]) -> (Value, Value) {
    let (mut content, mut calls, mut finish): (String, Vec<Value>, Value) =
        (String::new(), Vec::new(), Value::Null);
    for choice in events.iter().filter_map(|event| event["choices"].get(0)) {
        content += choice["delta"]["content"].as_str().unwrap_or_default();
        for call in choice["delta"]["tool_calls"].as_array().into_iter().flatten() {
            let at = call["index"].as_u64().expect("an index") as usize;
            if at == calls.len() {
                let mut first = call.clone();
                first.as_object_mut().expect("an object").remove("index");
                calls.push(first);
                continue;
            }
            assert_eq!(at + 1, calls.len(), "calls come one after the other");
            let more = call["function"]["arguments"].as_str().expect("a fragment");
            let before = calls[at]["function"]["arguments"].as_str().expect("arguments").to_owned();
            calls[at]["function"]["arguments"] = json!(before + more);
        }
        if !choice["finish_reason"].is_null() {
            finish = choice["finish_reason"].clone();
        }
    }
    (json!({"content": content, "tool_calls": calls}), finish)
}

#[test]
fn a_call_that_is_required_comes_in_every_format() {
    for parser in ["llama3", "hermes", "qwen3-coder", "mistral", "mistral-args", "gemma", "phi4", "pythonic"]
    {
        let server = serve(TEMPLATE, &["--tool-parser", parser, "--reasoning-parser", "off"]);
        let mut names = Vec::new();
        for seed in 0..2 {
            let body = ask(json!({"seed": seed, "parallel_tool_calls": false}));
            let (status, answer) = server.post("/v1/chat/completions", &body);
            assert_eq!(status, 200, "{parser}: {answer}");
            let choice = &answer["choices"][0];
            assert_eq!(choice["finish_reason"], "tool_calls", "{parser}: {choice}");
            assert!(choice["message"]["content"].is_null(), "{parser}: {choice}");
            let called = checked(&choice["message"]["tool_calls"]);
            assert_eq!(called.len(), 1, "{parser}: {choice}");
            names.extend(called);

            let mut streamed = body.clone();
            streamed["stream"] = json!(true);
            let (message, finish) = gathered(&server.stream("/v1/chat/completions", &streamed));
            assert_eq!(finish, "tool_calls");
            assert_eq!(message["tool_calls"], choice["message"]["tool_calls"], "{parser}: streamed as whole");
            assert_eq!(message["content"], "");
        }
        println!("{parser}: {names:?}");
    }
}

#[test]
fn a_function_by_name_is_called_once_and_none_is_not_offered() {
    let server = serve(TEMPLATE, &[]);
    for name in ["weather", "now"] {
        let choice = json!({"type": "function", "function": {"name": name}});
        let (status, answer) = server.post("/v1/chat/completions", &ask(json!({"tool_choice": choice})));
        assert_eq!(status, 200, "{answer}");
        assert_eq!(checked(&answer["choices"][0]["message"]["tool_calls"]), [name]);
    }
    let prompt = |body: &Value| server.post("/v1/chat/completions", body).1["usage"]["prompt_tokens"].clone();
    let free = ask(json!({"tool_choice": "none", "max_tokens": 1}));
    let mut without = free.clone();
    let map = without.as_object_mut().expect("an object");
    map.remove("tools");
    map.remove("tool_choice");
    assert_eq!(prompt(&free), prompt(&without));
    assert_ne!(prompt(&ask(json!({"tool_choice": "auto", "max_tokens": 1}))), prompt(&without));
}

#[test]
fn wrong_tools_are_refused_by_name() {
    let server = serve(TEMPLATE, &[]);
    let function = |function: Value| json!({"tools": [{"type": "function", "function": function}]});
    for (more, param, told) in [
        (json!({"tools": {}}), "tools", "must be a list"),
        (json!({"tools": [{"type": "retrieval"}]}), "tools", "tools[0].type must be"),
        (function(json!({"name": "a b"})), "tools", "tools[0].function.name must"),
        (
            function(json!({"name": "f", "parameters": {"type": "array"}})),
            "tools",
            "parameters.type must be object",
        ),
        (json!({"tools": [tools()[0], tools()[0]]}), "tools", "as that of another tool"),
        (json!({"tool_choice": "sometimes"}), "tool_choice", "tool_choice must be"),
        (
            json!({"tool_choice": {"type": "function", "function": {"name": "x"}}}),
            "tool_choice",
            "tool_choice must",
        ),
        (json!({"tools": []}), "tool_choice", "tool_choice needs tools"),
        (json!({"functions": [{"name": "f"}]}), "functions", "functions"),
        (json!({"chat_template_kwargs": {"messages": []}}), "chat_template_kwargs", "must not set messages"),
        (json!({"reasoning_effort": "low"}), "reasoning_effort", "does not know it"),
        (
            json!({"continue_final_message": true, "add_generation_prompt": true}),
            "continue_final_message",
            "add_generation_prompt",
        ),
    ] {
        let (status, answer) = server.post("/v1/chat/completions", &ask(more.clone()));
        assert_eq!((status, answer["error"]["param"].as_str()), (400, Some(param)), "{more}: {answer}");
        assert!(answer["error"]["message"].as_str().expect("a message").contains(told), "{more}: {answer}");
    }
}

#[test]
fn a_history_of_calls_reaches_the_template_and_a_message_is_continued() {
    let server = serve(TEMPLATE, &[]);
    let call =
        json!({"id": "call_1", "type": "function", "function": {"name": "now", "arguments": "{\"a\":1}"}});
    let messages = json!([
        {"role": "user", "content": "hi"},
        {"role": "assistant", "content": null, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "call_1", "content": "noon"},
        {"role": "wizard", "content": "<s>"},
        {"role": "assistant", "content": "It is "},
    ]);
    let body = json!({"messages": messages, "continue_final_message": true, "add_generation_prompt": false});
    let (status, answer) = server.post("/apply-template", &body);
    assert_eq!(status, 200, "{answer}");
    assert_eq!(answer["prompt"], "<s>user:hi;assistant:now{\"a\": 1};tool:noon;wizard:<s>;assistant:It is ");
}

#[test]
fn functions_work_with_a_template_that_knows_none() {
    let plain = tokenizer_config_json()["chat_template"].as_str().expect("a template").to_owned();
    // The instructions take most of the context of the tiny model.
    let server = serve(&plain, &[]);
    let body = ask(json!({"tools": [tools()[1]], "max_tokens": 80, "parallel_tool_calls": false}));
    let (status, answer) = server.post("/v1/chat/completions", &body);
    assert_eq!(status, 200, "{answer}");
    assert_eq!(checked(&answer["choices"][0]["message"]["tool_calls"]), ["now"]);
}

#[test]
fn a_form_holds_behind_reasoning() {
    let server = serve(TEMPLATE, &["--reasoning-parser", "think"]);
    let schema = json!({"type": "object", "properties": {"a": {"enum": [1, 2]}}, "required": ["a"],
                        "additionalProperties": false});
    let format = json!({"type": "json_schema", "json_schema": {"name": "x", "schema": schema}});
    // The letters of the mark are made likely, so that the reasoning ends.
    let bias: serde_json::Map<String, Value> =
        "</think>".bytes().map(|byte| (byte.to_string(), json!(30))).collect();
    let body = json!({
        "messages": [{"role": "user", "content": "hi"}], "response_format": format, "seed": 5, "max_tokens": 60,
        "chat_template_kwargs": {"enable_thinking": false},
    });
    let (status, answer) = server.post("/v1/chat/completions", &body);
    assert_eq!(status, 200, "{answer}");
    let content = &answer["choices"][0]["message"]["content"];
    let value: Value = serde_json::from_str(content.as_str().expect("text")).expect("JSON");
    assert!(value["a"] == 1 || value["a"] == 2, "{value}");

    let mut thinking = body.clone();
    thinking["chat_template_kwargs"] = json!({"enable_thinking": true});
    thinking["logit_bias"] = Value::Object(bias);
    let (status, answer) = server.post("/v1/chat/completions", &thinking);
    assert_eq!(status, 200, "{answer}");
    let message = &answer["choices"][0]["message"];
    assert!(message["reasoning_content"].as_str().is_some_and(|text| !text.is_empty()), "{message}");
}
