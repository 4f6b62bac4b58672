//! The fingerprint: everything that can change a bit of an answer changes it, each by itself;
//! nothing else does; and no release changes the fingerprint of a model that an earlier one served.
use serde_json::json;
use std::fmt::Write;
use verbatim::load::{Compress, Folder, ImageAccess, NoProgress, WeightChoice, load_model};
use verbatim::runtime::{ModelSource, Options, ServedModel, TemplateSource};
use verbatim_core::dtype::{KvFormat, WeightFormat};
use verbatim_core::pool::Serial;
use verbatim_tests::checkpoint::TensorData;
use verbatim_tests::fixture::{Files, config_json, tiny_tensors};
use verbatim_tests::golden::ModelGolden;
use verbatim_tests::recipe::Recipe;
use verbatim_tests::{data, paths};

fn options() -> Options {
    Options {
        workers: Some(1),
        max_seqs: 1,
        weights: WeightChoice::all(WeightFormat::F32),
        ..Options::default()
    }
}

fn named(weights: &str) -> WeightChoice {
    WeightChoice::named(Some(weights), None).expect("a choice")
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
        ("weights bf16", Options { weights: WeightChoice::all(WeightFormat::Bf16), ..options() }),
        ("weights int8", Options { weights: WeightChoice::all(WeightFormat::Int8), ..options() }),
        ("weights int4", Options { weights: WeightChoice::all(WeightFormat::Int4), ..options() }),
        ("weights int6", Options { weights: WeightChoice::all(WeightFormat::Int6), ..options() }),
        ("head int8", Options { weights: named("f32:head=int8"), ..options() }),
        ("int4 with values and head in int8", Options { weights: named("int4"), ..options() }),
        ("down int8 too", Options { weights: named("int4:value=int8,down=int8,head=int8"), ..options() }),
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
    let options = || Options { weights: WeightChoice::all(WeightFormat::Bf16), ..options() };
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

/// The whole source hash of a served model in hexadecimal, and the short form of its fingerprint.
fn hashes(options: &Options) -> (String, String) {
    let served = ServedModel::open(options, &NoProgress).unwrap_or_else(|error| panic!("{error}"));
    (hexadecimal(served.loaded.model().source_hash()), served.fingerprint)
}

fn hexadecimal(hash: &[u8]) -> String {
    hash.iter().fold(String::new(), |mut digits, byte| {
        write!(digits, "{byte:02x}").expect("a string takes all");
        digits
    })
}

/// A client that holds a fingerprint relies on it for as long as the numerics version stands, so
/// these values, which a release gave, change only together with that version.
#[test]
fn the_fingerprints_of_earlier_releases_are_kept() {
    let builtin = Options { workers: Some(1), ..Options::default() };
    let expected =
        ("3a209a1b5af2bb6f31d3d4fdbd95cfd7c802ef9592cef0d9ff4204ffd4df8746", "vb-ad643ab637b9f894");
    let found = hashes(&builtin);
    assert_eq!((found.0.as_str(), found.1.as_str()), expected, "the built-in model");

    let Some(model) = data::find("the_fingerprints_of_earlier_releases_are_kept", "models/stories260K")
    else {
        return;
    };
    let model = ModelSource::Path(model);
    for (format, source, short) in [
        ("f32", "353a236c2e0001bf86778e17f45c607b0770f479c9b64b827724eea079ea2382", "vb-297572b290671c99"),
        ("bf16", "1a82a69336a8f0c206bd95eb1c6f9745ec79f24109c6e365752b8d057de39c66", "vb-2c9f59c57e439141"),
        ("int8", "4ec7a3ab18a0df93deaf8c080a54b56a5a09dcbc1e2dcbdec1690530960675c9", "vb-72d0e4d7fe563bcc"),
        ("int4", "55c9908c8d6925a839702d063a4caf61262f48a2d71f58cce11d43838e0c204f", "vb-3e8ee86574ee345e"),
    ] {
        let weights = WeightChoice::all(WeightFormat::from_name(format).expect("a format"));
        let options = Options { model: model.clone(), weights, workers: Some(1), ..Options::default() };
        let found = hashes(&options);
        assert_eq!((found.0.as_str(), found.1.as_str()), (source, short), "stories260K in {format}");
    }
}

/// The random models of the goldens have what the two above lack: every family, biases, norms of
/// heads, RoPE's scaling, untied heads.
#[test]
fn the_source_hashes_of_every_family_are_kept() {
    let expected = [
        ("model_llama_biases", "58975c9c505763c8f56ee5a2574f3f10fb68acbd0aefe1e57d66ff81394787dd"),
        ("model_llama_llama3_parameters", "4e1df7216b2407b2ee195f12ff329b5f3c854651210402c5c38ee6d963da501a"),
        ("model_llama_llama3_scaling", "2da005b81101eb3b0b3a53f907093cff4f310c6f4b6fb69e0de0de88087dcecd"),
        ("model_llama_mqa_tied_theta", "4b0d1179af9f1c74027debff3403f68f14d21420ea29f2805a998f979be34cfd"),
        ("model_llama_odd_mha", "f15ed9126ed715dd4adc17d1361001408da3f9dbbdadd16be9fdecee7ea2fc37"),
        ("model_llama_theta_parameters", "0bd0057e2b04898dd3c1c7eb4150dee12bc4f0d0d096c489cc715bea117ba41d"),
        ("model_mistral_gqa", "74cf9e31443e602e2608db303ab0a129f551f454759cbefd4376b9522664df99"),
        ("model_qwen2_tied", "eb58ce66d509b2da0fac95b7465daa4533b5dcdc076e095bcd5640ec8983e36e"),
        ("model_qwen3_untied", "5ee712f9a0466681f266c79b7ac9c27b66cdf2e362a41880e46fc2c51b12b2ce"),
    ];
    let goldens = ModelGolden::all();
    for (name, golden) in &goldens {
        let directory = golden.write(name);
        let choice = WeightChoice::all(WeightFormat::Bf16);
        let loaded = load_model(&Folder::from(directory.path()), choice, &Serial, &NoProgress)
            .unwrap_or_else(|error| panic!("{name}: {error}"));
        let found = hexadecimal(loaded.model().source_hash());
        let known = expected.iter().find(|(known, _)| known == name).map(|(_, hash)| *hash);
        assert_eq!(known, Some(found.as_str()), "{name}");
    }
    assert_eq!(goldens.len(), expected.len());
}
