//! A model that cycles at its real cost: what layers add is scaled to zero, and the head is a
//! permuted embedding. Token `t` is then always followed by `next(t)`, while every product reads
//! and multiplies what it always does.
use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;
use verbatim::load::{Folder, LoadedModel, NoProgress, WeightChoice, load_model};
use verbatim_core::pool::Pool;

/// Tokens of a short cycle, as copied text has them: ids below [`LONG_FROM`].
pub(super) const SHORT: usize = 48;
/// Tokens of a long cycle, too long to be looked up.
const LONG: usize = 997;
/// The first id in a long cycle.
pub(super) const LONG_FROM: usize = 9600;

/// The token that follows `token`.
pub(super) fn next(token: usize, vocab: usize) -> usize {
    let (from, len) = if token < LONG_FROM { (0, SHORT) } else { (LONG_FROM, LONG) };
    let start = token - (token - from) % len;
    let end = vocab.min(start + len);
    if token + 1 < end { token + 1 } else { start }
}

/// A checkpoint in memory, to be changed and loaded.
pub(super) struct Cycle {
    files: BTreeMap<String, Arc<[u8]>>,
    vocab: usize,
}

const WEIGHTS: &str = "model.safetensors";

/// Where a tensor's bytes lie in the file.
fn place(bytes: &[u8], name: &str) -> Result<std::ops::Range<usize>, String> {
    let (_, data) = safetensors::SafeTensors::read_metadata(bytes).map_err(|error| error.to_string())?;
    let header = 8 + u64::from_le_bytes(bytes[..8].try_into().map_err(|_| "no header")?) as usize;
    let info = data.info(name).ok_or_else(|| format!("no tensor {name}"))?;
    Ok(header + info.data_offsets.0..header + info.data_offsets.1)
}

impl Cycle {
    /// Reads a checkpoint of one file with an output head of its own, as `make-model` writes them.
    pub(super) fn new(directory: &Path) -> Result<Self, String> {
        let read = |name: &str| -> Result<Arc<[u8]>, String> {
            let path = directory.join(name);
            let wrong = |error: std::io::Error| format!("{}: {error}", path.display());
            let mut file = File::open(&path).map_err(wrong)?;
            let len = file.metadata().map_err(wrong)?.len() as usize;
            let mut bytes: Arc<[u8]> = std::iter::repeat_n(0, len).collect();
            let out = Arc::get_mut(&mut bytes).ok_or("it is shared")?;
            file.read_exact(out).map_err(wrong)?;
            Ok(bytes)
        };
        let mut files = BTreeMap::new();
        for name in ["config.json", WEIGHTS] {
            files.insert(name.to_owned(), read(name)?);
        }
        let config: serde_json::Value =
            serde_json::from_slice(&files["config.json"]).map_err(|error| error.to_string())?;
        let size = |name: &str| config[name].as_u64().unwrap_or(0) as usize;
        let mut cycle = Self { files, vocab: size("vocab_size") };
        for layer in 0..size("num_hidden_layers") {
            for name in ["self_attn.o_proj", "mlp.down_proj"] {
                cycle.edit(&format!("model.layers.{layer}.{name}.weight"), |bytes| bytes.fill(0))?;
            }
        }
        Ok(cycle)
    }

    /// The size of the vocabulary.
    pub(super) fn vocab(&self) -> usize {
        self.vocab
    }

    fn edit(&mut self, name: &str, change: impl FnOnce(&mut [u8])) -> Result<(), String> {
        let bytes = self.files.get_mut(WEIGHTS).and_then(Arc::get_mut).ok_or("it is shared")?;
        let range = place(bytes, name)?;
        change(&mut bytes[range]);
        Ok(())
    }

    /// Loads the model with an output head that knows the successors of the tokens for which
    /// `knows` holds.
    pub(super) fn load(
        &mut self,
        knows: impl Fn(usize) -> bool,
        choice: WeightChoice,
        pool: &dyn Pool,
    ) -> Result<LoadedModel, String> {
        let embedding = {
            let bytes = &self.files[WEIGHTS];
            bytes[place(bytes, "model.embed_tokens.weight")?].to_vec()
        };
        let vocab = self.vocab;
        self.edit("lm_head.weight", |head| {
            let row = head.len() / vocab;
            head.fill(0);
            for token in (0..vocab).filter(|token| knows(*token)) {
                let to = next(token, vocab) * row;
                head[to..to + row].copy_from_slice(&embedding[token * row..][..row]);
            }
        })?;
        let folder = Folder::Memory { name: "a model that cycles".into(), files: self.files.clone() };
        load_model(&folder, choice, pool, &NoProgress).map_err(|error| error.to_string())
    }
}

/// Whether a model that knows the share `right` of all tokens knows this one.
pub(super) fn is_known(token: usize, right: f64) -> bool {
    let mixed = (token as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mixed = (mixed ^ (mixed >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9) >> 40;
    (mixed as f64) < right * f64::from(1_u32 << 24)
}

/// The `len` tokens with which the model goes on from `first`.
pub(super) fn text(first: usize, len: usize, vocab: usize) -> Vec<u32> {
    std::iter::successors(Some(first), |token| Some(next(*token, vocab)))
        .take(len)
        .map(|t| t as u32)
        .collect()
}
