//! Which files of a repository a model needs: those that loading reads, those that Hugging Face's
//! own libraries read beside them, and the licence. Weights come in one form only.
use super::error::HubError;
use crate::load::gguf::shards;
use crate::load::{Folder, RepositoryName};
use crate::text::quote::quote;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// The configuration, by which a model is told from other repositories.
pub const CONFIG: &str = "config.json";
/// The weights of a model in one file.
const SINGLE: &str = "model.safetensors";
/// The names of the shards, where there are several.
pub const INDEX: &str = "model.safetensors.index.json";
/// Bytes of a file beside the weights, at most.
pub const BESIDE_MAX: u64 = 256 << 20;

/// Files beside the weights that are wanted by their whole path.
const BESIDE: &[&str] = &[
    CONFIG,
    "generation_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "vocab.txt",
    "merges.txt",
    "spiece.model",
    "modules.json",
    "1_Pooling/config.json",
    "sentence_bert_config.json",
    "config_sentence_transformers.json",
];
/// Files at the root that are wanted by how they begin, if they end as in [`BESIDE_ENDS`].
const BESIDE_BEGINS: &[&str] = &["tokenizer", "chat_template"];
const BESIDE_ENDS: &[&str] = &[".json", ".jinja", ".model", ".txt"];
/// What says who may use a model, for what: at the root, by how it begins.
const TERMS: &[&str] = &["readme.md", "license", "licence", "notice"];

/// Weights that Verbatim does not read, as people call them.
const OTHER_WEIGHTS: &[(&str, &str)] = &[
    (".bin", "PyTorch's .bin"),
    (".pth", "PyTorch's .pth"),
    (".pt", "PyTorch's .pt"),
    (".onnx", "ONNX"),
    (".h5", "TensorFlow's .h5"),
    (".msgpack", "Flax's .msgpack"),
    (".ckpt", ".ckpt"),
];

/// What kind of weights a repository is fetched for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Form {
    /// One file of safetensors, `model.safetensors`.
    Single,
    /// Shards of safetensors, which [`INDEX`] names.
    Shards,
    /// One GGUF model, by the names of its files.
    Gguf(Vec<String>),
}

/// Decides what a repository is fetched for, from the paths of its files and their lengths.
pub fn form(name: &RepositoryName, files: &BTreeMap<&str, u64>) -> Result<Form, HubError> {
    if name.mix.is_none() {
        for (file, form) in [(SINGLE, Form::Single), (INDEX, Form::Shards)] {
            if files.contains_key(file) {
                return Ok(form);
            }
        }
    }
    let models = shards::models(files.keys().copied());
    let is_asked = |model: &&&str| name.mix.as_ref().is_none_or(|mix| shards::is_of_mix(model, mix));
    let asked: Vec<&&str> = models.iter().filter(is_asked).collect();
    match (&asked[..], &models[..]) {
        ([model], _) => {
            let all = shards::all_shards(model);
            match all.iter().find(|shard| !files.contains_key(shard.as_str())) {
                None => Ok(Form::Gguf(all)),
                Some(missing) => {
                    let what = format!("{} is not whole, it has no {}", quote(model), quote(missing));
                    Err(HubError::NothingToServe { name: name.clone(), what })
                }
            }
        }
        (_, []) => Err(HubError::NothingToServe { name: name.clone(), what: instead(name, files) }),
        ([], all) => Err(HubError::Mix { name: name.clone(), has: mixes(all, files) }),
        (several, _) => {
            let several: Vec<&str> = several.iter().map(|model| **model).collect();
            Err(HubError::Mix { name: name.clone(), has: mixes(&several, files) })
        }
    }
}

/// What is told of a repository without weights that can be read.
fn instead(name: &RepositoryName, files: &BTreeMap<&str, u64>) -> String {
    let (safetensors, wish) = (files.contains_key(SINGLE) || files.contains_key(INDEX), &name.mix);
    if let (true, Some(mix)) = (safetensors, wish) {
        return format!("has safetensors and no GGUF model; leave out :{}", quote(mix));
    }
    let other = OTHER_WEIGHTS.iter().find(|(end, _)| files.keys().any(|file| file.ends_with(end)));
    if files.contains_key("adapter_config.json") {
        return "is an adapter of another model, which cannot be served; look for a merged one".to_owned();
    }
    match other {
        Some((_, called)) => format!(
            "has its weights only as {called}, which is not read; look for a conversion to safetensors or GGUF"
        ),
        None => format!("has neither {SINGLE} nor {INDEX} nor a GGUF file"),
    }
}

/// The mixes of models as they are asked for, and the bytes of each.
fn mixes(models: &[&str], files: &BTreeMap<&str, u64>) -> Vec<(String, u64)> {
    let of = |model: &&str| {
        let bytes = shards::all_shards(model).iter().filter_map(|shard| files.get(shard.as_str())).sum();
        (mix_of(model, models), bytes)
    };
    models.iter().map(of).collect()
}

/// The shortest end of a model's name that says its mix, and of no other of `models`; else the
/// whole name.
pub fn mix_of(model: &str, models: &[&str]) -> String {
    let file = model.rsplit('/').next().unwrap_or(model);
    let stem = file.strip_suffix(shards::EXTENSION).unwrap_or(file);
    let stem =
        stem.rsplit_once("-of-").and_then(|(rest, _)| rest.rsplit_once('-')).map_or(stem, |(base, _)| base);
    let begins = stem.match_indices(['-', '.']).map(|(at, _)| at + 1).rev();
    let names_one = |mix: &&str| {
        let is_mix = mix.len() > 1 && mix.bytes().any(|byte| byte.is_ascii_digit());
        is_mix && models.iter().filter(|other| shards::is_of_mix(other, mix)).count() == 1
    };
    begins.map(|at| &stem[at..]).find(names_one).unwrap_or(stem).to_owned()
}

/// The paths of all files that are wanted for a form; `index` is what [`INDEX`] holds, which is
/// needed for [`Form::Shards`] alone.
pub fn wanted(
    name: &RepositoryName,
    form: &Form,
    index: Option<&[u8]>,
    files: &BTreeMap<&str, u64>,
) -> Result<Vec<String>, HubError> {
    let is_gguf = matches!(form, Form::Gguf(_));
    let beside = files.iter().filter(|(path, bytes)| {
        let is_wanted = is_terms(path) || (!is_gguf && is_beside(path));
        is_wanted && **bytes <= BESIDE_MAX
    });
    let mut wanted: Vec<String> = beside.map(|(path, _)| (*path).to_owned()).collect();
    match form {
        Form::Single => wanted.push(SINGLE.to_owned()),
        Form::Gguf(names) => wanted.extend(names.iter().cloned()),
        Form::Shards => {
            wanted.push(INDEX.to_owned());
            wanted.extend(shards_of(name, index.unwrap_or_default(), files)?);
        }
    }
    Ok(wanted)
}

fn is_terms(path: &str) -> bool {
    let lower = path.to_ascii_lowercase();
    !lower.contains('/') && TERMS.iter().any(|begin| lower.starts_with(begin))
}

fn is_beside(path: &str) -> bool {
    let begins = BESIDE_BEGINS.iter().any(|begin| path.starts_with(begin));
    let ends = BESIDE_ENDS.iter().any(|end| path.ends_with(end));
    BESIDE.contains(&path) || (!path.contains('/') && begins && ends)
}

/// Whether a folder of the cache has all weights of a model. Other programs fetch a tokenizer
/// alone, or break off.
pub fn has_weights(folder: &Path) -> bool {
    let folder = Folder::from(folder);
    let is_there = |name: &str| folder.join(name).is_file();
    let index = folder.read_small(INDEX, BESIDE_MAX).ok().flatten();
    let named = index.and_then(|index| named_in(&index).ok()).unwrap_or_default();
    let has_shards = !named.is_empty() && named.iter().all(|shard| is_there(shard));
    let names = folder.names().unwrap_or_default();
    let is_gguf = |name: &String| name.ends_with(shards::EXTENSION) && is_there(name);
    has_shards || is_there(SINGLE) || names.iter().any(is_gguf)
}

/// The files that an index names, all of which the repository has.
fn shards_of(
    name: &RepositoryName,
    index: &[u8],
    files: &BTreeMap<&str, u64>,
) -> Result<BTreeSet<String>, HubError> {
    let wrong = |what: String| {
        let what = format!("{INDEX} {what}");
        HubError::NothingToServe { name: name.clone(), what }
    };
    let found = named_in(index).map_err(wrong)?;
    match found.iter().find(|shard| !files.contains_key(shard.as_str())) {
        Some(shard) => Err(wrong(format!("names {}, which the repository does not have", quote(shard)))),
        None => Ok(found),
    }
}

/// The files that an index names, each once; an error says what is wrong with it.
fn named_in(index: &[u8]) -> Result<BTreeSet<String>, String> {
    let index: Value = serde_json::from_slice(index)
        .map_err(|error| format!("is not valid JSON: {}", quote(&error.to_string())))?;
    let map = index.get("weight_map").and_then(Value::as_object).ok_or("has no object weight_map")?;
    let shards = map.values().map(|shard| shard.as_str().map(str::to_owned));
    shards.collect::<Option<_>>().ok_or_else(|| "has a file name that is no text".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use verbatim_tests::temporary::TemporaryDirectory;

    fn of<'f>(paths: &[&'f str]) -> BTreeMap<&'f str, u64> {
        paths.iter().map(|path| (*path, 10)).collect()
    }

    fn name(text: &str) -> RepositoryName {
        RepositoryName::parse(text).unwrap()
    }

    #[test]
    fn weights_come_in_one_form() {
        let both = of(&["config.json", "model.safetensors", "pytorch_model.bin", "m-Q8_0.gguf"]);
        assert_eq!(form(&name("o/n"), &both).unwrap(), Form::Single);
        let gguf = Form::Gguf(vec!["m-Q8_0.gguf".to_owned()]);
        assert_eq!(form(&name("o/n:q8_0"), &both).unwrap(), gguf);
        assert_eq!(form(&name("o/n"), &of(&["m-Q8_0.gguf", "config.json"])).unwrap(), gguf);
        let sharded =
            of(&["UD/m-Q4_K_M-00001-of-00002.gguf", "UD/m-Q4_K_M-00002-of-00002.gguf", "m-Q8_0.gguf"]);
        let Form::Gguf(names) = form(&name("o/n:Q4_K_M"), &sharded).unwrap() else { panic!() };
        assert_eq!(names, ["UD/m-Q4_K_M-00001-of-00002.gguf", "UD/m-Q4_K_M-00002-of-00002.gguf"]);
    }

    #[test]
    fn what_cannot_be_served_is_told_with_what_to_do() {
        let told = |text: &str, files: &[&str]| form(&name(text), &of(files)).unwrap_err().to_string();
        let has = ["m-Q4_K_M.gguf", "m-Q4_K_S.gguf", "mmproj-m-f16.gguf", "m.Q8_0-00001-of-00002.gguf"];
        let list = "Q4_K_M (10 B), Q4_K_S (10 B), Q8_0 (10 B)";
        assert_eq!(told("o/n", &has), format!("o/n has 3 GGUF models: {list}"));
        assert_eq!(told("o/n:Q5_K", &has), format!("o/n has no one GGUF model Q5_K, but {list}"));
        assert!(told("o/n:Q8_0", &has).contains("it has no m.Q8_0-00002-of-00002.gguf"));
        assert!(told("o/n:Q4", &["config.json", "model.safetensors"]).ends_with("leave out :Q4"));
        assert!(told("o/n", &["config.json", "pytorch_model.bin"]).contains("only as PyTorch's .bin"));
        assert!(told("o/n", &["adapter_config.json", "adapter_model.safetensors"]).contains("adapter"));
        assert!(told("o/n", &["README.md"]).contains("has neither model.safetensors"));
    }

    #[test]
    fn only_what_is_needed_is_wanted() {
        let files = of(&[
            "config.json",
            "generation_config.json",
            "tokenizer.json",
            "tokenizer_config.json",
            "tokenizer.py",
            "chat_template.jinja",
            "README.md",
            "LICENSE.txt",
            "model.safetensors.index.json",
            "model-1.safetensors",
            "model-2.safetensors",
            "consolidated.safetensors",
            "pytorch_model.bin",
            "onnx/model.onnx",
            "onnx/tokenizer.json",
            "1_Pooling/config.json",
            "modeling_x.py",
            "original/params.json",
            "m-Q4_0.gguf",
        ]);
        let index = br#"{"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors", "c": "model-1.safetensors"}}"#;
        let (n, none) = (name("o/n"), None);
        let found = wanted(&n, &Form::Shards, Some(index), &files).unwrap();
        let expected = [
            "1_Pooling/config.json",
            "LICENSE.txt",
            "README.md",
            "chat_template.jinja",
            "config.json",
            "generation_config.json",
            "tokenizer.json",
            "tokenizer_config.json",
            "model.safetensors.index.json",
            "model-1.safetensors",
            "model-2.safetensors",
        ];
        assert_eq!(found, expected);
        // A GGUF file has its configuration inside; another beside it would be taken for the
        // model's.
        let gguf = Form::Gguf(vec!["m-Q4_0.gguf".to_owned()]);
        assert_eq!(wanted(&n, &gguf, none, &files).unwrap(), ["LICENSE.txt", "README.md", "m-Q4_0.gguf"]);
        for (index, why) in [
            (&b"{"[..], "is not valid JSON"),
            (b"{}", "has no object weight_map"),
            (br#"{"weight_map": {"a": 1}}"#, "no text"),
            (br#"{"weight_map": {"a": "../../x"}}"#, "which the repository does not have"),
        ] {
            let error = wanted(&n, &Form::Shards, Some(index), &files).unwrap_err().to_string();
            assert!(error.contains(why), "{error}");
        }
    }

    #[test]
    fn a_folder_has_its_weights_or_not() {
        let directory = TemporaryDirectory::new("weights");
        let folder = directory.path();
        let put = |name: &str, content: &str| std::fs::write(folder.join(name), content).unwrap();
        put("config.json", "{}");
        assert!(!has_weights(folder));
        put(INDEX, r#"{"weight_map": {"a": "m-1.safetensors", "b": "m-2.safetensors"}}"#);
        put("m-1.safetensors", "");
        assert!(!has_weights(folder), "a shard is missing");
        put("m-2.safetensors", "");
        assert!(has_weights(folder));
        std::fs::remove_file(folder.join(INDEX)).unwrap();
        assert!(!has_weights(folder));
        std::os::unix::fs::symlink("nowhere", folder.join("m.gguf")).unwrap();
        assert!(!has_weights(folder), "a link to nothing");
        std::fs::remove_file(folder.join("m.gguf")).unwrap();
        put("m.gguf", "");
        assert!(has_weights(folder));
    }

    #[test]
    fn a_mix_is_named_as_it_is_asked_for() {
        for (model, others, expected) in [
            ("m-7B-Q4_K_M.gguf", &["m-7B-Q8_0.gguf"][..], "Q4_K_M"),
            ("UD/m-UD-Q2_K_XL.gguf", &["m-Q2_K_XL.gguf"], "UD-Q2_K_XL"),
            ("m.gguf", &[], "m"),
            ("m-bf16-00001-of-00003.gguf", &["m-f16.gguf"], "bf16"),
        ] {
            let all: Vec<&str> = others.iter().copied().chain([model]).collect();
            assert_eq!(mix_of(model, &all), expected, "{model}");
        }
    }
}
