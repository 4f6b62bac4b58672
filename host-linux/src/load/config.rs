//! `config.json` to a [`ModelConfig`].
//!
//! Sizes must be there; what Hugging Face transformers fills in for an absent key, the table of
//! families fills in. Keys for which the description of a layer has a field go there, and
//! [`ModelConfig::check`] refuses what the forward pass does not do; keys without a field are
//! refused here. A model is served as it was meant or not at all.
use super::error::LoadError;
use serde_json::{Map, Value};
use std::path::Path;
use verbatim_core::dtype::WeightFormat;
use verbatim_core::model::spec::{Activation, LayerKind};
use verbatim_core::model::{
    FAMILIES, Family, FormatMix, LayerFeatures, ModelConfig, RopeConfig, RopeScaling,
};

/// A model's `config.json`, read and checked.
#[derive(Clone, Debug, PartialEq)]
pub struct SourceConfig {
    /// The model; its weight format is a placeholder until the tensors are known.
    pub model: ModelConfig,
    /// `eos_token_id`, used where `generation_config.json` has none.
    pub eos_ids: Vec<u32>,
    /// `bos_token_id`: the id that begins a text.
    pub bos_id: Option<u32>,
}

/// Keys that ask for something the forward pass does not do, whatever their value unless it is
/// null, false or 0.
const UNSUPPORTED: [(&str, &str); 8] = [
    ("quantization_config", "null: quantized checkpoints are not implemented"),
    ("num_local_experts", "null: mixtures of experts are not implemented"),
    ("num_experts", "null: mixtures of experts are not implemented"),
    ("n_routed_experts", "null: mixtures of experts are not implemented"),
    ("rope_interleaved", "false: interleaved rotary embedding is not implemented"),
    ("final_logit_softcapping", "null: soft-capped logits are not implemented"),
    ("is_encoder_decoder", "false: only decoders are implemented"),
    ("add_cross_attention", "false: only decoders are implemented"),
];

/// An object of a JSON file whose fields are read with errors that name them.
pub(crate) struct Fields<'a> {
    pub(crate) path: &'a Path,
    pub(crate) prefix: &'static str,
    pub(crate) map: &'a Map<String, Value>,
}

impl<'a> Fields<'a> {
    /// The value of a key; null counts as absent, as it does in transformers.
    pub(crate) fn get(&self, key: &str) -> Option<&'a Value> {
        self.map.get(key).filter(|value| !value.is_null())
    }

    pub(crate) fn error(&self, key: &str, expected: impl Into<String>) -> LoadError {
        let found = self.map.get(key).map_or("nothing".to_owned(), Value::to_string);
        LoadError::field(self.path, format!("{}{key}", self.prefix), found, expected)
    }

    pub(crate) fn optional<T>(
        &self,
        key: &str,
        expected: &str,
        read: impl Fn(&'a Value) -> Option<T>,
    ) -> Result<Option<T>, LoadError> {
        let read = |value| read(value).ok_or_else(|| self.error(key, expected));
        self.get(key).map(read).transpose()
    }

    pub(crate) fn size(&self, key: &str) -> Result<Option<usize>, LoadError> {
        self.optional(key, "an integer of at least 0", |v| v.as_u64().and_then(|n| n.try_into().ok()))
    }

    fn required_size(&self, key: &str) -> Result<usize, LoadError> {
        self.size(key)?.ok_or_else(|| self.error(key, "an integer"))
    }

    pub(crate) fn number(&self, key: &str) -> Result<Option<f64>, LoadError> {
        self.optional(key, "a number", Value::as_f64)
    }

    pub(crate) fn flag(&self, key: &str) -> Result<Option<bool>, LoadError> {
        self.optional(key, "true or false", Value::as_bool)
    }

    fn text(&self, key: &str) -> Result<Option<&'a str>, LoadError> {
        self.optional(key, "a string", Value::as_str)
    }

    fn object(&self, key: &'static str) -> Result<Option<&'a Map<String, Value>>, LoadError> {
        self.optional(key, "an object", Value::as_object)
    }

    /// The value of a key that holds one token id.
    pub(crate) fn id(&self, key: &str) -> Result<Option<u32>, LoadError> {
        self.optional(key, "a token id", |v| v.as_u64().and_then(|n| n.try_into().ok()))
    }

    /// One token id or a list of them.
    pub(crate) fn ids(&self, key: &str) -> Result<Option<Vec<u32>>, LoadError> {
        let id = |v: &Value| v.as_u64().and_then(|n| u32::try_from(n).ok());
        self.optional(key, "a token id or a list of token ids", |value| match value {
            Value::Array(list) => list.iter().map(id).collect(),
            value => id(value).map(|id| vec![id]),
        })
    }
}

/// A JSON file's object.
pub(crate) fn parse_object(path: &Path, bytes: &[u8]) -> Result<Map<String, Value>, LoadError> {
    match serde_json::from_slice(bytes) {
        Ok(Value::Object(map)) => Ok(map),
        Ok(_) => Err(LoadError::malformed(path, "is not a JSON object")),
        Err(error) => Err(LoadError::malformed(path, format!("is not valid JSON: {error}"))),
    }
}

/// Reads the bytes of a `config.json`.
pub fn parse_config(path: &Path, bytes: &[u8]) -> Result<SourceConfig, LoadError> {
    let map = parse_object(path, bytes)?;
    let fields = Fields { path, prefix: "", map: &map };
    let model_type = fields.text("model_type")?.unwrap_or("");
    let family = FAMILIES.iter().find(|family| family.model_type == model_type).ok_or_else(|| {
        let known: Vec<_> = FAMILIES.iter().map(|family| family.model_type).collect();
        fields.error("model_type", format!("one of {}", known.join(", ")))
    })?;
    for (key, expected) in UNSUPPORTED {
        let harmless = |v: &Value| v.as_bool() == Some(false) || v.as_u64() == Some(0);
        if fields.get(key).is_some_and(|value| !harmless(value)) {
            return Err(fields.error(key, expected));
        }
    }
    for key in ["torch_dtype", "dtype"] {
        fields.text(key)?; // the tensors themselves decide
    }
    if fields.number("partial_rotary_factor")?.is_some_and(|factor| factor != 1.0) {
        return Err(fields.error("partial_rotary_factor", "1: partial rotary embedding is not implemented"));
    }

    let hidden_size = fields.required_size("hidden_size")?;
    let layer_count = fields.required_size("num_hidden_layers")?;
    let head_count = fields.required_size("num_attention_heads")?;
    // Null is not absent here: transformers takes it for as many as there are query heads.
    let absent = if map.contains_key("num_key_value_heads") { None } else { family.absent.kv_head_count };
    let head_dim = match fields.size("head_dim")?.or(family.absent.head_dim) {
        Some(head_dim) => head_dim,
        None if head_count > 0 && hidden_size.is_multiple_of(head_count) => hidden_size / head_count,
        None => {
            let expected = format!("a divisor of hidden_size ({hidden_size}), or a head_dim");
            return Err(fields.error("num_attention_heads", expected));
        }
    };
    let position_count = fields.size("max_position_embeddings")?.unwrap_or(family.absent.position_count);
    let attention_bias = family.attention_bias_key && fields.flag("attention_bias")?.unwrap_or(false);
    let mlp_bias = family.mlp_bias_key && fields.flag("mlp_bias")?.unwrap_or(false);
    let model = ModelConfig {
        architecture: family.architecture,
        vocab_size: fields.required_size("vocab_size")?,
        hidden_size,
        intermediate_size: fields.required_size("intermediate_size")?,
        layer_count,
        head_count,
        kv_head_count: fields.size("num_key_value_heads")?.or(absent).unwrap_or(head_count),
        head_dim,
        position_count,
        rms_norm_eps: fields.number("rms_norm_eps")?.unwrap_or(1e-6) as f32,
        rope: rope(&fields)?,
        tied_head: fields.flag("tie_word_embeddings")?.unwrap_or(false),
        qkv_bias: family.qkv_bias || attention_bias,
        attention_output_bias: attention_bias,
        mlp_bias,
        qk_norm: family.qk_norm,
        features: features(&fields, family, layer_count, position_count)?,
        weight_format: WeightFormat::F32,
        head_format: WeightFormat::F32,
        mix: FormatMix::NONE,
    };
    model.check().map_err(|error| {
        let count = format!("max_position_embeddings ({position_count})");
        let expected = error.expected.replace("max_position_embeddings", &count);
        match fields.get(error.field) {
            Some(_) => fields.error(error.field, expected),
            None => LoadError::malformed(path, format!("{} must be {expected}", error.field)),
        }
    })?;
    refuse_layer_types(&fields, &model)?;
    Ok(SourceConfig {
        model,
        eos_ids: fields.ids("eos_token_id")?.unwrap_or_default(),
        bos_id: fields.id("bos_token_id")?,
    })
}

/// `rope_theta` + `rope_scaling`, or `rope_parameters` holding both.
fn rope(fields: &Fields) -> Result<RopeConfig, LoadError> {
    let (scaling, parameters) = (fields.object("rope_scaling")?, fields.object("rope_parameters")?);
    if scaling.is_some() && parameters.is_some() && scaling != parameters {
        return Err(fields.error("rope_scaling", "nothing beside a different rope_parameters"));
    }
    let outer = fields.number("rope_theta")?;
    let default_theta = 10_000.0;
    let (map, prefix) = match (scaling, parameters) {
        (_, Some(map)) => (map, "rope_parameters."),
        (Some(map), None) => (map, "rope_scaling."),
        (None, None) => {
            return Ok(RopeConfig { theta: outer.unwrap_or(default_theta), scaling: RopeScaling::None });
        }
    };
    let inner = Fields { path: fields.path, prefix, map };
    let theta = match (outer, inner.number("rope_theta")?) {
        (Some(outer), Some(theta)) if outer != theta => {
            return Err(inner.error("rope_theta", format!("{outer}, the value of rope_theta")));
        }
        (outer, theta) => outer.or(theta).unwrap_or(default_theta),
    };
    if inner.number("partial_rotary_factor")?.is_some_and(|factor| factor != 1.0) {
        return Err(inner.error("partial_rotary_factor", "1: partial rotary embedding is not implemented"));
    }
    let key = if inner.get("rope_type").is_some() { "rope_type" } else { "type" };
    let scaling = match inner.text(key)? {
        None | Some("default") => RopeScaling::None,
        Some("llama3") => {
            let number = |key| {
                let number = inner.number(key)?.map(|x| x as f32);
                number.ok_or_else(|| inner.error(key, "a number"))
            };
            let original = "original_max_position_embeddings";
            RopeScaling::Llama3 {
                factor: number("factor")?,
                low_freq_factor: number("low_freq_factor")?,
                high_freq_factor: number("high_freq_factor")?,
                original_positions: inner
                    .required_size(original)?
                    .try_into()
                    .map_err(|_| inner.error(original, "below 2^32"))?,
            }
        }
        Some(_) => return Err(inner.error(key, "\"default\" or \"llama3\": no other is implemented")),
    };
    Ok(RopeConfig { theta, scaling })
}

/// What the layers are beyond the family's: windows, activation, soft cap.
fn features(
    fields: &Fields,
    family: &Family,
    layer_count: usize,
    position_count: usize,
) -> Result<LayerFeatures, LoadError> {
    let mut features = family.features;
    features.activation = match fields.text("hidden_act")? {
        None => features.activation,
        Some("silu" | "swish") => Activation::Silu,
        Some("gelu_pytorch_tanh") => Activation::GeluTanh,
        Some(_) => return Err(fields.error("hidden_act", "\"silu\"")),
    };
    let soft_cap = fields.number("attn_logit_softcapping")?.filter(|cap| *cap != 0.0);
    features.soft_cap = soft_cap.map(|cap| cap as f32).or(features.soft_cap);
    if let Some(window) = window(fields, family, layer_count)?.filter(|window| *window < position_count) {
        let window = u32::try_from(window).map_err(|_| fields.error("sliding_window", "below 2^32"))?;
        features.kinds = features.kinds.map(|kind| LayerKind { window: Some(window), ..kind });
    }
    Ok(features)
}

/// The window of the layers, in positions, where one is used.
fn window(fields: &Fields, family: &Family, layer_count: usize) -> Result<Option<usize>, LoadError> {
    let absent = if fields.map.contains_key("sliding_window") { None } else { family.absent.window };
    let window = fields.size("sliding_window")?.or(absent);
    // Where the window is off unless asked for, it begins at `max_window_layers`.
    let by_default = family.absent.use_window;
    let used = fields.flag("use_sliding_window")?.unwrap_or(by_default);
    let first_layer = if by_default { 0 } else { fields.size("max_window_layers")?.unwrap_or(28) };
    Ok(window.filter(|_| used && first_layer < layer_count))
}

/// Refuses kinds of layers that are not full attention, or a window that is wide enough to be it.
fn refuse_layer_types(fields: &Fields, model: &ModelConfig) -> Result<(), LoadError> {
    let narrow = fields.size("sliding_window")?.is_some_and(|window| window < model.position_count);
    let types = fields.optional("layer_types", "a list of strings", |value| {
        value.as_array()?.iter().map(Value::as_str).collect::<Option<Vec<_>>>()
    })?;
    for name in types.unwrap_or_default() {
        let harmless = name == "full_attention" || (name == "sliding_attention" && !narrow);
        if !harmless {
            return Err(LoadError::field(
                fields.path,
                "layer_types",
                format!("{name:?}"),
                "\"full_attention\": no other kind of layer is implemented",
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
