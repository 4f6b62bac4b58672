//! From files to a model that can run.
//!
//! * [`resolve`]: which directory or file the name of a model means. [`repository`]: how models of
//!   the hub are named. [`examine`]: what a model is, without its weights.
//! * [`choice`]: what is chosen before loading: weight formats, 12-bit bf16.
//! * [`folder`]: a checkpoint's files, in a directory or in memory; [`builtin`]: the model that is
//!   always there.
//! * [`config`], [`generation_config`]: what the model is, and its defaults. [`embedding_config`]:
//!   how it makes embeddings.
//! * `names`: what the checkpoints of each family call their tensors.
//! * [`checkpoint`]: the tensors of a model, wherever they lie; `rows`: their rows as they are
//!   packed.
//! * [`safetensors`]: where each tensor lies, in one file or in shards. [`gguf`]: the same of GGUF
//!   files, whose metadata become the files beside the weights.
//! * `opened`: a model whose files are open. [`model`]: a loaded model. [`note`]: what its user may
//!   not expect of it; `stored`: what became of the types of its weights.
//! * [`pack`]: every tensor read, hashed and packed in one parallel pass, into an image in memory.
//! * [`image_file`]: an image written to a file, and a file served from, mapped or copied.
//! * [`fingerprint`]: the hash that names a model and everything about it that can change a bit.
//!
//! ```text
//! config.json ──► ModelConfig ──► ImageLayout ──► memory
//! *.safetensors ──► 32 rows at a time ──► leaf hash ──► panel ──┘
//! ```
//!
//! A checkpoint is read through `pread` into a buffer that stays in the cache, not through a
//! mapping: a file that shrinks while it is read is then an ordinary error instead of a signal, and
//! none of its OS pages ever count towards the process, so that the peak is the packed model.
pub mod builtin;
pub mod checkpoint;
pub mod choice;
pub mod config;
pub mod embedding_config;
pub mod error;
pub mod examine;
pub mod fingerprint;
pub mod folder;
pub mod generation_config;
pub mod gguf;
pub mod image_file;
pub mod model;
mod names;
pub mod note;
mod opened;
pub mod pack;
mod plan;
pub mod repository;
pub mod resolve;
mod rows;
pub mod safetensors;
mod stored;

pub use choice::{Compress, NoGain, WeightChoice, formats_of};
pub use embedding_config::{Dimensions, EmbeddingConfig, Pooling};
pub use error::LoadError;
pub use examine::{Examined, examine};
pub use fingerprint::{RuntimeChoices, fingerprint, short_form};
pub use folder::Folder;
pub use generation_config::GenerationDefaults;
pub use image_file::ImageAccess;
pub use model::{LoadedModel, NoProgress, Progress};
pub use note::{LoadNote, NotCompressed};
pub use pack::{AUX_FILES, load_model};
pub use plan::shapes as tensor_shapes;
pub use repository::RepositoryName;
pub use resolve::resolve;
pub use stored::StoredWeights;
