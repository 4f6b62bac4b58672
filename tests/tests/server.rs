//! The server end to end: a random model with a small tokenizer, over real sockets.
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use verbatim::load::random::{Recipe, TemporaryDirectory};

/// A tokenizer of single bytes: 256 letters, `<s>` and `</s>`.
fn tokenizer_json() -> Value {
    let printable = |code: u32| matches!(code, 0x21..=0x7e | 0xa1..=0xac | 0xae..=0xff);
    let mut vocab = serde_json::Map::new();
    let mut others = 0x100_u32;
    for byte in 0..256_u32 {
        let code = if printable(byte) {
            byte
        } else {
            others += 1;
            others - 1
        };
        vocab.insert(char::from_u32(code).expect("a letter").to_string(), json!(byte));
    }
    let special = |id: u32, content: &str| {
        json!({"id": id, "content": content, "single_word": false, "lstrip": false, "rstrip": false,
               "normalized": false, "special": true})
    };
    json!({
        "version": "1.0", "truncation": null, "padding": null, "normalizer": null, "post_processor": null,
        "added_tokens": [special(256, "<s>"), special(257, "</s>")],
        "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true},
        "decoder": {"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true},
        "model": {"type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
                  "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false, "vocab": vocab, "merges": []},
    })
}

struct Running {
    child: Child,
    address: String,
    _directory: TemporaryDirectory,
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The binary under test: cargo builds it for this package's dependency only as a library, so it is built once here.
fn binary() -> &'static std::path::Path {
    static PATH: OnceLock<std::path::PathBuf> = OnceLock::new();
    PATH.get_or_init(|| {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let mut build = Command::new(cargo);
        build.args(["build", "--quiet", "-p", "verbatim", "--message-format", "json"]).current_dir(root);
        let output = build.stderr(Stdio::inherit()).output().expect("cargo runs");
        assert!(output.status.success(), "the server builds");
        let text = String::from_utf8_lossy(&output.stdout);
        let of_binary = |line: &str| {
            let message: Value = serde_json::from_str(line).ok()?;
            Some(message["executable"].as_str()?.into())
        };
        text.lines().find_map(of_binary).expect("cargo names the executable")
    })
}

fn serve() -> Running {
    let directory = TemporaryDirectory::new("server");
    let config = json!({
        "model_type": "llama", "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2,
        "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 258, "max_position_embeddings": 512,
        "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "hidden_act": "silu", "tie_word_embeddings": false,
        "torch_dtype": "float32", "bos_token_id": 256, "eos_token_id": 257,
    });
    Recipe::uniform(config, 5, "F32", 0.25, 0.25).write(directory.path(), 1).expect("the model is written");
    let put = |name: &str, value: Value| {
        std::fs::write(directory.path().join(name), value.to_string()).expect("written");
    };
    put("tokenizer.json", tokenizer_json());
    put(
        "tokenizer_config.json",
        json!({
            "bos_token": "<s>", "eos_token": "</s>",
            "chat_template": "{{ bos_token }}{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}{% if add_generation_prompt %}assistant:{% endif %}",
        }),
    );
    let mut child = Command::new(binary())
        .args(["serve", "--port", "0", "--served-model-name", "tiny", "--max-seqs", "4", "--model"])
        .arg(directory.path())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the server starts");
    let mut lines = BufReader::new(child.stderr.take().expect("piped")).lines();
    let address = lines
        .by_ref()
        .map_while(Result::ok)
        .find_map(|line| Some(line.split_once("http://")?.1.split(';').next()?.to_owned()))
        .expect("the server says where it listens");
    std::thread::spawn(move || lines.count());
    Running { child, address, _directory: directory }
}

/// Sends a request on a connection of its own; (status, body).
fn send(server: &Running, method: &str, path: &str, body: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(&server.address).expect("connects");
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
    (status, body.to_owned())
}

fn post(server: &Running, path: &str, body: Value) -> (u16, Value) {
    let (status, text) = send(server, "POST", path, &body.to_string());
    (status, serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}")))
}

/// The events of a stream, chunk framing taken off.
fn stream(server: &Running, path: &str, body: Value) -> Vec<Value> {
    let (status, text) = send(server, "POST", path, &body.to_string());
    assert_eq!(status, 200, "{text}");
    let data: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("data: ")).collect();
    assert_eq!(data.last(), Some(&"[DONE]"));
    data[..data.len() - 1].iter().map(|event| serde_json::from_str(event).expect("JSON")).collect()
}

#[test]
fn the_api_answers_as_clients_expect() {
    let server = serve();
    let ask = json!({"model": "tiny", "prompt": "Hello", "max_tokens": 12, "seed": 7, "logprobs": 2});
    let (status, whole) = post(&server, "/v1/completions", ask.clone());
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
                post(
                    server,
                    "/v1/completions",
                    json!({"prompt": "other".repeat(i + 1), "max_tokens": 30, "seed": i}),
                )
            });
        }
        let events = stream(&server, "/v1/completions", streamed_ask.clone());
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
    let (_, same) = post(&server, "/v1/completions", by_ids);
    assert_eq!(same["choices"][0]["text"], json!(text));
    assert_eq!(same["choices"][0]["logprobs"]["token_logprobs"], logprobs["token_logprobs"]);

    let chat = json!({
        "messages": [{"role": "developer", "content": "be brief"}, {"role": "user", "content": [{"type": "text", "text": "hi </s>"}]}],
        "max_completion_tokens": 8.0, "temperature": 0, "logprobs": true, "top_logprobs": 1,
    });
    let (status, answer) = post(&server, "/v1/chat/completions", chat.clone());
    assert_eq!(status, 200, "{answer}");
    assert_eq!(answer["object"], "chat.completion");
    assert_eq!(answer["choices"][0]["message"]["role"], "assistant");
    // BOS is one token; the </s> that the user wrote is four letters, not the end.
    let rendered = "system: be brief\nuser: hi </s>\nassistant:";
    assert_eq!(answer["usage"]["prompt_tokens"], json!(rendered.len() + 1));
    let mut streamed = chat;
    streamed["stream"] = json!(true);
    let events = stream(&server, "/v1/chat/completions", streamed);
    assert_eq!(events[0]["choices"][0]["delta"], json!({"role": "assistant", "content": ""}));
    let pieces: String =
        events.iter().filter_map(|event| event["choices"][0]["delta"]["content"].as_str()).collect();
    assert_eq!(json!(pieces), answer["choices"][0]["message"]["content"]);
    assert!(events.iter().all(|event| event.get("usage").is_none()));

    // A stop string ends the text before itself.
    let stop: String = text.chars().skip(2).take(2).collect();
    let mut stopped = ask;
    stopped["stop"] = json!([stop]);
    let (_, stopped) = post(&server, "/v1/completions", stopped);
    assert_eq!(stopped["choices"][0]["finish_reason"], "stop");
    assert_eq!(stopped["choices"][0]["text"].as_str(), text.split(&stop).next());

    let (status, models) = send(&server, "GET", "/v1/models", "");
    assert!(status == 200 && models.contains("\"tiny\""));
    assert_eq!(send(&server, "GET", "/health", "").0, 200);
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
        let (found, body) = post(&server, "/v1/completions", base(extra.clone()));
        assert_eq!((found, body["error"]["param"].as_str()), (status, Some(param)), "{extra}: {body}");
        assert!(body["error"]["message"].as_str().is_some_and(|message| !message.contains('\n')), "{body}");
    }
    for (messages, what) in [
        (json!([]), "empty"),
        (json!([{"role": "wizard", "content": "x"}]), "role"),
        (json!([{"role": "user", "content": [{"type": "image_url"}]}]), "image"),
        (json!("hi"), "a string"),
    ] {
        let (status, body) = post(&server, "/v1/chat/completions", json!({"messages": messages}));
        assert_eq!((status, body["error"]["param"].as_str()), (400, Some("messages")), "{what}: {body}");
    }
    let (status, body) = post(&server, "/v1/completions", base(json!({"prompt": "x".repeat(600)})));
    assert_eq!((status, &body["error"]["code"]), (400, &json!("context_length_exceeded")));
    assert_eq!(send(&server, "GET", "/nothing", "").0, 404);
    assert_eq!(send(&server, "GET", "/v1/completions", "").0, 405);
    assert_eq!(send(&server, "POST", "/v1/completions", "{").0, 400);
    assert_eq!(send(&server, "POST", "/v1/completions", "[]").0, 400);
    // Unknown and harmless parameters are accepted.
    let (status, _) = post(&server, "/v1/completions", base(json!({"user": "u", "n": 1, "nonsense": 1})));
    assert_eq!(status, 200);
}
