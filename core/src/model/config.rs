//! The configuration of a model: its family, its sizes, and its differences from others of the
//! family.
//!
//! A host fills a [`ModelConfig`] from `config.json`; [`ModelConfig::check`] proves the arithmetic
//! that the rest of the core relies on, so that nonsense stops here with the name of the field.
use super::families::Architecture;
use super::spec::{
    AttentionSpec, ConfigError, FeedForwardSpec, HeadNorms, LAYER_KINDS, LayerFeatures, LayerPattern,
    LayerSpec, SIZE_MAX,
};
use crate::cache::KvLayout;
use crate::dtype::{KvFormat, WeightFormat};
use crate::kernels::matmul::panel::PANEL;
use crate::kernels::matmul::{inputs_max, panel_len};
use crate::kernels::rope::{RopeConfig, RopeScaling};
use crate::tensor::padded;

/// Everything about a model but its weights.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ModelConfig {
    /// The family, which is a row of the table [`FAMILIES`](super::FAMILIES).
    pub architecture: Architecture,
    /// Rows of the embedding and of the head.
    pub vocab_size: usize,
    /// Elements of a row of the residual stream.
    pub hidden_size: usize,
    /// Elements of a row between the feed-forward's products.
    pub intermediate_size: usize,
    /// How many layers there are.
    pub layer_count: usize,
    /// Query heads of a layer.
    pub head_count: usize,
    /// Key and value heads; divides `head_count`.
    pub kv_head_count: usize,
    /// Elements of a head, even.
    pub head_dim: usize,
    /// Positions that the model was made for: the largest context.
    pub position_count: usize,
    /// The `eps` that every RMSNorm adds to the mean square.
    pub rms_norm_eps: f32,
    /// RoPE table 0, by which layers rotate unless their kind says otherwise.
    pub rope: RopeConfig,
    /// Whether the head's weight is that of the embedding.
    pub tied_head: bool,
    /// Whether Q, K and V have biases.
    pub qkv_bias: bool,
    /// Whether the attention output has a bias.
    pub attention_output_bias: bool,
    /// Whether gate, up and down have biases.
    pub mlp_bias: bool,
    /// Whether Q and K are normalised per head.
    pub qk_norm: bool,
    /// Everything else about the layers: patterns, windows, norms and activations.
    pub features: LayerFeatures,
    /// How the layers' weights are stored, and the embedding table beside a head of its own.
    pub weight_format: WeightFormat,
    /// How the head is stored; where it is tied, the embedding with it.
    pub head_format: WeightFormat,
    /// The products of the layers that are stored otherwise than `weight_format` says.
    pub mix: FormatMix,
}

/// Products whose weights are stored in a format of their own, in every layer; `None` is the
/// model's weight format. Each has the operands of that one.
///
/// A few weights cost much more accuracy than their share of the bytes when they are rounded to 4
/// bits: those of the values above all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FormatMix {
    /// `v_proj`, a segment of the fused Q, K and V; Q and K together are whole panels.
    pub value: Option<WeightFormat>,
    /// `o_proj`, the product behind attention.
    pub attention_output: Option<WeightFormat>,
    /// `down_proj`, the product back to the residual stream.
    pub down: Option<WeightFormat>,
}

impl FormatMix {
    /// All products in the model's weight format.
    pub const NONE: Self = Self { value: None, attention_output: None, down: None };

    /// The formats of the values, the attention output and down in a model whose weights have the
    /// format `base`.
    pub fn formats(&self, base: WeightFormat) -> [WeightFormat; 3] {
        self.products().map(|(_, own)| own.unwrap_or(base))
    }

    /// The products that can have a format of their own, by the names of their flags, and what they
    /// have.
    pub const fn products(&self) -> [(&'static str, Option<WeightFormat>); 3] {
        [("value", self.value), ("output", self.attention_output), ("down", self.down)]
    }
}

impl ModelConfig {
    /// The description of layer `layer`, from 0.
    pub fn layer(&self, layer: usize) -> LayerSpec {
        self.kind(self.features.pattern.kind_of(layer))
    }

    /// The description of layers of a kind.
    fn kind(&self, kind: usize) -> LayerSpec {
        let (features, kind) = (&self.features, self.features.kinds[kind]);
        let plain_scale = 1.0 / libm::sqrtf(self.head_dim as f32);
        LayerSpec {
            attention: AttentionSpec {
                head_count: self.head_count,
                kv_head_count: self.kv_head_count,
                head_dim: self.head_dim,
                window: kind.window.map(|window| window as usize),
                rope: kind.rope.map(|table| table as usize),
                head_norms: if self.qk_norm { HeadNorms::EachHead } else { HeadNorms::None },
                qkv_bias: self.qkv_bias,
                output_bias: self.attention_output_bias,
                soft_cap: features.soft_cap,
                scale: features.attention_scale.unwrap_or(plain_scale),
            },
            feed_forward: FeedForwardSpec {
                width: self.intermediate_size,
                activation: features.activation,
                gate: features.gate,
                bias: self.mlp_bias,
            },
            norms: features.norms,
        }
    }

    /// The RoPE tables that layers name by index.
    pub fn rope_tables(&self) -> [RopeConfig; 2] {
        [self.rope, self.features.second_rope]
    }

    /// The layout of this model's keys and values in `block_count` blocks.
    pub fn kv_layout(&self, format: KvFormat, block_count: usize) -> KvLayout {
        KvLayout {
            format,
            layer_count: self.layer_count,
            kv_head_count: self.kv_head_count,
            head_dim: self.head_dim,
            block_count,
        }
    }

    /// Checks the sizes that the core's arithmetic relies on, and refuses what the forward pass
    /// does not implement.
    pub fn check(&self) -> Result<(), ConfigError> {
        let sized = |field, value: usize| {
            let expected = "between 1 and 16777216";
            if (1..=SIZE_MAX).contains(&value) { Ok(()) } else { Err(ConfigError { field, expected }) }
        };
        sized("vocab_size", self.vocab_size)?;
        sized("hidden_size", self.hidden_size)?;
        sized("intermediate_size", self.intermediate_size)?;
        sized("max_position_embeddings", self.position_count)?;
        if !(1..=1024).contains(&self.layer_count) {
            return Err(ConfigError { field: "num_hidden_layers", expected: "between 1 and 1024" });
        }
        if self.features.pattern == LayerPattern::EveryNth(0) {
            return Err(ConfigError { field: "layer pattern", expected: "every layer of at least 1" });
        }
        for kind in 0..LAYER_KINDS {
            self.kind(kind).check(self.position_count)?;
        }
        self.check_inputs()?;
        self.check_mix()?;
        if !(self.rms_norm_eps >= 0.0 && self.rms_norm_eps.is_finite()) {
            return Err(ConfigError { field: "rms_norm_eps", expected: "finite and not negative" });
        }
        self.rope_tables().iter().try_for_each(check_rope)
    }

    /// Refuses formats of products whose activations would have to be rounded otherwise, and values
    /// in a format of their own whose panels Q and K would share.
    fn check_mix(&self) -> Result<(), ConfigError> {
        let formats = self.mix.formats(self.weight_format);
        if formats.iter().any(|format| format.operands() != self.weight_format.operands()) {
            let expected = "formats of products whose activations are rounded as those of the others";
            return Err(ConfigError { field: "format mix", expected });
        }
        let [value, ..] = formats;
        if value != self.weight_format && !(self.q_size() + self.kv_size()).is_multiple_of(PANEL) {
            let expected = "values of the other weights' format where Q and K are no whole panels";
            return Err(ConfigError { field: "format mix", expected });
        }
        Ok(())
    }

    /// Refuses products with more inputs than their format can sum or encode.
    fn check_inputs(&self) -> Result<(), ConfigError> {
        let mixed = self.mix.formats(self.weight_format);
        let formats = [self.weight_format, self.head_format].into_iter().chain(mixed);
        let inputs = self.intermediate_size.max(self.hidden_size).max(self.q_size());
        let Some(format) = { formats }.find(|format| inputs > inputs_max(*format)) else {
            return Ok(());
        };
        let expected = match format {
            WeightFormat::Int8 | WeightFormat::Int4 | WeightFormat::Int5 | WeightFormat::Int6 => {
                "products with at most 65536 inputs for int8, int6, int5 and int4 weights"
            }
            WeightFormat::Bf16x12 => "products with at most 524284 inputs for 12-bit bf16 weights",
            _ => "products with no more inputs than the weight format can add up",
        };
        Err(ConfigError { field: "intermediate_size", expected })
    }

    /// Bytes of packed weights that one row is multiplied with, in all layers and the output head.
    pub fn row_weight_bytes(&self) -> usize {
        let bytes = |format: WeightFormat, outputs: usize, inputs: usize| {
            outputs.div_ceil(PANEL) * panel_len(format, inputs) * format.element_bytes()
        };
        let (hidden, wide) = (self.hidden_size, self.intermediate_size);
        let [value, attention_output, down] = self.mix.formats(self.weight_format);
        let layer = bytes(self.weight_format, self.q_size() + self.kv_size(), hidden)
            + bytes(value, self.kv_size(), hidden)
            + bytes(attention_output, hidden, self.q_size())
            + bytes(self.weight_format, 2 * padded(wide), hidden)
            + bytes(down, hidden, wide);
        self.layer_count * layer + bytes(self.head_format, self.vocab_size, hidden)
    }

    /// Query heads that share a key and value head, in every layer.
    pub fn group_size(&self) -> usize {
        self.layer(0).attention.group_size()
    }

    /// Elements of Q in a row, in every layer: all query heads.
    pub fn q_size(&self) -> usize {
        self.layer(0).attention.q_size()
    }

    /// Elements of K in a row, and of V, in every layer.
    pub fn kv_size(&self) -> usize {
        self.layer(0).attention.kv_size()
    }

    /// Elements of Q, K and V side by side, in every layer.
    pub fn qkv_size(&self) -> usize {
        self.layer(0).attention.qkv_size()
    }
}

/// Refuses frequencies that are not finite.
fn check_rope(rope: &RopeConfig) -> Result<(), ConfigError> {
    let positive = |x: f32| x > 0.0 && x.is_finite();
    if !(rope.theta > 0.0 && rope.theta.is_finite()) {
        return Err(ConfigError { field: "rope_theta", expected: "finite and above 0" });
    }
    let RopeScaling::Llama3 { factor, low_freq_factor, high_freq_factor, original_positions } = rope.scaling
    else {
        return Ok(());
    };
    let field = "rope_scaling";
    if !(positive(factor) && positive(low_freq_factor) && positive(high_freq_factor)) {
        return Err(ConfigError { field, expected: "made of finite factors above 0" });
    }
    if high_freq_factor <= low_freq_factor || original_positions == 0 {
        let expected = "a high_freq_factor above the low_freq_factor, and original positions";
        return Err(ConfigError { field, expected });
    }
    Ok(())
}
