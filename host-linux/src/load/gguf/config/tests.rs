//! Metadata as configurations: what is served is what a `config.json` would say, and what is not
//! is told by its key.
use super::super::value::Value as Found;
use super::*;
use crate::load::config::SourceConfig;
use std::path::Path;
use verbatim_core::model::{Architecture, RopeScaling};

const SMALL: [(&str, u64); 7] = [
    ("block_count", 2),
    ("context_length", 4096),
    ("embedding_length", 64),
    ("feed_forward_length", 96),
    ("attention.head_count", 4),
    ("attention.head_count_kv", 2),
    ("vocab_size", 100),
];

fn metadata(name: &str) -> Metadata {
    let mut metadata = Metadata::new(Path::new("m.gguf"));
    metadata.insert("general.architecture".to_owned(), Found::Text(name.to_owned()));
    for (end, value) in SMALL {
        metadata.insert(format!("{name}.{end}"), Found::Unsigned(value));
    }
    metadata.insert(format!("{name}.attention.layer_norm_rms_epsilon"), Found::Float(f64::from(1e-5_f32)));
    metadata.insert(format!("{name}.rope.freq_base"), Found::Float(5e5));
    metadata
}

fn tensor(name: &str) -> TensorInfo {
    let kind = super::super::tensor_type::TensorType::of_number(0).unwrap();
    TensorInfo { name: name.to_owned(), shape: vec![100, 64], kind, offset: 0, bytes: 0 }
}

fn config(metadata: &Metadata, tensors: &[&str], factors: Option<&[f32]>) -> Result<SourceConfig, String> {
    let tensors: Vec<_> = tensors.iter().map(|name| tensor(name)).collect();
    let text = config_json(metadata, &tensors, factors).map_err(|error| error.to_string())?;
    Ok(parse_config(Path::new("config.json"), &text).unwrap())
}

#[test]
fn families_are_those_of_config_json() {
    for (name, architecture) in
        [("llama", Architecture::Llama), ("qwen2", Architecture::Qwen2), ("qwen3", Architecture::Qwen3)]
    {
        let model = config(&metadata(name), &["token_embd.weight"], None).unwrap().model;
        assert_eq!(model.architecture, architecture);
        let sizes = [model.hidden_size, model.intermediate_size, model.layer_count, model.position_count];
        assert_eq!(sizes, [64, 96, 2, 4096]);
        assert_eq!(
            (model.head_count, model.kv_head_count, model.head_dim, model.vocab_size),
            (4, 2, 16, 100)
        );
        assert_eq!((model.rms_norm_eps, model.rope.theta), (1e-5, 5e5));
        assert_eq!(model.rope.scaling, RopeScaling::None);
        assert!(model.tied_head && !model.mlp_bias && !model.attention_output_bias);
        assert_eq!((model.qkv_bias, model.qk_norm), (name == "qwen2", name == "qwen3"));
    }
    let tensors = ["output.weight", "blk.0.attn_q.bias", "blk.0.ffn_up.bias"];
    let mut llama = metadata("llama");
    llama.insert("llama.attention.key_length".to_owned(), Found::Unsigned(32));
    let model = config(&llama, &tensors, None).unwrap().model;
    assert!(!model.tied_head && model.qkv_bias && model.mlp_bias);
    assert_eq!((model.head_dim, head_dim(&llama).unwrap()), (32, 32));
}

#[test]
fn scaled_frequencies_are_those_of_transformers() {
    let mut linear = metadata("llama");
    linear.insert("llama.rope.scaling.type".to_owned(), Found::Text("linear".to_owned()));
    linear.insert("llama.rope.scaling.factor".to_owned(), Found::Float(4.0));
    let rope = config(&linear, &[], None).unwrap().model.rope;
    let (mut plain, mut scaled) = ([0.0; 64], [0.0; 64]);
    let unscaled = verbatim_core::kernels::rope::RopeConfig { scaling: RopeScaling::None, ..rope };
    verbatim_core::kernels::rope::frequencies(&unscaled, &mut plain);
    verbatim_core::kernels::rope::frequencies(&rope, &mut scaled);
    assert_eq!(plain.map(|f| f / 4.0), scaled);

    let mut yarn = metadata("qwen2");
    yarn.insert("qwen2.rope.scaling.type".to_owned(), Found::Text("yarn".to_owned()));
    assert_eq!(
        config(&yarn, &[], None).unwrap_err(),
        "m.gguf: qwen2.rope.scaling.type: found \"yarn\", expected none or linear: no other is implemented"
    );
    assert_eq!(
        config(&metadata("llama"), &[], Some(&[2.0; 8])).unwrap_err(),
        "m.gguf: tensor rope_freqs.weight: found 8 factors, expected the divisors of Llama 3's scaling: \
         no other is implemented"
    );
    assert_eq!(
        config(&metadata("llama"), &[], Some(&[1.0; 8])).unwrap().model.rope.scaling,
        RopeScaling::None
    );
}

#[test]
fn what_is_not_served_is_told_by_its_key() {
    let with = |end: &str, value: Found| {
        let mut metadata = metadata("llama");
        metadata.insert(format!("llama.{end}"), value);
        config(&metadata, &["token_embd.weight"], None).map(|_| ()).unwrap_err()
    };
    let size = Found::Unsigned;
    for (end, value, told) in [
        ("expert_count", size(8), "found 8, expected 0: mixtures of experts are not implemented"),
        ("logit_scale", Found::Float(0.5), "found 0.5, expected 1: scaled logits are not implemented"),
        (
            "rope.dimension_count",
            size(8),
            "found 8, expected 16, the size of a key: rotated dimensions of another size are not implemented",
        ),
        (
            "attention.value_length",
            size(8),
            "found 8, expected 16, the size of a key: values of another size are not implemented",
        ),
        ("attention.key_length", size(15), "found 15, expected an even number above 0"),
        ("attention.causal", Found::Flag(false), "found false, expected true: only decoders are implemented"),
        ("block_count", size(0), "found 0, expected between 1 and 1024"),
        ("attention.head_count_kv", size(3), "found 3, expected a divisor of num_attention_heads"),
        ("embedding_length", Found::Text("64".to_owned()), "found \"64\", expected an integer of at least 0"),
        ("context_length", Found::Float(0.5), "found 0.5, expected an integer of at least 0"),
    ] {
        assert_eq!(with(end, value), format!("m.gguf: llama.{end}: {told}"));
    }
    let told = |metadata: &Metadata| config(metadata, &[], None).map(|_| ()).unwrap_err();
    let mut without = Metadata::new(Path::new("m.gguf"));
    assert_eq!(
        told(&without),
        "m.gguf: general.architecture: found nothing, expected one of llama, qwen2, qwen3"
    );
    without.insert("general.architecture".to_owned(), Found::Text("gemma4".to_owned()));
    assert_eq!(
        told(&without),
        "m.gguf: general.architecture: found \"gemma4\", expected one of llama, qwen2, qwen3"
    );
    without.insert("general.architecture".to_owned(), Found::Text("qwen3".to_owned()));
    without.insert("general.type".to_owned(), Found::Text("adapter".to_owned()));
    assert_eq!(
        told(&without),
        "m.gguf: general.type: found \"adapter\", expected model: a file of another type is none by itself"
    );
    without.insert("general.type".to_owned(), Found::Text("model".to_owned()));
    assert_eq!(told(&without), "m.gguf: qwen3.embedding_length: found nothing, expected an integer");
}
