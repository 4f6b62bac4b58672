//! Every kind of wrong input to the program ends in one line on standard error that names what is
//! wrong, and in an exit code that is not 0; never in a panic.
use serde_json::{Value, json};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::process::Output;
use verbatim_tests::checkpoint::TensorData;
use verbatim_tests::fixture::{Files, tiny_tensors};
use verbatim_tests::process::{binary, command, output};
use verbatim_tests::recipe::random_tensor;
use verbatim_tests::temporary::TemporaryDirectory;

/// Asserts that `output` is one line of error with all of `parts` in it, and nothing else.
fn assert_refused(case: &str, output: &Output, parts: &[&str]) {
    assert_refused_with(1, case, output, parts);
}

/// [`assert_refused`] with an exit code that is not 1, as only `serve` has.
fn assert_refused_with(code: i32, case: &str, output: &Output, parts: &[&str]) {
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{case}: {error}");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "", "{case}");
    let line = error.strip_prefix("error: ").and_then(|rest| rest.strip_suffix('\n'));
    let line = line.unwrap_or_else(|| panic!("{case}: not a line of error: {error}"));
    assert!(!line.contains('\n') && line.len() < 400, "{case}: {line}");
    for part in parts {
        assert!(line.contains(part), "{case}: no {part:?} in {line:?}");
    }
    println!("{case}: {line}");
}

type Spoil = fn(&mut Files);
type Case = (&'static str, Spoil, &'static [&'static str]);

fn weights(files: &mut Files) -> &mut Vec<u8> {
    files.0.get_mut("model.safetensors").expect("the fixture has weights")
}

/// Replaces the header of the weights by what `change` makes of it, without touching the data.
fn header(files: &mut Files, change: impl FnOnce(&mut Value)) {
    let bytes = weights(files);
    let len = u64::from_le_bytes(bytes[..8].try_into().expect("8 bytes")) as usize;
    let mut header: Value = serde_json::from_slice(&bytes[8..8 + len]).expect("a header");
    change(&mut header);
    let header = header.to_string();
    let mut changed = (header.len() as u64).to_le_bytes().to_vec();
    changed.extend_from_slice(header.as_bytes());
    changed.extend_from_slice(&bytes[8 + len..]);
    *bytes = changed;
}

fn tensors(files: &mut Files, change: impl FnOnce(&mut Vec<TensorData>)) {
    let mut tensors = tiny_tensors("F32");
    change(&mut tensors);
    files.put_tensors("model.safetensors", &tensors);
}

const Q: &str = "model.layers.0.self_attn.q_proj.weight";

fn q(tensors: &mut [TensorData]) -> &mut TensorData {
    tensors.iter_mut().find(|tensor| tensor.name == Q).expect("the model has Q")
}

fn set(files: &mut Files, key: &str, value: Value) {
    files.edit("config.json", |config| config[key] = value);
}

const FILES: &[Case] = &[
    // safetensors
    (
        "truncated weights",
        |f| weights(f).truncate(9000),
        &["model.safetensors", "9000 bytes", "as its header says"],
    ),
    ("surplus bytes", |f| weights(f).push(0), &["model.safetensors", "as its header says"]),
    ("empty weights", |f| weights(f).clear(), &["model.safetensors", "0 bytes"]),
    (
        "a header beyond the file",
        |f| weights(f)[7] = 0x7f,
        &["model.safetensors", "header says it is", "expected at most"],
    ),
    (
        "a header over the format's limit",
        |f| weights(f)[3] = 0x10,
        &["model.safetensors", "expected at most"],
    ),
    ("a header that is no JSON", |f| weights(f)[8] = b'[', &["model.safetensors", "header is not valid"]),
    ("bytes that are no UTF-8", |f| weights(f)[12] = 0xff, &["model.safetensors", "header is not valid"]),
    (
        "overlapping tensors",
        |f| header(f, |h| h[Q]["data_offsets"] = h["model.embed_tokens.weight"]["data_offsets"].clone()),
        &["model.safetensors", "header is not valid"],
    ),
    (
        "a shape that is not the data's",
        |f| header(f, |h| h[Q]["shape"] = json!([64, 65])),
        &["model.safetensors", "header is not valid"],
    ),
    (
        "a shape that overflows",
        |f| header(f, |h| h[Q]["shape"] = json!([u64::MAX, u64::MAX])),
        &["model.safetensors", "header is not valid"],
    ),
    ("no weights at all", |f| drop(f.0.remove("model.safetensors")), &["neither model.safetensors nor"]),
    // tensors
    (
        "a missing tensor",
        |f| tensors(f, |t| t.retain(|t| t.name != Q)),
        &[Q, "found nothing", "shape [64, 64]"],
    ),
    (
        "a mis-shaped tensor",
        |f| {
            tensors(f, |t| {
                let wrong = TensorData::new(Q, "F32", &[32, 64], &random_tensor(1, Q, 32 * 64, 0.1));
                *q(t) = wrong;
            });
        },
        &["model.safetensors", Q, "[32, 64]", "[64, 64]"],
    ),
    (
        "a surplus tensor",
        |f| tensors(f, |t| t.push(TensorData::new("model.layers.0.extra", "F32", &[1], &[1.0]))),
        &["model.safetensors", "model.layers.0.extra"],
    ),
    (
        "an integer tensor",
        |f| header(f, |h| h[Q]["dtype"] = json!("I32")),
        &["model.safetensors", Q, "I32", "F32"],
    ),
    (
        "a weight that is NaN",
        |f| tensors(f, |t| q(t).bytes[64 * 4 * 3 + 8..][..4].copy_from_slice(&f32::NAN.to_le_bytes())),
        &["model.safetensors", Q, "NaN", "[3, 2]"],
    ),
    (
        "an infinite norm",
        |f| {
            tensors(f, |t| {
                let norm = t.iter_mut().find(|t| t.name == "model.norm.weight").expect("there is one");
                norm.bytes[..4].copy_from_slice(&f32::INFINITY.to_le_bytes());
            });
        },
        &["model.safetensors", "model.norm.weight", "inf"],
    ),
    // shards
    (
        "a shard that is not there",
        |f| {
            drop(f.0.remove("model.safetensors"));
            f.put_json("model.safetensors.index.json", &json!({"weight_map": {"a": "model-1.safetensors"}}));
        },
        &["model-1.safetensors", "missing"],
    ),
    (
        "a shard outside the directory",
        |f| {
            drop(f.0.remove("model.safetensors"));
            f.put_json("model.safetensors.index.json", &json!({"weight_map": {"a": "../x.safetensors"}}));
        },
        &["model.safetensors.index.json", "weight_map.a", "../x.safetensors", "a plain file name"],
    ),
    // config.json
    ("no config.json", |f| drop(f.0.remove("config.json")), &["has no config.json"]),
    (
        "config.json is no JSON",
        |f| drop(f.0.insert("config.json".into(), b"{\"a\":".to_vec())),
        &["config.json"],
    ),
    ("config.json is a list", |f| f.put_json("config.json", &json!([])), &["config.json", "object"]),
    ("no heads", |f| set(f, "num_attention_heads", json!(0)), &["config.json", "num_attention_heads", "0"]),
    (
        "heads that KV heads do not divide",
        |f| set(f, "num_key_value_heads", json!(3)),
        &["config.json", "num_key_value_heads", "3"],
    ),
    (
        "more KV heads than heads",
        |f| set(f, "num_key_value_heads", json!(8)),
        &["config.json", "num_key_value_heads", "8"],
    ),
    ("a negative size", |f| set(f, "hidden_size", json!(-64)), &["config.json", "hidden_size", "-64"]),
    (
        "a size that is a text",
        |f| set(f, "hidden_size", json!("64")),
        &["config.json", "hidden_size", "\"64\""],
    ),
    ("a huge hidden size", |f| set(f, "hidden_size", json!(1_u64 << 62)), &["config.json", "hidden_size"]),
    (
        "a huge vocabulary",
        |f| set(f, "vocab_size", json!(16_000_000)),
        &["model.embed_tokens.weight", "[258, 64]"],
    ),
    (
        "a huge number of layers",
        |f| set(f, "num_hidden_layers", json!(4_000_000_000_u64)),
        &["config.json", "num_hidden_layers"],
    ),
    ("more layers than tensors", |f| set(f, "num_hidden_layers", json!(3)), &["model.layers.2.", "nothing"]),
    (
        "fewer layers than tensors",
        |f| set(f, "num_hidden_layers", json!(1)),
        &["model.safetensors", "model.layers.1."],
    ),
    ("an odd head", |f| set(f, "head_dim", json!(15)), &["config.json", "head_dim", "15"]),
    ("no vocabulary", |f| set(f, "vocab_size", json!(0)), &["config.json", "vocab_size", "0"]),
    ("an epsilon below 0", |f| set(f, "rms_norm_eps", json!(-1e-5)), &["config.json", "rms_norm_eps"]),
    ("a theta that is no number", |f| set(f, "rope_theta", json!([])), &["config.json", "rope_theta"]),
    ("an end token beyond the vocabulary", |f| set(f, "bos_token_id", json!(258)), &["bos_token_id", "258"]),
    // what is not implemented
    (
        "a sliding window below the context",
        |f| {
            set(f, "model_type", json!("mistral"));
            set(f, "sliding_window", json!(128));
        },
        &["config.json", "sliding_window", "128", "512"],
    ),
    (
        "dynamic RoPE",
        |f| set(f, "rope_scaling", json!({"type": "dynamic", "factor": 2.0})),
        &["config.json", "rope_scaling", "dynamic", "default", "llama3"],
    ),
    (
        "linear RoPE",
        |f| set(f, "rope_scaling", json!({"rope_type": "linear", "factor": 2.0})),
        &["config.json", "rope_scaling", "linear"],
    ),
    (
        "YaRN",
        |f| set(f, "rope_parameters", json!({"rope_type": "yarn", "rope_theta": 1e4, "factor": 4.0})),
        &["config.json", "rope_parameters", "yarn"],
    ),
    (
        "another activation",
        |f| set(f, "hidden_act", json!("gelu")),
        &["config.json", "hidden_act", "gelu", "silu"],
    ),
    (
        "a quantized checkpoint",
        |f| set(f, "quantization_config", json!({"bits": 4})),
        &["config.json", "quantization_config"],
    ),
    (
        "a mixture of experts",
        |f| set(f, "num_local_experts", json!(8)),
        &["config.json", "num_local_experts", "experts"],
    ),
    (
        "an unknown model_type",
        |f| set(f, "model_type", json!("gpt2")),
        &["config.json", "model_type", "gpt2", "llama"],
    ),
    ("no model_type", |f| set(f, "model_type", Value::Null), &["config.json", "model_type"]),
    // generation_config.json
    (
        "a temperature below 0",
        |f| f.edit("generation_config.json", |g| g["temperature"] = json!(-1)),
        &["generation_config.json", "temperature", "-1"],
    ),
    (
        "an end token that is a text",
        |f| f.edit("generation_config.json", |g| g["eos_token_id"] = json!("</s>")),
        &["generation_config.json", "eos_token_id"],
    ),
    // text
    ("no tokenizer", |f| drop(f.0.remove("tokenizer.json")), &["no tokenizer.json"]),
    (
        "a tokenizer that is no JSON",
        |f| drop(f.0.insert("tokenizer.json".into(), b"\x00".to_vec())),
        &["tokenizer.json", "not a tokenizer"],
    ),
    (
        "a tokenizer of no known kind",
        |f| f.edit("tokenizer.json", |t| t["model"]["type"] = json!("Magic")),
        &["tokenizer.json", "not a tokenizer"],
    ),
    (
        "a tokenizer_config.json that is no JSON",
        |f| drop(f.0.insert("tokenizer_config.json".into(), b"x".to_vec())),
        &["tokenizer_config.json", "not JSON"],
    ),
    (
        "a template that is none",
        |f| f.edit("tokenizer_config.json", |t| t["chat_template"] = json!("{% for %}")),
        &["template"],
    ),
];

#[test]
fn spoiled_files_are_refused_in_one_line() {
    for (case, spoil, parts) in FILES {
        let mut files = Files::tiny();
        spoil(&mut files);
        let directory = files.directory("bad");
        let path = directory.path().to_str().expect("UTF-8");
        assert_refused(case, &output(&["inspect", "--threads", "1", "--model", path]), parts);
    }
    // And the same files unspoiled are not.
    let directory = Files::tiny().directory("good");
    let path = directory.path().to_str().expect("UTF-8");
    let good = output(&["inspect", "--threads", "1", "--model", path]);
    assert!(good.status.success(), "{}", String::from_utf8_lossy(&good.stderr));
}

#[test]
fn wrong_flags_and_prompts_are_refused_in_one_line() {
    let directory = Files::tiny().directory("flags");
    let path = directory.path().to_str().expect("UTF-8");
    let long = "x".repeat(600);
    let cases: &[(&str, &[&str], &[&str])] = &[
        ("no such model", &["inspect", "--model", "/no/such/model"], &["no model /no/such/model"]),
        (
            "a model that is a file",
            &["inspect", "--model", concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml")],
            &["Cargo.toml", "neither a model directory, nor a GGUF file, nor an image"],
        ),
        ("an unknown format", &["inspect", "--weights", "int3"], &["--weights int3", "bf16"]),
        ("an unknown KV format", &["inspect", "--kv", "int3"], &["--kv int3", "bf16"]),
        ("an unknown path", &["inspect", "--isa", "mmx"], &["--isa mmx", "portable"]),
        ("a context of 0", &["inspect", "--max-model-len", "0"], &["--max-model-len 0", "512"]),
        (
            "a context beyond the model's",
            &["inspect", "--max-model-len", "513"],
            &["--max-model-len 513", "512"],
        ),
        ("no sequences", &["inspect", "--max-seqs", "0"], &["max-seqs"]),
        ("no rows", &["inspect", "--max-rows", "0"], &["max-rows"]),
        ("no KV cache", &["inspect", "--kv-tokens", "0"], &["--kv-tokens 0"]),
        (
            "a KV cache without room for the context that was asked for",
            &["inspect", "--kv-tokens", "100", "--max-model-len", "200"],
            &["--kv-tokens 100", "--max-model-len 200"],
        ),
        (
            "a template that is not there",
            &["inspect", "--chat-template", "/no/file"],
            &["--chat-template /no/file"],
        ),
        ("a prompt longer than the context", &["generate", &long], &["600", "512"]),
        ("an empty prompt", &["generate", ""], &["prompt is empty"]),
        ("nothing to write to", &["pack"], &["no output", "-o FILE"]),
        ("a directory to write to", &["pack", "-o", "/"], &["/: is a directory"]),
        ("a device to write to", &["pack", "-o", "/dev/null"], &["/dev/null: is there", "regular file"]),
        (
            "a place that is not there",
            &["pack", "-o", "/no/dir/x"],
            &["/no/dir/x: cannot write", "No such file"],
        ),
        ("two models to pack", &["pack", "one", "-o", "x"], &["two models", "one", "--model"]),
    ];
    for (case, args, parts) in cases {
        let mut args = args.to_vec();
        if !args.contains(&"--model") {
            args.extend(["--model", path]);
        }
        args.extend(["--threads", "1"]);
        assert_refused(case, &output(&args), parts);
    }
    // Numbers out of their range are told before any model is looked for.
    for (flag, value, expected) in [
        ("--temperature", "-1", "between 0 and 100"),
        ("--temperature", "warm", "between 0 and 100"),
        ("--top-p", "2", "above 0 and at most 1"),
        ("--min-p", "2", "between 0 and 1"),
        ("--max-tokens", "0", "1 or more"),
        ("--threads", "-1", "0 or more"),
    ] {
        let refused = output(&["generate", flag, value, "--model", "/no/such/model", "x"]);
        let told = format!("{flag} {value}: expected a");
        assert_refused_with(2, "a number out of its range", &refused, &[&told, expected]);
    }
    let no_address = output(&["serve", "--host", "256.0.0.1"]);
    assert_refused_with(4, "an address that is none", &no_address, &["256.0.0.1"]);
}

#[test]
fn nothing_to_pack_is_told() {
    assert_refused(
        "no model",
        &output(&["pack", "-o", "/tmp/x"]),
        &["no model", "verbatim pack MODEL -o FILE"],
    );
    let refused = output(&["pack", "/no/such/model", "-o", "/tmp/x"]);
    assert_refused("no such model", &refused, &["no model /no/such/model"]);
}

#[test]
fn spoiled_images_are_refused_in_one_line() {
    let directory = Files::tiny().directory("packed");
    let path = directory.path().join("tiny.vb");
    let image = path.to_str().expect("UTF-8");
    let model = directory.path().to_str().expect("UTF-8");
    let packed = output(&["pack", "--threads", "1", model, "--output", image]);
    assert!(packed.status.success(), "{}", String::from_utf8_lossy(&packed.stderr));
    let good = std::fs::read(&path).expect("readable");
    let tokenizer =
        good.windows(9).position(|bytes| bytes == b"\"version\"").expect("it carries the tokenizer");
    type Spoil<'s> = &'s dyn Fn(&mut Vec<u8>);
    let head: &[(&str, Spoil, &[&str])] = &[
        (
            "another version",
            &|bytes| bytes[8] = 2,
            &["format version", "found 2", "expected 6: pack the model again"],
        ),
        ("a spoiled header", &|bytes| bytes[40] ^= 1, &["is damaged: its head"]),
        ("a spoiled hash", &|bytes| bytes[100] ^= 1, &["is damaged: its head"]),
        ("a spoiled table", &|bytes| bytes[320 + 48] ^= 1, &["is damaged: its head"]),
        ("a spoiled directory", &|bytes| bytes[320 + 5 * 64 + 8] ^= 1, &["is damaged: its head"]),
        ("a spoiled tokenizer", &|bytes| bytes[tokenizer] ^= 1, &["is damaged: its head"]),
        ("an image cut short", &|bytes| bytes.truncate(good.len() - 1), &["length in bytes", "expected"]),
        ("an image cut in its tables", &|bytes| bytes.truncate(600), &["length in bytes", "found 600"]),
        ("an image cut in its header", &|bytes| bytes.truncate(200), &["200 bytes", "at least 512"]),
        ("an image with more", &|bytes| bytes.push(0), &["length in bytes", "expected"]),
    ];
    let inspect = |more: &[&str]| {
        let args = [&["inspect", "--threads", "1", "--model", image], more].concat();
        output(&args)
    };
    for (case, spoil, parts) in head {
        let mut bytes = good.clone();
        spoil(&mut bytes);
        std::fs::write(&path, bytes).expect("written");
        for more in [&[][..], &["--verify"], &["--copy"], &["--copy", "--verify"]] {
            assert_refused(case, &inspect(more), &[&["tiny.vb"], *parts].concat());
        }
    }
    let mut bytes = good.clone();
    *bytes.last_mut().expect("not empty") ^= 1;
    std::fs::write(&path, bytes).expect("written");
    for more in [&[][..], &["--copy"]] {
        let taken = inspect(more);
        assert!(taken.status.success(), "weights are not read: {}", String::from_utf8_lossy(&taken.stderr));
    }
    for more in [&["--verify"][..], &["--copy", "--verify"]] {
        assert_refused("a spoiled weight", &inspect(more), &["tiny.vb", "is damaged: its body"]);
    }
    let told = command().args(["inspect", "--model", image]).env("VERBATIM_VERIFY", "1").output();
    assert_refused("a spoiled weight", &told.expect("it starts"), &["tiny.vb", "is damaged: its body"]);
    let told = command().args(["inspect", "--model", image]).env("VERBATIM_VERIFY", "0").output();
    assert!(told.expect("it starts").status.success());
    // Packed again, spoiled weights would come out with a right hash.
    let again = directory.path().join("again.vb");
    let again = again.to_str().expect("UTF-8");
    assert_refused(
        "a spoiled image to pack",
        &output(&["pack", image, "-o", again]),
        &["is damaged: its body"],
    );
    std::fs::write(&path, &good).expect("written");
    for (flags, parts) in [
        (["--weights", "int8"], ["tiny.vb: weight format: found f32", "int8"]),
        (["--head", "bf16"], ["tiny.vb: head format: found f32", "bf16"]),
    ] {
        assert_refused("another format than the image's", &inspect(&flags), &parts);
    }
}

#[test]
fn a_port_in_use_is_told_before_the_model_is_loaded() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = taken.local_addr().expect("an address").port().to_string();
    let refused = output(&["serve", "--model", "/no/such/model", "--port", &port]);
    assert_refused_with(4, "a port in use", &refused, &[&format!("127.0.0.1:{port}"), "in use"]);
}

#[test]
fn a_full_disk_is_told_and_leaves_nothing_behind() {
    let files = Files::tiny().directory("full");
    let path = files.path().to_str().expect("UTF-8");
    let target = TemporaryDirectory::new("target");
    let image = target.path().join("tiny.image");
    // A limit on the size of files fails a write as a full disk does.
    let mut shell = std::process::Command::new("sh");
    shell.args(["-c", "ulimit -f 8; trap '' XFSZ; exec \"$0\" \"$@\""]).arg(binary());
    let refused = shell.args(["pack", "--threads", "1", path, "-o"]).arg(&image).output().expect("sh runs");
    assert_refused("a full disk", &refused, &["tiny.image", "cannot write"]);
    assert_eq!(std::fs::read_dir(target.path()).expect("readable").count(), 0);

    let full = std::fs::File::options().write(true).open("/dev/full").expect("Linux has it");
    let told = command()
        .args(["generate", "--threads", "1", "--max-tokens", "3", "--seed", "1", "--model", path, "x"])
        .stdout(full)
        .output();
    assert_refused("a full standard output", &told.expect("it starts"), &["standard output"]);
}

#[test]
fn an_unreadable_directory_is_told() {
    let files = Files::tiny().directory("unreadable");
    std::fs::set_permissions(files.path(), std::fs::Permissions::from_mode(0o000)).expect("ours");
    let mut inspect = command();
    inspect.args(["inspect", "--threads", "1", "--model"]).arg(files.path());
    let root_may_read = std::fs::read_dir(files.path()).is_ok();
    if root_may_read {
        inspect.uid(65534).gid(65534);
    }
    let refused = inspect.output();
    std::fs::set_permissions(files.path(), std::fs::Permissions::from_mode(0o700)).expect("ours");
    match refused {
        Ok(refused) => assert_refused("an unreadable directory", &refused, &["cannot read", "denied"]),
        Err(error) if root_may_read => {
            println!(
                "skipped: an_unreadable_directory_is_told (another user cannot run the program: {error})"
            );
        }
        Err(error) => panic!("{error}"),
    }
}

#[test]
fn lossy_conversions_are_said_once() {
    let mut files = Files::tiny();
    files.put_tensors("model.safetensors", &tiny_tensors("F16"));
    let directory = files.directory("f16");
    let path = directory.path().to_str().expect("UTF-8");
    let inspect = |args: &[&str]| {
        let all = [&["inspect", "--threads", "1", "--model", path], args].concat();
        String::from_utf8(output(&all).stdout).expect("UTF-8")
    };
    assert_eq!(inspect(&[]).matches("f16 weights are rounded to bf16").count(), 1);
    assert_eq!(inspect(&["--weights", "f32"]).matches("rounded").count(), 0, "f32 holds every f16");
}
