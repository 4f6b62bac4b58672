//! Whole directories: packed right for every type and shape, refused with exact messages when
//! wrong.
use super::super::image_file::{ImageAccess, load, write_image};
use super::super::{NoProgress, Pooling, RuntimeChoices, short_form};
use super::*;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use verbatim_core::dtype::{KvFormat, bf16_operand};
use verbatim_core::kernels::matmul::Linear;
use verbatim_core::model::Embedding;
use verbatim_core::pool::Serial;
use verbatim_tests::checkpoint::{TensorData, write_safetensors};
use verbatim_tests::recipe::Recipe;
use verbatim_tests::temporary::TemporaryDirectory;

/// Runs the tasks on three threads at once.
pub(in crate::load) struct Threads;

// SAFETY: worker `w` runs tasks w, w + 3, … one after another on its own thread; the scope joins
// them all.
unsafe impl Pool for Threads {
    fn workers(&self) -> usize {
        3
    }
    fn run(&self, _phase: Phase, tasks: usize, job: &(dyn Fn(usize, usize) + Sync)) {
        std::thread::scope(|scope| {
            for worker in 0..3 {
                scope.spawn(move || (worker..tasks).step_by(3).for_each(|task| job(task, worker)));
            }
        });
    }
}

fn config(model_type: &str, tied: bool) -> Value {
    // Odd on purpose: Q, K and V meet inside panels, nothing is a multiple of 32.
    json!({
        "model_type": model_type, "hidden_size": 50, "intermediate_size": 70, "num_hidden_layers": 2,
        "num_attention_heads": 5, "num_key_value_heads": 1, "head_dim": 14, "vocab_size": 101,
        "max_position_embeddings": 64, "tie_word_embeddings": tied, "sliding_window": null,
        "attention_bias": model_type == "llama", "mlp_bias": model_type == "llama",
        "eos_token_id": 2, "bos_token_id": 1,
    })
}

pub(in crate::load) fn recipe(model_type: &str, tied: bool, dtype: &'static str) -> Recipe {
    Recipe::uniform(config(model_type, tied), 5, dtype, 0.1, 0.2)
}

pub(in crate::load) fn load_from(directory: &Path, weights: WeightChoice) -> Result<LoadedModel, String> {
    load_model(&Folder::from(directory), weights, &Threads, &NoProgress)
        .map_err(|error| error.to_string().replace(&format!("{}", directory.display()), "DIR"))
}

/// A tensor's values as its file holds them.
fn values(tensor: &TensorData) -> Vec<f32> {
    let bytes = &tensor.bytes;
    match tensor.dtype {
        "F32" => bytes.chunks(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect(),
        "F16" => bytes.chunks(2).map(|b| half::f16::from_le_bytes(b.try_into().unwrap()).to_f32()).collect(),
        _ => bytes.chunks(2).map(|b| half::bf16::from_le_bytes(b.try_into().unwrap()).to_f32()).collect(),
    }
}

/// Every weight of the packed model against its checkpoint.
fn check(model: &PackedModel, tensors: &[TensorData]) {
    let by_name: BTreeMap<_, _> = tensors.iter().map(|tensor| (tensor.name.as_str(), tensor)).collect();
    let format = model.config().weight_format;
    let rounded = |x: f32| if format == WeightFormat::Bf16 { bf16_operand(x).to_f32() } else { x };
    // Outputs `first ..` of a product, against a tensor and its bias.
    let rows = |linear: &Linear, first: usize, name: &str, paired: Option<usize>| {
        let weight = values(by_name[format!("{name}.weight").as_str()]);
        let k = linear.inputs();
        let bias = by_name.get(format!("{name}.bias").as_str()).map(|tensor| values(tensor));
        assert_eq!(linear.bias().is_some(), bias.is_some(), "{name}");
        let mut column = vec![0.0; k];
        for row in 0..weight.len() / k {
            let n = paired.map_or(first + row, |half| row / 32 * 64 + half * 32 + row % 32);
            linear.read_column(n, &mut column);
            for (i, x) in column.iter().enumerate() {
                assert_eq!(x.to_bits(), rounded(weight[row * k + i]).to_bits(), "{name} [{row}, {i}]");
            }
            if let (Some(packed), Some(bias)) = (linear.bias(), &bias) {
                assert_eq!(packed[n].to_bits(), bias[row].to_bits(), "{name}");
            }
        }
        first + weight.len() / k
    };
    let vector = |packed: &[f32], name: &str| {
        let expected = values(by_name[name]);
        assert_eq!(packed[..expected.len()], expected, "{name}");
        assert!(packed[expected.len()..].iter().all(|x| *x == 0.0));
    };
    for i in 0..model.config().layer_count {
        let layer = model.layer(i);
        let name = |part: &str| format!("model.layers.{i}.{part}");
        let end = rows(&layer.qkv, 0, &name("self_attn.q_proj"), None);
        let end = rows(&layer.qkv, end, &name("self_attn.k_proj"), None);
        let end = rows(&layer.qkv, end, &name("self_attn.v_proj"), None);
        assert_eq!(end, layer.qkv.outputs());
        rows(&layer.attention_output, 0, &name("self_attn.o_proj"), None);
        rows(&layer.gate_up, 0, &name("mlp.gate_proj"), Some(0));
        rows(&layer.gate_up, 0, &name("mlp.up_proj"), Some(1));
        rows(&layer.down, 0, &name("mlp.down_proj"), None);
        vector(layer.attention_norm, &name("input_layernorm.weight"));
        vector(layer.feed_forward_norm, &name("post_attention_layernorm.weight"));
        if let (Some(q), Some(k)) = (layer.q_norm, layer.k_norm) {
            vector(q, &name("self_attn.q_norm.weight"));
            vector(k, &name("self_attn.k_norm.weight"));
        }
    }
    let outer = model.outer();
    vector(outer.final_norm, "model.norm.weight");
    let embedding = values(by_name["model.embed_tokens.weight"]);
    let expected: Vec<f32> = embedding.iter().map(|x| rounded(*x)).collect();
    match outer.embedding {
        Embedding::Tied => _ = rows(&outer.head, 0, "model.embed_tokens", None),
        Embedding::F32(packed) => assert_eq!(packed, expected),
        Embedding::Bf16(packed) => assert!(packed.iter().map(|x| x.to_f32()).eq(expected)),
    }
    if !model.config().tied_head {
        rows(&outer.head, 0, "lm_head", None);
    }
}

#[test]
fn every_type_family_and_format_is_packed_right() {
    for dtype in ["F32", "F16", "BF16"] {
        for (model_type, tied) in [("llama", false), ("mistral", true), ("qwen2", true), ("qwen3", false)] {
            let directory = TemporaryDirectory::new("pack");
            let recipe = recipe(model_type, tied, dtype);
            recipe.write(directory.path(), 1).unwrap();
            for format in [WeightFormat::F32, WeightFormat::Bf16] {
                let loaded = load_from(directory.path(), WeightChoice::all(format)).unwrap();
                assert_eq!(loaded.model().config().weight_format, format);
                check(&loaded.model(), &recipe.tensors().unwrap());
                // Another split over workers: the same bytes.
                let format = WeightChoice::all(format);
                let serial =
                    load_model(&Folder::from(directory.path()), format, &Serial, &NoProgress).unwrap();
                assert!(serial.image() == loaded.image());
            }
            let own = load_from(directory.path(), WeightChoice::default()).unwrap();
            let expected = if dtype == "F32" { WeightFormat::F32 } else { WeightFormat::Bf16 };
            assert_eq!(own.model().config().weight_format, expected);
            assert_eq!(own.notes().len(), usize::from(dtype == "F16"));
            assert_eq!((own.generation().eos_ids.as_slice(), own.generation().bos_id), (&[2][..], Some(1)));
        }
    }
}

#[test]
fn compressed_weights_are_the_same_weights() {
    let choice = |compress| WeightChoice { compress, ..WeightChoice::all(WeightFormat::Bf16) };
    for (dtype, tied) in [("F32", true), ("BF16", false)] {
        let directory = TemporaryDirectory::new("compressed");
        recipe("qwen3", tied, dtype).write(directory.path(), 1).unwrap();
        let plain = load_from(directory.path(), choice(Compress::Off)).unwrap();
        let compressed = load_from(directory.path(), choice(Compress::On)).unwrap();
        let small = load_from(directory.path(), choice(Compress::Auto)).unwrap();
        assert!(small.image() == plain.image(), "a model that fits the caches is not compressed");
        let (plain, compressed) = (plain.model(), compressed.model());
        assert_eq!(plain.source_hash(), compressed.source_hash());
        assert_eq!(compressed.config().weight_format, WeightFormat::Bf16x12);
        let pairs = (0..plain.config().layer_count)
            .map(|layer| (plain.layer(layer).down, compressed.layer(layer).down));
        for (plain, compressed) in pairs.chain([(plain.outer().head, compressed.outer().head)]) {
            let (mut x, mut y) = (vec![0.0; plain.inputs()], vec![0.0; plain.inputs()]);
            for n in 0..plain.outputs() {
                plain.read_column(n, &mut x);
                compressed.read_column(n, &mut y);
                assert!(x == y, "{dtype} {n}");
            }
        }
    }
}

#[test]
fn large_models_are_compressed_where_that_pays() {
    let directory = TemporaryDirectory::new("large");
    recipe("llama", true, "BF16").write(directory.path(), 1).unwrap();
    let small = load_from(directory.path(), WeightChoice::default()).unwrap();
    let small = *small.model().config();
    let large = ModelConfig { vocab_size: 700_000, ..small };
    let chosen = |model, weights| {
        let mut notes = Vec::new();
        let chosen = super::in_12_bits(model, weights, directory.path(), &mut notes).unwrap();
        (chosen.weight_format == WeightFormat::Bf16x12, notes)
    };
    for isa in Isa::available().iter().copied() {
        for sequences in [Some(1), Some(5), None] {
            let weights = WeightChoice { isa: Some(isa), sequences, ..WeightChoice::default() };
            let why_not = no_gain(weights);
            let said = why_not.map(|why| LoadNote::NotCompressed(NotCompressed::NoGain(why)));
            assert_eq!(chosen(&large, weights), (why_not.is_none(), Vec::from_iter(said)), "{isa:?}");
            assert_eq!(chosen(&small, weights), (false, Vec::new()), "it fits the caches");
            for (compress, wanted) in [(Compress::On, true), (Compress::Off, false)] {
                assert_eq!(chosen(&large, WeightChoice { compress, ..weights }), (wanted, Vec::new()));
            }
        }
    }
    let portable = WeightChoice { isa: Some(Isa::PORTABLE), ..WeightChoice::default() };
    assert!(!chosen(&large, portable).0);
}

#[test]
fn weights_that_cannot_be_compressed_are_told() {
    // Every exponent there is, as often as any other.
    let directory = TemporaryDirectory::new("wild");
    recipe("llama", true, "F32").write(directory.path(), 1).unwrap();
    let file = directory.path().join("model.safetensors");
    let mut bytes = std::fs::read(&file).unwrap();
    let start = 8 + u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    for (i, x) in bytes[start..].chunks_exact_mut(4).enumerate() {
        x.copy_from_slice(&f32::from_bits(((i * 37 % 100 + 90) as u32) << 23).to_le_bytes());
    }
    std::fs::write(&file, bytes).unwrap();
    let choice = |compress| WeightChoice { compress, ..WeightChoice::all(WeightFormat::Bf16) };
    let error = load_from(directory.path(), choice(Compress::On)).unwrap_err();
    assert!(error.contains("too many to be compressed"), "{error}");
    load_from(directory.path(), choice(Compress::Off)).unwrap();
}

#[test]
fn int8_weights_are_near_the_source_once_they_are_rotated_back() {
    for (dtype, tied) in [("F32", true), ("F16", false), ("BF16", true)] {
        let directory = TemporaryDirectory::new("int8");
        recipe("qwen2", tied, dtype).write(directory.path(), 1).unwrap();
        let choice = |format| WeightChoice::all(format);
        let exact = load_from(directory.path(), choice(WeightFormat::F32)).unwrap();
        let rounded = load_from(directory.path(), choice(WeightFormat::Int8)).unwrap();
        let folder = Folder::from(directory.path());
        let serial = load_model(&folder, choice(WeightFormat::Int8), &Serial, &NoProgress).unwrap();
        assert!(serial.image() == rounded.image(), "another split over workers");
        let (exact, rounded) = (exact.model(), rounded.model());
        assert!(rounded.weight_bytes() * 3 < exact.weight_bytes());
        let layers = (0..exact.config().layer_count).flat_map(|layer| {
            let (a, b) = (exact.layer(layer), rounded.layer(layer));
            [
                (a.qkv, b.qkv),
                (a.attention_output, b.attention_output),
                (a.gate_up, b.gate_up),
                (a.down, b.down),
            ]
        });
        for (exact, rounded) in layers.chain([(exact.outer().head, rounded.outer().head)]) {
            let (mut x, mut y) = (vec![0.0; exact.inputs()], vec![0.0; exact.inputs()]);
            for n in 0..exact.outputs() {
                exact.read_column(n, &mut x);
                rounded.read_column(n, &mut y);
                // Half a step for each element, which the rotation keeps in their sum of squares.
                let error: f32 = x.iter().zip(&y).map(|(x, y)| (x - y).powi(2)).sum();
                let power: f32 = x.iter().map(|x| x.powi(2)).sum();
                assert!(error.sqrt() <= power.sqrt() * 0.012, "{dtype} {error} {power}");
            }
        }
    }
}

#[test]
fn shards_and_images_have_the_same_fingerprint() {
    let directory = TemporaryDirectory::new("shards");
    let (single, sharded) = (directory.path().join("single"), directory.path().join("sharded"));
    let recipe = recipe("llama", false, "BF16");
    recipe.write(&single, 1).unwrap();
    recipe.write(&sharded, 4).unwrap();
    for path in [&single, &sharded] {
        fs::write(path.join("tokenizer.json"), "{}").unwrap();
    }
    let one = load_from(&single, WeightChoice::default()).unwrap();
    let four = load_from(&sharded, WeightChoice::default()).unwrap();
    assert!(one.image() == four.image());
    let choices = RuntimeChoices::PLAIN;
    let name = short_form(&one.fingerprint(&choices));
    assert!(name.len() == 19 && name.starts_with("vb-"), "{name}");

    let file = directory.path().join("model.image");
    write_image(&one, &file, &Threads).unwrap();
    for (copy, verify) in [(false, false), (false, true), (true, false), (true, true)] {
        let access = ImageAccess { copy, verify };
        let image = load(&file, WeightChoice::default(), access, &Threads, &NoProgress).unwrap();
        assert_eq!(image.fingerprint(&choices), one.fingerprint(&choices));
        assert_eq!((image.file("tokenizer.json"), image.generation()), (Some(&b"{}"[..]), one.generation()));
        assert_eq!(image.is_mapped(), !copy);
        check(&image.model(), &recipe.tensors().unwrap());
    }

    // Whatever can change a bit moves it.
    let other_format = load_from(&single, WeightChoice::all(WeightFormat::F32)).unwrap();
    assert_ne!(other_format.fingerprint(&choices), one.fingerprint(&choices));
    for other in [
        RuntimeChoices { kv_format: KvFormat::F32, ..choices },
        RuntimeChoices { kv_group: 1, ..choices },
        RuntimeChoices { model_len: 63, ..choices },
        RuntimeChoices { chat_template: Some(""), ..choices },
        RuntimeChoices { pooling: Some(Pooling::Last), ..choices },
    ] {
        assert_ne!(one.fingerprint(&other), one.fingerprint(&choices));
    }
    fs::write(single.join("tokenizer.json"), "{ }").unwrap();
    let other = load_from(&single, WeightChoice::default()).unwrap();
    assert_ne!(other.model().source_hash(), one.model().source_hash());
    for tensor in 0..recipe.tensors().unwrap().len() {
        let mut tensors = recipe.tensors().unwrap();
        *tensors[tensor].bytes.first_mut().unwrap() ^= 1;
        write_safetensors(&single.join("model.safetensors"), &tensors).unwrap();
        fs::write(single.join("tokenizer.json"), "{}").unwrap();
        let other = load_from(&single, WeightChoice::default()).unwrap();
        assert_ne!(other.model().source_hash(), one.model().source_hash(), "{}", tensors[tensor].name);
    }
}

/// What a change to a good directory makes of it.
fn refused(change: impl FnOnce(&Path, Vec<TensorData>)) -> String {
    let directory = TemporaryDirectory::new("bad");
    let recipe = recipe("llama", true, "F32");
    recipe.write(directory.path(), 1).unwrap();
    change(directory.path(), recipe.tensors().unwrap());
    load_from(directory.path(), WeightChoice::default()).map(|_| ()).unwrap_err()
}

#[test]
fn bad_directories_are_refused_with_the_reason() {
    let write = |path: &Path, tensors: &[TensorData]| {
        write_safetensors(&path.join("model.safetensors"), tensors).unwrap();
    };
    let find = |tensors: &[TensorData], name: &str| tensors.iter().position(|t| t.name == name).unwrap();
    let k_proj = "model.layers.1.self_attn.k_proj.weight";
    assert_eq!(
        refused(|path, _| fs::remove_dir_all(path).unwrap()),
        "DIR: cannot read: No such file or directory (os error 2)"
    );
    assert_eq!(
        refused(|path, _| fs::remove_file(path.join("config.json")).unwrap()),
        "DIR: has no config.json and no GGUF file"
    );
    assert_eq!(
        refused(|path, _| fs::remove_file(path.join("model.safetensors")).unwrap()),
        "DIR: has neither model.safetensors nor model.safetensors.index.json"
    );
    assert_eq!(
        refused(|path, mut tensors| {
            let i = find(&tensors, k_proj);
            tensors.remove(i);
            write(path, &tensors);
        }),
        format!("DIR: tensor {k_proj}: found nothing, expected shape [14, 50]")
    );
    assert_eq!(
        refused(|path, mut tensors| {
            let i = find(&tensors, k_proj);
            tensors[i].shape = vec![50, 14];
            write(path, &tensors);
        }),
        format!("DIR/model.safetensors: tensor {k_proj}: found shape [50, 14], expected shape [14, 50]")
    );
    assert_eq!(
        refused(|path, mut tensors| {
            tensors.push(TensorData::new("model.layers.2.x\nweight", "F32", &[1], &[0.0]));
            write(path, &tensors);
        }),
        "DIR/model.safetensors: tensor model.layers.2.x\\nweight: found shape [1], expected no such tensor in a \
         llama model"
    );
    assert_eq!(
        refused(|path, mut tensors| {
            let i = find(&tensors, k_proj);
            tensors[i].dtype = "I32";
            write(path, &tensors);
        }),
        format!("DIR/model.safetensors: tensor {k_proj}: found I32, expected F32, F16 or BF16")
    );
    for (name, at, value, message) in [
        (k_proj, 13 * 50 + 7, f32::NAN, "NaN in tensor model.layers.1.self_attn.k_proj.weight at [13, 7]"),
        (
            "model.layers.0.mlp.up_proj.weight",
            69 * 50,
            f32::INFINITY,
            "infinity in tensor model.layers.0.mlp.up_proj.weight at [69, 0]",
        ),
        ("model.norm.weight", 49, f32::NAN, "NaN in tensor model.norm.weight at [0, 49]"),
        (
            "model.layers.1.mlp.gate_proj.bias",
            3,
            f32::NAN,
            "NaN in tensor model.layers.1.mlp.gate_proj.bias at [0, 3]",
        ),
        (
            "model.embed_tokens.weight",
            100 * 50 + 49,
            f32::NAN,
            "NaN in tensor model.embed_tokens.weight at [100, 49]",
        ),
    ] {
        let found = refused(|path, mut tensors| {
            let i = find(&tensors, name);
            tensors[i].bytes[at * 4..][..4].copy_from_slice(&value.to_le_bytes());
            write(path, &tensors);
        });
        assert_eq!(found, format!("DIR/model.safetensors: {message}"));
    }
}

#[test]
fn bad_safetensors_files_are_refused_with_the_reason() {
    let file = |bytes: &[u8]| refused(|path, _| fs::write(path.join("model.safetensors"), bytes).unwrap());
    let with_header = |header: &str, data: usize| {
        let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
        bytes.extend_from_slice(header.as_bytes());
        bytes.resize(bytes.len() + data, 0);
        file(&bytes)
    };
    let name = "DIR/model.safetensors";
    assert_eq!(file(b""), format!("{name}: has 0 bytes, expected a header of at least 8"));
    assert_eq!(
        file(&u64::MAX.to_le_bytes()),
        format!("{name}: the header says it is {} bytes long, expected at most 0", u64::MAX)
    );
    assert_eq!(
        file(&[0, 0, 0, 0, 1, 0, 0, 0, b'{']),
        format!("{name}: the header says it is 4294967296 bytes long, expected at most 1")
    );
    assert_eq!(
        with_header("{\"a\":", 0),
        format!("{name}: the header is not valid: EOF while parsing a value at line 1 column 5")
    );
    let valid = r#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}"#;
    assert_eq!(with_header(valid, 4), format!("{name}: has 66 bytes, expected 70 as its header says"));
    assert_eq!(with_header(valid, 9), format!("{name}: has 71 bytes, expected 70 as its header says"));
    for (header, reason) in [
        (
            r#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"b":{"dtype":"F32","shape":[2],"data_offsets":[4,12]}}"#,
            "invalid offset for tensor `b`",
        ),
        (
            r#"{"a":{"dtype":"F32","shape":[3],"data_offsets":[0,8]}}"#,
            "invalid shape, data type, or offset for tensor",
        ),
        (
            r#"{"a":{"dtype":"F32","shape":[4294967296,4294967296,2],"data_offsets":[0,8]}}"#,
            "overflow computing buffer size from shape and/or element type",
        ),
    ] {
        let found = with_header(header, 12);
        assert!(found.starts_with(&format!("{name}: the header is not valid: {reason}")), "{found}");
    }
    assert!(
        with_header(r#"{"a":{"dtype":"Q7","shape":[2],"data_offsets":[0,8]}}"#, 8)
            .contains("unknown variant")
    );
}

#[test]
fn bad_indices_are_refused_with_the_reason() {
    let index = |change: &dyn Fn(&Path, &mut Value)| {
        let directory = TemporaryDirectory::new("index");
        recipe("mistral", true, "BF16").write(directory.path(), 2).unwrap();
        let path = directory.path().join("model.safetensors.index.json");
        let mut index: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        change(directory.path(), &mut index);
        fs::write(&path, index.to_string()).unwrap();
        load_from(directory.path(), WeightChoice::default()).map(|_| ()).unwrap_err()
    };
    let at = "DIR/model.safetensors.index.json";
    let norm = "model.norm.weight";
    assert_eq!(
        index(&|_, index| *index = json!({"weight_map": 3})),
        format!("{at}: weight_map: found 3, expected an object of tensor and file names")
    );
    for bad in ["../x.safetensors", "/etc/passwd", "a/b", "", ".", "..", "a/"] {
        assert_eq!(
            index(&|_, index| index["weight_map"][norm] = bad.into()),
            format!("{at}: weight_map.{norm}: found {bad:?}, expected a plain file name")
        );
    }
    let second = "DIR/model-00002-of-00002.safetensors";
    assert_eq!(
        index(&|path, _| fs::remove_file(path.join("model-00002-of-00002.safetensors")).unwrap()),
        format!("{second}: is missing, though model.safetensors.index.json names it")
    );
    assert_eq!(
        index(&|_, index| index["weight_map"]["x"] = "model-00002-of-00002.safetensors".into()),
        format!("{second}: tensor x: found nothing, expected it here, as model.safetensors.index.json says")
    );
    assert_eq!(
        index(&|path, _| {
            let first = fs::read(path.join("model-00001-of-00002.safetensors")).unwrap();
            fs::write(path.join("model-00002-of-00002.safetensors"), first).unwrap();
        })
        .split(": found it in ")
        .nth(1),
        Some("DIR/model-00001-of-00002.safetensors too, expected it once")
    );
}

#[test]
fn a_tied_head_and_old_frequencies_in_the_file_are_harmless() {
    let directory = TemporaryDirectory::new("harmless");
    let recipe = recipe("llama", true, "F32");
    recipe.write(directory.path(), 1).unwrap();
    let without = load_from(directory.path(), WeightChoice::default()).unwrap();
    let mut tensors = recipe.tensors().unwrap();
    tensors.push(TensorData::new("lm_head.weight", "F32", &[1], &[0.0]));
    tensors.push(TensorData::new("model.layers.0.self_attn.rotary_emb.inv_freq", "F32", &[1], &[0.0]));
    write_safetensors(&directory.path().join("model.safetensors"), &tensors).unwrap();
    let with = load_from(directory.path(), WeightChoice::default()).unwrap();
    assert_eq!(with.model().source_hash(), without.model().source_hash());
}

/// Rows of Q, K and V meet in one panel, whatever their types are.
#[test]
fn tensors_of_one_weight_may_be_of_different_types() {
    let recipe = recipe("qwen2", true, "F32");
    let (mut mixed, mut wide) = (recipe.tensors().unwrap(), recipe.tensors().unwrap());
    for (i, (mixed, wide)) in mixed.iter_mut().zip(&mut wide).enumerate() {
        let narrow =
            TensorData::new(&mixed.name, ["F16", "BF16", "F32"][i % 3], &mixed.shape, &values(mixed));
        *wide = TensorData::new(&mixed.name, "F32", &mixed.shape, &values(&narrow));
        *mixed = narrow;
    }
    let loaded = |tensors: &[TensorData], format| {
        let directory = TemporaryDirectory::new("mixed");
        fs::write(directory.path().join("config.json"), recipe.config.to_string()).unwrap();
        write_safetensors(&directory.path().join("model.safetensors"), tensors).unwrap();
        load_from(directory.path(), WeightChoice::all(format)).unwrap()
    };
    for format in [WeightFormat::F32, WeightFormat::Bf16, WeightFormat::Int8] {
        let [mixed, wide] = [&mixed, &wide].map(|tensors| loaded(tensors, format));
        let head = wide.model().layout().head_bytes();
        assert!(mixed.image()[head..] == wide.image()[head..], "{}", format.name());
    }
}

#[test]
fn a_file_that_shrinks_is_an_error() {
    let directory = TemporaryDirectory::new("shrink");
    let recipe = recipe("llama", true, "F32");
    recipe.write(directory.path(), 1).unwrap();
    let checkpoint = Checkpoint::open(&Folder::from(directory.path())).unwrap();
    let text = recipe.config.to_string();
    let config = parse_config(Path::new("config.json"), text.as_bytes()).unwrap().model;
    let plan = Plan::new(&config, &checkpoint).unwrap();
    let layout = ImageLayout::new(&config, &[]).unwrap();
    let path = directory.path().join("model.safetensors");
    let len = fs::metadata(&path).unwrap().len();
    fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(len / 2).unwrap();
    let mut memory = AlignedMemory::new(layout.total_bytes()).unwrap();
    let packer = Packer::new(&plan, &checkpoint, &layout);
    let error = packer.run(&packer.tasks(memory.as_mut_slice()), &Threads, &NoProgress).unwrap_err();
    assert_eq!(error.to_string(), format!("{}: the file became shorter while it was read", path.display()));
}

#[test]
fn progress_ends_at_the_total() {
    struct Last(Mutex<(u64, u64)>);
    impl Progress for Last {
        fn advance(&self, done: u64, total: u64) {
            let mut last = lock(&self.0);
            last.0 = last.0.max(done);
            last.1 = total;
        }
    }
    let directory = TemporaryDirectory::new("progress");
    let recipe = recipe("qwen3", false, "BF16");
    recipe.write(directory.path(), 1).unwrap();
    let last = Last(Mutex::new((0, 0)));
    load_model(&Folder::from(directory.path()), WeightChoice::default(), &Threads, &last).unwrap();
    let expected: usize = recipe.tensors().unwrap().iter().map(|tensor| tensor.bytes.len()).sum();
    assert_eq!(*lock(&last.0), (expected as u64, expected as u64));
}

#[test]
fn stories260k_loads() {
    let data = std::env::var_os("VERBATIM_TESTDATA").map_or_else(
        || Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared")).to_owned(),
        PathBuf::from,
    );
    let directory = data.join("models/stories260K");
    if !directory.exists() {
        println!("skipped: stories260k_loads (no test data)");
        return;
    }
    for format in [WeightFormat::F32, WeightFormat::Bf16] {
        let loaded =
            load_model(&Folder::from(directory.as_path()), WeightChoice::all(format), &Threads, &NoProgress)
                .unwrap();
        let model = loaded.model();
        assert_eq!(
            (model.config().layer_count, model.config().hidden_size, model.flushed_count()),
            (5, 64, 0)
        );
        assert_eq!(
            (loaded.generation().eos_ids.as_slice(), loaded.generation().bos_id),
            (&[1, 2][..], Some(1))
        );
        assert!(loaded.file("tokenizer.json").is_some());
    }
}

/// Prints how long the TinyLlama shape takes from a warm cache on two threads, and the peak of this
/// process: `--release -- --ignored --nocapture load_speed`, in a process of its own.
#[test]
#[ignore = "a measurement: writes 2.2 GB"]
fn load_speed() {
    struct Two;
    // SAFETY: as `Threads`, with two.
    unsafe impl Pool for Two {
        fn workers(&self) -> usize {
            2
        }
        fn run(&self, _phase: Phase, tasks: usize, job: &(dyn Fn(usize, usize) + Sync)) {
            let next = AtomicUsize::new(0);
            let next = &next;
            std::thread::scope(|scope| {
                for worker in 0..2 {
                    scope.spawn(move || {
                        loop {
                            let task = next.fetch_add(1, Ordering::Relaxed);
                            if task >= tasks {
                                break;
                            }
                            job(task, worker);
                        }
                    });
                }
            });
        }
    }
    let directory = std::env::temp_dir().join("verbatim-load-speed");
    if !directory.join("model.safetensors").exists() {
        let config = json!({
            "model_type": "llama", "hidden_size": 2048, "intermediate_size": 5632, "num_hidden_layers": 22,
            "num_attention_heads": 32, "num_key_value_heads": 4, "vocab_size": 32000,
            "max_position_embeddings": 2048,
        });
        Recipe::uniform(config, 1, "BF16", 0.02, 0.02).write(&directory, 1).unwrap();
        println!("written; run again");
        return;
    }
    for _ in 0..3 {
        let start = std::time::Instant::now();
        let loaded =
            load_model(&Folder::from(directory.as_path()), WeightChoice::default(), &Two, &NoProgress)
                .unwrap();
        let seconds = start.elapsed().as_secs_f64();
        println!("{seconds:.2} s for {:.2} GB", loaded.model().weight_bytes() as f64 / 1e9);
    }
    let status = fs::read_to_string("/proc/self/status").unwrap();
    println!("{}", status.lines().find(|line| line.starts_with("VmHWM")).unwrap());
}

/// Where a checkpoint stores `w − 1` for a norm's weight `w`, the image holds `w`, in f32.
#[test]
fn the_one_of_norms_is_added_when_they_are_packed() {
    let directory = TemporaryDirectory::new("adds-one");
    let recipe = recipe("qwen3", true, "F32");
    recipe.write(directory.path(), 1).unwrap();
    let plain = load_from(directory.path(), WeightChoice::default()).unwrap();
    let checkpoint = Checkpoint::open(&Folder::from(directory.path())).unwrap();
    let mut config = *plain.model().config();
    config.features.norms.adds_one = true;
    let plan = Plan::new(&config, &checkpoint).unwrap();
    let sources =
        Sources { directory: directory.path(), contents: &[], checkpoint: &checkpoint, plan: &plan };
    let memory = sources.pack(&config, &Serial, &NoProgress).unwrap();
    let (plain, added) = (plain.model(), PackedModel::parse(memory.as_slice()).unwrap());
    let same = |plain: &[f32], added: &[f32], len: usize| {
        assert_eq!(plain.len(), added.len());
        for (i, (plain, added)) in plain.iter().zip(added).enumerate() {
            assert_eq!(*added, if i < len { plain + 1.0 } else { 0.0 });
        }
    };
    let (hidden, head_dim) = (config.hidden_size, config.head_dim);
    same(plain.outer().final_norm, added.outer().final_norm, hidden);
    for layer in 0..config.layer_count {
        let (plain, added) = (plain.layer(layer), added.layer(layer));
        same(plain.attention_norm, added.attention_norm, hidden);
        same(plain.feed_forward_norm, added.feed_forward_norm, hidden);
        same(plain.q_norm.unwrap(), added.q_norm.unwrap(), head_dim);
        same(plain.k_norm.unwrap(), added.k_norm.unwrap(), head_dim);
        assert_eq!(plain.down.bias(), added.down.bias());
    }
}
