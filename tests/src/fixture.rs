//! A tiny model with a tokenizer of single bytes, as the files of a checkpoint: what tests of
//! loading and serving spoil.
use crate::checkpoint::{TensorData, safetensors_to};
use crate::recipe::Recipe;
use crate::temporary::TemporaryDirectory;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use verbatim::load::Folder;

/// A tokenizer of single bytes: 256 letters, `<s>` and `</s>`.
///
/// # Panics
/// Never: every byte has its letter.
pub fn tokenizer_json() -> Value {
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

/// `config.json` of the tiny model.
pub fn config_json() -> Value {
    json!({
        "model_type": "llama", "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2,
        "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 258, "max_position_embeddings": 512,
        "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "hidden_act": "silu", "tie_word_embeddings": false,
        "torch_dtype": "float32", "bos_token_id": 256, "eos_token_id": 257,
    })
}

/// `tokenizer_config.json`, with a chat template.
pub fn tokenizer_config_json() -> Value {
    json!({
        "bos_token": "<s>", "eos_token": "</s>",
        "chat_template": "{{ bos_token }}{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}{% if add_generation_prompt %}assistant:{% endif %}",
    })
}

/// The files of a checkpoint by name.
#[derive(Clone, Debug)]
pub struct Files(pub BTreeMap<String, Vec<u8>>);

impl Files {
    /// The files of the tiny model, unspoiled.
    pub fn tiny() -> Self {
        let mut files = Self(BTreeMap::new());
        files.put_json("config.json", &config_json());
        files.put_json(
            "generation_config.json",
            &json!({"temperature": 0.5, "top_p": 0.9, "top_k": 20, "eos_token_id": [257]}),
        );
        files.put_json("tokenizer.json", &tokenizer_json());
        files.put_json("tokenizer_config.json", &tokenizer_config_json());
        files.put_tensors("model.safetensors", &tiny_tensors("F32"));
        files
    }

    /// Replaces a file by JSON text.
    pub fn put_json(&mut self, name: &str, value: &Value) {
        self.0.insert(name.to_owned(), value.to_string().into_bytes());
    }

    /// Replaces the weights by some tensors.
    ///
    /// # Panics
    /// Never: memory can be written.
    pub fn put_tensors(&mut self, name: &str, tensors: &[TensorData]) {
        let mut bytes = Vec::new();
        safetensors_to(&mut bytes, tensors).expect("written");
        self.0.insert(name.to_owned(), bytes);
    }

    /// Adds what sentence-transformers writes beside a model that embeds by `pooling` (`mean`,
    /// `lasttoken` or `cls`), with or without scaling to length 1.
    pub fn put_embedding(&mut self, pooling: &str, normalizes: bool) {
        let module = |name: &str, path: &str| json!({"type": format!("sentence_transformers.models.{name}"), "path": path});
        let mut modules = vec![module("Transformer", ""), module("Pooling", "1_Pooling")];
        if normalizes {
            modules.push(module("Normalize", "2_Normalize"));
        }
        self.put_json("modules.json", &json!(modules));
        let mut settings = json!({"word_embedding_dimension": 64, "include_prompt": true});
        for mode in ["cls_token", "mean_tokens", "max_tokens", "lasttoken"] {
            settings[format!("pooling_mode_{mode}")] = json!(mode.starts_with(pooling));
        }
        self.put_json("1_Pooling/config.json", &settings);
    }

    /// Parses a JSON file, so that a test can change it.
    ///
    /// # Panics
    /// If it is not there or no JSON.
    pub fn edit(&mut self, name: &str, change: impl FnOnce(&mut Value)) {
        let mut value = serde_json::from_slice(&self.0[name]).expect("JSON");
        change(&mut value);
        self.put_json(name, &value);
    }

    /// The files as a folder in memory, which the loader takes.
    pub fn folder(&self) -> Folder {
        let files = self.0.iter().map(|(name, bytes)| (name.clone(), Arc::from(bytes.as_slice()))).collect();
        Folder::Memory { name: PathBuf::from("tiny"), files }
    }

    /// Writes the files into a directory.
    ///
    /// # Panics
    /// If it cannot be written.
    pub fn directory(&self, name: &str) -> TemporaryDirectory {
        let directory = TemporaryDirectory::new(name);
        for (name, bytes) in &self.0 {
            let path = directory.path().join(name);
            std::fs::create_dir_all(path.parent().expect("it is in the directory")).expect("made");
            std::fs::write(path, bytes).expect("written");
        }
        directory
    }
}

/// The tensors of the tiny model.
///
/// # Panics
/// Never: its configuration is right.
pub fn tiny_tensors(dtype: &'static str) -> Vec<TensorData> {
    Recipe::uniform(config_json(), 5, dtype, 0.25, 0.25).tensors().expect("a right configuration")
}
