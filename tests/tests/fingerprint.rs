//! The fingerprint: everything that can change a bit of an answer changes it, each by itself;
//! nothing else does.
use serde_json::json;
use verbatim::load::random::{Recipe, TensorData};
use verbatim::load::{Compress, ImageAccess, NoProgress};
use verbatim::runtime::{ModelSource, Options, ServedModel, TemplateSource};
use verbatim_core::dtype::{KvFormat, WeightFormat};
use verbatim_tests::fixture::{Files, config_json, tiny_tensors};
use verbatim_tests::paths;

fn options() -> Options {
    Options { workers: Some(1), max_seqs: 1, weights: Some(WeightFormat::F32), ..Options::default() }
}

fn template(source: &str) -> Option<TemplateSource> {
    Some(TemplateSource { name: "f".to_owned(), source: source.to_owned() })
}

/// The fingerprint of the files, served as the options say.
fn of(files: &Files, options: &Options) -> String {
    let directory = files.directory("fingerprint");
    let model = ModelSource::Path(directory.path().to_owned());
    let served = ServedModel::open(&Options { model, ..options.clone() }, &NoProgress);
    served.unwrap_or_else(|error| panic!("{error}")).fingerprint
}

/// The tiny model with one bit of one of its tensors turned.
fn with_other_bit(tensor: usize) -> Files {
    let mut files = Files::tiny();
    let mut tensors = tiny_tensors("F32");
    // The lowest of the mantissa of the last element.
    let at = tensors[tensor].bytes.len() - 4;
    tensors[tensor].bytes[at] ^= 1;
    files.put_tensors("model.safetensors", &tensors);
    files
}

#[test]
fn every_ingredient_changes_it() {
    let mut found = vec![("nothing".to_owned(), of(&Files::tiny(), &options()))];
    let mut add = |name: &str, files: &Files, options: &Options| {
        let fingerprint = of(files, options);
        let same = found.iter().find(|(_, other)| *other == fingerprint);
        assert!(same.is_none(), "{name} gives the fingerprint of {same:?}");
        found.push((name.to_owned(), fingerprint));
    };
    type Edit = fn(&mut Files);
    let edits: [(&str, Edit); 8] = [
        ("rope_theta", |files| files.edit("config.json", |c| c["rope_theta"] = json!(9999.0))),
        ("rms_norm_eps", |files| files.edit("config.json", |c| c["rms_norm_eps"] = json!(1e-6))),
        ("tokenizer", |files| files.edit("tokenizer.json", |t| t["decoder"]["trim_offsets"] = json!(false))),
        ("template", |files| files.edit("tokenizer_config.json", |t| t["chat_template"] = json!("x"))),
        ("default temperature", |files| {
            files.edit("generation_config.json", |g| g["temperature"] = json!(0.6))
        }),
        ("end token", |files| files.edit("generation_config.json", |g| g["eos_token_id"] = json!([257, 5]))),
        ("template file", |files| drop(files.0.insert("chat_template.jinja".to_owned(), b"y".to_vec()))),
        ("special tokens", |files| files.put_json("special_tokens_map.json", &json!({"pad_token": "<s>"}))),
    ];
    for (name, edit) in edits {
        let mut files = Files::tiny();
        edit(&mut files);
        add(name, &files, &options());
    }
    for (i, TensorData { name, .. }) in tiny_tensors("F32").iter().enumerate() {
        add(&format!("a bit of {name}"), &with_other_bit(i), &options());
    }
    // The same values, stored in another type.
    let mut files = Files::tiny();
    files.put_tensors("model.safetensors", &tiny_tensors("BF16"));
    add("bf16 values", &files, &options());
    let widened: Vec<TensorData> = tiny_tensors("BF16")
        .iter()
        .map(|tensor| {
            // The upper half of an f32 is a bf16.
            let bytes = tensor.bytes.chunks(2).flat_map(|x| [0, 0, x[0], x[1]]).collect();
            TensorData { dtype: "F32", bytes, ..tensor.clone() }
        })
        .collect();
    files.put_tensors("model.safetensors", &widened);
    add("bf16 values as f32", &files, &options());

    let options_that_count = [
        ("weights bf16", Options { weights: Some(WeightFormat::Bf16), ..options() }),
        ("weights int8", Options { weights: Some(WeightFormat::Int8), ..options() }),
        ("weights int4", Options { weights: Some(WeightFormat::Int4), ..options() }),
        ("head int8", Options { head: Some(WeightFormat::Int8), ..options() }),
        ("KV bf16", Options { kv_format: Some(KvFormat::Bf16), ..options() }),
        ("context", Options { max_model_len: Some(496), ..options() }),
        ("a template", Options { chat_template: template("z"), ..options() }),
    ];
    for (name, options) in options_that_count {
        add(name, &Files::tiny(), &options);
    }
}

#[test]
fn nothing_else_changes_it() {
    let options = || Options { weights: Some(WeightFormat::Bf16), ..options() };
    let files = Files::tiny();
    let expected = of(&files, &options());
    let mut others = vec![
        ("threads", Options { workers: Some(3), ..options() }),
        ("compressed", Options { compress: Compress::On, ..options() }),
        ("not compressed", Options { compress: Compress::Off, ..options() }),
        ("sequences", Options { max_seqs: 5, ..options() }),
        ("queue", Options { max_queue: 1, ..options() }),
        ("KV capacity", Options { kv_tokens: Some(4096), ..options() }),
        ("rows", Options { max_rows: 33, ..options() }),
        ("step budget", Options { step_ms: 7, ..options() }),
        ("name", Options { served_name: Some("other".to_owned()), ..options() }),
        ("the model's own context", Options { max_model_len: Some(512), ..options() }),
    ];
    others.extend(paths().iter().map(|isa| ("instruction set", Options { isa: Some(*isa), ..options() })));
    for (name, options) in others {
        assert_eq!(of(&files, &options), expected, "{name}");
    }

    // Nor does where the bytes lie: in shards, in an image, mapped or copied.
    let directory = files.directory("shards");
    std::fs::remove_file(directory.path().join("model.safetensors")).expect("it was there");
    let config = std::fs::read(directory.path().join("config.json")).expect("readable");
    Recipe::uniform(config_json(), 5, "F32", 0.25, 0.25).write(directory.path(), 3).expect("written");
    std::fs::write(directory.path().join("config.json"), config).expect("written");
    let open = |path: &std::path::Path, access| {
        let model = ModelSource::Path(path.to_owned());
        ServedModel::open(&Options { model, access, ..options() }, &NoProgress).expect("it loads")
    };
    let sharded = open(directory.path(), ImageAccess::default());
    assert_eq!(sharded.fingerprint, expected, "shards");
    let image = directory.path().join("tiny.vb");
    verbatim::load::image_file::write_image(&sharded.loaded, &image, &sharded.pool).expect("written");
    for copy in [false, true] {
        for verify in [false, true] {
            assert_eq!(open(&image, ImageAccess { copy, verify }).fingerprint, expected, "an image");
        }
    }
}
