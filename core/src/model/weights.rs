//! The weights of a model as the forward pass reads them: views into an image.
use crate::kernels::matmul::Linear;
use half::bf16;

/// The table of token embeddings.
#[derive(Clone, Copy, Debug)]
pub enum Embedding<'w> {
    /// The output head's panels are the table too: token `t` is column `t`.
    Tied,
    /// A table of f32, `[vocab, hidden]`.
    F32(&'w [f32]),
    /// A table of bf16, `[vocab, hidden]`.
    Bf16(&'w [bf16]),
}

/// The weights of one layer.
#[derive(Clone, Copy, Debug)]
pub struct LayerWeights<'w> {
    /// RMSNorm before attention, `[padded(hidden)]`, padding zero.
    pub attention_norm: &'w [f32],
    /// Q, K and V side by side: `[q_size + 2 kv_size, hidden]`, rows in that order without gaps.
    pub qkv: Linear<'w>,
    /// RMSNorm of each query head, `[head_dim]`.
    pub q_norm: Option<&'w [f32]>,
    /// RMSNorm of each key head, `[head_dim]`.
    pub k_norm: Option<&'w [f32]>,
    /// The product behind attention, `o_proj`: `[hidden, q_size]`.
    pub attention_output: Linear<'w>,
    /// RMSNorm before the feed-forward, `[padded(hidden)]`, padding zero.
    pub feed_forward_norm: &'w [f32],
    /// `gate_proj` and `up_proj` in paired panels: outputs `2 · padded(intermediate)`; panel 2i
    /// holds gate columns `32 i ..`, panel 2i + 1 the up columns of the same numbers; both zero
    /// past `intermediate`.
    pub gate_up: Linear<'w>,
    /// The product back to the residual stream, `down_proj`: `[hidden, intermediate]`.
    pub down: Linear<'w>,
}

/// The weights before and after the layers.
#[derive(Clone, Copy, Debug)]
pub struct OuterWeights<'w> {
    /// The table in which token ids are looked up.
    pub embedding: Embedding<'w>,
    /// The last RMSNorm, `[padded(hidden)]`, padding zero.
    pub final_norm: &'w [f32],
    /// The product that makes logits, `lm_head`: `[vocab, hidden]`.
    pub head: Linear<'w>,
}
