//! Models whose weights come from a formula, for tests and goldens.
//!
//! Weight `i` of a tensor is a pure function of seed, name and `i`, so that a reference
//! implementation in another language makes the same model from a recipe of a few lines. Values
//! have 24 bits, so the first product of the last line is exact in f32:
//!
//! ```text
//! h     = FNV-1a-64(name) XOR seed · 0x9E3779B97F4A7C15
//! z     = splitmix64's finaliser of h + (i + 1) · 0x9E3779B97F4A7C15
//! value = ((z >> 40) − 2^23) · 2^-23 · scale
//! ```
use crate::checkpoint::{TensorData, write_safetensors};
use std::path::Path;
use verbatim::load::LoadError;

const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

/// `len` values, uniform in `[−scale, scale)`.
pub fn random_tensor(seed: u64, name: &str, len: usize, scale: f32) -> Vec<f32> {
    let fnv = name
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |h, byte| (h ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3));
    let h = fnv ^ seed.wrapping_mul(GOLDEN);
    let value = |i: usize| {
        let mut z = h.wrapping_add((i as u64).wrapping_add(1).wrapping_mul(GOLDEN));
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^= z >> 31;
        let unit = ((z >> 40) as f32 - 8_388_608.0) * (1.0 / 8_388_608.0);
        unit * scale
    };
    (0..len).map(value).collect()
}

/// How the tensors whose names end with `suffix` are drawn.
#[derive(Clone, Debug, PartialEq)]
pub struct ScaleRule {
    /// The end of the names that the rule is for.
    pub suffix: String,
    /// Values lie within this of the centre.
    pub scale: f32,
    /// The centre is 1 instead of 0: a norm.
    pub is_norm: bool,
}

/// A random model: a configuration, and how its weights are drawn.
#[derive(Clone, Debug)]
pub struct Recipe {
    /// The contents of `config.json`.
    pub config: serde_json::Value,
    /// The seed of every tensor.
    pub seed: u64,
    /// The type of the weights: `F32`, `F16` or `BF16`.
    pub dtype: &'static str,
    /// The first rule that fits a tensor's name holds; where none does, the scale is 0.
    pub scales: Vec<ScaleRule>,
}

impl Recipe {
    /// Norms around 1 by `norm_scale`, everything else around 0 by `scale`.
    pub fn uniform(
        config: serde_json::Value,
        seed: u64,
        dtype: &'static str,
        scale: f32,
        norm_scale: f32,
    ) -> Self {
        let rule = |suffix: &str, scale, is_norm| ScaleRule { suffix: suffix.to_owned(), scale, is_norm };
        Self {
            config,
            seed,
            dtype,
            scales: vec![rule("norm.weight", norm_scale, true), rule("", scale, false)],
        }
    }

    /// From the fields `config`, `seed` and `scales` (`suffix`, `kind`, `scale`) of a golden;
    /// weights are f32.
    pub fn from_json(golden: &serde_json::Value) -> Option<Self> {
        let rule = |rule: &serde_json::Value| {
            Some(ScaleRule {
                suffix: rule["suffix"].as_str()?.to_owned(),
                scale: rule["scale"].as_f64()? as f32,
                is_norm: rule["kind"].as_str()? == "norm",
            })
        };
        let scales = golden["scales"].as_array()?.iter().map(rule).collect::<Option<_>>()?;
        Some(Self {
            config: golden.get("config")?.clone(),
            seed: golden["seed"].as_u64()?,
            dtype: "F32",
            scales,
        })
    }

    /// Draws the tensors of the model, in the order in which the loader plans them.
    pub fn tensors(&self) -> Result<Vec<TensorData>, LoadError> {
        let text = self.config.to_string();
        let config = verbatim::load::config::parse_config(Path::new("config.json"), text.as_bytes())?;
        let shapes = verbatim::load::tensor_shapes(&config.model)?;
        let tensor = |(name, shape): (String, Vec<usize>)| {
            let rule = self.scales.iter().find(|rule| name.ends_with(&rule.suffix));
            let scale = rule.map_or(0.0, |rule| rule.scale);
            let mut values = random_tensor(self.seed, &name, shape.iter().product(), scale);
            if rule.is_some_and(|rule| rule.is_norm) {
                values.iter_mut().for_each(|x| *x += 1.0);
            }
            TensorData::new(&name, self.dtype, &shape, &values)
        };
        Ok(shapes.into_iter().map(tensor).collect())
    }

    /// Writes `config.json` and the weights, in `shards` files.
    pub fn write(&self, directory: &Path, shards: usize) -> std::io::Result<()> {
        let put = |name: &str, text: String| std::fs::write(directory.join(name), text);
        std::fs::create_dir_all(directory)?;
        put("config.json", self.config.to_string())?;
        let tensors = self.tensors().map_err(std::io::Error::other)?;
        if shards <= 1 {
            return write_safetensors(&directory.join("model.safetensors"), &tensors);
        }
        let mut places = serde_json::Map::new();
        for (i, part) in tensors.chunks(tensors.len().div_ceil(shards)).enumerate() {
            let file = format!("model-{:05}-of-{shards:05}.safetensors", i + 1);
            write_safetensors(&directory.join(&file), part)?;
            places.extend(part.iter().map(|tensor| (tensor.name.clone(), file.clone().into())));
        }
        put("model.safetensors.index.json", serde_json::json!({ "weight_map": places }).to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_those_of_the_formula() {
        // Computed apart from this code, by the recipe in tests/goldens.
        let values = random_tensor(7, "model.norm.weight", 3, 0.25);
        assert_eq!(values, [400425.0 / 33_554_432.0, -1173606.0 / 33_554_432.0, 3275259.0 / 33_554_432.0]);
        assert!(random_tensor(1, "x", 10_000, 1.0).iter().all(|x| (-1.0..1.0).contains(x)));
    }

    #[test]
    fn a_golden_is_read() {
        let golden = serde_json::json!({
            "seed": 3, "config": {}, "scales": [{"suffix": "norm.weight", "kind": "norm", "scale": 0.25}],
        });
        let recipe = Recipe::from_json(&golden).unwrap();
        let rule = ScaleRule { suffix: "norm.weight".to_owned(), scale: 0.25, is_norm: true };
        assert_eq!((recipe.seed, recipe.scales), (3, vec![rule]));
        assert!(Recipe::from_json(&serde_json::json!({"seed": 3})).is_none());
    }
}
