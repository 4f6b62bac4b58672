//! GGUF: the one file in which models for CPUs are shared, with its tokenizer and its template.
//!
//! * [`metadata`], [`value`]: what a file says about its model. [`header`]: these and the places of
//!   the tensors, read from a file whose bytes nobody vouches for; `cursor` is its bounded reader.
//! * [`tensor_type`]: the types of elements, and which are served. [`blocks`]: those that come in
//!   blocks of codes and scales, as floats.
//! * [`shards`]: which files make a model. `open`: these as a checkpoint.
//! * `config`, `rope_factors`: the configuration, as a `config.json`. `text`: the tokenizer, the
//!   template and the defaults, as the files beside a checkpoint.
//!
//! So a GGUF file is served as the checkpoint that it was made of would be: what is particular to
//! it ends where its files are open, but for blocks, of which floats are made while they are packed
//! (`load/rows.rs`).
pub mod blocks;
mod config;
mod cursor;
pub mod header;
pub mod metadata;
mod open;
mod rope_factors;
pub mod shards;
pub mod tensor_type;
mod text;
pub mod value;

pub use header::Header;
pub use metadata::Metadata;
pub(super) use open::open;
pub(super) use shards::find;
pub use value::{Numbers, Texts, Value};

#[cfg(test)]
mod tests;
