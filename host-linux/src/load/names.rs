//! What checkpoints call the tensors of an image: a table for each family, and for each way to name
//! them.
//!
//! There are the names of Hugging Face checkpoints and those of GGUF files. One name may mean
//! different tensors in two families (`post_attention_layernorm` stands before the feed-forward in
//! Llama, behind attention in Gemma 2), so a family that differs gets a table of its own here, and
//! nothing else in `load` spells a name.
use super::checkpoint::Naming;
use verbatim_core::model::Architecture;
use verbatim_core::model::image::TensorKind;

/// The names of one family.
#[derive(Debug)]
pub(crate) struct Names {
    /// Tensors outside the layers.
    outer: &'static [(TensorKind, &'static str)],
    /// What stands before the number of a layer in the names of its tensors.
    layer_prefix: &'static str,
    /// Tensors of a layer without prefix and number. Several of one kind are stacked in that order.
    inner: &'static [(TensorKind, &'static str)],
    /// The ends of names that checkpoints carry and nothing needs.
    needless: &'static [&'static str],
}

const LLAMA: Names = Names {
    outer: &[
        (TensorKind::Embedding, "model.embed_tokens.weight"),
        (TensorKind::FinalNorm, "model.norm.weight"),
        (TensorKind::Head, "lm_head.weight"),
    ],
    layer_prefix: "model.layers.",
    inner: &[
        (TensorKind::AttentionNorm, "input_layernorm.weight"),
        (TensorKind::Qkv, "self_attn.q_proj.weight"),
        (TensorKind::Qkv, "self_attn.k_proj.weight"),
        (TensorKind::Qkv, "self_attn.v_proj.weight"),
        (TensorKind::QkvBias, "self_attn.q_proj.bias"),
        (TensorKind::QkvBias, "self_attn.k_proj.bias"),
        (TensorKind::QkvBias, "self_attn.v_proj.bias"),
        (TensorKind::QNorm, "self_attn.q_norm.weight"),
        (TensorKind::KNorm, "self_attn.k_norm.weight"),
        (TensorKind::AttentionOutput, "self_attn.o_proj.weight"),
        (TensorKind::AttentionOutputBias, "self_attn.o_proj.bias"),
        (TensorKind::FeedForwardNorm, "post_attention_layernorm.weight"),
        (TensorKind::GateUp, "mlp.gate_proj.weight"),
        (TensorKind::GateUp, "mlp.up_proj.weight"),
        (TensorKind::GateUpBias, "mlp.gate_proj.bias"),
        (TensorKind::GateUpBias, "mlp.up_proj.bias"),
        (TensorKind::Down, "mlp.down_proj.weight"),
        (TensorKind::DownBias, "mlp.down_proj.bias"),
    ],
    // RoPE's frequencies follow from the configuration.
    needless: &[".rotary_emb.inv_freq"],
};

const GGUF_LLAMA: Names = Names {
    outer: &[
        (TensorKind::Embedding, "token_embd.weight"),
        (TensorKind::FinalNorm, "output_norm.weight"),
        (TensorKind::Head, "output.weight"),
    ],
    layer_prefix: "blk.",
    inner: &[
        (TensorKind::AttentionNorm, "attn_norm.weight"),
        (TensorKind::Qkv, "attn_q.weight"),
        (TensorKind::Qkv, "attn_k.weight"),
        (TensorKind::Qkv, "attn_v.weight"),
        (TensorKind::QkvBias, "attn_q.bias"),
        (TensorKind::QkvBias, "attn_k.bias"),
        (TensorKind::QkvBias, "attn_v.bias"),
        (TensorKind::QNorm, "attn_q_norm.weight"),
        (TensorKind::KNorm, "attn_k_norm.weight"),
        (TensorKind::AttentionOutput, "attn_output.weight"),
        (TensorKind::AttentionOutputBias, "attn_output.bias"),
        (TensorKind::FeedForwardNorm, "ffn_norm.weight"),
        (TensorKind::GateUp, "ffn_gate.weight"),
        (TensorKind::GateUp, "ffn_up.weight"),
        (TensorKind::GateUpBias, "ffn_gate.bias"),
        (TensorKind::GateUpBias, "ffn_up.bias"),
        (TensorKind::Down, "ffn_down.weight"),
        (TensorKind::DownBias, "ffn_down.bias"),
    ],
    // The configuration has taken what the former says; older files have the latter, which follows
    // from it.
    needless: &["rope_freqs.weight", ".attn_rot_embd"],
};

impl Names {
    /// The table of a family.
    pub(crate) fn of(architecture: Architecture, naming: Naming) -> &'static Names {
        match architecture {
            Architecture::Llama | Architecture::Mistral | Architecture::Qwen2 | Architecture::Qwen3 => {
                match naming {
                    Naming::HuggingFace => &LLAMA,
                    Naming::Gguf => &GGUF_LLAMA,
                }
            }
        }
    }

    /// The names of the tensors that make one of the image's, in order; `layer` is 0 for tensors
    /// outside the layers.
    pub(crate) fn tensor(&self, kind: TensorKind, layer: usize) -> Vec<String> {
        let of_kind = |(found, _): &&(TensorKind, &str)| *found == kind;
        let outer = self.outer.iter().filter(of_kind).map(|(_, name)| (*name).to_owned());
        let inner = self.inner.iter().filter(of_kind);
        outer.chain(inner.map(|(_, name)| format!("{}{layer}.{name}", self.layer_prefix))).collect()
    }

    /// Whether nothing needs the tensor, though checkpoints carry it.
    pub(crate) fn is_needless(&self, name: &str) -> bool {
        self.needless.iter().any(|end| name.ends_with(end))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;
    use verbatim_core::model::FAMILIES;

    #[test]
    fn every_tensor_of_every_family_has_names_of_its_own() {
        let namings = [Naming::HuggingFace, Naming::Gguf];
        let tables = FAMILIES.iter().flat_map(|family| namings.map(|naming| (family, naming)));
        for (family, naming) in tables {
            let names = Names::of(family.architecture, naming);
            let all: Vec<_> = names.outer.iter().chain(names.inner).collect();
            let distinct: BTreeSet<_> = all.iter().map(|(_, name)| name).collect();
            assert_eq!(distinct.len(), all.len(), "{}", family.model_type);
            for (kind, name) in all {
                let found = names.tensor(*kind, 12);
                let is_inner = names.inner.iter().any(|(inner, _)| inner == kind);
                let wanted =
                    if is_inner { format!("{}12.{name}", names.layer_prefix) } else { (*name).to_owned() };
                assert!(found.contains(&wanted), "{kind:?}: {found:?}");
            }
        }
    }

    #[test]
    fn products_are_stacked_in_order() {
        let names = Names::of(Architecture::Qwen2, Naming::HuggingFace);
        let expected = ["q", "k", "v"].map(|part| format!("model.layers.3.self_attn.{part}_proj.bias"));
        assert_eq!(names.tensor(TensorKind::QkvBias, 3), expected);
        let expected = ["gate", "up"].map(|part| format!("model.layers.0.mlp.{part}_proj.weight"));
        assert_eq!(names.tensor(TensorKind::GateUp, 0), expected);
        assert_eq!(names.tensor(TensorKind::Head, 0), ["lm_head.weight"]);
        assert!(names.is_needless("model.layers.0.self_attn.rotary_emb.inv_freq"));
        assert!(!names.is_needless("model.layers.0.self_attn.rotary_emb.inv_freq.x"));
        let names = Names::of(Architecture::Qwen2, Naming::Gguf);
        let expected = ["q", "k", "v"].map(|part| format!("blk.3.attn_{part}.bias"));
        assert_eq!(names.tensor(TensorKind::QkvBias, 3), expected);
    }
}
