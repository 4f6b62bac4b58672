//! The routes beside generation, over real sockets: what is served at which path, and what is
//! asked beside completions: models, tokens, embeddings, scores.
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use verbatim_tests::fixture::{Files, tiny_tensors};
use verbatim_tests::process::Running;

const LETTERS: &str = "The quick brown fox jumps over the lazy dog, and then over another one.";

fn serve_files(files: &Files, args: &[&str]) -> Running {
    let directory = files.directory("routes");
    let path = directory.path().to_str().expect("UTF-8").to_owned();
    Running::start(&[&["--served-model-name", "tiny", "--max-seqs", "4", "--model", &path], args].concat())
}

fn serve(args: &[&str]) -> Running {
    serve_files(&Files::tiny(), args)
}

/// The head of an answer, and its body.
fn raw(server: &Running, method: &str, path: &str) -> (String, String) {
    let mut stream = TcpStream::connect(&server.address).expect("connects");
    write!(stream, "{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
    (head.to_owned(), body.to_owned())
}

fn get(server: &Running, path: &str) -> (u16, Value) {
    let (status, text) = server.send("GET", path, "");
    (status, serde_json::from_str(&text).unwrap_or_else(|error| panic!("{path}: {error}: {text}")))
}

fn error(of: &(u16, Value)) -> (u16, &str) {
    (of.0, of.1["error"]["param"].as_str().unwrap_or_default())
}

#[test]
fn routes_are_found_with_and_without_a_version() {
    let server = serve(&[]);
    let ask = json!({"prompt": "Hello", "max_tokens": 5, "seed": 7});
    let text = |path: &str| {
        let (status, answer) = server.post(path, &ask);
        assert_eq!(status, 200, "{path}: {answer}");
        answer["choices"][0]["text"].clone()
    };
    assert_eq!(text("/v1/completions"), text("/completions"));
    assert_eq!(get(&server, "/v1/models").1, get(&server, "/models").1);
    for path in ["/health", "/v1/health", "/ping", "/load", "/version", "/v1/models/tiny", "/models/tiny"] {
        let (head, body) = raw(&server, "GET", path);
        assert!(head.starts_with("HTTP/1.1 200 "), "{path}: {head}");
        let (only_head, nothing) = raw(&server, "HEAD", path);
        assert!(only_head.starts_with("HTTP/1.1 200 "), "{path}: {only_head}");
        assert_eq!((nothing.as_str(), body.is_empty()), ("", path == "/ping"), "{path}");
    }
    for (method, path, status, allow) in [
        ("GET", "/v1/embeddings", 405, Some("POST")),
        ("GET", "/tokenize", 405, Some("POST")),
        ("DELETE", "/v1/models/tiny", 405, Some("GET, HEAD")),
        ("PUT", "/ping", 405, Some("GET, HEAD, POST")),
        ("GET", "/v1/metrics", 404, None),
        ("GET", "/v1/v1/models", 404, None),
        ("GET", "/v1/models/", 404, None),
        ("GET", "/v1", 404, None),
    ] {
        let (head, body) = raw(&server, method, path);
        assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{method} {path}: {head}");
        let found = head.lines().find_map(|line| line.strip_prefix("Allow: "));
        assert_eq!(found, allow, "{method} {path}");
        assert!(body.starts_with("{\"error\":"), "{method} {path}: {body}");
    }
}

#[test]
fn a_model_is_served_under_all_its_names() {
    let server = serve(&["--alias", "gpt-4o-mini,org/name", "--alias", "tiny"]);
    let (status, list) = get(&server, "/v1/models");
    let ids: Vec<&str> =
        list["data"].as_array().expect("a list").iter().filter_map(|m| m["id"].as_str()).collect();
    assert_eq!((status, ids), (200, vec!["tiny", "gpt-4o-mini", "org/name"]));
    for (path, id) in [
        ("/v1/models/tiny", "tiny"),
        ("/v1/models/gpt-4o-mini", "gpt-4o-mini"),
        ("/v1/models/org/name", "org/name"),
        ("/models/org%2Fname", "org/name"),
    ] {
        let (status, model) = get(&server, path);
        assert_eq!(
            (status, model["id"].as_str(), model["root"].as_str()),
            (200, Some(id), Some("tiny")),
            "{path}"
        );
        assert_eq!((&model["max_model_len"], &model["meta"]["n_embd"]), (&json!(512), &json!(64)));
    }
    let (status, unknown) = get(&server, "/v1/models/other");
    assert_eq!((status, unknown["error"]["code"].as_str()), (404, Some("model_not_found")));
    // As in vLLM, an answer carries the model's own name.
    for name in ["tiny", "gpt-4o-mini", "org/name"] {
        let (status, answer) =
            server.post("/v1/completions", &json!({"model": name, "prompt": "a", "max_tokens": 1}));
        assert_eq!((status, answer["model"].as_str()), (200, Some("tiny")), "{answer}");
    }
    assert_eq!(server.post("/v1/completions", &json!({"model": "gpt-4o", "prompt": "a"})).0, 404);
}

#[test]
fn the_program_says_what_it_is_and_how_busy() {
    let server = serve(&[]);
    let (status, version) = get(&server, "/version");
    assert_eq!(
        (status, version["name"].as_str(), version["license"].as_str()),
        (200, Some("verbatim"), Some("AGPL-3.0-or-later"))
    );
    assert_eq!(version["version"].as_str(), Some(env!("CARGO_PKG_VERSION")));
    assert_eq!(get(&server, "/load"), (200, json!({"server_load": 0})));
}

#[test]
fn texts_become_ids_and_ids_texts() {
    let server = serve(&[]);
    let ids = json!("Hi</s>".bytes().take(2).map(u32::from).chain([257]).collect::<Vec<u32>>());
    // The tiny model has a token for each byte, and two special ones.
    let (status, answer) = server.post("/tokenize", &json!({"model": "tiny", "prompt": "Hi</s>"}));
    let expected = json!({"count": 3, "max_model_len": 512, "tokens": ids, "token_strs": null});
    assert_eq!((status, answer), (200, expected));
    let with_texts = json!({"prompt": "H é", "add_special_tokens": false, "return_token_strs": true});
    let (_, answer) = server.post("/tokenize", &with_texts);
    assert_eq!(answer["token_strs"], json!(["H", "\u{120}", "\u{c3}", "\u{a9}"]));
    let conversation = json!([{"role": "user", "content": "hi </s>"}]);
    let (_, answer) = server.post("/tokenize", &json!({"messages": conversation}));
    let rendered = "user: hi </s>\nassistant:";
    assert_eq!((&answer["tokens"][0], &answer["count"]), (&json!(256), &json!(rendered.len() + 1)));

    // As llama-server has it.
    let (_, answer) = server.post("/tokenize", &json!({"content": "Hi</s>"}));
    assert_eq!(answer, json!({"tokens": ids}));
    let plain = json!({"content": "é</s>", "parse_special": false, "with_pieces": true});
    let (_, answer) = server.post("/tokenize", &plain);
    let pieces: Vec<&Value> =
        answer["tokens"].as_array().expect("a list").iter().map(|t| &t["piece"]).collect();
    assert_eq!(json!(pieces), json!([[0xc3], [0xa9], "<", "/", "s", ">"]));
    assert_eq!(
        server.post("/apply-template", &json!({"messages": conversation})).1["prompt"],
        format!("<s>{rendered}")
    );

    let (status, answer) = server.post("/detokenize", &json!({"tokens": ids}));
    assert_eq!((status, answer), (200, json!({"prompt": "Hi</s>", "content": "Hi</s>"})));
    for (path, body, param) in [
        ("/tokenize", json!({}), "prompt"),
        ("/tokenize", json!({"prompt": 5}), "prompt"),
        ("/tokenize", json!({"prompt": "a", "add_special_tokens": 1}), "add_special_tokens"),
        ("/tokenize", json!({"prompt": "a".repeat(8000)}), "prompt"),
        ("/tokenize", json!({"messages": "hi"}), "messages"),
        ("/detokenize", json!({}), "tokens"),
        ("/detokenize", json!({"tokens": "ab"}), "tokens"),
        ("/detokenize", json!({"tokens": [258]}), "tokens"),
        ("/detokenize", json!({"tokens": [-1]}), "tokens"),
        ("/detokenize", json!({"tokens": vec![1; 600]}), "tokens"),
        ("/apply-template", json!({}), "messages"),
    ] {
        let answer = server.post(path, &body);
        assert_eq!(error(&answer), (400, param), "{path}: {}", answer.1);
    }
    assert_eq!(server.post("/tokenize", &json!({"model": "x", "prompt": "a"})).0, 404);
    let (_, answer) = server.post("/tokenize", &json!({"prompt": "a", "colour": 1}));
    assert_eq!(answer["verbatim"]["ignored"], json!(["colour"]));
}

/// The tiny model, saved as one that embeds.
fn embedding_files(pooling: &str, normalizes: bool) -> Files {
    let mut files = Files::tiny();
    files.put_embedding(pooling, normalizes);
    files
}

fn vectors(server: &Running, body: &Value) -> Vec<Vec<f64>> {
    let (status, answer) = server.post("/v1/embeddings", body);
    assert_eq!(status, 200, "{answer}");
    let data = answer["data"].as_array().expect("a list");
    let vector = |(i, entry): (usize, &Value)| {
        assert_eq!((&entry["object"], &entry["index"]), (&json!("embedding"), &json!(i)));
        entry["embedding"].as_array().expect("a list").iter().filter_map(Value::as_f64).collect()
    };
    data.iter().enumerate().map(vector).collect()
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

fn ids(text: &str) -> Vec<u32> {
    text.bytes().map(u32::from).collect()
}

#[test]
fn embeddings_have_openais_shape() {
    let server = serve_files(&embedding_files("lasttoken", true), &["--alias", "text-embedding-3-small"]);
    let (status, answer) =
        server.post("/v1/embeddings", &json!({"model": "text-embedding-3-small", "input": "Hello"}));
    assert_eq!(status, 200, "{answer}");
    assert_eq!((&answer["object"], &answer["model"]), (&json!("list"), &json!("tiny")));
    assert_eq!((&answer["usage"]["prompt_tokens"], &answer["usage"]["total_tokens"]), (&json!(5), &json!(5)));
    let one = vectors(&server, &json!({"input": "Hello"}));
    assert_eq!((one.len(), one[0].len()), (1, 64));
    assert!((dot(&one[0], &one[0]) - 1.0).abs() < 1e-5, "of length 1");
    // However it is said, it is the same.
    assert_eq!(vectors(&server, &json!({"input": ids("Hello")})), one);
    let many =
        json!({"input": ["Hello", ids("Hello"), "Hell"], "encoding_format": "float", "dimensions": 64});
    let many = vectors(&server, &many);
    assert_eq!((&many[0], &many[1]), (&one[0], &one[0]));
    assert_ne!(many[2], one[0]);
    let (_, coded) = server.post("/embeddings", &json!({"input": "Hello", "encoding_format": "base64"}));
    let floats: Vec<f32> = one[0].iter().map(|x| *x as f32).collect();
    assert_eq!(coded["data"][0]["embedding"].as_str().map(decoded), Some(floats));
    // Truncation keeps the end.
    assert_eq!(vectors(&server, &json!({"input": "xxHello", "truncate_prompt_tokens": 5})), one);
    let long = LETTERS.repeat(9);
    assert!(long.len() > 512);
    let end = &long[long.len() - 512..];
    let cut = vectors(&server, &json!({"input": long, "truncate_prompt_tokens": -1}));
    assert_eq!(cut, vectors(&server, &json!({"input": end})), "a prompt may fill the context");
    // A conversation is the prompt that its template makes.
    let conversation = json!({"messages": [{"role": "user", "content": "hi"}]});
    let mut rendered = vec![256];
    rendered.extend(ids("user: hi\nassistant:"));
    assert_eq!(vectors(&server, &conversation), vectors(&server, &json!({"input": rendered})));

    for (body, param) in [
        (json!({}), "input"),
        (json!({"input": ""}), "input"),
        (json!({"input": []}), "input"),
        (json!({"input": ["a", ""]}), "input"),
        (json!({"input": ["a", 5]}), "input"),
        (json!({"input": [5, "a"]}), "input"),
        (json!({"input": [-5]}), "input"),
        (json!({"input": [258]}), "input"),
        (json!({"input": {"text": "a"}}), "input"),
        (json!({"input": vec!["a"; 2049]}), "input"),
        (json!({"input": &long}), "input"),
        (json!({"input": "a".repeat(100_000)}), "input"),
        (json!({"input": vec![5; 513]}), "input"),
        (json!({"input": "a", "encoding_format": "int8"}), "encoding_format"),
        (json!({"input": "a", "dimensions": 32}), "dimensions"),
        (json!({"input": "a", "dimensions": 65}), "dimensions"),
        (json!({"input": "a", "truncate_prompt_tokens": 0}), "truncate_prompt_tokens"),
        (json!({"input": "a", "truncate_prompt_tokens": 513}), "truncate_prompt_tokens"),
    ] {
        let answer = server.post("/v1/embeddings", &body);
        assert_eq!(error(&answer), (400, param), "{}", answer.1);
    }
    let (_, answer) = server.post("/v1/embeddings", &json!({"input": &long}));
    assert_eq!(answer["error"]["code"], "context_length_exceeded");
    assert_eq!(server.post("/v1/embeddings", &json!({"model": "x", "input": "a"})).0, 404);
    let (_, answer) = server.post("/v1/embeddings", &json!({"input": "a", "colour": 1, "user": "me"}));
    assert_eq!(answer["verbatim"]["ignored"], json!(["colour", "user"]));
}

/// Floats as bytes in base64, read by hand.
fn decoded(text: &str) -> Vec<f32> {
    let digit = |c: u8| match c {
        b'A'..=b'Z' => c - b'A',
        b'a'..=b'z' => c - b'a' + 26,
        b'0'..=b'9' => c - b'0' + 52,
        b'+' => 62,
        _ => 63,
    };
    let digits: Vec<u32> = text.bytes().filter(|c| *c != b'=').map(|c| u32::from(digit(c))).collect();
    let mut bytes = Vec::new();
    for four in digits.chunks(4) {
        let bits = four.iter().enumerate().fold(0, |bits, (i, digit)| bits | digit << (18 - 6 * i));
        bytes.extend_from_slice(&bits.to_be_bytes()[1..four.len()]);
    }
    bytes.chunks_exact(4).map(|four| f32::from_le_bytes(four.try_into().expect("four"))).collect()
}

#[test]
fn a_model_may_be_trained_to_be_cut() {
    let mut files = embedding_files("mean", true);
    files.edit("config.json", |config| config["is_matryoshka"] = json!(true));
    let server = serve_files(&files, &[]);
    let whole = &vectors(&server, &json!({"input": "Hello"}))[0];
    let cut = &vectors(&server, &json!({"input": "Hello", "dimensions": 16}))[0];
    assert_eq!(cut.len(), 16);
    let length = dot(&whole[..16], &whole[..16]).sqrt();
    for (cut, whole) in cut.iter().zip(whole) {
        assert!((cut - whole / length).abs() < 1e-6, "cut, then scaled to length 1");
    }
    files.edit("config.json", |config| config["matryoshka_dimensions"] = json!([16, 32]));
    let server = serve_files(&files, &[]);
    for (dimensions, status) in [(16, 200), (32, 200), (64, 200), (24, 400)] {
        let body = json!({"input": "Hello", "dimensions": dimensions});
        assert_eq!(server.post("/v1/embeddings", &body).0, status, "{dimensions}");
    }
}

/// The last hidden state is what the head multiplies, so the logprobs of the next token tell
/// whether it is right; and as no token sees a later one, the mean over a prompt is that of the
/// last states of all its beginnings.
#[test]
fn embeddings_are_the_models_hidden_states() {
    let f32s = ["--weights", "f32", "--kv", "f32"];
    let last = serve_files(&embedding_files("lasttoken", false), &f32s);
    let state = &vectors(&last, &json!({"input": LETTERS}))[0];
    let head =
        tiny_tensors("F32").into_iter().find(|tensor| tensor.name == "lm_head.weight").expect("a head");
    let logit = |id: usize| {
        let row = head.bytes[id * 64 * 4..][..64 * 4].chunks_exact(4);
        let row: Vec<f64> = row.map(|x| f64::from(f32::from_le_bytes(x.try_into().expect("four")))).collect();
        dot(&row, state)
    };
    let sum: f64 = (0..258).map(|id| logit(id).exp()).sum();
    let ask =
        json!({"prompt": LETTERS, "max_tokens": 1, "temperature": 0, "logprobs": 20, "ignore_eos": true});
    let (_, answer) = last.post("/v1/completions", &ask);
    let top = answer["choices"][0]["logprobs"]["top_logprobs"][0].as_object().expect("an object");
    let mut compared = 0;
    for (text, logprob) in top {
        let [byte] = text.as_bytes() else { continue };
        let expected = logit(usize::from(*byte)) - sum.ln();
        let found = logprob.as_f64().expect("a number");
        assert!((found - expected).abs() < 1e-4, "{text:?}: {found}, expected {expected}");
        compared += 1;
    }
    assert!(compared > 3, "{top:?}");

    let beginnings: Vec<Vec<u32>> = (1..=LETTERS.len()).map(|end| ids(&LETTERS[..end])).collect();
    let states = vectors(&last, &json!({"input": beginnings}));
    let mean = serve_files(&embedding_files("mean", false), &f32s);
    let first = serve_files(&embedding_files("cls", false), &f32s);
    let found = &vectors(&mean, &json!({"input": LETTERS}))[0];
    for (i, found) in found.iter().enumerate() {
        let expected = states.iter().map(|state| state[i]).sum::<f64>() / states.len() as f64;
        assert!((found - expected).abs() < 1e-6, "{i}: {found}, expected {expected}");
    }
    assert_eq!(vectors(&first, &json!({"input": LETTERS}))[0], states[0]);
}

#[test]
fn embeddings_have_the_same_bits_whatever_else_is_served() {
    for pooling in ["mean", "lasttoken"] {
        let files = embedding_files(pooling, true);
        let alone = serve_files(&files, &["--threads", "1"]);
        let texts: Vec<String> = (0..24).map(|i| LETTERS[i % 7..].repeat(1 + i % 5)).collect();
        // One by one, and twice, when the beginnings of all lie in the cache.
        let one = |server: &Running, text: &String| vectors(server, &json!({"input": text})).remove(0);
        let expected: Vec<Vec<f64>> = texts.iter().map(|text| one(&alone, text)).collect();
        let again: Vec<Vec<f64>> = texts.iter().map(|text| one(&alone, text)).collect();
        assert_eq!(expected, again, "{pooling}: the cache");
        // Many at once, in small steps, beside streams.
        let crowded = serve_files(&files, &["--threads", "2", "--max-rows", "7", "--max-queue", "2"]);
        std::thread::scope(|scope| {
            for i in 0..3 {
                let crowded = &crowded;
                let body = json!({"prompt": LETTERS, "max_tokens": 60, "seed": i, "ignore_eos": true});
                scope.spawn(move || crowded.post("/v1/completions", &body));
            }
            assert_eq!(vectors(&crowded, &json!({"input": texts})), expected, "{pooling}: the crowd");
        });
    }
}

#[test]
fn a_model_that_was_not_made_for_it_embeds_when_told_how() {
    let server = serve(&[]);
    for (path, body) in [
        ("/v1/embeddings", json!({"input": "a"})),
        ("/v1/rerank", json!({"query": "a", "documents": ["b"]})),
        ("/v1/score", json!({"text_1": "a", "text_2": "b"})),
    ] {
        let answer = server.post(path, &body);
        assert_eq!(error(&answer), (400, "model"), "{path}");
        let message = answer.1["error"]["message"].as_str().expect("a message");
        assert!(message.contains("makes no embeddings") && message.contains("option pooling"), "{message}");
    }
    let told = serve(&["--pooling", "last"]);
    let by_files = serve_files(&embedding_files("lasttoken", true), &[]);
    let body = json!({"input": [LETTERS, "a"]});
    assert_eq!(vectors(&told, &body), vectors(&by_files, &body));
    let fingerprint = |server: &Running| get(server, "/v1/models").1["data"][0]["system_fingerprint"].clone();
    assert_ne!(fingerprint(&told), fingerprint(&server), "how it embeds is part of what it is");
    assert_ne!(fingerprint(&by_files), fingerprint(&server));
}

#[test]
fn a_checkpoint_without_a_head_embeds() {
    let mut files = embedding_files("mean", true);
    let expected = vectors(&serve_files(&files, &[]), &json!({"input": LETTERS}));
    let mut tensors = tiny_tensors("F32");
    tensors.retain(|tensor| tensor.name != "lm_head.weight");
    for tensor in &mut tensors {
        tensor.name = tensor.name.trim_start_matches("model.").to_owned();
    }
    files.put_tensors("model.safetensors", &tensors);
    assert_eq!(vectors(&serve_files(&files, &[]), &json!({"input": LETTERS})), expected);
}

#[test]
fn an_image_embeds_as_its_checkpoint() {
    let directory = embedding_files("cls", true).directory("routes-image");
    let path = |name: &str| directory.path().join(name).to_str().expect("UTF-8").to_owned();
    let image = path("tiny.vb");
    let packed = verbatim_tests::process::output(&["pack", &path(""), "-o", &image]);
    assert!(packed.status.success(), "{}", String::from_utf8_lossy(&packed.stderr));
    assert!(Path::new(&image).exists());
    let serve = |model: &str| Running::start(&["--model", model]);
    let body = json!({"input": LETTERS});
    assert_eq!(vectors(&serve(&image), &body), vectors(&serve(&path("")), &body));
}

#[test]
fn documents_are_ranked_and_pairs_scored() {
    let server = serve_files(&embedding_files("mean", true), &[]);
    let documents = ["zzzz 1234", LETTERS, "The quick brown fox", LETTERS];
    let of = |text: &str| vectors(&server, &json!({"input": text})).remove(0);
    let query = of("The quick brown cat");
    let expected: Vec<f64> = documents.iter().map(|text| dot(&query, &of(text))).collect();
    let body = json!({"query": "The quick brown cat", "documents": documents});
    let (status, answer) = server.post("/v1/rerank", &body);
    assert_eq!(status, 200, "{answer}");
    let results = answer["results"].as_array().expect("a list");
    let index = |result: &Value| result["index"].as_u64().expect("an index") as usize;
    for result in results {
        let score = result["relevance_score"].as_f64().expect("a score");
        assert!((score - expected[index(result)]).abs() < 1e-5, "{result}");
        assert_eq!(result["document"]["text"], documents[index(result)]);
    }
    let order: Vec<usize> = results.iter().map(index).collect();
    let mut sorted: Vec<usize> = (0..4).collect();
    sorted.sort_by(|a, b| expected[*b].total_cmp(&expected[*a]).then(a.cmp(b)));
    assert_eq!(order, sorted);
    assert!(answer["usage"]["total_tokens"].as_u64().is_some_and(|tokens| tokens > 100));
    let few = json!({"query": "The quick brown cat", "documents": [{"text": documents[0]}, documents[1]], "top_n": 1, "return_documents": false});
    for path in ["/rerank", "/v2/rerank"] {
        let (_, answer) = server.post(path, &few);
        assert_eq!(answer["results"].as_array().map(Vec::len), Some(1), "{answer}");
        assert!(answer["results"][0].get("document").is_none());
    }

    let (status, answer) =
        server.post("/score", &json!({"text_1": "The quick brown cat", "text_2": documents}));
    assert_eq!((status, answer["data"].as_array().map(Vec::len)), (200, Some(4)), "{answer}");
    for (i, (entry, expected)) in answer["data"].as_array().expect("a list").iter().zip(&expected).enumerate()
    {
        assert_eq!((&entry["index"], &entry["object"]), (&json!(i), &json!("score")));
        assert!((entry["score"].as_f64().expect("a score") - expected).abs() < 1e-5);
    }
    let (_, answer) = server.post("/v1/score", &json!({"text_1": documents, "text_2": documents}));
    assert!(answer["data"][3]["score"].as_f64().is_some_and(|score| (score - 1.0).abs() < 1e-6), "{answer}");
    for (path, body, param) in [
        ("/v1/rerank", json!({"documents": ["a"]}), "query"),
        ("/v1/rerank", json!({"query": "a"}), "documents"),
        ("/v1/rerank", json!({"query": "a", "documents": []}), "documents"),
        ("/v1/rerank", json!({"query": "a", "documents": [5]}), "documents"),
        ("/v1/rerank", json!({"query": "a", "documents": ["b"], "top_n": -1}), "top_n"),
        ("/v1/score", json!({"text_2": "a"}), "text_1"),
        ("/v1/score", json!({"text_1": ["a", "b"], "text_2": ["a", "b", "c"]}), "text_1"),
    ] {
        assert_eq!(error(&server.post(path, &body)), (400, param), "{path}: {body}");
    }
}
