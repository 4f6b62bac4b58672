//! The description of a layer: its attention, its feed-forward, and the placement of its norms.
//!
//! A model is a list of layers. [`ModelConfig::layer`](super::ModelConfig::layer) gives layer `i`'s
//! [`LayerSpec`] from the model's sizes and its [`LayerFeatures`], and the forward pass reads
//! nothing else about a layer. A family that differs sets its features in the table
//! [`FAMILIES`](super::FAMILIES).
//!
//! The description has more fields than the forward pass has branches. What is not implemented is
//! refused by [`LayerSpec::check`] with the name that `config.json` has for it, so that a model is
//! served as it was meant or not at all.
use crate::kernels::rope::{RopeConfig, RopeScaling};

/// A field of a model's configuration whose value is impossible or not implemented.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConfigError {
    /// The field, as `config.json` names it.
    pub field: &'static str,
    /// The values that are allowed, in words that follow "must be".
    pub expected: &'static str,
}

impl core::fmt::Display for ConfigError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "{} must be {}", self.field, self.expected)
    }
}

impl core::error::Error for ConfigError {}

/// One layer: `x += attention(norm(x))`, then `x += feed_forward(norm(x))`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LayerSpec {
    /// The first half of the layer.
    pub attention: AttentionSpec,
    /// The second half of the layer.
    pub feed_forward: FeedForwardSpec,
    /// The RMSNorms around the two.
    pub norms: LayerNorms,
}

/// Attention of one layer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AttentionSpec {
    /// Query heads of the layer.
    pub head_count: usize,
    /// Key and value heads; divides `head_count`.
    pub kv_head_count: usize,
    /// Elements of a head.
    pub head_dim: usize,
    /// Positions that a row sees, its own and those just before it; `None` is all of them.
    pub window: Option<usize>,
    /// The RoPE table that rotates Q and K, an index below [`ROPE_TABLES`]; `None` is no rotation.
    pub rope: Option<usize>,
    /// RMSNorms of Q and K before RoPE.
    pub head_norms: HeadNorms,
    /// Whether the products that make Q, K and V have biases.
    pub qkv_bias: bool,
    /// Whether the output product has a bias.
    pub output_bias: bool,
    /// The bound `c` of scores `c · tanh(s / c)` (Gemma 2); `None` leaves scores as they are.
    pub soft_cap: Option<f32>,
    /// The factor of `q · k`.
    pub scale: f32,
}

impl AttentionSpec {
    /// Query heads that share a key and value head.
    pub fn group_size(&self) -> usize {
        self.head_count / self.kv_head_count
    }

    /// Elements of Q in a row: all query heads.
    pub fn q_size(&self) -> usize {
        self.head_count * self.head_dim
    }

    /// Elements of K in a row, and of V.
    pub fn kv_size(&self) -> usize {
        self.kv_head_count * self.head_dim
    }

    /// Elements of Q, K and V side by side, as one product makes them.
    pub fn qkv_size(&self) -> usize {
        self.q_size() + 2 * self.kv_size()
    }
}

/// RMSNorms of the heads of Q and K.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeadNorms {
    /// Q and K have none.
    None,
    /// Each head is normalised by itself, with one weight for all heads of Q and one for those of K
    /// (Qwen 3).
    EachHead,
}

/// The feed-forward of one layer: `down(activation(gate(x)) · up(x))`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FeedForwardSpec {
    /// Elements between the two products.
    pub width: usize,
    /// The function of the gate.
    pub activation: Activation,
    /// Whether there is a gate beside the up product.
    pub gate: bool,
    /// Whether gate, up and down have biases.
    pub bias: bool,
}

/// The function of a feed-forward's gate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Activation {
    /// SiLU: `x · sigmoid(x)`.
    Silu = 0,
    /// The tanh approximation of GELU (Gemma); not implemented.
    GeluTanh = 1,
}

/// The RMSNorms of a layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LayerNorms {
    /// Where the layer's norms stand.
    pub placement: NormPlacement,
    /// Whether a checkpoint stores `w − 1` for the weight `w` of every norm (Gemma). A packer adds
    /// the one, so that an image holds `w` itself.
    pub adds_one: bool,
}

/// Where a layer's RMSNorms stand, seen from attention and from the feed-forward.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum NormPlacement {
    /// Before each of them: `x += f(norm(x))`.
    Before = 0,
    /// After each of them, before the sum (OLMo 2): `x += norm(f(x))`; not implemented.
    After = 1,
    /// On both sides (Gemma 2): `x += norm(f(norm(x)))`; not implemented.
    Both = 2,
}

/// RoPE tables that a model can have: one of cosines and sines for each set of frequencies.
pub const ROPE_TABLES: usize = 2;

/// Kinds of layers that a model can have.
pub const LAYER_KINDS: usize = 2;

/// The properties that may differ from layer to layer. All layers have the same tensors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LayerKind {
    /// The [`AttentionSpec::window`] of layers of this kind.
    pub window: Option<u32>,
    /// The [`AttentionSpec::rope`] of layers of this kind.
    pub rope: Option<u32>,
}

/// Which layer is of which kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LayerPattern {
    /// All are of kind 0.
    Uniform,
    /// Layers `n − 1`, `2 n − 1`, … are of kind 1, the others of kind 0: `n` is 6 in Gemma 3, 4 in
    /// SmolLM3 and OLMo 3.
    EveryNth(u32),
}

impl LayerPattern {
    /// The kind of a layer, below [`LAYER_KINDS`].
    pub fn kind_of(self, layer: usize) -> usize {
        match self {
            Self::Uniform => 0,
            Self::EveryNth(n) => usize::from((layer + 1).is_multiple_of(n as usize)),
        }
    }
}

/// The properties of a model's layers besides sizes, biases and norms of heads.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LayerFeatures {
    /// Which layer is of which kind.
    pub pattern: LayerPattern,
    /// The kinds; the second matters only where the pattern names it.
    pub kinds: [LayerKind; LAYER_KINDS],
    /// RoPE table 1; table 0 is the model's own.
    pub second_rope: RopeConfig,
    /// The RMSNorms around attention and feed-forward.
    pub norms: LayerNorms,
    /// The function of the feed-forward's gate.
    pub activation: Activation,
    /// Whether the feed-forward has a gate.
    pub gate: bool,
    /// The [`AttentionSpec::scale`] of every layer; `None` is `1 / sqrt(head_dim)`.
    pub attention_scale: Option<f32>,
    /// The [`AttentionSpec::soft_cap`] of every layer.
    pub soft_cap: Option<f32>,
}

impl LayerFeatures {
    /// Layers as Llama has them.
    pub const PLAIN: Self = Self {
        pattern: LayerPattern::Uniform,
        kinds: [LayerKind { window: None, rope: Some(0) }; LAYER_KINDS],
        second_rope: RopeConfig { theta: 10_000.0, scaling: RopeScaling::None },
        norms: LayerNorms { placement: NormPlacement::Before, adds_one: false },
        activation: Activation::Silu,
        gate: true,
        attention_scale: None,
        soft_cap: None,
    };
}

impl LayerSpec {
    /// Refuses what the forward pass does not implement, and what cannot be.
    ///
    /// `position_count` is the largest context: a window that is no smaller changes nothing and is
    /// allowed.
    pub fn check(&self, position_count: usize) -> Result<(), ConfigError> {
        // Every field is named, so that a new one does not compile before it is looked at here.
        let Self { attention, feed_forward, norms } = *self;
        let AttentionSpec {
            head_count,
            kv_head_count,
            head_dim,
            window,
            rope,
            head_norms: HeadNorms::None | HeadNorms::EachHead,
            qkv_bias: true | false,
            output_bias: true | false,
            soft_cap,
            scale,
        } = attention;
        let FeedForwardSpec { width, activation, gate, bias: true | false } = feed_forward;
        let LayerNorms { placement, adds_one: true | false } = norms;
        let requirements = [
            ((1..=1024).contains(&head_count), "num_attention_heads", "between 1 and 1024"),
            ((1..=1024).contains(&head_dim), "head_dim", "between 2 and 1024"),
            (head_dim.is_multiple_of(2), "head_dim", "even"),
            (
                kv_head_count > 0 && head_count.is_multiple_of(kv_head_count.max(1)),
                "num_key_value_heads",
                "a divisor of num_attention_heads",
            ),
            (
                window.is_none_or(|window| window >= position_count),
                "sliding_window",
                "null or at least max_position_embeddings: a narrower window is not implemented",
            ),
            (rope.is_none_or(|table| table < ROPE_TABLES), "rope table", "0, 1 or none"),
            (soft_cap.is_none(), "attn_logit_softcapping", "null: soft-capped scores are not implemented"),
            (scale > 0.0 && scale.is_finite(), "attention scale", "finite and above 0"),
            ((1..=SIZE_MAX).contains(&width), "intermediate_size", "between 1 and 16777216"),
            (activation == Activation::Silu, "hidden_act", "\"silu\""),
            (gate, "feed-forward", "gated: one without a gate is not implemented"),
            (
                placement == NormPlacement::Before,
                "norms",
                "before attention and feed-forward: norms after them are not implemented",
            ),
        ];
        match requirements.into_iter().find(|(holds, ..)| !holds) {
            Some((_, field, expected)) => Err(ConfigError { field, expected }),
            None => Ok(()),
        }
    }
}

/// The largest value of any width; it keeps every product of two sizes far from overflow.
pub(super) const SIZE_MAX: usize = 1 << 24;
