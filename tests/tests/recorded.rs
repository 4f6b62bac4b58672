//! What real clients send, as `tests/clients/record.py` has recorded it: each request has the
//! status that it had then, and an answer of the shape that its client reads.
//!
//! Clients read answers by the types of their packages, so a field that they need and do not find
//! is an error there; the lists here are of those fields. A request that gives no seed gets one, so
//! that the answers are the same on every run.
use serde_json::{Value, json};
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use verbatim_tests::process::Running;
use verbatim_tests::temporary::TemporaryDirectory;

/// The name under which the model is served.
const MODEL: &str = "demo";

/// The built-in model with a context in which tools and their histories have room: its answers make
/// no sense there, and have their form.
fn model() -> TemporaryDirectory {
    let directory = TemporaryDirectory::new("recorded");
    let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("../host-linux/demo/model");
    for entry in fs::read_dir(from).expect("the model is there") {
        let entry = entry.expect("an entry");
        let to = directory.path().join(entry.file_name());
        fs::copy(entry.path(), &to).expect("copied");
        if entry.file_name() == "config.json" {
            let text = fs::read_to_string(&to).expect("text");
            let mut config: Value = serde_json::from_str(&text).expect("JSON");
            config["max_position_embeddings"] = json!(4096);
            fs::write(&to, config.to_string()).expect("written");
        }
    }
    directory
}

/// A request as a client sent it.
struct Recorded {
    /// The file and the line.
    name: String,
    method: String,
    path: String,
    headers: Value,
    body: Value,
    status: u64,
}

fn recorded() -> Vec<Recorded> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("data/recorded");
    let mut files: Vec<PathBuf> = fs::read_dir(folder)
        .expect("the folder is there")
        .map(|entry| entry.expect("an entry").path())
        .collect();
    files.sort();
    let mut all = Vec::new();
    for path in files {
        let file = path.file_stem().expect("a name").to_string_lossy().into_owned();
        let text = fs::read_to_string(&path).expect("text").replace("\"MODEL", &format!("\"{MODEL}"));
        for (number, line) in text.lines().enumerate() {
            let mut line: Value = serde_json::from_str(line).expect("JSON");
            all.push(Recorded {
                name: format!("{file}:{}", number + 1),
                method: line["method"].as_str().expect("a method").to_owned(),
                path: line["path"].as_str().expect("a path").to_owned(),
                headers: line["headers"].take(),
                status: line["status"].as_u64().expect("a status"),
                body: line["body"].take(),
            });
        }
    }
    all
}

impl Recorded {
    /// The path without `/v1` and query.
    fn route(&self) -> &str {
        let path = self.path.split('?').next().unwrap_or_default();
        path.strip_prefix("/v1").unwrap_or(path)
    }

    fn is_streamed(&self) -> bool {
        self.body["stream"]
            .as_bool()
            .unwrap_or(self.route() == "/api/chat" || self.route() == "/api/generate")
    }

    /// The body with a seed, where one is missing and taken.
    fn bytes(&self) -> String {
        let mut body = self.body.clone();
        match (self.route(), body.as_object_mut()) {
            ("/completions" | "/chat/completions" | "/responses" | "/messages", Some(fields)) => {
                fields.entry("seed").or_insert(json!(1));
            }
            ("/api/chat" | "/api/generate", Some(fields)) => {
                let options = fields.entry("options").or_insert(json!({}));
                options.as_object_mut().map(|options| options.entry("seed").or_insert(json!(1)));
            }
            _ => {}
        }
        match body {
            Value::Null => String::new(),
            Value::String(text) => text,
            body => body.to_string(),
        }
    }

    /// Sends it; status, content type, and body.
    fn send(&self, server: &Running) -> (u64, String, String) {
        let body = self.bytes();
        let mut stream = TcpStream::connect(&server.address).expect("connects");
        let mut head = format!(
            "{} {} HTTP/1.0\r\nHost: localhost\r\nContent-Length: {}\r\n",
            self.method,
            self.path,
            body.len()
        );
        for (name, value) in self.headers.as_object().expect("headers") {
            head.push_str(&format!("{name}: {}\r\n", value.as_str().expect("text")));
        }
        write!(stream, "{head}\r\n{body}").expect("sent");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("an answer");
        let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
        let kind = head.lines().find_map(|line| line.strip_prefix("Content-Type: ")).unwrap_or_default();
        (status, kind.to_owned(), body.to_owned())
    }

    /// Fails unless all these places are in an answer, and not null.
    fn needs(&self, answer: &Value, places: &[&str]) {
        for place in places {
            let found = answer.pointer(place).filter(|value| !value.is_null());
            assert!(found.is_some(), "{}: {place} is missing in {answer}", self.name);
        }
    }

    fn is(&self, answer: &Value, place: &str, expected: &str) {
        assert_eq!(answer.pointer(place), Some(&json!(expected)), "{}: {place} of {answer}", self.name);
    }

    /// A text that a schema was demanded of.
    fn is_object(&self, text: &Value) {
        let text = text.as_str().unwrap_or_default();
        let parsed = serde_json::from_str::<Value>(text);
        assert!(parsed.is_ok_and(|value| value.is_object()), "{}: {text} is no object", self.name);
    }

    fn forms(&self) -> bool {
        let format = &self.body["response_format"]["type"];
        format == "json_schema"
            || format == "json_object"
            || self.body["text"]["format"]["type"] == "json_schema"
    }

    fn demands_a_call(&self) -> bool {
        let choice = &self.body["tool_choice"];
        choice.is_object() || choice == "required"
    }
}

/// The values of a stream of events, without the last word.
fn events(text: &str) -> Vec<Value> {
    let data = text.lines().filter_map(|line| line.strip_prefix("data: ")).filter(|data| *data != "[DONE]");
    data.map(|data| serde_json::from_str(data).unwrap_or_else(|error| panic!("{error}: {data}"))).collect()
}

fn check_whole(of: &Recorded, answer: &Value) {
    match of.route() {
        "/completions" => {
            of.is(answer, "/object", "text_completion");
            of.needs(
                answer,
                &["/id", "/created", "/model", "/usage/total_tokens", "/usage/completion_tokens"],
            );
            for choice in answer["choices"].as_array().expect("choices") {
                of.needs(choice, &["/index", "/text", "/finish_reason"]);
                if of.body["logprobs"].as_u64().is_some() {
                    of.needs(
                        choice,
                        &["/logprobs/tokens", "/logprobs/token_logprobs", "/logprobs/text_offset"],
                    );
                }
            }
        }
        "/chat/completions" => {
            of.is(answer, "/object", "chat.completion");
            of.is(answer, "/choices/0/message/role", "assistant");
            of.needs(answer, &["/id", "/created", "/model", "/usage/total_tokens", "/usage/prompt_tokens"]);
            of.needs(answer, &["/choices/0/index", "/choices/0/finish_reason"]);
            let message = &answer["choices"][0]["message"];
            if of.demands_a_call() {
                of.needs(message, &["/tool_calls/0/id", "/tool_calls/0/function/name"]);
                of.is(message, "/tool_calls/0/type", "function");
                of.is_object(&message["tool_calls"][0]["function"]["arguments"]);
            } else if of.forms() {
                of.is_object(&message["content"]);
            }
        }
        "/responses" => {
            of.is(answer, "/object", "response");
            of.needs(
                answer,
                &["/id", "/created_at", "/model", "/status", "/output", "/tools", "/tool_choice"],
            );
            of.needs(answer, &["/usage/input_tokens", "/usage/output_tokens", "/usage/total_tokens"]);
            of.needs(answer, &["/usage/input_tokens_details/cached_tokens", "/parallel_tool_calls"]);
            of.needs(
                answer,
                &["/usage/output_tokens_details/reasoning_tokens", "/output/0/type", "/output/0/id"],
            );
            if of.demands_a_call() {
                of.is(answer, "/output/0/type", "function_call");
                of.needs(answer, &["/output/0/call_id", "/output/0/name"]);
                of.is_object(&answer["output"][0]["arguments"]);
            } else if of.forms() {
                of.is_object(&answer["output"][0]["content"][0]["text"]);
            }
        }
        "/messages" => {
            of.is(answer, "/type", "message");
            of.is(answer, "/role", "assistant");
            of.needs(answer, &["/id", "/model", "/content", "/stop_reason"]);
            of.needs(answer, &["/usage/input_tokens", "/usage/output_tokens"]);
        }
        "/messages/count_tokens" => of.needs(answer, &["/input_tokens"]),
        "/embeddings" => {
            of.is(answer, "/object", "list");
            of.is(answer, "/data/0/object", "embedding");
            of.needs(answer, &["/model", "/usage/prompt_tokens", "/usage/total_tokens", "/data/0/index"]);
            let is_base64 = of.body["encoding_format"] == "base64";
            assert_eq!(answer["data"][0]["embedding"].is_string(), is_base64, "{}", of.name);
        }
        "/models" => {
            of.is(answer, "/object", "list");
            of.is(answer, "/data/0/object", "model");
            of.needs(answer, &["/data/0/id", "/data/0/created", "/data/0/owned_by"]);
        }
        "/files" if of.method == "POST" => {
            of.is(answer, "/object", "file");
            of.needs(answer, &["/id", "/bytes", "/created_at", "/filename", "/purpose", "/status"]);
        }
        "/files" => of.needs(answer, &["/data", "/has_more"]),
        "/api/chat" => {
            of.needs(answer, &["/model", "/created_at", "/message/content", "/done", "/eval_count"])
        }
        "/api/generate" => of.needs(answer, &["/model", "/created_at", "/response", "/done"]),
        "/api/tags" | "/api/ps" => {
            of.needs(answer, &["/models/0/model", "/models/0/name", "/models/0/digest"])
        }
        "/api/show" => of.needs(answer, &["/details", "/model_info", "/capabilities"]),
        "/api/embed" => of.needs(answer, &["/model", "/embeddings/0/0"]),
        "/api/embeddings" => of.needs(answer, &["/embedding/0"]),
        route => {
            let is_model = route.starts_with("/models/");
            of.is(answer, if is_model { "/object" } else { "/?" }, "model");
        }
    }
}

fn check_stream(of: &Recorded, text: &str) {
    let is_lines = of.route().starts_with("/api/");
    let events = if is_lines {
        text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
    } else {
        events(text)
    };
    let (first, last) = (events.first().expect("an event"), events.last().expect("an event"));
    let has_last_word = text.trim_end().ends_with("data: [DONE]");
    match of.route() {
        "/completions" | "/chat/completions" => {
            assert!(has_last_word, "{}", of.name);
            let object =
                if of.route() == "/completions" { "text_completion" } else { "chat.completion.chunk" };
            for event in &events {
                of.is(event, "/object", object);
                of.needs(event, &["/id", "/created", "/model", "/choices"]);
                assert_eq!(event["id"], first["id"], "{}", of.name);
            }
            let reasons = events.iter().filter(|event| !event["choices"][0]["finish_reason"].is_null());
            assert!(reasons.count() >= 1, "{}: no choice ends", of.name);
            if of.body["stream_options"]["include_usage"] == true {
                of.needs(last, &["/usage/total_tokens"]);
                assert_eq!(last["choices"], json!([]), "{}", of.name);
            }
            if of.route() == "/chat/completions" {
                of.is(first, "/choices/0/delta/role", "assistant");
                let pieces = |place: &str| -> String {
                    let texts = events.iter().filter_map(|event| event.pointer(place)?.as_str());
                    texts.collect()
                };
                if of.demands_a_call() {
                    of.is_object(&json!(pieces("/choices/0/delta/tool_calls/0/function/arguments")));
                } else if of.forms() {
                    of.is_object(&json!(pieces("/choices/0/delta/content")));
                }
            }
        }
        "/responses" => {
            of.is(first, "/type", "response.created");
            of.needs(last, &["/response/output", "/response/usage/total_tokens"]);
            for (number, event) in events.iter().enumerate() {
                assert_eq!(event["sequence_number"], number, "{}", of.name);
            }
        }
        "/messages" => {
            of.is(first, "/type", "message_start");
            of.needs(first, &["/message/usage/input_tokens", "/message/id"]);
            of.is(last, "/type", "message_stop");
        }
        _ => {
            assert_eq!(last["done"], true, "{}", of.name);
            of.needs(last, &["/done_reason", "/total_duration", "/eval_count"]);
        }
    }
}

#[test]
fn what_real_clients_send_is_answered_as_they_read_it() {
    let (model, work) = (model(), TemporaryDirectory::new("recorded-files"));
    let [model, work] = [&model, &work].map(|directory| directory.path().to_str().expect("UTF-8"));
    let args = ["--model", model, "--served-model-name", MODEL, "--pooling", "mean", "--batch-dir", work];
    let server = Running::start(&args);
    let all = recorded();
    assert!(all.len() > 50, "only {} requests are recorded", all.len());
    for of in &all {
        let (status, kind, text) = of.send(&server);
        assert_eq!(status, of.status, "{}: {text}", of.name);
        if status == 200 && of.is_streamed() && of.method == "POST" {
            let expected =
                if of.route().starts_with("/api/") { "application/x-ndjson" } else { "text/event-stream" };
            assert_eq!(kind, expected, "{}", of.name);
            check_stream(of, &text);
            continue;
        }
        assert_eq!(kind, "application/json", "{}", of.name);
        let answer: Value =
            serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}: {text}", of.name));
        if status == 200 {
            check_whole(of, &answer);
        } else {
            of.needs(
                &answer,
                if of.route().starts_with("/api/") {
                    &["/error"]
                } else {
                    &["/error/message", "/error/type"]
                },
            );
        }
    }
}
