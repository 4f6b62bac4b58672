//! Configurations that are read, and those that are refused, with their exact messages.
use super::*;
use serde_json::json;

fn base(model_type: &str) -> Value {
    json!({
        "model_type": model_type, "hidden_size": 64, "intermediate_size": 172, "num_hidden_layers": 5,
        "num_attention_heads": 8, "vocab_size": 512, "max_position_embeddings": 2048,
        "num_key_value_heads": 8,
    })
}

/// `base` with keys replaced; a key whose value is the string "absent" is removed.
fn with(model_type: &str, changes: Value) -> Value {
    let mut config = base(model_type);
    for (key, value) in changes.as_object().unwrap() {
        if value == "absent" {
            config.as_object_mut().unwrap().remove(key);
        } else {
            config[key] = value.clone();
        }
    }
    config
}

fn parse(config: &Value) -> Result<SourceConfig, String> {
    parse_config(Path::new("config.json"), config.to_string().as_bytes()).map_err(|error| error.to_string())
}

#[test]
fn absent_keys_are_what_transformers_makes_of_them() {
    let absent = json!({"num_key_value_heads": "absent"});
    let llama = parse(&with("llama", absent.clone())).unwrap().model;
    assert_eq!((llama.kv_head_count, llama.head_dim, llama.rms_norm_eps), (8, 8, 1e-6));
    assert_eq!(llama.rope, RopeConfig { theta: 10_000.0, scaling: RopeScaling::None });
    assert!(!(llama.tied_head || llama.qkv_bias || llama.mlp_bias || llama.qk_norm));
    let no_length = json!({"max_position_embeddings": "absent"});
    assert_eq!(parse(&with("llama", no_length)).unwrap().model.position_count, 2048);
    let mistral = with("mistral", json!({"sliding_window": null, "num_key_value_heads": "absent"}));
    assert_eq!(parse(&mistral).unwrap().model.kv_head_count, 8);
    let error = parse(&with("qwen2", absent)).unwrap_err(); // 32 by default, more than there are heads
    assert_eq!(error, "config.json: num_key_value_heads must be a divisor of num_attention_heads");
    let qwen2 = parse(&with("qwen2", json!({"num_key_value_heads": 2}))).unwrap().model;
    assert!(qwen2.qkv_bias && !qwen2.attention_output_bias && !qwen2.qk_norm);
    let qwen3 = parse(&with("qwen3", json!({"num_key_value_heads": null}))).unwrap().model;
    assert_eq!((qwen3.head_dim, qwen3.kv_head_count, qwen3.qk_norm, qwen3.qkv_bias), (128, 8, true, false));
    let biased = json!({"attention_bias": true, "mlp_bias": true});
    let llama = parse(&with("llama", biased)).unwrap().model;
    assert!(llama.qkv_bias && llama.attention_output_bias && llama.mlp_bias);
}

#[test]
fn both_spellings_of_rope() {
    let llama3 = json!({"factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
        "original_max_position_embeddings": 8192});
    let expected = RopeConfig {
        theta: 500_000.0,
        scaling: RopeScaling::Llama3 {
            factor: 8.0,
            low_freq_factor: 1.0,
            high_freq_factor: 4.0,
            original_positions: 8192,
        },
    };
    for key in ["rope_type", "type"] {
        let mut scaling = llama3.clone();
        scaling[key] = "llama3".into();
        let old = with("llama", json!({"rope_theta": 500_000.0, "rope_scaling": scaling}));
        assert_eq!(parse(&old).unwrap().model.rope, expected);
        scaling["rope_theta"] = json!(500_000);
        let new = with("llama", json!({"rope_parameters": scaling}));
        assert_eq!(parse(&new).unwrap().model.rope, expected);
    }
    let plain = with("llama", json!({"rope_parameters": {"rope_type": "default", "rope_theta": 1e6}}));
    assert_eq!(parse(&plain).unwrap().model.rope, RopeConfig { theta: 1e6, scaling: RopeScaling::None });
}

#[test]
fn windows_that_are_off_or_wide_are_accepted() {
    for (model_type, changes) in [
        ("mistral", json!({"sliding_window": null})),
        ("mistral", json!({"sliding_window": 2048})),
        ("mistral", json!({"sliding_window": "absent", "max_position_embeddings": 4096})),
        ("qwen2", json!({"sliding_window": 16, "use_sliding_window": false})),
        ("qwen2", json!({"sliding_window": 16})),
        ("qwen2", json!({"sliding_window": 16, "use_sliding_window": true, "max_window_layers": 5})),
        ("qwen3", json!({"layer_types": ["full_attention", "full_attention"]})),
    ] {
        let config = with(model_type, changes);
        assert!(parse(&config).is_ok(), "{config}: {:?}", parse(&config));
    }
}

#[test]
fn refusals_name_field_found_and_expected() {
    let cases = [
        ("llama", json!({"model_type": "gemma"}), "model_type: found \"gemma\", expected one of FAMILIES"),
        ("llama", json!({"model_type": "absent"}), "model_type: found nothing, expected one of FAMILIES"),
        ("llama", json!({"model_type": 3}), "model_type: found 3, expected a string"),
        (
            "mistral",
            json!({"sliding_window": 1024}),
            "sliding_window: found 1024, expected null or at least max_position_embeddings (2048): a narrower window is \
             not implemented",
        ),
        (
            "mistral",
            json!({"max_position_embeddings": 32768}),
            "sliding_window must be null or at least max_position_embeddings (32768): a narrower window is not \
             implemented",
        ),
        (
            "qwen2",
            json!({"sliding_window": 16, "use_sliding_window": true, "max_window_layers": 4}),
            "sliding_window: found 16, expected null or at least max_position_embeddings (2048): a narrower window is \
             not implemented",
        ),
        (
            "qwen3",
            json!({"sliding_window": 16, "layer_types": ["sliding_attention"]}),
            "layer_types: found \"sliding_attention\", expected \"full_attention\": no other kind of layer is implemented",
        ),
        ("llama", json!({"hidden_act": "gelu"}), "hidden_act: found \"gelu\", expected \"silu\""),
        (
            "llama",
            json!({"hidden_act": "gelu_pytorch_tanh"}),
            "hidden_act: found \"gelu_pytorch_tanh\", expected \"silu\"",
        ),
        (
            "llama",
            json!({"attn_logit_softcapping": 50.0}),
            "attn_logit_softcapping: found 50.0, expected null: soft-capped scores are not implemented",
        ),
        (
            "llama",
            json!({"attn_logit_softcapping": true}),
            "attn_logit_softcapping: found true, expected a number",
        ),
        (
            "llama",
            json!({"quantization_config": {"bits": 4}}),
            "quantization_config: found {\"bits\":4}, expected null: quantized checkpoints are not implemented",
        ),
        (
            "llama",
            json!({"num_local_experts": 8}),
            "num_local_experts: found 8, expected null: mixtures of experts are not implemented",
        ),
        (
            "qwen3",
            json!({"num_experts": 128}),
            "num_experts: found 128, expected null: mixtures of experts are not implemented",
        ),
        (
            "llama",
            json!({"partial_rotary_factor": 0.5}),
            "partial_rotary_factor: found 0.5, expected 1: partial rotary embedding is not implemented",
        ),
        (
            "llama",
            json!({"rope_interleaved": true}),
            "rope_interleaved: found true, expected false: interleaved rotary embedding is not implemented",
        ),
        (
            "llama",
            json!({"rope_scaling": {"type": "linear", "factor": 2}}),
            "rope_scaling.type: found \"linear\", expected \"default\" or \"llama3\": no other is implemented",
        ),
        (
            "llama",
            json!({"rope_parameters": {"rope_type": "yarn"}}),
            "rope_parameters.rope_type: found \"yarn\", expected \"default\" or \"llama3\": no other is implemented",
        ),
        (
            "llama",
            json!({"rope_scaling": {"rope_type": "llama3", "factor": "8"}}),
            "rope_scaling.factor: found \"8\", expected a number",
        ),
        (
            "llama",
            json!({"rope_scaling": {"rope_type": "llama3"}}),
            "rope_scaling.factor: found nothing, expected a number",
        ),
        ("llama", json!({"rope_scaling": "none"}), "rope_scaling: found \"none\", expected an object"),
        (
            "llama",
            json!({"rope_theta": 1e4, "rope_parameters": {"rope_theta": 1e6}}),
            "rope_parameters.rope_theta: found 1000000.0, expected 10000, the value of rope_theta",
        ),
        ("llama", json!({"rope_theta": 0}), "rope_theta: found 0, expected finite and above 0"),
        (
            "llama",
            json!({"hidden_size": "64"}),
            "hidden_size: found \"64\", expected an integer of at least 0",
        ),
        ("llama", json!({"hidden_size": 64.0}), "hidden_size: found 64.0, expected an integer of at least 0"),
        ("llama", json!({"hidden_size": "absent"}), "hidden_size: found nothing, expected an integer"),
        ("llama", json!({"vocab_size": -1}), "vocab_size: found -1, expected an integer of at least 0"),
        (
            "llama",
            json!({"vocab_size": 1_u64 << 60}),
            "vocab_size: found 1152921504606846976, expected between 1 and 16777216",
        ),
        ("llama", json!({"num_hidden_layers": 0}), "num_hidden_layers: found 0, expected between 1 and 1024"),
        (
            "llama",
            json!({"num_attention_heads": 0}),
            "num_attention_heads: found 0, expected a divisor of hidden_size (64), or a head_dim",
        ),
        (
            "llama",
            json!({"num_attention_heads": 0, "head_dim": 8}),
            "num_attention_heads: found 0, expected between 1 and 1024",
        ),
        (
            "llama",
            json!({"num_attention_heads": 7}),
            "num_attention_heads: found 7, expected a divisor of hidden_size (64), or a head_dim",
        ),
        (
            "llama",
            json!({"num_key_value_heads": 3}),
            "num_key_value_heads: found 3, expected a divisor of num_attention_heads",
        ),
        (
            "llama",
            json!({"num_key_value_heads": 0}),
            "num_key_value_heads: found 0, expected a divisor of num_attention_heads",
        ),
        ("llama", json!({"head_dim": 7}), "head_dim: found 7, expected even"),
        ("llama", json!({"rms_norm_eps": -1}), "rms_norm_eps: found -1, expected finite and not negative"),
        (
            "llama",
            json!({"tie_word_embeddings": "yes"}),
            "tie_word_embeddings: found \"yes\", expected true or false",
        ),
        ("llama", json!({"torch_dtype": 16}), "torch_dtype: found 16, expected a string"),
        (
            "llama",
            json!({"eos_token_id": "</s>"}),
            "eos_token_id: found \"</s>\", expected a token id or a list of token ids",
        ),
    ];
    let families = FAMILIES.iter().map(|family| family.model_type).collect::<Vec<_>>().join(", ");
    for (model_type, changes, message) in cases {
        let config = with(model_type, changes);
        let message = message.replace("FAMILIES", &families);
        assert_eq!(parse(&config), Err(format!("config.json: {message}")), "{config}");
    }
    let bytes = |bytes: &[u8]| parse_config(Path::new("c"), bytes).unwrap_err().to_string();
    assert_eq!(bytes(b"[1]"), "c: is not a JSON object");
    assert_eq!(bytes(b"{"), "c: is not valid JSON: EOF while parsing an object at line 1 column 1");
    assert!(bytes(b"\xff\xfe").starts_with("c: is not valid JSON: "));
    assert!(bytes(&b"[".repeat(100_000)).starts_with("c: is not valid JSON: recursion limit exceeded"));
}

#[test]
fn changed_configurations_never_panic() {
    let good = with(
        "qwen2",
        json!({"rope_scaling": {"rope_type": "llama3", "factor": 8.0,
        "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 8192}}),
    );
    let good = good.to_string();
    let mut state = 1_u64;
    let mut draw = |bound: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % bound
    };
    let mut accepted = 0;
    for _ in 0..20_000 {
        let mut bytes = good.clone().into_bytes();
        for _ in 0..1 + draw(3) {
            let at = draw(bytes.len());
            let pool = b"0123456789-.e\"{}[],:nft \xff";
            bytes[at] = pool[draw(pool.len())];
        }
        accepted += usize::from(parse_config(Path::new("c"), &bytes).is_ok());
    }
    assert!(accepted > 100, "{accepted}");
}
