//! A peer's 4-bit rounding, as a yardstick: Q4_0 of ggml (32 weights of a row share an f16 scale,
//! 4.5 bits a weight).
//!
//! The scale is the element of greatest magnitude over −8, so that this element is met exactly and
//! one more level lies on its side. Matrices are rounded and widened again, and products are in
//! f32. Rows whose length is no multiple of 32 are rounded as if zeros followed. Norms and biases
//! stay.
use half::f16;
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors, serialize};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use verbatim::load::Folder;

/// Weights that share a scale.
pub const BLOCK: usize = 32;

/// Rounds up to 32 weights of a row in place.
pub fn round_block(x: &mut [f32]) {
    assert!(x.len() <= BLOCK);
    let largest = x.iter().copied().fold(0.0_f32, |max, x| if x.abs() > max.abs() { x } else { max });
    let scale = largest / -8.0;
    let inverse = if scale == 0.0 { 0.0 } else { 1.0 / scale };
    let stored = f16::from_f32(scale).to_f32();
    for x in x {
        let level = (*x * inverse + 8.5).floor().clamp(0.0, 15.0);
        *x = (level - 8.0) * stored;
    }
}

fn widened(view: &TensorView<'_>) -> Result<Vec<f32>, String> {
    let bytes = view.data();
    Ok(match view.dtype() {
        Dtype::F32 => bytes.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect(),
        Dtype::F16 => bytes.chunks_exact(2).map(|b| f16::from_le_bytes([b[0], b[1]]).to_f32()).collect(),
        Dtype::BF16 => {
            bytes.chunks_exact(2).map(|b| half::bf16::from_le_bytes([b[0], b[1]]).to_f32()).collect()
        }
        other => return Err(format!("{other:?} is no type of weights")),
    })
}

/// The checkpoint in one `model.safetensors` with its matrices rounded, as f32, in memory.
pub fn rounded(folder: &Folder, files: &[&str]) -> Result<Folder, String> {
    let read = |name: &str| folder.read_small(name, 1 << 34).map_err(|error| error.to_string());
    let source =
        read("model.safetensors")?.ok_or("no model.safetensors: a sharded checkpoint is not taken here")?;
    let source = SafeTensors::deserialize(&source).map_err(|error| error.to_string())?;
    // Where the head has weights of its own, the embedding is looked up and not multiplied: it
    // stays as it is, as in our formats.
    let has_head = source.tensor("lm_head.weight").is_ok();
    let mut tensors: BTreeMap<String, (Vec<usize>, Vec<u8>)> = BTreeMap::new();
    for (name, view) in source.tensors() {
        let mut values = widened(&view)?;
        let is_kept = has_head && name == "model.embed_tokens.weight";
        if let ([_, width], false) = (view.shape(), is_kept) {
            let width = *width;
            for row in values.chunks_mut(width.max(1)) {
                row.chunks_mut(BLOCK).for_each(round_block);
            }
        }
        let bytes = values.iter().flat_map(|x| x.to_le_bytes()).collect();
        tensors.insert(name, (view.shape().to_vec(), bytes));
    }
    let mut views = BTreeMap::new();
    for (name, (shape, bytes)) in &tensors {
        let view = TensorView::new(Dtype::F32, shape.clone(), bytes).map_err(|error| error.to_string())?;
        views.insert(name.clone(), view);
    }
    let model = serialize(views, None).map_err(|error| error.to_string())?;
    let mut kept = BTreeMap::from([("model.safetensors".to_owned(), Arc::<[u8]>::from(model))]);
    for name in files {
        if let Some(bytes) = read(name)? {
            kept.insert((*name).to_owned(), bytes.into());
        }
    }
    let name = PathBuf::from(format!("{} as Q4_0", folder.path().display()));
    Ok(Folder::Memory { name, files: kept })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_greatest_is_met_and_the_others_within_a_step() {
        let mut x: [f32; BLOCK] = std::array::from_fn(|i| ((i * 37 % 32) as f32 - 15.0) / 16.0);
        x[5] = -1.5;
        let before = x;
        round_block(&mut x);
        assert_eq!(x[5], -1.5);
        let step = 1.5 / 8.0;
        for (x, before) in x.iter().zip(before) {
            assert!((x - before).abs() <= step / 2.0 + 1e-6 || before > 7.0 * step, "{before} {x}");
            assert_eq!((x / step).fract(), 0.0);
        }
        let mut zeros = [0.0; 7];
        round_block(&mut zeros);
        assert_eq!(zeros, [0.0; 7]);
    }
}
