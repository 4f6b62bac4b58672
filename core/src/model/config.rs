//! What a model is: sizes, and the features that tell the families apart.
//!
//! A host fills a [`ModelConfig`] from `config.json`; [`ModelConfig::check`] proves the arithmetic
//! that the rest of the core relies on, so that nonsense stops here with the name of the field.
use crate::cache::KvLayout;
use crate::dtype::{KvFormat, OperandFormat, WeightFormat};
use crate::kernels::matmul::inputs_max;
use crate::kernels::rope::{RopeConfig, RopeScaling};

/// The families that the forward pass knows, by the `model_type` of `config.json`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Architecture {
    /// Llama 1 to 3, TinyLlama, SmolLM.
    Llama = 0,
    /// Mistral 7B and its kind, without a sliding window.
    Mistral = 1,
    /// Qwen 2 and 2.5: biases on Q, K and V.
    Qwen2 = 2,
    /// Qwen 3: RMS norms on each head of Q and K.
    Qwen3 = 3,
}

/// One row of the table of families.
#[derive(Clone, Copy, Debug)]
pub struct Family {
    /// The `model_type` of `config.json`.
    pub model_type: &'static str,
    /// The architecture.
    pub architecture: Architecture,
    /// Q, K and V have biases without `config.json` saying so.
    pub qkv_bias: bool,
    /// `attention_bias` in `config.json` is honoured: biases on Q, K, V and the attention output.
    pub attention_bias_key: bool,
    /// `mlp_bias` in `config.json` is honoured.
    pub mlp_bias_key: bool,
    /// Q and K are normalised per head before RoPE.
    pub qk_norm: bool,
}

/// Every family there is: a `model_type` outside this table is refused by name.
///
/// Common to all: pre-norm blocks with RMSNorm, half-rotation RoPE, SiLU-gated feed-forward. A
/// family that differs there gets a column here and a branch in `model::forward`.
pub const FAMILIES: [Family; 4] = [
    Family {
        model_type: "llama",
        architecture: Architecture::Llama,
        qkv_bias: false,
        attention_bias_key: true,
        mlp_bias_key: true,
        qk_norm: false,
    },
    Family {
        model_type: "mistral",
        architecture: Architecture::Mistral,
        qkv_bias: false,
        attention_bias_key: false,
        mlp_bias_key: false,
        qk_norm: false,
    },
    Family {
        model_type: "qwen2",
        architecture: Architecture::Qwen2,
        qkv_bias: true,
        attention_bias_key: false,
        mlp_bias_key: false,
        qk_norm: false,
    },
    Family {
        model_type: "qwen3",
        architecture: Architecture::Qwen3,
        qkv_bias: false,
        attention_bias_key: true,
        mlp_bias_key: false,
        qk_norm: true,
    },
];

impl Architecture {
    /// Its row of the table.
    pub fn family(self) -> &'static Family {
        &FAMILIES[self as usize]
    }

    /// The architecture of that number in the image header.
    pub fn from_u32(n: u32) -> Option<Self> {
        FAMILIES.get(n as usize).map(|family| family.architecture)
    }
}

/// Everything about a model but its weights.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ModelConfig {
    /// The family.
    pub architecture: Architecture,
    /// Rows of the embedding and of the head.
    pub vocab_size: usize,
    /// Width of the residual stream.
    pub hidden_size: usize,
    /// Width of the feed-forward.
    pub intermediate_size: usize,
    /// Transformer blocks.
    pub layer_count: usize,
    /// Query heads.
    pub head_count: usize,
    /// Key and value heads; divides `head_count`.
    pub kv_head_count: usize,
    /// Width of a head, even.
    pub head_dim: usize,
    /// Positions the model was made for: the greatest context.
    pub position_count: usize,
    /// Added to the mean square in every RMSNorm.
    pub rms_norm_eps: f32,
    /// Positions.
    pub rope: RopeConfig,
    /// The head is the embedding's weight.
    pub tied_head: bool,
    /// Q, K and V have biases.
    pub qkv_bias: bool,
    /// The attention output has a bias.
    pub attention_output_bias: bool,
    /// Gate, up and down have biases.
    pub mlp_bias: bool,
    /// Q and K are normalised per head.
    pub qk_norm: bool,
    /// How the weights of the blocks are stored, and the embedding table beside a head of its own.
    pub weight_format: WeightFormat,
    /// How the head is stored; where it is tied, the embedding with it.
    pub head_format: WeightFormat,
}

/// A field of a [`ModelConfig`] that cannot be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConfigError {
    /// The field, as `config.json` names it.
    pub field: &'static str,
    /// What it must be.
    pub expected: &'static str,
}

impl core::fmt::Display for ConfigError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "{} must be {}", self.field, self.expected)
    }
}

impl core::error::Error for ConfigError {}

/// Greatest value of any width; keeps every product of two sizes far from overflow.
const SIZE_MAX: usize = 1 << 24;

impl ModelConfig {
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

    /// Proves what the core relies on.
    pub fn check(&self) -> Result<(), ConfigError> {
        let sized = |field, value: usize| {
            let expected = "between 1 and 16777216";
            if (1..=SIZE_MAX).contains(&value) { Ok(()) } else { Err(ConfigError { field, expected }) }
        };
        sized("vocab_size", self.vocab_size)?;
        sized("hidden_size", self.hidden_size)?;
        sized("intermediate_size", self.intermediate_size)?;
        sized("max_position_embeddings", self.position_count)?;
        let within = |field, value: usize, most: usize, expected| {
            if (1..=most).contains(&value) { Ok(()) } else { Err(ConfigError { field, expected }) }
        };
        within("num_hidden_layers", self.layer_count, 1024, "between 1 and 1024")?;
        within("num_attention_heads", self.head_count, 1024, "between 1 and 1024")?;
        within("head_dim", self.head_dim, 1024, "between 2 and 1024")?;
        if !self.head_dim.is_multiple_of(2) {
            return Err(ConfigError { field: "head_dim", expected: "even" });
        }
        if self.kv_head_count == 0 || !self.head_count.is_multiple_of(self.kv_head_count) {
            return Err(ConfigError {
                field: "num_key_value_heads",
                expected: "a divisor of num_attention_heads",
            });
        }
        let whole =
            [self.weight_format, self.head_format].iter().any(|f| f.operands() == OperandFormat::Int8);
        let inputs = self.intermediate_size.max(self.hidden_size).max(self.q_size());
        if whole && inputs > inputs_max(WeightFormat::Int8) {
            let expected = "products with at most 65536 inputs for int8 and int4 weights";
            return Err(ConfigError { field: "intermediate_size", expected });
        }
        if [self.weight_format, self.head_format].contains(&WeightFormat::Bf16x12)
            && inputs > inputs_max(WeightFormat::Bf16x12)
        {
            let expected = "products with at most 524284 inputs for bf16 weights in 12 bits";
            return Err(ConfigError { field: "intermediate_size", expected });
        }
        if !(self.rms_norm_eps >= 0.0 && self.rms_norm_eps.is_finite()) {
            return Err(ConfigError { field: "rms_norm_eps", expected: "finite and not negative" });
        }
        if !(self.rope.theta > 0.0 && self.rope.theta.is_finite()) {
            return Err(ConfigError { field: "rope_theta", expected: "finite and above 0" });
        }
        if let RopeScaling::Llama3 { factor, low_freq_factor, high_freq_factor, original_positions } =
            self.rope.scaling
        {
            let positive = |x: f32| x > 0.0 && x.is_finite();
            if !(positive(factor) && positive(low_freq_factor) && positive(high_freq_factor)) {
                return Err(ConfigError {
                    field: "rope_scaling",
                    expected: "made of finite factors above 0",
                });
            }
            if high_freq_factor <= low_freq_factor || original_positions == 0 {
                let expected = "a high_freq_factor above the low_freq_factor, and original positions";
                return Err(ConfigError { field: "rope_scaling", expected });
            }
        }
        Ok(())
    }

    /// Query heads that share a key and value head.
    pub fn group_size(&self) -> usize {
        self.head_count / self.kv_head_count
    }

    /// Width of Q: all query heads.
    pub fn q_size(&self) -> usize {
        self.head_count * self.head_dim
    }

    /// Width of K, and of V.
    pub fn kv_size(&self) -> usize {
        self.kv_head_count * self.head_dim
    }

    /// Width of Q, K and V side by side, as one product makes them.
    pub fn qkv_size(&self) -> usize {
        self.q_size() + 2 * self.kv_size()
    }
}
