//! From files to a model that can run.
//!
//! * [`resolve`]: which directory or file `--model` means.
//! * [`config`], [`generation_config`]: what the model is, and its defaults.
//! * [`safetensors`]: where each tensor lies, in one file or in shards.
//! * [`pack`]: every tensor read, hashed and packed in one parallel pass, into an image in memory.
//! * [`image_file`]: an image written to a file, and a file served from.
//! * [`fingerprint`]: the hash that names a model and everything about it that can change a bit.
//! * [`random`]: models with weights from a formula, for tests.
//!
//! ```text
//! config.json ──► ModelConfig ──► ImageLayout ──► memory
//! *.safetensors ──► 32 rows at a time ──► leaf hash ──► panel ──┘
//! ```
//!
//! A source is read through `pread` into a buffer that stays in the cache, not through a mapping: a file that
//! shrinks while it is read is then an ordinary error instead of a signal, and none of its OS pages ever count
//! towards the process, so that the peak is the packed model.
pub mod config;
pub mod error;
pub mod fingerprint;
pub mod generation_config;
pub mod image_file;
pub mod pack;
mod plan;
pub mod random;
pub mod resolve;
pub mod safetensors;

pub use error::LoadError;
pub use fingerprint::{RuntimeChoices, fingerprint, short_form};
pub use generation_config::GenerationDefaults;
pub use pack::{LoadedModel, NoProgress, Progress, WeightChoice, load_model};
pub use resolve::resolve;

use std::path::Path;

/// A whole file that is no larger than `most` bytes; `None` if there is none.
fn read_small(path: &Path, most: u64) -> Result<Option<Vec<u8>>, LoadError> {
    use std::io::Read;
    let io = |error| LoadError::io(path, "read", error);
    let metadata = match std::fs::metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(io(error)),
    };
    if !metadata.is_file() {
        return Err(LoadError::malformed(path, "is not a regular file"));
    }
    let mut bytes = Vec::new();
    std::fs::File::open(path).map_err(io)?.take(most + 1).read_to_end(&mut bytes).map_err(io)?;
    if bytes.len() as u64 > most {
        return Err(LoadError::malformed(path, format!("is larger than {most} bytes")));
    }
    Ok(Some(bytes))
}
