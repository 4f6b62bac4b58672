//! GGUF files against the checkpoints that they were made of: the same image, byte for byte.
use super::blocks::{BlockFormat, dequantize};
use super::tensor_type::TYPES;
use crate::load::checkpoint::Elements;
use crate::load::image_file::{ImageAccess, load, write_image};
use crate::load::pack::tests::{Threads, recipe};
use crate::load::{Folder, LoadedModel, NoProgress, RuntimeChoices, WeightChoice, load_model, short_form};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use verbatim_core::dtype::WeightFormat;
use verbatim_core::isa::Isa;
use verbatim_core::pool::Serial;
use verbatim_tests::checkpoint::{TensorData, safetensors_to};
use verbatim_tests::draws::Draws;
use verbatim_tests::gguf::{GgufFile, GgufTensor, GgufValue, of_checkpoint};
use verbatim_tests::recipe::Recipe;
use verbatim_tests::temporary::TemporaryDirectory;

fn memory(files: impl IntoIterator<Item = (&'static str, Vec<u8>)>) -> Folder {
    let files = files.into_iter().map(|(name, bytes)| (name.to_owned(), Arc::from(bytes)));
    Folder::Memory { name: PathBuf::from("folder"), files: files.collect::<BTreeMap<_, _>>() }
}

fn of_file(file: &GgufFile) -> Folder {
    memory([("m.gguf", file.bytes())])
}

fn of_safetensors(config: &Value, tensors: &[TensorData]) -> Folder {
    let mut bytes = Vec::new();
    safetensors_to(&mut bytes, tensors).unwrap();
    memory([("config.json", config.to_string().into_bytes()), ("model.safetensors", bytes)])
}

fn loaded(folder: &Folder, weights: WeightChoice) -> LoadedModel {
    load_model(folder, weights, &Threads, &NoProgress).unwrap()
}

fn told(file: &GgufFile) -> String {
    load_model(&of_file(file), WeightChoice::default(), &Serial, &NoProgress).unwrap_err().to_string()
}

/// The tensors of an image.
fn body(model: &LoadedModel) -> &[u8] {
    &model.image()[model.model().layout().head_bytes()..]
}

fn same_model(gguf: &LoadedModel, checkpoint: &LoadedModel, what: &str) {
    let (found, expected) = (*gguf.model().config(), *checkpoint.model().config());
    // Converters write Mistral's models as Llama's, which compute the same.
    let found = verbatim_core::model::ModelConfig { architecture: expected.architecture, ..found };
    assert_eq!(found, expected, "{what}");
    assert!(body(gguf) == body(checkpoint), "{what}: the weights differ");
}

#[test]
fn a_file_is_served_as_the_checkpoint_that_it_was_made_of() {
    for (model_type, tied) in
        [("llama", false), ("llama", true), ("mistral", true), ("qwen2", true), ("qwen3", false)]
    {
        for dtype in ["F32", "F16", "BF16"] {
            let recipe = recipe(model_type, tied, dtype);
            let tensors = recipe.tensors().unwrap();
            let gguf = of_file(&of_checkpoint(&recipe.config, &tensors));
            let checkpoint = of_safetensors(&recipe.config, &tensors);
            let own = [loaded(&gguf, WeightChoice::default()), loaded(&checkpoint, WeightChoice::default())];
            same_model(&own[0], &own[1], "own format");
            assert_eq!(own[0].notes(), own[1].notes());
            assert_eq!(own[0].generation().eos_ids, own[1].generation().eos_ids);
            for format in WeightFormat::ALL {
                let choice = WeightChoice::all(format);
                let what = format!("{model_type} {tied} {dtype} {}", format.name());
                same_model(&loaded(&gguf, choice), &loaded(&checkpoint, choice), &what);
            }
        }
    }
}

/// Blocks of a type with finite values: random codes, and small scales.
fn random_blocks(draws: &mut Draws, format: BlockFormat, elements: usize) -> Vec<u8> {
    // Where the f16 numbers of a block stand; other types have bytes of exponents.
    let halves: &[usize] = match format {
        BlockFormat::Q4_0
        | BlockFormat::Q5_0
        | BlockFormat::Q8_0
        | BlockFormat::Iq4Nl
        | BlockFormat::Iq4Xs => &[0],
        BlockFormat::Q4_1 | BlockFormat::Q5_1 | BlockFormat::Q4K | BlockFormat::Q5K => &[0, 2],
        BlockFormat::Q2K => &[80, 82],
        BlockFormat::Q3K => &[108],
        BlockFormat::Q6K => &[208],
        BlockFormat::Mxfp4 | BlockFormat::Nvfp4 => &[],
    };
    let mut bytes = Vec::new();
    for _ in 0..elements / format.block_elements() {
        let mut block: Vec<u8> = (0..format.block_bytes()).map(|_| draws.bits() as u8).collect();
        for at in halves {
            // Between 2^-10 and 2^-7, of either sign.
            let half = (draws.bits() as u16 & 0x8bff) | 0x1400;
            block[*at..at + 2].copy_from_slice(&half.to_le_bytes());
        }
        match format {
            BlockFormat::Mxfp4 => block[0] = 120 + block[0] % 8,
            BlockFormat::Nvfp4 => block[..4].iter_mut().for_each(|scale| *scale &= 0x2f),
            _ => {}
        }
        bytes.extend(block);
    }
    bytes
}

/// A model of one layer whose matrices are blocks, each of another type, and the same as f32.
fn of_blocks(model_type: &str, formats: &[BlockFormat]) -> (GgufFile, Value, Vec<TensorData>) {
    let config = json!({
        "model_type": model_type, "hidden_size": 256, "intermediate_size": 256, "num_hidden_layers": 1,
        "num_attention_heads": 10, "num_key_value_heads": 2, "head_dim": 32, "vocab_size": 40,
        "max_position_embeddings": 64, "rms_norm_eps": 1e-5, "tie_word_embeddings": false,
        "attention_bias": model_type == "llama", "mlp_bias": false, "eos_token_id": 2, "bos_token_id": 1,
    });
    let mut tensors = Recipe::uniform(config.clone(), 3, "F32", 0.1, 0.2).tensors().unwrap();
    let mut file = of_checkpoint(&config, &tensors);
    let mut draws = Draws::new(9);
    let matrices = tensors.iter_mut().zip(&mut file.tensors).filter(|(tensor, _)| tensor.shape.len() == 2);
    for (i, (tensor, stored)) in matrices.enumerate() {
        let format = formats[i % formats.len()];
        let count = tensor.shape.iter().product();
        // Rows that are no whole blocks stay as they are.
        if tensor.shape[1] % format.block_elements() != 0 {
            continue;
        }
        stored.bytes = random_blocks(&mut draws, format, count);
        stored.kind =
            TYPES.iter().find(|kind| kind.elements == Some(Elements::Blocks(format))).unwrap().number;
        let mut floats = vec![0.0; count];
        dequantize(Isa::detect(), format, &stored.bytes, &mut floats);
        // Written back as a converter would have found it: with the halves of each head in turns.
        let rotated = tensor.name.contains("q_proj") || tensor.name.contains("k_proj");
        let width = tensor.shape[1];
        let row_in_file = |row: usize| match rotated && model_type == "llama" {
            true => row / 32 * 32 + row % 32 % 16 * 2 + row % 32 / 16,
            false => row,
        };
        let values: Vec<f32> = (0..tensor.shape[0])
            .flat_map(|row| floats[row_in_file(row) * width..][..width].iter().copied())
            .collect();
        *tensor = TensorData::new(&tensor.name, "F32", &tensor.shape.clone(), &values);
    }
    (file, config, tensors)
}

#[test]
fn blocks_are_packed_as_the_floats_that_they_stand_for() {
    // Each type in each place once, so that Q, K and V are of different types, too.
    for first in 0..BlockFormat::ALL.len() {
        let model_type = ["llama", "qwen3"][first % 2];
        let formats: Vec<_> = BlockFormat::ALL.iter().cycle().skip(first).take(9).copied().collect();
        let (file, config, tensors) = of_blocks(model_type, &formats);
        let (gguf, checkpoint) = (of_file(&file), of_safetensors(&config, &tensors));
        let own = loaded(&gguf, WeightChoice::default());
        assert_eq!(own.model().config().weight_format, WeightFormat::Int8);
        for format in [WeightFormat::F32, WeightFormat::Int8] {
            let choice = WeightChoice::all(format);
            let found = loaded(&gguf, choice);
            same_model(
                &found,
                &loaded(&checkpoint, choice),
                &format!("{} {}", formats[0].name(), format.name()),
            );
            let serial = load_model(&gguf, choice, &Serial, &NoProgress).unwrap();
            assert!(serial.image() == found.image(), "another split over workers");
            let types: Vec<_> = found.stored().iter().map(|weights| weights.source).collect();
            assert!(types.contains(&formats[0].name()) && types.contains(&"f32"), "{types:?}");
        }
    }
}

#[test]
fn types_that_are_not_served_are_refused_by_name() {
    let (file, ..) = of_blocks("qwen3", &[BlockFormat::Q8_0]);
    for (number, name, block_bytes) in
        [(16, "IQ2_XXS", 66), (19, "IQ1_S", 50), (35, "TQ2_0", 66), (21, "IQ3_S", 110)]
    {
        let mut file = file.clone();
        let place = file.tensors.iter_mut().find(|other| other.name == "blk.0.ffn_down.weight").unwrap();
        *place = GgufTensor { kind: number, bytes: vec![0; 256 * block_bytes], ..place.clone() };
        assert_eq!(
            told(&file),
            format!(
                "folder/m.gguf: tensor blk.0.ffn_down.weight: found {name}, expected a type that is served: \
                 take the model in another mix, such as Q4_K_M, Q6_K or Q8_0"
            )
        );
    }
}

#[test]
fn tensors_are_told_by_their_names_in_the_file() {
    let (file, ..) = of_blocks("qwen3", &[BlockFormat::Q8_0]);
    let with = |change: fn(&mut GgufFile)| {
        let mut file = file.clone();
        change(&mut file);
        told(&file)
    };
    assert_eq!(
        with(|file| file.tensors.retain(|tensor| tensor.name != "blk.0.attn_k.weight")),
        "folder/m.gguf: tensor blk.0.attn_k.weight: found nothing, expected shape [64, 256]"
    );
    assert_eq!(
        with(|file| file.tensors.retain(|tensor| tensor.name != "token_embd.weight")),
        "folder/m.gguf: tensor token_embd.weight: found nothing, expected shape [40, 256]"
    );
    assert_eq!(
        with(|file| file.tensors.push(GgufTensor {
            name: "blk.0.attn_q.scale".to_owned(),
            kind: 0,
            shape: vec![1],
            bytes: vec![0; 4]
        })),
        "folder/m.gguf: tensor blk.0.attn_q.scale: found shape [1], expected no such tensor in a qwen3 model"
    );
    let nan = with(|file| {
        let down = file.tensors.iter_mut().find(|tensor| tensor.name == "blk.0.ffn_down.weight").unwrap();
        down.bytes[34 * (8 * 3 + 1)..][..2].copy_from_slice(&[0, 0x7e]);
    });
    assert_eq!(nan, "folder/m.gguf: NaN in tensor blk.0.ffn_down.weight at [3, 32]");
}

/// A file cut into two shards, the second with the later tensors.
fn shards(whole: &GgufFile) -> [GgufFile; 2] {
    let middle = whole.tensors.len() / 2;
    let mut first = GgufFile { tensors: whole.tensors[..middle].to_vec(), ..whole.clone() };
    let mut second = GgufFile::new(Vec::new(), whole.tensors[middle..].to_vec());
    for (number, file) in [(0, &mut first), (1, &mut second)] {
        file.set("split.no", GgufValue::U32(number));
        file.set("split.count", GgufValue::U32(2));
        file.set("split.tensors.count", GgufValue::I32(whole.tensors.len() as i32));
    }
    [first, second]
}

#[test]
fn shards_are_one_model() {
    let recipe = recipe("llama", false, "F32");
    let whole = of_checkpoint(&recipe.config, &recipe.tensors().unwrap());
    let [first, second] = shards(&whole);
    let folder = |first: &GgufFile, second: &GgufFile| {
        memory([("m-00001-of-00002.gguf", first.bytes()), ("m-00002-of-00002.gguf", second.bytes())])
    };
    let one = loaded(&of_file(&whole), WeightChoice::default());
    let found = loaded(&folder(&first, &second), WeightChoice::default());
    assert!(found.image() == one.image(), "the same hash, too");

    // On disk, by the name of either shard.
    let directory = TemporaryDirectory::new("shards");
    let paths = ["m-00001-of-00002.gguf", "m-00002-of-00002.gguf"].map(|name| directory.path().join(name));
    std::fs::write(&paths[0], first.bytes()).unwrap();
    std::fs::write(&paths[1], second.bytes()).unwrap();
    for path in paths.iter().map(PathBuf::as_path).chain([directory.path()]) {
        let found =
            load(path, WeightChoice::default(), ImageAccess::default(), &Serial, &NoProgress).unwrap();
        assert!(found.image() == one.image());
    }
    let refused = |folder: Folder| {
        load_model(&folder, WeightChoice::default(), &Serial, &NoProgress).unwrap_err().to_string()
    };
    assert_eq!(
        refused(folder(&second, &first)),
        "folder/m-00001-of-00002.gguf: split.no: found 1, expected 0, as its name says"
    );
    assert_eq!(
        refused(memory([("m-00001-of-00002.gguf", first.bytes())])),
        "folder/m-00002-of-00002.gguf: is missing"
    );
    assert_eq!(
        refused(of_file(&first)),
        "folder/m.gguf: split.count: found 2, expected 1, as its name says: shards are named \
         NAME-00001-of-00003.gguf and so on"
    );
    let mut fewer = second.clone();
    fewer.tensors.pop();
    assert!(refused(folder(&first, &fewer)).contains("split.tensors.count"));
    let mut twice = second.clone();
    twice.tensors[0] = first.tensors[0].clone();
    assert!(refused(folder(&first, &twice)).contains("found it in folder/m-00001-of-00002.gguf too"));
}

#[test]
fn an_image_of_a_file_is_served_as_the_file() {
    let (file, ..) = of_blocks("llama", &[BlockFormat::Q4K, BlockFormat::Q5_0, BlockFormat::Q6K]);
    let directory = TemporaryDirectory::new("gguf-image");
    let (path, image) = (directory.path().join("m.gguf"), directory.path().join("m.image"));
    std::fs::write(&path, file.bytes()).unwrap();
    let at = |path: &Path| {
        load(path, WeightChoice::default(), ImageAccess { copy: false, verify: true }, &Serial, &NoProgress)
            .unwrap()
    };
    let served = at(&path);
    write_image(&served, &image, &Serial).unwrap();
    let again = at(&image);
    let fingerprint = |model: &LoadedModel| short_form(&model.fingerprint(&RuntimeChoices::PLAIN));
    assert_eq!(fingerprint(&served), fingerprint(&again));
    for name in ["config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json"] {
        assert!(served.file(name).is_some() && served.file(name) == again.file(name), "{name}");
    }
    assert!(again.stored().is_empty() && again.generation() == served.generation());

    // A weight, or a key that matters, is another model; a key that does not is the same one.
    let changed = |change: fn(&mut GgufFile)| {
        let mut file = file.clone();
        change(&mut file);
        fingerprint(&loaded(&of_file(&file), WeightChoice::default()))
    };
    assert_eq!(
        changed(|file| file.set("general.name", GgufValue::Text("other".to_owned()))),
        fingerprint(&served)
    );
    assert_ne!(changed(|file| file.set("llama.rope.freq_base", GgufValue::F32(5e5))), fingerprint(&served));
    assert_ne!(changed(|file| file.tensors[0].bytes[3] ^= 1), fingerprint(&served));
}

/// Where the test data has it: a model as people have it, of several types.
#[test]
fn a_real_file_is_read() {
    let name = "models/real/qwen2.5-coder-0.5b-instruct-q4_k_m.gguf";
    let Some(path) = verbatim_tests::data::find("a_real_file_is_read", name) else { return };
    let folder = Folder::of_checkpoint(&path).expect("it begins as GGUF files do");
    let names = super::find(&folder).unwrap().unwrap();
    let opened = super::open(&folder, &names).unwrap();
    let file = |wanted: &str| {
        let found =
            opened.beside.iter().find(|(name, _)| *name == wanted).and_then(|(_, bytes)| bytes.as_deref());
        serde_json::from_slice::<Value>(found.unwrap()).unwrap()
    };
    let expected = json!({
        "model_type": "qwen2", "hidden_size": 896, "intermediate_size": 4864, "num_hidden_layers": 24,
        "num_attention_heads": 14, "num_key_value_heads": 2, "head_dim": 64, "max_position_embeddings": 32768,
        "rms_norm_eps": f64::from(1e-6_f32), "rope_theta": 1e6, "vocab_size": 151_936, "tie_word_embeddings": false,
    });
    assert_eq!(file("config.json"), expected);
    assert_eq!(opened.checkpoint.tensors.len(), 291);
}
