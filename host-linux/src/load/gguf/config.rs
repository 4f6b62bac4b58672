//! Metadata to a `config.json`: what Hugging Face's configuration would say of the same model.
//!
//! The text goes the way of any checkpoint's, so that a model is one and the same in either file:
//! checked by `load/config.rs`, hashed, and carried by images. Errors name the key of the metadata.
use super::header::TensorInfo;
use super::metadata::Metadata;
use super::rope_factors;
use crate::load::config::parse_config;
use crate::load::error::LoadError;
use serde_json::{Map, Value, json};

/// Values of `general.architecture` that are served, and the `model_type` that each has in a
/// `config.json`. Converters write Mistral's models as `llama`.
const SERVED: [(&str, &str); 3] = [("llama", "llama"), ("qwen2", "qwen2"), ("qwen3", "qwen3")];

/// Keys, behind that of the architecture, that ask for what the forward pass does not do unless
/// they have this value.
const UNSUPPORTED: [(&str, f64, &str); 9] = [
    ("expert_count", 0.0, "0: mixtures of experts are not implemented"),
    ("logit_scale", 1.0, "1: scaled logits are not implemented"),
    ("embedding_scale", 1.0, "1: scaled embeddings are not implemented"),
    ("residual_scale", 1.0, "1: a scaled residual stream is not implemented"),
    ("attention.scale", 0.0, "0: another scale of attention is not implemented"),
    ("attn_logit_softcapping", 0.0, "0: soft-capped attention is not implemented"),
    ("final_logit_softcapping", 0.0, "0: soft-capped logits are not implemented"),
    ("attention.clamp_kqv", 0.0, "0: clamped Q, K and V are not implemented"),
    ("attention.max_alibi_bias", 0.0, "0: ALiBi is not implemented"),
];

/// Fields of a `config.json` and the keys that they come from, for errors.
const SOURCES: [(&str, &str); 11] = [
    ("hidden_size", "embedding_length"),
    ("intermediate_size", "feed_forward_length"),
    ("num_hidden_layers", "block_count"),
    ("num_attention_heads", "attention.head_count"),
    ("num_key_value_heads", "attention.head_count_kv"),
    ("head_dim", "attention.key_length"),
    ("max_position_embeddings", "context_length"),
    ("rms_norm_eps", "attention.layer_norm_rms_epsilon"),
    ("rope_theta", "rope.freq_base"),
    ("sliding_window", "attention.sliding_window"),
    ("vocab_size", "vocab_size"),
];

/// The keys that begin with the name of the model's architecture.
struct Keys<'m> {
    metadata: &'m Metadata,
    architecture: &'m str,
}

impl Keys<'_> {
    fn key(&self, end: &str) -> String {
        format!("{}.{end}", self.architecture)
    }

    fn error(&self, end: &str, expected: impl Into<String>) -> LoadError {
        self.metadata.error(&self.key(end), expected)
    }

    /// A size, which may also stand as a list of equal numbers, one for each layer.
    fn size(&self, end: &str) -> Result<Option<u64>, LoadError> {
        let key = self.key(end);
        if !matches!(self.metadata.get(&key), Some(super::Value::Numbers(_))) {
            return self.metadata.unsigned(&key);
        }
        let mut list = self.metadata.integers(&key)?.into_iter().flatten();
        let first = list.next();
        match first.and_then(|first| u64::try_from(first).ok()) {
            Some(size) if list.all(|other| Some(other) == first) => Ok(Some(size)),
            _ => Err(self.metadata.error(&key, "one number: layers of different sizes are not implemented")),
        }
    }

    fn required_size(&self, end: &str) -> Result<u64, LoadError> {
        self.size(end)?.ok_or_else(|| self.error(end, "an integer"))
    }

    fn float(&self, end: &str) -> Result<Option<f64>, LoadError> {
        self.metadata.float(&self.key(end))
    }
}

/// The architecture of a model, which is one that is served.
pub(super) fn architecture(metadata: &Metadata) -> Result<&'static str, LoadError> {
    // Adapters and the parts of a model that see images are GGUF files, too.
    if metadata.text("general.type")?.is_some_and(|kind| kind != "model") {
        return Err(metadata.error("general.type", "model: a file of another type is none by itself"));
    }
    let key = "general.architecture";
    let found = metadata.text(key)?;
    let served = SERVED.iter().find(|(name, _)| Some(*name) == found);
    served.map(|(name, _)| *name).ok_or_else(|| {
        let names = SERVED.map(|(name, _)| name).join(", ");
        metadata.error(key, format!("one of {names}"))
    })
}

/// Rows of a head of K and Q.
pub(super) fn head_dim(metadata: &Metadata) -> Result<usize, LoadError> {
    let keys = Keys { metadata, architecture: architecture(metadata)? };
    let size = head_size(&keys)?;
    usize::try_from(size).map_err(|_| keys.error("attention.key_length", "a size in memory"))
}

fn head_size(keys: &Keys) -> Result<u64, LoadError> {
    let (hidden, heads) =
        (keys.required_size("embedding_length")?, keys.required_size("attention.head_count")?);
    let size = match keys.size("attention.key_length")? {
        Some(size) => size,
        None if heads > 0 && hidden.is_multiple_of(heads) => hidden / heads,
        None => {
            let expected = format!("a divisor of the embedding length ({hidden}), or a key length");
            return Err(keys.error("attention.head_count", expected));
        }
    };
    if size == 0 || !size.is_multiple_of(2) {
        return Err(keys.error("attention.key_length", "an even number above 0"));
    }
    for (end, what) in [("attention.value_length", "values"), ("rope.dimension_count", "rotated dimensions")]
    {
        if keys.size(end)?.is_some_and(|other| other != size) {
            let expected = format!("{size}, the size of a key: {what} of another size are not implemented");
            return Err(keys.error(end, expected));
        }
    }
    Ok(size)
}

/// The text of a `config.json`. `factors` are the contents of the tensor `rope_freqs.weight`.
pub(super) fn config_json(
    metadata: &Metadata,
    tensors: &[TensorInfo],
    factors: Option<&[f32]>,
) -> Result<Vec<u8>, LoadError> {
    let name = architecture(metadata)?;
    let keys = Keys { metadata, architecture: name };
    for (end, neutral, expected) in UNSUPPORTED {
        if keys.float(end)?.is_some_and(|value| value != neutral) {
            return Err(keys.error(end, expected));
        }
    }
    if metadata.flag(&keys.key("attention.causal"))? == Some(false) {
        return Err(keys.error("attention.causal", "true: only decoders are implemented"));
    }
    let has = |name: &str| tensors.iter().any(|tensor| tensor.name == name);
    let mut map = Map::new();
    let model_type = SERVED.iter().find(|(served, _)| *served == name).map(|(_, model_type)| *model_type);
    map.insert("model_type".to_owned(), model_type.into());
    for field in ["hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads"] {
        map.insert(field.to_owned(), keys.required_size(source(field))?.into());
    }
    let heads = keys.required_size("attention.head_count")?;
    let kv_heads = keys.size("attention.head_count_kv")?.unwrap_or(heads);
    map.insert("num_key_value_heads".to_owned(), kv_heads.into());
    let head_dim = head_size(&keys)?;
    map.insert("head_dim".to_owned(), head_dim.into());
    map.insert("max_position_embeddings".to_owned(), keys.required_size("context_length")?.into());
    let eps = keys.float("attention.layer_norm_rms_epsilon")?;
    let eps = eps.ok_or_else(|| keys.error("attention.layer_norm_rms_epsilon", "a number"))?;
    map.insert("rms_norm_eps".to_owned(), eps.into());
    let theta = keys.float("rope.freq_base")?.unwrap_or(10_000.0);
    map.insert("rope_theta".to_owned(), theta.into());
    if let Some(scaling) = rope_scaling(&keys, factors, (theta, head_dim))? {
        map.insert("rope_scaling".to_owned(), scaling);
    }
    map.insert("vocab_size".to_owned(), vocabulary_size(&keys, tensors)?.into());
    map.insert("tie_word_embeddings".to_owned(), (!has("output.weight")).into());
    if name != "qwen2" {
        let has_bias = has("blk.0.attn_q.bias") || has("blk.0.attn_output.bias");
        map.insert("attention_bias".to_owned(), has_bias.into());
        map.insert("mlp_bias".to_owned(), has("blk.0.ffn_up.bias").into());
    }
    if name == "llama"
        && let Some(window) = keys.size("attention.sliding_window")?.filter(|window| *window > 0)
    {
        map.insert("sliding_window".to_owned(), window.into());
    }
    let text = Value::Object(map).to_string().into_bytes();
    parse_config(metadata.path(), &text).map_err(|error| by_key(&keys, error))?;
    Ok(text)
}

/// The end of the key that a field of a `config.json` comes from.
fn source(field: &str) -> &str {
    SOURCES.iter().find(|(found, _)| *found == field).map_or(field, |(_, end)| end)
}

/// An error about a field of a `config.json` as one about its key.
fn by_key(keys: &Keys, error: LoadError) -> LoadError {
    match error {
        LoadError::Field { path, field, found, expected } => {
            LoadError::Field { path, field: keys.key(source(&field)), found, expected }
        }
        other => other,
    }
}

/// The number of tokens; without a list of them, the rows of the embedding.
fn vocabulary_size(keys: &Keys, tensors: &[TensorInfo]) -> Result<u64, LoadError> {
    let embedding = tensors.iter().find(|tensor| tensor.name == "token_embd.weight");
    let rows = embedding.and_then(|tensor| tensor.shape.first());
    match (keys.metadata.texts("tokenizer.ggml.tokens")?, rows) {
        (Some(tokens), _) => Ok(tokens.len() as u64),
        (None, Some(rows)) => Ok(*rows as u64),
        (None, None) => keys.required_size("vocab_size"),
    }
}

/// How frequencies are scaled: `rope_scaling` of a `config.json`.
fn rope_scaling(
    keys: &Keys,
    factors: Option<&[f32]>,
    (theta, head_dim): (f64, u64),
) -> Result<Option<Value>, LoadError> {
    let key = keys.key("rope.scaling.type");
    let kind = keys.metadata.text(&key)?.unwrap_or("none");
    // Older converters wrote the factor alone.
    let factor = match keys.float("rope.scaling.factor")? {
        Some(factor) => Some(factor),
        None => keys.float("rope.scale_linear")?,
    };
    let factor = factor.filter(|factor| *factor != 1.0 && *factor != 0.0);
    let is_linear = match kind {
        "none" => false,
        "linear" => factor.is_some(),
        _ => return Err(keys.metadata.error(&key, "none or linear: no other is implemented")),
    };
    match (factors, is_linear.then_some(factor).flatten()) {
        (Some(_), Some(_)) => {
            Err(keys.metadata.error(&key, "none: the file has a tensor rope_freqs.weight, too"))
        }
        (None, None) => Ok(None),
        (None, Some(factor)) => Ok(Some(linear(factor))),
        (Some(factors), None) => {
            let original = keys.size("rope.scaling.original_context_length")?;
            let found = rope_factors::recognise(factors, theta, original, head_dim);
            found.map_err(|expected| {
                let found = format!("{} factors", factors.len());
                LoadError::tensor(keys.metadata.path(), rope_factors::TENSOR, found, expected)
            })
        }
    }
}

/// Linear scaling divides every frequency. So does Llama 3's where every wave is longer than the
/// original context, and none is as short as one position.
fn linear(factor: f64) -> Value {
    json!({
        "rope_type": "llama3", "factor": factor, "low_freq_factor": 1.0, "high_freq_factor": 2.0,
        "original_max_position_embeddings": 1,
    })
}

#[cfg(test)]
mod tests;
