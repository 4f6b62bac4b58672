//! The draft model: a second model that proposes tokens for the served one to verify.
use super::error::DraftError;
use super::loader::Loader;
use super::options::{Drafting, ModelSource};
use crate::load::resolve::CacheLocations;
use crate::load::{Folder, LoadError, LoadedModel, WeightChoice, builtin, load_model, resolve};
use verbatim_core::cache::BLOCK;
use verbatim_core::dtype::{KvFormat, WeightFormat};
use verbatim_core::engine::{DraftCache, DraftModel};
use verbatim_core::model::{DraftModelSize, ModelConfig};

/// A draft model, loaded.
#[derive(Debug)]
pub struct LoadedDraftModel {
    /// The weights, with the files beside them.
    pub loaded: LoadedModel,
    /// Where its keys and values lie.
    pub cache: DraftCache,
}

/// The model that a draft model is for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Served<'s> {
    pub(super) source: &'s ModelSource,
    pub(super) config: &'s ModelConfig,
    pub(super) weights: WeightChoice,
}

impl LoadedDraftModel {
    /// Loads the draft model that is asked for, if one is.
    pub(super) fn load(
        drafting: &Drafting,
        served: Served<'_>,
        loader: &Loader<'_>,
    ) -> Result<Option<Self>, DraftError> {
        match drafting {
            Drafting::Off | Drafting::Lookup | Drafting::LookupAlways => Ok(None),
            Drafting::SameModel => Self::of_same(served, loader).map(Some),
            Drafting::Model(source) => Self::of_other(source, served, loader).map(Some),
        }
    }

    /// The served model once more, in int4. It reads the keys and values of the served one.
    fn of_same(served: Served<'_>, loader: &Loader<'_>) -> Result<Self, DraftError> {
        if served.config.weight_format == WeightFormat::Int4 {
            return Err(DraftError::SameFormat);
        }
        let folder = checkpoint(served.source)?;
        let int4 = WeightChoice::all(WeightFormat::Int4);
        let loaded = load_model(&folder, int4, loader.pool, loader.progress).map_err(DraftError::SameLoad)?;
        Ok(Self { loaded, cache: DraftCache::Shared })
    }

    /// Another model in the format of its source, for the same instruction set and as many
    /// sequences.
    fn of_other(source: &ModelSource, served: Served<'_>, loader: &Loader<'_>) -> Result<Self, DraftError> {
        let WeightChoice { isa, sequences, .. } = served.weights;
        let own = WeightChoice { isa, sequences, ..WeightChoice::default() };
        let (loaded, name) = loader.load(source, own).map_err(DraftError::Load)?;
        let (found, expected) = (loaded.model().config().vocab_size, served.config.vocab_size);
        if found != expected {
            let model = match source {
                ModelSource::Named(model) => model.clone(),
                ModelSource::Path(path) => path.display().to_string(),
                ModelSource::BuiltIn => name,
            };
            return Err(DraftError::Vocabulary { model, found, expected });
        }
        Ok(Self { loaded, cache: DraftCache::Own })
    }

    /// Bytes of the draft model's own keys and values, for `sequences` of `model_len` positions.
    pub(super) fn kv_bytes(&self, format: KvFormat, sequences: usize, model_len: usize) -> u64 {
        let blocks = sequences.saturating_mul(model_len.div_ceil(BLOCK));
        match self.cache {
            DraftCache::Shared => 0,
            DraftCache::Own => self.loaded.model().config().kv_layout(format, blocks).total_bytes() as u64,
        }
    }

    /// The draft model as the engine takes it.
    pub fn model(&self) -> DraftModel<'_> {
        DraftModel { model: self.loaded.model(), cache: self.cache }
    }

    /// The configuration and the place of keys and values, from which memory is planned.
    pub fn planned(&self) -> DraftModelSize {
        DraftModelSize { config: *self.loaded.model().config(), cache: self.cache }
    }
}

/// The checkpoint of a model that is loaded a second time.
fn checkpoint(source: &ModelSource) -> Result<Folder, DraftError> {
    let path = match source {
        ModelSource::BuiltIn => return Ok(builtin::folder()),
        ModelSource::Path(path) => path.clone(),
        ModelSource::Named(name) => resolve(name, &CacheLocations::from_env())
            .map_err(|error: LoadError| DraftError::SameLoad(error))?,
    };
    Folder::of_checkpoint(&path).ok_or(DraftError::SameImage { path })
}
