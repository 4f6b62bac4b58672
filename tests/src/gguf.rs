//! Writes GGUF files: checkpoints as tests need them, right or wrong.
//!
//! [`of_checkpoint`] does what a converter does, from the definition: names, metadata, and the rows
//! of Q and K that llama.cpp's `llama` rotates as neighbours.
use crate::checkpoint::TensorData;
use serde_json::Value;

/// A value of metadata, of one of the types that converters write.
#[derive(Clone, Debug)]
#[allow(missing_docs)] // the names are the documentation
pub enum GgufValue {
    U32(u32),
    U64(u64),
    I32(i32),
    F32(f32),
    Bool(bool),
    Text(String),
    Texts(Vec<String>),
    I32s(Vec<i32>),
    F32s(Vec<f32>),
}

/// The type number of a value, and its bytes.
fn encoded(value: &GgufValue) -> (u32, Vec<u8>) {
    let list = |kind: u32, len: usize, bytes: Vec<u8>| {
        let mut out = kind.to_le_bytes().to_vec();
        out.extend((len as u64).to_le_bytes());
        out.extend(bytes);
        (9, out)
    };
    match value {
        GgufValue::U32(n) => (4, n.to_le_bytes().to_vec()),
        GgufValue::I32(n) => (5, n.to_le_bytes().to_vec()),
        GgufValue::F32(x) => (6, x.to_le_bytes().to_vec()),
        GgufValue::Bool(flag) => (7, vec![u8::from(*flag)]),
        GgufValue::Text(text) => (8, string(text)),
        GgufValue::U64(n) => (10, n.to_le_bytes().to_vec()),
        GgufValue::Texts(texts) => list(8, texts.len(), texts.iter().flat_map(|text| string(text)).collect()),
        GgufValue::I32s(list_) => list(5, list_.len(), list_.iter().flat_map(|n| n.to_le_bytes()).collect()),
        GgufValue::F32s(list_) => list(6, list_.len(), list_.iter().flat_map(|x| x.to_le_bytes()).collect()),
    }
}

/// A string as GGUF has it: its length in 64 bits, and its bytes.
fn string(text: &str) -> Vec<u8> {
    let mut bytes = (text.len() as u64).to_le_bytes().to_vec();
    bytes.extend(text.as_bytes());
    bytes
}

/// A tensor of a GGUF file.
#[derive(Clone, Debug)]
pub struct GgufTensor {
    /// The name, as llama.cpp has it.
    pub name: String,
    /// The number of the elements' type: 0 for F32, 1 for F16, 30 for BF16, 8 for Q8_0, …
    pub kind: u32,
    /// The lengths of the dimensions, outermost first.
    pub shape: Vec<usize>,
    /// The elements, row by row.
    pub bytes: Vec<u8>,
}

/// A GGUF file before it is written.
#[derive(Clone, Debug)]
pub struct GgufFile {
    /// The version of the format; 3 is today's.
    pub version: u32,
    /// The metadata in the order of the file.
    pub keys: Vec<(String, GgufValue)>,
    /// The tensors in the order of the file.
    pub tensors: Vec<GgufTensor>,
    /// Where each tensor begins: at a multiple of this. The key `general.alignment` is not added.
    pub alignment: usize,
}

impl GgufFile {
    /// A file of today's version with the usual alignment.
    pub fn new(keys: Vec<(String, GgufValue)>, tensors: Vec<GgufTensor>) -> Self {
        Self { version: 3, keys, tensors, alignment: 32 }
    }

    /// Gives a key a value, in place of the one that it has or behind the others.
    pub fn set(&mut self, key: &str, value: GgufValue) {
        match self.keys.iter_mut().find(|(found, _)| found == key) {
            Some((_, old)) => *old = value,
            None => self.keys.push((key.to_owned(), value)),
        }
    }

    /// The bytes of the file, header and tensors.
    pub fn bytes(&self) -> Vec<u8> {
        let mut out = b"GGUF".to_vec();
        out.extend(self.version.to_le_bytes());
        out.extend((self.tensors.len() as u64).to_le_bytes());
        out.extend((self.keys.len() as u64).to_le_bytes());
        for (key, value) in &self.keys {
            let (kind, bytes) = encoded(value);
            out.extend(string(key));
            out.extend(kind.to_le_bytes());
            out.extend(bytes);
        }
        let mut offset = 0_usize;
        for tensor in &self.tensors {
            out.extend(string(&tensor.name));
            out.extend((tensor.shape.len() as u32).to_le_bytes());
            out.extend(tensor.shape.iter().rev().flat_map(|size| (*size as u64).to_le_bytes()));
            out.extend(tensor.kind.to_le_bytes());
            out.extend((offset as u64).to_le_bytes());
            offset = (offset + tensor.bytes.len()).next_multiple_of(self.alignment);
        }
        for tensor in &self.tensors {
            out.resize(out.len().next_multiple_of(self.alignment), 0);
            out.extend(&tensor.bytes);
        }
        out
    }
}

/// The numbers of the types that are written without blocks: F32, F16 and BF16.
fn type_number(dtype: &str) -> u32 {
    match dtype {
        "F32" => 0,
        "F16" => 1,
        "BF16" => 30,
        other => panic!("no plain type: {other}"),
    }
}

/// What a Hugging Face tensor is called in a GGUF file.
fn gguf_name(name: &str) -> String {
    let parts = [
        ("model.embed_tokens", "token_embd"),
        ("model.norm", "output_norm"),
        ("lm_head", "output"),
        ("model.layers.", "blk."),
        ("self_attn.q_proj", "attn_q"),
        ("self_attn.k_proj", "attn_k"),
        ("self_attn.v_proj", "attn_v"),
        ("self_attn.o_proj", "attn_output"),
        ("self_attn.q_norm", "attn_q_norm"),
        ("self_attn.k_norm", "attn_k_norm"),
        ("post_attention_layernorm", "ffn_norm"),
        ("input_layernorm", "attn_norm"),
        ("mlp.gate_proj", "ffn_gate"),
        ("mlp.up_proj", "ffn_up"),
        ("mlp.down_proj", "ffn_down"),
    ];
    parts.iter().fold(name.to_owned(), |name, (from, to)| name.replace(from, to))
}

/// Rows, or elements of a vector, in the order of a RoPE that rotates neighbours: of each head,
/// rows `i` and `i + half` come after each other.
fn as_neighbours(tensor: &TensorData, head_dim: usize) -> Vec<u8> {
    let row_bytes = tensor.bytes.len() / tensor.shape[0];
    let rows: Vec<&[u8]> = tensor.bytes.chunks_exact(row_bytes).collect();
    let half = head_dim / 2;
    let head =
        |head: &[&[u8]]| (0..half).flat_map(|i| [head[i], head[i + half]].concat()).collect::<Vec<u8>>();
    rows.chunks_exact(head_dim).flat_map(head).collect()
}

/// A Hugging Face checkpoint as a converter writes it, with a vocabulary that has no text.
///
/// # Panics
/// If the configuration lacks a key, or a tensor is of another type than F32, F16 and BF16.
pub fn of_checkpoint(config: &Value, tensors: &[TensorData]) -> GgufFile {
    let model_type = config["model_type"].as_str().expect("a family");
    let name = if model_type == "mistral" { "llama" } else { model_type };
    let number = |key: &str| config[key].as_u64().unwrap_or_else(|| panic!("{key} is a number")) as u32;
    let size = |key: &str, value: u32| (format!("{name}.{key}"), GgufValue::U32(value));
    let float = |key: &str, field: &str, absent: f64| {
        let value = config[field].as_f64().unwrap_or(absent) as f32;
        (format!("{name}.{key}"), GgufValue::F32(value))
    };
    let heads = number("num_attention_heads");
    let head_dim = config["head_dim"].as_u64().map_or(number("hidden_size") / heads, |size| size as u32);
    let keys = vec![
        ("general.architecture".to_owned(), GgufValue::Text(name.to_owned())),
        size("block_count", number("num_hidden_layers")),
        size("context_length", number("max_position_embeddings")),
        size("embedding_length", number("hidden_size")),
        size("feed_forward_length", number("intermediate_size")),
        size("attention.head_count", heads),
        size("attention.head_count_kv", number("num_key_value_heads")),
        size("attention.key_length", head_dim),
        size("attention.value_length", head_dim),
        size("rope.dimension_count", head_dim),
        float("rope.freq_base", "rope_theta", 10_000.0),
        float("attention.layer_norm_rms_epsilon", "rms_norm_eps", 1e-6),
    ];
    let tensors = tensors.iter().map(|tensor| {
        let is_rotated = tensor.name.contains("q_proj") || tensor.name.contains("k_proj");
        let bytes = match is_rotated && name == "llama" {
            true => as_neighbours(tensor, head_dim as usize),
            false => tensor.bytes.clone(),
        };
        let kind = type_number(tensor.dtype);
        GgufTensor { name: gguf_name(&tensor.name), kind, shape: tensor.shape.clone(), bytes }
    });
    let mut file = GgufFile::new(keys, tensors.collect());
    let tokens = (0..number("vocab_size")).map(|id| format!("t{id}")).collect();
    file.put_vocabulary(tokens, Vec::new(), "gpt-2");
    for (key, field) in [("bos", "bos_token_id"), ("eos", "eos_token_id")] {
        if let Some(id) = config[field].as_u64() {
            file.set(&format!("tokenizer.ggml.{key}_token_id"), GgufValue::U32(id as u32));
        }
    }
    file
}

impl GgufFile {
    /// A vocabulary of byte-level BPE, whose words a pre-tokenizer of that name cuts.
    pub fn put_vocabulary(&mut self, tokens: Vec<String>, merges: Vec<String>, pre: &str) {
        self.set("tokenizer.ggml.model", GgufValue::Text("gpt2".to_owned()));
        self.set("tokenizer.ggml.pre", GgufValue::Text(pre.to_owned()));
        self.set("tokenizer.ggml.token_type", GgufValue::I32s(vec![1; tokens.len()]));
        self.set("tokenizer.ggml.tokens", GgufValue::Texts(tokens));
        self.set("tokenizer.ggml.merges", GgufValue::Texts(merges));
    }

    /// The vocabulary of a `tokenizer.json` of byte-level BPE, and the template of a
    /// `tokenizer_config.json`, if it has one.
    ///
    /// # Panics
    /// If the first is of another kind.
    pub fn put_tokenizer(&mut self, tokenizer: &Value, config: &Value, pre: &str) {
        let vocabulary = tokenizer["model"]["vocab"].as_object().expect("a vocabulary");
        let mut tokens: Vec<(u64, String, i32)> =
            vocabulary.iter().map(|(text, id)| (id.as_u64().expect("an id"), text.clone(), 1)).collect();
        for added in tokenizer["added_tokens"].as_array().expect("a list") {
            let (id, text) =
                (added["id"].as_u64().expect("an id"), added["content"].as_str().expect("a text"));
            tokens.retain(|(other, ..)| *other != id);
            tokens.push((id, text.to_owned(), 3));
        }
        tokens.sort_unstable();
        let merge = |merge: &Value| match merge {
            Value::Array(pair) => {
                format!("{} {}", pair[0].as_str().expect("a text"), pair[1].as_str().expect("a text"))
            }
            merge => merge.as_str().expect("a text").to_owned(),
        };
        let merges = tokenizer["model"]["merges"].as_array().expect("a list").iter().map(merge).collect();
        let types = tokens.iter().map(|(_, _, kind)| *kind).collect();
        self.put_vocabulary(tokens.into_iter().map(|(_, text, _)| text).collect(), merges, pre);
        self.set("tokenizer.ggml.token_type", GgufValue::I32s(types));
        if let Some(template) = config["chat_template"].as_str() {
            self.set("tokenizer.chat_template", GgufValue::Text(template.to_owned()));
        }
    }
}
