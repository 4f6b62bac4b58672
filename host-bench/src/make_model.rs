//! Checkpoints of real shapes with random weights: Gaussian, σ 0.02, bf16, a pure function of seed
//! and name.
use serde_json::{Value, json};
use std::io::{BufWriter, Write};
use std::path::Path;

/// The `config.json` of a shape.
fn config(shape: &str) -> Result<Value, String> {
    let llama =
        |hidden: u32, inter: u32, layers: u32, heads: u32, kv: u32, vocab: u32, context: u32, tied: bool| {
            json!({
                "architectures": ["LlamaForCausalLM"], "model_type": "llama", "torch_dtype": "bfloat16",
                "hidden_size": hidden, "intermediate_size": inter, "num_hidden_layers": layers,
                "num_attention_heads": heads, "num_key_value_heads": kv, "vocab_size": vocab,
                "max_position_embeddings": context, "rms_norm_eps": 1e-5, "rope_theta": 10000.0,
                "hidden_act": "silu", "tie_word_embeddings": tied, "bos_token_id": 1, "eos_token_id": 2,
            })
        };
    match shape {
        "tinyllama" => Ok(llama(2048, 5632, 22, 32, 4, 32000, 2048, false)),
        "smollm2" => Ok(llama(576, 1536, 30, 9, 3, 49152, 8192, true)),
        "small" => Ok(llama(1024, 2816, 8, 16, 4, 32000, 4096, false)),
        "llama3.2-1b" => Ok(llama(2048, 8192, 16, 32, 8, 128_256, 8192, true)),
        other => Err(format!("--shape {other}: expected tinyllama, smollm2, llama3.2-1b or small")),
    }
}

/// Names and shapes of a checkpoint's tensors.
fn tensors(config: &Value) -> Vec<(String, Vec<usize>)> {
    let size = |name: &str| config[name].as_u64().unwrap_or(0) as usize;
    let (hidden, inter, vocab) = (size("hidden_size"), size("intermediate_size"), size("vocab_size"));
    let kv = hidden / size("num_attention_heads") * size("num_key_value_heads");
    let mut list = vec![("model.embed_tokens.weight".to_owned(), vec![vocab, hidden])];
    for layer in 0..size("num_hidden_layers") {
        for (name, shape) in [
            ("input_layernorm", vec![hidden]),
            ("self_attn.q_proj", vec![hidden, hidden]),
            ("self_attn.k_proj", vec![kv, hidden]),
            ("self_attn.v_proj", vec![kv, hidden]),
            ("self_attn.o_proj", vec![hidden, hidden]),
            ("post_attention_layernorm", vec![hidden]),
            ("mlp.gate_proj", vec![inter, hidden]),
            ("mlp.up_proj", vec![inter, hidden]),
            ("mlp.down_proj", vec![hidden, inter]),
        ] {
            list.push((format!("model.layers.{layer}.{name}.weight"), shape));
        }
    }
    list.push(("model.norm.weight".to_owned(), vec![hidden]));
    if config["tie_word_embeddings"] == false {
        list.push(("lm_head.weight".to_owned(), vec![vocab, hidden]));
    }
    list
}

fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// Fills `out` with bf16 weights; norms lie around 1.
fn fill(seed: u64, name: &str, out: &mut [u16]) {
    let is_norm = name.contains("norm");
    let start = name.bytes().fold(mix(seed), |hash, byte| mix(hash ^ u64::from(byte)));
    for (i, pair) in out.chunks_mut(2).enumerate() {
        // Box and Muller: two uniforms give two Gaussians.
        let word = mix(start.wrapping_add((i as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15)));
        let radius = (-2.0 * ((((word >> 32) as f64) + 0.5) / 4_294_967_296.0).ln()).sqrt();
        let angle = std::f64::consts::TAU * f64::from(word as u32) / 4_294_967_296.0;
        for (x, gaussian) in pair.iter_mut().zip([radius * angle.cos(), radius * angle.sin()]) {
            let value = if is_norm { 1.0 + 0.1 * gaussian } else { 0.02 * gaussian };
            *x = half::bf16::from_f64(value).to_bits();
        }
    }
}

/// A tokenizer of one word, so that such a model can be served, by token ids.
pub(crate) fn put_tokenizer(directory: &Path) -> Result<(), String> {
    let tokenizer = json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": [], "normalizer": null,
        "pre_tokenizer": null, "post_processor": null, "decoder": null,
        "model": {"type": "WordLevel", "vocab": {"?": 0}, "unk_token": "?"},
    });
    let path = directory.join("tokenizer.json");
    std::fs::write(&path, tokenizer.to_string()).map_err(|error| format!("{}: {error}", path.display()))
}

/// Writes the checkpoint of a shape into a directory.
pub(crate) fn make(shape: &str, seed: u64, directory: &Path) -> Result<(), String> {
    let config = config(shape)?;
    let wrong = |error: std::io::Error| format!("{}: {error}", directory.display());
    std::fs::create_dir_all(directory).map_err(wrong)?;
    std::fs::write(directory.join("config.json"), config.to_string()).map_err(wrong)?;
    put_tokenizer(directory)?;
    let tensors = tensors(&config);
    let mut header = serde_json::Map::new();
    let mut offset = 0;
    for (name, shape) in &tensors {
        let bytes = shape.iter().product::<usize>() * 2;
        header.insert(
            name.clone(),
            json!({"dtype": "BF16", "shape": shape, "data_offsets": [offset, offset + bytes]}),
        );
        offset += bytes;
    }
    let mut header = Value::Object(header).to_string();
    // The data should start at a multiple of 8.
    header.push_str(&" ".repeat(header.len().next_multiple_of(8) - header.len()));
    let file = std::fs::File::create(directory.join("model.safetensors")).map_err(wrong)?;
    let mut file = BufWriter::with_capacity(1 << 20, file);
    file.write_all(&(header.len() as u64).to_le_bytes()).map_err(wrong)?;
    file.write_all(header.as_bytes()).map_err(wrong)?;
    for (name, shape) in &tensors {
        let mut data = vec![0_u16; shape.iter().product()];
        fill(seed, name, &mut data);
        let bytes: Vec<u8> = data.iter().flat_map(|x| x.to_le_bytes()).collect();
        file.write_all(&bytes).map_err(wrong)?;
    }
    file.flush().map_err(wrong)?;
    println!("{}: {:.2} GB of {shape}", directory.display(), offset as f64 / 1e9);
    Ok(())
}
