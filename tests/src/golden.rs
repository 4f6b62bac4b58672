//! The goldens of `tests/goldens`, and the random models that they describe.
use crate::checkpoint::{TensorData, write_safetensors};
use crate::recipe::random_tensor;
use crate::temporary::TemporaryDirectory;
use serde::Deserialize;
use std::path::{Path, PathBuf};

/// The folder of goldens.
pub fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("goldens")
}

/// Reads a golden's JSON file.
///
/// # Panics
/// If it is not there or not what `T` says: goldens are part of the repository.
pub fn read<T: for<'de> Deserialize<'de>>(path: &Path) -> T {
    let text = std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// A random-weight model and what transformers makes of it (`goldens/README.md`).
#[derive(Debug, Deserialize)]
#[allow(missing_docs)] // the README of the goldens describes the fields
pub struct ModelGolden {
    pub config: serde_json::Value,
    pub seed: u64,
    pub scales: Vec<ScaleRule>,
    pub tensors: Vec<(String, Vec<usize>)>,
    pub shards: usize,
    pub weights_check: Vec<WeightsCheck>,
    pub prompt_ids: Vec<u32>,
    pub positions: Vec<PositionGolden>,
    pub greedy: GreedyGolden,
    pub bf16: Bf16Golden,
}

/// How the weights of some tensors are drawn.
#[derive(Debug, Deserialize)]
#[allow(missing_docs)]
pub struct ScaleRule {
    pub suffix: String,
    pub kind: String,
    pub scale: f32,
}

/// The first values and the sum of a tensor.
#[derive(Debug, Deserialize)]
#[allow(missing_docs)]
pub struct WeightsCheck {
    pub name: String,
    pub first: Vec<f64>,
    pub sum: f64,
}

/// Logprobs after the token at a position.
#[derive(Debug, Deserialize)]
#[allow(missing_docs)]
pub struct PositionGolden {
    pub position: usize,
    pub top: Vec<(u32, f64)>,
    pub next: (u32, f64),
}

/// The greedy continuation of the prompt.
#[derive(Debug, Deserialize)]
#[allow(missing_docs)]
pub struct GreedyGolden {
    pub ids: Vec<u32>,
    pub logprobs: Vec<f64>,
}

/// What transformers computes at these positions with bf16 weights.
#[derive(Debug, Deserialize)]
#[allow(missing_docs)]
pub struct Bf16Golden {
    pub positions: Vec<PositionGolden>,
    pub max_delta: f64,
    pub mean_delta: f64,
}

impl ModelGolden {
    /// Every model golden: (name, golden), in order of name.
    ///
    /// # Panics
    /// If there are none.
    pub fn all() -> Vec<(String, ModelGolden)> {
        let mut paths: Vec<PathBuf> = std::fs::read_dir(folder())
            .expect("the folder of goldens is part of the repository")
            .filter_map(|entry| Some(entry.ok()?.path()))
            .filter(|path| {
                path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("model_"))
                    && path.extension().is_some_and(|extension| extension == "json")
            })
            .collect();
        paths.sort();
        assert!(!paths.is_empty(), "no model goldens in {}", folder().display());
        let name = |path: &Path| path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        paths.iter().map(|path| (name(path), read(path))).collect()
    }

    fn values(&self, name: &str, len: usize) -> Vec<f32> {
        let rule = self.scales.iter().find(|rule| name.ends_with(&rule.suffix));
        let rule = rule.unwrap_or_else(|| panic!("no rule for {name}"));
        let mut values = random_tensor(self.seed, name, len, rule.scale);
        if rule.kind == "norm" {
            values.iter_mut().for_each(|x| *x += 1.0);
        }
        values
    }

    /// Writes the model as a checkpoint: config.json and one or more safetensors files.
    ///
    /// # Panics
    /// If the weights are not those that the golden was made with, or cannot be written.
    pub fn write(&self, name: &str) -> TemporaryDirectory {
        let directory = TemporaryDirectory::new(name);
        let tensors: Vec<TensorData> = self
            .tensors
            .iter()
            .map(|(name, shape)| {
                let values = self.values(name, shape.iter().product());
                if let Some(check) = self.weights_check.iter().find(|check| check.name == *name) {
                    let sum: f64 = values.iter().map(|x| f64::from(*x)).sum();
                    assert!((sum - check.sum).abs() < 1e-5, "{name}: sum {sum}, expected {}", check.sum);
                    for (value, expected) in values.iter().zip(&check.first) {
                        assert!((f64::from(*value) - expected).abs() < 1e-6, "{name}: {value} {expected}");
                    }
                }
                TensorData::new(name, "F32", shape, &values)
            })
            .collect();
        std::fs::write(directory.path().join("config.json"), self.config.to_string()).expect("config.json");
        if self.shards == 1 {
            write_safetensors(&directory.path().join("model.safetensors"), &tensors).expect("weights");
            return directory;
        }
        let mut places = serde_json::Map::new();
        for (i, part) in tensors.chunks(tensors.len().div_ceil(self.shards)).enumerate() {
            let file = format!("model-{:05}-of-{:05}.safetensors", i + 1, self.shards);
            write_safetensors(&directory.path().join(&file), part).expect("weights");
            places.extend(part.iter().map(|tensor| (tensor.name.clone(), file.clone().into())));
        }
        let index = serde_json::json!({ "weight_map": places }).to_string();
        std::fs::write(directory.path().join("model.safetensors.index.json"), index).expect("index");
        directory
    }
}
