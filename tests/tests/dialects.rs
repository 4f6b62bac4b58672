//! The dialects beside OpenAI's first two, over real sockets: Anthropic's messages, OpenAI's
//! responses, and Ollama's own API. The same request has the same bits in each of them.
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::net::TcpStream;
use verbatim_tests::fixture::Files;
use verbatim_tests::process::Running;

fn serve(args: &[&str]) -> Running {
    let directory = Files::tiny().directory("dialects");
    let path = directory.path().to_str().expect("UTF-8");
    Running::start(&[&["--served-model-name", "tiny", "--max-seqs", "4", "--model", path], args].concat())
}

/// A request with a key; the head and the body of its answer.
fn ask(server: &Running, method: &str, path: &str, key: &str, body: &Value) -> (String, Value) {
    let body = body.to_string();
    let mut stream = TcpStream::connect(&server.address).expect("connects");
    let head = format!("{method} {path} HTTP/1.0\r\nHost: localhost\r\nContent-Type: application/json");
    let length = body.len();
    let head = format!("{head}\r\nx-api-key: {key}\r\nanthropic-version: 2023-06-01");
    write!(stream, "{head}\r\nContent-Length: {length}\r\n\r\n{body}").expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
    let body = serde_json::from_str(body).unwrap_or_else(|error| panic!("{error}: {answer}"));
    (head.to_owned(), body)
}

/// A body with more fields.
fn with(body: &Value, more: &Value) -> Value {
    let mut body = body.clone();
    body.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
    body
}

/// The values of a stream: of named events, each of whose names is its type, or of lines.
fn streamed(server: &Running, path: &str, body: &Value) -> Vec<Value> {
    let mut stream = TcpStream::connect(&server.address).expect("connects");
    let body = body.to_string();
    let head = format!("POST {path} HTTP/1.0\r\nHost: localhost\r\nContent-Type: application/json");
    write!(stream, "{head}\r\nContent-Length: {}\r\n\r\n{body}", body.len()).expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
    assert!(head.starts_with("HTTP/1.1 200 "), "{answer}");
    let parse =
        |text: &str| serde_json::from_str::<Value>(text).unwrap_or_else(|error| panic!("{error}: {text}"));
    if head.contains("application/x-ndjson") {
        return body.lines().map(parse).collect();
    }
    assert!(head.contains("text/event-stream") && !body.contains("[DONE]"), "{answer}");
    let event = |event: &str| {
        let (name, data) = event.split_once('\n').unwrap_or_else(|| panic!("no name: {event}"));
        let data = parse(data.strip_prefix("data: ").expect("data"));
        assert_eq!(name.strip_prefix("event: "), data["type"].as_str());
        data
    };
    body.split_terminator("\n\n").filter(|event| !event.starts_with(':')).map(event).collect()
}

/// What an answer says that the model was asked and has said: ids of the prompt and of the output.
fn ids(verbatim: &Value) -> (Value, Value) {
    (verbatim["prompt_token_ids"].clone(), verbatim["token_ids"].clone())
}

#[test]
fn a_request_has_the_same_bits_in_every_dialect() {
    let server = serve(&[]);
    let drawn = json!({"temperature": 0.8, "top_k": 30, "top_p": 0.95, "seed": 7, "return_token_ids": true});
    let messages = json!([{"role": "system", "content": "be brief"}, {"role": "user", "content": "hi"}]);
    let body = json!({"messages": messages, "max_tokens": 14});
    let (status, chat) = server.post("/v1/chat/completions", &with(&body, &drawn));
    assert_eq!(status, 200, "{chat}");
    let choice = &chat["choices"][0];
    let text = choice["message"]["content"].as_str().expect("text");
    let expected = (choice["prompt_token_ids"].clone(), choice["token_ids"].clone());
    assert!(expected.0.is_array() && expected.1.is_array(), "{chat}");

    let options = json!({"temperature": 0.8, "top_k": 30, "top_p": 0.95, "seed": 7, "num_predict": 14});
    let ollama = json!({"model": "tiny:latest", "options": options, "return_token_ids": true});
    let anthropic =
        json!({"max_tokens": 14, "system": "be brief", "messages": [{"role": "user", "content": "hi"}]});
    let responses = json!({"max_output_tokens": 14, "instructions": "be brief", "input": "hi"});
    let asked = [
        ("/v1/messages", with(&anthropic, &drawn)),
        ("/v1/responses", with(&responses, &drawn)),
        ("/api/chat", with(&ollama, &json!({"messages": messages}))),
        ("/api/generate", with(&ollama, &json!({"system": "be brief", "prompt": "hi"}))),
    ];
    let text_of = |body: &Value| match body {
        _ if body["response"].is_string() => body["response"].clone(),
        _ if body["message"].is_object() => body["message"]["content"].clone(),
        _ if body["output"].is_array() => body["output"][0]["content"][0]["text"].clone(),
        _ => body["content"][0]["text"].clone(),
    };
    std::thread::scope(|scope| {
        // Others ask meanwhile.
        for i in 0..4 {
            let server = &server;
            let other = json!({"prompt": "other".repeat(i + 1), "max_tokens": 60, "seed": i});
            scope.spawn(move || server.post("/v1/completions", &other));
        }
        for (path, body) in &asked {
            let (status, whole) = server.post(path, &with(body, &json!({"stream": false})));
            assert_eq!(status, 200, "{path}: {whole}");
            assert_eq!(ids(&whole["verbatim"]), expected, "{path}");
            assert_eq!(whole["verbatim"]["seed"], 7, "{path}");
            assert_eq!(text_of(&whole), text, "{path}");
            let events = streamed(&server, path, &with(body, &json!({"stream": true})));
            let last = |event: &&Value| {
                event["verbatim"]["token_ids"].is_array()
                    || event["response"]["verbatim"]["token_ids"].is_array()
            };
            let last = events.iter().rfind(last).unwrap_or_else(|| panic!("{path}: {events:?}"));
            let verbatim =
                if last["verbatim"].is_object() { &last["verbatim"] } else { &last["response"]["verbatim"] };
            assert_eq!(ids(verbatim), expected, "{path}, streamed");
            let pieces: String = events
                .iter()
                .filter_map(|event| match event["type"].as_str() {
                    Some("content_block_delta") => event["delta"]["text"].as_str(),
                    Some(kind) => event["delta"].as_str().filter(|_| kind == "response.output_text.delta"),
                    None => event["response"].as_str().or(event["message"]["content"].as_str()),
                })
                .collect();
            assert_eq!(pieces, text, "{path}, streamed");
        }
    });

    // Without the template it is a completion.
    let raw = json!({"prompt": "Once", "max_tokens": 9});
    let (_, completion) = server.post("/v1/completions", &with(&raw, &drawn));
    let options = json!({"temperature": 0.8, "top_k": 30, "top_p": 0.95, "seed": 7, "num_predict": 9});
    let body = with(&ollama, &json!({"prompt": "Once", "raw": true, "options": options, "stream": false}));
    let (_, generated) = server.post("/api/generate", &body);
    assert_eq!(generated["response"], completion["choices"][0]["text"]);
    assert_eq!(generated["verbatim"]["token_ids"], completion["choices"][0]["token_ids"]);
}

#[test]
fn messages_are_counted_stopped_and_continued() {
    let server = serve(&[]);
    let body = json!({"model": "tiny", "messages": [{"role": "user", "content": "hi"}], "temperature": 0});
    let (status, whole) = server.post("/v1/messages", &with(&body, &json!({"max_tokens": 12})));
    assert_eq!(
        (status, &whole["type"], &whole["role"]),
        (200, &json!("message"), &json!("assistant")),
        "{whole}"
    );
    assert!(whole["id"].as_str().is_some_and(|id| id.starts_with("msg_")));
    let usage = |body: &Value| {
        let count = |name: &str| body["usage"][name].as_u64().expect("a count");
        count("input_tokens") + count("cache_read_input_tokens")
    };
    let (status, counted) = server.post("/v1/messages/count_tokens", &body);
    assert_eq!((status, &counted), (200, &json!({"input_tokens": usage(&whole)})));
    // BOS is one token, and every other letter is.
    assert_eq!(usage(&whole), "user: hi\nassistant:".len() as u64 + 1);

    let text = whole["content"][0]["text"].as_str().expect("text");
    let stop: String = text.chars().skip(2).take(2).collect();
    let (_, stopped) =
        server.post("/v1/messages", &with(&body, &json!({"max_tokens": 12, "stop_sequences": [stop]})));
    assert_eq!((&stopped["stop_reason"], &stopped["stop_sequence"]), (&json!("stop_sequence"), &json!(stop)));
    assert_eq!(
        stopped["content"][0]["text"].as_str().unwrap_or_default(),
        text.split(&stop).next().expect("one")
    );
}

#[test]
fn every_api_is_refused_in_its_own_words() {
    let server = serve(&["--api-key", "sk-a"]);
    let message = json!({"max_tokens": 1, "messages": [{"role": "user", "content": "a"}]});
    for (path, key, body, status, kind) in [
        ("/v1/messages", "sk-b", message.clone(), 401, "authentication_error"),
        ("/v1/messages/count_tokens", "sk-b", message.clone(), 401, "authentication_error"),
        ("/v1/messages", "sk-a", with(&message, &json!({"model": "x"})), 404, "not_found_error"),
        ("/v1/messages", "sk-a", with(&message, &json!({"container": "x"})), 400, "invalid_request_error"),
        ("/v1/messages", "sk-a", json!({"messages": message["messages"]}), 400, "invalid_request_error"),
        ("/v1/messages/batches", "sk-a", message.clone(), 404, "not_found_error"),
    ] {
        let (head, answer) = ask(&server, "POST", path, key, &body);
        assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{path}: {head}");
        assert_eq!(
            (&answer["type"], &answer["error"]["type"]),
            (&json!("error"), &json!(kind)),
            "{path}: {answer}"
        );
        let id = head.lines().find_map(|line| line.strip_prefix("request-id: ")).expect("an id");
        assert!(head.contains(&format!("x-request-id: {id}")), "{head}");
    }
    let chat = json!({"model": "tiny", "messages": [{"role": "user", "content": "a"}]});
    for (path, key, body, status) in [
        ("/api/chat", "sk-b", chat.clone(), 401),
        ("/api/tags", "sk-a", Value::Null, 405),
        ("/api/pull", "sk-a", Value::Null, 404),
        ("/api/chat", "sk-a", with(&chat, &json!({"model": "x"})), 404),
        ("/api/chat", "sk-a", with(&chat, &json!({"options": {"mirostat": 2}})), 400),
        ("/api/generate", "sk-a", json!({"model": "tiny", "prompt": "a", "suffix": "b"}), 400),
        ("/api/generate", "sk-a", json!({"model": "tiny", "prompt": "a", "template": "b"}), 400),
        ("/api/show", "sk-a", json!({"model": "x"}), 404),
    ] {
        let (head, answer) = ask(&server, "POST", path, key, &body);
        assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{path}: {head}");
        assert!(
            answer["error"].is_string() && answer.as_object().map(serde_json::Map::len) == Some(1),
            "{answer}"
        );
        assert!(!head.contains("\r\nrequest-id: "));
    }
    for (body, param) in [
        (json!({"input": "a", "previous_response_id": "resp_1"}), "previous_response_id"),
        (json!({"input": "a", "conversation": "conv_1"}), "conversation"),
        (json!({"input": "a", "background": true}), "background"),
        (json!({"input": "a", "truncation": "auto"}), "truncation"),
        (json!({"input": "a", "max_output_tokens": 0}), "max_output_tokens"),
        (json!({"input": [{"type": "item_reference", "id": "x"}]}), "input"),
        (json!({"input": "a", "temperature": -1}), "temperature"),
        (json!({"model": "x", "input": "a"}), "model"),
        (json!({}), "input"),
    ] {
        let (head, answer) = ask(&server, "POST", "/v1/responses", "sk-a", &body);
        let status = if param == "model" { 404 } else { 400 };
        assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{body}: {head}");
        assert_eq!(answer["error"]["param"], param, "{answer}");
        assert!(answer["error"]["message"].as_str().is_some_and(|text| text.contains(param)), "{answer}");
    }
}

#[test]
fn a_response_repeats_its_request_and_keeps_nothing() {
    let server = serve(&[]);
    let body = json!({
        "model": "tiny", "input": "hi", "max_output_tokens": 6, "store": true, "metadata": {"a": "b"},
        "temperature": 0, "truncation": "disabled", "background": false, "top_logprobs": 2, "seed": 3,
    });
    let (status, whole) = server.post("/v1/responses", &body);
    assert_eq!(status, 200, "{whole}");
    assert!(whole["id"].as_str().is_some_and(|id| id.starts_with("resp_")));
    for (name, value) in [
        ("object", json!("response")),
        ("model", json!("tiny")),
        ("metadata", json!({"a": "b"})),
        ("store", json!(false)),
        ("temperature", json!(0.0)),
        ("top_p", json!(0.9)),
        ("max_output_tokens", json!(6)),
        ("previous_response_id", Value::Null),
    ] {
        assert_eq!(whole[name], value, "{name}");
    }
    let tokens = whole["usage"]["output_tokens"].as_u64().expect("a count");
    let listed = whole["output"][0]["content"][0]["logprobs"].as_array().expect("a list");
    assert_eq!((listed.len() as u64, listed[0]["top_logprobs"].as_array().map(Vec::len)), (tokens, Some(2)));
    assert_eq!(
        server.send("GET", &format!("/v1/responses/{}", whole["id"].as_str().expect("an id")), "").0,
        404
    );
}

#[test]
fn ollamas_clients_see_a_model() {
    let server = serve(&["--alias", "other"]);
    let get = |path: &str| serde_json::from_str::<Value>(&server.send("GET", path, "").1).expect("JSON");
    let tags = get("/api/tags");
    let names: Vec<_> =
        tags["models"].as_array().expect("a list").iter().map(|model| &model["name"]).collect();
    assert_eq!(names, ["tiny:latest", "other:latest"]);
    assert_eq!(tags["models"][0]["digest"].as_str().map(str::len), Some(64));
    assert_eq!(tags["models"][0]["details"]["family"], "llama");
    assert_eq!(get("/api/ps")["models"][0]["context_length"], 512);
    assert!(get("/api/version")["version"].is_string());
    for name in ["tiny", "tiny:latest", "other", "other:latest"] {
        let (status, shown) = server.post("/api/show", &json!({"model": name}));
        assert_eq!((status, &shown["model_info"]["llama.context_length"]), (200, &json!(512)), "{shown}");
        assert!(shown["capabilities"].as_array().expect("a list").contains(&json!("completion")));
        let (status, answer) = server.post("/api/chat", &json!({"model": name, "stream": false}));
        assert_eq!((status, &answer["done_reason"]), (200, &json!("load")), "{answer}");
    }
    // A stream is the default.
    let body = json!({"model": "tiny", "prompt": "a", "options": {"num_predict": 3, "temperature": 0}});
    let lines = streamed(&server, "/api/generate", &body);
    let last = lines.last().expect("lines");
    assert!(last["done"] == true && last["eval_count"].as_u64().is_some_and(|count| count <= 3), "{last}");
    assert!(last["total_duration"].as_u64() >= last["eval_duration"].as_u64(), "{last}");
    assert_eq!(streamed(&server, "/api/generate", &json!({"model": "tiny"})).len(), 1);
}

#[test]
fn ollamas_clients_get_vectors() {
    let mut files = Files::tiny();
    files.put_embedding("mean", true);
    let directory = files.directory("dialects-vectors");
    let path = directory.path().to_str().expect("UTF-8");
    let server = Running::start(&["--served-model-name", "tiny", "--max-seqs", "4", "--model", path]);
    let (status, openai) = server.post("/v1/embeddings", &json!({"input": ["ab", "cde"]}));
    assert_eq!(status, 200, "{openai}");
    let (status, answer) = server.post("/api/embed", &json!({"model": "tiny", "input": ["ab", "cde"]}));
    assert_eq!(status, 200, "{answer}");
    assert_eq!(answer["embeddings"][1], openai["data"][1]["embedding"]);
    assert_eq!(answer["prompt_eval_count"], openai["usage"]["prompt_tokens"]);
    let (_, older) = server.post("/api/embeddings", &json!({"model": "tiny:latest", "prompt": "ab"}));
    assert_eq!(older["embedding"], openai["data"][0]["embedding"]);
    let (_, none) = server.post("/api/embed", &json!({"model": "tiny", "input": []}));
    assert_eq!(none["embeddings"], json!([]));
    let (status, wrong) = server.post("/api/embed", &json!({"model": "tiny", "input": 3}));
    assert!(status == 400 && wrong["error"].is_string(), "{wrong}");
}

#[test]
fn a_call_is_the_same_in_every_dialect() {
    // The functions that are offered take some room in a prompt of single bytes.
    let mut files = Files::tiny();
    files.edit("config.json", |config| config["max_position_embeddings"] = json!(2048));
    let directory = files.directory("dialects-calls");
    let path = directory.path().to_str().expect("UTF-8");
    let server = Running::start(&["--served-model-name", "tiny", "--max-seqs", "4", "--model", path]);
    let schema = json!({
        "type": "object", "properties": {"city": {"enum": ["Rome", "Oslo"]}}, "required": ["city"],
        "additionalProperties": false,
    });
    let question = json!([{"role": "user", "content": "weather?"}]);
    let drawn = json!({"temperature": 1, "top_k": 0, "top_p": 1, "seed": 3, "return_token_ids": true});
    let function = json!({"name": "weather", "description": "Tells it", "parameters": schema});
    let chat = json!({
        "messages": question, "max_tokens": 150, "tool_choice": "required", "parallel_tool_calls": false,
        "tools": [{"type": "function", "function": function}],
    });
    let (status, chat) = server.post("/v1/chat/completions", &with(&chat, &drawn));
    assert_eq!(status, 200, "{chat}");
    let call = &chat["choices"][0]["message"]["tool_calls"][0];
    let expected = (chat["choices"][0]["prompt_token_ids"].clone(), chat["choices"][0]["token_ids"].clone());
    assert_eq!(
        (&call["function"]["name"], &chat["choices"][0]["finish_reason"]),
        (&json!("weather"), &json!("tool_calls")),
        "{chat}"
    );
    let arguments: Value =
        serde_json::from_str(call["function"]["arguments"].as_str().expect("text")).expect("JSON");

    let body = json!({
        "messages": question, "max_tokens": 150,
        "tools": [{"name": "weather", "description": "Tells it", "input_schema": schema}],
        "tool_choice": {"type": "any", "disable_parallel_tool_use": true},
    });
    let (status, message) = server.post("/v1/messages", &with(&body, &drawn));
    assert_eq!(status, 200, "{message}");
    assert_eq!(ids(&message["verbatim"]), expected);
    let block = json!({"type": "tool_use", "id": call["id"], "name": "weather", "input": arguments});
    assert_eq!((&message["content"], &message["stop_reason"]), (&json!([block]), &json!("tool_use")));
    let events = streamed(&server, "/v1/messages", &with(&with(&body, &drawn), &json!({"stream": true})));
    let pieces = events.iter().filter_map(|event| event["delta"]["partial_json"].as_str());
    let pieces = pieces.collect::<String>();
    assert_eq!(serde_json::from_str::<Value>(&pieces).expect("JSON"), arguments);

    let body = json!({
        "input": question, "max_output_tokens": 150, "tool_choice": "required", "parallel_tool_calls": false,
        "tools": [with(&function, &json!({"type": "function"}))],
    });
    let (status, response) = server.post("/v1/responses", &with(&body, &drawn));
    assert_eq!(status, 200, "{response}");
    assert_eq!(ids(&response["verbatim"]), expected);
    let item = &response["output"][0];
    assert_eq!((&item["call_id"], &item["arguments"]), (&call["id"], &call["function"]["arguments"]));
    assert_eq!(response["status"], "completed");

    // The call goes back with its result, in each dialect's words for the same history.
    let call_of = |arguments: &Value| json!({"name": "weather", "arguments": arguments});
    let result = json!({"role": "tool", "tool_call_id": call["id"], "content": "sunny"});
    let history = json!([question[0], {"role": "assistant", "content": "", "tool_calls": [call]}, result]);
    let ask = with(&json!({"messages": history, "max_tokens": 4}), &drawn);
    let (status, chat) = server.post("/v1/chat/completions", &ask);
    assert_eq!(status, 200, "{chat}");
    let prompt = &chat["choices"][0]["prompt_token_ids"];
    let result = json!({"type": "tool_result", "tool_use_id": call["id"], "content": "sunny"});
    let turn = json!({"role": "assistant", "content": [block]});
    let history = json!([question[0], turn, {"role": "user", "content": [result]}]);
    let (_, message) =
        server.post("/v1/messages", &with(&json!({"messages": history, "max_tokens": 4}), &drawn));
    assert_eq!(message["verbatim"]["prompt_token_ids"], *prompt, "{message}");
    let result = json!({"type": "function_call_output", "call_id": call["id"], "output": "sunny"});
    let body = json!({"input": [question[0], item, result], "max_output_tokens": 4});
    let (_, response) = server.post("/v1/responses", &with(&body, &drawn));
    assert_eq!(response["verbatim"]["prompt_token_ids"], *prompt, "{response}");
    let result = json!({"role": "tool", "tool_name": "weather", "content": "sunny"});
    let calls = json!([{"id": call["id"], "function": call_of(&arguments)}]);
    let history = json!([question[0], {"role": "assistant", "content": "", "tool_calls": calls}, result]);
    let body = json!({"model": "tiny", "messages": history, "stream": false, "return_token_ids": true});
    let (_, answer) = server.post("/api/chat", &body);
    assert_eq!(answer["verbatim"]["prompt_token_ids"], *prompt, "{answer}");
}
