//! The table of families: what `model_type` in `config.json` says about a model beyond its sizes.
use super::spec::LayerFeatures;

/// The families that the forward pass knows, by the `model_type` of `config.json`.
///
/// The numbers are those of images and fingerprints, and the rows of [`FAMILIES`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Architecture {
    /// Llama 1 to 3, TinyLlama, SmolLM.
    Llama = 0,
    /// Mistral 7B and its kind, without a sliding window.
    Mistral = 1,
    /// Qwen 2 and 2.5: biases on Q, K and V.
    Qwen2 = 2,
    /// Qwen 3: RMSNorms on each head of Q and K.
    Qwen3 = 3,
}

/// One row of the table of families.
#[derive(Clone, Copy, Debug)]
pub struct Family {
    /// The `model_type` of `config.json`.
    pub model_type: &'static str,
    /// The number that images and fingerprints have for it.
    pub architecture: Architecture,
    /// Whether Q, K and V have biases without `config.json` saying so.
    pub qkv_bias: bool,
    /// Whether `attention_bias` in `config.json` is honoured: biases on Q, K, V and the attention
    /// output.
    pub attention_bias_key: bool,
    /// Whether `mlp_bias` in `config.json` is honoured.
    pub mlp_bias_key: bool,
    /// Whether Q and K are normalised per head before RoPE.
    pub qk_norm: bool,
    /// Everything else in which the family's layers differ from Llama's.
    pub features: LayerFeatures,
    /// The defaults that the transformers library has for keys that `config.json` leaves out.
    pub absent: AbsentKeys,
}

/// The values of keys that `config.json` leaves out.
#[derive(Clone, Copy, Debug)]
pub struct AbsentKeys {
    /// `num_key_value_heads`; `None` is as many as there are query heads.
    pub kv_head_count: Option<usize>,
    /// `head_dim`; `None` is `hidden_size / num_attention_heads`.
    pub head_dim: Option<usize>,
    /// The value of `max_position_embeddings`.
    pub position_count: usize,
    /// The value of `sliding_window`, in positions.
    pub window: Option<usize>,
    /// `use_sliding_window`: where it is false, a window counts only if the key asks for it, and
    /// then from layer `max_window_layers` on.
    pub use_window: bool,
}

const LLAMA: Family = Family {
    model_type: "llama",
    architecture: Architecture::Llama,
    qkv_bias: false,
    attention_bias_key: true,
    mlp_bias_key: true,
    qk_norm: false,
    features: LayerFeatures::PLAIN,
    absent: AbsentKeys {
        kv_head_count: None,
        head_dim: None,
        position_count: 2048,
        window: None,
        use_window: true,
    },
};

const QWEN2: Family = Family {
    model_type: "qwen2",
    architecture: Architecture::Qwen2,
    qkv_bias: true,
    attention_bias_key: false,
    mlp_bias_key: false,
    absent: AbsentKeys { kv_head_count: Some(32), position_count: 32_768, use_window: false, ..LLAMA.absent },
    ..LLAMA
};

/// Every family there is: a `model_type` outside this table is refused by name.
///
/// Row `n` is that of the [`Architecture`] numbered `n`. `docs/adding.md` says what else a new
/// family needs.
pub const FAMILIES: [Family; 4] = [
    LLAMA,
    Family {
        model_type: "mistral",
        architecture: Architecture::Mistral,
        attention_bias_key: false,
        mlp_bias_key: false,
        absent: AbsentKeys {
            kv_head_count: Some(8),
            position_count: 131_072,
            window: Some(4096),
            ..LLAMA.absent
        },
        ..LLAMA
    },
    QWEN2,
    Family {
        model_type: "qwen3",
        architecture: Architecture::Qwen3,
        qkv_bias: false,
        attention_bias_key: true,
        qk_norm: true,
        absent: AbsentKeys { head_dim: Some(128), ..QWEN2.absent },
        ..QWEN2
    },
];

const _: () = {
    let mut row = 0;
    while row < FAMILIES.len() {
        assert!(FAMILIES[row].architecture as usize == row, "rows are in order of number");
        row += 1;
    }
};

impl Architecture {
    /// The family's row of [`FAMILIES`].
    pub fn family(self) -> &'static Family {
        &FAMILIES[self as usize]
    }

    /// The architecture of that number in images and fingerprints.
    pub fn from_u32(n: u32) -> Option<Self> {
        FAMILIES.get(n as usize).map(|family| family.architecture)
    }
}
