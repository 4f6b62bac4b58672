//! A model whose files are open, and of which nothing is packed yet.
use super::checkpoint::Checkpoint;

/// A checkpoint, and the contents of the files beside its weights.
#[derive(Debug)]
pub(in crate::load) struct OpenedModel {
    /// Names and contents, in the order in which they are hashed. A GGUF file has them in its
    /// metadata, and they are made from there.
    pub(in crate::load) beside: Vec<(&'static str, Option<Vec<u8>>)>,
    /// Where its tensors lie, and of what types they are.
    pub(in crate::load) checkpoint: Checkpoint,
}
