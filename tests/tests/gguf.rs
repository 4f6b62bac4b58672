//! GGUF files as they are used: the answers are those of the checkpoint that a file was made of.
use serde_json::{Value, json};
use std::path::Path;
use verbatim::load::{Folder, LoadedModel, NoProgress, WeightChoice, builtin, load_model};
use verbatim::text::{ChatTemplate, Tokenizer};
use verbatim_core::dtype::WeightFormat;
use verbatim_core::pool::Serial;
use verbatim_tests::checkpoint::TensorData;
use verbatim_tests::fixture::{Files, tiny_tensors};
use verbatim_tests::gguf::{GgufFile, of_checkpoint};
use verbatim_tests::process::{Running, command, output};
use verbatim_tests::temporary::TemporaryDirectory;

fn read(files: &Files, name: &str) -> Value {
    serde_json::from_slice(&files.0[name]).expect("JSON")
}

/// The tiny model in one file.
fn tiny() -> GgufFile {
    let files = Files::tiny();
    let mut file = of_checkpoint(&read(&files, "config.json"), &tiny_tensors("F32"));
    file.put_tokenizer(&read(&files, "tokenizer.json"), &read(&files, "tokenizer_config.json"), "gpt-2");
    file
}

fn text(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

/// Runs the program, which succeeds, and gives its standard output.
fn said(args: &[&str]) -> String {
    let output = output(args);
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("UTF-8")
}

fn field<'s>(text: &'s str, name: &str) -> &'s str {
    text.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_else(|| panic!("{name} in {text}")).trim()
}

#[test]
fn a_file_answers_as_the_checkpoint_that_it_was_made_of() {
    let checkpoint = Files::tiny().directory("gguf-checkpoint");
    let directory = TemporaryDirectory::new("gguf-file");
    let (path, image) = (directory.path().join("tiny-F32.gguf"), directory.path().join("tiny.vb"));
    std::fs::write(&path, tiny().bytes()).expect("written");
    let packed = said(&["pack", text(&path), "-o", text(&image), "--threads", "1"]);

    let inspected = said(&["inspect", "--threads", "1", "--model", text(&path)]);
    assert!(field(&inspected, "model").starts_with("tiny-F32 ("), "{inspected}");
    assert!(field(&inspected, "source").starts_with("f32     as f32"), "{inspected}");
    assert!(packed.contains(field(&inspected, "fingerprint")), "{packed}");
    assert_eq!(field(&inspected, "chat"), "has a template");

    let models = [text(checkpoint.path()), text(&path), text(directory.path()), text(&image)];
    let answers = models.map(|model| {
        let server = Running::start(&["--threads", "1", "--served-model-name", "tiny", "--model", model]);
        let raw = json!({"prompt": "Once", "max_tokens": 12, "temperature": 0.8, "top_p": 1, "top_k": 0, "seed": 5,
                         "logprobs": 2});
        let messages = json!([{"role": "user", "content": "Hello </s> there"}]);
        let chat = json!({"messages": messages, "max_tokens": 12, "temperature": 0, "logprobs": true});
        [server.post("/v1/completions", &raw), server.post("/v1/chat/completions", &chat)]
    });
    for answer in &answers {
        for ((status, found), (_, expected)) in answer.iter().zip(&answers[0]) {
            assert_eq!(*status, 200, "{found}");
            assert_eq!(found["choices"], expected["choices"]);
            assert_eq!(found["usage"], expected["usage"]);
        }
    }
    let fingerprint = |answer: &[(u16, Value); 2]| answer[0].1["system_fingerprint"].clone();
    assert_eq!(fingerprint(&answers[1]), fingerprint(&answers[3]), "a file and its image are one model");
}

#[test]
fn a_file_in_the_cache_is_found_by_its_mix() {
    let hub = TemporaryDirectory::new("gguf-hub");
    let repository = hub.path().join("models--org--tiny-GGUF");
    let snapshot = repository.join("snapshots/abc");
    std::fs::create_dir_all(&snapshot).expect("made");
    std::fs::create_dir_all(repository.join("refs")).expect("made");
    std::fs::write(repository.join("refs/main"), "abc").expect("written");
    std::fs::write(snapshot.join("tiny-F32.gguf"), tiny().bytes()).expect("written");
    std::fs::write(snapshot.join("tiny-Q8_0.gguf"), "other").expect("written");
    let inspect = |model: &str| {
        let mut command = command();
        command.env("HF_HUB_CACHE", hub.path()).args(["inspect", "--threads", "1", "--model", model]);
        command.output().expect("it runs")
    };
    let found = inspect("org/tiny-GGUF:f32");
    let said = String::from_utf8_lossy(&found.stdout).into_owned();
    assert!(found.status.success() && field(&said, "model").starts_with("org/tiny-GGUF:f32 ("), "{said}");
    for (name, told) in [
        ("org/tiny-GGUF:Q4_K_M", "has no GGUF model of the mix Q4_K_M, but tiny-F32.gguf, tiny-Q8_0.gguf"),
        ("org/tiny-GGUF", "holds 2 GGUF models: give the path of one of tiny-F32.gguf, tiny-Q8_0.gguf"),
    ] {
        let refused = inspect(name);
        let said = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(!refused.status.success() && said.contains(told), "{said}");
    }
}

fn loaded(folder: &Folder, format: WeightFormat) -> LoadedModel {
    load_model(folder, WeightChoice::all(format), &Serial, &NoProgress).expect("it loads")
}

/// The built-in model: its weights, its template, and the ids of its texts.
#[test]
fn the_built_in_model_is_the_same_in_a_gguf_file() {
    let Folder::Memory { files, .. } = builtin::folder() else { panic!("it lies in memory") };
    let json = |name: &str| serde_json::from_slice::<Value>(&files[name]).expect("JSON");
    let weights = safetensors::SafeTensors::deserialize(&files["model.safetensors"]).expect("tensors");
    let tensor = |(name, view): (&str, safetensors::tensor::TensorView)| TensorData {
        name: name.to_owned(),
        dtype: "BF16",
        shape: view.shape().to_vec(),
        bytes: view.data().to_vec(),
    };
    let tensors: Vec<_> = weights.iter().map(tensor).collect();
    let mut file = of_checkpoint(&json("config.json"), &tensors);
    file.put_tokenizer(&json("tokenizer.json"), &Value::Null, "smollm");
    let template = String::from_utf8(files["chat_template.jinja"].to_vec()).expect("UTF-8");
    file.set("tokenizer.chat_template", verbatim_tests::gguf::GgufValue::Text(template.clone()));
    file.set("tokenizer.ggml.add_bos_token", verbatim_tests::gguf::GgufValue::Bool(true));
    let gguf = [("demo.gguf".to_owned(), file.bytes().into())].into();
    let gguf = Folder::Memory { name: "demo".into(), files: gguf };
    for format in [WeightFormat::Bf16, WeightFormat::Int8] {
        let [found, expected] = [&gguf, &builtin::folder()].map(|folder| loaded(folder, format));
        let body = |model: &LoadedModel| model.image()[model.model().layout().head_bytes()..].to_vec();
        assert!(body(&found) == body(&expected), "{}", format.name());
        assert_eq!(found.generation().eos_ids, expected.generation().eos_ids);
        let tokenizer = |model: &LoadedModel| {
            let json = model.file("tokenizer.json").expect("a tokenizer");
            Tokenizer::new(json, model.file("tokenizer_config.json")).expect("it is one")
        };
        let (found, expected) = (tokenizer(&found), tokenizer(&expected));
        for text in ["What is 12 + 345?", " The capital  of\nFrance<|end|>", "naïve 日本 \u{1f642}", ""] {
            assert_eq!(found.encode(text, true), expected.encode(text, true), "{text}");
        }
        let found =
            ChatTemplate::find(None, None, found.config()).expect("a template").expect("there is one");
        assert_eq!(found.source(), template);
    }
}
