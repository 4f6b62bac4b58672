//! A model in memory, packed and ready to run, and the progress of loading one.
use super::fingerprint::{RuntimeChoices, fingerprint};
use super::generation_config::GenerationDefaults;
use super::note::LoadNote;
use super::stored::StoredWeights;
use crate::sys::memory::WeightMemory;
use std::path::{Path, PathBuf};
use verbatim_core::model::image::PackedModel;

/// Receives the progress of loading, from all workers.
pub trait Progress: Sync {
    /// `done` of `total` bytes of weights were read.
    fn advance(&self, done: u64, total: u64);
}

/// A [`Progress`] that drops what it receives.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoProgress;

impl Progress for NoProgress {
    fn advance(&self, _done: u64, _total: u64) {}
}

/// A model, packed, with the files beside its weights.
#[derive(Debug)]
pub struct LoadedModel {
    pub(super) memory: WeightMemory,
    pub(super) path: PathBuf,
    pub(super) generation: GenerationDefaults,
    pub(super) notes: Vec<LoadNote>,
    pub(super) stored: Vec<StoredWeights>,
}

impl LoadedModel {
    /// The model, ready to run.
    pub fn model(&self) -> PackedModel<'_> {
        PackedModel::parse(self.image())
            .expect("the image was parsed when it was loaded, and its head is ours alone")
    }

    /// The bytes of the image.
    pub fn image(&self) -> &[u8] {
        self.memory.as_slice()
    }

    /// Whether the weights are a mapped file's pages; otherwise they lie in memory of their own.
    pub fn is_mapped(&self) -> bool {
        matches!(self.memory, WeightMemory::Mapped(_))
    }

    /// The directory, GGUF file or image that the model was loaded from.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A file beside the weights, as [`AUX_FILES`](super::AUX_FILES) names it.
    pub fn file(&self, name: &str) -> Option<&[u8]> {
        self.model().aux(name)
    }

    /// The tokens that end generation, and how tokens are drawn by default.
    pub fn generation(&self) -> &GenerationDefaults {
        &self.generation
    }

    /// What a user may not expect of the model.
    pub fn notes(&self) -> &[LoadNote] {
        &self.notes
    }

    /// The types of the checkpoint's weights and what became of them; empty for an image, which
    /// does not know what it was packed from.
    pub fn stored(&self) -> &[StoredWeights] {
        &self.stored
    }

    /// The fingerprint of this model with what was chosen at run time.
    pub fn fingerprint(&self, choices: &RuntimeChoices) -> [u8; 32] {
        fingerprint(self.model().source_hash(), choices)
    }
}
