//! Spoiled inputs by the hundred thousand: whatever the bytes of a file or a request are, loading
//! and parsing end with a model or an error, never with a panic; and a model that loads can be run.
//!
//! Every case is drawn from its number, so a failure names the case that repeats it.
//! `VERBATIM_MUTATIONS=10` runs ten times as many.
#[allow(unused_attributes, unreachable_pub)] // which are for the example on its own
#[path = "../../core/examples/embed.rs"]
mod embed;

use serde_json::{Value, json};
use std::panic::{AssertUnwindSafe, catch_unwind};
use verbatim::load::image_file::{load_image, write_image};
use verbatim::load::{ImageAccess, LoadError, LoadedModel, NoProgress, WeightChoice, load_model};
use verbatim::runtime::{Options, ServedModel};
use verbatim::serve::api::answer::reading::parse;
use verbatim::serve::api::chat::Chat;
use verbatim::serve::api::completions::Completions;
use verbatim::serve::api::dialect::Dialect;
use verbatim::sys::memory::AlignedMemory;
use verbatim::text::{ChatTemplate, TemplateInput, Tokenizer};
use verbatim_core::model::PackedModel;
use verbatim_core::pool::Serial;
use verbatim_tests::draws::Draws;
use verbatim_tests::fixture::{Files, config_json};
use verbatim_tests::gguf::of_checkpoint;
use verbatim_tests::mutate::{bytes, json as fields};
use verbatim_tests::process::Running;
use verbatim_tests::recipe::Recipe;
use verbatim_tests::temporary::TemporaryDirectory;

/// Runs `case` for each number in `0..count` (times `VERBATIM_MUTATIONS`); says how many gave
/// something.
fn cases(name: &str, count: u64, case: impl Fn(&mut Draws) -> bool) {
    let times = std::env::var("VERBATIM_MUTATIONS").ok().and_then(|n| n.parse().ok()).unwrap_or(1);
    let mut good = 0;
    for number in 0..count * times {
        match catch_unwind(AssertUnwindSafe(|| case(&mut Draws::new(number)))) {
            Ok(given) => good += u64::from(given),
            Err(_) => panic!("{name}: case {number} panicked"),
        }
    }
    println!("{name}: {} spoiled inputs, {good} of them were still taken", count * times);
    assert!(good > 0, "{name}: everything was refused, so nothing was tried in depth");
}

/// A model small enough to be loaded a hundred thousand times: one layer, hidden 16.
fn micro() -> Files {
    let mut config = config_json();
    for (key, size) in
        [("hidden_size", 16), ("intermediate_size", 32), ("num_hidden_layers", 1), ("head_dim", 8)]
    {
        config[key] = json!(size);
    }
    config["num_attention_heads"] = json!(2);
    config["num_key_value_heads"] = json!(1);
    config["max_position_embeddings"] = json!(64);
    config["rope_scaling"] = json!({"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0,
        "high_freq_factor": 4.0, "original_max_position_embeddings": 32});
    let mut files = Files::tiny();
    files.put_json("config.json", &config);
    let tensors = Recipe::uniform(config, 5, "BF16", 0.25, 0.25).tensors().expect("a right configuration");
    files.put_tensors("model.safetensors", &tensors);
    files
}

fn load(files: &Files) -> Result<LoadedModel, LoadError> {
    load_model(&files.folder(), WeightChoice::default(), &Serial, &NoProgress)
}

/// Runs a model for two tokens, where it needs no more memory than a test should take.
fn run(image: &[u8]) {
    let Ok(needed @ ..=40_000_000) = embed::memory_needed(image) else { return };
    let mut memory = AlignedMemory::new(needed).expect("memory");
    let mut count = 0;
    embed::generate(image, memory.as_mut_slice(), (&[1, 2, 3], u32::MAX, 2), |_| count += 1)
        .expect("it runs");
    assert!(count <= 2);
}

/// Spoils a JSON file, as JSON or as bytes.
fn spoil(draws: &mut Draws, files: &mut Files, name: &str) {
    if draws.below(2) == 0 {
        files.edit(name, |value| fields(draws, value));
    } else {
        bytes(draws, files.0.get_mut(name).expect("it is there"));
    }
}

#[test]
fn configurations() {
    let whole = micro();
    for (name, count) in [("config.json", 24_000), ("generation_config.json", 8_000)] {
        cases(name, count, |draws| {
            let mut files = whole.clone();
            spoil(draws, &mut files, name);
            load(&files).map(|loaded| run(loaded.image())).is_ok()
        });
    }
}

#[test]
fn weights() {
    let whole = micro();
    let file = whole.0["model.safetensors"].clone();
    let header_len = u64::from_le_bytes(file[..8].try_into().expect("8 bytes")) as usize;
    cases("model.safetensors", 24_000, |draws| {
        let mut files = whole.clone();
        let mut header = file[8..8 + header_len].to_vec();
        let mut data = file[8 + header_len..].to_vec();
        let mut len = header_len as u64;
        match draws.below(4) {
            0 => {
                let mut value: Value = serde_json::from_slice(&header).expect("a header");
                fields(draws, &mut value);
                header = value.to_string().into_bytes();
                len = header.len() as u64;
            }
            1 => {
                bytes(draws, &mut header);
                len = header.len() as u64;
            }
            2 => len ^= 1 << draws.below(64),
            _ => {
                // One weight, to anything.
                let at = draws.below(data.len() / 2) * 2;
                data[at..at + 2].copy_from_slice(&(draws.bits() as u16).to_le_bytes());
            }
        }
        let spoiled = [len.to_le_bytes().as_slice(), &header, &data].concat();
        files.0.insert("model.safetensors".to_owned(), spoiled);
        load(&files).map(|loaded| run(loaded.image())).is_ok()
    });
}

#[test]
fn gguf_files() {
    let files = micro();
    let read = |name: &str| serde_json::from_slice::<Value>(&files.0[name]).expect("JSON");
    let config = read("config.json");
    let tensors =
        Recipe::uniform(config.clone(), 5, "F16", 0.25, 0.25).tensors().expect("a right configuration");
    let mut file = of_checkpoint(&config, &tensors);
    file.put_tokenizer(&read("tokenizer.json"), &read("tokenizer_config.json"), "gpt-2");
    let whole = file.bytes();
    let weights: usize = file.tensors.iter().map(|tensor| tensor.bytes.len().next_multiple_of(32)).sum();
    cases("m.gguf", 12_000, |draws| {
        let (mut header, data) = (whole.clone(), whole.len() - weights);
        let mut data = header.split_off(data);
        // Mostly the header: a weight may be anything.
        if draws.below(8) == 0 {
            bytes(draws, &mut data)
        } else {
            bytes(draws, &mut header)
        };
        header.extend(data);
        load(&Files([("m.gguf".to_owned(), header)].into())).map(|loaded| run(loaded.image())).is_ok()
    });
}

#[test]
fn shards() {
    let whole = micro();
    let map: Value = json!({"metadata": {"total_size": 1}, "weight_map": {
        "model.embed_tokens.weight": "model.safetensors", "model.norm.weight": "model.safetensors"}});
    cases("model.safetensors.index.json", 4_000, |draws| {
        let mut files = whole.clone();
        // Named apart, so that the index is what is read.
        let weights = files.0.remove("model.safetensors").expect("weights");
        files.0.insert("part.safetensors".to_owned(), weights);
        let mut index =
            serde_json::from_str(&map.to_string().replace("model.safetensors", "part.safetensors"))
                .expect("JSON");
        fields(draws, &mut index);
        let mut index = index.to_string().into_bytes();
        if draws.below(2) == 0 {
            bytes(draws, &mut index);
        }
        files.0.insert("model.safetensors.index.json".to_owned(), index);
        load(&files).is_ok()
    });
}

#[test]
fn images() {
    let image = load(&micro()).expect("it loads").image().to_vec();
    let mut memory = AlignedMemory::new(image.len()).expect("memory");
    let memory = std::cell::RefCell::new(&mut memory);
    cases("image", 16_000, |draws| {
        let mut spoiled = image.clone();
        // Mostly the header and the table: what follows is weights, any of which is a number.
        let reach = if draws.below(8) == 0 { image.len() } else { 4096.min(image.len()) };
        for _ in 0..=draws.below(3) {
            let at = draws.below(reach / 8) * 8;
            let word = match draws.below(4) {
                0 => draws.bits().to_le_bytes(),
                1 => (draws.below(300) as u64).to_le_bytes(),
                2 => u64::MAX.to_le_bytes(),
                _ => {
                    let old = u64::from_le_bytes(spoiled[at..at + 8].try_into().expect("8 bytes"));
                    (old ^ 1 << draws.below(64)).to_le_bytes()
                }
            };
            spoiled[at..at + 8].copy_from_slice(&word);
        }
        let mut memory = memory.borrow_mut();
        let memory = memory.as_mut_slice();
        memory.copy_from_slice(&spoiled);
        let len = if draws.below(10) == 0 { draws.below(memory.len()) } else { memory.len() };
        let parsed = PackedModel::parse(&memory[..len]).is_ok();
        if parsed {
            run(&memory[..len]);
        }
        parsed
    });
}

#[test]
fn image_files() {
    let loaded = load(&micro()).expect("it loads");
    let directory = TemporaryDirectory::new("images");
    let path = directory.path().join("model.image");
    write_image(&loaded, &path, &Serial).expect("written");
    let image = std::fs::read(&path).expect("readable");
    let head = loaded.model().layout().head_bytes();
    cases("image file", 2_000, |draws| {
        let mut spoiled = image.clone();
        match draws.below(4) {
            0 => bytes(draws, &mut spoiled),
            1 => spoiled.truncate(draws.below(image.len())),
            // A weight: another number, which only the body's hash knows.
            2 => spoiled[head + draws.below(image.len() - head)] ^= 1 << draws.below(8),
            // What is not spoiled is taken.
            _ => {}
        }
        // A new file each time: one that is mapped is not written.
        std::fs::remove_file(&path).expect("it is there");
        std::fs::write(&path, &spoiled).expect("written");
        let access = ImageAccess { copy: draws.below(2) == 0, verify: draws.below(2) == 0 };
        let taken = load_image(&path, WeightChoice::default(), access, &Serial, &NoProgress);
        let same_head = spoiled.len() == image.len() && spoiled[..head] == image[..head];
        let expected = if access.verify { spoiled == image } else { same_head };
        assert_eq!(taken.is_ok(), expected, "a hash that does not notice, or one too many");
        if let Ok(model) = &taken {
            run(model.image());
        }
        taken.is_ok()
    });
}

#[test]
fn tokenizers_and_templates() {
    let whole = micro();
    let message = [json!({"role": "user", "content": "Grüße </s> 🙂"})];
    let input = || TemplateInput {
        messages: message.to_vec(),
        add_generation_prompt: true,
        ..TemplateInput::default()
    };
    for (name, count) in [("tokenizer.json", 6_000), ("tokenizer_config.json", 12_000)] {
        cases(name, count, |draws| {
            let mut files = whole.clone();
            spoil(draws, &mut files, name);
            let Ok(tokenizer) = Tokenizer::new(
                &files.0["tokenizer.json"],
                files.0.get("tokenizer_config.json").map(Vec::as_slice),
            ) else {
                return false;
            };
            if let Ok(ids) = tokenizer.encode("Hello, world! 12 </s>\u{0}é", true) {
                let _ = tokenizer.decode(&ids, false);
            }
            let Ok(Some(template)) = ChatTemplate::find(None, None, tokenizer.config()) else { return false };
            template.render(&input()).is_ok_and(|text| tokenizer.encode_chat(&text).is_ok())
        });
    }
    let template = include_bytes!("../../host-linux/demo/model/chat_template.jinja");
    cases("chat_template.jinja", 8_000, |draws| {
        let mut spoiled = template.to_vec();
        bytes(draws, &mut spoiled);
        let source = String::from_utf8_lossy(&spoiled);
        ChatTemplate::new(&source, "chat_template.jinja")
            .is_ok_and(|template| template.render(&input()).is_ok())
    });
}

#[test]
fn request_bodies() {
    let model = ServedModel::open(&Options { workers: Some(1), ..Options::default() }, &NoProgress)
        .expect("the built-in model");
    let completion = json!({
        "model": "verbatim-demo", "prompt": "Hello", "max_tokens": 5, "temperature": 0.5, "top_p": 0.9, "top_k": 3, "min_p": 0.1,
        "seed": 7, "stop": ["a", "b"], "logprobs": 2, "logit_bias": {"5": 1.5}, "presence_penalty": 0.5, "frequency_penalty": 0.5,
        "repetition_penalty": 1.1, "stream": true, "stream_options": {"include_usage": true}, "ignore_eos": true, "user": "u",
    });
    let chat = json!({
        "messages": [{"role": "system", "content": "x"}, {"role": "user", "content": [{"type": "text", "text": "hi"}]}],
        "max_completion_tokens": 5, "logprobs": true, "top_logprobs": 3, "temperature": 0, "n": 1,
    });
    let endpoints: [(_, &dyn Dialect, _); 2] =
        [("/v1/completions", &Completions, completion), ("/v1/chat/completions", &Chat, chat)];
    for (name, dialect, body) in endpoints {
        cases(name, 8_000, |draws| {
            let mut value = body.clone();
            fields(draws, &mut value);
            let mut text = value.to_string().into_bytes();
            if draws.below(3) == 0 {
                bytes(draws, &mut text);
            }
            parse(dialect, &text, &model, &mut Vec::new()).is_ok()
        });
    }
}

#[test]
fn http_bytes() {
    use std::io::{Read, Write};
    let server = Running::start(&["--threads", "1"]);
    let body = json!({"prompt": "Hello", "max_tokens": 2}).to_string();
    let request = format!(
        "POST /v1/completions?x=1 HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let answered = std::cell::Cell::new(0);
    cases("HTTP", 1_000, |draws| {
        let mut spoiled = request.clone().into_bytes();
        bytes(draws, &mut spoiled);
        let mut stream = std::net::TcpStream::connect(&server.address).expect("the server is there");
        let patience = |millis| Some(std::time::Duration::from_millis(millis));
        stream.set_read_timeout(patience(30)).expect("a time-out");
        // The server may have closed by now.
        let _ = stream.write_all(&spoiled);
        let mut answer = Vec::new();
        if stream.read_to_end(&mut answer).is_err() && answer.is_empty() {
            // It waits for more, which does not come.
            let _ = stream.shutdown(std::net::Shutdown::Write);
            stream.set_read_timeout(patience(20_000)).expect("a time-out");
            let _ = stream.read_to_end(&mut answer);
        }
        let is_http = answer.starts_with(b"HTTP/1.");
        assert!(answer.is_empty() || is_http, "{}", String::from_utf8_lossy(&answer));
        answered.set(answered.get() + u64::from(is_http));
        is_http
    });
    let (status, _) = server.send("POST", "/v1/completions", &body);
    assert_eq!(status, 200, "it answers still");
}
